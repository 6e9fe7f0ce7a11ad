"""Arithmetic chosen to be exact, and logits chosen to be extreme: equality bit for bit.

Axes: N rows in the batch, D inputs, H hidden units, K classes.
"""

import warnings
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from reference.bounds.tracing import Traced
from tests.support.bounds import bounded_leaves, loss_and_grad_by_jax
from tests.support.cases import each
from tests.support.exact import integer_network
from tests.support.strategies import Network, dtypes, seeds


@pytest.mark.long
@given(
    seed=seeds,
    D=st.integers(1, 4),
    hidden=st.integers(0, 4),
    K=st.integers(1, 4),
    N=st.sampled_from([1, 2, 4, 8]),
    dtype=dtypes,
    weight_decay=st.sampled_from([0.0, 0.25, 1.0]),
)
def test_exact_arithmetic_gives_the_bits_of_jax(
    seed: int,
    D: int,
    hidden: int,
    K: int,
    N: int,
    dtype: type[np.floating],
    weight_decay: float,
) -> None:
    params, X, y = integer_network(seed, D=D, hidden=hidden, K=K, N=N, dtype=dtype)
    want, d_X, classes = jax.jit(everything_by_jax)(params, X, y, weight_decay)
    for function in (manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad):
        got = function(params, X, y, weight_decay=weight_decay)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            assert one.dtype == other.dtype == dtype
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(manual_nn.input_grad(params, X, y), d_X)
    np.testing.assert_array_equal(manual_nn.predict(params, X), classes)


def everything_by_jax(params: Params, X: Array, y: Array, weight_decay: float) -> object:
    """Compute what the test compares, under one compilation."""
    return (
        reference.loss_and_grad(params, X, y, weight_decay=weight_decay),
        reference.input_grad(params, X, y),
        reference.predict(params, X),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("function", "of_inputs"),
    [
        pytest.param(manual_nn.loss_and_grad, manual_nn.input_grad, id="batch"),
        pytest.param(manual_nn.rowwise.loss_and_grad, None, id="rowwise"),
        pytest.param(jax.jit(reference.loss_and_grad), jax.jit(reference.input_grad), id="jax"),
    ],
)
def test_the_derivative_of_relu_at_zero_is_zero(
    function: Any, of_inputs: Any, dtype: type[np.floating]
) -> None:
    """Units whose pre-activation is exactly -1/2, 0, 1: only the last lets the gradient through."""
    params = (
        Dense(np.array([[1, 1, 1]], dtype), np.array([-1.5, -1, 0], dtype)),
        Dense(np.array([[0, 2048], [0, 2048], [0, 2048]], dtype), np.array([0, 0], dtype)),
    )
    X, y = np.ones((1, 1), dtype), np.array([0])
    expected = ([[0, 0, 2048]], [0, 0, 2048], [[0, 0], [0, 0], [-1, 1]], [-1, 1])
    _, gradient = function(params, X, y)
    for d_leaf, want in zip(jax.tree.leaves(gradient), expected, strict=True):
        np.testing.assert_array_equal(d_leaf, want)
    if of_inputs is not None:
        np.testing.assert_array_equal(of_inputs(params, X, y), [[2048]])


EXTREMES = [(np.float32, 1e4), (np.float32, 1e38), (np.float64, 1e300), (np.float64, 1e308)]


@each(("dtype", "size"), EXTREMES)
@each("label", [0, 1])
@each("N", [1, 4])
def test_huge_logits_give_a_finite_loss_the_right_gradient_and_no_warning(
    dtype: type[np.floating], size: float, label: int, N: int
) -> None:
    """Logits (size + 1, -size - 1): p is (1, 0), the loss 0 or 2 (size + 1), for either label."""
    params = (Dense(np.array([[1, -1]], dtype), np.array([size, -size], dtype)),)
    X, y = np.ones((N, 1), dtype), np.full(N, label)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, ((d_weight, d_bias),) = manual_nn.loss_and_grad(params, X, y)
        row_loss, ((row_d_weight, row_d_bias),) = manual_nn.rowwise.loss_and_grad(params, X, y)
        d_X = manual_nn.input_grad(params, X, y)
        probabilities = manual_nn.predict_proba(params, X)
    largest = float(np.finfo(dtype).max)
    assert loss == row_loss == (0 if label == 0 else min(2 * float(dtype(size) + 1), largest))
    want = [0, 0] if label == 0 else [1, -1]
    for d_leaf in (d_weight[0], d_bias, row_d_weight[0], row_d_bias):
        np.testing.assert_array_equal(d_leaf, want)
    np.testing.assert_array_equal(d_X, [[0 if label == 0 else 2 / N]] * N)
    np.testing.assert_array_equal(probabilities, [[1, 0]] * N)


def test_one_class_is_certain_and_has_no_gradient() -> None:
    params = (Dense(np.array([[3.0]]), np.array([-1.0])),)
    loss, ((d_weight, d_bias),) = manual_nn.loss_and_grad(params, [[2.0], [5.0]], [0, 0])
    assert loss == 0
    assert d_weight == 0
    assert d_bias == 0


def test_equal_rows_have_the_gradient_of_one_of_them() -> None:
    """Four equal rows: sums of four equal terms, each a quarter, are exact."""
    params = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0))
    X = np.array([[1.0, -2.0, 0.5]])
    one = manual_nn.rowwise.loss_and_grad(params, X, [1])
    four = manual_nn.rowwise.loss_and_grad(params, np.repeat(X, 4, axis=0), [1] * 4)
    for single, mean in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_array_equal(single, mean)


def test_a_worked_example() -> None:
    """Every number by hand, in the order of mlp.md.

    z_1 = (1, -1), a_1 = (1, 0), z_2 = (1 + ln 3, 1), p = (3/4, 1/4), d_z_2 = (-1/4, 1/4),
    d_a_1 = (1/4, ...), d_z_1 = (1/4, 0); 2 weight_decay W = W; the weights' squares sum to 65.
    """
    params = (
        Dense(np.array([[1.0, -1.0]]), np.array([0.0, 0.0])),
        Dense(np.array([[1.0, 2.0], [3.0, 7.0]]), np.array([np.log(3.0), -1.0])),
    )
    X, y, weight_decay = np.array([[1.0]]), np.array([0]), 0.5
    want = [
        np.log(4 / 3) + 0.5 * 65,
        [[0.25 + 1, 0 - 1]],
        [0.25, 0],
        [[-0.25 + 1, 0.25 + 2], [0 + 3, 0 + 7]],
        [-0.25, 0.25],
    ]
    network = Network(params, X, y, weight_decay)
    bounds = bounded_leaves(Traced(loss_and_grad_by_jax, *network), network, np.float64)
    for function in (manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad):
        got = jax.tree.leaves(function(params, X, y, weight_decay=weight_decay))
        for leaf, expected, (_, bound) in zip(got, want, bounds, strict=True):
            assert (abs(leaf - np.array(expected)) <= bound).all()


@pytest.mark.parametrize(
    ("dtype", "size", "decay"), [(np.float32, 66, -33), (np.float64, 530, -60)]
)
def test_a_penalty_is_finite_though_the_squares_of_the_weights_are_not(
    dtype: type[np.floating], size: int, decay: int
) -> None:
    """Powers of 2, beside which the cross-entropy, ln 2, is nothing; the unit is off."""
    large = 2.0**size
    params = (
        Dense(np.full((1, 1), large, dtype), np.full(1, -large, dtype)),
        Dense(np.full((1, 2), large, dtype), np.full(2, large, dtype)),
    )
    for function in (manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad):
        loss, _ = function(params, [[0.0]], [0], weight_decay=2.0**decay)
        assert loss == 3 * 2.0 ** (decay + 2 * size)
        assert function(params, [[0.0]], [0])[0] == np.log(dtype(2))


def test_without_decay_a_jvp_takes_no_square_of_a_weight() -> None:
    params = (Dense(np.array([[1e160, 0.0]]), np.zeros(2)),)
    _, d_loss = manual_nn.jvp(params, params, [[0.0]], [0])
    assert d_loss == 0


@pytest.mark.parametrize("function", [manual_nn.jvp, manual_nn.hvp, manual_nn.ggnvp])
def test_tangents_that_overflow_are_refused(function: Any) -> None:
    params = (Dense(np.array([[1.0, -1.0]]), np.zeros(2)), Dense(np.eye(2), np.zeros(2)))
    tangents = (Dense(np.array([[1e308, 0.0]]), np.zeros(2)), Dense(np.eye(2), np.zeros(2)))
    with pytest.raises(ValueError, match="X, params and tangents must give finite derivatives"):
        function(params, tangents, [[10.0]], [0])


@pytest.mark.parametrize("function", [manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad])
def test_pre_activations_that_overflow_are_refused(function: Any) -> None:
    params = (Dense(np.full((1, 2), 1e200), np.zeros(2)),)
    with pytest.raises(ValueError, match="X and params must give finite pre-activations"):
        function(params, [[1e200]], [0])


def test_inputs_beyond_float32_are_named_as_they_were_given() -> None:
    params = (Dense(np.ones((2, 2), np.float32), np.zeros(2, np.float32)),)
    with pytest.raises(ValueError, match=r"X must be within float32 .*got 1e\+39 at \[1, 0\]"):
        manual_nn.loss(params, [[0.0, 1.0], [1e39, 0.0]], [0, 1])


@pytest.mark.parametrize("exponent", [-400, 400])
def test_weights_beyond_float64_are_refused(exponent: int) -> None:
    weights = np.array([10], np.longdouble) ** exponent
    if weights[0] in {0, np.inf}:  # where long double is no longer than double
        weights[0] = 0
    params = (Dense(np.ones((1, 2)), np.zeros(2)),)
    with pytest.raises(ValueError, match="sample_weight must"):
        manual_nn.loss(params, [[1.0]], [0], sample_weight=weights)
