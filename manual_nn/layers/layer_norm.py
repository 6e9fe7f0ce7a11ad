"""Layer normalisation: each row is centred, divided by its deviation, weighted and shifted.

layer_norm.md derives the equations. Axes: `...` any number of axes of rows, D features.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import scale_and_offset
from manual_nn.sums import sum_rows


class LayerNorm(NamedTuple):
    """The scale and the offset of each feature."""

    weight: Array  # (D,)
    bias: Array  # (D,)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    normal: Array  # (..., D)
    deviation: Array  # (..., 1)


def forward(params: LayerNorm, x: Array, *, eps: float = 1e-5) -> tuple[Array, Kept]:
    """Normalise each row to mean 0 and variance 1, then weight and shift it; eq. (1), (2).

    out = (x - mean) / sqrt(variance + eps) * weight + bias, with the mean and the variance of each
    row over its D features; the variance divides by D, not by D - 1.

    Args:
        params: weight and bias, (D,) each.
        x: (..., D), float32 or float64 as are the parameters.
        eps: what keeps the deviation of a constant row from 0; above 0.

    Returns:
        out, (..., D), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or eps is not above 0.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, arXiv:1607.06450.

    >>> x = np.array([[1.0, 3.0]])
    >>> out, kept = forward(LayerNorm(np.array([1.0, 1.0]), np.array([0.0, 0.5])), x, eps=0.5625)
    >>> out  # mean 2, variance 1
    array([[-0.8,  1.3]])
    """
    eps = checked(params, x, eps)
    normal = x - x.mean(axis=-1, keepdims=True)  # (..., D), centred
    out = normal * normal  # (..., D), the array of the squares becomes that of out
    deviation = np.sqrt(out.mean(axis=-1, keepdims=True) + eps)  # (..., 1)
    normal /= deviation
    np.multiply(normal, params.weight, out=out)
    out += params.bias
    return out, Kept(normal, deviation)


def backward(params: LayerNorm, kept: Kept, d_out: Array) -> tuple[LayerNorm, Array]:
    """Take from each row what the mean and the variance give back; eq. (3), (4), (5).

    With g = d_out * weight: d_x = (g - mean(g) - normal * mean(g * normal)) / deviation. The
    gradients of weight and bias are the sums over all rows of d_out * normal and of d_out.

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (..., D), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, (..., D).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    normal, deviation = kept
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    product = d_out * normal  # (..., D)
    d_weight = sum_rows(product.reshape(-1, len(params.weight)))  # (D,)
    d_bias = sum_rows(d_out.reshape(-1, len(params.bias)))  # (D,)
    product *= params.weight
    along = np.multiply(normal, product.mean(axis=-1, keepdims=True), out=product)  # (..., D)
    d_x = d_out * params.weight  # (..., D)
    d_x -= along
    d_x -= d_x.mean(axis=-1, keepdims=True)  # that of along is 0 but for the rounding of normal
    d_x /= deviation
    return LayerNorm(d_weight, d_bias), d_x


def init(D: int, *, dtype: npt.DTypeLike = np.float64) -> LayerNorm:
    """Make a weight of ones and a bias of zeros, (D,), which change nothing in eq. (2).

    Raises:
        TypeError: D is not a whole number, or the dtype is neither float32 nor float64.
        ValueError: D is below 1.
    """
    return LayerNorm(*scale_and_offset(D, dtype=dtype, name="D"))


def checked(params: LayerNorm, x: Array, eps: float) -> float:
    """Check what `forward` is given, and round eps to the precision of x; eq. (1), (2)."""
    check_fields(params, LayerNorm)
    check_floats(x, name="x", ndim=1)
    for name, array in zip(("params.weight", "params.bias"), params, strict=True):
        check_like(array, x.shape[-1:], x.dtype, name=name, like="the last axis of x")
    return as_number(eps, name="eps", minimum=0, strict=True, dtype=x.dtype)
