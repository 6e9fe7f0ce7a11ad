"""Choices are open where the numbers are close; (R9), (R10), (R11)."""

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from reference.arrays import Array
from reference.bounds.rounding import Bounded, Extreme, Kinks, may_tie, reach
from tests.support.bound_formulas import (
    EPS,
    INF,
    NAN,
    UNSURE,
    assert_bounds,
    bounded,
    call,
    coarse,
    columns,
)

# Two numbers with their errors, and whether either may be the larger.
NEAR: list[tuple[float, float, float, float, bool]] = [
    (1.0, 0.0, 1.0, 0.0, False),  # an exact tie
    (1.0, 0.25, 1.0, 0.0, True),
    (1.0, 0.0, 1.5, 0.5, True),
    (1.5, 0.25, 1.0, 0.25, True),
    (1.0, 0.25, 1.5, 0.125, False),
    (1.0, 0.0, 2.0, 0.0, False),
    (-1.0, 0.5, 1.0, 1.5, True),
    (INF, 0.0, INF, 0.0, False),
    (INF, INF, 1.0, 0.0, True),
    (INF, INF, INF, 0.0, True),
    (NAN, 0.0, 1.0, 0.0, False),
    (NAN, INF, 1.0, 0.0, True),
    (INF, 0.0, 1.0, 1.0, False),
]
NEAR_A, NEAR_B = columns([case[:4] for case in NEAR])
TIES = [case[4] for case in NEAR]
COMPARISONS = {
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_comparison_is_open_where_the_joint_error_reaches(name: str) -> None:
    for a, b in ((NEAR_A, NEAR_B), (NEAR_B, NEAR_A)):
        for kinks, unsure in (("decided", [False] * len(TIES)), ("open", TIES)):
            rounding = coarse(cast("Kinks", kinks))
            result = call(name, rounding, a, b)
            assert_bounds(result, COMPARISONS[name](a.value, b.value), unsure)
            assert rounding.open_kinks == sum(TIES)
            call(name, rounding, a, b)
            assert rounding.open_kinks == 2 * sum(TIES)


@pytest.mark.parametrize(
    ("name", "function"), [("lt_to", np.less), ("le_to", np.less_equal), ("eq_to", np.equal)]
)
def test_a_total_order_tells_zeros_apart_and_leaves_that_open(
    name: str, function: Callable[..., Array]
) -> None:
    a = bounded([1.0, 1.0, 2.0, -0.0, 0.0, 0.0, NAN, 1.0, -0.0], [0.5, 0, 0, 0, 0, 0, 0, 0, 0])
    b = bounded([1.25, 1.0, 1.0, 0.0, -0.0, 0.0, 1.0, NAN, 1.0])
    unsure = [True, False, False, True, True, False, True, True, False]
    want = function(a.value, b.value)
    want[3:5] = function([-1.0, 0.0], [0.0, -1.0])
    for kinks, error in (("decided", [False] * 9), ("open", unsure)):
        rounding = coarse(cast("Kinks", kinks))
        assert_bounds(call(name, rounding, a, b), want, error)
        assert rounding.open_kinks == 5
    whole = bounded([1, 2, 2], [True, False, False]), bounded([2, 2, 1])
    result = call(name, coarse("open"), *whole)
    assert_bounds(result, function(whole[0].value, whole[1].value), [True, False, False])


def test_what_is_compared_with_itself_is_open_where_it_may_be_no_number() -> None:
    operand = bounded([1.0, 1.0, INF], [0.5, INF, 0.0])
    result = call("eq", coarse("open"), operand, operand)
    assert_bounds(result, [True] * 3, [False, True, False])
    whole = bounded([1, 2], [True, False])
    assert_bounds(call("eq", coarse("open"), whole, whole), [True] * 2, [False] * 2)


def test_an_integer_may_be_any_where_it_is_unsure() -> None:
    a, b = bounded([1, 5, 5], [True, False, False]), bounded([7, 5, 9], [False, False, True])
    assert_bounds(call("lt", coarse("open"), a, b), [True, False, True], [True, False, True])
    assert reach(a).tolist() == [INF, 0, 0]
    assert reach(bounded([1.5], 0.25)).tolist() == [0.25]
    truths = bounded([True, False], [True, False]), bounded([False, False])
    assert_bounds(call("eq", coarse("open"), *truths), [False, True], [True, False])


@pytest.mark.parametrize(("name", "function"), [("max", np.maximum), ("min", np.minimum)])
def test_the_larger_of_two_is_as_far_off_as_the_farther_off(
    name: str, function: Callable[..., Array]
) -> None:
    for a, b in ((NEAR_A, NEAR_B), (NEAR_B, NEAR_A)):
        rounding = coarse("open")
        result = call(name, rounding, a, b)
        assert_bounds(result, function(a.value, b.value), np.maximum(a.error, b.error))
        assert rounding.open_kinks == 0
    whole = bounded([1, 2], [True, False]), bounded([3, 1])
    values = function(whole[0].value, whole[1].value)
    assert_bounds(call(name, coarse(), *whole), values, [True, False])


def test_a_clamped_number_is_as_far_off_as_the_number_and_its_limits() -> None:
    low, x, high = bounded(-1.0, 0.25), bounded([-3.0, 0.0, 3.0, 0.5], [0, 0.5, 0, 0]), bounded(2.0)
    assert_bounds(call("clamp", coarse(), low, x, high), [-1, 0, 2, 0.5], [0.25, 0.5, 0.25, 0.25])


# Rows, and which of their elements may or may not be the largest.
ROWS: list[tuple[list[float], list[float], list[int]]] = [
    ([1.0, 2.0, 3.0], [0.25, 0.25, 0.25], [0, 0, 0]),
    ([1.0, 2.5, 3.0], [0.0, 0.25, 0.25], [0, 1, 1]),
    ([1.0, 2.5, 3.0], [0.0, 0.5, 0.0], [0, 1, 1]),
    ([3.0, 2.5, 3.0], [0.0, 0.25, 0.0], [0, 0, 0]),  # an exact tie
    ([3.0, 2.5, 3.0], [0.0, 0.0, 0.5], [1, 1, 1]),
    ([3.0, 2.5, 3.0], [0.0, 0.5, 0.0], [1, 1, 1]),
    ([2.0, 0.0, 2.0], [0.25, 0.0, 0.0], [1, 0, 1]),
    ([1.0, 0.0, 2.0], [INF, 0.0, 0.0], [1, 0, 1]),
    ([1.0, 0.0, 2.0], [0.0, 0.0, INF], [1, 1, 1]),
]
RACES = bounded([row for row, _, _ in ROWS], [errors for _, errors, _ in ROWS])
OPEN = np.array([places for _, _, places in ROWS], bool)


@pytest.mark.parametrize(("name", "sign"), [("reduce_max", 1), ("reduce_min", -1)])
def test_which_element_is_the_largest_is_open_where_another_may_be(name: str, sign: int) -> None:
    operand = Bounded(sign * RACES.value, RACES.error)
    largest = call(name, coarse(), operand, axes=(1,))
    assert_bounds(largest, sign * RACES.value.max(axis=1), RACES.error.max(axis=1))
    column = call("reshape", coarse(), largest, new_sizes=(len(ROWS), 1))
    wide = call(
        "broadcast_in_dim", coarse(), column, shape=operand.value.shape, broadcast_dimensions=(0, 1)
    )
    for moved in (column, wide):
        assert (moved.value == sign * RACES.value.max(axis=1, keepdims=True)).all()
        for pair in ((operand, moved), (moved, operand)):
            rounding = coarse("open")
            result = call("eq", rounding, *pair)
            assert_bounds(result, operand.value == moved.value, OPEN)
            assert rounding.open_kinks == OPEN.sum()
    reversed_rows = call("rev", coarse(), column, dimensions=(0,))  # another row's largest
    by_errors = may_tie(operand, Bounded(reversed_rows.value, reversed_rows.error))
    with np.errstate(invalid="ignore"):
        assert (may_tie(operand, reversed_rows) == by_errors).all()
    assert (may_tie(operand, column) != may_tie(operand, Bounded(*column))).any()
    copy = Bounded(*operand)  # the same numbers, which need not have the same rounding
    assert (may_tie(copy, column) == may_tie(copy, Bounded(*column))).all()


def test_the_larger_of_two_is_compared_with_one_as_one_with_the_other() -> None:
    a, b = bounded([1.0, 2.0, 3.0], 0.25), bounded([1.5, 2.0, 1.0], [0.25, 0.0, 0.25])
    for name in ("max", "min"):
        extreme = call(name, coarse(), a, b)
        for choice in (a, b):
            result = call("eq", coarse("open"), choice, extreme)
            assert_bounds(result, choice.value == extreme.value, [True, True, False])
        column = call("reshape", coarse(), extreme, new_sizes=(3, 1))  # of an outer comparison
        assert (may_tie(a, column) == may_tie(a, Bounded(*column))).all()
        moved = call("rev", coarse(), extreme, dimensions=(0,))
        assert isinstance(moved, Extreme)
        assert moved.cell.tolist() == [2, 1, 0]
        assert (may_tie(a, moved) == may_tie(a, Bounded(*moved))).all()
        narrow = call(
            "slice", coarse(), extreme, start_indices=(0,), limit_indices=(1,), strides=None
        )
        assert may_tie(a, narrow).tolist() == may_tie(a, Bounded(*narrow)).tolist()


def test_a_maximum_of_all_elements_is_compared_with_each() -> None:
    x = bounded([[1.0, 2.0], [2.25, 0.0]], [[0, 0.25], [0.25, 0]])
    extreme = call("reduce_max", coarse(), x, axes=(0, 1))
    assert_bounds(extreme, 2.25, 0.25)
    assert_bounds(
        call("eq", coarse("open"), x, extreme),
        [[False, False], [True, False]],
        [[False, True], [True, False]],
    )


@pytest.mark.parametrize(("name", "sign"), [("argmax", 1), ("argmin", -1)])
def test_the_place_of_the_largest_is_open_where_another_may_be(name: str, sign: int) -> None:
    operand = Bounded(sign * RACES.value, RACES.error)
    for kinks, unsure in (("decided", OPEN.any(axis=1) & False), ("open", OPEN.any(axis=1))):
        rounding = coarse(cast("Kinks", kinks))
        result = call(name, rounding, operand, axes=(1,), index_dtype=np.int32)
        assert_bounds(result, RACES.value.argmax(axis=1), unsure)
        assert result.value.dtype == np.int32
        assert rounding.open_kinks == OPEN.any(axis=1).sum()


def test_the_largest_of_integers_and_of_booleans() -> None:
    whole = bounded([[5, 3, 0], [5, 3, 0]], [[False, True, False], [False] * 3])
    largest = call("reduce_max", coarse(), whole, axes=(1,))
    assert_bounds(largest, [5, 5], [True, False])
    place = call("argmax", coarse("open"), whole, axes=(1,), index_dtype=np.int64)
    assert_bounds(place, [0, 0], [True, False])
    truths = bounded(
        [[False, True, True], [False, True, False]], [[True, False, False], [False] * 3]
    )
    assert_bounds(call("reduce_max", coarse(), truths, axes=(1,)), [True, True], [True, False])
    first = call("argmax", coarse("open"), truths, axes=(1,), index_dtype=np.int64)
    assert_bounds(first, [1, 1], [True, False])


CASE_A = bounded([1.0, 2.0, -3.0, 4.0], [0.25, 0, 0.5, 0.125])
CASE_B = bounded([1.5, -1.0, -3.0, 8.0], [0.125, 0.25, 0, 1.0])


def test_a_decided_choice_is_what_was_chosen() -> None:
    which = bounded([False, True, True, False])
    result = call("select_n", coarse(), which, CASE_A, CASE_B)
    assert_bounds(result, [1, -1, -3, 4.0], [0.25, 0.25, 0, 0.125])
    for chosen, case in enumerate((CASE_A, CASE_B, CASE_A)):
        assert call("select_n", coarse(), bounded(chosen), CASE_A, CASE_B, CASE_A) is case
    middle = call("select_n", coarse(), bounded([1, 1, 2, 0]), CASE_A, CASE_B, CASE_A)
    assert_bounds(middle, [1.5, -1, -3, 4], [0.125, 0.25, 0.5, 0.125])


def test_an_open_choice_is_the_interval_that_holds_all() -> None:
    """By its middle and half its width, with the rounding of the two ends."""
    low, high = np.array([0.75, -1.25, -3.5, 3.875]), np.array([1.625, 2.0, -2.5, 9.0])
    half = (high - low) / 2
    wide = half + EPS * np.array([1.625, 2.0, 3.5, 9.0])
    for chosen in (np.True_, np.False_):
        everywhere = call("select_n", coarse(), bounded(chosen, UNSURE), CASE_A, CASE_B)
        assert_bounds(everywhere, low + half, wide)
    which = bounded([False, True, True, False], [True, False, True, False])
    result = call("select_n", coarse(), which, CASE_A, CASE_B)
    assert_bounds(result, [low[0] + half[0], -1, -3, 4], [wide[0], 0.25, wide[2], 0.125])
    three = call("select_n", coarse(), bounded(0, UNSURE), CASE_A, CASE_A, CASE_B)
    assert_bounds(three, low + half, wide)


def test_an_open_choice_of_integers_is_unsure() -> None:
    a, b = bounded([1, 2, 3], [True, False, False]), bounded([4, 5, 6], [False, False, True])
    which = bounded([False, True, False], [False, True, False])
    assert_bounds(call("select_n", coarse(), which, a, b), [1, 5, 3], [True, True, False])
    assert_bounds(
        call("select_n", coarse(), bounded(np.True_, UNSURE), a, b), [4, 5, 6], [True] * 3
    )
