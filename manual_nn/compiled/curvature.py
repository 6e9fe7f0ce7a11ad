"""Derivatives along tangents and second derivatives of the network, which curvature.md derives.

`R_name` is the derivative of `name` along the tangents; R_W and R_b are the tangents. What the two
have in common is one product of twice as many rows: a pair holds a_l above R_a_l, and a pair of
their gradients R_d_z_l above d_z_l. Axes: N rows in the batch, D inputs, K classes, L layers, each
with fan_in inputs and fan_out outputs. Every array is in C order; sequences have an entry for each
layer.
"""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.compiled import in_place, mlp
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy, copy_rows
from manual_nn.compiled.mlp import Arrays
from manual_nn.compiled.products import product
from manual_nn.compiled.reductions import exponentials, sum_of_products, sum_of_squares


@compiled
def new_pairs(N: int, biases: Arrays) -> list[Array]:
    """Make arrays for two times N rows of every layer, (2 N, fan_out)."""
    return [np.empty((2 * N, len(bias)), bias.dtype) for bias in biases]


@compiled
def forward(
    weights: Arrays,
    biases: Arrays,
    R_weights: Arrays,
    R_biases: Arrays,
    X: Array,
) -> tuple[list[Array], bool]:
    """Go up: mlp.md (1) and R_z_l = R_a_{l-1} W_l + a_{l-1} R_W_l + R_b_l; curvature.md (3), (4).

    z_L and R_z_L are left without their biases. Returns the pairs, and whether all pre-activations
    below the last are finite, with their derivatives.
    """
    N, finite = len(X), True
    pairs = new_pairs(N, biases)
    for l in range(len(weights)):
        z, R_z = pairs[l][:N], pairs[l][N:]
        if l == 0:  # R_X = 0
            product(X, weights[l], 1.0, 0.0, z)
            product(X, R_weights[l], 1.0, 0.0, R_z)
        else:
            product(pairs[l - 1], weights[l], 1.0, 0.0, pairs[l])
            product(pairs[l - 1][:N], R_weights[l], 1.0, 1.0, R_z)
        if l < len(weights) - 1:
            finite &= in_place.rectify(z, biases[l])
            finite &= rectify_tangent(R_z, R_biases[l], z)
    return pairs, finite


@compiled
def rectify_tangent(R_z: Array, R_bias: Array, a: Array) -> bool:
    """Turn R_z without R_b, (N, H), into R_a, which is 0 where a is 0; curvature.md (3), (4).

    Returns whether all of R_z is finite, which the mask hides.
    """
    largest, finite = np.finfo(R_z.dtype).max, True
    for n in range(R_z.shape[0]):
        for j in range(R_z.shape[1]):
            R_z_nj = R_z[n, j] + R_bias[j]
            finite &= abs(R_z_nj) <= largest
            R_z[n, j] = in_place.through_relu(R_z_nj, a[n, j])
    return finite


@compiled
def softmax(z: Array, bias: Array) -> bool:
    """Turn a W, (N, K), into p, the softmax of a W + b; softmax_cross_entropy.md (1).

    Returns whether all logits are finite; it stops at the first row where they are not.
    """
    zero, e = z.dtype.type(0), np.empty_like(z)
    for n in range(z.shape[0]):
        m, finite = in_place.add_bias(z[n], bias)
        if not finite:
            return False
        for k in range(z.shape[1]):
            z[n, k] -= m
    exponentials(z.reshape(-1), zero, e.reshape(-1))  # of all rows, which are short, in one loop
    for n in range(z.shape[0]):
        total = zero
        for k in range(z.shape[1]):
            total += e[n, k]
        for k in range(z.shape[1]):
            z[n, k] = e[n, k] / total
    return True


@compiled
def softmax_tangent(p: Array, R_z: Array, R_bias: Array, row_weight: Any, R_d_bias: Array) -> bool:
    """Turn R_z without R_b, (N, K), into R_d_logits = row_weight p (R_z - <p, R_z>), and add it up.

    curvature.md (6), (8). Returns whether all of R_z is finite; it stops at the first row where it
    is not.
    """
    zero, largest = R_z.dtype.type(0), np.finfo(R_z.dtype).max
    total = np.zeros(R_bias.shape, np.float64)
    for n in range(R_z.shape[0]):
        mean, finite = zero, True
        for k in range(R_z.shape[1]):
            R_z[n, k] += R_bias[k]
            finite &= abs(R_z[n, k]) <= largest
            mean += p[n, k] * R_z[n, k]
        if not finite:
            return False
        for k in range(R_z.shape[1]):
            R_d_z_nk = p[n, k] * (R_z[n, k] - mean) * row_weight
            R_z[n, k] = R_d_z_nk
            total[k] += R_d_z_nk
    copy(total, R_d_bias)
    return True


@compiled
def residual(p: Array, target: Array, row_weight: Any, d_z: Array) -> None:
    """Write d_logits = row_weight (p - target), (N, K); softmax_cross_entropy.md (10)."""
    for n in range(p.shape[0]):
        for k in range(p.shape[1]):
            d_z[n, k] = (p[n, k] - target[n, k]) * row_weight


@compiled
def mask(d_a: Array, a: Array) -> None:
    """Turn d_a, (N, H), into d_z, which is 0 where a is 0; relu.md (2)."""
    for n in range(d_a.shape[0]):
        for j in range(d_a.shape[1]):
            d_a[n, j] = in_place.through_relu(d_a[n, j], a[n, j])


@compiled
def first_of_each(
    L: int, weights: Arrays, biases: Arrays, R_weights: Arrays, R_biases: Arrays
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:
    """Give the first L arrays of each sequence in a list; after them may stand more."""
    return (
        mlp.first(L, weights),
        mlp.first(L, biases),
        mlp.first(L, R_weights),
        mlp.first(L, R_biases),
    )


@compiled
def up_and_turn(
    weights: Arrays,
    biases: Arrays,
    R_weights: Arrays,
    R_biases: Arrays,
    X: Array,
    R_d_bias: Array,
) -> tuple[list[Array], bool]:
    """Go up, and turn z_L into p, and R_z_L into R_d_logits, whose sums are written to R_d_b_L.

    curvature.md (3), (4), (6), (8). Returns what `forward` does, the last layer included.
    """
    N, top = len(X), len(weights) - 1
    pairs, finite = forward(weights, biases, R_weights, R_biases, X)
    p, R_z, row_weight = pairs[top][:N], pairs[top][N:], X.dtype.type(1 / N)
    finite = finite and softmax(p, biases[top])
    return pairs, finite and softmax_tangent(p, R_z, R_biases[top], row_weight, R_d_bias)


@compiled
def backward(
    weights: Arrays, R_weights: Arrays, pairs: Arrays, d_pairs: Arrays, R_d_biases: Arrays
) -> None:
    """Go down: R_d_z_{l-1} = R_d_z_l W_l^T + d_z_l R_W_l^T where z_{l-1} > 0, and its sums.

    curvature.md (7), (8); beside it d_z_{l-1}, mlp.md (2), but for d_z_1, which is in no term.
    """
    for l in range(len(weights) - 1, 0, -1):
        N = len(pairs[l]) // 2
        a, R_d_a, d_a = pairs[l - 1][:N], d_pairs[l - 1][:N], d_pairs[l - 1][N:]
        rows = 2 * N if l > 1 else N
        in_place.input_backward(d_pairs[l][:rows], weights[l], 1.0, d_pairs[l - 1][:rows])
        product(d_pairs[l][N:], R_weights[l].T, 1.0, 1.0, R_d_a)
        in_place.rectify_backward(R_d_a, a, R_d_biases[l - 1])
        if l > 1:
            mask(d_a, a)


@compiled
def hvp(
    L: int,
    weights: Arrays,
    biases: Arrays,
    R_weights: Arrays,
    R_biases: Arrays,
    X: Array,
    target: Array,
    weight_decay: float,
    R_d_weights: Arrays,
    R_d_biases: Arrays,
) -> bool:
    """Compute the product of the loss's Hessian with the tangents; curvature.md (1) to (8).

    Returns whether all pre-activations and their derivatives are finite; else there is no result.

    Args:
        L: the number of layers.
        weights: W_1 to W_L, (fan_in, fan_out); after them, and likewise in all that follow, may
            stand more arrays, which are not looked at.
        biases: b_1 to b_L, (fan_out,).
        R_weights: the tangents of the weights.
        R_biases: the tangents of the biases.
        X: the inputs, (N, D).
        target: probabilities of the classes, (N, K).
        weight_decay: the factor of the penalty.
        R_d_weights: where to write the part of the product that is shaped like the weights.
        R_d_biases: the other part.
    """
    weights, biases, R_weights, R_biases = first_of_each(L, weights, biases, R_weights, R_biases)
    R_d_weights, R_d_biases = mlp.first(L, R_d_weights), mlp.first(L, R_d_biases)
    N, top, dtype = len(X), L - 1, X.dtype.type
    pairs, finite = up_and_turn(weights, biases, R_weights, R_biases, X, R_d_biases[top])
    if not finite:
        return False
    d_pairs, decay = new_pairs(N, biases), dtype(2 * weight_decay)
    copy_rows(pairs[top][N:], d_pairs[top][:N])
    residual(pairs[top][:N], target, dtype(1 / N), d_pairs[top][N:])
    backward(weights, R_weights, pairs, d_pairs, R_d_biases)
    in_place.weight_backward(X, d_pairs[0][:N], R_weights[0], decay, R_d_weights[0])  # R_X = 0
    for l in range(1, len(weights)):
        in_place.weight_backward(pairs[l - 1], d_pairs[l], R_weights[l], decay, R_d_weights[l])
    return True


@compiled
def ggnvp(
    L: int,
    weights: Arrays,
    biases: Arrays,
    R_weights: Arrays,
    R_biases: Arrays,
    X: Array,
    weight_decay: float,
    d_weights: Arrays,
    d_biases: Arrays,
) -> bool:
    """Compute the product of the Gauss-Newton matrix with the tangents; curvature.md (10).

    Returns what `hvp` does, of which the arguments are.
    """
    weights, biases, R_weights, R_biases = first_of_each(L, weights, biases, R_weights, R_biases)
    d_weights, d_biases = mlp.first(L, d_weights), mlp.first(L, d_biases)
    N, decay = len(X), X.dtype.type(2 * weight_decay)
    pairs, finite = up_and_turn(weights, biases, R_weights, R_biases, X, d_biases[L - 1])
    if not finite:
        return False
    a, d_z = [pair[:N] for pair in pairs], [pair[N:] for pair in pairs]  # in the place of R_a
    mlp.backward(weights, 1.0, a, d_z, d_biases)
    for l in range(len(weights)):
        in_place.weight_backward(
            X if l == 0 else a[l - 1], d_z[l], R_weights[l], decay, d_weights[l]
        )
    return True


@compiled
def jvp(
    L: int,
    weights: Arrays,
    biases: Arrays,
    R_weights: Arrays,
    R_biases: Arrays,
    X: Array,
    target: Array,
    row_weight: Array,
    weight_decay: float,
) -> tuple[Any, Any, bool]:
    """Compute the loss and its derivative along the tangents; mlp.md (3), curvature.md (5).

    Returns both, and what `hvp` does, of which the arguments are, but for the factor of each row in
    the mean over the rows, `row_weight`, (N,).
    """
    weights, biases, R_weights, R_biases = first_of_each(L, weights, biases, R_weights, R_biases)
    N, top, dtype = len(X), L - 1, X.dtype.type
    pairs, finite = forward(weights, biases, R_weights, R_biases, X)
    if not finite:
        return dtype(0), dtype(0), False
    d_z, R_z = pairs[top][:N], pairs[top][N:]
    loss, finite = in_place.cross_entropy(
        d_z, biases[top], target, row_weight, np.empty_like(biases[top])
    )
    if not finite:
        return loss, dtype(0), False
    R_loss = np.float64(0)
    for n in range(N):
        for k in range(R_z.shape[1]):
            R_loss += d_z[n, k] * (R_z[n, k] + R_biases[top][k])
    if weight_decay > 0:
        for l in range(len(weights)):
            W, R_W = weights[l].reshape(-1), R_weights[l].reshape(-1)
            loss += dtype(weight_decay) * dtype(sum_of_squares(W, dtype(0)))  # penalty.md (1)
            R_loss += 2 * weight_decay * sum_of_products(W, R_W)  # penalty.md (3)
    return loss, dtype(R_loss), True
