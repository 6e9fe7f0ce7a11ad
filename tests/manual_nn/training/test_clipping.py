"""Clipping to a norm: exact ones, and those whose squares leave the range of floats."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn import Dense
from manual_nn.training.clipping import clip_to_norm, norm_of


def gradient_of(*parts: float, dtype: npt.DTypeLike = np.float64) -> tuple[Dense, ...]:
    """Build two layers that have these four numbers."""
    a, b, c, d = np.array(parts, dtype)
    return Dense(np.array([[a]]), np.array([b])), Dense(np.array([[c]]), np.array([d]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("max_norm", "factor"), [(2.5, 0.5), (5.0, 1.0), (4.9375, 0.9875), (7.0, 1.0)]
)
def test_a_longer_gradient_is_shortened_and_a_shorter_stays(
    dtype: npt.DTypeLike, max_norm: float, factor: float
) -> None:
    """The norm of (1, 2, 2, 4) is 5, over weights and biases of both layers."""
    gradient = gradient_of(1, -2, 2, 4, dtype=dtype)
    clip_to_norm(gradient, max_norm)
    want = np.array([1, -2, 2, 4], dtype) * np.asarray(factor, dtype)
    np.testing.assert_array_equal(np.concatenate([a.ravel() for a in flat(gradient)]), want)


def flat(gradient: tuple[Dense, ...]) -> list[npt.NDArray[np.floating]]:
    return list(itertools.chain(*gradient))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", ["max", "tiny", "smallest_subnormal"])
def test_the_norm_is_right_where_squares_overflow_or_vanish(
    dtype: type[np.floating], part: str
) -> None:
    scale = float(getattr(np.finfo(dtype), part))
    scale = 2.0 ** (int(np.log2(scale)) - (3 if part == "max" else 0))
    gradient = gradient_of(scale, 2 * scale, 2 * scale, 4 * scale, dtype=dtype)
    assert norm_of(gradient) == 5 * scale
    if part != "smallest_subnormal":
        clip_to_norm(gradient, 2.5 * scale)
        assert [float(array.item()) for array in flat(gradient)] == [
            scale * factor for factor in (0.5, 1, 1, 2)
        ]


def test_the_norm_changes_its_way_where_both_give_the_same() -> None:
    """On both sides of each border; numbers, squares, sums and root round eight times at most."""
    held = np.finfo(np.float32)
    for border in (np.sqrt(float(held.max)), np.sqrt(float(held.tiny / held.eps))):
        for scale in border / 5 * np.array([0.5, 0.999, 1.001, 2.0]):
            norm = norm_of(gradient_of(scale, 2 * scale, 2 * scale, 4 * scale, dtype=np.float32))
            assert abs(norm - 5 * scale) <= 8 * held.eps / 2 * norm


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_gradient_that_is_not_finite_stays(value: float) -> None:
    gradient = gradient_of(1, value, 2, 3)
    clip_to_norm(gradient, 1.0)
    np.testing.assert_array_equal([array.item() for array in flat(gradient)], [1, value, 2, 3])


def test_a_gradient_of_zeros_stays() -> None:
    gradient = gradient_of(0, 0, 0, 0)
    clip_to_norm(gradient, 1e-300)
    assert norm_of(gradient) == 0
    assert not any(array.any() for array in flat(gradient))
