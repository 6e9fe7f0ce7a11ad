"""Functions that are constant between jumps, at which a choice is open; ROUNDING.md (R14)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import EPS, ROUNDINGS, Bounded, Rounding
from reference.bounds.rules.arithmetic import nearest_zero
from reference.bounds.rules.discrete import discrete


def _jumping(rounding: Rounding, x: Bounded, function: Callable[[Array], Array]) -> Bounded:
    """Take any value of the function within e of x, if the choice is open; ROUNDING.md (R14)."""
    value, low, high = (function(part) for part in (x.value, x.value - x.error, x.value + x.error))
    which = rounding.opened(value, low != high)
    error = np.where(which.error, np.maximum(high - value, value - low), 0.0)
    return Bounded(value, np.where(np.isfinite(x.error), error, np.inf))


@register_rule("floor")
def _floor(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return _jumping(rounding, x, np.floor)


@register_rule("ceil")
def _ceil(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return _jumping(rounding, x, np.ceil)


@register_rule("round")
def _round(rounding: Rounding, x: Bounded, *, rounding_method: Any, **_: Any) -> Bounded:
    to_even = rounding_method == lax.RoundingMethod.TO_NEAREST_EVEN
    return _jumping(rounding, x, np.rint if to_even else _away_from_zero)


def _away_from_zero(x: Array) -> Array:
    whole = np.trunc(x)
    return np.asarray(np.where(abs(x - whole) < 0.5, whole, whole + np.sign(x)))


@register_rule("rem")
def _rem(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    """a - n b, of which n is a / b without its fraction, and a choice where that may be another."""
    if a.value.dtype.kind != "f":
        return discrete(lambda x, y: np.where(y == 0, x, np.fmod(x, np.where(y == 0, 1, y))), a, b)
    farthest, nearest = abs(b.value) + b.error, nearest_zero(*b)
    fewest = np.floor(nearest_zero(*a) / farthest * (1 - 4 * EPS))
    most = np.floor((abs(a.value) + a.error) / nearest * (1 + 4 * EPS))
    inexact = (a.error > 0) | (b.error > 0)
    value = np.fmod(a.value, b.value)
    which = rounding.opened(value, inexact & (fewest != most))
    spread = a.error + abs(a.value / b.value) * b.error
    spread = np.where(which.error, np.maximum(spread, abs(value) + farthest), spread)
    spread = np.where(nearest > 0, spread, np.inf)
    own = ROUNDINGS * rounding.unit_roundoff * (abs(a.value) + a.error)
    return rounding.rounded(value, spread + own)
