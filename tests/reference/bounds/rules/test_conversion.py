"""Conversions between numbers, integers and booleans, and between precisions; (R2)."""

from typing import Any, cast

import numpy as np

from reference.bounds.rounding import Bounded, Kinks, Rounding
from tests.support.bound_formulas import (
    BRAIN,
    DOUBLE,
    ETA,
    INF,
    SINGLE,
    UNSURE,
    U,
    assert_bounds,
    bounded,
    call,
    coarse,
    columns,
    r3,
)


def converted(operand: Bounded, dtype: Any, rounding: Rounding | None = None) -> Any:
    """Convert."""
    rounding = rounding or coarse("open")
    return call("convert_element_type", rounding, operand, new_dtype=dtype, weak_type=False)


def test_a_number_is_rounded_where_the_other_precision_does_not_hold_it() -> None:
    """An error is rounded with the number, and float64 holds all there is."""
    values, errors = [1.0, 257.0, 1.0, 0.0, 257.0], [0.0, 0.0, 0.25, 0.0, 0.25]
    operand = bounded(values, errors)
    assert converted(operand, DOUBLE) is operand
    once = [r3(x, e, roundings=1) for x, e in zip(values, errors, strict=True)]
    assert_bounds(converted(operand, BRAIN), values, [0, once[1], once[2], 0, once[4]])
    assert_bounds(converted(operand, SINGLE), values, [0, 0, once[2], 0, once[4]])


def test_integers_and_booleans_become_numbers() -> None:
    """Those that neither precision rounds are exact; an unsure boolean is off by 1."""
    large = 2**24 + 1
    whole = bounded([3, 5, large], [False, True, False])
    given = U * large + ETA
    assert_bounds(converted(whole, DOUBLE), [3.0, 5.0, large], [0, INF, given])
    again = r3(large, given, roundings=1, largest=INF)
    wide = coarse(largest=INF)
    assert_bounds(converted(whole, SINGLE, wide), [3.0, 5.0, large], [0, INF, again])
    assert_bounds(converted(bounded([257]), BRAIN), [257.0], [r3(257, 0, roundings=1)])
    truths = bounded([True, False], [False, True])
    assert_bounds(converted(truths, DOUBLE), [1.0, 0.0], [0.0, 1.0])
    assert_bounds(converted(truths, SINGLE), [1.0, 0.0], [0.0, r3(0, 1, roundings=1)])


def test_integers_and_booleans_become_each_other() -> None:
    whole = bounded([0, 3, -1], [False, True, False])
    assert_bounds(converted(whole, bool), [False, True, True], [False, True, False])
    assert_bounds(converted(whole, np.int8), [0, 3, -1], [False, True, False])
    assert converted(whole, np.int8).value.dtype == np.int8
    assert_bounds(converted(bounded([True], UNSURE), np.int32), [1], [True])


# A number and its error, the integer that it becomes, and whether that, or the boolean, is open.
WHOLES: list[tuple[float, float, int, bool, bool]] = [
    (1.5, 0.25, 1, False, False),
    (1.75, 0.5, 1, True, False),
    (2.25, 0.5, 2, True, False),
    (-0.5, 0.25, 0, False, False),
    (0.5, 1.5, 0, True, True),
    (0.25, 0.5, 0, False, True),
    (1.0, 0.25, 1, True, False),
    (-1.0, 0.25, -1, True, False),
    (2.0, 0.0, 2, False, False),
    (0.0, 0.0, 0, False, False),
]


def test_numbers_become_integers_and_booleans_where_these_are_sure() -> None:
    (operand,) = columns([case[:2] for case in WHOLES])
    for column, dtype, values in (
        (3, np.int32, [case[2] for case in WHOLES]),
        (4, bool, [case[0] != 0 for case in WHOLES]),
    ):
        unsure = np.array([case[column] for case in WHOLES])
        for kinks, error in (("decided", unsure & False), ("open", unsure)):
            rounding = coarse(cast("Kinks", kinks))
            assert_bounds(converted(operand, dtype, rounding), values, error)
            assert rounding.open_kinks == unsure.sum()
