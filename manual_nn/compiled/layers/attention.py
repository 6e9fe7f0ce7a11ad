"""Scaled dot-product attention, a block of queries at a time, whose scores the cache holds.

With `causal` the products leave out the keys that no query of the block sees. Axes: `...` any
number of axes of batches and, as the last of them, heads, T queries, S keys with their values, D
features of queries and keys, K features of values; in the compiled code H heads of keys, each with
G heads of queries, and B queries of a block.
"""

from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool
from manual_nn.checks.arrays import check_like
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.products import product
from manual_nn.compiled.reductions import exponentials, largest_of, sum_of_products
from manual_nn.layers.attention import Inputs, Mask, checked, scores_shape

__all__ = ["Inputs", "Kept", "Mask", "backward", "forward"]


BLOCK = 64  # queries
NONE = np.empty((0, 0, 0, 0), bool)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs
    weights: Array  # (..., T, S), the softmax of the scores
    scale: float
    causal: bool
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
    """Weight the values by the softmax of the scores; attention.md (1), (2), (7), (8).

    >>> query, key = np.zeros((2, 1)), np.zeros((2, 1))
    >>> out, kept = forward((), Inputs(query, key, np.array([[2.0], [4.0]])), causal=True)
    >>> out
    array([[2.],
           [3.]])
    """
    causal = as_bool(causal, name="causal")
    scale, dropout_rate = checked(x, mask, scale, dropout_mask, dropout_rate)
    query, key, value = _by_heads(x)
    weights = np.empty((*query.shape[:3], key.shape[1]), query.dtype)  # (H, G, T, S)
    out = np.empty((*query.shape[:3], value.shape[2]), query.dtype)  # (H, G, T, K)
    stays, factor = _as_mask(dropout_mask, x), 1 / (1 - dropout_rate)
    _attend(query, key, value, causal, _as_mask(mask, x), scale, stays, factor, weights, out)
    kept = Kept(x, weights.reshape(scores_shape(x)), scale, causal, dropout_mask, dropout_rate)
    return out.reshape(*x.query.shape[:-1], -1), kept


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Inputs]:
    """Go back through values, softmax and scores; attention.md (3) to (6), (7), (9)."""
    x, weights, scale, causal, dropout_mask, dropout_rate = kept
    shape = *x.query.shape[:-1], x.value.shape[-1]
    check_like(d_out, shape, x.value.dtype, name="d_out", like="out")
    query, key, value = _by_heads(x)
    d_x = Inputs(np.empty_like(query), np.zeros_like(key), np.zeros_like(value))
    _attend_backward(
        query,
        key,
        value,
        weights.reshape(*query.shape[:3], -1),
        causal,
        scale,
        _as_mask(dropout_mask, x),
        1 / (1 - dropout_rate),
        in_order(d_out).reshape(*query.shape[:3], -1),
        *d_x,
    )
    return (), Inputs(*(d.reshape(part.shape) for d, part in zip(d_x, x, strict=True)))


def _by_heads(x: Inputs) -> Inputs:
    """Lay all heads of keys along one axis, as (H, G, T, D), (H, S, D) and (H, S, K); (8)."""
    query, key, value = map(in_order, x)
    key, value = (part.reshape(-1, *part.shape[-2:]) for part in (key, value))
    return Inputs(query.reshape(len(key), -1, *query.shape[-2:]), key, value)


def _as_mask(mask: Mask | None, x: Inputs) -> Mask:
    """Lay the heads of a mask likewise, (H, G, T, S), of which all but S may be 1."""
    if mask is None:
        return NONE
    *heads, _, S = scores_shape(x)
    rows = 1 if mask.ndim < 2 else mask.shape[-2]
    if mask.ndim < 3 or mask.size == mask.shape[-2] * mask.shape[-1]:
        alike = np.broadcast_to(mask, (*[1] * len(heads), rows, S))
        return np.array(alike.reshape(1, 1, rows, S), order="C")
    each = np.broadcast_to(mask, (*heads, rows, S))
    return np.array(each, order="C").reshape(-1, x.query.shape[-3] // x.key.shape[-3], rows, S)


@compiled
def _attend(
    query: Array,
    key: Array,
    value: Array,
    causal: bool,  # noqa: FBT001, Numba passes by position
    mask: Mask,
    scale: float,
    stays: Mask,
    factor: float,
    weights: Array,
    out: Array,
) -> None:
    H, G, T, S = weights.shape
    room = np.empty(min(BLOCK, T) * S, query.dtype)
    for h in range(H):
        for g in range(G):
            for start in range(0, T, BLOCK):
                stop = min(start + BLOCK, T)
                seen = min(S, stop) if causal else S
                scores = room[: (stop - start) * seen].reshape(stop - start, seen)  # (B, S)
                product(query[h, g, start:stop], key[h, :seen].T, scale, 0.0, scores)  # (1)
                for t in range(start, stop):
                    z, p = scores[t - start], weights[h, g, t]
                    if causal:
                        z[t + 1 :] = -np.inf
                    if mask.size > 0:
                        _hide(_row_of(mask, h, g, t), z)
                    p[seen:] = 0
                    _softmax_of_seen(z, p[:seen])
                    copy(p[:seen], z)
                    if stays.size > 0:
                        _drop(_row_of(stays, h, g, t), factor, z)  # (7)
                product(scores, value[h, :seen], 1.0, 0.0, out[h, g, start:stop])  # (2)


@compiled
def _attend_backward(
    query: Array,
    key: Array,
    value: Array,
    weights: Array,
    causal: bool,  # noqa: FBT001, Numba passes by position
    scale: float,
    stays: Mask,
    factor: float,
    d_out: Array,
    d_query: Array,
    d_key: Array,
    d_value: Array,
) -> None:
    H, G, T, S = weights.shape
    room, d_room = (
        np.empty(min(BLOCK, T) * S, query.dtype),
        np.empty(min(BLOCK, T) * S, query.dtype),
    )
    for h in range(H):
        for g in range(G):
            for start in range(0, T, BLOCK):
                stop = min(start + BLOCK, T)
                seen = min(S, stop) if causal else S
                left = room[: (stop - start) * seen].reshape(stop - start, seen)  # (B, S)
                d_scores = d_room[: (stop - start) * seen].reshape(stop - start, seen)  # (B, S)
                product(d_out[h, g, start:stop], value[h, :seen].T, 1.0, 0.0, d_scores)  # (4)
                for t in range(start, stop):
                    p, d_p = weights[h, g, t, :seen], d_scores[t - start]
                    copy(p, left[t - start])
                    if stays.size > 0:
                        _drop(_row_of(stays, h, g, t), factor, left[t - start])  # (7)
                        _drop(_row_of(stays, h, g, t), factor, d_p)  # (7)
                    mean = d_p.dtype.type(sum_of_products(p, d_p))
                    for s in range(seen):
                        d_p[s] = p[s] * (d_p[s] - mean)  # (5)
                product(left.T, d_out[h, g, start:stop], 1.0, 1.0, d_value[h, :seen])  # (3), (9)
                product(d_scores, key[h, :seen], scale, 0.0, d_query[h, g, start:stop])  # (6)
                product(
                    d_scores.T, query[h, g, start:stop], scale, 1.0, d_key[h, :seen]
                )  # (6), (9)


@compiled
def _row_of(mask: Mask, h: int, g: int, t: int) -> Mask:
    """Give the row of a query in a mask, whose axes of length 1 stand for all."""
    H, G, T, _ = mask.shape
    return mask[h if H > 1 else 0, g if G > 1 else 0, t if T > 1 else 0]


@compiled
def _hide(seen: Mask, z: Array) -> None:
    """Give the keys that are not seen the score -infinity; (1)."""
    for s in range(len(z)):
        if not seen[s]:
            z[s] = -np.inf


@compiled
def _drop(stays: Mask, factor: float, p: Array) -> None:
    """Multiply the weights that stay, or their gradients, and drop the others; (7)."""
    grown, zero = p.dtype.type(factor), p.dtype.type(0)
    for s in range(len(p)):
        p[s] = grown * p[s] if stays[s] else zero


@compiled
def _softmax_of_seen(z: Array, p: Array) -> None:
    """Write the softmax of the scores to p, which is 0 where all of them are -infinity; (1)."""
    m = largest_of(z)
    if m == -np.inf:
        p[:] = 0
        return
    total = exponentials(z, m, p)
    for s in range(len(p)):
        p[s] = p[s] / total
