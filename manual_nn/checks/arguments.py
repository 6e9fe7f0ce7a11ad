"""What arguments of any kind must be: each check names it, what it was and what was expected.

Axes: N rows in the batch.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def name_of_kind(value: object, *kinds: type) -> str:
    """Name the type of a value that is none of these kinds, or say that it is a class.

    One of the kinds itself most often stands where an instance is meant, so that is shown.

    >>> name_of_kind(0.5, dict), name_of_kind(list, dict)
    ('float', 'the class list')
    """
    if not isinstance(value, type):
        return type(value).__name__
    name = value.__name__
    if not issubclass(value, kinds):
        return f"the class {name}"
    needed = inspect.signature(value).parameters.values()
    arguments = ", ".join(p.name for p in needed if p.default is inspect.Parameter.empty)
    return f"the class {name}; write {name}({arguments})"


def as_array(value: npt.ArrayLike, *, name: str) -> npt.NDArray[Any]:
    """Make an array of nested sequences, and check that they form one."""
    try:
        return np.asarray(value)
    except ValueError as error:
        msg = f"{name} must be an array, got sequences nested too deep or of unequal lengths"
        raise ValueError(msg) from error


def as_sample_weight(
    N: int, sample_weight: npt.ArrayLike | None, *, name: str = "sample_weight"
) -> Array | None:
    """Check that the weights of N rows are finite, none of them negative, and not all 0."""
    if sample_weight is None:
        return None
    array = as_array(sample_weight, name=name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.shape != (N,):
        raise ValueError(f"{name} must have shape ({N},), got {array.shape}")
    with np.errstate(over="ignore", under="ignore"):  # of more than 64 bits; refused below
        array = array.astype(np.float64, copy=False)
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        msg = f"{name} must hold finite numbers, none negative, got {array[row]} in row {row}"
        raise ValueError(msg)
    if not array.any():
        raise ValueError(f"{name} must not be zero in every row, got only zeros")
    return array


def as_number(
    value: object,
    *,
    name: str,
    minimum: float,
    strict: bool = False,
    dtype: npt.DTypeLike = np.float64,
) -> float:
    """Check that value is a finite real number of at least, or strictly above, the minimum.

    It is rounded to the precision that it is used in first: there it may vanish, or overflow.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a real number, got {name_of_kind(value)}")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the largest float
        number = math.inf
    if dtype is not np.float64:
        with np.errstate(over="ignore"):
            number = float(np.asarray(number, dtype))
    if not math.isfinite(number) or number < minimum or (strict and number == minimum):
        relation = "above" if strict else "of at least"
        expected = f"a finite number {relation} {minimum:g}"
        if np.dtype(dtype) != np.float64:
            expected += f" in {np.dtype(dtype)}"
        raise ValueError(f"{name} must be {expected}, got {value}")
    return number


def as_bool(value: object, *, name: str) -> bool:
    """Check that value is True or False: a word such as "no" would count as True."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"{name} must be a bool, got {type(value).__name__}")
    return bool(value)


def as_integer(value: object, *, name: str) -> int:
    """Check that value is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        got = " ".join(repr(value).split())  # in one line, an array too
        raise TypeError(f"{name} must be a whole number, got {got}")
    return int(value)


def as_count(value: object, *, name: str, minimum: int = 1) -> int:
    """Check that value is a whole number of at least the minimum."""
    number = as_integer(value, name=name)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return number


def as_sizes(sizes: object) -> list[int]:
    """Check that sizes are at least two whole numbers of at least 1."""
    if not isinstance(sizes, Sequence) and not (isinstance(sizes, np.ndarray) and sizes.ndim):
        msg = f"sizes must be a sequence of whole numbers, got {type(sizes).__name__}"
        raise TypeError(msg)
    if len(sizes) < 2:
        raise ValueError(f"sizes must have at least two entries, D and K, got {list(sizes)}")
    return [as_count(size, name=f"sizes[{i}]") for i, size in enumerate(sizes)]


def as_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Check that dtype is float32 or float64."""
    try:
        known = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from error
    if known not in DTYPES:
        raise TypeError(f"dtype must be float32 or float64, got {known}")
    return known


def as_rng(rng: object) -> "np.random.Generator":
    """Check that rng is a NumPy random generator."""
    if not isinstance(rng, np.random.Generator):
        msg = "rng must be a numpy.random.Generator, such as numpy.random.default_rng(0), got "
        raise TypeError(msg + name_of_kind(rng))
    return rng
