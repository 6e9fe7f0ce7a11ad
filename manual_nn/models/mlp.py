"""The multilayer perceptron: layers strung together, their loss and its gradients.

z_l = a_{l-1} W_l + b_l and a_l = relu(z_l), with a_0 = X and the logits z_L; derived in mlp.md.
Axes: N rows in the batch, D inputs, K classes, L layers. Layer l takes a_{l-1}, with fan_in
columns, to z_l, with fan_out columns. `d_name` is dL/d(name) and has the shape of `name`.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import as_count, as_dtype, as_number, as_rng, as_sizes
from manual_nn.checks.finite import check_finite, check_pre_activations
from manual_nn.layers import dense, relu, softmax_cross_entropy
from manual_nn.layers.dense import Dense, Params
from manual_nn.models import penalty
from manual_nn.models.arguments import (
    as_batch,
    as_inputs,
    as_labels,
    as_params,
    as_row_weight,
    as_rows,
    as_targets,
)
from manual_nn.models.workspace import Arrays, Workspace, arrays_of, checked_params, new_arrays


def forward(
    params: Params, X: Array, *, out: Sequence[Array | None] | None = None
) -> tuple[Array, list[Array]]:
    """Go up: a_0 = X, a_l = relu(a_{l-1} W_l + b_l); returns z_L, [a_0, ..., a_{L-1}]; eq. (1)."""
    out = out or [None] * len(params)
    a = [X]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        for l, layer in enumerate(params, start=1):
            z = dense.affine(layer, a[-1], out=out[l - 1])
            check_pre_activations(z, l, params, X)
            if l < len(params):
                a.append(relu.rectified(z, out=z))
    return z, a


def backward(
    params: Params, a: list[Array], d_logits: Array, *, out: Sequence[Array | None] | None = None
) -> list[Array]:
    """Go down: d_z_{l-1} = d_z_l W_l^T where z_{l-1} > 0; returns [d_z_1, ..., d_z_L]; eq. (2)."""
    out = out or [None] * len(params)
    d_z = [d_logits]
    for l in range(len(params) - 1, 0, -1):  # params[l] is layer l + 1, above a_l
        d_a = dense.input_backward(params[l], d_z[-1], out=out[l - 1])
        d_z.append(relu.masked(d_a, a[l], out=d_a))
    return d_z[::-1]


def layer_backward(
    layer: Dense,
    a_below: Array,
    d_z: Array,
    weight_decay: float,
    *,
    out: Dense | None = None,
    decay_out: Array | None = None,
) -> Dense:
    """Compute d_W = a^T d_z + 2 weight_decay W and d_b = column sums of d_z; eq. (4)."""
    d_layer = dense.params_backward(a_below, d_z, out=out)
    penalty.add_backward(d_layer.weight, layer.weight, weight_decay, out=decay_out)
    return d_layer


def forward_and_backward(
    params: Params,
    X: Array,
    target: Array,
    row_weight: RowWeight,
    weight_decay: float,
    *,
    out: Arrays,
) -> tuple[np.floating[Any], Params]:
    """Go up and down: the loss, and d_W_l and d_b_l for each layer; eq. (1) to (4)."""
    z, a = forward(params, X, out=out.z)
    data_loss, kept = softmax_cross_entropy.forward((), z, target=target, row_weight=row_weight)
    _, d_logits = softmax_cross_entropy.backward((), kept)
    d_z = backward(params, a, d_logits, out=out.d_z)
    gradient = tuple(
        layer_backward(layer, a_below, d_z_l, weight_decay, out=d_layer, decay_out=decay)
        for layer, a_below, d_z_l, d_layer, decay in zip(
            params, a, d_z, out.gradient, out.decay, strict=True
        )
    )
    return data_loss + penalty.forward(params, weight_decay), gradient


def init_params(
    sizes: Sequence[int], *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64
) -> Params:
    """Draw random weights, and set the biases to zero.

    Weights have mean 0 and variance 2 / (fan_in + fan_out), twice that above a ReLU, which halves
    what comes in; eq. (6), after Glorot and Bengio (2010) and He et al. (2015).

    Args:
        sizes: D, the hidden widths, K: L + 1 numbers.
        rng: the random generator to draw from.
        dtype: float32 or float64.

    Returns:
        L layers, weights (fan_in, fan_out) and biases (fan_out,).

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
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

    a_0 = X, z_l = a_{l-1} W_l + b_l, a_l = max(z_l, 0); eq. (1).

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
    z, _ = forward(params, as_inputs(params, X))
    return z


def predict_proba(params: Params, X: npt.ArrayLike) -> Array:
    """Compute the probabilities of the classes, p = softmax(logits); softmax_cross_entropy.md (1).

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
    return softmax_cross_entropy.softmax(logits(params, X))


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

    L = -1/N sum_nk y_nk ln p_nk + weight_decay * sum_l ||W_l||^2; eq. (3). With weights w on the
    rows the mean is the weighted one, with w_n / sum_m w_m in place of 1/N;
    softmax_cross_entropy.md (9).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: the weights of the rows, (N,), none negative, or None for equal ones.
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
    blocks = _blocks(params, X, y, sample_weight, chunk_size)
    value = penalty.forward(params, weight_decay)
    for X_block, target, row_weight in blocks:
        z, _ = forward(params, X_block)
        log_p = softmax_cross_entropy.log_softmax(z)
        value += softmax_cross_entropy.cross_entropy(log_p, target, row_weight)
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
    """Compute the loss and its gradient in every weight and bias, by one pass up and one down.

    d_W_l = a_{l-1}^T d_z_l + 2 * weight_decay * W_l, d_b_l = column sums of d_z_l, where
    d_z_L = (p - y) / N and d_z_{l-1} = (d_z_l W_l^T) masked by z_{l-1} > 0; eq. (1) to (4).
    With weights on the rows it is w_n / sum_m w_m in place of 1/N; softmax_cross_entropy.md (10).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: the weights of the rows, (N,), none negative, or None for equal ones.
        chunk_size: how many rows to take at a time, adding up their gradients, or None for all at
            once. X and y may be arrays on disk (`numpy.memmap`), of which only a block is then in
            memory.
        workspace: arrays to write to, the gradient included, or None for new ones, and what
            computes: NumPy, or the loops that Numba compiles, the same up to rounding.

    Returns:
        The loss, as `loss` gives it, and the gradient, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `loss`, or the workspace does not fit.

    >>> zero = Dense(np.zeros((2, 4)), np.zeros(4))
    >>> _, (d_layer,) = loss_and_grad((zero,), [[1.0, 2.0]], [3])
    >>> d_layer.bias  # softmax(z) - y
    array([ 0.25,  0.25,  0.25, -0.75])
    """
    plain = sample_weight is None and chunk_size is None
    if plain and isinstance(workspace, Workspace) and workspace.backend == "numba":
        result = _compiled().at_once(params, X, y, weight_decay, workspace)
        if result is not None:
            return cast("tuple[np.floating[Any], Params]", result)
    params = checked_params(params, workspace)
    weight_decay = as_number(weight_decay, name="weight_decay", minimum=0)
    blocks = _blocks(params, X, y, sample_weight, chunk_size)
    first = next(blocks)
    N = len(first[0])
    out = arrays_of(workspace, params, N)
    by_numpy = workspace is None or workspace.backend == "numpy"
    compute = forward_and_backward if by_numpy else _compiled().forward_and_backward
    value, gradient = compute(params, *first, weight_decay, out=out)
    spare = None
    for block in blocks:  # without the penalty, which counts once
        spare = spare or new_arrays(params, N)
        out = spare.first_rows(len(block[0]))
        block_value, block_gradient = compute(params, *block, 0.0, out=out)
        value += block_value
        for layer, block_layer in zip(gradient, block_gradient, strict=True):
            for array, block_array in zip(layer, block_layer, strict=True):
                array += block_array
    return value, gradient


@functools.cache
def _compiled() -> Any:
    """Give what computes by the loops that Numba compiles."""
    from manual_nn.models import mlp_compiled  # noqa: PLC0415, it needs Numba

    return mlp_compiled


def _blocks(
    params: Params,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None,
    chunk_size: int | None,
) -> Iterator[tuple[Array, Array, RowWeight]]:
    """Check the batch, and divide it into blocks of inputs, targets and weights of the rows."""
    if chunk_size is not None:
        size = as_count(chunk_size, name="chunk_size")
        X = as_rows(params, X)
        if size < len(X):
            y = as_labels(params, len(X), y)
            row_weight = as_row_weight(params, len(X), sample_weight)
            starts = range(0, len(X), size)
            return (_block(params, X, y, row_weight, slice(i, i + size)) for i in starts)
    X = as_inputs(params, X)
    target = as_targets(params, len(X), y)
    return iter([(X, target, as_row_weight(params, len(X), sample_weight))])


def _block(
    params: Params,
    X: npt.NDArray[Any],
    y: npt.NDArray[Any],
    row_weight: RowWeight,
    rows: slice,
) -> tuple[Array, Array, RowWeight]:
    """Read one block of rows, and check what it holds while the numbers of its rows are known."""
    where = f"[{rows.start}:{rows.stop}]"
    X_block = as_inputs(params, X[rows], name=f"X{where}")
    check_finite(X_block, name=f"X{where}")
    target = as_targets(params, len(X_block), y[rows], name=f"y{where}")
    return X_block, target, row_weight[rows] if isinstance(row_weight, np.ndarray) else row_weight


def input_grad(
    params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0
) -> Array:
    """Compute the gradient of the mean loss in the inputs, d_X = d_z_1 W_1^T; eq. (5).

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
    z, a = forward(params, X)
    kept = softmax_cross_entropy.Kept(
        softmax_cross_entropy.softmax(z), target, as_row_weight(params, len(X), None)
    )
    _, d_logits = softmax_cross_entropy.backward((), kept)
    return dense.input_backward(params[0], backward(params, a, d_logits)[0])
