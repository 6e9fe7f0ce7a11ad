"""Scaled dot-product attention: each query's mean of the values, weighted by how keys match it.

attention.md derives the equations. Axes: `...` any number of axes of batches and heads, T queries,
S keys with their values, D features of queries and keys, K features of values.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_floats, check_like, check_mask


class Inputs(NamedTuple):
    """The three inputs of the layer, in self-attention three maps of the same one."""

    query: Array  # (..., T, D)
    key: Array  # (..., S, D)
    value: Array  # (..., S, K)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs
    weights: Array  # (..., T, S), the softmax of the scores
    out: Array  # (..., T, K)
    scale: float


def forward(
    params: tuple[()],
    x: Inputs,
    *,
    causal: bool = False,
    mask: npt.NDArray[np.bool_] | None = None,
    scale: float | None = None,
) -> tuple[Array, Kept]:
    """Weight the values by the softmax of the scores, out = softmax(scale q k^T) v; eq. (1), (2).

    Args:
        params: there are none: ().
        x: query, (..., T, D), key, (..., S, D), and value, (..., S, K), of one dtype, float32 or
            float64.
        causal: let query t see the keys 0 to t alone.
        mask: True where a query sees a key, of a shape that broadcasts to (..., T, S); with
            `causal` a key is seen if both let it. A query that sees no key gets 0.
        scale: the factor of the scores, above 0; 1 / sqrt(D) by default.

    Returns:
        out, (..., T, K), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit.

    Source: Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762.

    >>> query, key = np.zeros((2, 1)), np.zeros((2, 1))
    >>> out, kept = forward((), Inputs(query, key, np.array([[2.0], [4.0]])), causal=True)
    >>> out
    array([[2.],
           [3.]])
    """
    _check_inputs(x)
    query, key, value = x
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    scale = as_number(scale, name="scale", minimum=0, strict=True)
    scores = scale * np.matmul(query, key.swapaxes(-1, -2))  # (..., T, S)
    if causal or mask is not None:
        np.copyto(scores, -np.inf, where=~_seen(scores.shape, causal=causal, mask=mask))
    weights = _softmax(scores)  # (..., T, S)
    out = np.matmul(weights, value)  # (..., T, K)
    return out, Kept(x, weights, out, scale)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Inputs]:
    """Go back through values, softmax and scores; eq. (3) to (6).

    With d_weights = d_out v^T the scores get d_scores = weights * (d_weights - <d_out, out>), the
    inner product being that of each query's row; then d_q = scale d_scores k, d_k = scale
    d_scores^T q, and d_v = weights^T d_out.

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (..., T, K), the derivative of the loss with respect to out.

    Returns:
        (), and d_x, shaped like x. In self-attention the gradient of what was the input of all
        three maps is the sum of the three.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    (query, key, value), weights, out, scale = kept
    check_like(d_out, out.shape, out.dtype, name="d_out", like="out")
    d_value = np.matmul(weights.swapaxes(-1, -2), d_out)  # (..., S, K)
    d_weights = np.matmul(d_out, value.swapaxes(-1, -2))  # (..., T, S)
    along = (d_out * out).sum(axis=-1, keepdims=True)  # (..., T, 1)
    d_scores = scale * (weights * (d_weights - along))  # (..., T, S)
    d_query = np.matmul(d_scores, key)  # (..., T, D)
    d_key = np.matmul(d_scores.swapaxes(-1, -2), query)  # (..., S, D)
    return (), Inputs(d_query, d_key, d_value)


def _softmax(scores: Array) -> Array:
    """Compute exp(z - m) / sum exp(z - m), m each row's largest, in place of the scores z; eq. (1).

    A row in which all scores are -inf becomes 0.
    """
    largest = scores.max(axis=-1, keepdims=True)
    scores -= np.maximum(largest, np.finfo(scores.dtype).min)  # -inf - -inf would be NaN
    exps = np.exp(scores, out=scores)
    total = exps.sum(axis=-1, keepdims=True)
    exps /= np.maximum(total, 1)  # which it is but where no key is seen, for exp(0) is in it
    return exps


def _seen(
    shape: tuple[int, ...], *, causal: bool, mask: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_]:
    """Say which keys each query sees, in a shape that broadcasts to that of the scores."""
    seen: Any = np.tri(*shape[-2:], dtype=bool) if causal else np.True_
    if mask is None:
        return seen
    check_mask(mask, shape, like="the scores")
    return seen & mask


def _check_inputs(x: Inputs) -> None:
    """Check that query, key and value are of one dtype and fit each other."""
    query, key, value = x
    check_floats(query, name="x.query", ndim=2)
    for name, array in (("x.key", key), ("x.value", value)):
        check_floats(array, name=name, ndim=2)
        if array.dtype != query.dtype:
            raise TypeError(f"{name} must be {query.dtype} like x.query, got {array.dtype}")
    shape = (*query.shape[:-2], *key.shape[-2:-1], query.shape[-1])
    check_like(key, shape, query.dtype, name="x.key", like="x.query")
    shape = (*key.shape[:-1], value.shape[-1])
    check_like(value, shape, query.dtype, name="x.value", like="x.key")
