"""RMS normalisation: each row is divided by the root of its mean square, then weighted.

rms_norm.md derives the equations. Axes: `...` any number of axes of rows, D features.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import scale_and_offset
from manual_nn.sums import sum_rows


class RMSNorm(NamedTuple):
    """The scale of each feature."""

    weight: Array  # (D,)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    normal: Array  # (..., D)
    rms: Array  # (..., 1)


def forward(params: RMSNorm, x: Array, *, eps: float = 1e-6) -> tuple[Array, Kept]:
    """Divide each row by the root of its mean square, and weight it; eq. (1), (2).

    out = x / sqrt(mean(x^2) + eps) * weight, with the mean over the D features of each row.

    Args:
        params: weight, (D,).
        x: (..., D), float32 or float64 as is the weight.
        eps: what keeps the root from 0 in a row of zeros; above 0.

    Returns:
        out, (..., D), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or eps is not above 0.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019, arXiv:1910.07467.

    >>> out, kept = forward(RMSNorm(np.array([1.0, 2.0])), np.array([[1.0, 7.0]]), eps=11.0)
    >>> out  # the mean square is 25, and 6 the root
    array([[0.16666667, 2.33333333]])
    """
    eps = checked(params, x, eps)
    out = x * x  # (..., D), the array of the squares becomes that of out
    rms = np.sqrt(out.mean(axis=-1, keepdims=True) + eps)  # (..., 1)
    normal = x / rms  # (..., D)
    return np.multiply(normal, params.weight, out=out), Kept(normal, rms)


def backward(params: RMSNorm, kept: Kept, d_out: Array) -> tuple[RMSNorm, Array]:
    """Take from each row what its root mean square gives back; eq. (3), (4).

    With g = d_out * weight: d_x = (g - normal * mean(g * normal)) / rms. The gradient of weight is
    the sum over all rows of d_out * normal.

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
    normal, rms = kept
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    product = d_out * normal  # (..., D)
    d_weight = sum_rows(product.reshape(-1, len(params.weight)))  # (D,)
    product *= params.weight
    along = np.multiply(normal, product.mean(axis=-1, keepdims=True), out=product)  # (..., D)
    d_x = d_out * params.weight  # (..., D)
    d_x -= along
    d_x /= rms
    return RMSNorm(d_weight), d_x


def init(D: int, *, dtype: npt.DTypeLike = np.float64) -> RMSNorm:
    """Make a weight of ones, (D,), which changes nothing in eq. (2).

    Raises:
        TypeError: D is not a whole number, or the dtype is neither float32 nor float64.
        ValueError: D is below 1.
    """
    return RMSNorm(scale_and_offset(D, dtype=dtype, name="D")[0])


def checked(params: RMSNorm, x: Array, eps: float) -> float:
    """Check what `forward` is given, and round eps to the precision of x; eq. (1)."""
    check_fields(params, RMSNorm)
    check_floats(x, name="x", ndim=1)
    check_like(
        params.weight, x.shape[-1:], x.dtype, name="params.weight", like="the last axis of x"
    )
    return as_number(eps, name="eps", minimum=0, strict=True, dtype=x.dtype)
