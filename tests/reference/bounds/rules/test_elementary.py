"""Elementary functions: what the error of the operand does, and the 4 ulps; (R4)."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given

from reference.arrays import Array
from tests.support.bound_formulas import (
    EPS,
    INF,
    NAN,
    SOME_ULPS,
    Function,
    Operation,
    Scalar,
    U,
    assert_bounds,
    assert_function,
    assert_operation,
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
    "exp2": Function(math.exp2, rise(math.exp2), lambda x, e: 9 + 1.4 * (abs(x) + e)),
    "expm1": Function(math.expm1, rise(math.expm1)),
    "log": Function(math.log, fall(math.log)),
    "cbrt": Function(math.cbrt, lambda x, e: cbrt_spread(x, e) + U / 3 * by_power(x, e)),
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


def cbrt_spread(x: float, e: float) -> float:
    """What an error does to a cube root, the most towards 0."""
    return math.cbrt(abs(x)) - math.cbrt(abs(x) - e)


def by_power(x: float, e: float) -> float:
    """The largest |cbrt(y) ln y| within e of x, which below 1 has its maximum at exp(-3)."""
    low, high = nearest(x, e), abs(x) + e
    sizes = [math.cbrt(y) * abs(math.log(y)) for y in (low, high) if y > 0]
    return max([*sizes, 0.0, *([3 / math.e] if low < math.exp(-3) < high else [])])


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
    "cbrt": 1.5 ** (-2 / 3) / 3,
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
    want = [FUNCTIONS[name].rounded(x, 0.0) for x in (-INF, INF)[: len(limits)]]
    assert_bounds(result, np.array(limits, float), want)


@pytest.mark.parametrize("e", [0.0, 0.125, 0.5])
def test_a_logarithm_is_as_far_off_as_that_of_jax_between_its_two_limits(e: float) -> None:
    """There, in float64 alone, it has lost 7 of its bits."""
    for x in (-0.75, -0.54 - 1.01 * e, -0.54 - 0.99 * e, -0.4, -0.27 + 0.99 * e, -0.27 + 1.01 * e):
        if x - e <= -1:
            continue
        value, spread = math.log1p(x), math.log1p(x) - math.log1p(x - e)
        plain = r3(value, spread, roundings=9)
        inside = x + e >= -0.54 and x - e <= -0.27
        want = plain + inside * 2 * 130 * EPS * (abs(value) + plain)
        result = call("log1p", coarse(), bounded([x], e))
        assert_bounds(result, [value], [want], ulps=SOME_ULPS)
        assert (result.error > plain * (1 + SOME_ULPS)) == inside
    below = call("log1p", coarse(), bounded([-1.0, -1.5, -0.5], [0.0, 0.0, 0.5]))
    assert (below.error == INF).all()


ACCURACY: dict[str, Callable[..., Array]] = {"exp2": np.exp2, "log1p": np.log1p, "cbrt": np.cbrt}


def drawn(name: str, seed: int) -> Array:
    """Draw arguments of all magnitudes, and where JAX's function is at its worst."""
    rng = np.random.default_rng(seed)
    if name == "exp2":
        return magnitudes(rng, -8, 2.1)
    if name == "log1p":
        return np.append(rng.uniform(-0.99, -0.2, 500), abs(magnitudes(rng, -8, 8)))
    return magnitudes(rng, -30, 30)


@pytest.mark.parametrize("name", ACCURACY)
@given(seed=seeds)
def test_the_functions_of_numpy_and_of_jax_are_within_the_bound(name: str, seed: int) -> None:
    assert_sound(name, ACCURACY[name], drawn(name, seed))


@pytest.mark.parametrize("name", ACCURACY)
def test_the_bound_is_no_more_than_8_times_the_worst_error(name: str) -> None:
    assert_sharp(name, ACCURACY[name], drawn(name, 0))


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
