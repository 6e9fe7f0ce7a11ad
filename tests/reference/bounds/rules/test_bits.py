"""Bits are exact or unsure, and so are the numbers that are made of them."""

import numpy as np
import pytest

from tests.support.bound_formulas import INF, U, assert_bounds, bounded, call, coarse, single

BITS = np.array([1.0, -2.5, 0.1], np.float32).view(np.uint32)


def test_a_number_is_as_exact_as_its_bits_and_as_a_precision_holds_it() -> None:
    result = call("bitcast_convert_type", single(), bounded(BITS), new_dtype=np.float32)
    assert_bounds(result, [1.0, -2.5, np.float32(0.1)], [0.0, 0.0, 0.0])
    tenth = bounded(np.array([0.1, 0.25]).view(np.int64))
    result = call("bitcast_convert_type", coarse(), tenth, new_dtype=np.float64)
    assert_bounds(result, [0.1, 0.25], [U * 0.1 + 2.0**-9, 0.0])
    unsure = bounded(BITS, [False, True, False])
    result = call("bitcast_convert_type", coarse(), unsure, new_dtype=np.float32)
    assert_bounds(result, [1.0, -2.5, np.float32(0.1)], [INF] * 3)


def test_other_integers_are_as_unsure_as_their_bits() -> None:
    for unsure in (False, True):
        operand = bounded(BITS, [unsure, False, False])
        result = call("bitcast_convert_type", coarse(), operand, new_dtype=np.int32)
        assert_bounds(result, BITS.view(np.int32), [unsure] * 3)
    halves = call("bitcast_convert_type", coarse(), bounded(BITS), new_dtype=np.uint16)
    assert_bounds(halves, BITS.view(np.uint16).reshape(3, 2), np.zeros((3, 2), bool))


def test_the_bits_of_a_real_number_have_no_bound() -> None:
    with pytest.raises(NotImplementedError, match="the bits of a real number"):
        call("bitcast_convert_type", coarse(), bounded([1.0]), new_dtype=np.int64)
