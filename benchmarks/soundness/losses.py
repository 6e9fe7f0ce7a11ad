"""Losses of many kinds, on which the error bounds are tried by the tests and by the benchmarks.

Each takes random arguments of a random shape, and is followed by its gradient as one derives it by
hand: closed forms, in the algebra of textbooks rather than of JAX's autodiff, computed in the
arguments' own precision. Axes: N rows in the batch, D inputs, H hidden units and K outputs or
classes; the convolution has H channels and images of D x K.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

import manual_nn
from manual_nn import Dense
from manual_nn.layers import attention, convolution, embedding, gelu, layer_norm, relu, rms_norm
from manual_nn.layers.attention import Inputs
from manual_nn.layers.convolution import Convolution
from manual_nn.layers.embedding import Embedding
from manual_nn.layers.layer_norm import LayerNorm
from manual_nn.layers.rms_norm import RMSNorm
from manual_nn.layers.softmax_cross_entropy import softmax
from reference.arrays import Array
from reference.layers import attention as attention_twin
from reference.layers import convolution as convolution_twin
from reference.layers import embedding as embedding_twin
from reference.layers import gelu as gelu_twin
from reference.layers import layer_norm as layer_norm_twin
from reference.layers import relu as relu_twin
from reference.layers import rms_norm as rms_norm_twin
from reference.models import mlp


class Shape(NamedTuple):
    """The sizes of a loss's arguments, each at least 1."""

    N: int
    D: int
    H: int
    K: int


class Loss(NamedTuple):
    """A scalar function, with a maker of its arguments.

    Attributes:
        name: what it is called in tables.
        function: the loss, which JAX can trace.
        arguments: makes float64 arguments of a shape; `normal` draws numbers of any one size.
        argnums: the arguments that the gradient is taken in, as for jax.grad.
        by_hand: functions that compute the loss and its gradient without autodiff.
    """

    name: str
    function: Callable[..., Any]
    arguments: Callable[["Draw", Shape], tuple[Any, ...]]
    argnums: int | tuple[int, ...] = 0
    by_hand: tuple[Callable[..., Any], ...] = ()

    @property
    def gradient(self) -> Callable[..., Any]:
        """Compute the loss and its gradient."""
        return jax.value_and_grad(self.function, self.argnums)


KINDS = ("normal", "dyadic", "sparse")


class Draw:
    """Random numbers of one kind and size.

    "normal" numbers have a common scale between 0.03 and 10; "dyadic" ones are quarters from -2 to
    2, whose sums and products are exact, so that they fall upon kinks and tie; "sparse" ones are
    normal, but half of them are 0.
    """

    def __init__(self, rng: np.random.Generator, kind: str | None = None) -> None:
        """Draw the kind, unless it is given, and the scale."""
        self.rng = rng
        self.kind = kind or str(rng.choice(KINDS))
        self.scale = float(10 ** rng.uniform(-1.5, 1))

    def normal(self, *shape: int) -> Array:
        """Draw an array of this shape."""
        if self.kind == "dyadic":
            return self.rng.integers(-8, 9, shape) / 4
        numbers = self.rng.normal(scale=self.scale, size=shape)
        return numbers * self.rng.integers(2, size=shape) if self.kind == "sparse" else numbers

    def labels(self, count: int, kinds: int) -> Array:
        """Draw numbers of classes or rows."""
        return self.rng.integers(kinds, size=count)

    def targets(self, count: int, kinds: int) -> Array:
        """Draw a distribution over the classes for each row."""
        return self.rng.dirichlet(np.ones(kinds), size=count)


def rounded(args: Any, dtype: npt.DTypeLike) -> Any:
    """Round the real arrays to this precision; a number, like a weight_decay, stays as it is."""

    def convert(leaf: Any) -> Any:
        real = isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f"
        return leaf.astype(dtype) if real else leaf

    return jax.tree.map(convert, args)


def _matrices(draw: Draw, shape: Shape) -> tuple[Any, ...]:
    """W (D, K), X (N, D) and y (N, K)."""
    N, D, _, K = shape
    return draw.normal(D, K), draw.normal(N, D), draw.normal(N, K)


def _classifier(draw: Draw, sizes: list[int], N: int, y: Array, decay: float) -> tuple[Any, ...]:
    layers = tuple(
        Dense(draw.normal(fan_in, fan_out) / np.sqrt(fan_in), draw.normal(fan_out))
        for fan_in, fan_out in itertools.pairwise(sizes)
    )
    return layers, draw.normal(N, sizes[0]), y, decay


def _hard(draw: Draw, shape: Shape) -> tuple[Any, ...]:
    N, D, H, K = shape
    return _classifier(draw, [D, H, K], N, draw.labels(N, K), 0.0)


def _soft_with_decay(draw: Draw, shape: Shape) -> tuple[Any, ...]:
    N, D, H, K = shape
    decay = float(draw.rng.choice([1e-5, 0.1, 2.0**-7, 3.0]))
    return _classifier(draw, [D, H, H, K], N, draw.targets(N, K), decay)


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)); where exp overflows, 0."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-z)))


def classifier(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """The loss of this project's mlp."""
    return mlp.loss(params, X, y, weight_decay=weight_decay)


def network_by_hand(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """Backpropagate a batch as matrices."""
    value, gradient = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
    return value, (gradient, manual_nn.input_grad(params, X, y, weight_decay=weight_decay))


def network_row_by_row(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """Backpropagate one example after the other."""
    value, gradient = manual_nn.rowwise.loss_and_grad(params, X, y, weight_decay=weight_decay)
    return value, (gradient, manual_nn.input_grad(params, X, y, weight_decay=weight_decay))


def least_squares(W: Any, X: Any, y: Any) -> Any:
    """Half the mean squared error of a linear model."""
    return jnp.mean((X @ W - y) ** 2) / 2


def least_squares_by_hand(W: Array, X: Array, y: Array) -> Any:
    """X^T (X W - y) / (N K)."""
    error = X @ W - y
    return (error**2).mean() / 2, X.T @ error / y.size


def logistic(W: Any, X: Any, y: Any) -> Any:
    """The mean logistic loss of a linear model, for labels -1 and 1."""
    return jnp.mean(jnp.logaddexp(0.0, -jnp.sign(y) * (X @ W)))


def logistic_by_hand(W: Array, X: Array, y: Array) -> Any:
    """-s sigmoid(-s z) for labels s: sigmoid(z) - y for labels y of 0 and 1, uncancelled."""
    s = np.sign(y)
    z = X @ W
    d_z = -s * sigmoid(-s * z) / y.size
    return np.logaddexp(0, -s * z).mean(), (X.T @ d_z, d_z @ W.T)


def tanh_network(W: Any, V: Any, X: Any, y: Any) -> Any:
    """Least squares of a network with one tanh layer."""
    return jnp.mean((jnp.tanh(X @ W) @ V - y) ** 2)


def tanh_network_by_hand(W: Array, V: Array, X: Array, y: Array) -> Any:
    """The derivative of a = tanh z is 1 - a^2."""
    a = np.tanh(X @ W)
    error = a @ V - y
    d_out = 2 * error / y.size
    d_z = d_out @ V.T * (1 - a**2)
    return (error**2).mean(), (X.T @ d_z, a.T @ d_out)


def sigmoid_network(W: Any, V: Any, X: Any, y: Any) -> Any:
    """Least squares of a network with sigmoids on both layers."""
    return jnp.mean((jax.nn.sigmoid(jax.nn.sigmoid(X @ W) @ V) - y) ** 2)


def sigmoid_network_by_hand(W: Array, V: Array, X: Array, y: Array) -> Any:
    """The derivative of a = sigmoid z is a (1 - a)."""
    a = sigmoid(X @ W)
    out = sigmoid(a @ V)
    d_out = 2 * (out - y) / y.size * out * (1 - out)
    d_z = d_out @ V.T * a * (1 - a)
    return ((out - y) ** 2).mean(), (X.T @ d_z, a.T @ d_out)


def _two_layers(draw: Draw, shape: Shape) -> tuple[Any, ...]:
    """W (D, H), V (H, K), X (N, D) and y (N, K)."""
    N, D, H, K = shape
    return draw.normal(D, H), draw.normal(H, K), draw.normal(N, D), draw.normal(N, K)


def normalised_rows(gain: Any, shift: Any, x: Any, y: Any) -> Any:
    """Least squares of normalised rows."""
    return jnp.mean((layer_norm_twin.forward((gain, shift), x) - y) ** 2)


def normalised_rows_by_hand(gain: Array, shift: Array, x: Array, y: Array) -> Any:
    """The layer norm of manual_nn."""
    params = LayerNorm(gain, shift)
    out, kept = layer_norm.forward(params, x)
    error = out - y
    d_params, d_x = layer_norm.backward(params, kept, 2 * error / y.size)
    return (error**2).mean(), (*d_params, d_x)


def rms_normalised_rows(gain: Any, x: Any, y: Any) -> Any:
    """Least squares of rows divided by the root of their mean square."""
    return jnp.mean((rms_norm_twin.forward((gain,), x) - y) ** 2)


def rms_normalised_rows_by_hand(gain: Array, x: Array, y: Array) -> Any:
    """The RMS norm of manual_nn."""
    params = RMSNorm(gain)
    out, kept = rms_norm.forward(params, x)
    error = out - y
    d_params, d_x = rms_norm.backward(params, kept, 2 * error / y.size)
    return (error**2).mean(), (*d_params, d_x)


def attention_row(query: Any, keys: Any, values: Any, y: Any) -> Any:
    """Least squares of one query's mean of the values, weighted by the softmax of its scores."""
    return jnp.sum((attention_twin.forward((), (query[None], keys, values))[0] - y) ** 2)


def attention_row_by_hand(query: Array, keys: Array, values: Array, y: Array) -> Any:
    """The attention of manual_nn, for one query."""
    out, kept = attention.forward((), Inputs(query[None], keys, values))
    error = out - y
    _, (d_query, d_keys, d_values) = attention.backward((), kept, 2 * error)
    return (error**2).sum(), (d_query[0], d_keys, d_values)


def causal_attention(X: Any, W: Any, y: Any) -> Any:
    """Least squares of attention with each row as query, key and value; none sees a later one."""
    out = attention_twin.forward((), (X @ W, X, X), causal=True, scale=1.0)
    return jnp.sum((out - y) ** 2)


def causal_attention_by_hand(X: Array, W: Array, y: Array) -> Any:
    """The attention of manual_nn; X has a gradient as queries, as keys and as values."""
    out, kept = attention.forward((), Inputs(X @ W, X, X), causal=True, scale=1.0)
    error = out - y
    _, (d_query, d_key, d_value) = attention.backward((), kept, 2 * error)
    return (error**2).sum(), (d_query @ W.T + d_key + d_value, X.T @ d_query)


def gelu_erf(W: Any, X: Any, y: Any) -> Any:
    """Least squares of x Phi(x), with the error function."""
    return jnp.mean((gelu_twin.forward((), X @ W) - y) ** 2)


def gelu_erf_by_hand(W: Array, X: Array, y: Array) -> Any:
    """The GELU of manual_nn."""
    return _gelu_by_hand(W, X, y, approximate=False)


def gelu_tanh(W: Any, X: Any, y: Any) -> Any:
    """Least squares of x Phi(x), approximated by tanh."""
    return jnp.mean((gelu_twin.forward((), X @ W, approximate=True) - y) ** 2)


def gelu_tanh_by_hand(W: Array, X: Array, y: Array) -> Any:
    """The same of manual_nn."""
    return _gelu_by_hand(W, X, y, approximate=True)


def _gelu_by_hand(W: Array, X: Array, y: Array, *, approximate: bool) -> Any:
    out, kept = gelu.forward((), X @ W, approximate=approximate)
    error = out - y
    _, d_z = gelu.backward((), kept, 2 * error / y.size)
    return (error**2).mean(), (X.T @ d_z, d_z @ W.T)


def log_sum_exp(W: Any, X: Any, y: Any) -> Any:
    """Cross-entropy from a log-sum-exp by hand, differentiated through its maximum too."""
    z = X @ W
    largest = z.max(axis=1, keepdims=True)
    log_sum = jnp.log(jnp.exp(z - largest).sum(axis=1)) + largest[:, 0]
    return jnp.mean(log_sum - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])


def log_sum_exp_by_hand(W: Array, X: Array, y: Array) -> Any:
    """Softmax minus one-hot, whatever the maximum that is taken out."""
    rows = np.arange(len(y))
    z = X @ W
    largest = z.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(z - largest).sum(axis=1)) + largest[:, 0]
    d_z = softmax(z)
    d_z[rows, y] -= 1
    d_z /= len(y)
    return (log_sum - z[rows, y]).mean(), (X.T @ d_z, d_z @ W.T)


def looked_up_rows(table: Any, V: Any, ids: Any, y: Any) -> Any:
    """Least squares of a linear model of rows that are looked up in a table."""
    return jnp.mean((embedding_twin.forward((table,), ids) @ V - y) ** 2)


def looked_up_rows_by_hand(table: Array, V: Array, ids: Array, y: Array) -> Any:
    """The embedding of manual_nn below a matrix."""
    params = Embedding(table)
    rows, kept = embedding.forward(params, ids)
    error = rows @ V - y
    d_out = 2 * error / y.size
    (d_table,), _ = embedding.backward(params, kept, d_out @ V.T)
    return (error**2).mean(), (d_table, rows.T @ d_out)


def convolved_images(kernel: Any, images: Any, y: Any) -> Any:
    """Least squares of a convolution of images, a ReLU, and the mean over the places."""
    params = kernel, jnp.zeros_like(kernel[0, 0, 0])
    z = convolution_twin.forward(params, images, padding="same")
    return jnp.mean((relu_twin.forward((), z).mean(axis=(1, 2)) - y) ** 2)


def convolved_images_by_hand(kernel: Array, images: Array, y: Array) -> Any:
    """The convolution of manual_nn, its ReLU, and the mean over the places."""
    params = Convolution(kernel, np.zeros_like(kernel[0, 0, 0]))
    z, kept = convolution.forward(params, images, padding="same")
    a, kept_by_relu = relu.forward((), z.reshape(-1, z.shape[-1]))
    error = a.reshape(z.shape).mean(axis=(1, 2)) - y
    places = z[0, ..., 0].size
    d_a = np.repeat(2 * error / y.size / places, places, axis=0)
    _, d_z = relu.backward((), kept_by_relu, d_a)
    (d_kernel, _), d_images = convolution.backward(params, kept, d_z.reshape(z.shape))
    return (error**2).mean(), (d_kernel, d_images)


def maximum(W: Any, X: Any, y: Any) -> Any:
    """Least squares of a maxout unit: kinks between its two halves, pooled by a maximum."""
    z = jnp.maximum(X @ W, y)
    return jnp.sum(jnp.max(z, axis=0) ** 2)


def maximum_by_hand(W: Array, X: Array, y: Array) -> Any:
    """Masks of what is largest; what ties shares equally."""
    z = X @ W
    halves = np.maximum(z, y)
    pooled = halves.max(axis=0)
    largest = halves == pooled
    d_halves = 2 * pooled * largest / largest.sum(axis=0, dtype=z.dtype)
    d_z = d_halves * np.where(z == y, 0.5, z > y).astype(z.dtype)
    return (pooled**2).sum(), (X.T @ d_z, d_z @ W.T)


def absolute(W: Any, X: Any, y: Any) -> Any:
    """The mean absolute error of a linear model."""
    return jnp.mean(jnp.abs(X @ W - y))


def absolute_by_hand(W: Array, X: Array, y: Array) -> Any:
    """The signs of the errors, 1 for none as in JAX."""
    error = X @ W - y
    d_z = np.where(error < 0, -1, 1).astype(error.dtype) / y.size
    return abs(error).mean(), (X.T @ d_z, d_z @ W.T)


LOSSES = (
    Loss("network", classifier, _hard, (0, 1), (network_by_hand, network_row_by_row)),
    Loss(
        "network, soft targets, decay",
        classifier,
        _soft_with_decay,
        (0, 1),
        (network_by_hand, network_row_by_row),
    ),
    Loss("least squares", least_squares, _matrices, 0, (least_squares_by_hand,)),
    Loss(
        "logistic regression",
        logistic,
        _matrices,
        (0, 1),
        (logistic_by_hand,),
    ),
    Loss("tanh network", tanh_network, _two_layers, (0, 1), (tanh_network_by_hand,)),
    Loss(
        "sigmoid network",
        sigmoid_network,
        _two_layers,
        (0, 1),
        (sigmoid_network_by_hand,),
    ),
    Loss(
        "layer norm",
        normalised_rows,
        lambda draw, shape: (
            *(draw.normal(shape.D), draw.normal(shape.D)),
            *(draw.normal(shape.N, shape.D), draw.normal(shape.N, shape.D)),
        ),
        (0, 1, 2),
        (normalised_rows_by_hand,),
    ),
    Loss(
        "RMS norm",
        rms_normalised_rows,
        lambda draw, shape: (
            *(draw.normal(shape.D), draw.normal(shape.N, shape.D), draw.normal(shape.N, shape.D)),
        ),
        (0, 1),
        (rms_normalised_rows_by_hand,),
    ),
    Loss(
        "attention row",
        attention_row,
        lambda draw, shape: (
            *(draw.normal(shape.D), draw.normal(shape.N, shape.D)),
            *(draw.normal(shape.N, shape.K), draw.normal(shape.K)),
        ),
        (0, 1, 2),
        (attention_row_by_hand,),
    ),
    Loss(
        "causal attention",
        causal_attention,
        lambda draw, shape: (
            *(draw.normal(shape.N, shape.D), draw.normal(shape.D, shape.D)),
            draw.normal(shape.N, shape.D),
        ),
        (0, 1),
        (causal_attention_by_hand,),
    ),
    Loss("GELU by erf", gelu_erf, _matrices, (0, 1), (gelu_erf_by_hand,)),
    Loss("GELU by tanh", gelu_tanh, _matrices, (0, 1), (gelu_tanh_by_hand,)),
    Loss(
        "log-sum-exp by hand",
        log_sum_exp,
        lambda draw, shape: (
            *(draw.normal(shape.D, shape.K), draw.normal(shape.N, shape.D)),
            draw.labels(shape.N, shape.K),
        ),
        (0, 1),
        (log_sum_exp_by_hand,),
    ),
    Loss(
        "embedding",
        looked_up_rows,
        lambda draw, shape: (
            *(draw.normal(shape.D, shape.H), draw.normal(shape.H, shape.K)),
            *(draw.labels(shape.N, shape.D), draw.normal(shape.N, shape.K)),
        ),
        (0, 1),
        (looked_up_rows_by_hand,),
    ),
    Loss(
        "convolution",
        convolved_images,
        lambda draw, shape: (
            *(draw.normal(3, 2, shape.H, 2), draw.normal(shape.N, shape.D, shape.K, shape.H)),
            draw.normal(shape.N, 2),
        ),
        (0, 1),
        (convolved_images_by_hand,),
    ),
    Loss("maximum", maximum, _matrices, (0, 1), (maximum_by_hand,)),
    Loss("absolute error", absolute, _matrices, (0, 1), (absolute_by_hand,)),
)
