"""What is minimised beside the penalty: a loss of the logits and the targets of a batch.

Axes: N rows in the batch, K classes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import as_array
from manual_nn.layers import softmax_cross_entropy
from manual_nn.layers.dense import Params
from manual_nn.layers.sigmoid import sigmoid
from manual_nn.layers.softmax_cross_entropy import cross_entropy, log_softmax, softmax
from manual_nn.models.arguments import as_targets


class Loss(NamedTuple):
    """The functions of one loss; `row_weight` is the factor of each row in the mean."""

    as_targets: Callable[..., Array]  # (params, N, y, name=...), checks y and makes it (N, K)
    of: Callable[[Array, Array, RowWeight], np.floating[Any]]  # (z, target, row_weight)
    backward: Callable[[Array, Array, RowWeight, float], Array]  # and a factor; gives it times d_z
    right: Callable[[Array, Array], npt.NDArray[np.bool]]  # (z, target), gives (N,)
    of_a_guess: Callable[[int], float]  # of K classes, all of them equally likely


def _softmax_loss(z: Array, target: Array, row_weight: RowWeight) -> np.floating[Any]:
    """Compute sum_n r_n sum_k -t_nk ln softmax(z_n)_k; softmax_cross_entropy.md (9)."""
    return cross_entropy(log_softmax(z), target, row_weight)


def _softmax_backward(z: Array, target: Array, row_weight: RowWeight, factor: float) -> Array:
    """Compute d_z = r_n (softmax(z) - t), times the factor; softmax_cross_entropy.md (10)."""
    kept = softmax_cross_entropy.Kept(softmax(z), target, row_weight)
    _, d_z = softmax_cross_entropy.backward((), kept, d_out=factor)
    return d_z


def _likeliest_is_right(z: Array, target: Array) -> npt.NDArray[np.bool]:
    return z.argmax(axis=1) == target.argmax(axis=1)


def _as_indicators(params: Params, N: int, y: npt.ArrayLike, *, name: str = "y") -> Array:
    """Check that y is (N, K) and says of each class how certainly it is there, from 0 to 1."""
    K, dtype = params[-1].bias.size, params[-1].bias.dtype
    array = as_array(y, name=name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers from 0 to 1, got dtype {array.dtype}")
    if array.shape != (N, K):
        raise ValueError(f"{name} must have shape ({N}, {K}), got {array.shape}")
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        n, k = map(int, np.argwhere(wrong)[0])
        raise ValueError(f"{name} must hold numbers from 0 to 1, got {array[n, k]} at {[n, k]}")
    return array.astype(dtype)


def _binary_loss(z: Array, target: Array, row_weight: RowWeight) -> np.floating[Any]:
    """Compute sum_n r_n sum_k -(t ln p + (1 - t) ln(1 - p)) / K, p = sigmoid(z).

    It is binary_cross_entropy.md (1) of each row, by (2), and their weighted mean.
    """
    losses = np.maximum(z, 0) - z * target + np.log1p(np.exp(-abs(z)))  # (N, K)
    return (row_weight * (losses / z.shape[1])).sum()


def _binary_backward(z: Array, target: Array, row_weight: RowWeight, factor: float) -> Array:
    """Compute d_z = r_n (p - t) / K, times the factor; binary_cross_entropy.md (3)."""
    d_z = (1 - target) * sigmoid(z) - target * sigmoid(-z)  # exact where p and t are close
    d_z *= row_weight
    d_z *= factor / z.shape[1]
    return d_z


def _each_is_right(z: Array, target: Array) -> npt.NDArray[np.bool]:
    return ((z > 0) == (target > 0.5)).all(axis=1)


LOSSES = {
    "softmax_cross_entropy": Loss(
        as_targets, _softmax_loss, _softmax_backward, _likeliest_is_right, math.log
    ),
    "binary_cross_entropy": Loss(
        _as_indicators, _binary_loss, _binary_backward, _each_is_right, lambda _: math.log(2)
    ),
}


def as_loss(loss: object) -> str:
    """Check that it is the name of a loss."""
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    return loss
