"""The sigmoid by JAX, from its definition."""

from typing import Any

import jax


def forward(params: tuple[()], x: Any) -> jax.Array:
    """1 / (1 + exp(-x)), by JAX's own function; of the shape of x."""
    del params
    return jax.nn.sigmoid(x)
