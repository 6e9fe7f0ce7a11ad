"""Scaled dot-product attention: each query's mean of the values, weighted by how keys match it.

attention.md derives the equations. Axes: `...` any number of axes of batches and, as the last of
them, heads, T queries, S keys with their values, D features of queries and keys, K features of
values. Where fewer heads of keys than of queries are given, each is seen by a group of G heads of
queries, and `...` stands for (..., heads of keys, G) within a pass.
"""

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool, as_number
from manual_nn.checks.arrays import check_fields, check_floats, check_like, check_mask
from manual_nn.layers import dropout

Mask: TypeAlias = npt.NDArray[np.bool_]


class Inputs(NamedTuple):
    """The three inputs of the layer, in self-attention three maps of the same one."""

    query: Array  # (..., T, D)
    key: Array  # (..., S, D)
    value: Array  # (..., S, K)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs
    weights: Array  # (..., T, S), the softmax of the scores
    scale: float
    dropout_mask: Mask | None  # (..., T, S)
    dropout_rate: float


def forward(
    params: tuple[()],
    x: Inputs,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    scale: float | None = None,
    dropout_mask: Mask | None = None,
    dropout_rate: float = 0.0,
) -> tuple[Array, Kept]:
    """Weight the values by the softmax of the scores, out = softmax(scale q k^T) v; eq. (1), (2).

    With dropout, some of the weights are 0 and the others grow; eq. (7).

    Args:
        params: there are none: ().
        x: query, (..., T, D), key, (..., S, D), and value, (..., S, K), of one dtype, float32 or
            float64. The heads of keys and values, the axis before S, may be fewer: with H / G of
            them query head h sees head h // G, rounded down.
        causal: let query t see the keys 0 to t alone.
        mask: True where a query sees a key, of a shape that broadcasts to (..., T, S); with
            `causal` a key is seen if both let it. A query that sees no key gets 0.
        scale: the factor of the scores, above 0; 1 / sqrt(D) by default.
        dropout_mask: True for the weights that stay, of a shape that broadcasts to (..., T, S);
            `dropout.draw_mask` makes one. In evaluation None.
        dropout_rate: the probability with which a weight was dropped, from 0 to below 1; without a
            mask 0.

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
    causal = as_bool(causal, name="causal")
    scale, dropout_rate = checked(x, mask, scale, dropout_mask, dropout_rate)
    query, key, value = in_groups(x)  # (..., T, D), (..., S, D), (..., S, K)
    mask, dropout_mask = mask_in_groups(mask, x), mask_in_groups(dropout_mask, x)
    scores = np.matmul(query, key.swapaxes(-1, -2))  # (..., T, S)
    scores *= scale
    if causal or mask is not None:
        np.copyto(scores, -np.inf, where=~_seen(scores.shape, causal=causal, mask=mask))
    weights = _softmax(scores)  # (..., T, S)
    out = np.matmul(dropped(weights, dropout_mask, dropout_rate), value)  # (..., T, K)
    out = out.reshape(*x.query.shape[:-1], -1)
    return out, Kept(x, weights, scale, dropout_mask, dropout_rate)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Inputs]:
    """Go back through values, softmax and scores; eq. (3) to (6), (8), (9).

    With d_weights = d_out v^T the scores get d_scores = weights * (d_weights - <weights,
    d_weights>), the inner product being that of each query's row; then d_q = scale d_scores k,
    d_k = scale d_scores^T q, and d_v = weights^T d_out. Dropout does with d_weights what it did
    with weights, and keys and values get the sum over the heads of queries that see them.

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
    x, weights, scale, mask, rate = kept
    shape = *x.query.shape[:-1], x.value.shape[-1]
    check_like(d_out, shape, x.value.dtype, name="d_out", like="out")
    query, key, value = in_groups(x)  # (..., T, D), (..., S, D), (..., S, K)
    d_out = d_out.reshape(*query.shape[:-1], -1)  # (..., T, K)
    d_value = np.matmul(dropped(weights, mask, rate).swapaxes(-1, -2), d_out)  # (..., S, K)
    d_weights = dropped(np.matmul(d_out, value.swapaxes(-1, -2)), mask, rate)  # (..., T, S)
    d_weights -= np.vecdot(weights, d_weights)[..., np.newaxis]
    d_scores = np.multiply(weights, d_weights, out=d_weights)  # (..., T, S)
    d_query = np.matmul(d_scores, key)  # (..., T, D)
    d_query *= scale
    d_key = np.matmul(d_scores.swapaxes(-1, -2), query)  # (..., S, D)
    d_key *= scale
    return (), out_of_groups(Inputs(d_query, d_key, d_value), x)


def checked(
    x: Inputs,
    mask: Mask | None,
    scale: float | None,
    dropout_mask: Mask | None,
    dropout_rate: float,
) -> tuple[float, float]:
    """Check what `forward` is given, and give the scale and the dropout's rate; eq. (1), (7)."""
    check_inputs(x)
    for name, given in (("mask", mask), ("dropout_mask", dropout_mask)):
        if given is not None:
            check_mask(given, scores_shape(x), like="the scores", name=name)
    dropout_rate = dropout.as_rate(dropout_rate, name="dropout_rate")
    if dropout_rate and dropout_mask is None:
        raise ValueError(f"dropout_rate must be 0 without a dropout_mask, got {dropout_rate:g}")
    return as_scale(scale, x.query), dropout_rate


def in_groups(x: Inputs) -> Inputs:
    """Give each group of heads an axis of its own; eq. (8).

    Queries become (..., H / G, G, T, D) and keys (..., H / G, 1, S, D). Nothing changes where each
    head has its own keys.
    """
    query, key, value = x
    if query.shape[:-2] == key.shape[:-2]:
        return x
    query = query.reshape(*key.shape[:-2], -1, *query.shape[-2:])
    return Inputs(query, np.expand_dims(key, -3), np.expand_dims(value, -3))


def out_of_groups(d_x: Inputs, x: Inputs) -> Inputs:
    """Add up what the heads of a group give to its keys and values; eq. (9)."""
    d_query, d_key, d_value = d_x
    if d_query.shape == x.query.shape:
        return d_x
    return Inputs(d_query.reshape(x.query.shape), d_key.sum(axis=-3), d_value.sum(axis=-3))


def mask_in_groups(mask: Mask | None, x: Inputs) -> Mask | None:
    """Give a mask of all heads' scores the axes that `in_groups` gives the queries; eq. (8)."""
    if mask is None or mask.ndim < 3 or x.query.shape[:-2] == x.key.shape[:-2]:
        return mask
    heads = (1, 1) if mask.shape[-3] == 1 else (x.key.shape[-3], -1)
    return mask.reshape(*mask.shape[:-3], *heads, *mask.shape[-2:])


def dropped(weights: Array, mask: Mask | None, rate: float) -> Array:
    """Drop weights, or their gradients, where a mask is given; eq. (7)."""
    return weights if mask is None else dropout.forward((), weights, mask=mask, rate=rate)[0]


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


def _seen(shape: tuple[int, ...], *, causal: bool, mask: Mask | None) -> Mask:
    """Say which keys each query sees, in a shape that broadcasts to that of the scores."""
    seen: Any = np.tri(*shape[-2:], dtype=bool) if causal else np.True_
    return seen if mask is None else seen & mask


def scores_shape(x: Inputs) -> tuple[int, ...]:
    """Give the shape of the scores of all heads, (..., T, S); eq. (1)."""
    return *x.query.shape[:-1], x.key.shape[-2]


def as_scale(scale: object, query: Array) -> float:
    """Check the factor of the scores, or take 1 / sqrt(D); eq. (1)."""
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    return as_number(scale, name="scale", minimum=0, strict=True)


def check_inputs(x: Inputs) -> None:
    """Check that query, key and value are of one dtype and fit each other; eq. (1), (2)."""
    check_fields(x, Inputs, name="x")
    query, key, value = x
    check_floats(query, name="x.query", ndim=2)
    for name, array in (("x.key", key), ("x.value", value)):
        check_floats(array, name=name, ndim=2)
        if array.dtype != query.dtype:
            raise TypeError(f"{name} must be {query.dtype} like x.query, got {array.dtype}")
    outer, S = query.shape[:-2], key.shape[-2]
    if query.ndim == key.ndim > 2 and outer[-1] % key.shape[-3] == 0:
        outer = (*outer[:-1], key.shape[-3])  # fewer heads of keys
    check_like(key, (*outer, S, query.shape[-1]), query.dtype, name="x.key", like="x.query")
    check_like(value, (*outer, S, value.shape[-1]), query.dtype, name="x.value", like="x.key")
