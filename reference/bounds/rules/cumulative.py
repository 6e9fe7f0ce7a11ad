"""The largest and the log-sum-exp of all that comes before; ROUNDING.md (R16)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import FUNCTION_ULPS, ROUNDINGS, Bounded, Rounding


def _along(function: Callable[..., Array], x: Array, axis: int, *, reverse: bool) -> Array:
    """Cumulate along an axis, from either end."""
    if reverse:
        return np.flip(function(np.flip(x, axis), axis=axis), axis)
    return function(x, axis=axis)


def _extreme(function: Any) -> Callable[..., Bounded]:
    def rule(_rounding: Rounding, x: Bounded, *, axis: int, reverse: bool, **_: Any) -> Bounded:
        """It is no farther off than the one of those before that is the farthest off."""
        value = _along(function.accumulate, x.value, axis, reverse=reverse)
        return Bounded(value, _along(np.maximum.accumulate, x.error, axis, reverse=reverse))

    return rule


register_rule("cummax")(_extreme(np.maximum))
register_rule("cummin")(_extreme(np.minimum))


@register_rule("cumlogsumexp")
def _cumlogsumexp(rounding: Rounding, x: Bounded, *, axis: int, reverse: bool, **_: Any) -> Bounded:
    """Add up the errors of as many steps; ROUNDING.md (R16).

    A step is log(e^a + e^b) = max + log1p(e^-|a - b|). What is exactly -inf adds nothing.
    """
    terms = x.value.shape[axis]
    value = _along(np.logaddexp.accumulate, x.value, axis, reverse=reverse)
    spread = _along(np.maximum.accumulate, x.error, axis, reverse=reverse)
    sizes = abs(np.where(np.isneginf(x.value) & (x.error == 0), 0.0, x.value)) + x.error
    largest = _along(np.maximum.accumulate, sizes, axis, reverse=reverse) + np.log(terms)
    step = (ROUNDINGS * largest + 2 * (2 * FUNCTION_ULPS) + ROUNDINGS) * rounding.unit_roundoff
    result = rounding.rounded(value, spread + (terms - 1) * (step + 2 * rounding.tiny))
    nothing = np.isneginf(value) & (spread == 0)
    return Bounded(value, np.where(nothing, 0.0, result.error))
