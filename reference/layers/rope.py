"""Rotary position embedding by JAX, from its definition.

Axes: `...` batches and heads, T places, D features.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def forward(
    params: tuple[()],
    x: Any,
    *,
    positions: Any = None,
    base: float = 10000.0,
    halves: bool = False,
) -> jax.Array:
    """Each pair of features times the matrix of its rotation; (..., T, D)."""
    del params
    *_, T, D = x.shape
    positions = np.arange(T) if positions is None else positions
    angles = np.asarray(positions)[..., None] * base ** (-2 * np.arange(D // 2) / D)
    cos, sin = np.cos(angles), np.sin(angles)  # (..., T, D / 2)
    rotations = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    pairs = jnp.reshape(x, (*x.shape[:-1], 2, D // 2) if halves else (*x.shape[:-1], D // 2, 2))
    if halves:
        pairs = jnp.swapaxes(pairs, -1, -2)
    rotations = np.broadcast_to(rotations, (*pairs.shape, 2))
    turned = jnp.sum(jnp.asarray(rotations, x.dtype) * pairs[..., None, :], axis=-1)
    if halves:
        turned = jnp.swapaxes(turned, -1, -2)
    return jnp.reshape(turned, x.shape)
