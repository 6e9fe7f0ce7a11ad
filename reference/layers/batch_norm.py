"""Batch normalisation by JAX, from its definition. Axes: N examples, `...` places, C channels."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any, *, running: Any = None, eps: float = 1e-5) -> jax.Array:
    """(x - mean) / sqrt(variance + eps) * weight + bias, the moments of each channel; (N, ..., C).

    The moments are `running`, a pair of (C,), or without it those of the batch.
    """
    rows = tuple(range(x.ndim - 1))
    if running is None:
        mean = jnp.mean(x, axis=rows, keepdims=True)
        variance = jnp.mean((x - mean) ** 2, axis=rows, keepdims=True)
    else:
        mean, variance = (jnp.expand_dims(moment, rows) for moment in running)
    weight, bias = (jnp.expand_dims(param, rows) for param in params)
    deviation = jnp.sqrt(variance + eps)
    normal = (x - mean) / deviation
    return normal * weight + bias
