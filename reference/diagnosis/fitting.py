"""Numbers fitted to a difference, with the interval that the error bounds leave them."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from reference.arrays import Array, told_apart
from reference.bounds.rounding import Bounded
from reference.compare import Leaf

DENOMINATOR = 64  # at most, of a number that is written as a fraction
FINE = 2.0**-20  # of a number, within which a fraction does not lie by chance
PLAIN = {1.0, -1.0, 2.0, 0.5}  # numbers that one beside them has to be told from


class Interval(NamedTuple):
    """The numbers from `low` to `high`."""

    low: float
    high: float

    def __contains__(self, number: object) -> bool:
        """Say whether the number is one of them."""
        return isinstance(number, (int, float)) and self.low <= number <= self.high

    @property
    def middle(self) -> float:
        """The number in the middle."""
        return self.low + (self.high - self.low) / 2

    def __str__(self) -> str:
        """Write the number with the digits that are certain."""
        for digits in range(1, 17):
            text = f"{self.middle:.{digits}g}"
            if float(text) in self:
                return text
        return f"{self.middle:.17g}"

    def in_words(self) -> str:
        """Write the number as a simple fraction where it is one, and else as above.

        Such fractions lie 1 / 1,200 apart, so that one in a thousand other numbers is near one.

        >>> Interval(0.6249999, 0.6250001).in_words(), Interval(0.62, 0.63).in_words()
        ('5/8', '0.62')
        """
        if not np.isfinite(self.middle):
            return str(self)
        simple = Fraction(self.middle).limit_denominator(DENOMINATOR)
        fine = self.high - self.low <= FINE * abs(self.middle)
        return _shorter(simple) if fine and float(simple) in self else str(self)


def fit(
    got: npt.ArrayLike, unit: npt.ArrayLike, error: npt.ArrayLike, unit_error: npt.ArrayLike
) -> Interval | None:
    """Find all c with |got - c unit| <= error + |c| unit_error in every element.

    On each side of 0 the inequality is linear in c, so each element allows an interval of c. The
    answer is their intersection; its width is the uncertainty of c.

    Returns:
        the interval, which may reach to infinity, or None if it is empty.

    >>> fit([2.0, 4.25], [1.0, 2.0], 0.25, 0.0)
    Interval(low=2.0, high=2.25)
    >>> fit([2.0, 5.25], [1.0, 2.0], 0.25, 0.0) is None
    True
    """
    columns = (np.asarray(x, np.float64) for x in (got, unit, error, unit_error))
    return _fit(*(column.ravel() for column in np.broadcast_arrays(*columns)))


def _fit(
    got: Array,
    unit: Array,
    error: Array,
    unit_error: Array,
) -> Interval | None:
    bounded = np.isfinite(error) & np.isfinite(unit_error)
    if not np.isfinite(got).all() or not bounded.any():
        return None
    got, unit, error, unit_error = (x[bounded] for x in (got, unit, error, unit_error))
    above = _not_negative(got, unit, error, unit_error)
    below = _not_negative(got, -unit, error, unit_error)
    if above and below:
        return Interval(-below.high, above.high)
    return Interval(-below.high, -below.low) if below else above


def _not_negative(
    got: Array,
    unit: Array,
    error: Array,
    unit_error: Array,
) -> Interval | None:
    """Find the c >= 0; both inequalities have the form slope c <= limit."""
    slope = np.concatenate([unit - unit_error, -unit - unit_error])
    limit = np.concatenate([error + got, error - got])
    if (limit[slope == 0] < 0).any():
        return None
    with np.errstate(over="ignore"):
        high = (limit[slope > 0] / slope[slope > 0]).min(initial=np.inf)
        low = (limit[slope < 0] / slope[slope < 0]).max(initial=0.0)
    return Interval(float(low), float(high)) if low <= high else None


def in_short(factor: float) -> str:
    """Write a factor with four digits, or with as many more as tell it from 1 and the like.

    >>> in_short(1 / 3), in_short(1.00002), in_short(-0.9999999)
    ('0.3333', '1.00002', '-0.9999999')
    """
    short = f"{factor:.4g}"
    near = float(short)
    return told_apart(factor, near)[0] if near in PLAIN else short


def in_words(factor: float) -> str:
    """Write a fitted factor as a simple fraction where it is one, and else in short.

    >>> in_words(1 / 7), in_words(-0.6250000001), in_words(0.3), in_words(0.1429)
    ('1/7', '-5/8', '0.3', '0.1429')
    >>> in_words(0.9999999), in_words(0.5)
    ('0.9999999', '0.5')
    """
    if not np.isfinite(factor):
        return in_short(factor)
    simple = Fraction(factor).limit_denominator(DENOMINATOR)
    near = abs(simple - factor) <= FINE * abs(factor)
    return _shorter(simple) if near and simple not in PLAIN else in_short(factor)


def _shorter(simple: Fraction) -> str:
    """Write 1/7, but 0.3 and not 3/10."""
    decimal = f"{float(simple):.4g}"
    is_exact = Fraction(decimal) == simple
    return decimal if is_exact and len(decimal) < len(str(simple)) else str(simple)


def positive_numbers(args: Sequence[Any]) -> list[float]:
    """List the positive real numbers among these arguments."""
    leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(tuple(args)))
    return [
        float(leaf) for leaf in leaves if leaf.ndim == 0 and leaf.dtype.kind == "f" and leaf > 0
    ]


def worst_ratio(leaf: Leaf, predicted: Bounded) -> float:
    """Give the largest ratio of |got - predicted| to the bound.

    It is infinite if got is not finite, or if the bound is infinite where got differs from JAX's:
    that would explain nothing.
    """
    if not np.isfinite(leaf.got).all():
        return math.inf
    distance = abs(leaf.got.astype(np.float64) - predicted.value)
    if (~np.isfinite(predicted.error) & (leaf.error > leaf.open_bound)).any():
        return math.inf
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        ratio = distance / predicted.error
    return float(np.where(np.isnan(ratio), 0.0, ratio).max(initial=0))
