"""SiLU, in one pass over memory; all arrays have one shape, that of x."""

from typing import Any

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled, compiled_fused
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.layers.sigmoid import value_and_rest
from manual_nn.layers.silu import Kept

__all__ = ["Kept", "backward", "forward"]


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Multiply each input by its sigmoid, out = x / (1 + exp(-x)); silu.md (1).

    >>> import numpy as np
    >>> out, kept = forward((), np.array([-1.0, 0.0, 1.0, 50.0]))
    >>> out
    array([-0.26894142,  0.        ,  0.73105858, 50.        ])
    """
    check_floats(x, name="x", ndim=1)
    return entrywise(_values, x), Kept(x)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, sigmoid(x) + x sigmoid'(x); silu.md (2)."""
    check_like(d_out, kept.x.shape, kept.x.dtype, name="d_out", like="out")
    return (), entrywise(_slopes, d_out, kept.x)


@compiled_fused
def silu_and_slope(x: Any) -> tuple[Any, Any]:
    """Compute x sigmoid(x) and its derivative from one exponential; silu.md (1), (2)."""
    value, rest = value_and_rest(x)
    return x * value, value + x * (value * rest)


@compiled
def _values(x: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i], _ = silu_and_slope(x[i])


@compiled
def _slopes(d_out: Array, x: Array, d_x: Array) -> None:
    for i in range(len(x)):
        _, slope = silu_and_slope(x[i])
        d_x[i] = d_out[i] * slope
