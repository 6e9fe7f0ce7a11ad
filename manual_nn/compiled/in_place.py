"""The layers of the network, in place: each function is what one pass over memory can do at once.

Axes: N rows, H units of a hidden layer, K classes; a layer has fan_in inputs and fan_out outputs.
`d_name` is dL/d(name), the derivative of the loss with respect to `name`, and has its shape.
"""

import math
from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.copies import copy, copy_transposed
from manual_nn.compiled.products import SMALL, check_shapes, product, suits_tiles
from manual_nn.compiled.reductions import BLOCK, WIDTH, exponentials
from manual_nn.compiled.tiled_product import tiled_product

FEW = 64  # rows


@compiled
def rectify(z: Array, bias: Array) -> bool:
    """Turn a W, (N, H), into relu(a W + b); dense.md (1), relu.md (1).

    Returns whether all of a W + b is finite, which the ReLU hides.
    """
    zero, largest = z.dtype.type(0), np.finfo(z.dtype).max
    finite = True
    for n in range(z.shape[0]):
        for j in range(z.shape[1]):
            z_nj = z[n, j] + bias[j]
            finite &= abs(z_nj) <= largest
            z[n, j] = z_nj if z_nj > 0 else zero
    return finite


@compiled
def through_relu(change: Any, a: Any) -> Any:
    """Give a derivative of one unit as the ReLU passes it on: 0 where a is 0; relu.md (2)."""
    return change if a > 0 else type(change)(0)


@compiled
def rectify_backward(d_a: Array, a: Array, d_bias: Array) -> None:
    """Turn d_a, (N, H), into d_z, which is 0 where a is 0, and write its column sums to d_b.

    relu.md (2), dense.md (3).
    """
    N = len(d_a)
    total = np.zeros(d_bias.shape, np.float64)
    for start in range(0, N, BLOCK):
        d_bias[:] = 0
        for n in range(start, min(start + BLOCK, N)):
            for j in range(d_a.shape[1]):
                d_z_nj = through_relu(d_a[n, j], a[n, j])
                d_a[n, j] = d_z_nj
                d_bias[j] += d_z_nj
        total += d_bias
    copy(total, d_bias)


@compiled
def input_backward(d_z: Array, weight: Array, factor: float, d_a: Array) -> None:
    """Write d_a = factor d_z W^T, (N, fan_in); dense.md (4).

    BLAS is faster at the transpose, W d_z^T, of few rows; if it is small, its copy takes longer.
    """
    if len(d_z) <= FEW and len(d_z) * weight.size > SMALL:
        transposed = np.empty((weight.shape[0], len(d_z)), d_z.dtype)
        product(weight, d_z.T, factor, 0.0, transposed)
        copy_transposed(transposed, d_a)
    else:
        product(d_z, weight.T, factor, 0.0, d_a)


@compiled
def add_bias(z: Array, bias: Array) -> tuple[Any, bool]:
    """Add b to a row, (K,); give the largest of the sums, and whether all of them are finite."""
    largest = np.finfo(z.dtype).max
    m, finite = -largest, True
    for k in range(len(z)):
        z[k] += bias[k]
        finite &= abs(z[k]) <= largest
        m = max(m, z[k])
    return m, finite


@compiled
def cross_entropy(
    z: Array, bias: Array, target: Array, row_weight: Array, d_bias: Array
) -> tuple[Any, bool]:
    """Turn a W, (N, K), into d_logits = row_weight (p - target), p = softmax(a W + b).

    softmax_cross_entropy.md (2), (6), (9), (10); dense.md (3). Returns the loss, and whether all
    logits are finite; it stops at the first row where they are not.
    """
    zero, largest = z.dtype.type(0), np.finfo(z.dtype).max
    K = z.shape[1]
    e = np.empty_like(z)
    loss, total_d_bias = np.float64(0), np.zeros(K, np.float64)  # of many rows
    for n in range(z.shape[0]):
        m, finite = add_bias(z[n], bias)
        if not finite:
            return z.dtype.type(loss), False
        for k in range(K):
            z[n, k] = max(z[n, k] - m, -largest)  # a difference beyond it stops there
    exponentials(z.reshape(-1), zero, e.reshape(-1))  # of all rows, which are short, in one loop
    for n in range(z.shape[0]):
        total = zero
        for k in range(K):
            total += e[n, k]
        log_total = z.dtype.type(math.log(total))
        row_loss = zero
        for k in range(K):
            row_loss -= target[n, k] * ((z[n, k] - log_total) * row_weight[n])
            d_z_nk = (e[n, k] / total - target[n, k]) * row_weight[n]
            z[n, k] = d_z_nk
            total_d_bias[k] += d_z_nk
        loss += row_loss
    copy(total_d_bias, d_bias)
    return z.dtype.type(loss), True


@compiled
def likeliest_is_right(z: Array, bias: Array, target: Array, right: Any) -> None:
    """Write of each row whether a W + b is largest where the target is, (N,).

    Where several are equal it is the first. `z` is a W, (N, K), and stays so.
    """
    for n in range(z.shape[0]):
        likeliest, wanted = 0, 0
        for k in range(1, z.shape[1]):
            if z[n, k] + bias[k] > z[n, likeliest] + bias[likeliest]:
                likeliest = k
            if target[n, k] > target[n, wanted]:
                wanted = k
        right[n] = likeliest == wanted


@compiled
def weight_backward(a: Array, d_z: Array, weight: Array, decay: Any, d_weight: Array) -> Any:
    """Write d_W = a^T d_z + decay W, and return the sum of W's squares.

    dense.md (2), penalty.md (2). The sum is in float64. Without decay the squares are not needed,
    and may be given as 0. BLAS adds to what it finds in a pass over d_W that it would else begin by
    one to set it to 0.
    """
    if len(a) == 1:
        return outer_product_and_decay(a[0], d_z[0], weight, decay, d_weight)
    if decay == 0:
        product(a.T, d_z, 1.0, 0.0, d_weight)
        return np.float64(0)
    if suits_tiles(a.shape[1], a.shape[0], d_z.shape[1], a.itemsize):
        check_shapes(a.T, d_z, weight)
        check_shapes(a.T, d_z, d_weight)
        a_T, one = a.T[:, : len(a)], weight.dtype.type(1)  # a view, as in `done_in_tiles`
        return tiled_product(a_T, d_z, one, decay, weight, d_weight)
    squares = write_decay(weight.reshape(-1), decay, d_weight.reshape(-1))
    product(a.T, d_z, 1.0, 1.0, d_weight)
    return squares


@compiled_in_any_order
def outer_product_and_decay(
    a: Array, d_z: Array, weight: Array, decay: Any, d_weight: Array
) -> Any:
    """Do what weight_backward does, for one row, (fan_in,) and (fan_out,)."""
    squares = np.float64(0)
    for i in range(weight.shape[0]):
        of_row = weight.dtype.type(0)  # as NumPy's; rows are added up in float64
        for j in range(weight.shape[1]):
            d_weight[i, j] = a[i] * d_z[j] + decay * weight[i, j]
            of_row += weight[i, j] * weight[i, j]
        squares += of_row
    return squares


@compiled
def write_decay(weight: Array, decay: Any, d_weight: Array) -> Any:
    """Write decay W to d_W, each as one row of numbers, and return the sum of W's squares.

    penalty.md (2).
    """
    squares = np.float64(0)
    for start in range(0, len(weight), WIDTH):
        part = slice(start, start + WIDTH)
        squares += _decay(weight[part], decay, d_weight[part])
    return squares


@compiled_in_any_order
def _decay(weight: Array, decay: Any, d_weight: Array) -> Any:
    squares = weight.dtype.type(0)
    for i in range(len(weight)):
        d_weight[i] = decay * weight[i]
        squares += weight[i] * weight[i]
    return squares
