"""Sorting keeps the order of two arrays, and what goes along may go elsewhere; (R17), (R18)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from reference.bounds.rounding import Bounded
from tests.support.bound_formulas import INF, NAN, assert_bounds, bounded, call, coarse
from tests.support.strategies import seeds

# Sorted: 0.5, 1, 1.25, 3, 4. Of these 1 and 1.25 may change places.
KEYS = bounded([3.0, 1.0, 4.0, 1.25, 0.5], [0.25, 0.125, 0.0, 0.25, 0.0])
PAYLOAD = bounded([10.0, 20.0, 30.0, 40.0, 50.0], [0.0, 1.0, 0.0, 2.0, 0.0])
PLACES = bounded(np.arange(5))


def sort(*operands: Bounded, kinks: Any = "open", dimension: int = 0, num_keys: int = 1) -> Any:
    """Apply the rule."""
    rounding = coarse(kinks)
    results = call("sort", rounding, *operands, dimension=dimension, num_keys=num_keys)
    return *results, rounding.open_kinks


def test_a_sorted_key_lies_between_the_sorted_ends() -> None:
    for kinks, kinks_open in (("decided", 2), ("open", 2)):
        keys, opened = sort(KEYS, kinks=kinks)
        assert opened == kinks_open
        # Ends from below: 0.5, 0.875, 1, 2.75, 4; from above: 0.5, 1.125, 1.5, 3.25, 4.
        assert_bounds(keys, [0.5, 1, 1.25, 3, 4], [0, 0.125, 0.25, 0.25, 0], ulps=1e-14)
        assert (keys.error >= [0, 0.125, 0.25, 0.25, 0]).all()


def test_what_goes_along_may_be_any_of_those_whose_keys_may_change_places() -> None:
    _, payload, places, opened = sort(KEYS, PAYLOAD, PLACES)
    # Between 19 and 42 is what belongs to 1 and to 1.25.
    assert_bounds(payload, [50.0, 20, 40, 10, 30], [0, 22, 21, 0, 0], ulps=1e-14)
    assert_bounds(places, [4, 1, 3, 0, 2], [False, True, True, False, False])
    assert opened == 2
    _, payload, places, _ = sort(KEYS, PAYLOAD, PLACES, kinks="decided")
    assert_bounds(payload, [50.0, 20, 40, 10, 30], [0, 1, 2, 0, 0])
    assert_bounds(places, [4, 1, 3, 0, 2], [False] * 5)


def test_a_chain_of_keys_near_each_other_is_one_block() -> None:
    """The first reaches the last over the one between, which reaches neither."""
    wide = bounded([1.0, 2.0, 3.0, 9.0], [2.5, 0.0, 0.0, 0.0])
    assert sort(wide, PLACES_OF_4)[1].error.tolist() == [True, True, True, False]
    last = bounded([1.0, 2.0, 3.0, -9.0], [0.0, 0.0, 2.5, 0.0])
    assert sort(last, PLACES_OF_4)[1].error.tolist() == [False, True, True, True]
    pairs = bounded([1.0, 1.125, 3.0, 3.125], 0.125)
    assert sort(pairs, bounded([1.0, 2.0, 8.0, 9.0]))[1].error == pytest.approx([1, 1, 1, 1])


PLACES_OF_4 = bounded(np.arange(4))


def test_exact_ties_keep_their_order_and_inexact_ones_are_open() -> None:
    tied = bounded([2.0, 1.0, 2.0, 1.0])
    keys, places, opened = sort(tied, PLACES_OF_4)
    assert_bounds(keys, [1.0, 1, 2, 2], [0.0] * 4)
    assert_bounds(places, [1, 3, 0, 2], [False] * 4)
    assert opened == 0
    for reaching in (bounded([0.0, -0.25], [0.25, 0]), bounded([0.0, 0.25], [0.25, 0])):
        assert sort(reaching, bounded([0, 1]))[1].error.tolist() == [True, True]
    nearly = bounded([2.0, 1.0, 2.0, 1.0], [0.0, 0.125, 0.0, 0.0])
    keys, places, opened = sort(nearly, PLACES_OF_4)
    assert_bounds(keys, [1.0, 1, 2, 2], [0.125, 0.125, 0, 0], ulps=1e-14)
    assert_bounds(places, [1, 3, 0, 2], [True, True, False, False])
    assert opened == 2


def test_other_axes_integers_and_several_exact_keys() -> None:
    columns = Bounded(*(np.stack([part, -part * (part > 9)]).T for part in KEYS))
    table, _ = sort(columns, dimension=0)
    assert_bounds(Bounded(*(part[:, 0] for part in table)), *sort(KEYS)[0])
    first, second = bounded([2, 1, 2, 1]), bounded([0.5, 3.0, 0.25, 3.0])
    one, other, places, _ = sort(first, second, PLACES_OF_4, num_keys=2)
    assert_bounds(one, [1, 1, 2, 2], [False] * 4)
    assert_bounds(other, [3.0, 3.0, 0.25, 0.5], [0.0] * 4)
    assert_bounds(places, [1, 3, 2, 0], [False] * 4)
    with pytest.raises(NotImplementedError, match="several keys"):
        sort(first, bounded(second.value, 0.1), num_keys=2)
    with pytest.raises(NotImplementedError, match="several keys"):
        sort(bounded(second.value, 0.1), first, num_keys=2)
    payload = bounded([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.5, 0.0])
    assert_bounds(sort(first, second, payload, num_keys=2)[2], [2.0, 4, 3, 1], [0, 0, 0.5, 0])
    table = bounded([[3, 1], [2, 0]], [[False, True], [False, False]])
    assert_bounds(sort(table, dimension=1)[0], [[1, 3], [0, 2]], [[True] * 2, [False] * 2])
    unsure = bounded([3, 1, 2, 9], [False, True, False, False])
    whole, places, _ = sort(unsure, PLACES_OF_4)
    assert_bounds(whole, [1, 2, 3, 9], [True] * 4)
    assert_bounds(places, [1, 2, 0, 3], [True] * 4)


def test_infinities_are_sorted_exactly_and_of_what_is_no_number_nothing_is_known() -> None:
    x = bounded([INF, 1.0, -INF, 0.5], [0.0, 0.125, 0.0, 0.0])
    keys, places, _ = sort(x, PLACES_OF_4)
    assert_bounds(keys, [-INF, 0.5, 1, INF], [0, 0, 0.125, 0], ulps=1e-14)
    assert not places.error.any()
    assert (sort(bounded([NAN, 1.0, 0.5, 2.0]))[0].error == INF).all()
    rows, _ = sort(bounded([[NAN, 1.0], [2.0, 0.5]]), dimension=1)
    assert rows.error.tolist() == [[INF, INF], [0, 0]]
    keys, _ = sort(bounded([3.0, 1.0, 2.0], [INF, 0, 0]))
    assert_bounds(keys, [1.0, 2, 3], [INF, 1, INF], ulps=1e-14)


def test_the_first_of_the_largest_and_where_they_were() -> None:
    table = Bounded(*(np.stack([part, part[::-1]]) for part in KEYS))
    for axis in (1, 0):
        x = table if axis else Bounded(*(part.T for part in table))
        for kinks in ("decided", "open"):
            rounding = coarse("open" if kinks == "open" else "decided")
            values, places = call("top_k", rounding, x, k=3, axis=axis)
            assert rounding.open_kinks == 4
            if not axis:
                values, places = (Bounded(*(part.T for part in y)) for y in (values, places))
            assert_bounds(values, [[4.0, 3, 1.25]] * 2, [[0, 0.25, 0.25]] * 2, ulps=1e-14)
            unsure = kinks == "open"
            assert_bounds(places, [[2, 0, 3], [2, 4, 1]], [[False, False, unsure]] * 2)
    values, places = call("top_k", coarse(), bounded([5, 7, 7, -128], [False] * 4), k=2, axis=0)
    assert_bounds(values, [7, 7], [False] * 2)
    assert_bounds(places, [1, 2], [False] * 2)
    assert places.value.dtype == np.int32
    values, _ = call("top_k", coarse(), bounded([1.0, 2.0]), k=1)  # as in JAX before 0.9
    assert_bounds(values, [2.0], [0.0])


@given(seed=seeds)
def test_whatever_the_errors_are_what_is_sorted_lies_within_the_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = bounded(rng.integers(0, 12, (6, 9)) / 4, rng.choice([0, 0.01, 0.2, 0.6], (6, 9)))
    payload = bounded(rng.normal(size=(6, 9)), rng.choice([0, 0.1], (6, 9)))
    bounds = sort(keys, payload, bounded(np.tile(np.arange(9), (6, 1))), dimension=1)[:3]
    values, where = call("top_k", coarse("open"), keys, k=4, axis=1)
    for _ in range(10):
        moved, along = (
            x.value + x.error * rng.choice([-0.99, 0, 0.99, 0.5], x.value.shape)
            for x in (keys, payload)
        )
        order = np.argsort(moved, axis=1, kind="stable")
        for part, result in zip((moved, along, None), bounds, strict=True):
            got = order if part is None else np.take_along_axis(part, order, axis=1)
            if part is None:
                assert ((got == result.value) | result.error).all()
            else:
                assert (abs(got - result.value) <= result.error).all()
        falling = np.argsort(-moved, axis=1, kind="stable")[:, :4]
        got = np.take_along_axis(moved, falling, axis=1)
        assert (abs(got - values.value) <= values.error).all()
        assert ((falling == where.value) | where.error).all()
