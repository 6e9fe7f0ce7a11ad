"""A step of stochastic gradient descent is the gradient's, from JAX, under the derived bound.

Axes: N rows in the batch, D inputs, K classes.
"""

import functools
import itertools
import tracemalloc
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.training.sgd import SGD, sgd_step
from reference import Comparer, Verdict
from tests.conftest import depth
from tests.support.strategies import Shape, dtypes, make_network, seeds, shapes

FEWER = settings(max_examples=depth().compilations)  # each compiles for a second

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
    np.testing.assert_array_equal(params[0].weight, [[1, 2]])
    np.testing.assert_array_equal(params[0].bias, [3, -4])
    np.testing.assert_array_equal(gradient[0].weight, [[8, -4]])
    np.testing.assert_array_equal(gradient[0].bias, [0, 2])


@pytest.mark.parametrize("learning_rate", [np.float64(0.5), np.float32(0.5), 1])
def test_the_plain_update_keeps_float32_whatever_number_the_rate_is(learning_rate: Any) -> None:
    params = manual_nn.init_params([3, 2], rng=np.random.default_rng(0), dtype=np.float32)
    (layer,) = sgd_step(params, params, learning_rate)
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0"):
        sgd_step(params, params, 0 * learning_rate)


def wide_sgd() -> SGD:
    """Start a descent of many inputs and few classes: beside a batch all else is small."""
    params = (Dense(np.zeros((1000, 2)), np.zeros(2)),)
    X, target = np.ones((500, 1000)), np.full((500, 2), 0.5)
    return SGD(params, X, target, batch_size=500, learning_rate=0.5, weight_decay=0.0)


def test_a_step_takes_its_batch_into_an_array_that_is_there() -> None:
    sgd, rows = wide_sgd(), np.arange(500)
    sgd.step(rows)
    tracemalloc.start()
    sgd.step(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < sgd.X.nbytes


def test_a_step_goes_up_and_down_in_arrays_that_are_there() -> None:
    params = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0))
    X, target = np.ones((5, 3)), np.full((5, 2), 0.5)
    sgd = SGD(params, X, target, batch_size=5, learning_rate=0.5, weight_decay=0.25)
    arrays = sgd._workspace.arrays(5)
    for array in (*arrays.z, *arrays.d_z):
        array.fill(np.nan)
    sgd.step(np.arange(5))
    for array in (*arrays.z, *arrays.d_z):
        assert np.isfinite(array).all()


def test_descents_at_the_same_time_do_not_share_the_arrays_of_their_batches() -> None:
    one, other = wide_sgd(), wide_sgd()
    assert not np.shares_memory(one._X, other._X)
    assert not np.shares_memory(one._target, other._target)


def test_a_small_decay_is_not_lost_in_float32() -> None:
    """From a factor 1 - 2e-8 float32 would make 1. With X = 0 nothing else moves the weights."""
    params = (Dense(np.full((1, 2), 1e-30, np.float32), np.zeros(2, np.float32)),)
    X, target = np.zeros((1, 1), np.float32), np.full((1, 2), 0.5, np.float32)
    sgd = SGD(params, X, target, batch_size=1, learning_rate=0.1, weight_decay=1e-7)
    sgd._workspace.gradient[0].weight[:] = np.nan  # must be written to
    sgd.step(np.array([0]))
    step = sgd._workspace.gradient[0].weight
    np.testing.assert_array_equal(step, np.float32(2 * (0.1 * 1e-7)) * params[0].weight)


@given(seed=seeds, exponent=st.floats(-7, 0), small=st.sampled_from([1e-12, 1e-6, 1.0]))
@example(seed=64, exponent=-5.0, small=1e-6)
def test_a_step_of_decay_alone_is_within_the_bound_of_jax_s_formula(
    seed: int, exponent: float, small: float
) -> None:
    """Large weights and a small gradient: all rounding is that of the update."""
    rng = np.random.default_rng(seed)
    params = (
        Dense(
            rng.uniform(0.5, 1, size=(60, 2)).astype(np.float32),
            rng.uniform(0.5, 1, size=2).astype(np.float32),
        ),
    )
    X, y = (small * rng.normal(size=(1, 60))).astype(np.float32), rng.integers(2, size=1)
    target, weight_decay = np.eye(2, dtype=np.float32)[y], 10.0**exponent
    sgd = SGD(
        params, X, target, batch_size=1, learning_rate=LEARNING_RATE, weight_decay=weight_decay
    )
    sgd.step(np.array([0]))
    args = params, X, y, weight_decay, None
    assert decay_comparer(*args)(sgd.params, *args).verdict is Verdict.MATCH


@functools.cache
def _compiled() -> list[Comparer]:
    return []


def decay_comparer(*args: Any) -> Comparer:
    """Compile the one shape once."""
    if not _compiled():
        _compiled().append(Comparer(jax_step, *args))
    return _compiled()[0]


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
