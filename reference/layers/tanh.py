"""The hyperbolic tangent by JAX, from its definition."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: tuple[()], x: Any) -> jax.Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)), by JAX's own function; of the shape of x."""
    del params
    return jnp.tanh(x)
