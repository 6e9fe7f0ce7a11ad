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
    r3,
    r6,
    r8,
    run,
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


def put(x: Any, indices: Any, updates: Any, how: Any = lax.scatter, **options: Any) -> Any:
    """Put elements in places of a vector, or combine them with what is there."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return how(x, indices, updates, numbers, **options)


def test_what_is_put_in_a_place_is_as_far_off_as_it_was() -> None:
    updates = bounded([8.0, -16.0], [0.125, 0.0])
    for unsure in (False, True):
        wide = 24.125 * unsure  # from -16 to 8.125
        indices = places_of(bounded([2, 0], [False, unsure]))
        result = applied(put, coarse(), VECTOR, indices, updates)
        assert_bounds(result, [-16.0, -4.0, 8.0], [wide, 0.5 + wide, 0.125 + wide])
        whole, other = bounded([1, 2, 3], [True, False, False]), bounded([7, 8], [False, True])
        result = applied(put, coarse(), whole, indices, other)
        assert_bounds(result, [8, 2, 7], [True, unsure, unsure])


@pytest.mark.parametrize(("how", "sign"), [(lax.scatter_max, 1), (lax.scatter_min, -1)])
def test_the_extreme_in_a_place_is_as_far_off_as_the_farthest_off(how: Any, sign: int) -> None:
    def extreme(x: Any, indices: Any, updates: Any) -> Any:
        return put(x, indices, updates, how)

    x = bounded(sign * np.array([1.0, -4.0, 2.0]), [0.25, 0.5, 0.0])
    updates = bounded(sign * np.array([0.5, -1.0, 3.0]), [0.125, 0.0, 0.375])
    for unsure in (False, True):
        indices = places_of(bounded([2, 0, 2], [False, False, unsure]))
        result = applied(extreme, coarse(), x, indices, updates)
        wide = 7.875 * unsure  # from -4.5 to 3.375
        want = np.array([0.25, 0.5, 0.375]) + wide
        assert_bounds(result, sign * np.array([1.0, -4.0, 3.0]), want)
    whole, other = bounded(sign * np.array([1, 2, 3])), bounded(sign * np.array([7, 8, 9]))
    for which in range(4):
        operands = [
            Bounded(z.value, np.full(z.value.shape, at == which))
            for at, z in enumerate((whole, places_of(bounded([2, 0, 2])), other))
        ]
        result = applied(extreme, coarse(), *operands)
        assert_bounds(result, sign * np.array([8, 2, 9]), [which < 3] * 3)


def test_what_is_subtracted_in_places_is_a_sum_of_its_opposite() -> None:
    updates = bounded([0.5, -1.0, 2.0], [0.125, 0.0, 0.25])
    indices = places_of(bounded([2, 0, 2], [False, False, True]))

    def less(x: Any, indices: Any, updates: Any) -> Any:
        return put(x, indices, updates, lax.scatter_sub)

    opposite = Bounded(-updates.value, updates.error)
    want = applied(added, coarse(), VECTOR, indices, opposite)
    assert_bounds(applied(less, coarse(), VECTOR, indices, updates), *want)


def test_what_is_multiplied_in_a_place_is_a_product_with_one_factor() -> None:
    def times(x: Any, indices: Any, updates: Any) -> Any:
        return put(x, indices, updates, lax.scatter_mul)

    factors = bounded([0.5, -3.0], [0.125, 0.25])
    indices = places_of(bounded([2, 0]))
    want = [
        r3(-3.0, r8(1.0, 0.25, 3.0, 0.25)),
        0.5,
        r3(1.0, r8(2.0, 0.0, 0.5, 0.125)),
    ]
    result = applied(times, coarse(), VECTOR, indices, factors)
    assert_bounds(result, [-3.0, -4.0, 1.0], want)
    for places in (bounded([2, 2]), bounded([2, 0], [True, False])):
        with pytest.raises(NotImplementedError, match="several factors"):
            applied(times, coarse(), VECTOR, places_of(places), factors)
    whole, other = bounded([1, 2, 3]), bounded([7, 8])
    for which in range(3):
        operands = [
            Bounded(whole.value, np.full(3, which == 0)),
            indices,
            Bounded(other.value, np.full(2, which == 1)),
        ]
        assert_bounds(applied(times, coarse(), *operands), [8, 2, 21], [which < 2] * 3)


def test_a_function_that_is_applied_in_places_has_no_bound() -> None:
    def doubled(x: Any, indices: Any) -> Any:
        numbers = lax.ScatterDimensionNumbers((), (0,), (0,))
        return lax.scatter_apply(x, indices, lambda y: 2 * y, numbers, update_shape=(2,))

    with pytest.raises(NotImplementedError, match="with a function"):
        run(doubled, coarse(), VECTOR, places_of(bounded([2, 0])))
