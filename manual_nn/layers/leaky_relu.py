"""The leaky rectified linear unit: negative inputs are scaled down, and not cut off.

leaky_relu.md derives the equations. All arrays have one shape, that of x.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.layers.relu import masked, rectified


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    positive: npt.NDArray[np.bool_]  # where x > 0
    negative_slope: float
    dtype: np.dtype[Any]


def forward(params: tuple[()], x: Array, *, negative_slope: float = 0.01) -> tuple[Array, Kept]:
    """Compute out = x where x > 0, and negative_slope x elsewhere; eq. (1).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.
        negative_slope: the factor of what is not positive, of at least 0.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: x has no axis or no element, or negative_slope is negative.

    Source: Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models,
    2013.

    >>> out, kept = forward((), np.array([-2.0, 0.0, 3.0]), negative_slope=0.25)
    >>> out
    array([-0.5,  0. ,  3. ])
    """
    check_floats(x, name="x", ndim=1)
    slope = as_number(negative_slope, name="negative_slope", minimum=0, dtype=x.dtype)
    kept = Kept(x > 0, slope, x.dtype)
    return _scaled(x, kept.positive, slope) if slope else rectified(x), kept


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out where x > 0, and negative_slope d_out elsewhere; eq. (2).

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
    positive, slope, dtype = kept
    check_like(d_out, positive.shape, dtype, name="d_out", like="out")
    return (), _scaled(d_out, positive, slope) if slope else masked(d_out, positive)


def _scaled(array: Array, positive: npt.NDArray[np.bool_], slope: float) -> Array:
    """Multiply by 1 or by the slope, looked up, as products in places are slow; eq. (1), (2)."""
    scaled = np.take(np.array([slope, 1], array.dtype), positive)
    scaled *= array
    return scaled
