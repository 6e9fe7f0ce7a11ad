"""The units of an arithmetic, and what one operation adds to a bound; (R1) to (R6), (R8)."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from reference.arrays import PRECISION
from reference.bounds.rounding import Rounding, exact
from tests.support.bound_formulas import (
    ETA,
    INF,
    NAN,
    PAIRS,
    POINTS,
    SOME_ULPS,
    E,
    U,
    X,
    assert_bounds,
    bounded,
    call,
    coarse,
    columns,
    r1,
    r3,
    r8,
)

ROUNDOFF = {  # of each precision, and its smallest normal and largest number
    np.float64: (2.0**-53, 2.0**-1022, (2 - 2.0**-52) * 2.0**1023),
    np.float32: (2.0**-24, 2.0**-126, (2 - 2.0**-23) * 2.0**127),
    np.float16: (2.0**-11, 2.0**-14, 65504.0),
    ml_dtypes.bfloat16: (2.0**-8, 2.0**-126, (2 - 2.0**-7) * 2.0**127),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_units_are_those_of_the_implementation_and_of_jax_and_twice_ours(dtype: Any) -> None:
    rounding = Rounding(dtype)
    for by_jax in (np.float32, ml_dtypes.bfloat16, np.float16, np.float64):
        rounding.computing_in(by_jax)
        units = max((dtype, by_jax), key=lambda kind: ROUNDOFF[kind][0])
        for at, want in enumerate(
            (
                ROUNDOFF[units][0] + 2.0**-53 + ROUNDOFF[by_jax][0] + 2.0**-53,
                ROUNDOFF[units][1] + ROUNDOFF[by_jax][1],
                min(ROUNDOFF[dtype][2], ROUNDOFF[by_jax][2]),
            )
        ):
            assert (rounding.unit_roundoff, rounding.tiny, rounding.largest)[at] == want
    fresh = Rounding(dtype)
    assert vars(fresh) == vars(rounding)  # JAX computes in float64 to begin with
    assert fresh.dtype == np.dtype(dtype)
    assert (fresh.kinks, fresh.open_kinks) == ("decided", 0)


@pytest.mark.parametrize("dtype", [np.int64, np.complex128])
def test_an_implementation_computes_in_one_of_four_precisions(dtype: Any) -> None:
    with pytest.raises(TypeError, match=f"dtype {PRECISION}, got {dtype.__name__}"):
        Rounding(dtype)


def test_roundings_in_a_row() -> None:
    rounding = coarse()
    assert [rounding.gamma(k) for k in (0, 1, 9, 63)] == [0, 1 / 63, 9 / 55, 63]
    assert rounding.gamma(64) == rounding.gamma(65) == INF


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_input_that_the_precision_holds_is_exact_and_another_is_rounded(dtype: Any) -> None:
    rounding, u = Rounding(dtype), ROUNDOFF[dtype][0] + 3 * 2.0**-53
    tiny = ROUNDOFF[dtype][1] + 2.0**-1022
    held = [0.0, -0.0, 1.5, -(2.0**-100), -2 * tiny, tiny, INF, -INF, NAN]
    assert_bounds(rounding.given(held), held, np.zeros(len(held)))
    below = np.nextafter(tiny, 0)
    assert_bounds(rounding.given([below, -below]), [below, -below], [u * below + tiny] * 2)
    rounded = [0.1, -1e300, 1 + 2.0**-24]
    want = [u * abs(x) + tiny for x in rounded] if dtype == np.float32 else [0.0] * 3
    assert_bounds(rounding.given(rounded), rounded, want)
    single = np.array([0.1, 2.0], np.float32)
    assert_bounds(rounding.given(single), [float(single[0]), 2.0], [0.0, 0.0])


def test_integers_and_booleans_are_exact_inputs() -> None:
    for value in ([2**24 + 1, -3], [True, False], np.array([7], np.uint8)):
        for result in (coarse().given(value), exact(value)):
            assert_bounds(result, value, np.zeros(len(value), bool))
            assert result.value.dtype == np.asarray(value).dtype
    assert_bounds(exact([0.1, NAN]), [0.1, NAN], [0.0, 0.0])
    assert not np.shares_memory(exact([0.5]).error, exact([0.5]).error)  # or of one were both


def test_a_constant_is_the_same_each_time_and_other_constants_are_others() -> None:
    rounding = Rounding(np.float32)
    tenth = rounding.literal(0.1, np.float64)
    assert rounding.literal(np.float64(0.1), np.dtype(np.float64)) is tenth
    assert_bounds(tenth, 0.1, 0.1 * rounding.unit_roundoff + rounding.tiny)
    single = rounding.literal(0.1, np.float32)
    assert_bounds(single, float(np.float32(0.1)), 0.0)
    assert rounding.literal(2, np.int32).value.dtype == np.int32
    assert rounding.literal(2, np.float64).value.dtype == np.float64
    zeros = [rounding.literal(zero, np.float64).value for zero in (0.0, -0.0)]
    assert np.signbit(zeros).tolist() == [False, True]


def test_an_operation_adds_its_rounding_to_the_spread() -> None:
    rounding = coarse()
    for roundings in (0, 1, 2, 6):
        want = [r3(x, e, roundings=roundings) for x, e in POINTS]
        assert_bounds(rounding.rounded(X, E, roundings=roundings), X, want)
    assert_bounds(rounding.rounded(X, E), X, [r3(x, e) for x, e in POINTS])
    assert_bounds(rounding.function(X, E), X, [r3(x, e, roundings=9) for x, e in POINTS])


def test_a_sum_adds_the_rounding_of_all_its_terms() -> None:
    size = abs(X) + 2 * E
    for k in (1, 3, 5):
        want = [
            e + r1(k + 1) * s + (k * ETA if s else 0)
            for (_, e), s in zip(POINTS, size, strict=True)
        ]
        assert_bounds(coarse().summed(X, E, size, k), X, want, ulps=SOME_ULPS)
    assert (coarse().summed(X, E, size + 1, 63).error == INF).all()  # (R1)


def test_a_product_is_off_by_the_errors_of_both_and_by_both_errors() -> None:
    a, b = columns(PAIRS)
    want = [r3(x * y, r8(x, e, y, d)) for x, e, y, d in PAIRS]
    assert_bounds(coarse().product(a, b), a.value * b.value, want)


def test_what_reaches_beyond_the_largest_number_has_no_bound() -> None:
    """32 with its error reaches to 33 and the smallest normal number."""
    value, none = np.array([32.0, -32.0]), np.zeros(2)
    for largest, finite in ((33 + ETA, True), (33 + ETA / 2, False)):
        rounding = coarse(largest=largest)
        want = [1 + ETA if finite else INF] * 2
        assert_bounds(rounding.rounded(value, none), value, want)
        assert_bounds(rounding.rounded(value / 2, value * 0 + 16), value / 2, np.array(want) + 16)
    size, error = np.array([48.0]), 3 * U / (1 - 3 * U) * 48 + 2 * ETA
    for largest, finite in ((48 + error, True), (np.nextafter(48 + error, 0), False)):
        result = coarse(largest=largest).summed(np.zeros(1), np.zeros(1), size, 2)
        assert_bounds(result, [0.0], [error if finite else INF])


def test_nothing_is_known_where_a_bound_is_not_a_number() -> None:
    nothing, one = np.array([NAN]), np.ones(1)
    for value, spread in ((nothing, one), (one, nothing), (one, one * INF), (one * INF, one)):
        assert coarse(largest=INF).rounded(value, spread).error == INF or value[0] == INF
        assert coarse().rounded(value, spread).error == INF
        assert coarse().summed(value, spread, value, 1).error == INF
    unknown, zero = bounded([2.0], INF), bounded([0.0])
    for a, b in ((unknown, zero), (zero, unknown)):
        assert call("mul", coarse(), a, b).error == INF
