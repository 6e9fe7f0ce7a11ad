"""Derivatives of the loss of each row, by JAX. Axes: N rows in the batch."""

from typing import Any

import jax
import jax.numpy as jnp

from reference.models.mlp import Params, loss


def _row_loss(params: Params, x: Any, t: Any) -> jax.Array:
    return loss(params, x[None], t[None])


def per_example_grads(params: Params, X: Any, y: Any) -> Params:
    """The gradient of every row's own cross-entropy, shaped like params with an axis N before."""
    return jax.vmap(jax.grad(_row_loss), (None, 0, 0))(params, jnp.asarray(X), jnp.asarray(y))


def per_example_grad_norms(params: Params, X: Any, y: Any) -> jax.Array:
    """The Euclidean norms of these gradients, (N,)."""
    return jnp.sqrt(squared_norms(per_example_grads(params, X, y)))


def squared_norms(gradients: Params) -> jax.Array:
    """The sum of the squares of every row's gradient, (N,)."""
    squares = jax.tree.map(
        lambda leaf: jnp.sum(jnp.square(leaf), axis=range(1, leaf.ndim)), gradients
    )
    return jax.tree.reduce(jnp.add, squares)


def clipped_grad(params: Params, X: Any, y: Any, *, max_norm: Any) -> Params:
    """The mean of these gradients, each scaled by max_norm / max(norm, max_norm)."""
    gradients = per_example_grads(params, X, y)
    scale = max_norm / jnp.sqrt(jnp.maximum(squared_norms(gradients), max_norm**2))
    return jax.tree.map(lambda leaf: jnp.tensordot(scale, leaf, 1) / len(scale), gradients)
