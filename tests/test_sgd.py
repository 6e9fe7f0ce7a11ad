"""A step of stochastic gradient descent is the gradient's, from JAX, under the derived bound.

Axes: N rows in the batch, D inputs, K classes.
"""

import itertools
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.sgd import SGD, sgd_step
from reference import Comparer, Verdict
from tests.strategies import Shape, dtypes, make_network, seeds, shapes

FEWER = settings(max_examples=max(1, settings().max_examples // 10))  # each compiles for a second

LEARNING_RATE = 0.125


def jax_step(params: Any, X: Any, y: Any, weight_decay: Any, sample_weight: Any) -> Any:
    _, gradient = reference.loss_and_grad(
        params, X, y, weight_decay=weight_decay, sample_weight=sample_weight
    )
    return jax.tree.map(lambda array, d_array: array - LEARNING_RATE * d_array, params, gradient)


@FEWER
@given(shape=shapes, dtype=dtypes, weighted=st.booleans(), data=st.data())
def test_a_step_is_jax_s_gradient_and_update(
    shape: Shape, dtype: type[np.floating], *, weighted: bool, data: st.DataObject
) -> None:
    comparer = None
    for seed in data.draw(st.lists(seeds, min_size=4, max_size=4)):
        params, X, y, weight_decay = make_network(shape, dtype, seed=seed)
        rng = np.random.default_rng(seed)
        weights = rng.integers(1, 9, size=len(X)).astype(dtype) if weighted else None
        sgd = SGD(
            params,
            X,
            y if shape.soft else np.eye(shape.sizes[-1], dtype=dtype)[y],
            batch_size=len(X) + 2,
            learning_rate=LEARNING_RATE,
            weight_decay=weight_decay,
            sample_weight=weights,
        )
        sgd.step(rng.permutation(len(X)))
        args = params, X, y, weight_decay, weights
        comparer = comparer or Comparer(jax_step, *args)
        assert comparer(sgd.params, *args).verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_of_exact_numbers_are_the_gradient_and_the_plain_update_to_the_bit(
    dtype: npt.DTypeLike,
) -> None:
    """Two equal logits: p is 1/2, and small dyadic numbers make every product and sum exact."""
    X = np.array([[1, 2, -1], [0, 3, 2], [4, 0, 1], [2, 1, -3]], dtype)
    target = np.eye(2, dtype=dtype)[[0, 1, 1, 0]]
    weight = np.array([[1, 1], [2, 2], [-3, -3]], dtype)
    params = (Dense(weight, np.array([1, 1], dtype)),)
    sgd = SGD(params, X, target, batch_size=4, learning_rate=0.5, weight_decay=0.25)
    sgd.step(np.arange(4))
    _, gradient = manual_nn.loss_and_grad(params, X, target, weight_decay=0.25)
    for got, want in zip(
        itertools.chain(*sgd.params), itertools.chain(*sgd_step(params, gradient, 0.5)), strict=True
    ):
        np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_plain_update_is_learning_rate_times_the_gradient_down(dtype: npt.DTypeLike) -> None:
    params = (Dense(np.array([[1.0, 2.0]], dtype), np.array([3.0, -4.0], dtype)),)
    gradient = (Dense(np.array([[8.0, -4.0]], dtype), np.array([0.0, 2.0], dtype)),)
    (layer,) = sgd_step(params, gradient, 0.25)
    np.testing.assert_array_equal(layer.weight, np.array([[-1.0, 3.0]], dtype), strict=True)
    np.testing.assert_array_equal(layer.bias, np.array([3.0, -4.5], dtype), strict=True)


def test_the_plain_update_rounds_as_its_formula_does() -> None:
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([3, 5, 4], rng=rng)
    gradient = manual_nn.init_params([3, 5, 4], rng=rng)
    for new, old, d_old in zip(
        itertools.chain(*sgd_step(params, gradient, 0.1)),
        itertools.chain(*params),
        itertools.chain(*gradient),
        strict=True,
    ):
        assert new.tobytes() == (old - 0.1 * d_old).tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
def test_steps_leave_where_they_start_as_it_is(order: Any) -> None:
    rng = np.random.default_rng(0)
    params = tuple(
        Dense(np.array(weight, order=order), bias)
        for weight, bias in manual_nn.init_params([3, 5, 4], rng=rng)
    )
    before = [array.copy() for array in itertools.chain(*params)]
    X, target = rng.normal(size=(6, 3)), np.eye(4)[rng.integers(4, size=6)]
    for array in (X, target, *itertools.chain(*params)):
        array.flags.writeable = False
    sgd = SGD(params, X, target, batch_size=6, learning_rate=0.1, weight_decay=0.1)
    sgd.step(np.arange(6))
    for array, copied, moved in zip(
        itertools.chain(*params), before, itertools.chain(*sgd.params), strict=True
    ):
        np.testing.assert_array_equal(array, copied)
        assert not np.array_equal(moved, copied)
        assert not np.shares_memory(moved, array)
