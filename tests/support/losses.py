"""Losses of W (D, K), X (N, D) and y (N, K), differentiated in W."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.soundness.losses import least_squares

__all__ = ["attention_row", "layer_norm", "least_squares", "tanh_network"]


def tanh_network(W: Any, X: Any, y: Any) -> Any:
    """Least squares of a network whose one tanh layer goes back and forth through W."""
    return jnp.mean((jnp.tanh(X @ W) @ W.T @ W - y) ** 2)


def layer_norm(W: Any, X: Any, y: Any) -> Any:
    """Least squares of a layer-normalised linear map."""
    z = X @ W
    centred = z - z.mean(axis=1, keepdims=True)
    scale = jax.lax.rsqrt((centred**2).mean(axis=1, keepdims=True) + 0.125)
    return jnp.mean((centred * scale - y) ** 2)


def attention_row(W: Any, X: Any, y: Any) -> Any:
    """A softmax-weighted mean of rows, against the mean of y."""
    keys = X @ W
    weights = jax.nn.softmax(keys @ keys[0])
    return jnp.sum((weights @ keys - y.mean(axis=0)) ** 2)
