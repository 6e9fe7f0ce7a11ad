"""The hyperbolic tangent, in one pass over memory; all arrays have one shape, that of x."""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled, compiled_fused
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.exponential import constants_of, exp, expm1
from manual_nn.layers.tanh import Kept

__all__ = ["Kept", "backward", "forward"]


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute out = tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)); tanh.md (1).

    >>> import numpy as np
    >>> out, kept = forward((), np.array([-1000.0, 0.0, 1.0]))
    >>> out
    array([-1.        ,  0.        ,  0.76159416])
    """
    check_floats(x, name="x", ndim=1)
    return entrywise(_values, x), Kept(x)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, (2 e / (1 + e^2))^2 with e = exp(-|x|); tanh.md (2), (3)."""
    check_like(d_out, kept.x.shape, kept.x.dtype, name="d_out", like="out")
    return (), entrywise(_slopes, d_out, kept.x)


@compiled_fused
def tanh(x: Any) -> Any:
    """Compute -m / (2 + m) with m = exp(-2 |x|) - 1, and give it the sign of x; tanh.md (1).

    m has its digits near 0, where exp(-2 |x|) is nearly 1. A 0 has a sign, too.
    """
    one = constants_of(x).one
    m = expm1(-(abs(x) + abs(x)))
    return np.copysign(m / (one + one + m), x)


@compiled_fused
def slope(x: Any) -> Any:
    """Compute the derivative of tanh, (2 e / (1 + e^2))^2 with e = exp(-|x|); tanh.md (3)."""
    e = exp(-abs(x))
    root = (e + e) / (constants_of(x).one + e * e)
    return root * root


@compiled
def _values(x: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = tanh(x[i])


@compiled
def _slopes(d_out: Array, x: Array, d_x: Array) -> None:
    for i in range(len(x)):
        d_x[i] = d_out[i] * slope(x[i])
