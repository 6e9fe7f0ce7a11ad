"""The error bounds: sound for XLA and NumPy in both precisions, sharp enough, clear when unknown.

Axes: N rows in the batch, D inputs, H hidden units, K classes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.comparison import Comparer, Verdict
from tests.strategies import seeds

Array = npt.NDArray[Any]


def least_squares(W: Any, X: Any, y: Any) -> Any:
    """Half the mean squared error of a linear model."""
    return jnp.mean((X @ W - y) ** 2) / 2


def logistic(W: Any, X: Any, y: Any) -> Any:
    """The mean logistic loss of a linear model, for labels -1 and 1."""
    return jnp.mean(jnp.logaddexp(0.0, -jnp.sign(y) * (X @ W)))


def tanh_network(W: Any, X: Any, y: Any) -> Any:
    """Least squares of a network with one tanh layer of its own weights and their squares."""
    return jnp.mean((jnp.tanh(X @ W) @ W.T @ W - y) ** 2)


def sigmoid_network(W: Any, X: Any, y: Any) -> Any:
    """The same with sigmoids."""
    return jnp.mean((jax.nn.sigmoid(X @ W) - jax.nn.sigmoid(y)) ** 2)


def layer_norm(W: Any, X: Any, y: Any) -> Any:
    """Least squares of a layer-normalised linear map."""
    z = X @ W
    centred = z - z.mean(axis=1, keepdims=True)
    scale = jax.lax.rsqrt((centred**2).mean(axis=1, keepdims=True) + 0.125)
    return jnp.mean((centred * scale - y) ** 2)


def attention_row(W: Any, X: Any, y: Any) -> Any:
    """A softmax-weighted mean of rows, against the mean of y."""
    keys = X @ W
    weights = jax.nn.softmax(keys @ keys[0])
    return jnp.sum((weights @ keys - y.mean(axis=0)) ** 2)


LOSSES = [least_squares, logistic, tanh_network, sigmoid_network, layer_norm, attention_row]


@pytest.mark.parametrize("loss", LOSSES)
@given(
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)),
    data=st.data(),
)
def test_jax_itself_is_within_the_bounds_in_both_precisions(
    loss: Callable[..., Any],
    shape: tuple[int, int, int],
    data: st.DataObject,
    draws: int,
) -> None:
    N, D, K = shape
    args64 = np.zeros((D, K)), np.zeros((N, D)), np.zeros((N, K))
    gradient = jax.value_and_grad(loss)
    comparer = Comparer(gradient, *args64)
    compiled = jax.jit(gradient)
    for draw in range(draws):
        dtype = (np.float32, np.float64)[draw % 2]
        rng = np.random.default_rng(data.draw(seeds))
        args = [(rng.normal(size=array.shape)).astype(dtype) for array in args64]
        comparison = comparer(compiled(*args), *args)
        assert comparison.verdict == Verdict.MATCH, comparison
