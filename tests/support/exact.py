"""Networks whose every number is exact, in whatever order sums are taken."""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from tests.support.strategies import Network

# Their sum is exact in float32, in any order, and in float64 it is another.
ROOTS = np.array([3026, 13824, 9820], np.float32)
SQUARES = ROOTS * ROOTS
TOTAL = np.float32(296_692_032)


def integer_network(
    seed: int, *, D: int, hidden: int, K: int, N: int, dtype: type[np.floating]
) -> tuple[Params, Array, npt.NDArray[np.int64]]:
    """Make a network in which no operation rounds, in float32 either.

    Inputs, weights and biases are small integers, those of the last layer multiples of 1024 K, but
    for its biases, which are 1024 k: so the logits of a row are all different, by 1024 at least,
    and the softmax is exactly 0 or 1. (p - y) / N is a multiple of 1/N, N a power of two, and all
    further products and sums are of integers below 2^24 / N. Pre-activations are exactly 0 in many
    places.
    """
    rng = np.random.default_rng(seed)

    def integers(*shape: int) -> Array:
        return rng.integers(-2, 3, size=shape).astype(dtype)

    layers = [Dense(integers(D, hidden), integers(hidden))] if hidden else []
    last = integers(hidden or D, K) * 1024 * K
    layers.append(Dense(last, 1024 * rng.permutation(K).astype(dtype)))
    return tuple(layers), integers(N, D), rng.integers(K, size=N)


def equal_logits_network(dtype: npt.DTypeLike) -> Network:
    """Make a softmax regression of small integers, whose logits are equal in each row."""
    weight = np.array([[1, 1], [2, 2], [-3, -3]], dtype)
    X = np.array([[1, 2, -1], [0, 3, 2], [4, 0, 1], [2, 1, -3]], dtype)
    return Network((Dense(weight, np.ones(2, dtype)),), X, np.array([0, 1, 1, 0]), 0.25)


def dyadic_network(*, soft: bool = False) -> tuple[Any, Array, Array, float]:
    """Make three layers whose logits are equal in each row, so that every number is dyadic.

    The columns of the last weight differ by what is orthogonal to both rows of what goes in.
    """
    rng = np.random.default_rng(13)
    params = [
        Dense(rng.integers(-2, 3, size=(3, 3)) / 2, rng.integers(-1, 2, size=3) / 2)
        for _ in range(2)
    ]
    X = rng.integers(1, 4, size=(2, 3)) / 1.0
    a = X
    for weight, bias in params:
        a = np.maximum(a @ weight + bias, 0)
    apart = np.outer(np.cross(*a), [0, 1, -2, 0.5])
    top = Dense(np.array([[0.5], [-1], [2]]) + apart, np.full(4, 0.25))
    soft_y = np.array([[0.25, 0.25, 0.5, 0], [0, 0.75, 0.125, 0.125]])
    return (*params, top), X, soft_y if soft else np.array([1, 3]), 0.125
