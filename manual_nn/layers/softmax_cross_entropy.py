"""The softmax and the cross-entropy of its probabilities: derived in softmax_cross_entropy.md.

Axes: N rows, K classes. The targets are probabilities, (N, K), whose rows sum to 1. `row_weight` is
the factor of each row in the mean over the rows: 1/N, or w_n / sum_m w_m, (N, 1).
"""

from typing import Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array, RowWeight


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    p: Array  # (N, K), the softmax of the logits
    target: Array  # (N, K)
    row_weight: RowWeight


def forward(
    params: tuple[()], x: Array, *, target: Array, row_weight: RowWeight
) -> tuple[np.floating[Any], Kept]:
    """Compute the loss of the logits x, the mean of -sum_k target ln p; eq. (6), (7), (9)."""
    shifted, e, total = _exponentials(x)
    loss = cross_entropy(_log_softmax(shifted, total), target, row_weight)
    return loss, Kept(_softmax(e, total), target, row_weight)


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_logits = d_out (p - target) / N, (N, K), the one place with 1/N; eq. (8), (10)."""
    d_logits = kept.p - kept.target
    d_logits *= kept.row_weight
    if d_out != 1:
        d_logits *= d_out
    return (), d_logits


def softmax(logits: Array) -> Array:
    """Compute p_k = exp(z_k - m) / sum_j exp(z_j - m), m the row's largest; eq. (1), (2)."""
    _, e, total = _exponentials(logits)
    return _softmax(e, total)


def log_softmax(logits: Array) -> Array:
    """Compute ln p_k = z_k - m - ln sum_j exp(z_j - m), m the row's largest; eq. (6)."""
    shifted, _, total = _exponentials(logits)
    return _log_softmax(shifted, total)


def cross_entropy(log_p: Array, target: Array, row_weight: RowWeight) -> np.floating[Any]:
    """Compute the mean over the rows of -sum_k target ln p, a scalar; eq. (7), (9)."""
    return -np.vdot(target, log_p * row_weight)  # multiplied first, the sum cannot overflow


def _exponentials(logits: Array) -> tuple[Array, Array, Array]:
    """Compute z - m and exp(z - m), (N, K), and the row sums of the latter, (N, 1); eq. (2)."""
    with np.errstate(over="ignore"):  # a difference beyond the largest float stops there
        shifted = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    np.maximum(shifted, np.finfo(logits.dtype).min, out=shifted)
    e = np.exp(shifted)
    return shifted, e, np.add.reduce(e, axis=-1, keepdims=True)


def _softmax(e: Array, total: Array) -> Array:
    """Divide exp(z - m) by its row sums, in place; eq. (2)."""
    e /= total
    return e


def _log_softmax(shifted: Array, total: Array) -> Array:
    """Subtract the logarithm of the row sums from z - m, in place; eq. (6)."""
    shifted -= np.log(total)
    return shifted
