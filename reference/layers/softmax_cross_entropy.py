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
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> jax.Array:
    """The mean over the rows, perhaps weighted, of -sum_k target_k ln softmax(x)_k; a scalar.

    The target is probabilities, (N, K), or class numbers, (N,), which stand for a probability of 1;
    smoothed, it is (1 - label_smoothing) target + label_smoothing / K. The term of class k counts
    class_weight_k times. With class numbers the mean divides by the weights of the rows' classes,
    and rows of the class `ignore_index` are left out; it is 0 if what is left weighs nothing.
    """
    log_p = log_softmax(x)
    y = jnp.asarray(target)
    p = y if y.ndim == 2 else jax.nn.one_hot(y, log_p.shape[1], dtype=log_p.dtype)
    if label_smoothing:
        p = (1 - label_smoothing) * p + label_smoothing / p.shape[1]
    if class_weight is not None:
        class_weight = jnp.asarray(class_weight)
        p = p * jnp.expand_dims(class_weight, 0)
    losses = -jnp.sum(p * log_p, axis=1)
    if y.ndim == 2 or (class_weight is None and ignore_index is None):
        return jnp.average(losses, weights=sample_weight)
    rows = jnp.ones_like(losses) if sample_weight is None else jnp.asarray(sample_weight)
    rows = rows if ignore_index is None else jnp.where(y == ignore_index, 0.0, rows)
    total = jnp.sum(rows if class_weight is None else rows * class_weight[y])
    return jnp.where(total > 0, jnp.sum(rows * losses), 0.0) / jnp.where(total > 0, total, 1.0)


def softmax(logits: Any) -> jax.Array:
    """exp(z_k) / sum_j exp(z_j) of each row; (N, K)."""
    return jax.nn.softmax(logits)


def log_softmax(logits: Any) -> jax.Array:
    """ln softmax(z), computed so that it is finite; (N, K)."""
    return jax.nn.log_softmax(logits)
