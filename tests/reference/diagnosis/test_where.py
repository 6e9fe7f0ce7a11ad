"""Which part of an array is wrong, in words: exactly that part, or no words at all."""

import jax.numpy as jnp
import numpy as np
import pytest

from reference import check_gradient
from reference.arrays import Array
from reference.diagnosis.where import in_words, parts_in_words, where_wrong, worst
from tests.support.cases import each
from tests.support.leaves import leaf_of, off_by


def rows(*chosen: int, shape: tuple[int, ...] = (6, 5)) -> Array:
    """Choose slices along the first axis."""
    part = np.zeros(shape, bool)
    part[list(chosen)] = True
    return part


@each(
    ("chosen", "words"),
    [
        (rows(1, 3), "rows 1 and 3 of 6"),
        (rows(0), "the first row of 6"),
        (rows(5), "the last row of 6"),
        (rows(2, 3, 4), "rows 2 to 4 of 6"),
        (rows(0, 2, 4), "every second row of 6, from 0 on"),
        (rows(1, 3, 5), "every second row of 6, from 1 on"),
        (rows(0, 21, 42, shape=(50,)), "every 21st element of 50, from 0 on"),
        (rows(0, 1, 2, 4, 5), "all rows but 3 of 6"),
        (rows(4, shape=(5, 6)).T, "the last column of 5"),
        (rows(2, shape=(5, 6)).T, "column 2 of 5"),
        (rows(1, shape=(4,)), "element 1 of 4"),
        (rows(3, shape=(4, 2, 3)), "the last index of 4 along axis 0"),
        (rows(0, 2, shape=(4, 2, 3)).swapaxes(0, 1), "indices 0 and 2 of 4 along axis 1"),
        (rows(1, 3) & rows(2, shape=(5, 6)).T, "rows 1 and 3 of 6 in column 2 of 5"),
        (rows(1) & rows(2, shape=(5, 6)).T, "the one element (1, 2)"),
        (rows(0, 1, 3, 7, 8, 12, 20, shape=(30,)), ""),
        (np.eye(3) > 0, "the diagonal"),
        (np.eye(3) == 0, "what is off the diagonal"),
        (np.triu(np.ones((3, 4)), 1) > 0, "the upper triangle above the diagonal"),
        (np.tril(np.ones((2, 3, 3))) > 0, "the lower triangle with the diagonal of each matrix"),
        (np.eye(3)[::-1] > 0, ""),
    ],
)
def test_a_part_is_described_by_its_indices(chosen: Array, words: str) -> None:
    assert in_words(chosen) == words


def test_one_element_more_or_less_and_it_is_no_such_part() -> None:
    for part in (rows(1, 3), np.triu(np.ones((6, 5))) > 0, np.eye(6, 5) > 0):
        words = in_words(part)
        assert words
        for index in np.ndindex(part.shape):
            other = part.copy()
            other[index] ^= True
            assert in_words(other) != words


X = np.array([[1.0, -1.0, 2.0, -3.0], [-2.0, 5.0, -4.0, 6.0]])


def test_elements_are_described_by_the_sign_of_an_argument_of_their_shape() -> None:
    leaf = off_by("", X + 10, off=1.0 * (X < 0))
    assert list(parts_in_words(leaf, {"x": X, "w": np.ones(3)})) == ["the elements where x < 0"]
    nearly = off_by("", X + 10, off=1.0 * (X < -1))
    assert list(parts_in_words(nearly, {"x": X})) == []
    dropped = X * (X > 0)
    assert list(parts_in_words(leaf_of(X, dropped), {})) == [
        "the elements where the right gradient is negative",
        "the elements where what was returned is 0",
    ]
    few = X[0, :3]
    leaf = off_by("", few + 10, off=1.0 * (few < 0))
    assert list(parts_in_words(leaf, {"x": few})) == ["element 1 of 3"]


@pytest.mark.parametrize(("name", "said"), [("output", "output"), ("", "result")])
def test_what_is_no_gradient_is_not_called_one(name: str, said: str) -> None:
    (part, _) = parts_in_words(leaf_of(X, X * (X > 0)), {}, name)
    assert part == f"the elements where the right {said} is negative"


def test_as_many_digits_are_shown_as_tell_what_is_wrong_from_what_is_right() -> None:
    text = where_wrong(off_by("", [0.5, 2.0], off=[0, 1e-12], bound=1e-13), {}, "gradient")
    assert "at 1 got 2.000000000001 for 2" in text


def test_the_worst_three_are_shown_the_farthest_beyond_their_bounds_first() -> None:
    leaf = off_by("", np.zeros(5), off=[1, 4, 0, 3, 2], bound=[0.5, 2.5, 1, 1, 0.5])
    assert worst(leaf) == [(4,), (3,), (0,)]
    assert worst(off_by("", [1.0, 1.0], off=[0, 1])) == [(1,)]


def test_a_report_says_which_part_of_each_array_is_wrong() -> None:
    x = np.arange(12.0).reshape(3, 4) - 5.5
    report = check_gradient(np.ones_like, lambda x: jnp.abs(x).sum(), x)
    (part,) = report.where
    assert part.startswith("gradient: wrong in the elements where x < 0; ")
    assert "the worst: at 0,0 got 1 for -1" in part
    assert report.to_dict()["where"] == [part]
    assert part.split("; ", 1)[0] in str(report)
    assert check_gradient(np.sign(x), lambda x: jnp.abs(x).sum(), x).where == ()
