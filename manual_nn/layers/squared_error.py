"""The squared error: the mean squared difference from a target.

squared_error.md derives the equations. All arrays have one shape, that of x.
"""

from typing import Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like, check_scalar


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    error: Array  # x - target


def forward(params: tuple[()], x: Array, *, target: Array) -> tuple[np.floating[Any], Kept]:
    """Take the mean over all entries of (x - target)^2; eq. (1).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.
        target: what x should be, of its shape and dtype.

    Returns:
        The loss, a scalar, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: x has no axis or no element, or target has another shape.

    >>> loss, kept = forward((), np.array([1.0, 2.0]), target=np.array([0.0, 4.0]))
    >>> print(loss)
    2.5
    >>> backward((), kept)[1]
    array([ 1., -2.])
    """
    check_floats(x, name="x", ndim=1)
    check_like(target, x.shape, x.dtype, name="target", like="x")
    error = x - target
    losses = error * error
    losses /= x.size
    return losses.sum(), Kept(error)


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out 2 (x - target) / n, of n entries; eq. (2).

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
    d_x = kept.error * (2 / kept.error.size)
    d_x *= d_out
    return (), d_x
