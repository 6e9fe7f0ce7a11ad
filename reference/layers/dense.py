"""The dense layer by JAX, from its definition. Axes: N rows, fan_in inputs, fan_out outputs."""

from typing import Any

import jax


def forward(params: Any, x: Any) -> jax.Array:
    """x W + b; (N, fan_out)."""
    weight, bias = params
    z: jax.Array = x @ weight + bias[None, :]
    return z
