"""Steps of training, one after the other without Python in between.

Axes: N rows to train on, n of them in a batch; D inputs, K classes, L layers, P parameters; S
steps. Lists have an entry for each layer; d_z_L takes the place of z_L, as in mlp.py. Settings are
float64, and rounded where they meet an array. `step_name` is learning_rate d_name.
"""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.compiled import mlp
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.copies import copy
from manual_nn.compiled.products import product

Rows: TypeAlias = npt.NDArray[np.int64]
Sizes: TypeAlias = npt.NDArray[np.int64]
Count: TypeAlias = npt.NDArray[np.int64]

LEAST = 0.5  # how small the factor of the weights may become
SGD, NESTEROV, ADAM = range(3)


@compiled
def take_batch(
    rows: Rows,
    X: Array,
    target: Array,
    sample_weight: Array,
    factor: float,
    X_batch: Array,
    target_batch: Array,
    row_weight: Array,
) -> None:
    """Copy the rows of a batch, and write factor w_n / sum_m w_m, or without weights factor / n.

    softmax_cross_entropy.md (10). There are no weights if `sample_weight` is empty.
    """
    largest, total = 0.0, 0.0
    for i in range(len(rows)):
        copy(X[rows[i]], X_batch[i])
        copy(target[rows[i]], target_batch[i])
        if len(sample_weight) > 0:
            largest = max(largest, sample_weight[rows[i]])
    if largest == 0:
        row_weight[:] = factor / len(rows)
        return
    for i in range(len(rows)):  # the sum of the weights themselves might overflow
        total += sample_weight[rows[i]] / largest
    for i in range(len(rows)):
        row_weight[i] = factor * (sample_weight[rows[i]] / largest / total)


@compiled
def weights_in(theta: Array, sizes: Sizes) -> list[Array]:
    """Find W_1 to W_L, (fan_in, fan_out), in all parameters as one vector."""
    weights = []
    start = 0
    for l in range(len(sizes) - 1):
        stop = start + sizes[l] * sizes[l + 1]
        weights.append(theta[start:stop].reshape(sizes[l], sizes[l + 1]))
        start = stop + sizes[l + 1]
    return weights


@compiled
def biases_in(theta: Array, sizes: Sizes) -> list[Array]:
    """Find b_1 to b_L, (fan_out,), in all parameters as one vector."""
    biases = []
    start = 0
    for l in range(len(sizes) - 1):
        start += sizes[l] * sizes[l + 1]
        biases.append(theta[start : start + sizes[l + 1]])
        start += sizes[l + 1]
    return biases


@compiled
def new_rows(n: int, sizes: Sizes, like: Array) -> list[Array]:
    """Make arrays for n rows of every layer above the inputs, (n, fan_out)."""
    return [np.empty((n, sizes[l]), like.dtype) for l in range(1, len(sizes))]


@compiled
def room_for(
    n: int, sizes: Sizes, X: Array, theta: Array
) -> tuple[list[Array], list[Array], Array, Array, Array]:
    """Make what a step of n rows writes to: z, d_z, the batch's X and target, its row_weight."""
    z, d_z = new_rows(n, sizes, theta), new_rows(n, sizes, theta)
    d_z[-1] = z[-1]
    X_batch, target_batch = np.empty((n, X.shape[1]), X.dtype), np.empty_like(z[-1])
    return z, d_z, X_batch, target_batch, np.empty(n, X.dtype)


@compiled
def sgd(
    theta: Array,
    sizes: Sizes,
    rows: Rows,
    X: Array,
    target: Array,
    sample_weight: Array,
    rates: Array,
    count: Count,
    weight_decay: float,
) -> None:
    """Take the steps of sgd.md (1), and count them: all, or those before one is not finite.

    The weights are a factor times what stands in their arrays, sgd.md (4): the decay goes into the
    factor, and BLAS adds the rest of a step to the array itself, so that no other pass over the
    weights is needed. The last step multiplies the factor in again.

    Args:
        theta: W_1, b_1 to W_L, b_L, one after the other in a vector, (P,), changed in place.
        sizes: D, the hidden widths, K.
        rows: the numbers of the rows of each step, (S, n).
        X: the inputs, (N, D).
        target: probabilities of the classes, (N, K).
        sample_weight: the weights of the rows, (N,), or (0,) for none.
        rates: the learning rate of each step, (S,).
        count: how many steps were taken before, (1,), to which these are added. They are counted
            here, for an interruption may come before the caller learns of what is returned.
        weight_decay: the factor of the penalty.
    """
    S, n = rows.shape
    weights, biases = weights_in(theta, sizes), biases_in(theta, sizes)
    steps = np.empty_like(theta)
    step_weights, step_biases = weights_in(steps, sizes), biases_in(steps, sizes)
    z, step_z, X_batch, target_batch, row_weight = room_for(n, sizes, X, theta)
    factor = 1.0
    for s in range(S):
        take_batch(rows[s], X, target, sample_weight, rates[s], X_batch, target_batch, row_weight)
        _, finite = mlp.up_and_down(
            weights, factor, biases, X_batch, target_batch, row_weight, z, step_z, step_biases
        )
        if not finite:
            for l in range(len(weights)):
                multiply(factor, weights[l].reshape(-1))
            return
        decay = 2 * rates[s] * weight_decay
        kept = factor * (1 - decay)
        fold = kept < LEAST or (s == S - 1 and kept < 1)
        for l in range(len(weights)):
            a = X_batch if l == 0 else z[l - 1]
            if fold:
                product(a.T, step_z[l], 1.0, 0.0, step_weights[l])
                move_and_fold(weights[l].reshape(-1), step_weights[l].reshape(-1), decay, factor)
            else:
                product(a.T, step_z[l], -1 / kept, 1.0, weights[l])
            biases[l] -= step_biases[l]
        factor = 1.0 if fold else kept
        count[0] += 1


@compiled
def with_moments(
    theta: Array,
    sizes: Sizes,
    rows: Rows,
    X: Array,
    target: Array,
    sample_weight: Array,
    rates: Array,
    count: Count,
    coupled: float,
    decoupled: float,
    max_grad_norm: float,
    kind: int,
    betas: tuple[float, float],
    eps: float,
    first: Array,
    second: Array,
) -> None:
    """Take steps of any optimizer, and count them, as `sgd` does.

    Args:
        theta: as for `sgd`.
        sizes: likewise.
        rows: likewise.
        X: likewise.
        target: likewise.
        sample_weight: likewise.
        rates: likewise.
        count: likewise.
        coupled: the factor of a penalty that is part of the loss.
        decoupled: the factor of one that is not, adam.md (4).
        max_grad_norm: the norm to which a longer gradient is shortened, clipping.md (1).
        kind: SGD with momentum, sgd.md (2), NESTEROV's, sgd.md (3), or ADAM, adam.md (1) to (3).
        betas: what remains of the moments after a step; 0 where there are none.
        eps: what Adam adds to the root.
        first: the first moments, (P,), changed in place; (0,) where there are none.
        second: the second moments, likewise.
    """
    S, n = rows.shape
    weights, biases = weights_in(theta, sizes), biases_in(theta, sizes)
    d_theta = np.empty_like(theta)
    d_weights, d_biases = weights_in(d_theta, sizes), biases_in(d_theta, sizes)
    z, d_z, X_batch, target_batch, row_weight = room_for(n, sizes, X, theta)
    for s in range(S):
        take_batch(rows[s], X, target, sample_weight, 1.0, X_batch, target_batch, row_weight)
        _, finite = mlp.loss_and_grad(
            len(weights),
            weights,
            biases,
            X_batch,
            target_batch,
            row_weight,
            coupled,
            z,
            d_z,
            d_weights,
            d_biases,
        )
        if not finite:
            return
        clip(d_theta, max_grad_norm)
        if kind == ADAM:
            t = count[0] + 1
            turn_by_adam(d_theta, first, second, betas, eps, (1 - betas[0] ** t, 1 - betas[1] ** t))
        elif len(first) > 0:
            turn_by_momentum(d_theta, first, betas[0], kind == NESTEROV)
        for l in range(len(weights)):
            move(weights[l].reshape(-1), d_weights[l].reshape(-1), rates[s], 2 * decoupled)
            move(biases[l], d_biases[l], rates[s], 0.0)
        count[0] += 1


@compiled
def multiply(factor: float, array: Array) -> None:
    """Multiply in place, in float64."""
    if factor != 1:
        for i in range(len(array)):
            array[i] = factor * array[i]


@compiled
def move_and_fold(weight: Array, step: Array, decay: float, factor: float) -> None:
    """Make W of what stands for W / factor, and take the step: W - (step + decay W); sgd.md (1).

    It is computed in float64, and rounded once.
    """
    for i in range(len(weight)):
        before = factor * weight[i]
        weight[i] = before - (step[i] + decay * before)


@compiled_in_any_order
def move(array: Array, direction: Array, rate: float, decay: float) -> None:
    """Take a step, array - rate (direction + decay array); sgd.md (1), adam.md (4)."""
    of_direction, of_array = array.dtype.type(rate), array.dtype.type(rate * decay)
    for i in range(len(array)):
        array[i] -= of_direction * direction[i] + of_array * array[i]


@compiled_in_any_order
def turn_by_momentum(d_array: Array, velocity: Array, momentum: float, nesterov: bool) -> None:  # noqa: FBT001, Numba passes by position
    """Move the velocity, and put the direction in the place of the gradient; sgd.md (2), (3)."""
    mu = d_array.dtype.type(momentum)
    ahead = mu if nesterov else d_array.dtype.type(0)
    for i in range(len(d_array)):
        v = mu * velocity[i] + d_array[i]
        velocity[i] = v
        d_array[i] = d_array[i] + ahead * v if nesterov else v


@compiled_in_any_order
def turn_by_adam(
    d_array: Array,
    mean: Array,
    square: Array,
    betas: tuple[float, float],
    eps: float,
    corrections: tuple[float, float],
) -> None:
    """Move both means, and put the direction in the place of the gradient; adam.md (1) to (3)."""
    number = d_array.dtype.type
    beta1, beta2, of_eps = number(betas[0]), number(betas[1]), number(eps)
    other1, other2 = number(1 - betas[0]), number(1 - betas[1])
    correction1, correction2 = number(corrections[0]), number(corrections[1])
    for i in range(len(d_array)):
        m = beta1 * mean[i] + other1 * d_array[i]
        v = beta2 * square[i] + other2 * (d_array[i] * d_array[i])
        mean[i], square[i] = m, v
        d_array[i] = (m / correction1) / (np.sqrt(v / correction2) + of_eps)


@compiled
def clip(d_theta: Array, max_norm: float) -> None:
    """Shorten a gradient to the norm, if it is longer and finite; clipping.md (1)."""
    if max_norm == math.inf:
        return
    least, most = np.finfo(np.float64).tiny / np.finfo(np.float64).eps, np.finfo(np.float64).max
    squares = sum_of_squares(d_theta, 1.0)
    norm = math.sqrt(squares)
    if not least < squares <= most:
        largest = 0.0
        for i in range(len(d_theta)):
            largest = max(largest, abs(d_theta[i]))
        if not 0 < largest <= most:
            return
        norm = largest * math.sqrt(sum_of_squares(d_theta, largest))
    if max_norm < norm <= most:
        multiply(max_norm / norm, d_theta)


@compiled_in_any_order
def sum_of_squares(array: Array, unit: float) -> float:
    """Add up the squares of these numbers, in float64 and in this unit."""
    total = 0.0
    for i in range(len(array)):
        total += (array[i] / unit) ** 2
    return total
