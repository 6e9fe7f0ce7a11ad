"""The leaky rectified linear unit, in one pass over memory; all arrays have the shape of x."""

from typing import Any, NamedTuple

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.layers.relu import masked, rectified

__all__ = ["Kept", "backward", "forward"]


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array
    negative_slope: float


def forward(params: tuple[()], x: Array, *, negative_slope: float = 0.01) -> tuple[Array, Kept]:
    """Compute out = x where x > 0, and negative_slope x elsewhere; leaky_relu.md (1).

    >>> import numpy as np
    >>> out, kept = forward((), np.array([-2.0, 0.0, 3.0]), negative_slope=0.25)
    >>> out
    array([-0.5,  0. ,  3. ])
    """
    check_floats(x, name="x", ndim=1)
    slope = as_number(negative_slope, name="negative_slope", minimum=0, dtype=x.dtype)
    out = entrywise(_scale, x, x, numbers=(x.dtype.type(slope),)) if slope else rectified(x)
    return out, Kept(x, slope)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out where x > 0, and negative_slope d_out elsewhere; leaky_relu.md (2)."""
    x, slope = kept
    check_like(d_out, x.shape, x.dtype, name="d_out", like="out")
    if not slope:
        return (), masked(d_out, x)
    return (), entrywise(_scale, d_out, x, numbers=(x.dtype.type(slope),))


@compiled
def _scale(array: Array, x: Array, slope: Any, out: Array) -> None:
    zero = x.dtype.type(0)
    for i in range(len(x)):
        out[i] = array[i] if x[i] > zero else slope * array[i]  # (1), (2)
