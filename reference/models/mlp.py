"""The network by JAX: its loss is strung together from the layers, its gradient is JAX's.

The names, arguments and results are those of `manual_nn`; no code is. Axes: N rows in the batch,
D inputs, H hidden units, K classes. Turn on `jax_enable_x64` for float64.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from manual_nn import Dense
from reference.layers import dense, relu, softmax_cross_entropy

Params: TypeAlias = tuple[Dense, ...]


def init_params(
    sizes: Sequence[int], *, rng: np.random.Generator, dtype: npt.DTypeLike = np.float64
) -> tuple[Dense, ...]:
    """Draw weights of variance 2 / (fan_in + fan_out), twice that above a ReLU, and zero biases."""
    params = []
    for l, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes), start=1):
        scale = math.sqrt(2 * min(l, 2) / (fan_in + fan_out))
        weight = rng.normal(scale=scale, size=(fan_in, fan_out))
        arrays: Any = jnp.asarray(weight, np.dtype(dtype)), jnp.zeros(fan_out, np.dtype(dtype))
        params.append(Dense(*arrays))
    return tuple(params)


def logits(params: Params, X: Any) -> jax.Array:
    """z_L, where a_0 = X, z_l = a_{l-1} W_l + b_l and a_l = relu(z_l); (N, K)."""
    a = jnp.asarray(X)
    *hidden, last = params
    for layer in hidden:
        a = relu.forward((), dense.forward(layer, a))
    return dense.forward(last, a)


def predict_proba(params: Params, X: Any) -> jax.Array:
    """softmax(logits), (N, K)."""
    return softmax_cross_entropy.softmax(logits(params, X))


def predict(params: Params, X: Any) -> jax.Array:
    """The class with the largest logit, (N,)."""
    return jnp.argmax(logits(params, X), axis=1)


def loss(
    params: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    chunk_size: int | None = None,  # noqa: ARG001, how `manual_nn` computes, not what
) -> jax.Array:
    """The mean cross-entropy of softmax(logits) against y, plus weight_decay * sum ||W_l||^2."""
    penalty = sum(jnp.sum(weight**2) for weight, _ in params)
    cross_entropy = softmax_cross_entropy.forward(
        (), logits(params, X), target=y, sample_weight=sample_weight
    )
    return cross_entropy + weight_decay * penalty


def loss_and_grad(
    params: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    chunk_size: int | None = None,  # noqa: ARG001, how `manual_nn` computes, not what
    workspace: Any = None,  # noqa: ARG001, the same
) -> tuple[jax.Array, Params]:
    """The loss and its gradient, shaped like params."""
    value_and_grad: Any = jax.value_and_grad(loss)
    return value_and_grad(params, X, y, weight_decay=weight_decay, sample_weight=sample_weight)


def input_grad(params: Params, X: Any, y: Any, *, weight_decay: Any = 0.0) -> jax.Array:
    """The gradient of the mean loss in X, (N, D)."""
    return jax.grad(loss, argnums=1)(params, X, y, weight_decay=weight_decay)
