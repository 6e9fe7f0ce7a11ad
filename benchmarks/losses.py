"""Losses of many kinds, on which the error bounds are tried by the tests and by the benchmarks.

Each takes random arguments of a random shape. Axes: N rows in the batch, D inputs, H hidden units
and K outputs or classes; the convolution has H channels and images of D x K.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

from manual_nn import Dense
from reference import network

Array: TypeAlias = npt.NDArray[Any]


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
    """

    name: str
    function: Callable[..., Any]
    arguments: Callable[["Draw", Shape], tuple[Any, ...]]
    argnums: int | tuple[int, ...] = 0

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


def classifier(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """The loss of this project's network."""
    return network.loss(params, X, y, weight_decay=weight_decay)


def least_squares(W: Any, X: Any, y: Any) -> Any:
    """Half the mean squared error of a linear model."""
    return jnp.mean((X @ W - y) ** 2) / 2


def logistic(W: Any, X: Any, y: Any) -> Any:
    """The mean logistic loss of a linear model, for labels -1 and 1."""
    return jnp.mean(jnp.logaddexp(0.0, -jnp.sign(y) * (X @ W)))


def tanh_network(W: Any, V: Any, X: Any, y: Any) -> Any:
    """Least squares of a network with one tanh layer."""
    return jnp.mean((jnp.tanh(X @ W) @ V - y) ** 2)


def sigmoid_network(W: Any, V: Any, X: Any, y: Any) -> Any:
    """The same with sigmoids, on both layers."""
    return jnp.mean((jax.nn.sigmoid(jax.nn.sigmoid(X @ W) @ V) - y) ** 2)


def _two_layers(draw: Draw, shape: Shape) -> tuple[Any, ...]:
    """W (D, H), V (H, K), X (N, D) and y (N, K)."""
    N, D, H, K = shape
    return draw.normal(D, H), draw.normal(H, K), draw.normal(N, D), draw.normal(N, K)


def layer_norm(gain: Any, shift: Any, x: Any, y: Any) -> Any:
    """Least squares of normalised rows."""
    centred = x - x.mean(axis=1, keepdims=True)
    scale = lax.rsqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return jnp.mean((centred * scale * gain[None] + shift[None] - y) ** 2)


def rms_norm(gain: Any, x: Any, y: Any) -> Any:
    """Least squares of rows divided by the root of their mean square."""
    scale = jnp.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
    return jnp.mean((x / scale * gain[None] - y) ** 2)


def attention_row(query: Any, keys: Any, values: Any, y: Any) -> Any:
    """Least squares of one query's mean of the values, weighted by the softmax of its scores."""
    weights = jax.nn.softmax(keys @ query / math.sqrt(len(query)))
    return jnp.sum((weights @ values - y) ** 2)


def causal_attention(X: Any, W: Any, y: Any) -> Any:
    """The same for every row as query, key and value, where no row sees a later one."""
    scores = X @ W @ X.T
    scores = jnp.where(jnp.tril(jnp.ones(scores.shape, bool)), scores, -jnp.inf)
    return jnp.sum((jax.nn.softmax(scores, axis=1) @ X - y) ** 2)


def gelu_erf(W: Any, X: Any, y: Any) -> Any:
    """Least squares of x Phi(x), with the error function."""
    return jnp.mean((jax.nn.gelu(X @ W, approximate=False) - y) ** 2)


def gelu_tanh(W: Any, X: Any, y: Any) -> Any:
    """The same in its approximation by tanh."""
    return jnp.mean((jax.nn.gelu(X @ W, approximate=True) - y) ** 2)


def log_sum_exp(W: Any, X: Any, y: Any) -> Any:
    """Cross-entropy from a log-sum-exp by hand, differentiated through its maximum too."""
    z = X @ W
    largest = z.max(axis=1, keepdims=True)
    log_sum = jnp.log(jnp.exp(z - largest).sum(axis=1)) + largest[:, 0]
    return jnp.mean(log_sum - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])


def embedding(table: Any, V: Any, ids: Any, y: Any) -> Any:
    """Least squares of a linear model of rows that are looked up in a table."""
    return jnp.mean((table[ids] @ V - y) ** 2)


def convolution(kernel: Any, images: Any, y: Any) -> Any:
    """Least squares of a convolution of images, a ReLU, and the mean over the places."""
    z = lax.conv_general_dilated(images, kernel, (1, 1), "SAME")
    return jnp.mean((jax.nn.relu(z).mean(axis=(2, 3)) - y) ** 2)


def maximum(W: Any, X: Any, y: Any) -> Any:
    """Least squares of a maxout unit: kinks between its two halves, pooled by a maximum."""
    z = jnp.maximum(X @ W, y)
    return jnp.sum(jnp.max(z, axis=0) ** 2)


def absolute(W: Any, X: Any, y: Any) -> Any:
    """The mean absolute error of a linear model."""
    return jnp.mean(jnp.abs(X @ W - y))


LOSSES = (
    Loss("network", classifier, _hard, (0, 1)),
    Loss("network, soft targets, decay", classifier, _soft_with_decay, (0, 1)),
    Loss("least squares", least_squares, _matrices),
    Loss("logistic regression", logistic, _matrices, (0, 1)),
    Loss("tanh network", tanh_network, _two_layers, (0, 1)),
    Loss("sigmoid network", sigmoid_network, _two_layers, (0, 1)),
    Loss(
        "layer norm",
        layer_norm,
        lambda draw, shape: (
            *(draw.normal(shape.D), draw.normal(shape.D)),
            *(draw.normal(shape.N, shape.D), draw.normal(shape.N, shape.D)),
        ),
        (0, 1, 2),
    ),
    Loss(
        "RMS norm",
        rms_norm,
        lambda draw, shape: (
            *(draw.normal(shape.D), draw.normal(shape.N, shape.D), draw.normal(shape.N, shape.D)),
        ),
        (0, 1),
    ),
    Loss(
        "attention row",
        attention_row,
        lambda draw, shape: (
            *(draw.normal(shape.D), draw.normal(shape.N, shape.D)),
            *(draw.normal(shape.N, shape.K), draw.normal(shape.K)),
        ),
        (0, 1, 2),
    ),
    Loss(
        "causal attention",
        causal_attention,
        lambda draw, shape: (
            *(draw.normal(shape.N, shape.D), draw.normal(shape.D, shape.D)),
            draw.normal(shape.N, shape.D),
        ),
        (0, 1),
    ),
    Loss("GELU by erf", gelu_erf, _matrices, (0, 1)),
    Loss("GELU by tanh", gelu_tanh, _matrices, (0, 1)),
    Loss(
        "log-sum-exp by hand",
        log_sum_exp,
        lambda draw, shape: (
            *(draw.normal(shape.D, shape.K), draw.normal(shape.N, shape.D)),
            draw.labels(shape.N, shape.K),
        ),
        (0, 1),
    ),
    Loss(
        "embedding",
        embedding,
        lambda draw, shape: (
            *(draw.normal(shape.D, shape.H), draw.normal(shape.H, shape.K)),
            *(draw.labels(shape.N, shape.D), draw.normal(shape.N, shape.K)),
        ),
        (0, 1),
    ),
    Loss(
        "convolution",
        convolution,
        lambda draw, shape: (
            *(draw.normal(2, shape.H, 3, 2), draw.normal(shape.N, shape.H, shape.D, shape.K)),
            draw.normal(shape.N, 2),
        ),
        (0, 1),
    ),
    Loss("maximum", maximum, _matrices, (0, 1)),
    Loss("absolute error", absolute, _matrices, (0, 1)),
)
