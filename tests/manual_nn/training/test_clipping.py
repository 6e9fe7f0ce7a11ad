"""Clipping to a norm: exact ones, and those whose squares leave the range of floats."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from manual_nn.training.clipping import clip_to_norm, norm_of

PARTS = np.array([1.0, -2.0, 2.0, 4.0, -12.0, 0.0, 84.0])  # of norm 85


def gradient_of(parts: Array, dtype: npt.DTypeLike = np.float64) -> Params:
    """Build two layers that have these seven numbers."""
    parts = parts.astype(dtype)
    return (
        Dense(parts[:2].reshape(1, 2), parts[2:4].copy()),
        Dense(parts[4:6].reshape(2, 1), parts[6:].copy()),
    )


def numbers_in(gradient: Params) -> Array:
    return np.concatenate([array.ravel() for array in itertools.chain(*gradient)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("max_norm", "factor"), [(42.5, 0.5), (85.0, 1.0), (79.6875, 0.9375), (119.0, 1.0)]
)
def test_a_longer_gradient_is_shortened_and_a_shorter_stays(
    dtype: npt.DTypeLike, max_norm: float, factor: float
) -> None:
    gradient = gradient_of(PARTS, dtype)
    clip_to_norm(gradient, max_norm)
    np.testing.assert_array_equal(numbers_in(gradient), (PARTS * factor).astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", ["max", "tiny", "smallest_subnormal"])
def test_the_norm_is_right_where_squares_overflow_or_vanish(
    dtype: type[np.floating], part: str
) -> None:
    exponent = int(np.log2(float(getattr(np.finfo(dtype), part))))
    scale = 2.0 ** (exponent - 8 if part == "max" else exponent)
    gradient = gradient_of(scale * PARTS, dtype)
    assert norm_of(gradient) == 85 * scale
    np.testing.assert_array_equal(numbers_in(gradient), scale * PARTS)
    if part != "smallest_subnormal":
        clip_to_norm(gradient, 42.5 * scale)
        np.testing.assert_array_equal(numbers_in(gradient), scale * PARTS / 2)


@pytest.mark.parametrize("place", range(7))
@pytest.mark.parametrize("scale", [5e-324, 2.0**-500, 1.0, 2.0**1000, np.finfo(float).max])
def test_each_number_counts(place: int, scale: float) -> None:
    parts = np.zeros(7)
    parts[place] = -scale
    gradient = gradient_of(parts)
    assert norm_of(gradient) == scale
    clip_to_norm(gradient, scale / 4)
    assert norm_of(gradient) == scale / 4


def test_the_norm_is_as_exact_on_both_sides_of_where_it_changes_its_way() -> None:
    """Numbers, squares, sums and the root round no more than ten times in a row."""
    held = np.finfo(np.float32)
    borders = [float(x) for x in (held.max, held.tiny / held.eps, held.tiny, held.tiny * held.eps)]
    for border in np.sqrt(borders):
        for scale in border / 85 * np.array([0.5, 0.999, 1.001, 2.0, 5.3]):
            norm = norm_of(gradient_of(scale * PARTS, np.float32))
            assert abs(norm - 85 * scale) <= 10 * held.eps / 2 * norm


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", range(7))
def test_a_gradient_that_is_not_finite_stays(value: float, place: int) -> None:
    """Squares of the other numbers overflow, which nothing warns of."""
    parts = 1e200 * PARTS
    parts[place] = value
    gradient = gradient_of(parts)
    clip_to_norm(gradient, 1.0)
    np.testing.assert_array_equal(numbers_in(gradient), parts)


def test_a_gradient_of_zeros_stays() -> None:
    gradient = gradient_of(np.zeros(7))
    clip_to_norm(gradient, 1e-300)
    assert norm_of(gradient) == 0
    assert not numbers_in(gradient).any()
