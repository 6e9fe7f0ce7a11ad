"""The loss and the accuracy of parameters on given rows.

Axes: N rows, D inputs, K classes.
"""

import numpy as np
import numpy.typing as npt

from manual_nn.checks.arguments import as_sample_weight
from manual_nn.layers.dense import Params
from manual_nn.models import penalty
from manual_nn.models.arguments import as_inputs, as_params, as_row_weight
from manual_nn.training.losses import LOSSES
from manual_nn.training.rows import Rows, is_sparse, logits


def evaluate(
    params: Params,
    X: npt.ArrayLike | Rows,
    y: npt.ArrayLike,
    *,
    loss: str = "softmax_cross_entropy",
    weight_decay: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """Compute the loss, as `loss` does, and the accuracy, with one forward pass for both.

    The accuracy is the weighted fraction of the rows whose largest logit is that of the right
    class: of the class number or, with target probabilities, of the most probable class. With
    the loss "binary_cross_entropy", all classes of a row must be right. Sparse rows must be CSR and
    have the dtype of the parameters.
    """
    params = as_params(params)
    rows: Rows = X if is_sparse(X) else as_inputs(params, X)
    N = rows.shape[0]
    target = LOSSES[loss].as_targets(params, N, y)
    weights = as_sample_weight(N, sample_weight)
    row_weight = as_row_weight(params, N, weights)
    z = logits(params, rows)
    data_loss = LOSSES[loss].of(z, target, row_weight)
    value = data_loss + penalty.forward(params, weight_decay)
    right = LOSSES[loss].right(z, target)
    if weights is not None:
        weights = weights / weights.max()  # whose sum cannot overflow
    return float(value), float(np.average(right, weights=weights))
