"""Elements that move or are repeated: their errors go with them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from jax import lax

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Extreme, Rounding, exact


def _moving(function: Callable[..., Array]) -> Callable[..., Bounded]:
    def rule(_: Rounding, *operands: Bounded, **params: Any) -> Bounded:
        moved = [np.asarray(function(*arrays, **params)) for arrays in zip(*operands, strict=True)]
        match operands:
            case (Extreme() as extreme,):
                cell = np.asarray(function(extreme.cell, **params))
                return Extreme.of(extreme.choices, extreme.home, *moved, cell)
        return Bounded(*moved)

    return rule


def _broadcast_in_dim(x: Array, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> Array:
    expanded = [1] * len(shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        expanded[axis] = size
    return np.broadcast_to(x.reshape(expanded), shape)


def _pad(x: Array, padding: Array, *, padding_config: Any, **_: Any) -> Array:
    return np.asarray(lax.pad(x, padding, padding_config))


def _slice(x: Array, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> Array:
    steps = strides or (None,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


def _reshape(x: Array, *, new_sizes: Any, dimensions: Any = None, **_: Any) -> Array:
    return (x if dimensions is None else x.transpose(dimensions)).reshape(new_sizes)


register_rule("broadcast_in_dim")(_moving(_broadcast_in_dim))
register_rule("reshape")(_moving(_reshape))
register_rule("squeeze")(_moving(lambda x, *, dimensions, **_: x.squeeze(tuple(dimensions))))
register_rule("transpose")(_moving(lambda x, *, permutation, **_: x.transpose(permutation)))
register_rule("rev")(_moving(lambda x, *, dimensions, **_: np.flip(x, tuple(dimensions))))
register_rule("slice")(_moving(_slice))
register_rule("concatenate")(
    _moving(lambda *xs, dimension, **_: np.concatenate(xs, axis=dimension))
)
register_rule("pad")(_moving(_pad))
register_rule("stack")(_moving(lambda *xs, axis, **_: np.stack(xs, axis=axis)))
register_rule("tile")(_moving(lambda x, *, reps, **_: np.tile(x, reps)))


@register_rule("copy", "copy_p", "device_put", "stop_gradient", "optimization_barrier")
def _copy(_: Rounding, *operands: Bounded, **__: Any) -> list[Bounded]:
    return list(operands)


@register_rule("split")
def _split(_: Rounding, x: Bounded, *, sizes: tuple[int, ...], axis: int, **__: Any) -> Any:
    ends = np.cumsum(sizes)[:-1]
    return [Bounded(*part) for part in zip(*(np.split(a, ends, axis) for a in x), strict=True)]


@register_rule("unstack")
def _unstack(_: Rounding, x: Bounded, *, axis: int, **__: Any) -> list[Bounded]:
    moved = zip(*(np.moveaxis(part, axis, 0) for part in x), strict=True)
    return [Bounded(np.asarray(value), np.asarray(error)) for value, error in moved]


@register_rule("empty", "empty2")
def _empty(_: Rounding, *, dtype: npt.DTypeLike, shape: tuple[int, ...] = (), **__: Any) -> Bounded:
    """An array whose values are never used."""
    return exact(np.zeros(shape, dtype))


@register_rule("iota")
def _iota(
    _: Rounding, *, dtype: npt.DTypeLike, shape: tuple[int, ...], dimension: int, **__: Any
) -> Bounded:
    along = np.arange(shape[dimension]).reshape(-1, *[1] * (len(shape) - dimension - 1))
    index = np.broadcast_to(along, shape).astype(dtype)
    return exact(index.astype(np.float64) if index.dtype.kind == "f" else index)
