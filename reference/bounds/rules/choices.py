"""Choices between numbers: extremes, comparisons, selections; ROUNDING.md (R9), (R10), (R11)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Extreme, Rounding, may_tie, reach


def _extreme(function: Callable[[Array, Array], Array]) -> Callable[..., Bounded]:
    def rule(_rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
        value = np.asarray(function(a.value, b.value))
        error = np.asarray(np.maximum(a.error, b.error))
        unsure = np.broadcast_to(may_tie(a, b), value.shape)
        cell = np.arange(value.size).reshape(value.shape)
        return Extreme.of(((a, unsure), (b, unsure)), cell, value, error, cell)

    return rule


_max, _min = _extreme(np.maximum), _extreme(np.minimum)
register_rule("max")(_max)
register_rule("min")(_min)


@register_rule("clamp")
def _clamp(rounding: Rounding, low: Bounded, x: Bounded, high: Bounded, **_: Any) -> Bounded:
    return _min(rounding, _max(rounding, low, x), high)


def ties(x: Bounded, value: Array, axes: tuple[int, ...]) -> Array:
    """Say which elements may be the largest, or smallest, or may not; ROUNDING.md (R11)."""
    largest, own = np.expand_dims(value, axes), reach(x)
    joint = own + np.where(x.value == largest, own, 0).max(axis=axes, keepdims=True)
    near = abs(np.subtract(largest, x.value, dtype=np.float64)) <= joint
    several = near.sum(axis=axes, keepdims=True) > 1
    inexact = (near & (own > 0)).any(axis=axes, keepdims=True)
    return np.asarray((near & several & inexact) | ~np.isfinite(joint))


def _reduced_extreme(function: Callable[..., Any]) -> Callable[..., Bounded]:
    def rule(_rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
        value = np.asarray(function(x.value, axis=axes))
        error = np.asarray(x.error.max(axis=axes))
        cell = np.arange(value.size).reshape(value.shape)
        home = np.broadcast_to(np.expand_dims(cell, axes), x.value.shape)
        return Extreme.of(((x, ties(x, value, axes)),), home, value, error, cell)

    return rule


register_rule("reduce_max")(_reduced_extreme(np.max))
register_rule("reduce_min")(_reduced_extreme(np.min))


def _comparison(function: Callable[[Array, Array], Array]) -> Callable[..., Bounded]:
    def rule(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
        return rounding.compared(function(a.value, b.value), a, b)

    return rule


register_rule("gt")(_comparison(np.greater))
register_rule("ge")(_comparison(np.greater_equal))
register_rule("lt")(_comparison(np.less))
register_rule("le")(_comparison(np.less_equal))
register_rule("eq")(_comparison(np.equal))
register_rule("ne")(_comparison(np.not_equal))


def _total(function: Callable[[Array, Array], Array]) -> Callable[..., Bounded]:
    """Compare in the order in which -0 is below 0, as nobody's rounding need have it."""

    def rule(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
        value, unsure = np.asarray(function(a.value, b.value)), may_tie(a, b)
        if a.value.dtype.kind == "f":
            zeros = (a.value == 0) & (b.value == 0) & (np.signbit(a.value) != np.signbit(b.value))
            order = function(-1.0 * np.signbit(a.value), -1.0 * np.signbit(b.value))
            value = np.where(zeros, order, value)
            unsure = unsure | zeros | np.isnan(a.value) | np.isnan(b.value)
        return rounding.opened(value, unsure)

    return rule


register_rule("lt_to")(_total(np.less))
register_rule("le_to")(_total(np.less_equal))
register_rule("eq_to")(_total(np.equal))


@register_rule("select_n")
def select_n(_rounding: Rounding, which: Bounded, *cases: Bounded, **_: Any) -> Bounded:
    """Where any case is right, take the interval that holds them all; ROUNDING.md (R10)."""
    chosen = which.value
    if not which.error.any() and chosen.ndim == 0:
        return cases[int(chosen)]
    value = np.choose(chosen, [case.value for case in cases])
    error = np.choose(chosen, [case.error for case in cases])
    if not which.error.any():
        return Bounded(value, error)
    if error.dtype == bool:
        return Bounded(value, error | which.error)
    low = np.min([case.value - case.error for case in cases], axis=0)
    high = np.max([case.value + case.error for case in cases], axis=0)
    half = (high - low) / 2
    middle = low + half
    rounded = half + np.finfo(np.float64).eps * np.maximum(abs(low), abs(high))
    return Bounded(np.where(which.error, middle, value), np.where(which.error, rounded, error))


def _index_of(index: Callable[..., Array], extreme: Callable[..., Array]) -> Callable[..., Bounded]:
    def rule(
        rounding: Rounding, x: Bounded, *, axes: tuple[int], index_dtype: npt.DTypeLike, **_: Any
    ) -> Bounded:
        (axis,) = axes
        near = ties(x, extreme(x.value, axis=axis), axes)
        chosen = np.asarray(index(x.value, axis=axis)).astype(index_dtype)
        return rounding.opened(chosen, np.asarray(near.any(axis=axes)))

    return rule


register_rule("argmax")(_index_of(np.argmax, np.max))
register_rule("argmin")(_index_of(np.argmin, np.min))
