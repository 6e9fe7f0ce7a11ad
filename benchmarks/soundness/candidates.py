"""Gradients with mistakes planted in them, for gradient checkers to notice.

Axes: T tokens, D features, N rows in the batch.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from manual_nn import Dense, init_params
from manual_nn.layers.layer_norm import LayerNorm
from reference import loss
from reference.layers import attention, dense, gelu, layer_norm


class Candidate(NamedTuple):
    """A function with a gradient that somebody may have written.

    Attributes:
        mistake: what is wrong with the gradient.
        function: as check_grads takes it, of one argument; a scalar, or a number for each element.
        total: the scalar loss.
        gradient: its gradient, right or wrong.
        at: where to check.
    """

    mistake: str
    function: Callable[[Any], Any]
    total: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    at: Any


RIGHT = "none"


def sines(dtype: npt.DTypeLike) -> Iterator[Candidate]:
    """The derivative of 1,000 sines, right and scaled."""
    x = np.random.default_rng(0).normal(size=1000).astype(dtype)
    for mistake, factor in ((RIGHT, 1), ("times 0", 0), ("times 2", 2), ("times -1", -1)):
        yield Candidate(
            mistake,
            jnp.sin,
            lambda x: jnp.sum(jnp.sin(x)),
            functools.partial(lambda factor, x: x.dtype.type(factor) * jnp.cos(x), factor),
            x,
        )


def with_mistakes(total: Callable[[Any], Any], at: Any, which: str) -> Iterator[Candidate]:
    """The gradient of this loss, right, with one element of the median size wrong, and scaled."""
    right = jax.jit(jax.grad(total))
    yield Candidate(RIGHT, total, total, right, at)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(right(at))]
    place = next(number for number, leaf in enumerate(leaves) if leaf.ndim == 2)
    size = np.sort(abs(leaves[place][leaves[place] != 0]))
    row, column = np.argwhere(abs(leaves[place]) == size[len(size) // 2])[0]

    def one_wrong(factor: float, at: Any) -> Any:
        leaves, structure = jax.tree.flatten(right(at))
        leaves[place] = leaves[place].at[row, column].multiply(factor)
        return jax.tree.unflatten(structure, leaves)

    def scaled(at: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf * leaf.dtype.type(1.0001), right(at))

    for factor, words in ((1.01, "1 % off"), (-1, "of the wrong sign")):
        wrong = jax.jit(functools.partial(one_wrong, factor))
        yield Candidate(f"one element of {which} {words}", total, total, wrong, at)
    yield Candidate("times 1.0001", total, total, jax.jit(scaled), at)


def draw_batch(dtype: npt.DTypeLike, inputs: int) -> tuple[Any, Any]:
    """Draw 128 rows that are as sparse as pictures of digits, and their classes."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(128, inputs)) * (rng.uniform(size=(128, inputs)) < 0.2)
    return X.astype(dtype), rng.integers(10, size=128)


def linear_maps(dtype: npt.DTypeLike) -> Iterator[Candidate]:
    """Least squares of a linear map from 784 to 256: smooth, so differences have no kinks."""
    rng = np.random.default_rng(1)
    W = rng.normal(scale=0.05, size=(784, 256)).astype(dtype)
    X, _ = draw_batch(dtype, 784)
    y = rng.normal(size=(128, 256)).astype(dtype)
    yield from with_mistakes(lambda W: jnp.mean((X @ W - y) ** 2), W, "784 x 256")


def networks(inputs: int, hidden: int, dtype: npt.DTypeLike) -> Iterator[Candidate]:
    """Our network for ten classes, with 128 rows and a weight_decay of 1e-5."""
    params = init_params((inputs, hidden, 10), rng=np.random.default_rng(1), dtype=dtype)
    X, y = draw_batch(dtype, inputs)

    def total(params: Any) -> Any:
        return loss(params, X, y, weight_decay=1e-5)

    def decayed_twice(params: Any) -> Any:
        return loss(params, X, y, weight_decay=2e-5)

    yield from with_mistakes(total, params, f"{inputs} x {hidden}")
    doubled = jax.jit(jax.grad(decayed_twice))
    yield Candidate("decay of 1e-5 doubled", total, total, doubled, params)


HEADS = 12


class Block(NamedTuple):
    """The parameters of a block of a transformer."""

    first_norm: LayerNorm  # D
    projections: Dense  # D to 3 D: the queries, keys and values of all heads
    attended: Dense  # D to D
    second_norm: LayerNorm  # D
    up: Dense  # D to 4 D
    down: Dense  # 4 D to D


def block(params: Block, x: jax.Array) -> jax.Array:
    """A block of GPT-2: causal attention, then two dense layers around a GELU; (T, D)."""

    def split(z: jax.Array) -> jax.Array:
        return z.reshape(len(z), HEADS, -1).swapaxes(0, 1)  # (heads, T, D / heads)

    normal = layer_norm.forward(params.first_norm, x)
    projected = jnp.split(dense.forward(params.projections, normal), 3, axis=1)
    heads = attention.forward((), tuple(map(split, projected)), causal=True)
    x = x + dense.forward(params.attended, heads.swapaxes(0, 1).reshape(x.shape))
    hidden = dense.forward(params.up, layer_norm.forward(params.second_norm, x))
    return x + dense.forward(params.down, gelu.forward((), hidden, approximate=True))


def blocks(dtype: npt.DTypeLike) -> Iterator[Candidate]:
    """Least squares of one block of the size of GPT-2 small's: 64 tokens, 7 million parameters."""
    rng = np.random.default_rng(1)
    T, D = 64, 768

    def normal(*shape: int, scale: float) -> Any:
        return rng.normal(scale=scale, size=shape).astype(dtype)

    def layer(fan_in: int, fan_out: int) -> Dense:
        return Dense(normal(fan_in, fan_out, scale=fan_in**-0.5), normal(fan_out, scale=0.1))

    def norm() -> LayerNorm:
        return LayerNorm(np.ones(D, dtype) + normal(D, scale=0.1), normal(D, scale=0.1))

    params = Block(norm(), layer(D, 3 * D), layer(D, D), norm(), layer(D, 4 * D), layer(4 * D, D))
    x, y = normal(T, D, scale=1), normal(T, D, scale=1)
    yield from with_mistakes(
        lambda params: jnp.mean((block(params, x) - y) ** 2), params, f"{D} x {3 * D}"
    )


class Family(NamedTuple):
    """Gradients of one function, of which the first is right, and their precision."""

    name: str
    dtype: str
    candidates: Callable[[npt.DTypeLike], Iterator[Candidate]]

    def __str__(self) -> str:
        """Name both, for a table."""
        return f"{self.name}, {self.dtype}"


SIZES: dict[str, Callable[[npt.DTypeLike], Iterator[Candidate]]] = {
    "64-32-10 network": functools.partial(networks, 64, 32),
    "784-256-10 network": functools.partial(networks, 784, 256),
    "GPT-2-small block": blocks,
}
SIZED = tuple(
    Family(name, dtype, candidates)
    for name, candidates in SIZES.items()
    for dtype in ("float32", "float64")
)
FAMILIES = (
    Family("1,000 sines", "float32", sines),
    Family("784-256 least squares", "float32", linear_maps),
    Family("784-256 least squares", "float64", linear_maps),
    *SIZED,
)
