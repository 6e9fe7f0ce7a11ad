"""Embedding by JAX, from its definition. Axes: `...` places, V tokens, D features."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any, *, padding_idx: int | None = None) -> jax.Array:
    """The row of each token, without a gradient for that of padding_idx; (..., D)."""
    (weight,) = params
    if padding_idx is not None:
        is_padding = jnp.expand_dims(jnp.arange(len(weight)) == padding_idx, 1)
        weight = jnp.where(is_padding, jax.lax.stop_gradient(weight), weight)
    return weight[x]
