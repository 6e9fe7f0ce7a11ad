"""Arrays go where they belong among what is no array, and numbers are told apart."""

import math

import numpy as np
import pytest

from reference.arrays import counted, merged, told_apart


def test_arrays_take_the_places_of_the_chosen_leaves_in_their_order() -> None:
    assert merged(["x", "how", "y"], [True, False, True], iter([1, 2])) == [1, "how", 2]
    assert merged(["x", "how"], [False, False], []) == ["x", "how"]
    assert merged([], [], []) == []


def test_a_choice_for_other_leaves_is_no_choice() -> None:
    with pytest.raises(ValueError, match="argument"):
        merged(["x", "y"], [True], [1])


def test_one_thing_is_no_plural() -> None:
    words = [counted(number, "row") for number in (0, 1, 2, 21, 1000)]
    assert words == ["0 rows", "1 row", "2 rows", "21 rows", "1,000 rows"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neighbouring_numbers_are_written_differently(dtype: type) -> None:
    for number in (dtype(1.0), dtype(-0.3), dtype(1e30), dtype(7e-12), dtype(2) ** 20):
        one, other = told_apart(number, np.nextafter(number, dtype(np.inf)))
        assert one != other
        assert dtype(one) == number


def test_seven_digits_are_enough_where_numbers_differ_in_the_sixth_or_are_equal() -> None:
    assert told_apart(1.23456789, 1.2345) == ("1.234568", "1.2345")
    assert told_apart(math.pi, math.pi) == ("3.141593", "3.141593")
    assert told_apart(math.nan, math.pi) == ("nan", "3.141593")
    assert told_apart(math.inf, 0.1) == ("inf", "0.1")
    assert told_apart(math.nan, math.nan) == ("nan", "nan")
