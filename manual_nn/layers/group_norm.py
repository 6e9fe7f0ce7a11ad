"""Group normalisation: of each example, each group of channels is centred and scaled by itself.

group_norm.md derives the equations. Axes: N examples, `...` any number of axes of places, C
channels, in G groups of C / G each.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, as_number
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import scale_and_offset
from manual_nn.sums import sum_rows


class GroupNorm(NamedTuple):
    """The scale and the offset of each channel."""

    weight: Array  # (C,)
    bias: Array  # (C,)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    normal: Array  # (N, ..., C)
    deviation: Array  # (N, 1, G, 1)


def forward(params: GroupNorm, x: Array, *, groups: int, eps: float = 1e-5) -> tuple[Array, Kept]:
    """Normalise each group of each example to mean 0 and variance 1; eq. (1), (2).

    out = (x - mean) / sqrt(variance + eps) * weight + bias, with the mean and the variance of each
    example and group over all places and the group's channels. One group is layer normalisation
    over places and channels, C groups are instance normalisation.

    Args:
        params: weight and bias, (C,) each.
        x: (N, ..., C), float32 or float64 as are the parameters.
        groups: how many groups of neighbouring channels there are; C must be a multiple of it.
        eps: what keeps the deviation of a constant group from 0; above 0.

    Returns:
        out, (N, ..., C), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, groups does not divide C, or eps is not above 0.

    Source: Wu and He, Group Normalization, 2018, arXiv:1803.08494.

    >>> x = np.array([[1.0, 3.0, 0.0, 20.0]])
    >>> out, kept = forward(GroupNorm(np.ones(4), np.zeros(4)), x, groups=2)
    >>> out.round(3)
    array([[-1.,  1., -1.,  1.]])
    """
    eps = checked(params, x, groups, eps)
    rows = _as_rows(x)  # (N, P, C)
    normal = rows - _to_channels(_mean(rows, groups), rows)  # (N, P, C), centred
    out = normal * normal  # (N, P, C), the array of the squares becomes that of out
    deviation = np.sqrt(_mean(out, groups) + eps)  # (N, 1, G, 1)
    normal /= _to_channels(deviation, rows)
    np.multiply(normal, params.weight, out=out)
    out += params.bias
    return out.reshape(x.shape), Kept(normal.reshape(x.shape), deviation)


def backward(params: GroupNorm, kept: Kept, d_out: Array) -> tuple[GroupNorm, Array]:
    """Take from each group what its mean and variance give back; eq. (3), (4), (5).

    With g = d_out * weight: d_x = (g - mean(g) - normal * mean(g * normal)) / deviation, the means
    being those of each example and group. The gradients of weight and bias are the sums over all
    examples and places of d_out * normal and of d_out.

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
    normal, deviation = kept
    check_like(d_out, normal.shape, normal.dtype, name="d_out", like="out")
    groups = deviation.shape[2]
    n, d_rows = _as_rows(normal), _as_rows(d_out)  # (N, P, C)
    product = d_rows * n  # (N, P, C)
    d_weight = sum_rows(product.reshape(-1, len(params.weight)))  # (C,)
    d_bias = sum_rows(d_out.reshape(-1, len(params.bias)))  # (C,)
    product *= params.weight
    along = np.multiply(n, _to_channels(_mean(product, groups), n), out=product)  # (N, P, C)
    d_x = d_rows * params.weight  # (N, P, C)
    d_x -= along
    d_x -= _to_channels(_mean(d_x, groups), n)  # that of along is 0 but for the rounding of normal
    d_x /= _to_channels(deviation, n)
    return GroupNorm(d_weight, d_bias), d_x.reshape(normal.shape)


def init(C: int, *, dtype: npt.DTypeLike = np.float64) -> GroupNorm:
    """Make a weight of ones and a bias of zeros, (C,), which change nothing in eq. (2).

    Raises:
        TypeError: C is not a whole number, or the dtype is neither float32 nor float64.
        ValueError: C is below 1.
    """
    return GroupNorm(*scale_and_offset(C, dtype=dtype, name="C"))


def checked(params: GroupNorm, x: Array, groups: int, eps: float) -> float:
    """Check what `forward` is given, and round eps to the precision of x; eq. (1), (2)."""
    check_fields(params, GroupNorm)
    check_floats(x, name="x", ndim=2)
    for name, array in zip(("params.weight", "params.bias"), params, strict=True):
        check_like(array, x.shape[-1:], x.dtype, name=name, like="the last axis of x")
    if x.shape[-1] % as_count(groups, name="groups"):
        raise ValueError(f"groups must divide the {x.shape[-1]} channels of x, got {groups}")
    return as_number(eps, name="eps", minimum=0, strict=True, dtype=x.dtype)


def _as_rows(x: Array) -> Array:
    """Lay all places along one axis, (N, P, C)."""
    return x.reshape(len(x), -1, x.shape[-1])


def _grouped(x: Array, groups: int) -> Array:
    """Lay all places along one axis, and the channels along two, (N, P, G, C / G); eq. (1)."""
    return x.reshape(len(x), -1, groups, x.shape[-1] // groups)


def _mean(rows: Array, groups: int) -> Array:
    """Take the mean of each group of each example, (N, 1, G, 1); eq. (1)."""
    of_channels = _grouped(sum_rows(rows), groups)  # (N, 1, G, C / G)
    return of_channels.sum(axis=-1, keepdims=True) / (rows.shape[1] * of_channels.shape[-1])


def _to_channels(of_groups: Array, rows: Array) -> Array:
    """Give each channel what its group has, (N, 1, C): over a short last axis NumPy is slow."""
    N, _, G, _ = of_groups.shape
    return np.repeat(of_groups.reshape(N, 1, G), rows.shape[-1] // G, axis=-1)
