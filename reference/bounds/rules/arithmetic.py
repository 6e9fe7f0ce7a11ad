"""Arithmetic of two numbers, ROUNDING.md (R3), (R8), and what changes only the sign."""

from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import FUNCTION_ULPS, ROUNDINGS, Bounded, Rounding, exact
from reference.bounds.rules.discrete import discrete


@register_rule("add", "add_any")
def _add(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return discrete(np.add, a, b)
    return _infinite_or(rounding.rounded(a.value + b.value, a.error + b.error), a, b)


@register_rule("sub")
def _sub(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return discrete(np.subtract, a, b)
    return _infinite_or(rounding.rounded(a.value - b.value, a.error + b.error), a, b)


def _infinite_or(result: Bounded, a: Bounded, b: Bounded) -> Bounded:
    """Keep an exact infinity, as in a mask, exact when something finite is added to it."""
    finite = [np.isfinite(x.value) & np.isfinite(x.error) for x in (a, b)]
    infinite = [np.isinf(x.value) & (x.error == 0) for x in (a, b)]
    stays = (infinite[0] & finite[1]) | (finite[0] & infinite[1])
    return Bounded(result.value, np.where(stays, 0.0, result.error))


@register_rule("mul")
def _mul(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return discrete(np.multiply, a, b)
    return rounding.product(a, b)


@register_rule("div")
def _div(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return discrete(lambda x, y: np.sign(x) * np.sign(y) * (abs(x) // abs(y)), a, b)
    value = a.value / b.value
    return rounding.rounded(value, (a.error + abs(value) * b.error) / nearest_zero(*b))


@register_rule("integer_pow")
def _integer_pow(rounding: Rounding, x: Bounded, *, y: int, **_: Any) -> Bounded:
    """Multiply |y| - 1 times and perhaps divide or, except for squares, call pow."""
    if x.value.dtype.kind != "f":
        return discrete(lambda base: base**y, x)
    value, n, size = x.value**y, abs(y), abs(x.value)
    large, small = (size, nearest_zero(*x)) if y < 0 else (size + x.error, size)
    spread = x.error * sum(large**i * small ** (n - 1 - i) for i in range(n))  # large^n - small^n
    if y < 0:
        spread = np.where(small**n > rounding.tiny, spread * abs(value) / small**n, np.inf)
    roundings = max(ROUNDINGS * n, 2 * FUNCTION_ULPS + 1) if n > 2 else ROUNDINGS * n
    error = spread + rounding.gamma(roundings) * (abs(value) + spread)
    return rounding.rounded(value, error, roundings=0)


@register_rule("square")
def square(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """Multiply x by itself; ROUNDING.md (R8)."""
    if x.value.dtype.kind != "f":
        return discrete(np.square, x)
    return rounding.product(x, x)


@register_rule("one_minus_square")
def _one_minus_square(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """(1 + x) (1 - x) in these three steps, or 1 - x x with the rounding of the square."""
    if x.value.dtype.kind != "f":
        return discrete(lambda value: 1 - value**2, x)
    value = (1 + x.value) * (1 - x.value)
    square = rounding.product(x, x)
    return rounding.rounded(value, square.error, roundings=3 * ROUNDINGS)


@register_rule("neg")
def neg(_rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """Change the sign, which rounds nothing."""
    return Bounded(-x.value, x.error)


@register_rule("abs")
def _abs(_rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return Bounded(abs(x.value), x.error)


@register_rule("sign")
def _sign(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    if x.value.dtype.kind != "f":
        return discrete(np.sign, x)
    value, unsure = rounding.compared(np.sign(x.value), x, exact(0.0))
    return Bounded(value, np.where(unsure, 2.0, 0.0))


def nearest_zero(x: Array, e: Array) -> Array:
    """Give the smallest size of a number within e of x."""
    return np.maximum(abs(x) - e, 0)
