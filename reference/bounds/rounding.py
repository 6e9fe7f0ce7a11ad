"""The arithmetic of an implementation: a value, and how far rounding may take it from ours.

ROUNDING.md derives what each function adds to an error bound; its equations are cited as eq. (R1)
and so on.
"""

import functools
import math
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import ml_dtypes
import numpy as np
import numpy.typing as npt

from reference.arrays import PRECISION, PRECISIONS, Array

Kinks: TypeAlias = Literal["decided", "open"]

EPS = float(np.finfo(np.float64).eps)
ROUNDINGS = 2  # of one elementary operation: one of its own, one of an equivalent formula; eq. (R3)
FUNCTION_ULPS = 4  # the error of exp, log, tanh and the like in any library; eq. (R4)


class Bounded(NamedTuple):
    """An array and how far an implementation's array may be off.

    `error` is a float64 bound where `value` is real; where `value` is boolean or integer it is
    boolean, and says whether the implementation's may differ.
    """

    value: Array
    error: Array


class Extreme(Bounded):
    """The largest or smallest of some numbers, which remembers what it was chosen from.

    To compare it with one of them is to compare that one with the others; eq. (R11).

    Attributes:
        choices: the numbers as they were given, with where each may or may not be the extreme.
        home: which extreme each place of `choices` competes for, by its number.
        cell: the number of each extreme, which moves with the values.
    """

    choices: tuple[tuple[Bounded, Array], ...]
    home: Array
    cell: Array

    @classmethod
    def of(
        cls, choices: tuple[tuple[Bounded, Array], ...], home: Array, *parts: Array
    ) -> "Extreme":
        """Make one from what is known of the choices, and the value, error and cell."""
        value, error, cell = parts
        extreme = cls(value, error)
        extreme.choices, extreme.home, extreme.cell = choices, home, cell
        return extreme

    def open_against(self, other: Bounded) -> Array | None:
        """Say where `other` may or may not be the extreme, if it is one of the choices."""
        for choice, unsure in self.choices:
            if choice is other and self._at_home(unsure.shape):
                return unsure
        return None

    def _at_home(self, shape: tuple[int, ...]) -> bool:
        """Say whether each place of this shape meets the extreme that it competes for."""
        try:
            return np.array_equal(np.broadcast_to(self.cell, shape), self.home)
        except ValueError:  # the extreme has been moved into a shape that does not fit
            return False


@functools.cache
def _units(implementation: np.dtype[Any], jax: np.dtype[Any]) -> tuple[float, float, float]:
    """Give the unit roundoff, what may be lost to 0, and the largest number; eq. (R2)."""
    by_jax = ml_dtypes.finfo(jax)
    theirs = max((by_jax, ml_dtypes.finfo(implementation)), key=lambda info: float(info.eps))
    ours = ml_dtypes.finfo(np.float64)  # once beside each of the two
    unit_roundoff = sum(float(x.eps) / 2 for x in (theirs, ours, by_jax, ours))
    largest = min(float(by_jax.max), float(ml_dtypes.finfo(implementation).max))
    return unit_roundoff, float(theirs.tiny) + float(by_jax.tiny), largest


class Rounding:
    """The arithmetic of an implementation in `dtype`, compared with ours in float64.

    Attributes:
        kinks: the outcome of a comparison whose sides are within their joint error of each other:
            "decided" takes what the values say, "open" allows either.
        open_kinks: how many elements of comparisons were that close, counted either way.
    """

    def __init__(self, dtype: npt.DTypeLike, *, kinks: Kinks = "decided") -> None:
        """Take the unit roundoff, the smallest normal and the largest number from the dtype."""
        self.dtype = np.dtype(dtype)
        if self.dtype not in PRECISIONS:
            raise TypeError(f"dtype {PRECISION}, got {self.dtype}")
        self.computing_in(np.float64)
        self.kinks = kinks
        self.open_kinks = 0
        self._literals: dict[tuple[bytes, np.dtype[Any]], Bounded] = {}

    def computing_in(self, dtype: npt.DTypeLike) -> None:
        """Set the units for the next operations, which JAX computes in this dtype; eq. (R2).

        The implementation uses its own dtype, or JAX's if that is coarser. Our evaluation, which
        both are compared with, uses float64.
        """
        self.unit_roundoff, self.tiny, self.largest = _units(self.dtype, np.dtype(dtype))

    def given(self, value: Any) -> Bounded:
        """Take an input: exact if `dtype` holds it as a normal number, else rounded; eq. (R5).

        Raises:
            NotImplementedError: it is complex.
        """
        if is_key(value):
            return Bounded(value, np.zeros(value.shape, bool))
        array = np.asarray(value)
        if array.dtype.kind in "biu":
            return exact(array)
        if array.dtype.kind == "c":
            raise NotImplementedError("no error bound is known for complex numbers")
        array = array.astype(np.float64)
        with np.errstate(over="ignore"):
            held = (array.astype(self.dtype) == array) | np.isnan(array)
        held &= (array == 0) | ~(abs(array) < self.tiny)
        with np.errstate(invalid="ignore"):
            return Bounded(array, np.where(held, 0.0, self.unit_roundoff * abs(array) + self.tiny))

    def literal(self, value: Any, dtype: npt.DTypeLike) -> Bounded:
        """Take a constant of a jaxpr, the same object each time, so that it can be recognised."""
        array = np.asarray(value, dtype)
        key = array.tobytes(), array.dtype  # 0 and -0 are two constants
        if key not in self._literals:
            self._literals[key] = self.given(array)
        return self._literals[key]

    def rounded(
        self, value: Array, spread: Array, *, roundings: float | Array = ROUNDINGS
    ) -> Bounded:
        """Add the rounding of an operation to what its operands' errors make of it; eq. (R3)."""
        size = abs(value) + spread
        error = spread + roundings * self.unit_roundoff * size + self.tiny * (size > 0)
        return self._overflowing(value, error, abs(value))

    def function(self, value: Array, spread: Array, *, steps: float | Array = 0.0) -> Bounded:
        """Add the error of an elementary function, perhaps made in steps; eq. (R4), eq. (R12)."""
        return self.rounded(value, spread, roundings=2 * FUNCTION_ULPS + 1 + steps)

    def summed(self, value: Array, spread: Array, size: Array, terms: int) -> Bounded:
        """Add the error of a sum of `terms` whose absolute values sum to `size`; eq. (R6)."""
        error = spread + self.gamma(terms + 1) * size + terms * self.tiny * (size > 0)
        return self._overflowing(value, error, size)  # a partial sum may be as large as that

    def gamma(self, k: int) -> float:
        """gamma_k = k u / (1 - k u), the error of k roundings in a row; eq. (R1)."""
        ku = k * self.unit_roundoff
        return ku / (1 - ku) if ku < 1 else math.inf

    def product(self, a: Bounded, b: Bounded) -> Bounded:
        """Multiply; |xy - ab| <= |a| e_b + e_a |b| + e_a e_b; eq. (R8)."""
        spread = abs(a.value) * b.error + a.error * (abs(b.value) + b.error)
        return self.rounded(a.value * b.value, spread)

    def compared(self, value: Array, a: Bounded, b: Bounded) -> Bounded:
        """Mark the comparisons of a and b whose outcome may be either; eq. (R9)."""
        return self.opened(value, may_tie(a, b))

    def opened(self, value: Array, unsure: Array) -> Bounded:
        """Take a choice that is open where it is unsure, and count where it is; eq. (R9)."""
        self.open_kinks += int(unsure.sum())
        return Bounded(value, unsure & (self.kinks == "open"))

    def _overflowing(self, value: Array, error: Array, size: Array) -> Bounded:
        """Leave no bound where the implementation may overflow, or where the bound is NaN."""
        may_overflow = ~(size + error <= self.largest)
        return Bounded(value, np.where(may_overflow, np.inf, error))


def is_key(x: Any) -> bool:
    """Say whether it is a key of jax.random, which NumPy does not know."""
    return isinstance(x, jax.Array) and jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)


def exact(value: npt.ArrayLike) -> Bounded:
    """Take a value that is the same in every implementation."""
    array = np.asarray(value)
    return Bounded(array, np.zeros(array.shape, np.float64 if array.dtype.kind == "f" else bool))


def may_tie(a: Bounded, b: Bounded) -> Array:
    """Say where a and b lie within their joint error: either may be the larger; eq. (R9)."""
    if a is b:
        return ~np.isfinite(a.error)  # it may be NaN, which is unequal to itself
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Extreme) and (unsure := one.open_against(other)) is not None:
            return unsure
    joint = reach(a) + reach(b)
    gap = abs(np.subtract(a.value, b.value, dtype=np.float64))
    return np.where(np.isnan(gap), ~np.isfinite(joint), (gap <= joint) & (joint > 0))


def reach(x: Bounded) -> Array:
    """Give the error as a number, infinite where a boolean or an integer is unsure."""
    return np.where(x.error, np.inf, 0.0) if x.error.dtype == bool else x.error
