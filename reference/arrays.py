"""The arrays that the package computes with, NumPy's, lists of them, and their numbers in words."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

# In which a check may be, from the coarsest.
PRECISIONS = tuple(map(np.dtype, (ml_dtypes.bfloat16, np.float16, np.float32, np.float64)))
PRECISION = "must be bfloat16, float16, float32 or float64"
DIGITS = 7  # of a number that is shown
ALL_DIGITS = 17  # of one in float64


def merged(leaves: Sequence[Any], chosen: Sequence[bool], arrays: Iterable[Any]) -> list[Any]:
    """Put arrays, in their order, in the places of the chosen leaves.

    >>> merged(["x", "how", "y"], [True, False, True], [1, 2])
    [1, 'how', 2]
    """
    rest = iter(arrays)
    return [
        next(rest) if is_chosen else leaf for leaf, is_chosen in zip(leaves, chosen, strict=True)
    ]


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    >>> counted(1, "element"), counted(1200, "element")
    ('1 element', '1,200 elements')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def told_apart(one: float, other: float) -> tuple[str, str]:
    """Write two numbers with seven digits, or with as many more as tell them apart by two of them.

    >>> told_apart(2.0, 1.0), told_apart(1.0, 1.0)
    (('2', '1'), ('1', '1'))
    >>> told_apart(0.1 + 0.2, 0.3)
    ('0.30000000000000004', '0.29999999999999999')
    >>> told_apart(1.23456789, 1.23456712)
    ('1.2345679', '1.2345671')
    """
    if one == other:
        return f"{one:.{DIGITS}g}", f"{other:.{DIGITS}g}"
    for digits in range(DIGITS, ALL_DIGITS):
        if f"{one:.{digits - 1}g}" != f"{other:.{digits - 1}g}":
            return f"{one:.{digits}g}", f"{other:.{digits}g}"
    return f"{one:.{ALL_DIGITS}g}", f"{other:.{ALL_DIGITS}g}"
