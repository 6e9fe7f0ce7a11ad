"""What a comparison could have seen, from leaves made by hand."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reference import Leaf
from reference.sensitivity import blind_spots, sensitivity
from tests.support.leaves import leaf_of, off_by


def test_sensitivity_is_the_bound_in_parts_of_the_gradient() -> None:
    assert sensitivity(off_by("", [1.0, 4.0, 8.0], bound=[0.25, 2.0, 6.0])) == 0.25
    assert sensitivity(off_by("", [-1.0, 4.0, 8.0], bound=[0.25, 2.0, 6.0])) == 0.25
    assert sensitivity(off_by("", [1.0, 4.0, 8.0], bound=[0.25, 2.0, 6.0]), 0.5) == 0.5
    assert sensitivity(off_by("", [0.0, 0.0], bound=[0.5, 0.0])) == np.inf
    assert sensitivity(off_by("", np.zeros((0, 3)))) == np.inf


def right(want: Any, bound: Any, dtype: npt.DTypeLike = np.float64, path: str = "") -> Leaf:
    """Make an array that was computed right."""
    return leaf_of(want, want, bound, path, dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_may_be_flushed_to_0_are_counted(dtype: npt.DTypeLike) -> None:
    tiny = float(np.finfo(dtype).tiny)  # itself normal
    leaf = right([tiny, tiny / 2, -tiny / 4, 0, 1, -1], 0 * np.ones(6), dtype)
    name = np.dtype(dtype).name
    assert blind_spots([leaf]) == [
        f"gradient has 2 elements too small for a normal {name}, which may be flushed to 0"
    ]


def test_an_array_is_blind_from_half_of_the_digits_on() -> None:
    """At 2^-26 for float64, of half of its elements; one whose bound is infinite says so itself."""
    half = 2.0**-26
    seen = right([1, 2, -4], [0, 2 * half, 4])
    unseen = right([1, 2, -4], [0, 2.5 * half, 4], path="[1]")
    unbounded = right([1, 1, 1], [np.inf, 1, 1])
    assert blind_spots([seen]) == []
    assert blind_spots([unbounded, unseen, unbounded]) == [
        "at half of gradient[1] an element could be off by 2e-08 of itself or more unseen"
    ]


def test_where_the_gradient_is_0_the_error_that_shows_is_said() -> None:
    assert blind_spots([right([0, 0], [0, 0])]) == []  # every error does
    assert blind_spots([right([0, 0], [0.5, 0.25])]) == [
        "gradient is 0: only errors above 0.5 show"
    ]
