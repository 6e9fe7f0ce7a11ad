"""GRU by JAX, from its definition. Axes: N examples, T steps, D features, H units."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def forward(params: Any, x: Any, *, lengths: Any = None) -> jax.Array:
    """The output of each step, 0 after the end of a sequence; (N, T, H)."""
    weight, recurrent_weight, bias, recurrent_bias = params
    sequence, h = x
    N, T, _ = sequence.shape
    within = np.arange(T) < (np.full(N, T) if lengths is None else lengths)[:, None]  # (N, T)
    sequence = jnp.where(np.broadcast_to(within[..., None], sequence.shape), sequence, 0.0)
    outs = []
    for t in range(T):
        x_r, x_u, x_n = jnp.split(sequence[:, t] @ weight + bias[None], 3, axis=-1)
        h_r, h_u, h_n = jnp.split(h @ recurrent_weight, 3, axis=-1)
        r, u = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_u + h_u)
        n = jnp.tanh(x_n + r * (h_n + recurrent_bias[None]))
        now = np.broadcast_to(within[:, t, None], h.shape)
        h = jnp.where(now, (1 - u) * n + u * h, h)
        outs.append(jnp.where(now, h, 0.0))
    return jnp.stack(outs, axis=1)
