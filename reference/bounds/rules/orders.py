"""Numbers in order, and what goes with them; ROUNDING.md (R17), (R18)."""

from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import EPS, Bounded, Rounding, reach


@register_rule("sort")
def _sort(
    rounding: Rounding, *operands: Bounded, dimension: int, num_keys: int, **_: Any
) -> list[Bounded]:
    """Sort by the keys; an operand that is none goes where its key goes.

    Raises:
        NotImplementedError: there are several keys, of which one has an error.
    """
    moved = [Bounded(*(np.moveaxis(part, dimension, -1) for part in x)) for x in operands]
    keys = moved[0]
    if num_keys > 1 and any(op.error.any() for op in operands[:num_keys]):
        raise NotImplementedError("no error bound is known for sort by several keys with errors")
    order = np.lexsort([op.value for op in reversed(moved[:num_keys])], axis=-1)
    blocks = _blocks(keys, order)
    unsure = rounding.opened(order, _in_company(blocks)).error
    results = [_sorted_key(keys, order, blocks)]
    results += [_carried(op, order, blocks, unsure) for op in moved[1:]]
    return [Bounded(*(np.moveaxis(x, -1, dimension) for x in result)) for result in results]


@register_rule("top_k")
def _top_k(rounding: Rounding, x: Bounded, *, k: int, axis: int = -1, **_: Any) -> list[Bounded]:
    """Give the first k of what is sorted from the largest on, and where they were."""
    moved = Bounded(*(np.moveaxis(part, axis, -1) for part in x))
    falling = Bounded(-moved.value if x.value.dtype.kind == "f" else ~moved.value, moved.error)
    order = np.argsort(falling.value, axis=-1, kind="stable")
    blocks = _blocks(falling, order)
    unsure = rounding.opened(order, _in_company(blocks)).error
    largest = _sorted_key(falling, order, blocks)
    value = -largest.value if x.value.dtype.kind == "f" else ~largest.value
    results = Bounded(value, largest.error), Bounded(order.astype(np.int32), unsure)
    return [Bounded(*(np.moveaxis(part[..., :k], -1, axis) for part in one)) for one in results]


def _sorted_key(x: Bounded, order: Array, blocks: Array) -> Bounded:
    """Bound what is in each place: sorting keeps the order of two arrays; ROUNDING.md (R17)."""
    value = np.take_along_axis(x.value, order, axis=-1)
    if x.value.dtype.kind != "f":
        unsure = np.broadcast_to(x.error.any(axis=-1, keepdims=True), value.shape)
        return Bounded(value, unsure)
    low, high = np.sort(x.value - x.error, axis=-1), np.sort(x.value + x.error, axis=-1)
    up, down = (np.where(end == value, 0.0, abs(end - value)) for end in (high, low))
    own = np.take_along_axis(x.error, order, axis=-1)
    inexact = ((own > 0) | _in_company(blocks)) & np.isfinite(value)
    lost = EPS * np.maximum(abs(low), abs(high))  # of these ends
    error = np.maximum(up, down) + np.where(inexact, lost, 0.0)
    unknown = np.isnan(x.value).any(axis=-1, keepdims=True) | np.isnan(error)
    return Bounded(value, np.where(unknown, np.inf, error))


def _blocks(x: Bounded, order: Array) -> Array:
    """Number the places between which no key can go over; ROUNDING.md (R18)."""
    value = np.take_along_axis(x.value, order, axis=-1)
    error = np.take_along_axis(reach(x), order, axis=-1)
    error = np.where(error > 0, error + 2 * EPS * abs(value), 0.0)
    highest = np.maximum.accumulate(value + error, axis=-1)[..., :-1]
    lowest = np.flip(np.minimum.accumulate(np.flip(value - error, -1), axis=-1), -1)[..., 1:]
    exact_tie = (error[..., 1:] == 0) & (error[..., :-1] == 0) & (highest == lowest)
    firm = (highest < lowest) | exact_tie
    first = np.zeros([*firm.shape[:-1], 1], int)
    return np.concatenate([first, np.cumsum(firm, axis=-1)], axis=-1)


def _in_company(blocks: Array) -> Array:
    """Say which places are not alone in their block."""
    same = blocks[..., 1:] == blocks[..., :-1]
    alone = np.zeros([*blocks.shape[:-1], 1], bool)
    return np.concatenate([alone, same], axis=-1) | np.concatenate([same, alone], axis=-1)


def _carried(x: Bounded, order: Array, blocks: Array, unsure: Array) -> Bounded:
    """Move by the order; where that is unsure, it is any of the same block."""
    value, error = (np.take_along_axis(part, order, axis=-1) for part in x)
    if not unsure.any():
        return Bounded(value, error)
    if error.dtype == bool:
        return Bounded(value, error | unsure)
    low, high = value - error, value + error
    for numbers, lows, highs in zip(*_rows(blocks, low, high), strict=True):
        for number in np.unique(numbers):
            here = numbers == number
            lows[here], highs[here] = lows[here].min(), highs[here].max()
    wide = np.maximum(high - value, value - low) + EPS * np.maximum(abs(low), abs(high))
    return Bounded(value, np.where(unsure, wide, error))


def _rows(*arrays: Array) -> list[Array]:
    return [array.reshape(-1, array.shape[-1]) for array in arrays]
