"""Numbers fitted to a difference: the interval that is left, and what a bound explains."""

from typing import Any

import numpy as np
import numpy.typing as npt

from reference import Bounded, Leaf
from reference.diagnosis.fitting import Interval, fit, positive_numbers, worst_ratio
from tests.support.cases import each
from tests.support.leaves import leaf_of


def test_an_interval_has_its_ends_and_what_is_between() -> None:
    interval = Interval(1.0, 4.0)
    assert interval.middle == 2.5
    assert [number in interval for number in (0.5, 1, 2, 4.0, 4.5)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert not interval.__contains__("2")


@each(
    ("got", "unit", "error", "unit_error", "low", "high"),
    [
        (0.75, 1, 0.25, 0, 0.5, 1),
        (-6, 2, 0.5, 0, -3.25, -2.75),
        (0.5, 1, 1, 0, -0.5, 1.5),
        (0.5, 3, 0.25, 1, 0.0625, 0.375),  # 0.25 / (3 + 1) to 0.75 / (3 - 1)
        (-0.5, 3, 0.25, 1, -0.375, -0.0625),
        ([8, 2], [4, 0.5], [1, 0.25], 0, 3.5, 2.25),
        ([8, 1], [4, 0.5], [1, 0.25], 0, 1.75, 2.25),
        (3, 1, 0, 1, 1.5, np.inf),  # |3 - c| <= |c|
        (-3, 1, 0, 1, -np.inf, -1.5),
        (0.5, 1, 0, 1, 0.25, np.inf),
        (-0.5, 1, 0, 1, -np.inf, -0.25),
        (0, 1, 0, 1, -np.inf, np.inf),
        ([1, 5], 1, [np.inf, 0], 0, 5, 5),
        ([1, 5], 1, 0, [np.inf, 0], 5, 5),
    ],
)
def test_a_fit_gives_the_ends_of_what_all_elements_allow(
    got: Any, unit: Any, error: Any, unit_error: Any, low: float, high: float
) -> None:
    found = fit(got, unit, error, unit_error)
    assert found == ((low, high) if low <= high else None)


def test_nothing_is_fitted_to_what_is_infinite_or_without_a_bound() -> None:
    assert fit([np.inf], [1.0], 1.0, 0.0) is None
    assert fit([np.nan, 1.0], [1.0, 1.0], [np.inf, 0.0], 0.0) is None
    assert fit([1.0], [1.0], np.inf, 0.0) is None
    assert fit([1.0], [1.0], 0.0, np.inf) is None


# What a bound explains


def ratio_of(leaf: Leaf, value: npt.ArrayLike, error: npt.ArrayLike) -> float:
    return worst_ratio(leaf, Bounded(np.asarray(value, float), np.asarray(error, float)))


def test_the_worst_ratio_is_of_the_element_that_is_farthest_in_parts_of_its_bound() -> None:
    leaf = leaf_of([0, 0], [1, 2])
    assert ratio_of(leaf, [1.25, 2], [0.5, 0.25]) == 0.5
    assert ratio_of(leaf, [0.5, 2.25], [0.25, 1]) == 2
    assert ratio_of(leaf, [1, 2], [0, 0]) == 0
    assert ratio_of(leaf, [1, 2.5], [0, 0]) == np.inf
    assert ratio_of(leaf_of([], []), [], []) == 0


def test_what_is_infinite_or_may_be_anything_explains_only_what_is_right() -> None:
    assert ratio_of(leaf_of([1, 2], [np.nan, 2]), [1, 2], [1, 1]) == np.inf
    assert ratio_of(leaf_of([1, 2], [1.5, 2], 0.25), [0, 2], [np.inf, 1]) == np.inf
    assert ratio_of(leaf_of([1, 2], [1.25, 2], 0.25), [np.nan, 2], [np.inf, 1]) == 0
    assert ratio_of(leaf_of([1, 2], [1, 2]), [7, 2], [np.inf, 1]) == 0


def test_a_ratio_that_overflows_is_infinite() -> None:
    assert ratio_of(leaf_of([0], [1e300]), [0], [1e-300]) == np.inf


def test_the_positive_numbers_are_real_ones_alone() -> None:
    args = (0.5, 3, -1.0, 0.0, np.array([4.0]), {"a": np.float32(2), "b": [np.array(0.25)]}, "")[:6]
    assert positive_numbers(args) == [0.5, 2.0, 0.25]
