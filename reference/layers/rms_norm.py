"""RMS normalisation by JAX, from its definition. Axes: `...` rows, D features."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any, *, eps: float = 1e-6) -> jax.Array:
    """x / sqrt(mean(x^2) + eps) * weight, with the mean square of each row; (..., D)."""
    (weight,) = params
    rms = jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + eps)
    normal = x / rms
    return normal * jnp.expand_dims(weight, range(x.ndim - 1))
