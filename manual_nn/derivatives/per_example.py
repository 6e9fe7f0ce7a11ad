"""Gradients of single rows: all of them, their norms alone, and the mean of the clipped ones.

A row's gradient is that of its own cross-entropy, without the penalty and without the 1/N of the
batch. In a dense layer it is an outer product, eq. (2), which is why its norm, and a weighted mean
of the rows' gradients, need no array with a weight for every row. Axes: N rows in the batch,
D inputs, K classes.
"""

import functools

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.layers import dense, softmax_cross_entropy
from manual_nn.layers.dense import Dense, Params
from manual_nn.layers.softmax_cross_entropy import softmax
from manual_nn.models import mlp
from manual_nn.models.arguments import as_batch


def per_example_grads(params: Params, X: npt.ArrayLike, y: npt.ArrayLike) -> Params:
    """Compute the gradient of every row's own cross-entropy.

    d_W_l of row n is the outer product of row n of a_{l-1} and row n of d_z_l, d_b_l that row of
    d_z_l, where d_z_L = p - y; eq. (1), (2). Their mean over the rows is the batch's gradient.

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).

    Returns:
        The gradients, shaped like `params` with an axis of the N rows before the others.

    Raises:
        TypeError, ValueError: as for `loss`.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))
    >>> ((d_weight, d_bias),) = per_example_grads((zero,), [[2.0], [4.0]], [0, 1])
    >>> d_weight[:, 0]
    array([[-1.,  1.],
           [ 2., -2.]])
    >>> d_bias
    array([[-0.5,  0.5],
           [ 0.5, -0.5]])
    """
    params, X, target, _ = as_batch(params, X, y)
    a, d_z = _rows(params, X, target)
    return tuple(
        Dense(np.einsum("ni,nj->nij", a_below, d_z_l), d_z_l)
        for a_below, d_z_l in zip(a, d_z, strict=True)
    )


def per_example_grad_norms(params: Params, X: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """Compute the Euclidean norm of every row's gradient, without forming any of them.

    ||g_n||^2 = sum_l ||d_z_l||^2 (||a_{l-1}||^2 + 1), of row n of each; eq. (3), after Goodfellow
    (2015).

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).

    Returns:
        The norms over all weights and biases, (N,), of the gradients as `per_example_grads` has
        them.

    Raises:
        TypeError, ValueError: as for `loss`.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))  # d_z = (-1/2, 1/2) and the opposite
    >>> per_example_grad_norms((zero,), [[1.0], [7.0]], [0, 1])
    array([1., 5.])
    """
    params, X, target, _ = as_batch(params, X, y)
    return _norms(_layer_norms(*_rows(params, X, target)))


def clipped_grad(params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, max_norm: float) -> Params:
    """Compute the mean of the rows' gradients, each scaled down to a norm of at most max_norm.

    1/N sum_n min(1, max_norm / ||g_n||) g_n, where g_n is the gradient of row n over all weights
    and biases; eq. (4), (5): what private training adds its noise to (Abadi et al., 2016). One
    pass finds the norms, a second one sums; neither forms a row's gradient.

    Args:
        params: the layers, float32 or float64.
        X: the inputs, (N, D).
        y: class numbers, (N,), or target probabilities, (N, K).
        max_norm: the largest norm that a row's gradient keeps, above 0.

    Returns:
        The mean, shaped like `params`. It has no penalty.

    Raises:
        TypeError: as for `loss`, or max_norm is not a real number.
        ValueError: as for `loss`, or max_norm is not above 0 and finite.

    >>> zero = Dense(np.zeros((1, 2)), np.zeros(2))  # norms 1 and 5
    >>> ((d_weight, _),) = clipped_grad((zero,), [[1.0], [7.0]], [0, 1], max_norm=2.5)
    >>> d_weight  # the mean of (-1/2, 1/2) and (7/2, -7/2) / 2
    array([[ 0.625, -0.625]])
    """
    params, X, target, _ = as_batch(params, X, y)
    max_norm = as_number(max_norm, name="max_norm", minimum=0, strict=True)
    a, d_z = _rows(params, X, target)
    held = np.finfo(X.dtype)
    limit = X.dtype.type(np.clip(max_norm, float(held.smallest_subnormal), float(held.max)))
    norms = _layer_norms(a, d_z)
    scale = limit / np.maximum(_norms(norms), limit)[:, None] / len(X)  # (N, 1)
    clipped = []
    for a_below, d_z_l, (a_norms, d_z_norms) in zip(a, d_z, norms, strict=True):
        # in each row the larger factor is scaled: below the normal numbers it would lose digits
        on_a = (a_norms > d_z_norms)[:, None]
        scaled_a, scaled_d_z = np.where(on_a, scale, 1) * a_below, np.where(on_a, 1, scale) * d_z_l
        d_weight = dense.weight_backward(scaled_a, scaled_d_z)
        clipped.append(Dense(d_weight, (scale * d_z_l).sum(axis=0)))
    return tuple(clipped)


def _rows(params: Params, X: Array, target: Array) -> tuple[list[Array], list[Array]]:
    """Go up and down: [a_0, ..., a_{L-1}], and [d_z_1, ..., d_z_L] of each row's own loss.

    eq. (1), softmax_cross_entropy.md (5).
    """
    z, a = mlp.forward(params, X)
    kept = softmax_cross_entropy.Kept(softmax(z), target, z.dtype.type(1))
    _, d_logits = softmax_cross_entropy.backward((), kept)  # (N, K)
    return a, mlp.backward(params, a, d_logits)


def _layer_norms(a: list[Array], d_z: list[Array]) -> list[tuple[Array, Array]]:
    """||a_{l-1}|| and ||d_z_l|| of each row, (N,), for each layer."""
    return [(_row_norms(a_below), _row_norms(d_z_l)) for a_below, d_z_l in zip(a, d_z, strict=True)]


def _norms(layer_norms: list[tuple[Array, Array]]) -> Array:
    """||g_n||, the root of sum_l ||d_z_l||^2 (||a_{l-1}||^2 + 1), (N,), eq. (3)."""
    layers = (d_z_norms * np.hypot(a_norms, 1) for a_norms, d_z_norms in layer_norms)
    return functools.reduce(np.hypot, layers)


def _row_norms(x: Array) -> Array:
    """||x_n||, (N,)."""
    held = np.finfo(x.dtype)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.vecdot(x, x)
    # a square below the normal numbers may be lost: here, within the rounding of the sum
    if squares.min() >= x.shape[1] * held.tiny / held.eps and squares.max() < np.inf:
        return np.sqrt(squares)
    # otherwise take the rows times a power of 2, which keeps their squares in range
    largest = np.maximum(x.max(axis=1), -x.min(axis=1))
    exponent = np.maximum(np.frexp(largest)[1], held.minexp)
    scaled = x * np.ldexp(x.dtype.type(1), -exponent)[:, None]
    return np.ldexp(np.sqrt(np.vecdot(scaled, scaled)), exponent)
