"""The tangent and angles: what the errors of the operands do, and the steps; (R12)."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given

from reference.arrays import Array
from tests.support.bound_formulas import (
    INF,
    SOME_ULPS,
    Function,
    assert_bounds,
    assert_function,
    assert_sharp,
    assert_sound,
    bounded,
    call,
    coarse,
    columns,
    magnitudes,
    nearest,
    r3,
    spread_of,
)
from tests.support.strategies import seeds


def tan_spread(x: float, e: float) -> float:
    """Bound how far the tangents of an interval without a pole are from that of its middle."""
    pole = math.floor((x + e) / math.pi - 0.5) != math.floor((x - e) / math.pi - 0.5)
    if pole:
        return INF
    steepest = min(abs(math.cos(x - e)), abs(math.cos(x + e)))
    return math.sin(e) / (abs(math.cos(x)) * steepest)


def inverse_spread(x: float, e: float) -> float:
    """2 (sqrt(1 - a) - sqrt(1 - b)) / sqrt(1 + a), between a = |x| and b, farther from 0."""
    a, b = abs(x), abs(x) + e
    if e == 0:
        return 0.0
    return 2 * e / (math.sqrt(1 + a) * (math.sqrt(1 - a) + math.sqrt(1 - b)))


FUNCTIONS = {
    "tan": Function(math.tan, tan_spread),
    "atan": Function(math.atan, lambda x, e: e / (1 + nearest(x, e) ** 2)),
    "asin": Function(math.asin, inverse_spread, 12),
    "acos": Function(math.acos, inverse_spread, 12),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_off_by_what_the_error_of_its_operand_does_and_its_own(name: str) -> None:
    assert_function(name, FUNCTIONS[name], ulps=16 * SOME_ULPS)  # which a tangent near a pole has


SLOPES = {
    "tan": (1.5, 1 / math.cos(1.5) ** 2),
    "atan": (1.5, 1 / (1 + 1.5**2)),
    "asin": (-0.75, 1 / math.sqrt(1 - 0.75**2)),
    "acos": (0.75, 1 / math.sqrt(1 - 0.75**2)),
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_small_error_does_what_the_derivative_says(name: str) -> None:
    x, slope = SLOPES[name]
    spread = spread_of(name, bounded(x, 2.0**-60))
    np.testing.assert_allclose(spread, 2.0**-60 * slope, rtol=16 * SOME_ULPS)
    assert spread_of(name, bounded([0.0, -0.0])).tolist() == [0, 0]


def test_at_a_pole_and_beyond_the_end_of_the_domain_nothing_is_known() -> None:
    near_pole = bounded([1.5, -1.5, 1.5, 4.75, 0.0, 1.5707963], [0.0625, 0.125, 3.0, 0.125, 3.2, 1])
    assert np.isinf(call("tan", coarse(), near_pole).error).tolist() == [False, *[True] * 5]
    for name in ("asin", "acos"):
        ends = bounded([0.75, -0.75, 1.0, 0.75, 1.5], [0.25, 0.25, 0.0, 0.26, 0.0])
        error = call(name, coarse(), ends).error
        assert np.isinf(error).tolist() == [False, False, False, True, True]
    for name in FUNCTIONS:
        if name != "atan":
            assert (call(name, coarse(), bounded([INF, 0.5], INF)).error == INF).all()


# y, its error, x, its error, and the spread of the angle.
ANGLES = [
    (0.75, 0.0, 1.0, 0.0, 0.0),
    (-0.75, 0.0, -1.0, 0.0, 0.0),
    (0.75, 0.125, 1.0, 0.0, math.asin(0.8 * 0.125 / (1.25 - 0.125))),
    (0.75, 0.0, 1.0, 0.125, math.asin(0.6 * 0.125 / (1.25 - 0.125))),
    (3.0, 0.375, -4.0, 0.5, math.asin((0.8 * 0.375 + 0.6 * 0.5) / (5 - 0.625))),
    (3.0, 3.0, 4.0, 4.0, 2 * math.pi),  # may be at the origin
    (0.75, 1.0, 1.0, 0.0, 2 * math.pi),  # sine of 3.2
    (0.25, 0.5, -4.0, 0.0, 2 * math.pi),  # across the negative axis
    (0.0, 0.0, -1.0, 0.0, 2 * math.pi),  # of either sign
    (0.0, 0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 2 * math.pi),
    (0.25, 0.25, 0.25, 0.0, 2 * math.pi),
    (0.25, 0.5, 4.0, 0.0, math.asin(4 / math.hypot(4, 0.25) * 0.5 / (math.hypot(4, 0.25) - 0.5))),
]


def test_an_angle_turns_by_as_much_as_its_point_may_move_across() -> None:
    y, x = columns([angle[:4] for angle in ANGLES])
    want = np.arctan2(y.value, x.value)
    errors = [r3(v, angle[4], roundings=9) for v, angle in zip(want.tolist(), ANGLES, strict=True)]
    assert_bounds(call("atan2", coarse(), y, x), want, errors, ulps=SOME_ULPS)


@given(seed=seeds)
def test_no_angle_within_the_errors_is_beyond_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = (bounded(magnitudes(rng, -2, 2), abs(magnitudes(rng, -3, 1))) for _ in range(2))
    error = call("atan2", coarse(), y, x).error
    for _ in range(20):
        moved = [z.value + z.error * rng.uniform(-1, 1, z.value.shape) for z in (y, x)]
        assert (abs(np.arctan2(*moved) - np.arctan2(y.value, x.value)) <= error).all()


ACCURACY: dict[str, Callable[..., Array]] = {
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
}


def drawn(name: str, seed: int) -> Array:
    """Draw arguments of all magnitudes, and near the ends of the domain."""
    rng = np.random.default_rng(seed)
    if name in {"asin", "acos"}:
        ends = 1 - 10 ** rng.uniform(-7, 0, 500)
        return np.concatenate([magnitudes(rng, -8, 0), ends, -ends])
    return np.append(magnitudes(rng, -8, 3), rng.uniform(-2, 2, 500))


@pytest.mark.parametrize("name", ACCURACY)
@given(seed=seeds)
def test_the_functions_of_numpy_and_of_jax_are_within_the_bound(name: str, seed: int) -> None:
    assert_sound(name, ACCURACY[name], drawn(name, seed))


@pytest.mark.parametrize("name", ACCURACY)
def test_the_bound_is_no_more_than_8_times_the_worst_error(name: str) -> None:
    assert_sharp(name, ACCURACY[name], drawn(name, 0))


def drawn_points(seed: int) -> list[Array]:
    """Draw y and x of all magnitudes, so that angles near every axis are among them."""
    rng = np.random.default_rng(seed)
    return [magnitudes(rng, -8, 8) for _ in range(2)]


@given(seed=seeds)
def test_the_angles_of_numpy_and_of_jax_are_within_the_bound(seed: int) -> None:
    assert_sound("atan2", np.arctan2, *drawn_points(seed))


def test_the_bound_of_an_angle_is_no_more_than_8_times_the_worst_error() -> None:
    assert_sharp("atan2", np.arctan2, *drawn_points(0))
