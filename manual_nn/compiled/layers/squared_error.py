"""The squared error, in one pass over memory; all arrays have one shape, that of x."""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like, check_scalar
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.entrywise import as_row, entrywise
from manual_nn.compiled.reductions import WIDTH
from manual_nn.layers.squared_error import Kept

__all__ = ["Kept", "backward", "forward"]


def forward(params: tuple[()], x: Array, *, target: Array) -> tuple[np.floating[Any], Kept]:
    """Take the mean over all entries of (x - target)^2; squared_error.md (1).

    >>> loss, kept = forward((), np.array([1.0, 2.0]), target=np.array([0.0, 4.0]))
    >>> print(loss)
    2.5
    """
    check_floats(x, name="x", ndim=1)
    check_like(target, x.shape, x.dtype, name="target", like="x")
    error, share = np.empty(x.shape, x.dtype), x.dtype.type(1 / x.size)
    total = _mean(as_row(x), as_row(target), as_row(error), share)
    return x.dtype.type(total), Kept(error)


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out 2 (x - target) / n, of n entries; squared_error.md (2)."""
    check_scalar(d_out, name="d_out")
    error = kept.error
    factors = error.dtype.type(2 / error.size), error.dtype.type(d_out)
    return (), entrywise(scale, error, numbers=factors)


@compiled
def scale(error: Array, share: Any, d_out: Any, d_x: Array) -> None:
    """Multiply the entries of a row by two numbers; squared_error.md (2), huber.md (3)."""
    for i in range(len(error)):
        d_x[i] = (error[i] * share) * d_out


@compiled
def _mean(x: Array, target: Array, error: Array, share: Any) -> Any:
    total = np.float64(0)
    for start in range(0, len(x), WIDTH):
        stop = start + WIDTH
        total += _part(x[start:stop], target[start:stop], error[start:stop], share)
    return total


@compiled_in_any_order
def _part(x: Array, target: Array, error: Array, share: Any) -> Any:
    total = x.dtype.type(0)
    for i in range(len(x)):
        error[i] = x[i] - target[i]
        total += (error[i] * error[i]) * share  # (1)
    return total
