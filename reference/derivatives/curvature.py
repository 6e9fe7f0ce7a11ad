"""Derivatives along directions and second derivatives, by JAX's transforms of the loss.

Axes: N rows in the batch, K classes, P parameters.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from reference.layers import softmax_cross_entropy
from reference.models.mlp import Params, logits, loss


def jvp(
    params: Params,
    tangents: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    workspace: Any = None,  # noqa: ARG001, how `manual_nn` computes, not what
) -> tuple[jax.Array, jax.Array]:
    """The loss and its derivative along the tangents."""
    return jax.jvp(lambda at: loss(at, X, y, weight_decay=weight_decay), (params,), (tangents,))


def hvp(
    params: Params,
    tangents: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    workspace: Any = None,  # noqa: ARG001, how `manual_nn` computes, not what
) -> Params:
    """The derivative of the gradient along the tangents, forward over reverse."""
    gradient = jax.grad(lambda at: loss(at, X, y, weight_decay=weight_decay))
    return jax.jvp(gradient, (params,), (tangents,))[1]


def ggnvp(
    params: Params,
    tangents: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    workspace: Any = None,  # noqa: ARG001, how `manual_nn` computes, not what
) -> Params:
    """J^T H_L J v + 2 weight_decay v on weights: J of the logits, H_L of the loss in them."""
    z, R_z = jax.jvp(lambda at: logits(at, X), (params,), (tangents,))
    d_z = jax.grad(lambda z: softmax_cross_entropy.forward((), z, target=y))
    R_d_z = jax.jvp(d_z, (z,), (R_z,))[1]
    (product,) = jax.vjp(lambda at: logits(at, X), params)[1](R_d_z)
    return tuple(
        layer._replace(weight=layer.weight + 2 * weight_decay * R_layer.weight)
        for layer, R_layer in zip(product, tangents, strict=True)
    )


def hessian(params: Params, X: Any, y: Any, *, weight_decay: Any = 0.0) -> jax.Array:
    """The Hessian in all the parameters as one vector, (P, P)."""
    flat, unravel = ravel_pytree(params)
    return jax.hessian(lambda at: loss(unravel(at), X, y, weight_decay=weight_decay))(flat)


def ggn(params: Params, X: Any, y: Any, *, weight_decay: Any = 0.0) -> jax.Array:
    """The products of ggnvp with the unit vectors, (P, P)."""
    flat, unravel = ravel_pytree(params)

    def product(unit: jax.Array) -> jax.Array:
        return ravel_pytree(ggnvp(params, unravel(unit), X, y, weight_decay=weight_decay))[0]

    return jax.vmap(product, out_axes=1)(jnp.eye(flat.size, dtype=flat.dtype))


def fisher_diagonal(params: Params, X: Any) -> Params:
    """1/N sum_nk p_nk (the gradient of -ln p_nk)^2, shaped like params."""
    p = jax.nn.softmax(logits(params, X))
    scores = jax.jacrev(lambda at: jax.nn.log_softmax(logits(at, X)))(params)  # (N, K, ...)
    return jax.tree.map(lambda leaf: jnp.tensordot(p, jnp.square(leaf), 2) / len(p), scores)


def ggn_diagonal(params: Params, X: Any, y: Any, *, weight_decay: Any = 0.0) -> Params:
    """The diagonal of ggn, shaped like params."""
    flat, unravel = ravel_pytree(params)
    places = jnp.arange(flat.size)
    return unravel(ggn(params, X, y, weight_decay=weight_decay)[places, places])
