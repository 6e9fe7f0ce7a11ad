"""Elementary functions: what the error of the operand does, and the 4 ulps; (R4)."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.support.bound_formulas import (
    INF,
    NAN,
    SOME_ULPS,
    Function,
    Operation,
    Scalar,
    assert_bounds,
    assert_function,
    assert_operation,
    bounded,
    call,
    coarse,
    columns,
    nearest,
    r3,
    spread_of,
)


def fall(function: Scalar) -> Callable[[float, float], float]:
    """Say how far a function lies from its value at the lower end."""
    return lambda x, e: abs(function(x) - function(x - e))


def rise(function: Scalar) -> Callable[[float, float], float]:
    """Say how far a function lies from its value at the upper end."""
    return lambda x, e: function(x + e) - function(x)


def rsqrt(x: float) -> float:
    """1 / sqrt(x)."""
    return 1 / math.sqrt(x)


FUNCTIONS = {
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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_off_by_what_the_error_of_its_operand_does_and_its_own(name: str) -> None:
    assert_function(name, FUNCTIONS[name])


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
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_small_error_does_what_the_derivative_says(name: str) -> None:
    """So small that a difference of two values of the function would have no digits left."""
    spread = spread_of(name, bounded(1.5, 2.0**-60))
    np.testing.assert_allclose(spread, 2.0**-60 * SLOPES[name], rtol=SOME_ULPS)


@pytest.mark.parametrize("name", ["sqrt", "tanh", "exp", "sin", "erf", "logistic"])
def test_an_exact_zero_has_no_spread(name: str) -> None:
    assert spread_of(name, bounded([0.0, -0.0])).tolist() == [0, 0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_known_of_a_function_of_what_may_be_anything(name: str) -> None:
    result = call(name, coarse(), bounded([-INF, INF, NAN, 1.0, 0.0], INF))
    if name in {"sin", "cos"}:  # between -1 and 1 in any case
        assert (result.error[:3] == INF).all()
        return
    assert (result.error == INF).all()


@pytest.mark.parametrize(
    ("name", "limits"), [("tanh", (-1, 1)), ("erf", (-1, 1)), ("logistic", (0, 1)), ("exp", (0,))]
)
def test_a_function_of_an_exact_infinity_is_its_limit(name: str, limits: Sequence[float]) -> None:
    result = call(name, coarse(), bounded([-INF, INF][: len(limits)]))
    want = [r3(limit, 0, roundings=FUNCTIONS[name].roundings) for limit in limits]
    assert_bounds(result, np.array(limits, float), want)


def power_spread(a: float, e: float, b: float, d: float) -> float:
    """a^b = exp(b ln a): what the errors of both do to it."""
    if e == d == 0:
        return 0.0
    if a <= e or a <= 0:
        return INF
    ln = math.log(a) - math.log(a - e)
    return a**b * math.expm1(abs(b) * ln + d * (abs(math.log(a)) + ln))


def test_a_power_is_off_by_what_the_errors_of_base_and_exponent_do_and_its_own() -> None:
    assert_operation("pow", Operation(math.pow, power_spread, 9, SOME_ULPS))


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
