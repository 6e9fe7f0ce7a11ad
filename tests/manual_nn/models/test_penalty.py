"""The penalty, its gradient and its derivative along a direction, in numbers that do not round."""

import numpy as np
import pytest

from manual_nn import Dense
from manual_nn.models import penalty

PARAMS = (
    Dense(np.array([[1.0, -2.0]]), np.array([8.0, 8.0])),
    Dense(np.array([[3.0], [0.5]]), np.array([8.0])),
)
TANGENTS = (
    Dense(np.array([[4.0, 1.0]]), np.array([16.0, 16.0])),
    Dense(np.array([[-1.0], [4.0]]), np.array([16.0])),
)


def test_the_penalty_is_of_the_weights_alone() -> None:
    assert penalty.forward(PARAMS, 0.5) == 0.5 * (1 + 4 + 9 + 0.25)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_decay_no_weight_is_squared(dtype: type[np.floating]) -> None:
    params = (Dense(np.full((1, 1), np.finfo(dtype).max, dtype), np.zeros(1, dtype)),)
    value = penalty.forward(params, 0.0)
    assert value == 0
    assert value.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squares_may_be_too_large_where_the_penalty_is_not(dtype: type[np.floating]) -> None:
    large = 2.0 ** (np.finfo(dtype).maxexp * 3 // 4)
    params = (Dense(np.full((1, 2), large, dtype), np.zeros(2, dtype)),)
    assert penalty.forward(params, 1 / large) == 2 * large


def test_the_gradient_is_added_in_place_and_its_part_computed_where_it_is_given_a_place() -> None:
    weight, d_weight, out = PARAMS[1].weight, np.array([[1.0], [1.0]]), np.empty((2, 1))
    penalty.add_backward(d_weight, weight, 0.25, out=out)
    np.testing.assert_array_equal(d_weight, [[2.5], [1.25]])
    np.testing.assert_array_equal(out, [[1.5], [0.25]])
    penalty.add_backward(d_weight, weight, 0.25)
    np.testing.assert_array_equal(d_weight, [[4.0], [1.5]])
    np.testing.assert_array_equal(weight, [[3.0], [0.5]])


def test_along_a_direction_it_is_the_inner_product_with_the_gradient() -> None:
    before = [weight.copy() for weight, _ in PARAMS]
    gradient = [np.zeros_like(weight) for weight, _ in PARAMS]
    for d_weight, (weight, _) in zip(gradient, PARAMS, strict=True):
        penalty.add_backward(d_weight, weight, 0.25)
    want = sum(
        np.vdot(d_weight, R_weight)
        for d_weight, (R_weight, _) in zip(gradient, TANGENTS, strict=True)
    )
    assert penalty.jvp(PARAMS, TANGENTS, 0.25) == want == (4 - 2 - 3 + 2) / 2
    for weight, (left, _) in zip(before, PARAMS, strict=True):
        np.testing.assert_array_equal(left, weight)


def test_what_comes_late_in_a_large_weight_is_not_lost_in_float32() -> None:
    """The squares beside 2^37 add up to 2^14, each of them far less than half a unit of it."""
    squares = np.repeat([2.0**24, 1, 4], [penalty.BLOCK, penalty.BLOCK, penalty.BLOCK // 4])
    weight = np.sqrt(squares).astype(np.float32).reshape(-1, 4)
    params = (Dense(weight, np.zeros(4, np.float32)),)
    want = np.float32(2**37 + 2**14)
    assert want - 2**14 == 2**37
    for value in (penalty.forward(params, 1.0), penalty.jvp(params, params, 0.5)):
        assert value == want
        assert value.dtype == np.float32


def test_what_is_too_large_is_infinite_without_a_warning() -> None:
    weight = np.full((5, penalty.BLOCK), 1e17, np.float32)  # the sum of a block is finite
    params = (Dense(weight, np.zeros(penalty.BLOCK, np.float32)),)
    assert np.isfinite(np.vdot(weight[0], weight[0]))
    assert penalty.forward(params, 1.0) == np.inf
    assert penalty.jvp(params, params, 0.5) == np.inf


@pytest.mark.parametrize("seed", range(9))
def test_along_a_direction_it_is_computed_in_float32(seed: int) -> None:
    """As NumPy takes an inner product of many float32 numbers, whatever its library adds up in."""
    weight, R_weight = np.random.default_rng(seed).normal(size=(2, 500, 1)).astype(np.float32)
    bias = np.zeros(1, np.float32)
    derivative = penalty.jvp((Dense(weight, bias),), (Dense(R_weight, bias),), 0.25)
    assert derivative == np.vdot(np.float32(0.5) * weight, R_weight)
    assert derivative.dtype == np.float32
