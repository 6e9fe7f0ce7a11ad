"""The network, forward and backward, by hand: each line is an equation of DERIVATIONS.md.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers. Layer l takes a_{l-1},
with fan_in columns, to z_l, with fan_out columns; a_0 = X has D columns and z_L = logits has K.
`d_name` is dL/d(name), the derivative of the loss with respect to `name`, and has its shape.
`share` is what each row counts in the mean over the rows, 1/N or its weight's part. `out` is an
array to write the result into, as in NumPy; without it the result is a new one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.finite import check_pre_activations
from manual_nn.layers.dense import Dense, Params

__all__ = ["Array", "Arrays", "Dense", "Params", "Share"]

Share: TypeAlias = RowWeight


class Arrays(NamedTuple):
    """Where a pass over N rows writes what it makes."""

    z: Sequence[Array]  # z_1 to z_L, (N, fan_out) each; a_l takes the place of z_l
    d_z: Sequence[Array]  # d_z_1 to d_z_{L-1}
    gradient: Params
    decay: Sequence[Array]  # 2 weight_decay W_1 to W_L, for a moment each, in the same memory


def dense_forward(a: Array, layer: Dense, out: Array | None = None) -> Array:
    """z = a W + b, (N, fan_out), eq. (9)."""
    z = np.matmul(a, layer.weight, out=out)
    z += layer.bias
    return z


def dense_backward(
    d_z: Array,
    a: Array,
    layer: Dense,
    weight_decay: float,
    out: tuple[Dense | None, Array | None] = (None, None),
) -> Dense:
    """d_W = a^T d_z + 2 weight_decay W, d_b = column sums of d_z, eq. (10), (11), (18)."""
    d_layer_out, decay_out = out
    d_weight_out, d_bias_out = d_layer_out or (None, None)
    d_weight = outer_products(a, d_z, d_weight_out)
    if weight_decay:
        d_weight += np.multiply(2 * weight_decay, layer.weight, out=decay_out)
    return Dense(d_weight, d_z.sum(axis=0, out=d_bias_out))


def outer_products(a: Array, d_z: Array, out: Array | None = None) -> Array:
    """a^T d_z, the sum over the rows of their outer products, (fan_in, fan_out)."""
    if len(a) == 1:  # several times faster than as a product of matrices
        return np.einsum("i,j->ij", a[0], d_z[0], out=out)
    return np.matmul(a.T, d_z, out=out)


def dense_input_backward(d_z: Array, layer: Dense, out: Array | None = None) -> Array:
    """d_a = d_z W^T, (N, fan_in), eq. (12)."""
    return np.matmul(d_z, layer.weight.T, out=out)


def relu_forward(z: Array, out: Array | None = None) -> Array:
    """a = max(z, 0), (N, H), eq. (13)."""
    return np.maximum(z, np.zeros(z.shape[1], z.dtype), out=out)  # twice as fast as with a scalar


def relu_backward(d_a: Array, a: Array, out: Array | None = None) -> Array:
    """d_z = d_a [z > 0], which is where a > 0; (N, H), eq. (14)."""
    d_z = np.multiply(d_a, a > 0, out=out)
    if not math.isfinite(np.vdot(d_z, d_z)):  # a d_a that overflowed: 0 times it is not 0
        np.copyto(d_z, 0, where=a <= 0)
    return d_z


def softmax(z: Array) -> tuple[Array, Array]:
    """p and ln p = z - m - ln sum_k exp(z_k - m), m the row's largest z; (N, K), eq. (1), (6)."""
    with np.errstate(over="ignore"):  # a difference beyond the largest float stops there
        shifted = z - np.maximum.reduce(z, axis=1, keepdims=True)
    np.maximum(shifted, np.finfo(z.dtype).min, out=shifted)
    p = np.exp(shifted)
    total = np.add.reduce(p, axis=1, keepdims=True)
    p /= total
    shifted -= np.log(total)
    return p, shifted


def cross_entropy_forward(log_p: Array, target: Array, share: Share) -> np.floating[Any]:
    """The mean over the rows of -sum_k target ln p, a scalar, eq. (7), (45)."""
    return -np.vdot(target, log_p * share)  # multiplied first, the sum cannot overflow


def softmax_cross_entropy_backward(p: Array, target: Array, share: Share) -> Array:
    """d_logits = (p - target) / N, eq. (3), (5), (8), (46): the one place with 1/N."""
    d_logits = p - target
    d_logits *= share
    return d_logits


def penalty_forward(params: Params, weight_decay: float) -> np.floating[Any]:
    """weight_decay times the sum of all squared weights, a scalar, eq. (17)."""
    if weight_decay == 0:
        return params[0].weight.dtype.type(0)
    penalty = weight_decay * np.add.reduce([np.vdot(weight, weight) for weight, _ in params])
    if np.isinf(penalty):  # the squares may be too large where the penalty is not
        penalty = np.add.reduce([np.vdot(weight_decay * weight, weight) for weight, _ in params])
    return penalty


def forward(
    params: Params, X: Array, out: Sequence[Array | None] | None = None
) -> tuple[list[Array], Array]:
    """Go up: a_0 = X, a_l = relu(a_{l-1} W_l + b_l); returns [a_0, ..., a_{L-1}], z_L; eq. (15)."""
    out = out or [None] * len(params)
    a = [X]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        for l, layer in enumerate(params, start=1):
            z = dense_forward(a[-1], layer, out[l - 1])
            check_pre_activations(z, l, params, X)
            a.append(relu_forward(z, out=z) if l < len(params) else z)
    *a, z = a
    return a, z


def backward(
    params: Params, a: list[Array], d_logits: Array, out: Sequence[Array | None] | None = None
) -> list[Array]:
    """Go down: d_z_{l-1} = d_z_l W_l^T where z_{l-1} > 0; returns [d_z_1, ..., d_z_L]; eq. (16)."""
    out = out or [None] * len(params)
    d_z = [d_logits]
    for l in range(len(params) - 1, 0, -1):  # params[l] is layer l + 1, above a_l
        d_a = dense_input_backward(d_z[-1], params[l], out[l - 1])
        d_z.append(relu_backward(d_a, a[l], out=d_a))
    return d_z[::-1]


def loss_and_grad(
    params: Params, X: Array, target: Array, share: Share, weight_decay: float, *, out: Arrays
) -> tuple[np.floating[Any], Params]:
    """Go up and down: the loss, eq. (17), and d_W_l, d_b_l for each layer, eq. (18)."""
    a, z = forward(params, X, out.z)
    p, log_p = softmax(z)
    loss = cross_entropy_forward(log_p, target, share) + penalty_forward(params, weight_decay)
    d_z = backward(params, a, softmax_cross_entropy_backward(p, target, share), out.d_z)
    into = zip(out.gradient, out.decay, strict=True)
    gradient = tuple(
        dense_backward(d_z_l, a_below, layer, weight_decay, out_l)
        for d_z_l, a_below, layer, out_l in zip(d_z, a, params, into, strict=True)
    )
    return loss, gradient
