"""Sums, exact where they can be, and with their digits over many terms; the largest number."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from manual_nn.arrays import Array
from manual_nn.compiled import reductions
from manual_nn.compiled.exponential import exp
from manual_nn.compiled.reductions import BLOCK, WIDTH

pytestmark = pytest.mark.usefixtures("way")
EPS = 2.0**-24

ALONG_A_ROW: dict[str, tuple[int, Callable[..., Any]]] = {
    "sum_of": (1, lambda a: a),
    "sum_of_products": (2, np.multiply),
    "sum_of_triple_products": (3, lambda a, b, c: a * b * c),
}


def integers(count: int, *shape: int, dtype: type[np.floating]) -> list[Array]:
    """Draw small whole numbers."""
    rng = np.random.default_rng(shape)
    return [rng.integers(-3, 4, shape).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("name", ALONG_A_ROW)
@pytest.mark.parametrize("D", [1, 7, WIDTH, WIDTH + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_along_a_row_add_up_exactly(
    name: str, D: int, dtype: type[np.floating]
) -> None:
    count, term = ALONG_A_ROW[name]
    arrays = integers(count, D, dtype=dtype)
    assert getattr(reductions, name)(*arrays) == term(*arrays).sum()


@pytest.mark.parametrize("D", [1, 7, WIDTH + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_squares_are_those_of_the_distances_from_the_centre(
    D: int, dtype: type[np.floating]
) -> None:
    (a,) = integers(1, D, dtype=dtype)
    assert reductions.sum_of_squares(a, dtype(2)) == ((a - 2) ** 2).sum()
    rows, centre = np.stack([a, -a, a]), a[::-1].copy()
    got = reductions.sum_of_rows_squared(rows, centre)
    np.testing.assert_array_equal(got, ((rows - centre) ** 2).sum(axis=0))


@pytest.mark.parametrize("R", [1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_over_rows_add_up_exactly(R: int, dtype: type[np.floating]) -> None:
    (rows,) = integers(1, R, 3, dtype=dtype)
    got = reductions.sum_of_rows(rows)
    np.testing.assert_array_equal(got, rows.sum(axis=0))
    assert got.dtype == np.float64
    squared = reductions.sum_of_rows_squared(rows, np.ones(3, dtype))
    np.testing.assert_array_equal(squared, ((rows - 1) ** 2).sum(axis=0))


def test_no_more_roundings_pile_up_than_a_block_has_terms() -> None:
    """Number after number float32 would lose three of its seven digits here."""
    a, one = np.full(2**17, 0.1, np.float32), np.ones(1, np.float32)
    exact = len(a) * float(a[0])
    assert abs(np.cumsum(a)[-1] - exact) > WIDTH * EPS * exact
    ones = np.ones_like(a)
    along = (
        reductions.sum_of(a),
        reductions.sum_of_products(a, ones),
        reductions.sum_of_triple_products(a, ones, ones),
    )
    for got in along:
        assert abs(got - exact) <= WIDTH * EPS * exact
    rows = a[:, np.newaxis]
    assert abs(reductions.sum_of_rows(rows) - exact) <= BLOCK * EPS * exact
    exact *= float(a[0])
    squares = (
        reductions.sum_of_squares(a, np.float32(0)),
        reductions.sum_of_rows_squared(rows, 0 * one),
    )
    for got, terms in zip(squares, (WIDTH, BLOCK), strict=True):
        assert abs(got - exact) <= (terms + 1) * EPS * exact  # and the square is rounded


# The largest


@pytest.mark.parametrize("D", [1, 3, 64, 67])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_largest_is_found_wherever_it_stands(D: int, dtype: type[np.floating]) -> None:
    a = -np.arange(1, D + 1).astype(dtype)
    for place in range(D):
        a[place] = 5
        assert reductions.largest_of(a) == 5
        assert reductions.place_of(dtype(5), a) == place
        a[place] = -np.inf
    assert reductions.largest_of(a) == -np.inf


def test_of_equal_ones_the_last_is_named_and_nothing_is_found_at_0() -> None:
    a = np.array([1.0, 7, 3, 7, 2])
    assert reductions.place_of(7.0, a) == 3
    assert reductions.place_of(np.nan, a) == 0


@pytest.mark.parametrize("place", [0, 1, 40, 66])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_a_number_is_not_overlooked(place: int, dtype: type[np.floating]) -> None:
    a = np.arange(67).astype(dtype)
    a[place] = np.nan
    assert np.isnan(reductions.largest_of(a))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponentials_of_a_row_are_those_of_each_less_the_largest(
    dtype: type[np.floating],
) -> None:
    z, e = np.array([5, 3, 5, -np.inf, 4], dtype), np.full(5, np.nan, dtype)
    total = reductions.exponentials(z, z.max(), e)
    np.testing.assert_array_equal(e, [exp(each) for each in z - z.max()])
    want = 2 + math.exp(-2) + math.exp(-1)
    assert abs(float(total) - want) <= 8 * float(np.finfo(dtype).eps) * want
