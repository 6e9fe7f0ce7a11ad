"""The cross-entropy of the softmax by JAX, from its definition. Axes: N rows, K classes."""

from typing import Any

import jax
import jax.numpy as jnp


def forward(
    params: tuple[()],  # noqa: ARG001, every layer has parameters
    x: Any,
    *,
    target: Any,
    sample_weight: Any = None,
) -> jax.Array:
    """The mean over the rows, perhaps weighted, of -sum_k target_k ln softmax(x)_k; a scalar.

    The target is probabilities, (N, K), or class numbers, (N,), which stand for a probability of 1.
    """
    log_p = log_softmax(x)
    y = jnp.asarray(target)
    p = y if y.ndim == 2 else jax.nn.one_hot(y, log_p.shape[1], dtype=log_p.dtype)
    return jnp.average(-jnp.sum(p * log_p, axis=1), weights=sample_weight)


def softmax(logits: Any) -> jax.Array:
    """exp(z_k) / sum_j exp(z_j) of each row; (N, K)."""
    return jax.nn.softmax(logits)


def log_softmax(logits: Any) -> jax.Array:
    """ln softmax(z), computed so that it is finite; (N, K)."""
    return jax.nn.log_softmax(logits)
