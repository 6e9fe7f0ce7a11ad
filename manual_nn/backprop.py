"""The network, forward and backward, by hand: each line is an equation of DERIVATIONS.md.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers. Layer l takes a_{l-1},
with fan_in columns, to z_l, with fan_out columns; a_0 = X has D columns and z_L = logits has K.
`d_name` is dL/d(name), the derivative of the loss with respect to `name`, and has its shape.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]


class Dense(NamedTuple):
    """One dense layer, z = a W + b."""

    weight: Array  # (fan_in, fan_out)
    bias: Array  # (fan_out,)


Params: TypeAlias = tuple[Dense, ...]  # layers 1 to L


def dense_forward(a: Array, layer: Dense) -> Array:
    """z = a W + b, (N, fan_out), eq. (9)."""
    return a @ layer.weight + layer.bias


def dense_backward(d_z: Array, a: Array, layer: Dense, weight_decay: float) -> Dense:
    """d_W = a^T d_z + 2 weight_decay W, d_b = column sums of d_z, eq. (10), (11), (18)."""
    d_weight = a.T @ d_z
    if weight_decay:
        d_weight += 2 * weight_decay * layer.weight
    return Dense(d_weight, d_z.sum(axis=0))


def dense_input_backward(d_z: Array, layer: Dense) -> Array:
    """d_a = d_z W^T, (N, fan_in), eq. (12)."""
    return d_z @ layer.weight.T


def relu_forward(z: Array) -> Array:
    """a = max(z, 0), (N, H), eq. (13)."""
    return np.maximum(z, 0)


def relu_backward(d_a: Array, a: Array) -> Array:
    """d_z = d_a where z > 0, which is where a > 0, and else 0; (N, H), eq. (14)."""
    return d_a * (a > 0)


def log_softmax(z: Array) -> Array:
    """ln p = z - m - ln sum_k exp(z_k - m), m the largest z of the row; (N, K), eq. (2), (6)."""
    with np.errstate(over="ignore"):  # a difference beyond the largest float stops there
        shifted = np.maximum(z - z.max(axis=1, keepdims=True), np.finfo(z.dtype).min)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy_forward(log_p: Array, target: Array) -> np.floating[Any]:
    """-1/N sum over rows and classes of target ln p, a scalar, eq. (7)."""
    return -(target * (log_p / len(log_p))).sum()  # divided first, the sum cannot overflow


def softmax_cross_entropy_backward(log_p: Array, target: Array) -> Array:
    """d_logits = (p - target) / N, eq. (3), (4), (5), (8): the only place where 1/N appears."""
    return (np.exp(log_p) - target) / len(log_p)


def penalty_forward(params: Params, weight_decay: float) -> np.floating[Any]:
    """weight_decay times the sum of all squared weights, a scalar, eq. (17)."""
    return np.sum([(weight_decay * weight * weight).sum() for weight, _ in params])


def forward(params: Params, X: Array) -> tuple[list[Array], Array]:
    """Go up: a_0 = X, a_l = relu(a_{l-1} W_l + b_l); returns [a_0, ..., a_{L-1}], z_L; eq. (15)."""
    a = [X]
    for layer in params[:-1]:
        a.append(relu_forward(dense_forward(a[-1], layer)))
    return a, dense_forward(a[-1], params[-1])


def backward(params: Params, a: list[Array], d_logits: Array) -> list[Array]:
    """Go down: d_z_{l-1} = d_z_l W_l^T where z_{l-1} > 0; returns [d_z_1, ..., d_z_L]; eq. (16)."""
    d_z = [d_logits]
    for layer, a_below in zip(params[:0:-1], a[:0:-1], strict=True):
        d_z.append(relu_backward(dense_input_backward(d_z[-1], layer), a_below))
    return d_z[::-1]


def loss_and_grad(
    params: Params, X: Array, target: Array, weight_decay: float
) -> tuple[np.floating[Any], Params]:
    """Go up and down: the loss, eq. (17), and d_W_l, d_b_l for each layer, eq. (18)."""
    a, z = forward(params, X)
    log_p = log_softmax(z)
    loss = cross_entropy_forward(log_p, target) + penalty_forward(params, weight_decay)
    d_z = backward(params, a, softmax_cross_entropy_backward(log_p, target))
    gradient = tuple(
        dense_backward(d_z_l, a_below, layer, weight_decay)
        for layer, a_below, d_z_l in zip(params, a, d_z, strict=True)
    )
    return loss, gradient
