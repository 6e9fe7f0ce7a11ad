"""Layer normalisation by JAX, from its definition. Axes: `...` rows, D features."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any, *, eps: float = 1e-5) -> jax.Array:
    """(x - mean) / sqrt(variance + eps) * weight + bias, the moments of each row; (..., D)."""
    weight, bias = (jnp.expand_dims(param, range(x.ndim - 1)) for param in params)
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean((x - mean) ** 2, axis=-1, keepdims=True)
    deviation = jnp.sqrt(variance + eps)
    normal = (x - mean) / deviation
    return normal * weight + bias
