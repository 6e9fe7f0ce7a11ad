"""The hyperbolic tangent, which turns any number into one between -1 and 1.

tanh.md derives the equations. All arrays have one shape, that of x.
"""

from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute out = tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)); eq. (1).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array.
        ValueError: x has no axis or no element.

    >>> out, kept = forward((), np.array([-1000.0, 0.0, 1.0]))
    >>> out
    array([-1.        ,  0.        ,  0.76159416])
    """
    check_floats(x, name="x", ndim=1)
    return np.tanh(x), Kept(x)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, (2 e / (1 + e^2))^2 with e = exp(-|x|); eq. (2), (3).

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
    return (), d_out * slope(kept.x)


def slope(x: Array) -> Array:
    """Compute the derivative of tanh, (2 e / (1 + e^2))^2 with e = exp(-|x|); eq. (3)."""
    e = np.abs(x)
    np.negative(e, out=e)
    np.exp(e, out=e)
    total = e * e
    total += 1
    e *= 2
    e /= total
    return np.square(e, out=e)
