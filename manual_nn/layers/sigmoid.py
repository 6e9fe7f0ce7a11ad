"""The logistic sigmoid, which turns any number into one between 0 and 1.

sigmoid.md derives the equations. All arrays have one shape, that of x.
"""

from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    e: Array  # exp(-|x|), between 0 and 1


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute out = 1 / (1 + exp(-x)); eq. (1), (2).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array.
        ValueError: x has no axis or no element.

    >>> out, kept = forward((), np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0]))
    >>> out
    array([0.        , 0.26894142, 0.5       , 0.73105858, 1.        ])
    """
    check_floats(x, name="x", ndim=1)
    e = _decay(x)
    return _value(x, e), Kept(e)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, e / (1 + e)^2 with e = exp(-|x|); eq. (3).

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
    check_like(d_out, kept.e.shape, kept.e.dtype, name="d_out", like="out")
    return (), d_out * _slope(kept.e)


def sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x)) alone; eq. (2)."""
    return _value(x, _decay(x))


def value_and_slope(x: Array) -> tuple[Array, Array]:
    """Compute 1 / (1 + exp(-x)) and its derivative from one exponential; eq. (2), (3)."""
    e = _decay(x)
    return _value(x, e), _slope(e)


def _decay(x: Array) -> Array:
    """Compute e = exp(-|x|), which cannot overflow; eq. (2)."""
    e = np.abs(x)
    np.negative(e, out=e)
    return np.exp(e, out=e)


def _value(x: Array, e: Array) -> Array:
    """Compute 1 / (1 + e) where x >= 0, and e / (1 + e) elsewhere; eq. (2)."""
    value = np.maximum(e, x >= 0)  # e is at most 1; np.where takes five times as long
    value /= 1 + e
    return value


def _slope(e: Array) -> Array:
    """Compute e / (1 + e)^2; eq. (3)."""
    total = 1 + e
    total *= total
    return np.divide(e, total, out=total)
