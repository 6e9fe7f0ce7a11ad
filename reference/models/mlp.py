"""The network and its derivatives by JAX: the loss from its definition, the rest by transforms.

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

Array: TypeAlias = jax.Array


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


def logits(params: Params, X: Any) -> Array:
    """z_L, where a_0 = X, z_l = a_{l-1} W_l + b_l and a_l = relu(z_l); (N, K)."""
    a = jnp.asarray(X)
    *hidden, (weight, bias) = params
    for hidden_weight, hidden_bias in hidden:
        a = jax.nn.relu(a @ hidden_weight + hidden_bias[None, :])
    return a @ weight + bias[None, :]


def predict_proba(params: Params, X: Any) -> Array:
    """softmax(logits), (N, K)."""
    return jax.nn.softmax(logits(params, X))


def predict(params: Params, X: Any) -> Array:
    """The class with the largest logit, (N,)."""
    return jnp.argmax(logits(params, X), axis=1)


def loss(
    params: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    chunk_size: int | None = None,  # noqa: ARG001, how `manual_nn` computes it, not what
) -> Array:
    """The mean cross-entropy of softmax(logits) against y, plus weight_decay * sum ||W_l||^2."""
    penalty = sum(jnp.sum(weight**2) for weight, _ in params)
    return cross_entropy(logits(params, X), y, sample_weight) + weight_decay * penalty


def cross_entropy(z: Array, y: Any, sample_weight: Any = None) -> Array:
    """The mean over the rows, perhaps weighted, of -sum_k y_k ln softmax(z)_k."""
    log_p = jax.nn.log_softmax(z)
    y = jnp.asarray(y)
    target = y if y.ndim == 2 else jax.nn.one_hot(y, log_p.shape[1], dtype=log_p.dtype)
    return jnp.average(-jnp.sum(target * log_p, axis=1), weights=sample_weight)


def loss_and_grad(
    params: Params,
    X: Any,
    y: Any,
    *,
    weight_decay: Any = 0.0,
    sample_weight: Any = None,
    chunk_size: int | None = None,  # noqa: ARG001, how `manual_nn` computes it, not what
    workspace: Any = None,  # noqa: ARG001, the same
) -> tuple[Array, Params]:
    """The loss and its gradient, shaped like params."""
    value_and_grad: Any = jax.value_and_grad(loss)
    return value_and_grad(params, X, y, weight_decay=weight_decay, sample_weight=sample_weight)


def input_grad(params: Params, X: Any, y: Any, *, weight_decay: Any = 0.0) -> Array:
    """The gradient of the mean loss in X, (N, D)."""
    return jax.grad(loss, argnums=1)(params, X, y, weight_decay=weight_decay)
