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
) -> jax.Array:
    """softmax(scale q k^T) v over the keys that each query sees, 0 if none; (..., T, K)."""
    del params
    query, key, value = x
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = scale * (query @ jnp.swapaxes(key, -1, -2))
    seen = jnp.ones(scores.shape, bool)
    if causal:
        seen = jnp.tril(seen)
    if mask is not None:
        seen &= jnp.broadcast_to(mask, scores.shape)
    some = jnp.any(seen, axis=-1, keepdims=True)  # else softmax would be NaN, and its gradient
    weights = jax.nn.softmax(jnp.where(seen | ~some, scores, -jnp.inf), axis=-1)
    return jnp.where(some, weights, 0.0) @ value
