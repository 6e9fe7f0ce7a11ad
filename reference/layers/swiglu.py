"""SwiGLU by JAX, from its definition."""

from typing import Any

import jax


def forward(params: tuple[()], x: Any) -> jax.Array:
    """gate sigmoid(gate) value; of the shape of both."""
    del params
    gate, value = x
    return gate * jax.nn.sigmoid(gate) * value
