"""Classes are numbered in the order of their names, and found again by them."""

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn.files.classes import MANY, class_numbers, number_classes
from tests.support.cases import each


@each(
    ("labels", "names", "numbers"),
    [
        (np.array(["oak", "ash", "oak"]), ("ash", "oak"), [1, 0, 1]),
        (np.array([10, 2, 10, -1]), ("-1", "2", "10"), [2, 1, 2, 0]),
        (np.array([3.0, 2.0]), ("2", "3"), [1, 0]),
        (np.array([True, False]), ("False", "True"), [1, 0]),
        (np.array([1, 0], np.uint8), ("0", "1"), [1, 0]),
        (np.array(["10", "9", "007"]), ("007", "9", "10"), [2, 1, 0]),
        (np.array(["2.0", "1.0"]), ("1.0", "2.0"), [1, 0]),
        (np.array(["7", "007"]), ("007", "7"), [1, 0]),
        (np.array(["10", "9", "x"]), ("10", "9", "x"), [0, 1, 2]),
        (np.array(["nan", "1", "1_0"]), ("1", "1_0", "nan"), [2, 0, 1]),  # which are no numbers
    ],
)
def test_classes_have_names_in_order_and_their_numbers_lead_back(
    labels: npt.NDArray[np.generic], names: tuple[str, ...], numbers: list[int]
) -> None:
    found, y = number_classes(labels)
    assert found == names
    assert y.tolist() == numbers
    assert y.dtype == np.int64
    assert class_numbers(labels, names).tolist() == numbers


@each(
    ("labels", "reason"),
    [
        (np.array([1, 1]), "two classes or more, got 1 in every row"),
        (np.array([1.0, 1.5]), "must be whole numbers or words, got 1.5 in row 1"),
        (np.array([np.nan, 1.0]), "got nan in row 0"),
        (np.array([np.inf, 1.0]), "got inf"),
        (np.array(["1", "0.5"]), "got 0.5 in row 1"),
        (np.arange(MANY + 1), "101 different labels in 101 rows, such as 0 and 1, too many"),
    ],
)
def test_what_are_no_classes_is_refused(labels: npt.NDArray[np.generic], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        number_classes(labels)


def test_there_may_be_many_classes_or_hardly_any_row_of_each() -> None:
    assert len(number_classes(np.arange(MANY))[0]) == MANY
    assert len(number_classes(np.arange(200).repeat(2))[0]) == 200
    with pytest.raises(ValueError, match="200 different labels in 399 rows"):
        number_classes(np.arange(200).repeat(2)[1:])


def test_a_class_that_is_not_known_is_named() -> None:
    with pytest.raises(
        ValueError,
        match=r"row 1 \(counted from 0\) is of class 'elm', .* not know: it has ash, oak",
    ):
        class_numbers(np.array(["oak", "elm"]), ["ash", "oak"])


def test_a_class_may_be_given_by_its_value_if_no_other_has_it() -> None:
    assert class_numbers(np.array([7, 10]), ["007", "10"]).tolist() == [0, 1]
    assert class_numbers(np.array(["2", "1"]), ["1.0", "2.0"]).tolist() == [1, 0]
    assert class_numbers(np.array([7]), ["007", "7"]).tolist() == [1]
    with pytest.raises(
        ValueError, match=r"row 0 \(counted from 0\) is of class '7', .* not know: it has 007, 07"
    ):
        class_numbers(np.array([7]), ["007", "07"])
