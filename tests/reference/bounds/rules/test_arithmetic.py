"""Arithmetic: what the errors of the operands do, and the rounding of the operation; (R3), (R8)."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from reference.arrays import Array
from reference.bounds.rounding import Bounded, Kinks
from tests.support.bound_formulas import (
    ETA,
    INF,
    NAN,
    POINTS,
    SOME_ULPS,
    E,
    Function,
    Operation,
    X,
    assert_bounds,
    assert_function,
    assert_operation,
    bounded,
    call,
    coarse,
    columns,
    nearest,
    r1,
    r3,
    r8,
    spread_of,
    square_error,
)

FUNCTIONS = {
    "square": Function(lambda x: x * x, lambda x, e: r8(x, e, x, e), 2),
    "one_minus_square": Function(lambda x: (1 + x) * (1 - x), square_error, 6),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_off_by_what_the_error_of_its_operand_does_and_its_own(name: str) -> None:
    assert_function(name, FUNCTIONS[name], ulps=0.0)


def test_a_small_error_does_to_a_square_what_the_derivative_says() -> None:
    """So small that a difference of two squares would have no digits left."""
    spread = spread_of("square", bounded(1.5, 2.0**-60))
    np.testing.assert_allclose(spread, 2.0**-60 * 3.0, rtol=SOME_ULPS)
    assert spread_of("square", bounded([0.0, -0.0])).tolist() == [0, 0]


@pytest.mark.parametrize("name", [*FUNCTIONS, "integer_pow"])
def test_nothing_is_known_of_a_function_of_what_may_be_anything(name: str) -> None:
    result = call(name, coarse(), bounded([-INF, INF, NAN, 1.0, 0.0], INF), y=-2)
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


def quotient_spread(a: float, e: float, b: float, d: float) -> float:
    """What the errors of both do to a quotient."""
    return INF if d >= abs(b) else (e + abs(a / b) * d) / (abs(b) - d)


OPERATIONS = {
    "add": Operation(lambda a, b: a + b, lambda _, e, __, d: e + d),
    "add_any": Operation(lambda a, b: a + b, lambda _, e, __, d: e + d),
    "sub": Operation(lambda a, b: a - b, lambda _, e, __, d: e + d),
    "mul": Operation(lambda a, b: a * b, r8),
    "div": Operation(lambda a, b: a / b, quotient_spread, 2, SOME_ULPS),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_off_by_what_the_errors_of_its_operands_do_and_its_own(name: str) -> None:
    assert_operation(name, OPERATIONS[name])


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


def test_functions_of_integers_are_exact_where_the_integer_is() -> None:
    x = Bounded(np.array([3, -2, 0]), np.array([False, True, False]))
    for name, want in {
        "square": [9, 4, 0],
        "one_minus_square": [-8, -3, 1],
        "sign": [1, -1, 0],
    }.items():
        assert_bounds(call(name, coarse(), x), want, x.error)
    assert_bounds(call("integer_pow", coarse(), x, y=3), [27, -8, 0], x.error)


def test_large_integers_are_divided_without_rounding() -> None:
    a, b = [2**53 + 1, -(2**53) - 1, 2**60 + 2], [1, 1, -3]
    result = call("div", coarse(), bounded(a), bounded(b))
    assert_bounds(result, [a[0], a[1], -(a[2] // 3)], [False] * 3)
