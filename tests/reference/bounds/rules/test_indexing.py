"""What is taken from or put into places given by indices."""

from typing import Any

import numpy as np
import pytest
from jax import lax

from reference.bounds.rounding import Bounded
from tests.support.bound_formulas import (
    INF,
    SOME_ULPS,
    applied,
    assert_bounds,
    bounded,
    coarse,
    r6,
    term,
)

PLACES = bounded([2, 0], [False, True])
VECTOR = bounded([1.0, -4.0, 2.0], [0.25, 0.5, 0.0])  # between -4.5 and 2


def test_what_is_taken_from_an_unsure_place_may_be_any_element() -> None:
    """It reaches from the lowest to the highest, and is as far off as what was taken."""
    result = applied(gathered, coarse(), VECTOR, places_of(PLACES))
    assert_bounds(result, [2.0, 1.0], [0.0, 6.5 + 0.25])
    below = Bounded(-VECTOR.value, VECTOR.error)
    result = applied(gathered, coarse(), below, places_of(PLACES))
    assert_bounds(result, [-2.0, -1.0], [0.0, 6.5 + 0.25])
    rows = bounded([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], 0.125)
    result = applied(gathered, coarse(), rows, places_of(PLACES))
    assert_bounds(result, [[5.0, 6.0], [1.0, 2.0]], [[0.125] * 2, [5.25 + 0.125] * 2])
    square = places_of(bounded([[2, 0], [1, 1]], [[False, True], [False, False]]))
    result = applied(gathered, coarse(), VECTOR, square)
    assert_bounds(result, [[2.0, 1.0], [-4.0, -4.0]], [[0.0, 6.75], [0.5, 0.5]])
    whole = bounded([7, 8, 9], [False, False, True])
    result = applied(gathered, coarse(), whole, places_of(PLACES))
    assert_bounds(result, [9, 7], [True, True])


def places_of(indices: Bounded) -> Bounded:
    """Write indices as the primitives take them, with an axis for their coordinates."""
    return Bounded(indices.value[..., None], indices.error[..., None])


def gathered(x: Any, indices: Any, mode: Any = "clip", fill: Any = None) -> Any:
    """Take elements or rows."""
    rest = tuple(range(indices.ndim - 1, indices.ndim + x.ndim - 2))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=rest, collapsed_slice_dims=(0,), start_index_map=(0,)
    )
    return lax.gather(x, indices, numbers, (1, *x.shape[1:]), mode=mode, fill_value=fill)


def test_nothing_is_known_of_what_lies_outside() -> None:
    indices = places_of(bounded([5, 1]))
    result = applied(lambda x, i: gathered(x, i, "fill"), coarse(), VECTOR, indices)
    assert np.isnan(result.value[0])
    assert (result.value[1], *result.error) == (-4.0, INF, 0.5)


@pytest.mark.parametrize(("fill", "wide"), [(-9.0, 11.0), (0.0, 6.5), (5.0, 9.5)])
def test_what_lies_outside_may_be_given_and_an_unsure_place_may_be_there(
    fill: float, wide: float
) -> None:
    indices = places_of(bounded([5, 1, 2], [False, False, True]))
    result = applied(lambda x, i: gathered(x, i, "fill", fill), coarse(), VECTOR, indices)
    assert_bounds(result, [fill, -4.0, 2.0], [0.0, 0.5, wide])
    whole = bounded([7, 8, 9], [False, True, False])
    result = applied(lambda x, i: gathered(x, i, "fill", int(fill)), coarse(), whole, indices)
    assert_bounds(result, [int(fill), 8, 9], [False, True, True])


def test_a_slice_at_an_unsure_place_may_be_any_and_so_may_what_is_overwritten() -> None:
    for unsure in (False, True):
        place = bounded(1, unsure)
        result = applied(lambda x, i: lax.dynamic_slice(x, (i,), (2,)), coarse(), VECTOR, place)
        assert_bounds(result, [-4.0, 2.0], [0.5 + 6.5 * unsure, 6.5 * unsure])
        update = bounded([8.0], 0.25)  # which is the highest now, at 8.25
        result = applied(
            lambda x, y, i: lax.dynamic_update_slice(x, y, (i,)), coarse(), VECTOR, update, place
        )
        wide = 12.75 * unsure
        assert_bounds(result, [1.0, 8.0, 2.0], [0.25 + wide, 0.25 + wide, wide])
        whole, other = bounded([1, 2, 3], [True, False, False]), bounded([7])
        result = applied(
            lambda x, y, i: lax.dynamic_update_slice(x, y, (i,)), coarse(), whole, other, place
        )
        assert_bounds(result, [1, 7, 3], [True, unsure, unsure])


def added(x: Any, indices: Any, updates: Any, mode: Any = None) -> Any:
    """Add elements or rows to those at these places."""
    rest = tuple(range(1, updates.ndim))
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=rest, inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return lax.scatter_add(x, indices, updates, numbers, mode=mode)


def test_what_is_added_at_places_is_a_sum_of_as_many_terms_as_meet() -> None:
    updates = bounded([0.5, -1.0, 2.0], [0.125, 0.0, 0.25])
    indices = places_of(bounded([2, 0, 2]))
    want = [
        r6([(1.0, 0.25, 1.25), (-1.0, 0.0, 1.0)], 3),
        r6([(-4.0, 0.5, 4.5)], 3),
        r6([(2.0, 0.0, 2.0), (0.5, 0.125, 0.625), (2.0, 0.25, 2.25)], 3),
    ]
    result = applied(added, coarse(), VECTOR, indices, updates)
    assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)


def test_what_is_added_outside_is_lost_or_added_to_the_last_as_the_parameters_say() -> None:
    updates, indices = bounded([0.5], 0.125), places_of(bounded([5]))
    dropped = [r6([term(*pair)], 1) for pair in zip(*VECTOR, strict=True)]
    clipped = [r6([term(*pair)], 2) for pair in zip(*VECTOR, strict=True)]
    clipped[-1] = r6([(2.0, 0.0, 2.0), (0.5, 0.125, 0.625)], 2)
    for mode, want in (("drop", dropped), ("clip", clipped)):

        def function(x: Any, indices: Any, updates: Any, mode: Any = mode) -> Any:
            return added(x, indices, updates, mode)

        result = applied(function, coarse(), VECTOR, indices, updates)
        assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)


def test_what_is_added_at_an_unsure_place_may_be_added_to_any() -> None:
    updates = bounded([0.5, -1.0, 2.0], [0.125, 0.0, 0.25])
    indices = places_of(bounded([2, 0, 2], [False, False, True]))
    anything = (0.0, 3.875, 3.875)  # 0.5 + 1 + 2 and their errors
    want = [
        r6([(1.0, 0.25, 1.25), (-1.0, 0.0, 1.0), anything], 4),
        r6([(-4.0, 0.5, 4.5), anything], 4),
        r6([(2.0, 0.0, 2.0), (0.5, 0.125, 0.625), (2.0, 0.25, 2.25), anything], 4),
    ]
    result = applied(added, coarse(), VECTOR, indices, updates)
    assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)


def test_integers_are_added_at_places() -> None:
    whole, indices = bounded([1, 2, 3]), places_of(bounded([2, 0, 2]))
    updates = bounded([5, 6, 7])
    assert_bounds(applied(added, coarse(), whole, indices, updates), [7, 2, 15], [False] * 3)
    for unsure in range(3):
        operands = [
            Bounded(x.value, np.full(x.value.shape, at == unsure))
            for at, x in enumerate((whole, indices, updates))
        ]
        assert_bounds(applied(added, coarse(), *operands), [7, 2, 15], [True] * 3)
