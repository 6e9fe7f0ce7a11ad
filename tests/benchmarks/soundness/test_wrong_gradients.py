"""Mistakes are made of a right gradient, and their size says which of them must be seen."""

import numpy as np
import pytest

from benchmarks.soundness.tally import Tally, table_of_unseen
from benchmarks.soundness.wrong_gradients import MISTAKES, change, is_gross, wrong_gradients
from reference.compare import Verdict

RIGHT = (
    np.float32(1),
    (np.array([[8.0, -4.0], [1e-9, 1e-9]], np.float32), np.array([2.0], np.float32)),
)


def test_each_mistake_makes_a_gradient_that_differs() -> None:
    wrong = dict(wrong_gradients(RIGHT, np.random.default_rng(0)))
    assert list(wrong) == list(MISTAKES)
    for mistake, size in {"zero": 1.0, "negated": 2.0, "doubled": 1.0, "times 1.001": 1e-3}.items():
        assert change(wrong[mistake], RIGHT) == pytest.approx(size, rel=1e-3)


def test_a_row_that_is_zero_but_for_rounding_need_not_be_seen() -> None:
    value, (matrix, vector) = RIGHT
    for row, gross in ((0, True), (1, False)):
        cleared = matrix.copy()
        cleared[row] = 0
        wrong = value, (cleared, vector)
        assert is_gross("one row zero", wrong, RIGHT, "float32") == gross


def test_the_finest_mistakes_and_a_gradient_of_zero_are_judged_too() -> None:
    zeros = np.float32(1), (np.zeros(2, np.float32),)
    assert is_gross("doubled", (np.float32(1), (np.ones(2, np.float32),)), zeros, "float32")
    wrong = RIGHT[0], tuple(array * np.float32(1.001) for array in RIGHT[1])
    assert not is_gross("times 1.001", wrong, RIGHT, "float32")


def test_what_is_within_rounding_is_laid_out_with_the_largest_change() -> None:
    one, other = Tally(), Tally()
    for tally, size, sight in ((one, 1e-9, 1e-3), (other, 1e-8, 1e-2)):
        tally.add_wrong("one row zero", Verdict.MATCH)
        tally.add_unseen("one row zero", "a loss", "float32", size, sight)
    rows = table_of_unseen(one + other)
    assert rows == [["one row zero", "a loss", "float32", "2", "1.0e-08", "1.0e-03"]]
