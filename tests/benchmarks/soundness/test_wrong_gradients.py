"""Mistakes are made of a right gradient, and their size says which of them must be seen."""

from typing import Any

import numpy as np
import pytest

from benchmarks.soundness.tally import Tally, table_of_unseen
from benchmarks.soundness.wrong_gradients import MISTAKES, change, is_gross, wrong_gradients
from reference.compare import Comparison, Leaf, Verdict

RIGHT = (
    np.array([[8.0, -4.0], [1e-9, 1e-9]], np.float32),
    np.array([2.0], np.float32),
)


def compared(got: Any, tied: bool = False) -> Comparison:  # noqa: FBT002, of a test
    """Compare with RIGHT under bounds of 0; or where every element hangs on an exact tie."""
    leaves = []
    for array, right in zip(got, RIGHT, strict=True):
        want = right.astype(np.float64)
        reach = np.full(want.shape, np.inf) if tied else None
        low = None if reach is None else -reach
        zero = np.zeros(want.shape)
        leaves.append(Leaf("", array, want, zero, want, want, tie_low=low, tie_high=reach))
    return Comparison(tuple(leaves), 0)


def test_each_mistake_makes_a_gradient_that_differs() -> None:
    wrong = dict(wrong_gradients(RIGHT, np.random.default_rng(0)))
    assert list(wrong) == list(MISTAKES)
    for mistake, size in {"zero": 1.0, "negated": 2.0, "doubled": 1.0, "times 1.001": 1e-3}.items():
        assert change(compared(wrong[mistake])) == pytest.approx(size, rel=1e-3)


def test_a_row_that_is_zero_but_for_rounding_need_not_be_seen() -> None:
    matrix, vector = RIGHT
    for row, gross in ((0, True), (1, False)):
        cleared = matrix.copy()
        cleared[row] = 0
        assert is_gross("one row zero", compared((cleared, vector)), "float32") == gross


def test_what_rounding_leaves_of_a_gradient_of_0_need_not_be_seen() -> None:
    for got, gross in ((2e-8, False), (0.5, True)):
        leaf = Leaf("", np.full(2, got, np.float32), *np.zeros((4, 2)))
        assert is_gross("doubled", Comparison((leaf,), 0), "float32") == gross


def test_what_hangs_on_an_exact_tie_and_the_finest_mistakes_need_not_be_seen() -> None:
    zeros = tuple(map(np.zeros_like, RIGHT))
    assert is_gross("zero", compared(zeros), "float32")
    assert not is_gross("zero", compared(zeros, tied=True), "float32")
    finest = tuple(array * np.float32(1.001) for array in RIGHT)
    assert not is_gross("times 1.001", compared(finest), "float32")


def test_what_is_within_rounding_is_laid_out_with_the_largest_change() -> None:
    one, other = Tally(), Tally()
    for tally, size, sight in ((one, 1e-9, 1e-3), (other, 1e-8, 1e-2)):
        tally.add_wrong("one row zero", Verdict.MATCH)
        tally.add_unseen("one row zero", "a loss", "float32", size, sight)
    rows = table_of_unseen(one + other)
    assert rows == [["one row zero", "a loss", "float32", "2", "1.0e-08", "1.0e-03"]]
