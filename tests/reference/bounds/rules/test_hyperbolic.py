"""Hyperbolic functions: what the error of the operand does, and the steps; (R12), (R13)."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

from reference.arrays import Array
from tests.support.bound_formulas import (
    EPS,
    INF,
    PRECISIONS,
    SOME_ULPS,
    Function,
    assert_bounds,
    assert_function,
    assert_sharp,
    assert_sound,
    bounded,
    call,
    coarse,
    magnitudes,
    nearest,
    r3,
    spread_of,
)
from tests.support.strategies import seeds


def outwards(function: Callable[[float], float]) -> Callable[[float, float], float]:
    """Say how far a function, of |x|, lies from its value at the end that is farther from 0."""
    return lambda x, e: function(abs(x) + e) - function(abs(x))


def acosh_spread(x: float, e: float) -> float:
    """2 (sqrt(x - 1) - sqrt(b - 1)) / sqrt(b + 1), with b the lower end."""
    if e == 0:
        return 0.0
    b = x - e
    return 2 * e / (math.sqrt(b + 1) * (math.sqrt(x - 1) + math.sqrt(b - 1)))


FUNCTIONS = {
    "sinh": Function(math.sinh, outwards(math.sinh), lambda x, e: 21 + abs(x) + e),
    "cosh": Function(math.cosh, outwards(math.cosh), lambda x, e: 11 + abs(x) + e),
    "asinh": Function(math.asinh, lambda x, e: e / math.sqrt(1 + nearest(x, e) ** 2), 15),
    "acosh": Function(math.acosh, acosh_spread, 14),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_off_by_what_the_error_of_its_operand_does_and_its_own(name: str) -> None:
    assert_function(name, FUNCTIONS[name])


@pytest.mark.parametrize(
    ("x", "e"), [(0.0, 0.0), (0.25, 0.0), (-0.25, 0.125), (0.5, 0.375), (0.125, 0.5), (0.75, 0.0)]
)
def test_an_inverse_tangent_is_as_far_off_as_two_logarithms(x: float, e: float) -> None:
    spread = math.atanh(abs(x) + e) - math.atanh(abs(x))
    plain = r3(math.atanh(x), spread, roundings=10)
    inside = abs(x) + e >= 0.27 and abs(x) - e <= 0.54
    want = plain + inside * 2 * 130 * EPS * (abs(math.atanh(x)) + plain)
    assert_bounds(call("atanh", coarse(), bounded([x], e)), [math.atanh(x)], [want], ulps=SOME_ULPS)


def test_at_the_ends_of_the_domain_nothing_is_known() -> None:
    ends = bounded([0.75, 0.75, -1.0, 0.5], [0.25, 0.5, 0.0, INF])
    assert (call("atanh", coarse(), ends).error == INF).all()
    for name in FUNCTIONS:
        assert (call(name, coarse(), bounded([INF, 3.0, -INF], INF)).error == INF).all()
    below = call("acosh", coarse(), bounded([1.0, 1.5, 1.25, 0.5], [0.0, 0.5, 0.5, 0.0]))
    assert np.isinf(below.error).tolist() == [False, False, True, True]


def test_nearer_to_the_end_than_a_ratio_is_computed_nothing_is_known() -> None:
    """There the ratio of (1.5 - x - e) / 0.5 is less than 8 of its last places below 1."""
    for places, unknown in ((1, True), (10, True), (11, False), (40, False)):
        operand = bounded([0.5], 0.5 - places * 2.0**-54)
        assert np.isinf(call("atanh", coarse(), operand).error) == unknown
    for e in (0.5, 0.6, 1.4, 1.5, 1.6, 9.0):
        assert np.isinf(call("atanh", coarse(), bounded([0.5], e)).error)


SLOPES = {
    "sinh": (1.5, math.cosh(1.5)),
    "cosh": (1.5, math.sinh(1.5)),
    "asinh": (1.5, 1 / math.sqrt(1 + 1.5**2)),
    "acosh": (1.5, 1 / math.sqrt(1.5**2 - 1)),
    "atanh": (0.75, 1 / (1 - 0.75**2)),
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_small_error_does_what_the_derivative_says(name: str) -> None:
    x, slope = SLOPES[name]
    spread = spread_of(name, bounded(x, 2.0**-60))
    np.testing.assert_allclose(spread, 2.0**-60 * slope, rtol=SOME_ULPS)
    if name != "acosh":
        assert spread_of(name, bounded([0.0, -0.0])).tolist() == [0, 0]


ACCURACY: dict[str, Callable[..., Array]] = {
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
}


def drawn(name: str, seed: int, dtype: npt.DTypeLike) -> Array:
    """Draw arguments of all magnitudes, near the ends of the domain and where results overflow.

    The inverse functions have branches of their own beyond the root of the largest number.
    """
    rng = np.random.default_rng(seed)
    largest = float(np.log10(np.finfo(dtype).max)) * (1 - 1e-6)
    if name == "acosh":
        return 1 + abs(np.append(magnitudes(rng, -6, 9), magnitudes(rng, 9, largest)))
    if name == "atanh":
        ends = 1 - 10 ** rng.uniform(-6, -0.1, 500)
        return np.concatenate([magnitudes(rng, -8, -0.01), ends, -ends])
    usual = np.append(magnitudes(rng, -8, 1.9), rng.uniform(-2, 2, 1000))
    if name == "asinh":
        return np.append(usual, magnitudes(rng, 1.9, largest))
    edge = math.log(10) * largest + math.log(2)  # twice the largest exponential is halved
    return np.append(usual, rng.uniform(edge - 10, edge, 250) * rng.choice([-1, 1], 250))


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", ACCURACY)
@given(seed=seeds)
def test_the_functions_of_numpy_and_of_jax_are_within_the_bound(
    name: str, dtype: npt.DTypeLike, seed: int
) -> None:
    assert_sound(name, ACCURACY[name], drawn(name, seed, dtype), dtypes=[dtype])


@pytest.mark.parametrize("name", ACCURACY)
def test_the_bound_is_no_more_than_8_times_the_worst_error(name: str) -> None:
    assert_sharp(name, ACCURACY[name], drawn(name, 0, np.float32))
