"""What the layers accept: each check names the argument, what it was and what was expected."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from manual_nn.checks.arrays import (
    check_broadcasts,
    check_fields,
    check_floats,
    check_integers,
    check_like,
    check_mask,
    check_scalar,
)

FLOAT32 = np.dtype(np.float32)
ROW = np.ones(3, np.float32)


class Pair(NamedTuple):
    """What some layer takes."""

    weight: int
    bias: int


def test_what_fits_is_accepted() -> None:
    check_floats(np.ones((2, 1)), name="x", ndim=1)
    check_floats(np.ones((2, 1), np.float32), name="x", ndim=2)
    check_floats(np.array(1.0), name="x", ndim=0)
    check_integers(np.array(3, np.uint8), name="x")
    check_fields(Pair(1, 2), Pair)
    check_like(ROW, (3,), FLOAT32, name="d_out", like="out")
    check_mask(np.ones((2, 1), bool), (2, 3), like="x")
    check_broadcasts(ROW, (2, 3), name="positions", like="x")
    for number in (2, -0.5, np.float32(1), np.int8(3), np.array(1.0), np.array(np.inf)):
        check_scalar(number, name="d_out")


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (
            lambda: check_fields((1, 2), Pair, name="x"),
            TypeError,
            "x must be Pair(weight, bias), got tuple",
        ),
        (
            lambda: check_fields(Pair, Pair),
            TypeError,
            "params must be Pair(weight, bias), got the class Pair; write Pair(weight, bias)",
        ),
        (
            lambda: check_floats([1.0], name="x", ndim=1),
            TypeError,
            "x must be a NumPy array, got list",
        ),
        (
            lambda: check_floats(np.ones(3, np.float16), name="x", ndim=1),
            TypeError,
            "x must be float32 or float64, got float16",
        ),
        (
            lambda: check_floats(ROW, name="x", ndim=2),
            ValueError,
            "x must have at least 2 axes and no empty one, got shape (3,)",
        ),
        (
            lambda: check_floats(np.array(1.0), name="x", ndim=1),
            ValueError,
            "x must have at least 1 axis and no empty one, got shape ()",
        ),
        (
            lambda: check_floats(np.ones((2, 0)), name="x", ndim=1),
            ValueError,
            "x must have at least 1 axis and no empty one, got shape (2, 0)",
        ),
        (
            lambda: check_integers(ROW, name="x"),
            TypeError,
            "x must be a NumPy array of integers, got float32",
        ),
        (
            lambda: check_integers((1, 2), name="x"),
            TypeError,
            "x must be a NumPy array of integers, got tuple",
        ),
        (
            lambda: check_like(1.0, (3,), FLOAT32, name="d_out", like="out"),
            TypeError,
            "d_out must be a NumPy array, got float",
        ),
        (
            lambda: check_like(np.ones(3), (3,), FLOAT32, name="d_out", like="out"),
            TypeError,
            "d_out must be float32 like out, got float64",
        ),
        (
            lambda: check_like(ROW, (2, 3), FLOAT32, name="d_out", like="out"),
            ValueError,
            "d_out must have shape (2, 3) to fit out, got (3,)",
        ),
        (
            lambda: check_mask(ROW, (3,), like="x"),
            TypeError,
            "mask must be a NumPy array of booleans, got float32",
        ),
        (
            lambda: check_mask([True], (3,), like="x"),
            TypeError,
            "mask must be a NumPy array of booleans, got list",
        ),
        (
            lambda: check_mask(np.ones(2, bool), (2, 3), like="x"),
            ValueError,
            "mask must have a shape that broadcasts to (2, 3), that of x, got (2,)",
        ),
        (
            lambda: check_broadcasts(np.ones((1, 3)), (3,), name="positions", like="x"),
            ValueError,
            "positions must have a shape that broadcasts to (3,), that of x, got (1, 3)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    check: Callable[[], None], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        check()


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (np.ones(1), ValueError, "d_out must be one number, got an array of shape (1,)"),
        (np.ones((2, 2)), ValueError, "d_out must be one number, got an array of shape (2, 2)"),
        ("1", TypeError, "d_out must be a real number, got str"),
        (1j, TypeError, "d_out must be a real number, got complex"),
        (True, TypeError, "d_out must be a real number, got bool"),
        (np.bool_(1), TypeError, "d_out must be a real number, got bool"),
        (np.array(1j), TypeError, "d_out must be a real number, got complex128"),
        (None, TypeError, "d_out must be a real number, got NoneType"),
        ([1.0], TypeError, "d_out must be a real number, got list"),
    ],
)
def test_what_is_not_one_number_is_refused(
    number: object, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        check_scalar(number, name="d_out")
