"""The logistic sigmoid, which turns any number into one between 0 and 1.

sigmoid.md derives the equations. All arrays have one shape, that of x.
"""

from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    e: Array  # exp(-x), infinite where that overflows


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute out = 1 / (1 + exp(-x)); eq. (1).

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
    e = _exponential(x)
    return _value(e), Kept(e)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, 1 / (1 + e) times 1 / (1 + 1/e) with e = exp(-x); eq. (3).

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
    d_x = _value(kept.e)
    d_x *= _rest(kept.e)
    d_x *= d_out
    return (), d_x


def sigmoid(x: Array) -> Array:
    """Compute 1 / (1 + exp(-x)) alone; eq. (1)."""
    return _value(_exponential(x))


def value_and_slope(x: Array) -> tuple[Array, Array]:
    """Compute 1 / (1 + exp(-x)) and its derivative from one exponential; eq. (1), (3)."""
    e = _exponential(x)
    value, slope = _value(e), _rest(e)
    slope *= value
    return value, slope


def _exponential(x: Array) -> Array:
    """Compute e = exp(-x), infinite where it overflows; eq. (1)."""
    e = np.negative(x)
    with np.errstate(over="ignore"):
        return np.exp(e, out=e)


def _value(e: Array) -> Array:
    """Compute p = 1 / (1 + e); eq. (1)."""
    total = 1 + e
    return np.divide(1, total, out=total)


def _rest(e: Array) -> Array:
    """Compute 1 - p = 1 / (1 + 1/e), without a difference; eq. (2)."""
    with np.errstate(divide="ignore", over="ignore"):
        return _value(1 / e)
