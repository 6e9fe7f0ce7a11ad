"""SiLU, the sigmoid linear unit, also called swish: x times the sigmoid of x.

silu.md derives the equations. All arrays have one shape, that of x.
"""

from typing import NamedTuple

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.layers.sigmoid import sigmoid, value_and_slope


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Multiply each input by its sigmoid, out = x / (1 + exp(-x)); eq. (1).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array.
        ValueError: x has no axis or no element.

    Source: Elfwing, Uchibe and Doya, Sigmoid-Weighted Linear Units for Neural Network Function
    Approximation in Reinforcement Learning, 2017, arXiv:1702.03118.

    >>> import numpy as np
    >>> out, kept = forward((), np.array([-1.0, 0.0, 1.0, 50.0]))
    >>> out
    array([-0.26894142,  0.        ,  0.73105858, 50.        ])
    """
    check_floats(x, name="x", ndim=1)
    return x * sigmoid(x), Kept(x)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, sigmoid(x) + x sigmoid'(x); eq. (2).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: the derivative of the loss with respect to out, of its shape.

    Returns:
        (), and d_x, of the shape of x.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    check_like(d_out, kept.x.shape, kept.x.dtype, name="d_out", like="out")
    return (), d_out * silu_and_slope(kept.x)[1]


def silu_and_slope(x: Array) -> tuple[Array, Array]:
    """Compute x sigmoid(x) and its derivative from one exponential; eq. (1), (2)."""
    value, slope = value_and_slope(x)
    return x * value, value + x * slope
