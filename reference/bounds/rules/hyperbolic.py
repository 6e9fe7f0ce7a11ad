"""Hyperbolic functions and their inverses, which XLA makes of exp and log1p; ROUNDING.md (R12)."""

from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.rules.arithmetic import nearest_zero
from reference.bounds.rules.elementary import inaccurate_log1p


@register_rule("sinh")
def _sinh(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or exp(x - ln 2) - exp(-x - ln 2), or half of m + m / (m + 1), m = expm1(x)."""
    farthest = abs(x.value) + x.error
    spread = 2 * np.cosh(abs(x.value) + x.error / 2) * np.sinh(x.error / 2)
    return rounding.function(np.sinh(x.value), _known(x, spread), steps=12 + farthest)


@register_rule("cosh")
def _cosh(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or exp(x - ln 2) + exp(-x - ln 2)."""
    farthest = abs(x.value) + x.error
    spread = 2 * np.sinh(abs(x.value) + x.error / 2) * np.sinh(x.error / 2)
    return rounding.function(np.cosh(x.value), _known(x, spread), steps=2 + farthest)


@register_rule("asinh")
def _asinh(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or log1p(|x| + x^2 / (1 + sqrt(x^2 + 1))) with the sign of x."""
    spread = x.error / np.sqrt(1 + nearest_zero(*x) ** 2)
    return rounding.function(np.arcsinh(x.value), spread, steps=6.0)


@register_rule("acosh")
def _acosh(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or log1p(r (r + sqrt(x + 1))) with r = sqrt(x - 1)."""
    lowest = x.value - x.error
    roots = np.sqrt(x.value - 1) + np.sqrt(lowest - 1)
    spread = 2 * x.error / (np.sqrt(lowest + 1) * roots)
    return rounding.function(np.arccosh(x.value), _known(x, spread), steps=5.0)


@register_rule("atanh")
def _atanh(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or half of log1p(x) - log1p(-x), which add up.

    The spread is NaN where x + e leaves -1 to 1: the ratio is beyond them there too.
    """
    near = abs(x.value)
    ratio = x.error / ((1 - near) * (1 + near) - near * x.error)
    spread = np.arctanh(ratio * (1 + 8 * np.finfo(np.float64).eps))
    result = rounding.function(np.arctanh(x.value), _known(x, spread), steps=1.0)
    return inaccurate_log1p(-near, x.error, result)


def _known(x: Bounded, spread: Array) -> Array:
    """Give no spread to what is exact, whatever its slope is."""
    return np.where(x.error == 0, 0.0, spread)
