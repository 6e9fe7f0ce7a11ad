"""The public functions of the network: what it computes, its loss and its gradients.

The mathematics is in `manual_nn.models.backprop`; here the arguments are checked and the pieces
strung together. Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.checks.arguments import (
    as_batch,
    as_count,
    as_dtype,
    as_inputs,
    as_labels,
    as_number,
    as_params,
    as_rng,
    as_rows,
    as_share,
    as_sizes,
    as_targets,
)
from manual_nn.checks.finite import check_finite
from manual_nn.models import backprop
from manual_nn.models.backprop import Array, Dense, Params, Share
from manual_nn.models.workspace import Workspace, as_workspace


def init_params(
    sizes: Sequence[int], *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64
) -> Params:
    """Draw random weights, and set the biases to zero.

    Weights have mean 0 and variance 2 / (fan_in + fan_out), twice that above a ReLU, which halves
    what comes in; eq. (21), after Glorot and Bengio (2010) and He et al. (2015).

    Args:
        sizes: D, the hidden widths, K: L + 1 numbers.
        rng: the random generator to draw from.
        dtype: float32 or float64.

    Returns:
        L layers, weights (fan_in, fan_out) and biases (fan_out,).

    Raises:
        TypeError: a size is not a whole number, the dtype is another, or rng is no generator.
        ValueError: there are fewer than two sizes, or one is below 1.

    >>> params = init_params([784, 256, 10], rng=np.random.default_rng(0))
    >>> [layer.weight.shape for layer in params]
    [(784, 256), (256, 10)]
    """
    sizes, dtype = as_sizes(sizes), as_dtype(dtype)
    as_rng(rng)
    params = []
    for l, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), start=1):
        variance = (2 if l == 1 else 4) / (fan_in + fan_out)
        weight = rng.normal(scale=np.sqrt(variance), size=(fan_in, fan_out))
        params.append(Dense(weight.astype(dtype), np.zeros(fan_out, dtype)))
    return tuple(params)


def logits(params: Params, X: npt.ArrayLike) -> Array:
    """Compute z_L, the unnormalised log-probabilities of the classes.

    a_0 = X, z_l = a_{l-1} W_l + b_l, a_l = max(z_l, 0); eq. (9), (13), (15).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D); converted to the dtype of the parameters.

    Returns:
        The logits, (N, K), in the dtype of the parameters.

    Raises:
        TypeError: an argument is not of numbers, or layers differ in dtype.
        ValueError: shapes do not fit each other, the batch is empty, X or a parameter is infinite
            or NaN, or pre-activations exceed the dtype.

    >>> identity = Dense(np.eye(2), np.zeros(2))
    >>> logits((identity, identity), [[3.0, -1.0]])  # the ReLU between them drops the -1
    array([[3., 0.]])
    """
    params = as_params(params)
    return backprop.forward(params, as_inputs(params, X))[1]


def predict_proba(params: Params, X: npt.ArrayLike) -> Array:
    """Compute the probabilities of the classes, p = softmax(logits); eq. (1).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).

    Returns:
        The probabilities, (N, K), in the dtype of the parameters; each row sums to 1.

    Raises:
        TypeError, ValueError: as for `logits`.

    >>> predict_proba((Dense(np.eye(2), np.zeros(2)),), [[0.0, np.log(3)]])
    array([[0.25, 0.75]])
    """
    return backprop.softmax(logits(params, X))[0]


def predict(params: Params, X: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Choose the class with the largest logit, the first of them where several are equal.

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).

    Returns:
        Class numbers from 0 to K - 1, (N,).

    Raises:
        TypeError, ValueError: as for `logits`.

    >>> predict((Dense(np.eye(3), np.zeros(3)),), [[0, 2, 1], [5, 5, 5]])
    array([1, 0])
    """
    return np.argmax(logits(params, X), axis=1)


def loss(
    params: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
    chunk_size: int | None = None,
) -> np.floating[Any]:
    """Compute the mean cross-entropy of the batch plus the penalty on the weights.

    L = -1/N sum_nk y_nk ln p_nk + weight_decay * sum_l ||W_l||^2; eq. (7), (17). With weights w on
    the rows the mean is the weighted one, w_n / sum_m w_m in place of 1/N; eq. (45).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: how much each row counts, (N,), none negative, or None for all the same.
        chunk_size: how many rows to take at a time, or None for all at once. X and y may be arrays
            on disk (`numpy.memmap`), of which only a block is then in memory.

    Returns:
        The loss, a scalar of the dtype of the parameters.

    Raises:
        TypeError: an argument is not of numbers, or layers differ in dtype.
        ValueError: shapes do not fit each other, the batch is empty, X or a parameter is infinite
            or NaN, pre-activations exceed the dtype, a class number is out of range, target
            probabilities do not sum to 1, weight_decay or a weight is negative, all weights are 0,
            or chunk_size is below 1.

    >>> zero = Dense(np.zeros((2, 4)), np.zeros(4))
    >>> loss((zero,), [[1.0, 2.0]], [3]) == np.log(4)  # four classes, equally likely
    np.True_
    """
    params = as_params(params)
    weight_decay = as_number(weight_decay, name="weight_decay", minimum=0)
    value = backprop.penalty_forward(params, weight_decay)
    for X_block, target, share in _blocks(params, X, y, sample_weight, chunk_size):
        log_p = backprop.softmax(backprop.forward(params, X_block)[1])[1]
        value += backprop.cross_entropy_forward(log_p, target, share)
    return value


def loss_and_grad(
    params: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    weight_decay: float = 0.0,
    sample_weight: npt.ArrayLike | None = None,
    chunk_size: int | None = None,
    workspace: Workspace | None = None,
) -> tuple[np.floating[Any], Params]:
    """Compute the loss and its gradient in every weight and bias, by one sweep up and one down.

    d_W_l = a_{l-1}^T d_z_l + 2 * weight_decay * W_l, d_b_l = column sums of d_z_l, where
    d_z_L = (p - y) / N and d_z_{l-1} = (d_z_l W_l^T) masked by z_{l-1} > 0; eq. (8) to (18). With
    weights on the rows it is w_n / sum_m w_m in place of 1/N; eq. (46).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: how much each row counts, (N,), none negative, or None for all the same.
        chunk_size: how many rows to take at a time, adding up their gradients, or None for all at
            once. X and y may be arrays on disk (`numpy.memmap`), of which only a block is then in
            memory.
        workspace: arrays to write to, the gradient included, or None for new ones.

    Returns:
        The loss, as `loss` gives it, and the gradient, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `loss`, or the workspace does not fit.

    >>> zero = Dense(np.zeros((2, 4)), np.zeros(4))
    >>> _, (d_layer,) = loss_and_grad((zero,), [[1.0, 2.0]], [3])
    >>> d_layer.bias  # softmax(z) - y
    array([ 0.25,  0.25,  0.25, -0.75])
    """
    if not (isinstance(workspace, Workspace) and workspace.fits(params)):
        params = as_params(params)
    weight_decay = as_number(weight_decay, name="weight_decay", minimum=0)
    blocks = _blocks(params, X, y, sample_weight, chunk_size)
    first = next(blocks)
    rows = len(first[0])
    out = as_workspace(workspace, params, rows).arrays(rows)
    value, gradient = backprop.loss_and_grad(params, *first, weight_decay, out=out)
    spare = None
    for block in blocks:  # without the penalty, which is counted once
        spare = spare or Workspace(params, rows)
        out = spare.arrays(len(block[0]))
        block_value, block_gradient = backprop.loss_and_grad(params, *block, 0.0, out=out)
        value += block_value
        for layer, block_layer in zip(gradient, block_gradient, strict=True):
            for array, block_array in zip(layer, block_layer, strict=True):
                array += block_array
    return value, gradient


def _blocks(
    params: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None,
    chunk_size: int | None,
) -> Iterator[tuple[Array, Array, Share]]:
    """Give blocks of rows, checked: inputs, targets, and what each row counts in the mean."""
    X = as_rows(params, X)
    y = as_labels(params, len(X), y)
    share = as_share(params, len(X), sample_weight)
    size = len(X) if chunk_size is None else as_count(chunk_size, name="chunk_size")
    if size >= len(X):
        yield as_inputs(params, X), as_targets(params, len(X), y), share
        return
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        where = f"[{start}:{start + size}]"
        X_block = as_inputs(params, X[rows], name=f"X{where}")
        check_finite(X_block, name=f"X{where}")  # where the rows are known
        target = as_targets(params, len(X_block), y[rows], name=f"y{where}")
        yield X_block, target, share[rows] if isinstance(share, np.ndarray) else share


def input_grad(
    params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0
) -> Array:
    """Compute the gradient of the mean loss in the inputs, d_X = d_z_1 W_1^T; eq. (19).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty, which does not depend on X: without effect.

    Returns:
        d_X, (N, D), in the dtype of the parameters.

    Raises:
        TypeError, ValueError: as for `loss`.

    >>> layer = Dense(np.array([[0.0, 0.0], [0.0, 4.0]]), np.zeros(2))
    >>> input_grad((layer,), [[1.0, 0.0]], [0])  # (p - y) W^T with p = (1/2, 1/2)
    array([[0., 2.]])
    """
    params, X, target, _ = as_batch(params, X, y, weight_decay)
    a, z = backprop.forward(params, X)
    p, _ = backprop.softmax(z)
    d_logits = backprop.softmax_cross_entropy_backward(p, target, as_share(params, len(X), None))
    return backprop.dense_input_backward(backprop.backward(params, a, d_logits)[0], params[0])
