"""The squared error by JAX, from its definition."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: tuple[()], x: Any, *, target: Any) -> jax.Array:
    """The mean over all entries of (x - target)^2; a scalar."""
    del params
    return jnp.mean((x - target) ** 2)
