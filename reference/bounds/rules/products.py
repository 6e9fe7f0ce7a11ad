"""Products of many numbers; ROUNDING.md (R15)."""

from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import ROUNDINGS, Bounded, Rounding
from reference.bounds.rules.discrete import reduced


@register_rule("reduce_prod")
def _reduce_prod(rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
    if x.value.dtype.kind != "f":
        return reduced(np.prod, np.any, x, axes)
    rest = [axis for axis in range(x.value.ndim) if axis not in axes]
    shape = [x.value.shape[axis] for axis in rest]
    last = [part.transpose([*rest, *axes]).reshape([*shape, -1]) for part in x]
    with_one = Bounded(
        *(np.insert(part, 0, i, axis=-1) for part, i in zip(last, (1, 0), strict=True))
    )
    product = _cumulated(rounding, with_one)
    return Bounded(product.value[..., -1], product.error[..., -1])


@register_rule("cumprod")
def _cumprod(rounding: Rounding, x: Bounded, *, axis: int, reverse: bool, **_: Any) -> Bounded:
    def turned(array: Array) -> Array:
        return np.flip(array, -1) if reverse else array

    moved = Bounded(*(turned(np.moveaxis(part, axis, -1)) for part in x))
    if x.value.dtype.kind != "f":
        result = Bounded(np.cumprod(moved.value, -1), np.logical_or.accumulate(moved.error, -1))
    else:
        result = _cumulated(rounding, moved)
    return Bounded(*(np.moveaxis(turned(part), -1, axis) for part in result))


def _cumulated(rounding: Rounding, x: Bounded) -> Bounded:
    """Multiply along the last axis, in any order; ROUNDING.md (R15)."""
    size, largest = abs(x.value), abs(x.value) + x.error
    product: Array | float
    spread: Array | float
    product, spread = 1.0, 0.0  # of no factor
    spreads = np.empty_like(size)
    for k in range(size.shape[-1]):  # all of these are positive, so that nothing cancels
        spread = spread * largest[..., k] + product * x.error[..., k]
        product = product * size[..., k]
        spreads[..., k] = spread
    value = np.cumprod(x.value, axis=-1)
    count = ROUNDINGS * np.arange(size.shape[-1])
    gammas = np.array([rounding.gamma(int(k)) for k in count])
    # What any part of the product is at most, in any order.
    most = np.cumprod(np.maximum(largest, 1), axis=-1) * (1 + gammas)
    exactly_0 = np.logical_or.accumulate(largest == 0, axis=-1)
    flushed = np.where(exactly_0, 0, count * rounding.tiny * most)
    error = spreads + gammas * (abs(value) + spreads) + flushed
    error = np.where(most <= rounding.largest, error, np.inf)
    return rounding.rounded(value, error, roundings=0)
