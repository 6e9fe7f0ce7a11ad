"""Scaled dot-product attention by JAX, from its definition.

Axes: `...` batches and heads, T queries, S keys, D features of queries and keys, K of values.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp


def forward(
    params: tuple[()],
    x: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    dropout_mask: Any = None,
    dropout_rate: float = 0.0,
) -> jax.Array:
    """softmax(scale q k^T) v over the keys that each query sees, 0 if none; (..., T, K).

    Of fewer heads of keys than of queries each stands for as many in a row as make up the number.
    What dropout leaves of the softmax is divided by the probability of staying.
    """
    del params
    query, key, value = x
    if query.ndim > 2 and query.shape[-3] != key.shape[-3]:
        key, value = (jnp.repeat(y, query.shape[-3] // y.shape[-3], axis=-3) for y in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = scale * (query @ jnp.swapaxes(key, -1, -2))
    seen = jnp.ones(scores.shape, bool)
    if causal:
        seen = jnp.tril(seen)
    if mask is not None:
        seen &= jnp.broadcast_to(mask, scores.shape)
    some = jnp.any(seen, axis=-1, keepdims=True)  # else softmax would be NaN, and its gradient
    weights = jax.nn.softmax(jnp.where(seen | ~some, scores, -jnp.inf), axis=-1)
    weights = jnp.where(some, weights, 0.0)
    if dropout_mask is not None:
        stays = jnp.broadcast_to(dropout_mask, scores.shape)
        weights = jnp.where(stays, weights / (1 - dropout_rate), 0.0)
    return weights @ value
