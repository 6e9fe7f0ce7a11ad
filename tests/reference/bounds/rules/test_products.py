"""Products of many numbers: their spread, roundings in any order, and what may vanish; (R15)."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from reference.bounds.rounding import Bounded, Rounding
from tests.support.bound_formulas import (
    ETA,
    INF,
    SOME_ULPS,
    UNSURE,
    assert_bounds,
    bounded,
    call,
    coarse,
    r1,
    r3,
)
from tests.support.strategies import seeds


def product(factors: list[tuple[float, float]], k: int) -> tuple[float, float]:
    """Multiply numbers with errors in k roundings."""
    value = math.prod(x for x, _ in factors)
    spread = math.prod(abs(x) + e for x, e in factors) - abs(value)
    most = math.prod(max(abs(x) + e, 1) for x, e in factors) * (1 + r1(2 * k))
    if most > 2.0**16:
        return value, INF
    flushed = 0.0 if (0.0, 0.0) in factors else 2 * k * ETA * most
    return value, r3(value, spread + r1(2 * k) * (abs(value) + spread) + flushed, roundings=0)


ROWS = [
    [(1.5, 0.0), (-2.0, 0.125), (0.5, 0.25), (3.0, 0.0)],
    [(0.25, 0.0), (0.125, 0.0), (0.0625, 0.0), (64.0, 0.0)],  # vanishes at the third, on its own
    [(0.0, 0.0), (4.0, 0.5), (0.5, 0.5), (2.0, 0.0)],  # an exact 0, and one that may be 0
    [(256.0, 0.0), (256.0, 0.0), (2.0, 0.0), (1 / 256, 0.0)],  # overflows on the way alone
    [(63488.0, 0.0), (0.5, 0.0), (0.25, 0.0), (2.0, 0.0)],  # 2^16 at most, and then more
    [(0.0, 0.5), (0.5, 0.0), (-4.0, 0.0), (0.0, 0.0)],  # may be 0 up to the exact one
]
VALUES, ERRORS = np.moveaxis(np.array(ROWS), -1, 0)


def rows() -> Bounded:
    """Make the operand."""
    return Bounded(VALUES.copy(), ERRORS.copy())


def test_a_cumulated_product_is_bounded_in_any_order() -> None:
    for reverse in (False, True):
        turned = [row[::-1] if reverse else row for row in ROWS]
        want = [[product(row[: k + 1], k) for k in range(4)] for row in turned]
        ordered = [row[::-1] if reverse else row for row in want]
        parts = [[[pair[i] for pair in row] for row in ordered] for i in range(2)]
        result = call("cumprod", coarse(), rows(), axis=1, reverse=reverse)
        assert_bounds(result, *parts, ulps=SOME_ULPS)
        columns = Bounded(*(part.T for part in rows()))
        result = call("cumprod", coarse(), columns, axis=0, reverse=reverse)
        assert_bounds(result, *(np.array(part).T for part in parts), ulps=SOME_ULPS)
    assert np.isinf(parts[1]).any()


@pytest.mark.parametrize("axes", [(1,), (0,), (0, 1), ()])
def test_a_product_along_axes_has_as_many_roundings_as_factors(axes: tuple[int, ...]) -> None:
    x = Bounded(VALUES[:1].T.reshape(2, 2), ERRORS[:1].T.reshape(2, 2))
    pairs = np.stack(x, axis=-1)
    groups: Any = {
        (1,): pairs,
        (0,): pairs.transpose(1, 0, 2),
        (0, 1): pairs.reshape(1, 4, 2),
        (): pairs.reshape(4, 1, 2),
    }[axes]
    want = [product([tuple(pair) for pair in group.tolist()], len(group)) for group in groups]
    shape = np.prod(x.value, axis=axes).shape
    parts = [np.reshape([pair[i] for pair in want], shape) for i in range(2)]
    assert_bounds(call("reduce_prod", coarse(), x, axes=axes), *parts, ulps=SOME_ULPS)


def test_a_product_of_nothing_is_1() -> None:
    result = call("reduce_prod", coarse(), bounded(np.zeros((2, 0))), axes=(1,))
    assert_bounds(result, [1.0, 1.0], [ETA, ETA])


@given(seed=seeds)
def test_no_product_of_numbers_within_their_errors_is_beyond_the_bound(seed: int) -> None:
    """Whose errors are of float32, and which NumPy multiplies from either end."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(20, 9)).astype(np.float32)
    result = call("cumprod", single_given(), bounded(x.astype(float)), axis=1, reverse=False)
    exact = np.cumprod(x.astype(np.longdouble), axis=1)
    by_numpy = np.cumprod(x, axis=1)
    other = np.stack([np.multiply.reduce(x[:, k::-1], axis=1) for k in range(9)], axis=1)
    for got in (by_numpy, other):
        assert (abs(got - exact) <= result.error).all()
    moved = x + rng.uniform(-1, 1, x.shape) * 1e-3
    spread = call("cumprod", single_given(), bounded(x.astype(float), 1e-3), axis=1, reverse=False)
    assert (abs(np.cumprod(moved, axis=1) - exact) <= spread.error).all()


def in_pairs(rng: np.random.Generator, factors: Any, *, flush: bool) -> Any:
    """Multiply in float32 in an order that is drawn; subnormal results may be flushed to 0."""
    parts = list(factors)
    while len(parts) > 1:
        i, j = sorted(rng.choice(len(parts), 2, replace=False))
        with np.errstate(under="ignore"):
            product = parts.pop(j) * parts.pop(i)
        tiny = flush and abs(product) < np.finfo(np.float32).tiny
        parts.append(np.float32(0) if tiny else product)
    return parts[0]


def test_what_is_flushed_to_0_on_the_way_is_within_the_bound() -> None:
    """Where the product itself is a usual number, too, and where it comes from large factors."""
    rng = np.random.default_rng(0)
    x = np.float32(2) ** rng.uniform(-75, 30, size=(150, 5)).astype(np.float32)
    x[:, -1] = 2.0 ** rng.integers(0, 4, 150)
    x[::10, 0] = 0
    rounding = Rounding(np.float32)
    rounding.computing_in(np.float32)
    result = call("reduce_prod", rounding, rounding.given(x), axes=(1,))
    lost = 0
    for row, value, error in zip(x, *result, strict=True):
        got = in_pairs(rng, row, flush=bool(rng.integers(2)))
        assert abs(got - value) <= error < INF
        lost += abs(got - value) > 0.5 * abs(value)
    assert lost > 10
    assert (result.error[::10] == 0).all()


@pytest.mark.parametrize(
    ("factors", "error", "most"),
    [
        ([0.5] * 150, 0.0, 2 * 150 * 4 * 2.0**-126),
        ([1e-8, 2.0, 3.0], 1e-7, 6.01e-7),
        ([0.0, 2.0, 3.0], 1e-7, 6.01e-7),
    ],
)
def test_a_product_that_vanishes_has_a_bound(
    factors: list[float], error: float, most: float
) -> None:
    rounding = Rounding(np.float32)
    rounding.computing_in(np.float32)
    assert 0 < call("reduce_prod", rounding, bounded(factors, error), axes=(0,)).error <= most


def single_given() -> Any:
    """Make one with the units of float32, whose smallest number is out of reach."""
    return coarse_of(2.0**-24)


def coarse_of(unit: float) -> Any:
    """Make one with this unit."""
    rounding = coarse(largest=1e30)
    rounding.unit_roundoff, rounding.tiny = unit, 1e-300
    return rounding


def test_the_bound_is_no_more_than_16_times_the_worst_error() -> None:
    """Of 9 roundings in a row, which never all go the same way, twice 8 are allowed."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 2, size=(20_000, 9)).astype(np.float32)
    result = call("reduce_prod", coarse_of(2.0**-24), bounded(x.astype(float)), axes=(1,))
    error = abs(np.prod(x, axis=1) - result.value)
    assert 1 / 16 < (error / result.error).max() <= 1


def test_products_of_integers_are_exact_where_the_factors_are() -> None:
    whole = bounded([[2, 3, 4], [5, 6, 7]], [[False] * 3, [False, True, False]])
    for reverse, unsure in ((False, [False, True, True]), (True, [True, True, False])):
        result = call("cumprod", coarse(), whole, axis=1, reverse=reverse)
        values = [[2, 6, 24], [5, 30, 210]] if not reverse else [[24, 12, 4], [210, 42, 7]]
        assert_bounds(result, values, [[False] * 3, unsure])
    assert_bounds(call("reduce_prod", coarse(), whole, axes=(1,)), [24, 210], [False, UNSURE])


def test_any_axis_of_any_array_may_be_cumulated() -> None:
    """That which is in the middle is turned as the first of two is."""
    table = Bounded(*(np.stack([part, part / 2]) for part in rows()))
    for part in (0, 1):
        for reverse in (False, True):
            flat = Bounded(table.value[part], table.error[part])
            want = call("cumprod", coarse(), flat, axis=0, reverse=reverse)
            result = call("cumprod", coarse(), table, axis=1, reverse=reverse)
            assert_bounds(Bounded(result.value[part], result.error[part]), *want)
    whole = bounded(np.arange(1, 9).reshape(2, 2, 2), np.arange(8).reshape(2, 2, 2) == 0)
    result = call("cumprod", coarse(), whole, axis=1, reverse=False)
    unsure = [[[True, False], [True, False]], [[False] * 2] * 2]
    assert_bounds(result, np.cumprod(whole.value, axis=1), unsure)
