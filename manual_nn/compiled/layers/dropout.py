"""Dropout, in one pass over memory.

All arrays have one shape, that of x, but for the mask, which may broadcast to it.
"""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like, check_mask
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.entrywise import entrywise
from manual_nn.layers.dropout import Kept, Mask, as_rate, draw_mask

__all__ = ["Kept", "Mask", "backward", "draw_mask", "forward"]


def forward(
    params: tuple[()], x: Array, *, mask: Mask | None = None, rate: float = 0.5
) -> tuple[Array, Kept]:
    """Compute out = x / (1 - rate) where the mask is True, and 0 elsewhere; dropout.md (1).

    >>> mask = np.array([True, False, True])
    >>> out, kept = forward((), np.array([1.0, 2.0, 3.0]), mask=mask, rate=0.5)
    >>> out
    array([2., 0., 6.])
    """
    check_floats(x, name="x", ndim=1)
    kept = Kept(mask, as_rate(rate), x.shape, x.dtype)
    if mask is not None:
        check_mask(mask, x.shape, like="x")
    return _dropped(x, kept), kept


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Do with the gradient what was done with x, with the same mask and rate; dropout.md (2)."""
    check_like(d_out, kept.shape, kept.dtype, name="d_out", like="out")
    return (), _dropped(d_out, kept)


def _dropped(x: Array, kept: Kept) -> Array:
    if kept.mask is None:
        return x.copy()
    mask = np.broadcast_to(kept.mask, x.shape)
    return entrywise(_drop, x, mask, numbers=(x.dtype.type(1 / (1 - kept.rate)),))


@compiled
def _drop(x: Array, mask: Mask, factor: Any, out: Array) -> None:
    zero = x.dtype.type(0)
    for i in range(len(x)):
        out[i] = x[i] * factor if mask[i] else zero  # (1), (2)
