"""A mixture of experts by JAX, from its definition: all experts of all tokens, times their gates.

Axes: `...` tokens, D features, E experts, H units of an expert.
"""

from typing import Any

import jax
import jax.numpy as jnp


def forward(params: Any, x: Any, *, top_k: int, renormalise: bool = True) -> jax.Array:
    """sum_e p_e f_e(x) over the top_k largest logits, the first of equal ones; (..., D)."""
    router, weight_up, bias_up, weight_down, bias_down = params
    logits = x @ router
    _, first = jax.lax.top_k(logits, top_k)
    chosen = jnp.any(jax.nn.one_hot(first, logits.shape[-1], dtype=bool), axis=-2)
    p = jax.nn.softmax(jnp.where(chosen, logits, -jnp.inf) if renormalise else logits, axis=-1)
    p = jnp.where(chosen, p, 0.0)
    z = jnp.einsum("...d,edh->...eh", x, weight_up) + jnp.expand_dims(bias_up, range(x.ndim - 1))
    f = jnp.einsum("...eh,ehd->...ed", jax.nn.silu(z), weight_down)
    f += jnp.expand_dims(bias_down, range(x.ndim - 1))
    return jnp.sum(jnp.expand_dims(p, -1) * f, axis=-2)
