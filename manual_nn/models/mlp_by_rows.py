"""The same gradient, one row at a time: what a learner writes first, and a second witness.

Each row goes forward and back by itself; the gradients of the rows are summed, and the gradient of
the penalty is added once at the end. No code is shared with the batched pass in
`manual_nn.models.mlp`. Axes: N rows in the batch, D inputs, K classes, L layers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.finite import check_finite, check_pre_activations
from manual_nn.layers.dense import Dense, Params
from manual_nn.models.arguments import as_batch, as_row_weight


def loss_and_grad(
    params: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
) -> tuple[np.floating[Any], Params]:
    """Compute the loss and its gradient in every weight and bias, row by row.

    L = 1/N sum_n L_n + weight_decay * sum_l ||W_l||^2 with L_n = -ln softmax(z_L)_y for row n, or
    -sum_k y_k ln softmax(z_L)_k; softmax_cross_entropy.md (2), (5) and, for a batch of one row,
    mlp.md (1) to (4).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: the weights of the rows, (N,), none negative, or None for equal ones.

    Returns:
        The loss, a scalar of the dtype of the parameters, and the gradient, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `manual_nn.loss`.

    >>> zero = Dense(np.zeros((2, 4)), np.zeros(4))
    >>> _, (d_layer,) = loss_and_grad((zero,), [[1.0, 2.0]], [3])
    >>> d_layer.bias
    array([ 0.25,  0.25,  0.25, -0.75])
    """
    params, X, target, weight_decay = as_batch(params, X, y, weight_decay)
    check_finite(X, name="X")
    row_weights = np.broadcast_to(as_row_weight(params, len(X), sample_weight), (len(X), 1))
    value = X.dtype.type(0)
    gradient = [Dense(np.zeros_like(weight), np.zeros_like(bias)) for weight, bias in params]
    for x, t, (row_weight,) in zip(X, target, row_weights, strict=True):
        row_value, row_gradient = _row_loss_and_grad(params, x, t)
        value += row_value * row_weight
        for (d_weight, d_bias), (row_d_weight, row_d_bias) in zip(
            gradient, row_gradient, strict=True
        ):
            d_weight += row_d_weight * row_weight
            d_bias += row_d_bias * row_weight
    for (weight, _), (d_weight, _) in zip(params, gradient, strict=True):
        value += (weight_decay * weight * weight).sum()
        d_weight += 2 * weight_decay * weight
    return value, tuple(gradient)


def _row_loss_and_grad(params: Params, x: Array, t: Array) -> tuple[np.floating[Any], list[Dense]]:
    """Take one row x (D,) with target t (K,) through the network and back."""
    inputs, pre_activations = [], []
    a = x  # (D,)
    for l, (weight, bias) in enumerate(params, start=1):
        inputs.append(a)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
            c = a @ weight  # (fan_out,)
            z = c + bias  # (fan_out,)
        check_pre_activations(z, l, params, x)
        pre_activations.append(z)
        a = np.where(z > 0, z, 0)  # (fan_out,), not used after the last layer
    with np.errstate(over="ignore"):  # a difference beyond the largest float stops there
        shifted = np.maximum(z - z.max(), np.finfo(z.dtype).min)  # (K,)
    e = np.exp(shifted)  # (K,)
    s = e.sum()
    value = t @ (np.log(s) - shifted)  # -sum_k t_k ln softmax(z)_k

    gradient = []
    d_z = e / s - t  # (K,)
    for l in reversed(range(len(params))):
        gradient.append(Dense(np.outer(inputs[l], d_z), d_z))
        if l > 0:
            d_a = params[l].weight @ d_z  # (fan_in,)
            d_z = np.where(pre_activations[l - 1] > 0, d_a, 0)
    return value, gradient[::-1]
