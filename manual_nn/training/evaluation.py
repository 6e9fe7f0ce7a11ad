"""The loss and the accuracy of parameters on given rows.

Axes: N rows, D inputs, K classes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import as_sample_weight
from manual_nn.layers.dense import Params
from manual_nn.models import penalty
from manual_nn.models.arguments import as_inputs, as_params, as_row_weight
from manual_nn.training.losses import LOSSES
from manual_nn.training.rows import BLOCK_SIZE, Rows, is_sparse, logits


def evaluate(
    params: Params,
    X: npt.ArrayLike | Rows,
    y: npt.ArrayLike,
    *,
    loss: str = "softmax_cross_entropy",
    weight_decay: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
    backend: str = "numpy",
) -> tuple[float, float]:
    """Compute the loss, as `loss` does, and the accuracy, with one forward pass for both.

    The accuracy is the weighted fraction of the rows whose largest logit is that of the right
    class: of the class number or, with target probabilities, of the most probable class. With
    the loss "binary_cross_entropy", all classes of a row must be right. Sparse rows must be CSR and
    have the dtype of the parameters. The backend is "numpy" or, for the softmax, "numba".
    """
    params = as_params(params)
    rows: Rows = X if is_sparse(X) else as_inputs(params, X)
    N = rows.shape[0]
    target = LOSSES[loss].as_targets(params, N, y)
    weights = as_sample_weight(N, sample_weight)
    row_weight = as_row_weight(params, N, weights)
    measured = _by_numba(params, rows, target, row_weight) if backend == "numba" else None
    if measured is None:
        z = logits(params, rows)
        measured = LOSSES[loss].of(z, target, row_weight), LOSSES[loss].right(z, target)
    data_loss, right = measured
    value = data_loss + penalty.forward(params, weight_decay)
    if weights is not None:
        weights = weights / weights.max()  # whose sum cannot overflow
    return float(value), float(np.average(right, weights=weights))


def _by_numba(
    params: Params, rows: Rows, target: Array, row_weight: RowWeight
) -> tuple[np.floating[Any], npt.NDArray[np.bool]] | None:
    """Measure the loss, and which rows are right, in blocks; or give up where it is not finite."""
    from manual_nn.models import mlp_compiled  # noqa: PLC0415, it needs Numba

    N = rows.shape[0]
    z = [np.empty((min(N, BLOCK_SIZE), bias.size), bias.dtype) for _, bias in params]
    total, right = 0.0, np.empty(N, np.bool)
    for start in range(0, N, BLOCK_SIZE):
        block = slice(start, min(start + BLOCK_SIZE, N))
        X = rows[block].toarray() if is_sparse(rows) else rows[block]
        loss = mlp_compiled.loss_and_right(
            params,
            X,
            target[block],
            row_weight[block] if isinstance(row_weight, np.ndarray) else row_weight,
            z=[z_l[: len(X)] for z_l in z],
            right=right[block],
        )
        if loss is None:
            return None
        total += loss
    return target.dtype.type(total), right
