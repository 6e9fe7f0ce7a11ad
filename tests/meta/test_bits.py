"""What is the same bits, and what is not."""

from typing import Any

import numpy as np

from manual_nn import Dense
from tests.support.bits import same_bits
from tests.support.cases import each

ONE = (np.ones((1, 2)), [np.float32(1), 2.0])


@each(
    "other",
    [
        (np.ones((2, 1)), [np.float32(1), 2.0]),
        (np.ones((1, 2), np.float32), [np.float32(1), 2.0]),
        (np.ones((1, 2)), [1.0, 2.0]),
        (np.ones((1, 2)), [np.float32(1), np.nextafter(2.0, 3.0)]),
        (np.ones((1, 2)), [np.float32(1), 2.0, 3.0]),
        (np.ones((1, 2)), [np.float32(1)]),
        (np.ones((1, 2)), (np.float32(1), 2.0)),
        (np.ones((1, 2)), None),
    ],
)
def test_another_shape_dtype_value_or_structure_is_not_the_same(other: Any) -> None:
    assert not same_bits(ONE, other)
    assert not same_bits(other, ONE)


def test_the_same_numbers_are_the_same_bits_wherever_they_lie() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert same_bits(ONE, (np.ones((1, 2)), [np.float32(1), 2.0]))
    assert same_bits(Dense(array, array[0]), Dense(np.asfortranarray(array), array[0].copy()))


def test_a_zero_has_a_sign_and_a_nan_is_itself() -> None:
    assert not same_bits(0.0, -0.0)
    assert same_bits(np.array([np.nan]), np.array([np.nan]))
