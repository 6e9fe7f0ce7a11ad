"""Adam and AdamW: their settings, and steps that are exact; optax's are in test_descent.py."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn import Adam, AdamW
from manual_nn.arrays import Array

# A first gradient of 6 makes m = 3 and v = 9; m' = 3 / (1/2) and v' = 9 / (1/4).
EXACT = Adam(beta1=0.5, beta2=0.75, eps=2.0)


def directions(
    optimizer: Adam, gradients: list[float], dtype: npt.DTypeLike
) -> tuple[list[float], list[Array]]:
    """Take steps of one weight, and give the directions and the last moments."""
    moments, spare, found = [np.zeros(1, dtype), np.zeros(1, dtype)], np.empty(1, dtype), []
    for step, gradient in enumerate(gradients, start=1):
        direction = optimizer.direction(np.array([gradient], dtype), moments, step, spare)
        assert direction.dtype == dtype
        found.append(float(direction[0]))
    return found, moments


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_direction_is_the_gradient_by_its_size_and_eps(
    dtype: npt.DTypeLike, sign: int
) -> None:
    (direction,), (mean, square) = directions(EXACT, [6.0 * sign], dtype)
    assert (mean[0], square[0]) == (3 * sign, 9)
    assert direction == 6 / (6 + 2) * sign


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_second_direction_has_what_remains_of_both_means(dtype: npt.DTypeLike) -> None:
    """m = 3/2 + 3 and m' = m / (3/4) = 6; v = 27/4 + 9/4 = 9 and v' = v / (7/16) = 144/7."""
    second, (mean, square) = directions(EXACT, [6.0, 6.0], dtype)
    assert (mean[0], square[0]) == (4.5, 6.75 + 9)
    assert second[1] == 6 / (6 + 2)
    second, (mean, square) = directions(EXACT, [6.0, -12.0], dtype)
    assert (mean[0], square[0]) == (1.5 - 6, 6.75 + 36)
    root = np.sqrt(np.asarray(42.75, dtype) / np.asarray(0.4375, dtype))
    assert second[1] == -6 / (root + 2)


def test_equal_gradients_have_equal_directions_however_many_there_were() -> None:
    found, _ = directions(Adam(), [0.25] * 50, np.float64)
    np.testing.assert_allclose(found, 0.25 / (0.25 + 1e-8), rtol=1e-12)


@pytest.mark.parametrize("optimizer", [Adam(), AdamW()])
def test_a_gradient_of_zero_gives_no_direction(optimizer: Adam) -> None:
    assert directions(optimizer, [0.0, 0.0], np.float32)[0] == [0.0, 0.0]


def test_the_settings_are_those_of_the_paper() -> None:
    for optimizer in (Adam(), AdamW()):
        assert (optimizer.beta1, optimizer.beta2, optimizer.eps) == (0.9, 0.999, 1e-8)
        assert optimizer.usual_learning_rate == 0.001
    assert Adam() != AdamW()
    assert (Adam.decoupled, AdamW.decoupled) == (False, True)


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"beta1": 1.0}, ValueError, "beta1 must be below 1, got 1.0"),
        ({"beta2": 1}, ValueError, "beta2 must be below 1, got 1"),
        ({"beta1": -0.1}, ValueError, "beta1 must be a finite number of at least 0, got -0.1"),
        ({"beta2": np.nan}, ValueError, "beta2 must be a finite number of at least 0, got nan"),
        ({"beta2": "0.9"}, TypeError, "beta2 must be a real number, got str"),
        ({"eps": 0.0}, ValueError, "eps must be a finite number above 0, got 0.0"),
        ({"eps": None}, TypeError, "eps must be a real number, got NoneType"),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: type[Adam], settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        kind(**settings)


def test_the_least_of_the_settings_is_none_of_the_past() -> None:
    found, _ = directions(Adam(beta1=0, beta2=0, eps=1.0), [6.0, -3.0], np.float64)
    assert found == [6 / 7, -3 / 4]
    assert type(Adam(beta1=0).beta1) is float
