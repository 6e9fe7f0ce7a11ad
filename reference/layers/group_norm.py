"""Group normalisation by JAX, from its definition. Axes: N examples, `...` places, C channels."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any, *, groups: int, eps: float = 1e-5) -> jax.Array:
    """Group by group (x - mean) / sqrt(variance + eps), then weight and bias; (N, ..., C)."""
    inner = tuple(range(1, x.ndim))
    parts = []
    for part in jnp.split(x, groups, axis=-1):
        mean = jnp.mean(part, axis=inner, keepdims=True)
        variance = jnp.mean((part - mean) ** 2, axis=inner, keepdims=True)
        deviation = jnp.sqrt(variance + eps)
        parts.append((part - mean) / deviation)
    weight, bias = (jnp.expand_dims(param, range(x.ndim - 1)) for param in params)
    normal = jnp.concatenate(parts, axis=-1)
    return normal * weight + bias
