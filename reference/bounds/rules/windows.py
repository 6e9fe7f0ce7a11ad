"""Windows, as of pooling: sums and extremes, and where the extremes are; ROUNDING.md (R19)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import EPS, Bounded, Rounding
from reference.bounds.rules.choices import ties


def _windows(
    x: Array,
    fill: Any,
    *,
    window_dimensions: tuple[int, ...],
    window_strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    base_dilation: tuple[int, ...] | None = None,
    window_dilation: tuple[int, ...] | None = None,
    **_: Any,
) -> Array:
    """Cut an array into windows, whose elements are its last axis."""
    ones = (1,) * x.ndim
    gaps = [dilation - 1 for dilation in base_dilation or ones]
    config = [(*edges, gap) for edges, gap in zip(padding, gaps, strict=True)]
    padded = np.asarray(lax.pad(x, x.dtype.type(fill), config))
    steps = window_dilation or ones
    reach = [(n - 1) * step + 1 for n, step in zip(window_dimensions, steps, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, reach)
    places = (slice(None, None, step) for step in (*window_strides, *steps))
    windows = views[tuple(places)]
    return windows.reshape([*windows.shape[: x.ndim], -1])


@register_rule("reduce_window_sum")
def _reduce_window_sum(rounding: Rounding, x: Bounded, **params: Any) -> Bounded:
    """A sum of as many terms as a window has; ROUNDING.md (R6)."""
    value = _windows(x.value, 0, **params).sum(axis=-1, dtype=x.value.dtype)
    error = _windows(x.error, 0, **params)
    if value.dtype.kind != "f":
        return Bounded(value, np.asarray(error.any(axis=-1)))
    size = (abs(_windows(x.value, 0, **params)) + error).sum(axis=-1)
    return rounding.summed(value, error.sum(axis=-1), size, error.shape[-1])


def _extreme(name: str, sign: int) -> None:
    def rule(_rounding: Rounding, x: Bounded, **params: Any) -> Bounded:
        windows = _windows(x.value, _farthest(x.value, -sign), **params)
        value = windows.max(axis=-1) if sign > 0 else windows.min(axis=-1)
        return Bounded(value, _windows(x.error, 0, **params).max(axis=-1))

    register_rule(name)(rule)


_extreme("reduce_window_max", 1)
_extreme("reduce_window_min", -1)


def _farthest(x: Array, sign: int) -> Any:
    """Give what no number of this dtype is beyond."""
    if x.dtype.kind == "f":
        return sign * np.inf
    if x.dtype.kind == "b":
        return sign > 0
    return np.iinfo(x.dtype).max if sign > 0 else np.iinfo(x.dtype).min


def _chosen(
    rounding: Rounding, x: Bounded, select_prim: Any, params: dict[str, Any]
) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Say which element of each window is the extreme, the first of several, and which may be.

    Returns:
        The place of the one in its window, which of the window may be, and what takes from windows.
    """
    sign = 1 if select_prim is lax.ge_p else -1
    windows = _windows(sign * x.value, -np.inf, **params)
    errors = _windows(x.error, 0.0, **params)
    first = windows.argmax(axis=-1)[..., None]
    near = ties(Bounded(windows, errors), windows.max(axis=-1), (windows.ndim - 1,))
    may_be = rounding.opened(windows, near).error

    def taken(array: Array) -> Array:
        return np.take_along_axis(array, first, axis=-1)[..., 0]

    return first, may_be, taken


@register_rule("select_and_scatter_add")
def _select_and_scatter_add(
    rounding: Rounding, source: Bounded, x: Bounded, *, select_prim: Any, **params: Any
) -> Bounded:
    """Add what comes back for a window to its extreme, or what may be it; ROUNDING.md (R19)."""
    _, may_be, taken = _chosen(rounding, x, select_prim, params)
    places = _windows(np.arange(1, x.value.size + 1).reshape(x.value.shape), 0, **params)

    def added(places: Array, terms: Array) -> Array:
        onto = np.zeros(1 + x.value.size)  # the first is the padding's
        np.add.at(onto, places, terms)
        return onto[1:].reshape(x.value.shape)

    to = taken(places)
    size = abs(source.value) + source.error
    value, spread, sizes = (added(to, part) for part in (source.value, source.error, size))
    if may_be.any():
        anything = np.broadcast_to(size[..., None], may_be.shape)[may_be]
        elsewhere = added(places[may_be], anything)
        spread, sizes = spread + elsewhere, sizes + elsewhere
    overlaps = zip(params["window_dimensions"], params["window_strides"], strict=True)
    terms = int(np.prod([-(-size // stride) for size, stride in overlaps]))
    return rounding.summed(value, spread, sizes, terms)


@register_rule("select_and_gather_add")
def _select_and_gather_add(
    rounding: Rounding, tangents: Bounded, x: Bounded, *, select_prim: Any, **params: Any
) -> Bounded:
    """Take the tangent of each window's extreme, or of any that may be; ROUNDING.md (R10)."""
    _, may_be, taken = _chosen(rounding, x, select_prim, params)
    values, errors = (_windows(part, 0.0, **params) for part in tangents)
    value, error = taken(values), taken(errors)
    if not may_be.any():
        return Bounded(value, error)
    low = np.where(may_be, values - errors, np.inf).min(axis=-1)
    high = np.where(may_be, values + errors, -np.inf).max(axis=-1)
    wide = np.maximum(high - value, value - low) + EPS * np.maximum(abs(low), abs(high))
    return Bounded(value, np.where(may_be.any(axis=-1), np.maximum(wide, error), error))
