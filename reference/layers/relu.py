"""The rectified linear unit by JAX, whose derivative is 0 at 0. Axes: N rows, H units."""

from typing import Any

import jax


def forward(params: tuple[()], x: Any) -> jax.Array:  # noqa: ARG001, every layer has parameters
    """max(x, 0); (N, H)."""
    return jax.nn.relu(x)
