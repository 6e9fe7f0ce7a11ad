"""LSTM by JAX, from its definition. Axes: N examples, T steps, D features, H units."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def forward(params: Any, x: Any, *, lengths: Any = None) -> jax.Array:
    """The output of each step, 0 after the end of a sequence; (N, T, H)."""
    weight, recurrent_weight, bias = params
    sequence, (h, c) = x
    N, T, _ = sequence.shape
    within = np.arange(T) < (np.full(N, T) if lengths is None else lengths)[:, None]  # (N, T)
    sequence = jnp.where(np.broadcast_to(within[..., None], sequence.shape), sequence, 0.0)
    outs = []
    for t in range(T):
        z = sequence[:, t] @ weight + h @ recurrent_weight + bias[None]
        z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
        new_c = jax.nn.sigmoid(z_f) * c + jax.nn.sigmoid(z_i) * jnp.tanh(z_g)
        new_h = jax.nn.sigmoid(z_o) * jnp.tanh(new_c)
        now = np.broadcast_to(within[:, t, None], h.shape)
        h, c = jnp.where(now, new_h, h), jnp.where(now, new_c, c)
        outs.append(jnp.where(now, h, 0.0))
    return jnp.stack(outs, axis=1)
