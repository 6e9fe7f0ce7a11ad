"""Losses in a form that some mistakes need: statistics by groups, windows, copies, equal elements.

The mistakes that planted_regions.py and planting.py make there have no place in the other losses.
Axes: N examples, T places, C channels, K classes, G groups or copies.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.soundness.losses import Draw

N, T, C, K, G = 3, 5, 4, 6, 2


def _weighted(out: Any) -> Any:
    """The sum of results times a fixed d_out."""
    d_out = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
    return (out * d_out).sum()


def group_norm(weight: Any, x: Any) -> Any:
    """Channels in groups, each of which is normalised over its places."""
    grouped = x.reshape(N, T, G, C // G)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    centred = grouped - mean
    variance = (centred**2).mean(axis=(1, 3), keepdims=True)
    normal = centred / jnp.sqrt(variance + 1e-5)
    return _weighted(normal.reshape(N, T, C) * weight[None, None])


def layer_norm(weight: Any, x: Any) -> Any:
    """Rows of C numbers in sequences of T."""
    mean = x.mean(axis=-1, keepdims=True)
    centred = x - mean
    deviation = jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    normal = centred / deviation
    return _weighted(jnp.tanh(normal * weight[None, None]))


def attention(query: Any, key: Any) -> Any:
    """Weights of attention by a softmax that is written down."""
    scores = query @ key.T
    e = jnp.exp(scores - lax.stop_gradient(scores.max(axis=1, keepdims=True)))
    p = e / e.sum(axis=1, keepdims=True)
    return _weighted(p**2)


def cross_entropy(W: Any, X: Any, y: Any) -> Any:
    """The logarithm of a sum of exponentials, less the logit of the class."""
    z = X @ W
    return (jax.nn.logsumexp(z, axis=1) - (y * z).sum(axis=1)).mean()


def binary_cross_entropy(W: Any, X: Any, y: Any) -> Any:
    """Softplus of the logits, less those of the class 1."""
    z = X @ W
    return (jnp.log1p(jnp.exp(z)) - y * z).mean()


def pool_of_slices(x: Any) -> Any:
    """The largest of three neighbours, of slices that overlap."""
    largest = jnp.maximum(jnp.maximum(x[:, :-2], x[:, 1:-1]), x[:, 2:])
    return _weighted(largest)


def pool_of_windows(x: Any) -> Any:
    """The largest of each window of three, two apart."""
    largest = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 1), (1, 2, 1), "VALID")
    return _weighted(largest)


def mean_of_windows(x: Any) -> Any:
    """The mean of each window of three, two apart."""
    total = lax.reduce_window(x, 0.0, lax.add, (1, 3, 1), (1, 2, 1), "VALID")
    return _weighted(jnp.tanh(total / 3))


def mean_of_slices(x: Any) -> Any:
    """The mean of three neighbours, of slices that overlap."""
    total = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    return _weighted(jnp.tanh(total / 3))


def batch_norm(weight: Any, x: Any, running_mean: Any, running_variance: Any) -> Any:
    """Features normalised over the rows; of the running statistics evaluation makes use."""
    del running_mean, running_variance
    centred = x - x.mean(axis=0)[None, :]
    variance = (centred**2).mean(axis=0)
    normal = centred / jnp.sqrt(variance + 1e-5)[None, :]
    return _weighted(jnp.tanh(normal * weight[None, :]))


def rotated_heads(x: Any, scale: Any) -> Any:
    """Features split into heads, the halves of which are exchanged, and put together again."""
    heads = x.reshape(N * T, G, C)
    half = C // 2
    turned = jnp.concatenate([-heads[..., half:], heads[..., :half]], axis=2)
    return _weighted(jnp.tanh((turned * scale[None, :, None]).reshape(N * T, G * C)))


def relu_network(W: Any, V: Any, X: Any) -> Any:
    """Two layers of ReLUs that have a line each, as wide as what they are given."""
    h = jax.nn.relu(X @ W)
    a = jax.nn.relu(h @ V)
    return _weighted(a**2)


def shared_heads(query: Any, value: Any) -> Any:
    """Each value is that of several queries next to each other."""
    values = jnp.repeat(value, G, axis=0)
    return _weighted(query * values)


def tiled_heads(query: Any, value: Any) -> Any:
    """Each value is that of several queries one after the other."""
    values = jnp.tile(value, (G, 1))
    return _weighted(query * values)


def maximum_of_relu(x: Any) -> Any:
    """The largest of the places, many of which are 0."""
    return _weighted(jax.nn.relu(x).max(axis=0))


def larger_of_two(x: Any, y: Any) -> Any:
    """The larger of two arrays, which tie in places."""
    return _weighted(jnp.maximum(x, y) ** 2)


def scanned(W: Any, U: Any, xs: Any) -> Any:
    """A gated recurrence over T steps, in a scan."""

    def step(h: Any, x: Any) -> Any:
        z = h @ W
        gate = jax.nn.sigmoid(z + x)
        new = jnp.tanh(h @ U)
        h = gate * h + (1 - gate) * new
        return h, None

    h, _ = lax.scan(step, jnp.zeros((N, C), xs.dtype), xs)
    return _weighted(h)


def _tied(draw: Draw) -> tuple[Any, ...]:
    """Draw two arrays of which every other element is the same."""
    x, y = draw.normal(N * T, C), draw.normal(N * T, C)
    y[::2] = x[::2]
    return x, y


def _distinct(draw: Draw) -> tuple[Any, ...]:
    """Draw an array without equal elements."""
    return (draw.rng.normal(size=(N, 3 * T, C)),)


def _positive(draw: Draw, *shape: int) -> Any:
    """Draw what may be variances."""
    return np.exp(draw.rng.normal(size=shape))


FORMS: dict[str, tuple[Callable[..., Any], Callable[[Draw], tuple[Any, ...]], Any]] = {
    "group norm, reshaped": (
        group_norm,
        lambda draw: (draw.normal(C), draw.normal(N, T, C)),
        (0, 1),
    ),
    "layer norm of sequences": (
        layer_norm,
        lambda draw: (draw.normal(C), draw.normal(N, T, C)),
        (0, 1),
    ),
    "softmax by hand": (
        attention,
        lambda draw: (draw.normal(T, C), draw.normal(K, C)),
        (0, 1),
    ),
    "cross-entropy, p - y": (
        cross_entropy,
        lambda draw: (draw.normal(C, K), draw.normal(2 * T, C), draw.targets(2 * T, K)),
        (0, 1),
    ),
    "binary cross-entropy, p - y": (
        binary_cross_entropy,
        lambda draw: (draw.normal(C, K), draw.normal(2 * T, C), draw.targets(2 * T, K)),
        (0, 1),
    ),
    "pooling of slices": (pool_of_slices, _distinct, 0),
    "pooling of windows": (pool_of_windows, _distinct, 0),
    "mean of windows": (mean_of_windows, _distinct, 0),
    "mean of slices": (mean_of_slices, _distinct, 0),
    "batch norm, running statistics": (
        batch_norm,
        lambda draw: (draw.normal(C), draw.normal(2 * T, C), draw.normal(C), _positive(draw, C)),
        (0, 1),
    ),
    "rotated heads": (
        rotated_heads,
        lambda draw: (draw.normal(N * T, G * C), draw.normal(G)),
        (0, 1),
    ),
    "ReLU network": (
        relu_network,
        lambda draw: (draw.normal(C, C), draw.normal(C, C), draw.normal(2 * T, C)),
        (0, 1, 2),
    ),
    "shared heads": (
        shared_heads,
        lambda draw: (draw.normal(G * K, C), draw.normal(K, C)),
        (0, 1),
    ),
    "tiled heads": (
        tiled_heads,
        lambda draw: (draw.normal(G * K, C), draw.normal(K, C)),
        (0, 1),
    ),
    "maximum of a ReLU": (maximum_of_relu, lambda draw: (draw.normal(4, T, C) - 1,), 0),
    "larger of two": (larger_of_two, _tied, (0, 1)),
    "gated scan": (
        scanned,
        lambda draw: (draw.normal(C, C) / 2, draw.normal(C, C) / 2, draw.normal(T, N, C)),
        (0, 1, 2),
    ),
}
