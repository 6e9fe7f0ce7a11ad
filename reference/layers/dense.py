"""The dense layer by JAX, from its definition. Axes: `...` rows, fan_in inputs, fan_out outputs."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any) -> jax.Array:
    """x W + b; (..., fan_out)."""
    weight, bias = params
    z: jax.Array = x @ weight + jnp.expand_dims(bias, range(x.ndim - 1))
    return z
