"""Momentum by hand: optax's velocity and direction, and numbers that are exact."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn import SGD, Dense
from manual_nn.training.sgd import sgd_step


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("optimizer", "velocity", "direction"),
    [(SGD(0.5), 4 / 2 + 3, 5), (SGD(0.5, nesterov=True), 5, 3 + 5 / 2)],
)
def test_a_direction_is_of_the_new_velocity(
    optimizer: SGD, velocity: float, direction: float, dtype: npt.DTypeLike
) -> None:
    moments, spare = [np.array([4], dtype)], np.empty(1, dtype)
    got = optimizer.direction(np.array([3], dtype), moments, 1, spare)
    assert moments[0] == velocity
    assert got == direction
    assert got.dtype == moments[0].dtype == dtype


def test_without_momentum_the_direction_is_the_gradient() -> None:
    d_array = np.array([3.0])
    assert SGD().direction(d_array, [], 1, np.empty(1)) is d_array
    assert SGD().usual_learning_rate == 0.1
    assert not SGD().decoupled


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"momentum": 1}, ValueError, "momentum must be below 1, got 1"),
        ({"momentum": -0.5}, ValueError, "momentum must be .* at least 0, got -0.5"),
        ({"momentum": "0.9"}, TypeError, "momentum must be a real number, got str"),
        ({"nesterov": True}, ValueError, "momentum must be above 0 with nesterov, got 0"),
        ({"momentum": 0.5, "nesterov": 1}, TypeError, "nesterov must be a bool, got int"),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        SGD(**settings)
