"""What has read an element hands down to it wrongly in the way that each mistake says.

Axes: 5 places, of which 3 are in each of 2 windows, or in a sum.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soundness.planted_readers import (
    FIRST,
    FIRST_OF_SLICES,
    LAST,
    LAST_OF_SLICES,
    MEAN,
    OF_A_MEAN,
    OF_CHOSEN,
    OF_SUMS,
    TO_ALL,
    Array,
    Function,
    in_the_first,
    is_read_by_several,
    places_in,
    read_twice,
    written,
)

x, d_out = np.array([1.0, 2.0, 5.0, 3.0, 4.0]), np.array([6.0, 15.0])


def largest(x: Array) -> Any:
    return jnp.maximum(jnp.maximum(x[:3:2], x[1:4:2]), x[2::2])


def weighted(x: Array) -> Any:
    return 2 * x[:3:2] + x[1:4:2] + 4 * x[2::2]


def squares(x: Array) -> Any:
    return x[:3:2] * x[2::2]


@pytest.mark.parametrize(
    ("kind", "function", "d_x"),
    [
        (LAST_OF_SLICES, largest, [0, 0, 15, 0, 0]),
        (FIRST_OF_SLICES, largest, [0, 0, 6, 0, 0]),
        (OF_A_MEAN, largest, [2, 2, 7, 5, 5]),
        (TO_ALL, largest, [6, 6, 21, 15, 15]),
        (FIRST, weighted, [12, 6, 24, 15, 60]),
        (LAST, weighted, [12, 6, 30, 15, 60]),
        (MEAN, weighted, [6, 6, 10.5, 15, 15]),
    ],
)
def test_each_mistake_is_what_it_says(kind: str, function: Function, d_x: list[float]) -> None:
    back = (OF_CHOSEN | OF_SUMS)[kind]
    np.testing.assert_array_equal(back(function, x, d_out), d_x)


def test_the_first_slice_may_choose_for_all_of_them() -> None:
    both = np.stack([x, x[::-1]], axis=1)  # two channels, the largest of which are elsewhere
    d = np.array([[1.0, 2.0]])
    got = in_the_first(1)(lambda x: x.max(axis=0, keepdims=True), both, d)
    np.testing.assert_array_equal(got, [[0, 0], [0, 0], [1, 2], [0, 0], [0, 0]])


def test_what_is_read_by_several_is_told_by_the_values() -> None:
    assert is_read_by_several(weighted, x, 2)
    assert not is_read_by_several(squares, x, 2)  # which is not linear
    assert not is_read_by_several(lambda x: 2 * x, x, 5)
    assert not is_read_by_several(weighted, np.zeros(2**16), 2)


def test_of_all_that_read_an_element_the_last_or_the_first_one_counts() -> None:
    x, out = np.array([3.0, 1.0, 2.0]), np.array([3.0, 2.0, 3.0])
    assert read_twice(x, out)
    assert not read_twice(x, out[:2])
    assert not read_twice(x, np.array([3.0, 3.0, 4.0]))
    assert places_in(np.array([3.0, 3.0]), np.array([3.0, 3.0])) is None
    d = np.array([1.0, 10.0, 100.0])
    np.testing.assert_array_equal(written(x, out, d), [100, 0, 10])
    np.testing.assert_array_equal(written(x, out, d, backwards=True), [1, 0, 10])
