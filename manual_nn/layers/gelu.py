"""GELU, the Gaussian error linear unit: x times the probability that a normal number is below x.

gelu.md derives the equations. All arrays have one shape, that of x.
"""

import math
from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.layers.sigmoid import sigmoid, value_and_slope

SQRT_HALF = math.sqrt(1 / 2)
SQRT_2_BY_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715  # of the approximation, by the paper
SATURATED = 64.0  # from here on all exponentials below are 0 in float32 and in float64


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array
    approximate: bool


def forward(params: tuple[()], x: Array, *, approximate: bool = False) -> tuple[Array, Kept]:
    """Multiply each input by the probability that a normal number is smaller; eq. (1), (4).

    out = x Phi(x), Phi(x) = (1 + erf(x / sqrt(2))) / 2. With `approximate` Phi(x) is replaced by
    (1 + tanh(u)) / 2, u = sqrt(2 / pi) (x + 0.044715 x^3).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.
        approximate: use tanh.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array, or approximate not a bool.
        ValueError: x has no axis or no element.

    Source: Hendrycks and Gimpel, Gaussian Error Linear Units (GELUs), 2016, arXiv:1606.08415.

    >>> out, kept = forward((), np.array([-50.0, -1.0, 0.0, 1.0, 50.0]))
    >>> out
    array([-0.        , -0.15865525,  0.        ,  0.84134475, 50.        ])
    """
    check_floats(x, name="x", ndim=1)
    approximate = as_bool(approximate, name="approximate")
    Phi = sigmoid(_argument(_clipped(x))) if approximate else _probability(x)
    return x * Phi, Kept(x, approximate)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, Phi(x) + x Phi'(x); eq. (2), (3), (5).

    Phi'(x) is the normal density exp(-x^2 / 2) / sqrt(2 pi), or with `approximate` the derivative
    of (1 + tanh(u)) / 2.

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
    x = kept.x
    check_like(d_out, x.shape, x.dtype, name="d_out", like="out")
    if kept.approximate:
        Phi, phi = _gate(x)
    else:
        Phi, phi = _probability(x), _density(x)
    return (), d_out * (Phi + _clipped(x) * phi)


def _probability(x: Array) -> Array:
    """Compute Phi(x) = erfc(-x / sqrt(2)) / 2, which is as exact for negative x; eq. (1)."""
    Phi = (math.erfc(-SQRT_HALF * number) / 2 for number in x.ravel().tolist())
    return np.fromiter(Phi, x.dtype, x.size).reshape(x.shape)


def _density(x: Array) -> Array:
    """Compute phi(x) = exp(-x^2 / 2) / sqrt(2 pi), the derivative of Phi; eq. (2)."""
    z = _clipped(x)
    return np.exp(z * z / -2) * (SQRT_2_BY_PI / 2)


def _gate(x: Array) -> tuple[Array, Array]:
    """Compute (1 + tanh(u)) / 2 = sigmoid(2 u) and its derivative in x; eq. (4), (5)."""
    z = _clipped(x)
    value, slope = value_and_slope(_argument(z))
    d_u2 = z * z
    d_u2 *= 2 * SQRT_2_BY_PI * 3 * CUBIC
    d_u2 += 2 * SQRT_2_BY_PI
    slope *= d_u2
    return value, slope


def _argument(z: Array) -> Array:
    """Compute 2 u = 2 sqrt(2 / pi) (z + 0.044715 z^3); eq. (4)."""
    u2 = z * z
    u2 *= 2 * SQRT_2_BY_PI * CUBIC
    u2 += 2 * SQRT_2_BY_PI
    u2 *= z
    return u2


def _clipped(x: Array) -> Array:
    """Limit x to where no power of it overflows; beyond, its factor is 0, eq. (2), (5)."""
    return np.clip(x, -SATURATED, SATURATED)
