"""The binary cross-entropy of logits by JAX, from its definition. Axes: `...`, C classes."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: tuple[()], x: Any, *, target: Any, pos_weight: Any = 1.0) -> jax.Array:
    """The mean of -(pos_weight t ln p + (1 - t) ln(1 - p)), p = sigmoid(x); a scalar."""
    del params
    weight = jnp.broadcast_to(jnp.asarray(pos_weight, x.dtype), x.shape)
    present, absent = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
    return -jnp.mean(weight * target * present + (1 - target) * absent)
