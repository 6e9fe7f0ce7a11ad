"""Batch normalisation: each channel is centred and scaled by its moments over the batch.

batch_norm.md derives the equations. Axes: N examples, `...` any number of axes of places, C
channels. R is the number of rows, of examples times places.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import scale_and_offset
from manual_nn.sums import sum_rows


class BatchNorm(NamedTuple):
    """The scale and the offset of each channel."""

    weight: Array  # (C,)
    bias: Array  # (C,)


class Moments(NamedTuple):
    """The mean and the variance of each channel."""

    mean: Array  # (C,)
    variance: Array  # (C,)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass.

    The mean is kept for `updated` alone. In evaluation the moments are the arrays that were passed
    in as `running`, not copies, which must not change before the backward pass.
    """

    normal: Array  # (N, ..., C)
    moments: Moments
    eps: float
    training: bool


def forward(
    params: BatchNorm, x: Array, *, running: Moments | None = None, eps: float = 1e-5
) -> tuple[Array, Kept]:
    """Normalise each channel, then weight and shift it; eq. (1), (2), (3).

    out = (x - mean) / sqrt(variance + eps) * weight + bias. In training the moments are those of
    the batch, over all axes but the last; the variance divides by R, not by R - 1. In evaluation
    they are `running`, and each row is a function of itself alone.

    Args:
        params: weight and bias, (C,) each.
        x: (N, ..., C), float32 or float64 as are the parameters.
        running: the moments to use in evaluation, (C,) each; None in training.
        eps: what keeps the deviation of a constant channel from 0; above 0.

    Returns:
        out, (N, ..., C), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, a variance is negative, or eps is not above 0.

    Source: Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift, 2015, arXiv:1502.03167.

    >>> x = np.array([[1.0], [3.0]])
    >>> out, kept = forward(BatchNorm(np.array([1.0]), np.array([0.5])), x, eps=0.5625)
    >>> out  # mean 2, variance 1
    array([[-0.3],
           [ 1.3]])
    """
    eps = checked(params, x, running, eps)
    weight, bias = params
    mean = _mean(x) if running is None else running[0]  # (C,)
    normal = x - mean  # (N, ..., C)
    out = normal * normal  # (N, ..., C), the array of the squares becomes that of out
    variance = _mean(out) if running is None else running[1]  # (C,)
    normal /= np.sqrt(variance + eps)
    np.multiply(normal, weight, out=out)
    out += bias
    return out, Kept(normal, Moments(mean, variance), eps, training=running is None)


def backward(params: BatchNorm, kept: Kept, d_out: Array) -> tuple[BatchNorm, Array]:
    """Take from each row what the moments give back, in training; eq. (4), (5), (6), (7).

    The gradients of weight and bias are the sums over all rows of d_out * normal and of d_out. In
    training d_x = weight / deviation * (g - mean(g)) with g = d_out - normal * d_weight / R, in
    evaluation d_x = weight / deviation * d_out.

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (N, ..., C), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, (N, ..., C).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    normal = kept.normal
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    product = d_out * normal  # (N, ..., C)
    d_weight = sum_rows(_as_rows(product))  # (C,)
    d_bias = sum_rows(_as_rows(d_out))  # (C,)
    weight, _ = params
    scale = weight / np.sqrt(kept.moments.variance + kept.eps)  # (C,)
    if not kept.training:
        return BatchNorm(d_weight, d_bias), scale * d_out
    R = len(_as_rows(normal))
    along = np.multiply(normal, d_weight / R, out=product)  # (N, ..., C)
    d_x = d_out - along  # (N, ..., C)
    d_x -= _mean(d_x)  # d_bias / R but for the rounding of normal
    d_x *= scale
    return BatchNorm(d_weight, d_bias), d_x


def init(C: int, *, dtype: npt.DTypeLike = np.float64) -> BatchNorm:
    """Make a weight of ones and a bias of zeros, (C,), which change nothing in eq. (2).

    Raises:
        TypeError: C is not a whole number, or the dtype is neither float32 nor float64.
        ValueError: C is below 1.
    """
    return BatchNorm(*scale_and_offset(C, dtype=dtype, name="C"))


def updated(running: Moments, kept: Kept, *, momentum: float = 0.1) -> Moments:
    """Move the running moments towards those of a batch that was trained on; eq. (8).

    new = (1 - momentum) running + momentum * moments of the batch, the variance of which divides
    by R - 1 here.

    Args:
        running: the moments so far, (C,) each; 0 and 1 at the start.
        kept: what `forward` has kept in training.
        momentum: the weight of this batch, from 0 to 1.

    Returns:
        The new moments, in new arrays.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, momentum is not between 0 and 1, kept is of an
            evaluation, or the batch has one row, of which there is no variance.
    """
    momentum = as_number(momentum, name="momentum", minimum=0)
    if momentum > 1:
        raise ValueError(f"momentum must be at most 1, got {momentum:g}")
    if not kept.training:
        raise ValueError("kept must be of a pass in training, got one with running moments")
    R = len(_as_rows(kept.normal))
    if R == 1:
        raise ValueError("kept must be of at least 2 rows, got 1")
    mean, variance = kept.moments
    for name, array in zip(("running.mean", "running.variance"), running, strict=True):
        check_like(array, mean.shape, mean.dtype, name=name, like="kept")
    old_mean, old_variance = running
    return Moments(
        (1 - momentum) * old_mean + momentum * mean,
        (1 - momentum) * old_variance + momentum * (R / (R - 1)) * variance,
    )


def checked(params: BatchNorm, x: Array, running: Moments | None, eps: float) -> float:
    """Check what `forward` is given, and round eps to the precision of x; eq. (1), (2), (3)."""
    check_fields(params, BatchNorm)
    check_floats(x, name="x", ndim=2)
    weight, bias = params
    _check_channels(x, {"params.weight": weight, "params.bias": bias})
    if running is not None:
        mean, variance = running
        _check_channels(x, {"running.mean": mean, "running.variance": variance})
        if (variance < 0).any():
            raise ValueError(f"running.variance must not be negative, got {variance.min()}")
    return as_number(eps, name="eps", minimum=0, strict=True, dtype=x.dtype)


def _check_channels(x: Array, arrays: dict[str, Array]) -> None:
    """Check that each array has a number for each channel of x."""
    for name, array in arrays.items():
        check_like(array, x.shape[-1:], x.dtype, name=name, like="the last axis of x")


def _mean(x: Array) -> Array:
    """Take the mean of each channel over all rows, (C,); eq. (1)."""
    rows = _as_rows(x)
    return sum_rows(rows) / len(rows)


def _as_rows(x: Array) -> Array:
    """Lay all examples and places along one axis, (R, C) of R = N ... rows; eq. (1)."""
    return x.reshape(-1, x.shape[-1])
