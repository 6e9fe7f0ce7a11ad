"""The rule of each primitive gives the bound of ROUNDING.md: no wider, and no narrower.

The formulas are written out here once more, for one number at a time. The units are mostly so large
that each term of a bound shows, and powers of 2, as the operands and their errors are: sums and
products of them are exact, and so equal. Quotients, roots and elementary functions may be computed
in another order, and agree up to some ulps of float64.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from jax import lax

from reference.bounds import rules  # noqa: F401, registers them
from reference.bounds.registry import RULES
from reference.bounds.rounding import Bounded, Extreme, Kinks, Rounding, exact, may_tie, reach
from reference.bounds.tracing import Traced, evaluate, precise_jax

Array = npt.NDArray[Any]
Scalar = Callable[[float], float]

U, ETA, LARGEST = 2.0**-6, 2.0**-9, 2.0**16
EPS = 2.0**-52
SOME_ULPS = 32 * EPS  # some thirty operations, each within an ulp, whose bounds are all positive
INF, NAN = math.inf, math.nan
UNSURE = np.True_  # the error of an integer or a boolean that may be another


def coarse(kinks: Kinks = "decided", *, largest: float = LARGEST) -> Rounding:
    """Make one with large units, in which each term of a bound shows."""
    rounding = Rounding(np.float32, kinks=kinks)
    rounding.unit_roundoff, rounding.tiny, rounding.largest = U, ETA, largest
    return rounding


def bounded(value: Any, error: Any = 0.0) -> Bounded:
    """Make an operand, with one error for all its elements or one each."""
    value = np.asarray(value)
    kind = np.float64 if value.dtype.kind == "f" else bool
    return Bounded(value, np.broadcast_to(error, value.shape).astype(kind))


def call(name: str, rounding: Rounding, *operands: Bounded, **params: Any) -> Any:
    """Apply a rule as `evaluate` does, which may not change the operands: others use them too."""
    for part in itertools.chain(*operands):
        np.asarray(part).flags.writeable = False
    with np.errstate(all="ignore"), precise_jax():
        return RULES[name](rounding, *operands, **params)


def applied(
    function: Callable[..., Any], rounding: Rounding, *operands: Bounded, **other: Any
) -> Any:
    """Apply the rule of a function's last primitive, with the parameters that JAX gives it."""
    *_, eqn = Traced(function, *(operand.value for operand in operands)).jaxpr.eqns
    return call(eqn.primitive.name, rounding, *operands, **(eqn.params | other))


def spread_of(name: str, *operands: Bounded, **params: Any) -> Array:
    """What the operands' errors alone do: the bound of an arithmetic that does not round."""
    rounding = coarse(largest=INF)
    rounding.unit_roundoff = rounding.tiny = 0.0
    return call(name, rounding, *operands, **params).error


def assert_bounds(result: Bounded, value: Any, error: Any, *, ulps: float = 0.0) -> None:
    """Hold a result against the numbers it should have."""
    value, error = np.asarray(value), np.asarray(error)
    assert result.value.shape == result.error.shape == value.shape
    assert result.error.dtype == (np.float64 if value.dtype.kind == "f" else bool)
    assert result.value.dtype.kind == value.dtype.kind
    np.testing.assert_allclose(result.value, value, rtol=ulps, atol=ulps)
    np.testing.assert_allclose(result.error, error, rtol=ulps, atol=0)


# The formulas, for one number


def r1(k: int) -> float:
    """Bound k roundings in a row."""
    return k * U / (1 - k * U) if k * U < 1 else INF


def r3(value: float, spread: float, *, roundings: int = 2, largest: float = LARGEST) -> float:
    """Add an operation's rounding to its spread; without a number nothing is known."""
    size = abs(value) + spread
    error = spread + roundings * U * size + (ETA if size > 0 else 0)
    return error if abs(value) + error <= largest else INF


def r6(terms: Sequence[tuple[float, float, float]], k: int) -> tuple[float, float]:
    """Sum terms, each with its spread and its size, as one of k."""
    value, spread, size = (math.fsum(column) for column in zip(*terms, strict=True))
    error = spread + r1(k + 1) * size + (k * ETA if size > 0 else 0)
    return value, error if size + error <= LARGEST else INF


def r8(x: float, e: float, y: float, d: float) -> float:
    """Bound the spread of a product."""
    return abs(x) * d + e * (abs(y) + d)


def term(x: float, e: float, y: float = 1.0, d: float = 0.0) -> tuple[float, float, float]:
    """Give a product's value, spread and size."""
    return x * y, r8(x, e, y, d), (abs(x) + e) * (abs(y) + d)


def summed(x: Bounded, k: int) -> tuple[float, float]:
    """Sum all of an array's elements, as some of k terms."""
    return r6([term(*pair) for pair in zip(x.value.ravel(), x.error.ravel(), strict=True)], k)


# The units, (R1), (R2), (R5)

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


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.complex128])
def test_an_implementation_computes_in_float32_or_float64(dtype: Any) -> None:
    with pytest.raises(TypeError, match=f"dtype must be float32 or float64, got {dtype.__name__}"):
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


# One operation, (R3), (R4), (R6), (R8)

VALUES = (-3.0, -1.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 3.0)
ERRORS = (0.0, 0.125, 0.5, 3.0)
POINTS = list(itertools.product(VALUES, ERRORS))


def columns(points: Any) -> list[Bounded]:
    """Make operands of points, each of which has a value and an error for each operand."""
    table = np.array(points).T.reshape(-1, 2, len(points))
    table.flags.writeable = False
    return [Bounded(*pair) for pair in table]


X, E = columns(POINTS)[0]
PAIRS = [(*a, *b) for a in POINTS[::3] for b in POINTS]


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


# Primitives of one number


class Function(NamedTuple):
    """A function of one number, what an error does to it, and how many roundings it has."""

    value: Scalar
    spread: Callable[[float, float], float]
    roundings: int = 9


def nearest(x: float, e: float) -> float:
    """How near to 0 the interval comes."""
    return max(abs(x) - e, 0.0)


def fall(function: Scalar) -> Callable[[float, float], float]:
    """Say how far a function lies from its value at the lower end."""
    return lambda x, e: abs(function(x) - function(x - e))


def rise(function: Scalar) -> Callable[[float, float], float]:
    """Say how far a function lies from its value at the upper end."""
    return lambda x, e: function(x + e) - function(x)


def rsqrt(x: float) -> float:
    """1 / sqrt(x)."""
    return 1 / math.sqrt(x)


def square_error(x: float, e: float) -> float:
    """What an implementation's x x may be off."""
    return r3(x * x, r8(x, e, x, e))


FUNCTIONS = {
    "square": Function(lambda x: x * x, lambda x, e: r8(x, e, x, e), 2),
    "one_minus_square": Function(lambda x: (1 + x) * (1 - x), square_error, 6),
    "exp": Function(math.exp, rise(math.exp)),
    "exp2": Function(math.exp2, rise(math.exp2)),
    "expm1": Function(math.expm1, rise(math.expm1)),
    "log": Function(math.log, fall(math.log)),
    "log1p": Function(math.log1p, fall(math.log1p)),
    "sqrt": Function(math.sqrt, fall(math.sqrt)),
    "rsqrt": Function(rsqrt, fall(rsqrt)),
    "sin": Function(math.sin, lambda _, e: min(e, 2)),
    "cos": Function(math.cos, lambda _, e: min(e, 2)),
    "tanh": Function(math.tanh, lambda x, e: e / math.cosh(nearest(x, e)) ** 2),
    "erf": Function(
        math.erf, lambda x, e: e * 2 / math.sqrt(math.pi) * math.exp(-(nearest(x, e) ** 2))
    ),
    "erfc": Function(math.erfc, lambda x, e: r3(math.erf(x), erf_spread(x, e), roundings=9)),
    "logistic": Function(
        lambda x: 1 / (1 + math.exp(-x)),
        lambda x, e: e / 4 / math.cosh(nearest(x, e) / 2) ** 2,
        9 + 2 * 2,
    ),
}


def erf_spread(x: float, e: float) -> float:
    """What an error does to erf."""
    return FUNCTIONS["erf"].spread(x, e)


def known(function: Callable[..., float], *args: float) -> float:
    """Give a function's value, and NaN outside of its domain."""
    try:
        return function(*args)
    except (ValueError, ZeroDivisionError):
        return NAN


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_off_by_what_the_error_of_its_operand_does_and_its_own(name: str) -> None:
    """At the edge of its domain nothing is known of it but for an operand that is exact."""
    function = FUNCTIONS[name]
    values = [known(function.value, x) for x, _ in POINTS]
    errors = [
        r3(value, known(function.spread, x, e), roundings=function.roundings)
        for (x, e), value in zip(POINTS, values, strict=True)
    ]
    result = call(name, coarse(), Bounded(X, E))
    here = ~np.isnan(values)
    ulps = 0.0 if name in {"square", "one_minus_square"} else SOME_ULPS
    assert_bounds(Bounded(result.value[here], result.error[here]), np.array(values)[here],
                  np.array(errors)[here], ulps=ulps)  # fmt: skip
    assert np.isinf(result.error[~here]).all()


# Of each function, the derivative at 1.5.
SLOPES: dict[str, float] = {
    "exp": math.exp(1.5),
    "exp2": math.exp2(1.5) * math.log(2),
    "expm1": math.exp(1.5),
    "log": 1 / 1.5,
    "log1p": 1 / 2.5,
    "sqrt": 0.5 / math.sqrt(1.5),
    "rsqrt": 0.5 * 1.5**-1.5,
    "sin": 1.0,  # at most
    "tanh": 1 / math.cosh(1.5) ** 2,
    "erf": 2 / math.sqrt(math.pi) * math.exp(-2.25),
    "logistic": 0.25 / math.cosh(0.75) ** 2,
    "square": 3.0,
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_small_error_does_what_the_derivative_says(name: str) -> None:
    """So small that a difference of two values of the function would have no digits left."""
    spread = spread_of(name, bounded(1.5, 2.0**-60))
    np.testing.assert_allclose(spread, 2.0**-60 * SLOPES[name], rtol=SOME_ULPS)


@pytest.mark.parametrize("name", ["sqrt", "tanh", "exp", "sin", "erf", "logistic", "square"])
def test_an_exact_zero_has_no_spread(name: str) -> None:
    assert spread_of(name, bounded([0.0, -0.0])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("name", "limits"), [("tanh", (-1, 1)), ("erf", (-1, 1)), ("logistic", (0, 1)), ("exp", (0,))]
)
def test_a_function_of_an_exact_infinity_is_its_limit(name: str, limits: Sequence[float]) -> None:
    result = call(name, coarse(), bounded([-INF, INF][: len(limits)]))
    want = [r3(limit, 0, roundings=FUNCTIONS[name].roundings) for limit in limits]
    assert_bounds(result, np.array(limits, float), want)


@pytest.mark.parametrize("name", [*FUNCTIONS, "integer_pow"])
def test_nothing_is_known_of_a_function_of_what_may_be_anything(name: str) -> None:
    result = call(name, coarse(), bounded([-INF, INF, NAN, 1.0, 0.0], INF), y=-2)
    if name in {"sin", "cos"}:  # between -1 and 1 in any case
        assert (result.error[:3] == INF).all()
        return
    assert (result.error == INF).all()


@pytest.mark.parametrize("y", range(-5, 7))
def test_an_integer_power_multiplies_or_is_that_of_a_library(y: int) -> None:
    def error_of(x: float, e: float) -> float:
        n, inner = abs(y), nearest(x, e)
        if y >= 0:
            value, spread = x**y, (abs(x) + e) ** y - abs(x) ** y
        elif inner**n <= ETA:  # its reciprocal may be that of 0
            return INF
        else:
            value, spread = x**y, inner**y - abs(x) ** y
        roundings = 2 * n if n <= 2 else max(2 * n, 9)
        own = spread + r1(roundings) * (abs(value) + spread)
        return r3(value, own, roundings=0)

    points = [*POINTS, (0.25, 0.125), (-0.25, 0.125), (0.125, 0.0), (3.0, 0.5), (-2.0, 0.0)]
    (operand,) = columns(points)
    with np.errstate(divide="ignore"):
        value = operand.value ** np.float64(y)
    result = call("integer_pow", coarse(), operand, y=y)
    assert_bounds(result, value, [error_of(*point) for point in points], ulps=SOME_ULPS)


@pytest.mark.parametrize("y", [-3, -1, 1, 2, 5])
def test_a_small_error_does_to_a_power_what_the_derivative_says(y: int) -> None:
    spread = spread_of("integer_pow", bounded([1.5, -1.5], 2.0**-60), y=y)
    np.testing.assert_allclose(spread, 2.0**-60 * abs(y) * 1.5 ** (y - 1), rtol=SOME_ULPS)
    assert spread_of("integer_pow", bounded([1.5, -1.5]), y=y).tolist() == [0, 0]


def test_the_sign_may_be_the_other_where_the_operand_is_near_0() -> None:
    operand = bounded([-2.0, 0.5, 0.5, 0.0, -0.5, 0.25], [0.5, 0.5, 0.25, 0, 0.75, 0])
    want, near = [-1.0, 1.0, 1.0, 0.0, -1.0, 1.0], np.array([0, 1, 0, 0, 1, 0])
    for kinks, error in (("decided", near * 0.0), ("open", near * 2.0)):
        rounding = coarse(cast("Kinks", kinks))
        assert_bounds(call("sign", rounding, operand), want, error)
        assert rounding.open_kinks == 2


@pytest.mark.parametrize(("name", "function"), [("neg", np.negative), ("abs", np.abs)])
def test_a_change_of_sign_is_not_rounded(name: str, function: Callable[..., Array]) -> None:
    assert_bounds(call(name, coarse(), Bounded(X, E)), function(X), E)
    whole = bounded([-2, 3], [True, False])
    assert_bounds(call(name, coarse(), whole), function(whole.value), [True, False])


# Primitives of two numbers


def power_spread(a: float, e: float, b: float, d: float) -> float:
    """a^b = exp(b ln a): what the errors of both do to it."""
    if e == d == 0:
        return 0.0
    if a <= e or a <= 0:
        return INF
    ln = math.log(a) - math.log(a - e)
    return a**b * math.expm1(abs(b) * ln + d * (abs(math.log(a)) + ln))


def quotient_spread(a: float, e: float, b: float, d: float) -> float:
    """What the errors of both do to a quotient."""
    return INF if d >= abs(b) else (e + abs(a / b) * d) / (abs(b) - d)


class Operation(NamedTuple):
    """A function of two numbers, the spread of its result, and how many roundings it has."""

    value: Callable[[float, float], float]
    spread: Callable[[float, float, float, float], float]
    roundings: int = 2
    ulps: float = 0.0


OPERATIONS = {
    "add": Operation(lambda a, b: a + b, lambda _, e, __, d: e + d),
    "add_any": Operation(lambda a, b: a + b, lambda _, e, __, d: e + d),
    "sub": Operation(lambda a, b: a - b, lambda _, e, __, d: e + d),
    "mul": Operation(lambda a, b: a * b, r8),
    "div": Operation(lambda a, b: a / b, quotient_spread, 2, SOME_ULPS),
    "pow": Operation(math.pow, power_spread, 9, SOME_ULPS),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_off_by_what_the_errors_of_its_operands_do_and_its_own(name: str) -> None:
    operation = OPERATIONS[name]
    values = np.array([known(operation.value, a, b) for a, _, b, _ in PAIRS])
    errors = np.array(
        [
            r3(value, operation.spread(*pair), roundings=operation.roundings)
            if not math.isnan(value)
            else INF
            for pair, value in zip(PAIRS, values, strict=True)
        ]
    )
    result = call(name, coarse(), *columns(PAIRS))
    here = np.isfinite(values)
    assert_bounds(
        Bounded(result.value[here], result.error[here]),
        values[here],
        errors[here],
        ulps=operation.ulps,
    )
    assert np.isinf(result.error[~here]).all()


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "max", "min"])
def test_operands_may_be_broadcast(name: str) -> None:
    a, b = bounded([[1.5, 2.0, 3.0]], [[0.125, 0.0, 0.25]]), bounded([[1.0], [2.0]], 0.25)
    result = call(name, coarse(), a, b)
    wide = [Bounded(*(np.broadcast_to(part, (2, 3)).copy() for part in x)) for x in (a, b)]
    want = call(name, coarse(), *wide)
    assert_bounds(result, want.value, want.error)


def test_an_exact_infinity_stays_one_whatever_finite_is_added() -> None:
    """The error of an infinity, or another infinity, leaves nothing known."""
    cases = [  # value and error of each operand, and whether the sum is known
        (INF, 0, 1.0, 0.5, True),
        (-INF, 0, 1.0, 0.0, True),
        (INF, 0.5, 1.0, 0.0, False),
        (INF, 0, 1.0, INF, False),
        (INF, 0, NAN, 0.0, False),
        (INF, 0, INF, 0.0, False),
        (INF, 0, -INF, 0.0, False),
        (INF, INF, 1.0, 0.0, False),
    ]
    first, second = columns([case[:4] for case in cases])
    want = [0.0 if case[4] else INF for case in cases]
    for a, b in ((first, second), (second, first)):
        with np.errstate(invalid="ignore"):
            assert_bounds(call("add", coarse(), a, b), a.value + b.value, want)
            assert_bounds(call("sub", coarse(), a, b), a.value - b.value, want)


def test_powers_of_what_has_no_logarithm_are_known_where_they_are_exact() -> None:
    points = [
        (0.0, 0.0, 2.0, 0.0),
        (-2.0, 0.0, 3.0, 0.0),
        (0.5, 0.0, INF, 0.0),
        (1.5, 0.25, 0.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (1.0, 0.0, 3.0, 0.5),
    ]
    want = [0.0, -8.0, 0.0, 1.0, 1.0, 1.0]
    error = [r3(value, 0, roundings=9) for value in want]
    assert_bounds(call("pow", coarse(), *columns(points)), want, error)
    unknown = [
        (-2.0, 0.0, 3.0, 0.125),
        (-2.0, 0.125, 3.0, 0.0),
        (0.0, 0.0, 2.0, 0.125),
        (0.0, 0.125, 2.0, 0.0),
        (-2.0, 0.0, 0.5, 0.0),
        (0.0, 0.0, -1.0, 0.0),
        (0.25, 0.25, 1.0, 0.0),
        (0.25, 0.5, 0.0, 0.0),
    ]
    assert np.isinf(call("pow", coarse(), *columns(unknown)).error).all()


def test_the_exponent_may_be_an_integer() -> None:
    result = call("pow", coarse(), bounded([2.0, 2.0]), bounded([3, 3], [False, True]))
    assert_bounds(result, [8.0, 8.0], [r3(8, 0, roundings=9), INF])


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("add", [10, -5, 9]),
        ("sub", [4, -9, 5]),
        ("mul", [21, -14, 14]),
        ("div", [2, -3, 3]),
        ("and", [7 & 3, -7 & 2, 7 & 2]),
        ("or", [7 | 3, -7 | 2, 7 | 2]),
        ("xor", [7 ^ 3, -7 ^ 2, 7 ^ 2]),
    ],
)
def test_an_integer_is_unsure_where_an_operand_is(name: str, want: list[int]) -> None:
    a, b = bounded([7, -7, 7], [False, True, False]), bounded([3, 2, 2], [False, False, True])
    assert_bounds(call(name, coarse(), a, b), want, [False, True, True])


@pytest.mark.parametrize(
    ("name", "params", "want"),
    [
        ("integer_pow", {"y": 3}, [8, -27]),
        ("square", {}, [4, 9]),
        ("one_minus_square", {}, [-3, -8]),
        ("sign", {}, [1, -1]),
        ("not", {}, [~2, ~-3]),
    ],
)
def test_an_integer_function_is_unsure_where_its_operand_is(
    name: str, params: dict[str, Any], want: list[int]
) -> None:
    operand = bounded([2, -3], [True, False])
    assert_bounds(call(name, coarse(), operand, **params), want, [True, False])


def test_large_integers_are_divided_without_rounding() -> None:
    a, b = [2**53 + 1, -(2**53) - 1, 2**60 + 2], [1, 1, -3]
    result = call("div", coarse(), bounded(a), bounded(b))
    assert_bounds(result, [a[0], a[1], -(a[2] // 3)], [False] * 3)


def test_booleans_are_combined() -> None:
    a, b = bounded([True, True, False], [True, False, False]), bounded([True, False, False])
    for name, want in (
        ("and", [True, False, False]),
        ("or", [True, True, False]),
        ("xor", [False, True, False]),
    ):
        assert_bounds(call(name, coarse(), a, b), want, [True, False, False])
    assert_bounds(call("not", coarse(), a), [False, False, True], [True, False, False])
    finite = bounded([1.0, INF, NAN, 1.0], [0.5, 0, 0, INF])
    assert_bounds(
        call("is_finite", coarse(), finite), [True, False, False, True], [False] * 3 + [True]
    )


# Sums and products of matrices, (R6), (R7)

TABLE = bounded(
    np.array([[[1.0, -2.0, 0.5], [0.25, 0.0, -1.5]], [[3.0, 1.0, -0.5], [2.0, -0.25, 0.0]]]),
    np.array([[[0, 0.5, 0.25], [0.125, 0, 0]], [[0.5, 0, 0], [0.25, 0.125, 0]]]),
)
WHOLE = bounded(np.arange(12).reshape(2, 2, 3), np.arange(12).reshape(2, 2, 3) == 4)


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 2), (0, 1, 2), ()])
def test_a_sum_has_as_many_terms_as_elements_fall_together(axes: tuple[int, ...]) -> None:
    kept = [axis for axis in range(3) if axis not in axes]
    shape = [TABLE.value.shape[axis] for axis in kept]
    want = np.zeros((2, *shape))
    for place in np.ndindex(*shape):
        index: list[Any] = [slice(None)] * 3
        for axis, at in zip(kept, place, strict=True):
            index[axis] = slice(at, at + 1)
        part = Bounded(TABLE.value[tuple(index)], TABLE.error[tuple(index)])
        want[:, *place] = summed(part, part.value.size)
    assert_bounds(call("reduce_sum", coarse(), TABLE, axes=axes), *want, ulps=SOME_ULPS)
    whole = call("reduce_sum", coarse(), WHOLE, axes=axes)
    assert_bounds(whole, WHOLE.value.sum(axis=axes), WHOLE.error.any(axis=axes))


def test_an_empty_sum_is_an_exact_0() -> None:
    assert_bounds(
        call("reduce_sum", coarse(), bounded(np.ones((0, 2))), axes=(0,)), [0.0, 0.0], 0 * X[:2]
    )
    assert_bounds(
        call("reduce_sum", coarse(), bounded(np.ones((0, 2))), axes=(1,)), [], np.zeros(0)
    )
    zeros = bounded(np.zeros((2, 3)))
    assert_bounds(call("reduce_sum", coarse(), zeros, axes=(1,)), [0.0, 0.0], [0.0, 0.0])


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_running_sum_is_a_sum_at_each_place(axis: int, reverse: bool) -> None:
    k = TABLE.value.shape[axis]
    want = np.zeros((2, *TABLE.value.shape))
    whole = np.zeros_like(WHOLE.value), np.zeros_like(WHOLE.error)
    for place in np.ndindex(*TABLE.value.shape):
        upto = slice(place[axis], None) if reverse else slice(0, place[axis] + 1)
        index: tuple[Any, ...] = (*place[:axis], upto, *place[axis + 1 :])
        want[:, *place] = summed(Bounded(TABLE.value[index], TABLE.error[index]), k)
        whole[0][place], whole[1][place] = WHOLE.value[index].sum(), WHOLE.error[index].any()
    params = {"axis": axis, "reverse": reverse}
    assert_bounds(call("cumsum", coarse(), TABLE, **params), *want, ulps=SOME_ULPS)
    assert_bounds(call("cumsum", coarse(), WHOLE, **params), *whole)


DOTS = {  # the axes summed over and the batch axes of each operand
    "nij,nkj->nik": (((2,), (2,)), ((0,), (0,))),
    "nij,jm->nim": (((2,), (0,)), ((), ())),
    "nij,ijm->nm": (((1, 2), (0, 1)), ((), ())),
    "nij,jin->n": (((1, 2), (1, 0)), ((0,), (2,))),
    "nij,ni->nj": (((1,), (1,)), ((0,), (0,))),
    "nij,k->nijk": (((), ()), ((), ())),
    "nij,jni->jn": (((1,), (2,)), ((2, 0), (0, 1))),
}


def other_factor(shape: Sequence[int]) -> Bounded:
    """Make one of small dyadic numbers, some of them exact."""
    place = np.arange(int(np.prod(shape))).reshape(shape)
    return Bounded((place % 5 - 2) / 4, (place % 3) / 8)


@pytest.mark.parametrize("equation", DOTS)
def test_a_product_of_matrices_is_a_sum_of_products(equation: str) -> None:
    inputs, output = equation.split("->")
    of_a, of_b = inputs.split(",")
    sizes = dict(zip(of_a, TABLE.value.shape, strict=True)) | {"k": 4, "m": 2}
    if equation == "nij,nkj->nik":
        sizes["k"] = 2
    b = other_factor([sizes[letter] for letter in of_b])
    shape = [sizes[letter] for letter in output]
    inner = sorted({*of_a, *of_b} - set(output))
    want = np.zeros((2, *shape))
    whole = Bounded(np.zeros(shape, int), np.zeros(shape, bool))
    integers = bounded(np.arange(b.value.size).reshape(b.value.shape), b.error > 0.125)
    for place in np.ndindex(*shape):
        terms = []
        for at in np.ndindex(*(sizes[letter] for letter in inner)):
            where = dict(zip([*output, *inner], [*place, *at], strict=True))
            i, j = (tuple(where[letter] for letter in letters) for letters in (of_a, of_b))
            terms.append(term(TABLE.value[i], TABLE.error[i], b.value[j], b.error[j]))
            whole.value[place] += WHOLE.value[i] * integers.value[j]
            whole.error[place] |= WHOLE.error[i] | integers.error[j]
        want[:, *place] = r6(terms, len(terms))
    params = {"dimension_numbers": DOTS[equation]}
    assert_bounds(call("dot_general", coarse(), TABLE, b, **params), *want, ulps=SOME_ULPS)
    assert_bounds(call("dot_general", coarse(), WHOLE, integers, **params), *whole)


def test_nothing_is_known_of_a_product_with_what_may_be_anything() -> None:
    a, zero = bounded([[1.0, 2.0]], [[0.0, INF]]), bounded([[1.0], [0.0]])
    params = {"dimension_numbers": (((1,), (0,)), ((), ()))}
    assert_bounds(call("dot_general", coarse(), a, zero, **params), [[1.0]], [[INF]])
    images, kernel = (Bounded(*(part.reshape(1, 1, 2) for part in x)) for x in (a, zero))
    assert_bounds(convolve(coarse(), images, kernel), [[[1.0]]], [[[INF]]])


def convolve(
    rounding: Rounding,
    images: Bounded,
    kernel: Bounded,
    *,
    stride: int = 1,
    after: int = 0,
    **other: Any,
) -> Any:
    """Convolve along one axis; both have the axes batch or output, feature, place."""

    def function(images: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(images, kernel, (stride,), [(0, after)])

    return applied(function, rounding, images, kernel, **other)


def test_a_convolution_is_a_sum_of_products_at_each_place() -> None:
    images, kernel = TABLE, other_factor((3, 2, 2))  # 2 features, 2 places of the kernel
    want = np.zeros((2, 2, 3, 2))
    for n, o, place in np.ndindex(2, 3, 2):
        terms = [
            term(*(x[n, c, place + at] for x in images), *(x[o, c, at] for x in kernel))
            for c, at in np.ndindex(2, 2)
        ]
        want[:, n, o, place] = r6(terms, 4)
    assert_bounds(convolve(coarse(), images, kernel), *want, ulps=SOME_ULPS)
    single = {"preferred_element_type": np.dtype(np.float32)}  # of a loss in float32
    padded = convolve(coarse(), images, kernel, stride=2, after=1, **single)
    assert padded.value.dtype == np.float64
    first = Bounded(*(part[..., 0] for part in padded))
    assert_bounds(first, *want[..., 0], ulps=SOME_ULPS)


# Choices, (R9), (R10), (R11)

# Two numbers with their errors, and whether either may be the larger.
NEAR: list[tuple[float, float, float, float, bool]] = [
    (1.0, 0.0, 1.0, 0.0, False),  # an exact tie
    (1.0, 0.25, 1.0, 0.0, True),
    (1.0, 0.0, 1.5, 0.5, True),
    (1.5, 0.25, 1.0, 0.25, True),
    (1.0, 0.25, 1.5, 0.125, False),
    (1.0, 0.0, 2.0, 0.0, False),
    (-1.0, 0.5, 1.0, 1.5, True),
    (INF, 0.0, INF, 0.0, False),
    (INF, INF, 1.0, 0.0, True),
    (INF, INF, INF, 0.0, True),
    (NAN, 0.0, 1.0, 0.0, False),
    (NAN, INF, 1.0, 0.0, True),
    (INF, 0.0, 1.0, 1.0, False),
]
NEAR_A, NEAR_B = columns([case[:4] for case in NEAR])
TIES = [case[4] for case in NEAR]
COMPARISONS = {
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_is_open_where_the_joint_error_reaches(name: str) -> None:
    for a, b in ((NEAR_A, NEAR_B), (NEAR_B, NEAR_A)):
        for kinks, unsure in (("decided", [False] * len(TIES)), ("open", TIES)):
            rounding = coarse(cast("Kinks", kinks))
            result = call(name, rounding, a, b)
            assert_bounds(result, COMPARISONS[name](a.value, b.value), unsure)
            assert rounding.open_kinks == sum(TIES)
            call(name, rounding, a, b)
            assert rounding.open_kinks == 2 * sum(TIES)


def test_what_is_compared_with_itself_is_open_where_it_may_be_no_number() -> None:
    operand = bounded([1.0, 1.0, INF], [0.5, INF, 0.0])
    result = call("eq", coarse("open"), operand, operand)
    assert_bounds(result, [True] * 3, [False, True, False])
    whole = bounded([1, 2], [True, False])
    assert_bounds(call("eq", coarse("open"), whole, whole), [True] * 2, [False] * 2)


def test_an_integer_may_be_any_where_it_is_unsure() -> None:
    a, b = bounded([1, 5, 5], [True, False, False]), bounded([7, 5, 9], [False, False, True])
    assert_bounds(call("lt", coarse("open"), a, b), [True, False, True], [True, False, True])
    assert reach(a).tolist() == [INF, 0, 0]
    assert reach(bounded([1.5], 0.25)).tolist() == [0.25]
    truths = bounded([True, False], [True, False]), bounded([False, False])
    assert_bounds(call("eq", coarse("open"), *truths), [False, True], [True, False])


@pytest.mark.parametrize(("name", "function"), [("max", np.maximum), ("min", np.minimum)])
def test_the_larger_of_two_is_as_far_off_as_the_farther_off(
    name: str, function: Callable[..., Array]
) -> None:
    for a, b in ((NEAR_A, NEAR_B), (NEAR_B, NEAR_A)):
        rounding = coarse("open")
        result = call(name, rounding, a, b)
        assert_bounds(result, function(a.value, b.value), np.maximum(a.error, b.error))
        assert rounding.open_kinks == 0
    whole = bounded([1, 2], [True, False]), bounded([3, 1])
    values = function(whole[0].value, whole[1].value)
    assert_bounds(call(name, coarse(), *whole), values, [True, False])


def test_a_clamped_number_is_as_far_off_as_the_number_and_its_limits() -> None:
    low, x, high = bounded(-1.0, 0.25), bounded([-3.0, 0.0, 3.0, 0.5], [0, 0.5, 0, 0]), bounded(2.0)
    assert_bounds(call("clamp", coarse(), low, x, high), [-1, 0, 2, 0.5], [0.25, 0.5, 0.25, 0.25])


# Rows, and which of their elements may or may not be the largest.
ROWS: list[tuple[list[float], list[float], list[int]]] = [
    ([1.0, 2.0, 3.0], [0.25, 0.25, 0.25], [0, 0, 0]),
    ([1.0, 2.5, 3.0], [0.0, 0.25, 0.25], [0, 1, 1]),
    ([1.0, 2.5, 3.0], [0.0, 0.5, 0.0], [0, 1, 1]),
    ([3.0, 2.5, 3.0], [0.0, 0.25, 0.0], [0, 0, 0]),  # an exact tie
    ([3.0, 2.5, 3.0], [0.0, 0.0, 0.5], [1, 1, 1]),
    ([3.0, 2.5, 3.0], [0.0, 0.5, 0.0], [1, 1, 1]),
    ([2.0, 0.0, 2.0], [0.25, 0.0, 0.0], [1, 0, 1]),
    ([1.0, 0.0, 2.0], [INF, 0.0, 0.0], [1, 0, 1]),
    ([1.0, 0.0, 2.0], [0.0, 0.0, INF], [1, 1, 1]),
]
RACES = bounded([row for row, _, _ in ROWS], [errors for _, errors, _ in ROWS])
OPEN = np.array([places for _, _, places in ROWS], bool)


@pytest.mark.parametrize(("name", "sign"), [("reduce_max", 1), ("reduce_min", -1)])
def test_which_element_is_the_largest_is_open_where_another_may_be(name: str, sign: int) -> None:
    operand = Bounded(sign * RACES.value, RACES.error)
    largest = call(name, coarse(), operand, axes=(1,))
    assert_bounds(largest, sign * RACES.value.max(axis=1), RACES.error.max(axis=1))
    column = call("reshape", coarse(), largest, new_sizes=(len(ROWS), 1))
    wide = call(
        "broadcast_in_dim", coarse(), column, shape=operand.value.shape, broadcast_dimensions=(0, 1)
    )
    for moved in (column, wide):
        assert (moved.value == sign * RACES.value.max(axis=1, keepdims=True)).all()
        for pair in ((operand, moved), (moved, operand)):
            rounding = coarse("open")
            result = call("eq", rounding, *pair)
            assert_bounds(result, operand.value == moved.value, OPEN)
            assert rounding.open_kinks == OPEN.sum()
    reversed_rows = call("rev", coarse(), column, dimensions=(0,))  # another row's largest
    by_errors = may_tie(operand, Bounded(reversed_rows.value, reversed_rows.error))
    with np.errstate(invalid="ignore"):
        assert (may_tie(operand, reversed_rows) == by_errors).all()
    assert (may_tie(operand, column) != may_tie(operand, Bounded(*column))).any()
    copy = Bounded(*operand)  # the same numbers, which need not have the same rounding
    assert (may_tie(copy, column) == may_tie(copy, Bounded(*column))).all()


def test_the_larger_of_two_is_compared_with_one_as_one_with_the_other() -> None:
    a, b = bounded([1.0, 2.0, 3.0], 0.25), bounded([1.5, 2.0, 1.0], [0.25, 0.0, 0.25])
    for name in ("max", "min"):
        extreme = call(name, coarse(), a, b)
        for choice in (a, b):
            result = call("eq", coarse("open"), choice, extreme)
            assert_bounds(result, choice.value == extreme.value, [True, True, False])
        column = call("reshape", coarse(), extreme, new_sizes=(3, 1))  # of an outer comparison
        assert (may_tie(a, column) == may_tie(a, Bounded(*column))).all()
        moved = call("rev", coarse(), extreme, dimensions=(0,))
        assert isinstance(moved, Extreme)
        assert moved.cell.tolist() == [2, 1, 0]
        assert (may_tie(a, moved) == may_tie(a, Bounded(*moved))).all()
        narrow = call(
            "slice", coarse(), extreme, start_indices=(0,), limit_indices=(1,), strides=None
        )
        assert may_tie(a, narrow).tolist() == may_tie(a, Bounded(*narrow)).tolist()


def test_a_maximum_of_all_elements_is_compared_with_each() -> None:
    x = bounded([[1.0, 2.0], [2.25, 0.0]], [[0, 0.25], [0.25, 0]])
    extreme = call("reduce_max", coarse(), x, axes=(0, 1))
    assert_bounds(extreme, 2.25, 0.25)
    assert_bounds(
        call("eq", coarse("open"), x, extreme),
        [[False, False], [True, False]],
        [[False, True], [True, False]],
    )


@pytest.mark.parametrize(("name", "sign"), [("argmax", 1), ("argmin", -1)])
def test_the_place_of_the_largest_is_open_where_another_may_be(name: str, sign: int) -> None:
    operand = Bounded(sign * RACES.value, RACES.error)
    for kinks, unsure in (("decided", OPEN.any(axis=1) & False), ("open", OPEN.any(axis=1))):
        rounding = coarse(cast("Kinks", kinks))
        result = call(name, rounding, operand, axes=(1,), index_dtype=np.int32)
        assert_bounds(result, RACES.value.argmax(axis=1), unsure)
        assert result.value.dtype == np.int32
        assert rounding.open_kinks == OPEN.any(axis=1).sum()


def test_the_largest_of_integers_and_of_booleans() -> None:
    whole = bounded([[5, 3, 0], [5, 3, 0]], [[False, True, False], [False] * 3])
    largest = call("reduce_max", coarse(), whole, axes=(1,))
    assert_bounds(largest, [5, 5], [True, False])
    place = call("argmax", coarse("open"), whole, axes=(1,), index_dtype=np.int64)
    assert_bounds(place, [0, 0], [True, False])
    truths = bounded(
        [[False, True, True], [False, True, False]], [[True, False, False], [False] * 3]
    )
    assert_bounds(call("reduce_max", coarse(), truths, axes=(1,)), [True, True], [True, False])
    first = call("argmax", coarse("open"), truths, axes=(1,), index_dtype=np.int64)
    assert_bounds(first, [1, 1], [True, False])


@pytest.mark.parametrize(
    ("name", "truths", "bits"),
    [("reduce_or", [True, True], [7, 2]), ("reduce_and", [False, True], [1, 2])],
)
def test_truths_and_bits_are_unsure_where_one_of_them_is(
    name: str, truths: list[bool], bits: list[int]
) -> None:
    operand = bounded([[True, False], [True, True]], [[True, False], [False, False]])
    assert_bounds(call(name, coarse(), operand, axes=(1,)), truths, [True, False])
    assert_bounds(call(name, coarse(), bounded([[3, 5], [2, 2]]), axes=(1,)), bits, [False] * 2)


CASE_A = bounded([1.0, 2.0, -3.0, 4.0], [0.25, 0, 0.5, 0.125])
CASE_B = bounded([1.5, -1.0, -3.0, 8.0], [0.125, 0.25, 0, 1.0])


def test_a_decided_choice_is_what_was_chosen() -> None:
    which = bounded([False, True, True, False])
    result = call("select_n", coarse(), which, CASE_A, CASE_B)
    assert_bounds(result, [1, -1, -3, 4.0], [0.25, 0.25, 0, 0.125])
    for chosen, case in enumerate((CASE_A, CASE_B, CASE_A)):
        assert call("select_n", coarse(), bounded(chosen), CASE_A, CASE_B, CASE_A) is case
    middle = call("select_n", coarse(), bounded([1, 1, 2, 0]), CASE_A, CASE_B, CASE_A)
    assert_bounds(middle, [1.5, -1, -3, 4], [0.125, 0.25, 0.5, 0.125])


def test_an_open_choice_is_the_interval_that_holds_all() -> None:
    """By its middle and half its width, with the rounding of the two ends."""
    low, high = np.array([0.75, -1.25, -3.5, 3.875]), np.array([1.625, 2.0, -2.5, 9.0])
    half = (high - low) / 2
    wide = half + EPS * np.array([1.625, 2.0, 3.5, 9.0])
    for chosen in (np.True_, np.False_):
        everywhere = call("select_n", coarse(), bounded(chosen, UNSURE), CASE_A, CASE_B)
        assert_bounds(everywhere, low + half, wide)
    which = bounded([False, True, True, False], [True, False, True, False])
    result = call("select_n", coarse(), which, CASE_A, CASE_B)
    assert_bounds(result, [low[0] + half[0], -1, -3, 4], [wide[0], 0.25, wide[2], 0.125])
    three = call("select_n", coarse(), bounded(0, UNSURE), CASE_A, CASE_A, CASE_B)
    assert_bounds(three, low + half, wide)


def test_an_open_choice_of_integers_is_unsure() -> None:
    a, b = bounded([1, 2, 3], [True, False, False]), bounded([4, 5, 6], [False, False, True])
    which = bounded([False, True, False], [False, True, False])
    assert_bounds(call("select_n", coarse(), which, a, b), [1, 5, 3], [True, True, False])
    assert_bounds(
        call("select_n", coarse(), bounded(np.True_, UNSURE), a, b), [4, 5, 6], [True] * 3
    )


# Conversions

SINGLE, DOUBLE, BRAIN = np.float32, np.float64, ml_dtypes.bfloat16


def converted(operand: Bounded, dtype: Any, rounding: Rounding | None = None) -> Any:
    """Convert."""
    rounding = rounding or coarse("open")
    return call("convert_element_type", rounding, operand, new_dtype=dtype, weak_type=False)


def test_a_number_is_rounded_where_the_other_precision_does_not_hold_it() -> None:
    """An error is rounded with the number, and float64 holds all there is."""
    values, errors = [1.0, 257.0, 1.0, 0.0, 257.0], [0.0, 0.0, 0.25, 0.0, 0.25]
    operand = bounded(values, errors)
    assert converted(operand, DOUBLE) is operand
    once = [r3(x, e, roundings=1) for x, e in zip(values, errors, strict=True)]
    assert_bounds(converted(operand, BRAIN), values, [0, once[1], once[2], 0, once[4]])
    assert_bounds(converted(operand, SINGLE), values, [0, 0, once[2], 0, once[4]])


def test_integers_and_booleans_become_numbers() -> None:
    """Those that neither precision rounds are exact; an unsure boolean is off by 1."""
    large = 2**24 + 1
    whole = bounded([3, 5, large], [False, True, False])
    given = U * large + ETA
    assert_bounds(converted(whole, DOUBLE), [3.0, 5.0, large], [0, INF, given])
    again = r3(large, given, roundings=1, largest=INF)
    wide = coarse(largest=INF)
    assert_bounds(converted(whole, SINGLE, wide), [3.0, 5.0, large], [0, INF, again])
    assert_bounds(converted(bounded([257]), BRAIN), [257.0], [r3(257, 0, roundings=1)])
    truths = bounded([True, False], [False, True])
    assert_bounds(converted(truths, DOUBLE), [1.0, 0.0], [0.0, 1.0])
    assert_bounds(converted(truths, SINGLE), [1.0, 0.0], [0.0, r3(0, 1, roundings=1)])


def test_integers_and_booleans_become_each_other() -> None:
    whole = bounded([0, 3, -1], [False, True, False])
    assert_bounds(converted(whole, bool), [False, True, True], [False, True, False])
    assert_bounds(converted(whole, np.int8), [0, 3, -1], [False, True, False])
    assert converted(whole, np.int8).value.dtype == np.int8
    assert_bounds(converted(bounded([True], UNSURE), np.int32), [1], [True])


# A number and its error, the integer that it becomes, and whether that, or the boolean, is open.
WHOLES: list[tuple[float, float, int, bool, bool]] = [
    (1.5, 0.25, 1, False, False),
    (1.75, 0.5, 1, True, False),
    (2.25, 0.5, 2, True, False),
    (-0.5, 0.25, 0, False, False),
    (0.5, 1.5, 0, True, True),
    (0.25, 0.5, 0, False, True),
    (1.0, 0.25, 1, True, False),
    (-1.0, 0.25, -1, True, False),
    (2.0, 0.0, 2, False, False),
    (0.0, 0.0, 0, False, False),
]


def test_numbers_become_integers_and_booleans_where_these_are_sure() -> None:
    (operand,) = columns([case[:2] for case in WHOLES])
    for column, dtype, values in (
        (3, np.int32, [case[2] for case in WHOLES]),
        (4, bool, [case[0] != 0 for case in WHOLES]),
    ):
        unsure = np.array([case[column] for case in WHOLES])
        for kinks, error in (("decided", unsure & False), ("open", unsure)):
            rounding = coarse(cast("Kinks", kinks))
            assert_bounds(converted(operand, dtype, rounding), values, error)
            assert rounding.open_kinks == unsure.sum()


# Moving elements about

GRID = bounded(np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3) / 8)
MOVES: dict[str, tuple[Callable[..., Any], Callable[[Array], Array]]] = {
    "broadcast_in_dim": (
        lambda x: lax.broadcast_in_dim(x, (2, 2, 3), (0, 2)),
        lambda x: np.stack([x, x], axis=1),
    ),
    "reshape": (lambda x: lax.reshape(x, (3, 2)), lambda x: x.reshape(3, 2)),
    "transpose": (lambda x: lax.transpose(x, (1, 0)), lambda x: x.T),
    "rev": (lambda x: lax.rev(x, (1,)), lambda x: x[:, ::-1]),
    "slice": (lambda x: lax.slice(x, (1, 0), (2, 3), (1, 2)), lambda x: x[1:2, 0:3:2]),
    "slice without strides": (lambda x: lax.slice(x, (0, 1), (2, 3)), lambda x: x[:, 1:3]),
    "copy": (lax.copy_p.bind if hasattr(lax, "copy_p") else jnp.copy, lambda x: x),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (1, 1), (1, 2)), lambda x: x[1:, 1:]),
}


@pytest.mark.parametrize("name", MOVES)
def test_errors_move_with_the_values(name: str) -> None:
    function, move = MOVES[name]
    traced = Traced(function, GRID.value)
    with np.errstate(all="ignore"), precise_jax():
        (result,) = evaluate(traced.jaxpr.jaxpr, [], [GRID], coarse())
    assert_bounds(result, move(GRID.value), move(GRID.error))


def test_one_axis_is_taken_away_or_joined_or_cut_up() -> None:
    high = Bounded(*(part[:, None, :, None] for part in GRID))
    assert_bounds(call("squeeze", coarse(), high, dimensions=(1, 3)), *GRID)
    other = Bounded(*(part + 8 for part in GRID))
    for dimension in (0, 1):
        joined = call("concatenate", coarse(), GRID, other, dimension=dimension)
        assert_bounds(
            joined, *(np.concatenate(pair, dimension) for pair in zip(GRID, other, strict=True))
        )
    first, second = call("split", coarse(), GRID, sizes=(1, 2), axis=1)
    assert_bounds(first, GRID.value[:, :1], GRID.error[:, :1])
    assert_bounds(second, GRID.value[:, 1:], GRID.error[:, 1:])
    columns_of_three = call("split", coarse(), GRID, sizes=(1, 1, 1), axis=1)
    for i, column in enumerate(columns_of_three):
        assert_bounds(column, GRID.value[:, i : i + 1], GRID.error[:, i : i + 1])
    upper, lower = call("split", coarse(), GRID, sizes=(1, 1), axis=0)
    assert_bounds(upper, GRID.value[:1], GRID.error[:1])
    assert_bounds(lower, GRID.value[1:], GRID.error[1:])


def test_what_is_padded_has_the_error_of_the_padding_around_it() -> None:
    padding = bounded(9.0, 0.75)
    result = applied(lambda x, p: lax.pad(x, p, [(1, 0, 0), (0, -1, 1)]), coarse(), GRID, padding)
    for part, edge, got in zip(GRID, (9.0, 0.75), result, strict=True):
        want = np.full((3, 4), edge)
        want[1:, [0, 2]] = part[:, :2]
        assert (got == want).all()
    whole = Bounded(GRID.value.astype(int), GRID.error > 0.25)
    result = applied(
        lambda x, p: lax.pad(x, p, [(1, 0, 0), (0, 0, 0)]), coarse(), whole, bounded(7)
    )
    assert_bounds(
        result,
        np.pad(whole.value, [(1, 0), (0, 0)], constant_values=7),
        np.pad(whole.error, [(1, 0), (0, 0)]),
    )


@pytest.mark.parametrize("name", ["copy", "copy_p", "stop_gradient", "optimization_barrier"])
def test_a_copy_is_the_same(name: str) -> None:
    """So much so that a comparison with it knows that both are one."""
    (copy,) = call(name, coarse(), GRID)
    assert copy is GRID
    results = call("optimization_barrier", coarse(), GRID, TABLE)
    assert [id(result) for result in results] == [id(GRID), id(TABLE)]
    assert isinstance(results, list)  # for a tuple may be a result, with its error


def test_constants_have_no_error() -> None:
    for dtype in (np.float64, np.int32):
        for axis in (0, 1):
            result = applied(lambda d=dtype, a=axis: lax.broadcasted_iota(d, (2, 3), a), coarse())
            want = np.indices((2, 3))[axis].astype(dtype)
            assert_bounds(result, want, np.zeros((2, 3)))
    single = applied(lambda: lax.iota(np.float32, 3), coarse())
    assert single.value.dtype == np.float64
    for name in ("empty", "empty2"):
        empty = call(name, coarse(), dtype=np.dtype(np.float64), shape=(2,))
        assert_bounds(empty, [0.0, 0.0], [0.0, 0.0])
        assert not np.shares_memory(
            empty.value, call(name, coarse(), dtype=float, shape=(2,)).value
        )
        assert_bounds(call(name, coarse(), dtype=np.dtype(np.int32)), 0, np.False_)


# What is taken from or put into places given by indices

PLACES = bounded([2, 0], [False, True])
VECTOR = bounded([1.0, -4.0, 2.0], [0.25, 0.5, 0.0])  # between -4.5 and 2


def test_what_is_taken_from_an_unsure_place_may_be_any_element() -> None:
    """It reaches from the lowest to the highest, and is as far off as what was taken."""
    result = applied(gathered, coarse(), VECTOR, places_of(PLACES))
    assert_bounds(result, [2.0, 1.0], [0.0, 6.5 + 0.25])
    below = Bounded(-VECTOR.value, VECTOR.error)
    result = applied(gathered, coarse(), below, places_of(PLACES))
    assert_bounds(result, [-2.0, -1.0], [0.0, 6.5 + 0.25])
    rows = bounded([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], 0.125)
    result = applied(gathered, coarse(), rows, places_of(PLACES))
    assert_bounds(result, [[5.0, 6.0], [1.0, 2.0]], [[0.125] * 2, [5.25 + 0.125] * 2])
    square = places_of(bounded([[2, 0], [1, 1]], [[False, True], [False, False]]))
    result = applied(gathered, coarse(), VECTOR, square)
    assert_bounds(result, [[2.0, 1.0], [-4.0, -4.0]], [[0.0, 6.75], [0.5, 0.5]])
    whole = bounded([7, 8, 9], [False, False, True])
    result = applied(gathered, coarse(), whole, places_of(PLACES))
    assert_bounds(result, [9, 7], [True, True])


def places_of(indices: Bounded) -> Bounded:
    """Write indices as the primitives take them, with an axis for their coordinates."""
    return Bounded(indices.value[..., None], indices.error[..., None])


def gathered(x: Any, indices: Any, mode: Any = "clip", fill: Any = None) -> Any:
    """Take elements or rows."""
    rest = tuple(range(indices.ndim - 1, indices.ndim + x.ndim - 2))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=rest, collapsed_slice_dims=(0,), start_index_map=(0,)
    )
    return lax.gather(x, indices, numbers, (1, *x.shape[1:]), mode=mode, fill_value=fill)


def test_nothing_is_known_of_what_lies_outside() -> None:
    indices = places_of(bounded([5, 1]))
    result = applied(lambda x, i: gathered(x, i, "fill"), coarse(), VECTOR, indices)
    assert np.isnan(result.value[0])
    assert (result.value[1], *result.error) == (-4.0, INF, 0.5)


@pytest.mark.parametrize(("fill", "wide"), [(-9.0, 11.0), (0.0, 6.5), (5.0, 9.5)])
def test_what_lies_outside_may_be_given_and_an_unsure_place_may_be_there(
    fill: float, wide: float
) -> None:
    indices = places_of(bounded([5, 1, 2], [False, False, True]))
    result = applied(lambda x, i: gathered(x, i, "fill", fill), coarse(), VECTOR, indices)
    assert_bounds(result, [fill, -4.0, 2.0], [0.0, 0.5, wide])
    whole = bounded([7, 8, 9], [False, True, False])
    result = applied(lambda x, i: gathered(x, i, "fill", int(fill)), coarse(), whole, indices)
    assert_bounds(result, [int(fill), 8, 9], [False, True, True])


def test_a_slice_at_an_unsure_place_may_be_any_and_so_may_what_is_overwritten() -> None:
    for unsure in (False, True):
        place = bounded(1, unsure)
        result = applied(lambda x, i: lax.dynamic_slice(x, (i,), (2,)), coarse(), VECTOR, place)
        assert_bounds(result, [-4.0, 2.0], [0.5 + 6.5 * unsure, 6.5 * unsure])
        update = bounded([8.0], 0.25)  # which is the highest now, at 8.25
        result = applied(
            lambda x, y, i: lax.dynamic_update_slice(x, y, (i,)), coarse(), VECTOR, update, place
        )
        wide = 12.75 * unsure
        assert_bounds(result, [1.0, 8.0, 2.0], [0.25 + wide, 0.25 + wide, wide])
        whole, other = bounded([1, 2, 3], [True, False, False]), bounded([7])
        result = applied(
            lambda x, y, i: lax.dynamic_update_slice(x, y, (i,)), coarse(), whole, other, place
        )
        assert_bounds(result, [1, 7, 3], [True, unsure, unsure])


def added(x: Any, indices: Any, updates: Any, mode: Any = None) -> Any:
    """Add elements or rows to those at these places."""
    rest = tuple(range(1, updates.ndim))
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=rest, inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return lax.scatter_add(x, indices, updates, numbers, mode=mode)


def test_what_is_added_at_places_is_a_sum_of_as_many_terms_as_meet() -> None:
    updates = bounded([0.5, -1.0, 2.0], [0.125, 0.0, 0.25])
    indices = places_of(bounded([2, 0, 2]))
    want = [
        r6([(1.0, 0.25, 1.25), (-1.0, 0.0, 1.0)], 3),
        r6([(-4.0, 0.5, 4.5)], 3),
        r6([(2.0, 0.0, 2.0), (0.5, 0.125, 0.625), (2.0, 0.25, 2.25)], 3),
    ]
    result = applied(added, coarse(), VECTOR, indices, updates)
    assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)


def test_what_is_added_outside_is_lost_or_added_to_the_last_as_the_parameters_say() -> None:
    updates, indices = bounded([0.5], 0.125), places_of(bounded([5]))
    dropped = [r6([term(*pair)], 1) for pair in zip(*VECTOR, strict=True)]
    clipped = [r6([term(*pair)], 2) for pair in zip(*VECTOR, strict=True)]
    clipped[-1] = r6([(2.0, 0.0, 2.0), (0.5, 0.125, 0.625)], 2)
    for mode, want in (("drop", dropped), ("clip", clipped)):

        def function(x: Any, indices: Any, updates: Any, mode: Any = mode) -> Any:
            return added(x, indices, updates, mode)

        result = applied(function, coarse(), VECTOR, indices, updates)
        assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)


def test_what_is_added_at_an_unsure_place_may_be_added_to_any() -> None:
    updates = bounded([0.5, -1.0, 2.0], [0.125, 0.0, 0.25])
    indices = places_of(bounded([2, 0, 2], [False, False, True]))
    anything = (0.0, 3.875, 3.875)  # 0.5 + 1 + 2 and their errors
    want = [
        r6([(1.0, 0.25, 1.25), (-1.0, 0.0, 1.0), anything], 4),
        r6([(-4.0, 0.5, 4.5), anything], 4),
        r6([(2.0, 0.0, 2.0), (0.5, 0.125, 0.625), (2.0, 0.25, 2.25), anything], 4),
    ]
    result = applied(added, coarse(), VECTOR, indices, updates)
    assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)


def test_integers_are_added_at_places() -> None:
    whole, indices = bounded([1, 2, 3]), places_of(bounded([2, 0, 2]))
    updates = bounded([5, 6, 7])
    assert_bounds(applied(added, coarse(), whole, indices, updates), [7, 2, 15], [False] * 3)
    for unsure in range(3):
        operands = [
            Bounded(x.value, np.full(x.value.shape, at == unsure))
            for at, x in enumerate((whole, indices, updates))
        ]
        assert_bounds(applied(added, coarse(), *operands), [7, 2, 15], [True] * 3)


# Functions within functions: as their operations one after the other


def run(function: Callable[..., Any], rounding: Rounding, *operands: Bounded) -> list[Bounded]:
    """Evaluate a function at operands with errors."""
    traced = Traced(function, *(operand.value for operand in operands))
    with np.errstate(all="ignore"), precise_jax():
        consts = list(map(exact, traced.jaxpr.consts))
        return evaluate(traced.jaxpr.jaxpr, consts, operands, rounding)


def single(kinks: Kinks = "decided") -> Rounding:
    """Make one with the units of float32."""
    return Rounding(np.float32, kinks=kinks)


def test_a_scan_goes_from_step_to_step() -> None:
    """With a constant, two carries and two sequences, in both directions."""
    scale, start, other = bounded(1.5, 0.125), bounded(2.0, 0.25), bounded(0.5)
    xs, ys = bounded([1.0, -2.0, 4.0], [0.0, 0.5, 0.25]), bounded([3.0, 5.0, 7.0], 0.125)

    def step(scale: Any, carry: Any, elements: Any) -> Any:
        (a, b), (x, y) = carry, elements
        return (a * scale + x, b - y), (a * y, b + x)

    for reverse in (False, True):

        def function(*args: Any, reverse: bool = reverse) -> Any:
            scale, a, b, xs, ys = args
            return lax.scan(lambda c, e: step(scale, c, e), (a, b), (xs, ys), reverse=reverse)

        rounding, outputs = single(), {}
        a, b = start, other
        for i in (2, 1, 0) if reverse else (0, 1, 2):
            x, y = (Bounded(z.value[i], z.error[i]) for z in (xs, ys))
            outputs[i] = call("mul", rounding, a, y), call("add", rounding, b, x)
            a = call("add", rounding, call("mul", rounding, a, scale), x)
            b = call("sub", rounding, b, y)
        got = run(function, single(), scale, start, other, xs, ys)
        want = [a, b] + [
            Bounded(*(np.stack([outputs[i][column][part] for i in range(3)]) for part in range(2)))
            for column in range(2)
        ]
        for one, another in zip(got, want, strict=True):
            assert_bounds(one, *another)


def test_a_scan_of_newer_jax_says_in_one_place_what_its_operands_are() -> None:
    def function(scale: Any, carry: Any, xs: Any) -> Any:
        return lax.scan(lambda c, x: (c * scale, c + x), carry, xs)

    class Operands:
        """What newer JAX gives in place of two numbers."""

        def unpack(self) -> list[list[int]]:
            """List constants, carries and sequences."""
            return [[0], [0], [0]]

    operands = bounded(1.5, 0.125), bounded(2.0, 0.25), bounded([1.0, -2.0], 0.5)
    (eqn,) = Traced(function, *(operand.value for operand in operands)).jaxpr.eqns
    params = {k: v for k, v in eqn.params.items() if k not in {"num_consts", "num_carry"}}
    got = call("scan", single(), *operands, **(params | {"ft_in": Operands()}))
    for one, another in zip(got, run(function, single(), *operands), strict=True):
        assert_bounds(one, *another)


def test_a_scan_without_steps_is_its_carry() -> None:
    start = bounded(2.0, 0.25)
    (carry,) = run(lambda c: lax.scan(lambda c, _: (c * 2, None), c, length=0)[0], single(), start)
    assert_bounds(carry, *start)


def branched(which: Any, x: Any) -> Any:
    """Choose among three functions."""
    return lax.switch(which, [lambda x: (x, 2 * x), lambda x: (3 * x, -x), lambda x: (x * x, x)], x)


def test_a_branch_that_is_decided_is_taken_and_an_open_one_may_be_any() -> None:
    x = bounded([2.0, -1.0], [0.25, 0.0])
    three, two = bounded(3.0), bounded(2.0)
    cases = [
        [x, call("mul", single(), x, two)],
        [call("mul", single(), x, three), call("neg", single(), x)],
        [call("mul", single(), x, x), x],
    ]
    (params,) = (
        eqn.params
        for eqn in Traced(branched, np.int32(0), x.value).jaxpr.eqns
        if eqn.primitive.name == "cond"
    )
    for place, which in ((0, -1), (0, 0), (1, 1), (2, 2), (2, 5)):
        got = call("cond", single(), bounded(which), x, **params)
        for one, another in zip(got, cases[place], strict=True):
            assert_bounds(one, *another)
        got = call("cond", single(), bounded(which, UNSURE), x, **params)
        for one, column in zip(got, zip(*cases, strict=True), strict=True):
            want = call("select_n", coarse(), bounded(place, UNSURE), *column)
            assert_bounds(one, *want)


def test_an_inner_function_has_constants_of_its_own() -> None:
    tenth = np.array([0.1, 0.5])
    x = bounded([2.0, 3.0], 0.25)

    def inner(x: Any) -> Any:
        return x * jnp.asarray(tenth)

    want = call("mul", single(), x, single().given(tenth))
    own = jax.custom_jvp(inner)
    own.defjvp(lambda primals, tangents: (inner(*primals), inner(*tangents)))
    for function in (inner, jax.jit(inner), jax.checkpoint(inner), own):
        traced = Traced(function, x.value)
        with precise_jax():
            consts = [single().given(np.asarray(const)) for const in traced.jaxpr.consts]
            (got,) = evaluate(traced.jaxpr.jaxpr, consts, [x], single())
        assert_bounds(got, *want)
        value, error = traced.bounded(x.value, rounding=single())
        assert_bounds(
            Bounded(value, error), *call("mul", single(), exact(x.value), single().given(tenth))
        )


def test_a_function_is_traced_and_evaluated_in_float64_whatever_it_is_given() -> None:
    x, i = np.array([0.1, 3.0], np.float32), np.array([2, 1], np.int32)
    traced = Traced(lambda x, i: {"square": x * x, "i": i}, x, i)
    assert [aval.dtype for aval in traced.jaxpr.in_avals] == [np.float64, np.int32]
    for results in (traced.by_xla(x, i), traced.by_xla(x.astype(np.float64), i)):
        assert results["square"].tolist() == [float(x[0]) ** 2, 9.0]
        assert results["i"].tolist() == [2, 1]
        assert results["i"].dtype == np.int32
    results = traced.bounded(x, i, rounding=single())
    assert_bounds(results["square"], *call("mul", single(), *[exact(x.astype(np.float64))] * 2))
    assert_bounds(results["i"], i, [False, False])


@pytest.mark.parametrize("parameter", ["call_jaxpr", "fun_jaxpr"])
def test_a_function_with_a_derivative_of_its_own_is_evaluated_as_it_is(parameter: str) -> None:
    """But for one of newer JAX, which is taken as the exp(-x^2) that it computes."""

    def exp_neg_sq(x: Any) -> Any:  # whose name alone is JAX's
        return x * x

    x = bounded([2.0, -3.0], 0.25)
    inner = Traced(exp_neg_sq, x.value).jaxpr
    assert "exp_neg_sq" in str(inner.debug_info.func_src_info)
    (got,) = call("custom_jvp_call", single(), x, **{parameter: inner})
    assert_bounds(got, *call("mul", single(), x, x))
    written = Path(jax.__file__).parent / "_src" / "lax" / "erf.py"
    named = SimpleNamespace(func_src_info=f"exp_neg_sq at {written}:40")
    (got,) = call("custom_jvp_call", coarse(), x, **{parameter: SimpleNamespace(debug_info=named)})
    square = call("square", coarse(), x)
    assert_bounds(got, *call("exp", coarse(), call("neg", coarse(), square)))


def test_what_no_result_depends_on_is_not_evaluated() -> None:
    near = bounded(1.0, 0.5)
    for function, kinks in ((lambda x: (x > 1.0, x)[1], 0), (lambda x: (x > 1.0, x), 1)):
        rounding = single()
        *_, last = run(function, rounding, near)
        assert last is near
        assert rounding.open_kinks == kinks
    (constant,) = run(lambda _: 0.1, single(), near)
    assert_bounds(constant, *single().given(0.1))


def test_each_operation_has_the_units_of_the_precision_that_jax_computes_it_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of several results in the coarsest; what is no real number is computed in float64."""
    seen = []

    def copy(rounding: Rounding, *operands: Bounded, **_: Any) -> list[Bounded]:
        seen.append(rounding.unit_roundoff)
        return list(operands)

    monkeypatch.setitem(RULES, "optimization_barrier", copy)
    for dtypes, want in (
        ([DOUBLE, BRAIN, SINGLE], BRAIN),
        ([SINGLE, DOUBLE], SINGLE),
        ([DOUBLE], DOUBLE),
        ([np.int32], DOUBLE),
        ([np.int32, BRAIN], BRAIN),
    ):
        args = [np.ones(2, np.int32) if d == np.int32 else np.ones(2) for d in dtypes]

        def function(*args: Any, dtypes: Any = dtypes) -> Any:
            pairs = zip(args, dtypes, strict=True)
            return lax.optimization_barrier([lax.convert_element_type(a, d) for a, d in pairs])

        run(function, single(), *map(exact, args))
        rounding = single()
        rounding.computing_in(want)
        assert seen.pop() == rounding.unit_roundoff
