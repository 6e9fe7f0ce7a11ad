"""The pass up and down of the multilayer perceptron, which mlp.md derives.

Axes: N rows in the batch, D inputs, K classes, L layers, each with fan_in inputs and fan_out
outputs. Every array is in C order. Sequences have an entry for each layer; d_z_L takes the place of
z_L, with which it is one array.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.compiled import in_place
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.products import product

Arrays: TypeAlias = Sequence[Array]


@compiled
def first(L: int, arrays: Arrays) -> list[Array]:
    """Give the first L arrays in a list, whose type does not depend on how many there are."""
    return [arrays[l] for l in range(L)]


@compiled
def write_target(classes: npt.NDArray[np.int64], target: Array) -> bool:
    """Write 1 for the class of each row, (N,), and 0 for the others, (N, K).

    Returns whether all class numbers are from 0 to K - 1; it stops at the first that is not.
    """
    K = target.shape[1]
    for n in range(len(classes)):
        if not 0 <= classes[n] < K:
            return False
        target[n] = 0
        target[n, classes[n]] = 1
    return True


@compiled
def forward(weights: Arrays, factor: float, biases: Arrays, X: Array, z: Arrays) -> bool:
    """Go up: z_l = relu(a_{l-1} W_l + b_l), but z_L = a_{L-1} W_L, without its bias; mlp.md (1).

    Returns whether all pre-activations below z_L are finite.
    """
    finite = True
    for l in range(len(weights)):
        product(X if l == 0 else z[l - 1], weights[l], factor, 0.0, z[l])
        if l < len(weights) - 1:
            finite &= in_place.rectify(z[l], biases[l])
    return finite


@compiled
def backward(weights: Arrays, factor: float, z: Arrays, d_z: Arrays, d_biases: Arrays) -> None:
    """Go down from d_z_L: d_z_{l-1} = d_z_l W_l^T where z_{l-1} > 0, and its sums; mlp.md (2)."""
    for l in range(len(weights) - 1, 0, -1):
        in_place.input_backward(d_z[l], weights[l], factor, d_z[l - 1])
        in_place.rectify_backward(d_z[l - 1], z[l - 1], d_biases[l - 1])


@compiled
def up_and_down(
    weights: Arrays,
    factor: float,
    biases: Arrays,
    X: Array,
    target: Array,
    row_weight: Array,
    z: Arrays,
    d_z: Arrays,
    d_biases: Arrays,
) -> tuple[Any, bool]:
    """Compute d_z_l and d_b_l for each layer, without the penalty; mlp.md (1) to (4).

    Returns the loss, and whether all pre-activations are finite; it stops at a layer where they are
    not.

    Args:
        weights: W_1 / factor to W_L / factor, (fan_in, fan_out).
        factor: what each weight is to be multiplied by.
        biases: b_1 to b_L, (fan_out,).
        X: the inputs, (N, D).
        target: probabilities of the classes, (N, K).
        row_weight: the factor of each row in the mean over the rows, (N,).
        z: where to write z_1 to z_L, (N, fan_out), and then a_l in the place of z_l.
        d_z: where to write d_z_1 to d_z_L.
        d_biases: where to write d_b_1 to d_b_L.
    """
    top = len(weights) - 1
    if not forward(weights, factor, biases, X, z):
        return X.dtype.type(0), False
    loss, finite = in_place.cross_entropy(z[top], biases[top], target, row_weight, d_biases[top])
    if finite:
        backward(weights, factor, z, d_z, d_biases)
    return loss, finite


@compiled
def loss_and_right(
    L: int,
    weights: Arrays,
    biases: Arrays,
    X: Array,
    target: Array,
    row_weight: Array,
    z: Arrays,
    right: Any,
) -> tuple[Any, bool]:
    """Go up alone: the loss without the penalty, which is returned; mlp.md (1), (3).

    Also returns whether all pre-activations are finite; it stops at a layer where they are not.

    The arguments are those of `loss_and_grad`, with where to write of each row whether its largest
    logit is that of its most probable class, `right`, (N,).
    """
    weights, biases, z = first(L, weights), first(L, biases), first(L, z)
    top = L - 1
    if not forward(weights, 1.0, biases, X, z):
        return X.dtype.type(0), False
    in_place.likeliest_is_right(z[top], biases[top], target, right)
    return in_place.cross_entropy(
        z[top], biases[top], target, row_weight, np.empty_like(biases[top])
    )


@compiled
def loss_and_grad(
    L: int,
    weights: Arrays,
    biases: Arrays,
    X: Array,
    target: Array,
    row_weight: Array,
    weight_decay: float,
    z: Arrays,
    d_z: Arrays,
    d_weights: Arrays,
    d_biases: Arrays,
) -> tuple[Any, bool]:
    """Compute the loss, which is returned, and d_W_l and d_b_l for each layer; mlp.md (1) to (4).

    Also returns whether all pre-activations are finite; it stops at a layer where they are not.

    The arguments are those of `up_and_down`, with the number of layers L, the factor of the
    penalty, `weight_decay`, and where to write d_W_1 to d_W_L, `d_weights`. Sequences may have more
    arrays than L, which are not looked at.
    """
    weights, biases = first(L, weights), first(L, biases)
    z, d_z = first(L, z), first(L, d_z)
    d_weights, d_biases = first(L, d_weights), first(L, d_biases)
    loss, finite = up_and_down(weights, 1.0, biases, X, target, row_weight, z, d_z, d_biases)
    if not finite:
        return loss, False
    dtype = X.dtype.type
    decay, squares = dtype(2 * weight_decay), np.float64(0)
    for l in range(L):
        squares += in_place.weight_backward(
            X if l == 0 else z[l - 1], d_z[l], weights[l], decay, d_weights[l]
        )
    if weight_decay > 0:
        loss += dtype(weight_decay) * dtype(squares)
    return loss, True
