"""The Huber loss: squares where the error is small, and its absolute value where it is large.

huber.md derives the equations. All arrays have one shape, that of x.
"""

from typing import Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_floats, check_like, check_scalar


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    clipped: Array  # x - target, limited to -delta and delta


def forward(
    params: tuple[()], x: Array, *, target: Array, delta: float = 1.0
) -> tuple[np.floating[Any], Kept]:
    """Take the mean over all entries of the Huber loss of x - target; eq. (1), (2).

    An error r costs r^2 / 2 where |r| <= delta, and delta (|r| - delta / 2) beyond.

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.
        target: what x should be, of its shape and dtype.
        delta: the error from which on the loss grows like a straight line; above 0.

    Returns:
        The loss, a scalar, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: x has no axis or no element, target has another shape, or delta is not above 0.

    Source: Huber, Robust Estimation of a Location Parameter, 1964, doi:10.1214/aoms/1177703732.

    >>> loss, kept = forward((), np.array([0.5, -4.0]), target=np.array([0.0, 0.0]))
    >>> print(loss)  # the mean of 0.125 and 3.5
    1.8125
    >>> backward((), kept)[1]
    array([ 0.25, -0.5 ])
    """
    check_floats(x, name="x", ndim=1)
    check_like(target, x.shape, x.dtype, name="target", like="x")
    delta = as_number(delta, name="delta", minimum=0, strict=True, dtype=x.dtype)
    error = x - target
    clipped = np.clip(error, -delta, delta)
    error -= clipped / 2
    losses = np.multiply(clipped, error, out=error)
    losses /= x.size
    return losses.sum(), Kept(clipped)


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out clip(x - target, -delta, delta) / n, of n entries; eq. (3).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: the derivative of what is made of the loss with respect to it.

    Returns:
        (), and d_x, of the shape of x.

    Raises:
        TypeError: d_out is not a real number.
        ValueError: d_out is an array that has an axis.
    """
    check_scalar(d_out, name="d_out")
    d_x = kept.clipped / kept.clipped.size
    d_x *= d_out
    return (), d_x
