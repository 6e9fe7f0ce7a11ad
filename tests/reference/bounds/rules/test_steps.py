"""Between its jumps a function is exact, and at them a choice is open; (R14)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from jax import lax

from tests.support.bound_formulas import (
    EPS,
    ETA,
    INF,
    NAN,
    U,
    assert_bounds,
    bounded,
    call,
    coarse,
    columns,
    magnitudes,
    r3,
)
from tests.support.strategies import seeds

EVEN = lax.RoundingMethod.TO_NEAREST_EVEN
AWAY = lax.RoundingMethod.AWAY_FROM_ZERO


def away(x: float) -> float:
    """Round halves away from 0."""
    return math.copysign(math.floor(abs(x) + 0.5), x)


FUNCTIONS: dict[str, tuple[str, Callable[[float], float], dict[str, Any]]] = {
    "floor": ("floor", math.floor, {}),
    "ceil": ("ceil", math.ceil, {}),
    "to even": ("round", round, {"rounding_method": EVEN}),
    "away from 0": ("round", away, {"rounding_method": AWAY}),
}
POINTS = [
    *((x, e) for x in (-2.5, -1.25, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.5, 3.75) for e in (0, 0.25)),
    (0.75, 2.0),
    (-3.25, 0.5),
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_jumps_may_be_any_of_its_values_within_the_error(name: str) -> None:
    primitive, function, params = FUNCTIONS[name]
    (x,) = columns(POINTS)
    values = [float(function(point)) for point, _ in POINTS]
    ends = [(float(function(x - e)), float(function(x + e))) for x, e in POINTS]
    opened = sum(low != high for low, high in ends)
    wide = [max(high - v, v - low) for v, (low, high) in zip(values, ends, strict=True)]
    modes: list[Any] = [("decided", [0.0] * len(POINTS)), ("open", wide)]
    for kinks, errors in modes:
        rounding = coarse(kinks)
        assert_bounds(call(primitive, rounding, x, **params), values, errors)
        assert rounding.open_kinks == opened > 4


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_known_of_what_may_be_anything_and_infinity_stays(name: str) -> None:
    primitive, _, params = FUNCTIONS[name]
    x = bounded([1.5, NAN, INF, -INF], [INF, INF, 0.0, 0.0])
    for kinks in ("decided", "open"):
        result = call(primitive, coarse(kinks), x, **params)
        assert result.error.tolist() == [INF, INF, 0, 0]
        assert result.value[2:].tolist() == [INF, -INF]


def test_a_half_and_what_is_just_below_it_are_rounded_apart() -> None:
    below = np.nextafter(0.5, 0)
    x = bounded([below, -below, 0.5, -0.5, 2.0**52 + 1])
    result = call("round", coarse(), x, rounding_method=AWAY)
    assert_bounds(result, [0, -0.0, 1, -1, 2.0**52 + 1], [0.0] * 5)


# a, its error, b, its error, and what the errors do, or None where a multiple may be another.
REMAINDERS = [
    (7.0, 0.0, 2.0, 0.0, 0.0),
    (-7.0, 0.0, 2.0, 0.0, 0.0),
    (6.0, 0.0, 2.0, 0.0, 0.0),  # exactly a multiple
    (7.0, 0.25, 2.0, 0.0, 0.25),
    (7.0, 0.25, -2.0, 0.125, 0.25 + 3.5 * 0.125),
    (0.25, 0.5, 2.0, 0.0, 0.5),  # on both sides of 0, without a jump
    (6.25, 0.5, 2.0, 0.0, None),
    (7.5, 0.0, 2.0, 0.25, None),
    (1.0, 0.0, 0.25, 0.5, INF),
    (1.0, 0.0, 0.0, 0.0, INF),
    (1.0, INF, 2.0, 0.0, INF),
]


def test_a_remainder_jumps_where_it_may_be_of_another_multiple() -> None:
    a, b = columns([case[:4] for case in REMAINDERS])
    values = [math.fmod(x, y) if y else NAN for x, _, y, *_ in REMAINDERS]
    for kinks in ("decided", "open"):
        errors = []
        for (x, e, y, d, spread), value in zip(REMAINDERS, values, strict=True):
            own = 2 * U * (abs(x) + e)
            decided = e + abs(x / y) * d if spread is None else spread
            wide = max(decided, abs(value) + abs(y) + d)
            s = wide if spread is None and kinks == "open" else decided
            errors.append(r3(value, s + own) if math.isfinite(s) else INF)
        rounding = coarse(kinks)
        assert_bounds(call("rem", rounding, a, b), values, errors)
        assert rounding.open_kinks == 4
    assert errors[0] == 2 * U * 7 + 2 * U * (1 + 2 * U * 7) + ETA


def test_a_quotient_that_is_rounded_may_be_on_either_side_of_a_multiple() -> None:
    """It is computed in float64, and 4 EPS are left for the roundings of that."""
    for k in (-5, -2, 2, 5):
        rounding = coarse("open")
        call("rem", rounding, bounded([2 * (1 + k * EPS)], 1e-300), bounded([2.0]))
        assert rounding.open_kinks == (abs(k) < 4), k


@given(seed=seeds)
def test_no_remainder_within_the_errors_is_beyond_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (
        bounded(magnitudes(rng, -1, 1.5), abs(magnitudes(rng, -3, 0))),
        bounded(magnitudes(rng, -0.5, 0.5), abs(magnitudes(rng, -4, -1))),
    )
    error = call("rem", coarse("open", largest=INF), a, b).error
    for _ in range(20):
        moved = [z.value + z.error * rng.uniform(-1, 1, z.value.shape) for z in (a, b)]
        assert (abs(np.fmod(*moved) - np.fmod(a.value, b.value)) <= error).all()


def test_the_remainder_of_integers_is_exact_and_that_of_0_is_the_dividend() -> None:
    a, b = bounded([7, -7, 5, 3], [False, False, True, False]), bounded([2, 2, 3, 0])
    assert_bounds(call("rem", coarse(), a, b), [1, -1, 2, 3], a.error)
