"""The largest and the log-sum-exp of all before; (R16)."""

import math

import numpy as np
import pytest
from hypothesis import given

from tests.support.bound_formulas import (
    ETA,
    INF,
    SOME_ULPS,
    U,
    assert_bounds,
    bounded,
    call,
    coarse,
    r3,
    single,
)
from tests.support.strategies import seeds

X = bounded([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], [[0.25, 0.5, 0.0], [0.0, 0.125, 0.0]])


@pytest.mark.parametrize(("name", "sign"), [("cummax", 1), ("cummin", -1)])
def test_the_largest_so_far_is_as_far_off_as_the_farthest_off(name: str, sign: int) -> None:
    x = bounded(sign * X.value, X.error)
    largest = call(name, coarse(), x, axis=1, reverse=False)
    value = sign * np.array([[1, 1, 3], [0.5, 0.5, 0.5]])
    assert_bounds(largest, value, [[0.25, 0.5, 0.5], [0, 0.125, 0.125]])
    backwards = call(name, coarse(), x, axis=0, reverse=True)
    value = sign * np.array([[1, 0.25, 3], [0.5, 0.25, -4]])
    assert_bounds(backwards, value, [[0.25, 0.5, 0], [0, 0.125, 0]])
    whole = bounded([3 * sign, sign, 4 * sign], [False, True, False])
    result = call(name, coarse(), whole, axis=0, reverse=False)
    assert_bounds(result, [3 * sign, 3 * sign, 4 * sign], [False, True, True])


def logsumexp_error(terms: list[tuple[float, float]], count: int) -> float:
    """Bound the error of a log-sum-exp of these, as some of so many."""
    value = math.log(math.fsum(math.exp(x) for x, _ in terms))
    largest = max(abs(x) + e for x, e in terms) + math.log(count)
    step = (2 * largest + 16 + 2) * U + 2 * ETA
    return r3(value, max(e for _, e in terms) + (count - 1) * step)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_cumulated_log_sum_exp_adds_the_errors_of_its_steps(reverse: bool) -> None:
    result = call("cumlogsumexp", coarse(), X, axis=1, reverse=reverse)
    for i in range(2):
        row = list(zip(X.value[i].tolist(), X.error[i].tolist(), strict=True))
        for j in range(3):
            terms = row[j:] if reverse else row[: j + 1]
            want = math.log(math.fsum(math.exp(x) for x, _ in terms))
            np.testing.assert_allclose(result.value[i, j], want, rtol=SOME_ULPS)
            error = logsumexp_error(terms, 3)
            np.testing.assert_allclose(result.error[i, j], error, rtol=SOME_ULPS)


def test_what_is_exactly_nothing_adds_nothing() -> None:
    x = bounded([-INF, -INF, 2.0, -INF], [0.0, 0.0, 0.25, 0.0])
    result = call("cumlogsumexp", coarse(), x, axis=0, reverse=False)
    want = r3(2.0, 0.25 + 3 * ((2 * (2.25 + math.log(4)) + 18) * U + 2 * ETA))
    assert_bounds(result, [-INF, -INF, 2.0, 2.0], [0.0, 0.0, want, want], ulps=SOME_ULPS)
    small = call("cumlogsumexp", coarse(), bounded([-INF, 0.25]), axis=0, reverse=False)
    want = r3(0.25, (2 * (0.25 + math.log(2)) + 18) * U + 2 * ETA)
    assert_bounds(small, [-INF, 0.25], [0.0, want], ulps=SOME_ULPS)
    perhaps = bounded([-INF, 2.0], [INF, 0.0])
    assert np.isinf(call("cumlogsumexp", coarse(), perhaps, axis=0, reverse=False).error).all()


@given(seed=seeds)
def test_no_log_sum_exp_in_float32_is_beyond_the_bound(seed: int) -> None:
    """Neither one after the other nor by the sum of the exponentials, less the largest."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(30, 12)) * 10 ** rng.uniform(-2, 1.5, (30, 1))).astype(np.float32)
    bound = call("cumlogsumexp", single(), bounded(x.astype(float)), axis=1, reverse=False).error
    exact = np.logaddexp.accumulate(x.astype(np.longdouble), axis=1)
    largest = x.max(axis=1, keepdims=True)
    stable = np.log(np.exp(x[:, -1:] * 0 + x - largest).sum(axis=1)) + largest[:, 0]
    assert (abs(np.logaddexp.accumulate(x, axis=1) - exact) <= bound).all()
    assert (abs(stable - exact[:, -1]) <= bound[:, -1]).all()
    moved = x + rng.uniform(-1, 1, x.shape) * 0.01
    spread = call("cumlogsumexp", single(), bounded(x.astype(float), 0.01), axis=1, reverse=False)
    assert (abs(np.logaddexp.accumulate(moved, axis=1) - exact) <= spread.error).all()


def test_the_bound_of_two_terms_is_no_more_than_16_times_the_worst_error() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(50_000, 2)).astype(np.float32)
    result = call("cumlogsumexp", single(), bounded(x.astype(float)), axis=1, reverse=False)
    error = abs(np.logaddexp.accumulate(x, axis=1) - result.value)
    assert 1 / 16 < (error / result.error).max() <= 1
