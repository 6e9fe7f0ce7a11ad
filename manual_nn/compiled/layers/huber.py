"""The Huber loss, in one pass over memory; all arrays have one shape, that of x."""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_floats, check_like, check_scalar
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.entrywise import as_row, entrywise
from manual_nn.compiled.layers.squared_error import scale
from manual_nn.compiled.reductions import WIDTH
from manual_nn.layers.huber import Kept

__all__ = ["Kept", "backward", "forward"]


def forward(
    params: tuple[()], x: Array, *, target: Array, delta: float = 1.0
) -> tuple[np.floating[Any], Kept]:
    """Take the mean over all entries of the Huber loss of x - target; huber.md (1), (2).

    >>> loss, kept = forward((), np.array([0.5, -4.0]), target=np.array([0.0, 0.0]))
    >>> print(loss)  # the mean of 0.125 and 3.5
    1.8125
    """
    check_floats(x, name="x", ndim=1)
    check_like(target, x.shape, x.dtype, name="target", like="x")
    delta = as_number(delta, name="delta", minimum=0, strict=True, dtype=x.dtype)
    clipped, number = np.empty(x.shape, x.dtype), x.dtype.type
    rows = as_row(x), as_row(target), as_row(clipped)
    return number(_mean(*rows, number(delta), number(1 / x.size))), Kept(clipped)


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out clip(x - target, -delta, delta) / n, of n entries; huber.md (3)."""
    check_scalar(d_out, name="d_out")
    clipped = kept.clipped
    factors = clipped.dtype.type(1 / clipped.size), clipped.dtype.type(d_out)
    return (), entrywise(scale, clipped, numbers=factors)


@compiled
def _mean(x: Array, target: Array, clipped: Array, delta: Any, share: Any) -> Any:
    total = np.float64(0)
    for start in range(0, len(x), WIDTH):
        stop = start + WIDTH
        total += _part(x[start:stop], target[start:stop], clipped[start:stop], delta, share)
    return total


@compiled_in_any_order
def _part(x: Array, target: Array, clipped: Array, delta: Any, share: Any) -> Any:
    total, half = x.dtype.type(0), x.dtype.type(0.5)
    for i in range(len(x)):
        error = x[i] - target[i]
        at_most = delta if error > delta else error
        clipped[i] = -delta if at_most < -delta else at_most  # (2)
        total += (clipped[i] * (error - half * clipped[i])) * share  # (2)
    return total
