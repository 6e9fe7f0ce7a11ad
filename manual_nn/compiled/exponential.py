"""The exponential of single numbers: exponential.md derives the equations.

In a loop over an array a processor computes as many of them at once as it has lanes, because there
is nothing but arithmetic in it: no branch, no table, no call.

The result is in the precision of the argument, float32 or float64.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from manual_nn.compiled.compiler import compiled_fused

LN_2 = Fraction(Decimal(2).ln())  # 28 digits


class Constants(NamedTuple):
    """The constants of a precision, each a number of it.

    Attributes:
        one, half: these.
        lowest, highest: what is below the first has the exponential 0, above the other infinity.
        indistinct: what is below it has an exponential that, added to 1, leaves it 1.
        log2_e: 1 / ln 2.
        ln_2_high, ln_2_low: h and l, which add up to ln 2; eq. (3).
        coefficients: 1 / j!, from the last term of the series to the first; eq. (4).
    """

    one: Any
    half: Any
    lowest: Any
    highest: Any
    indistinct: Any
    log2_e: Any
    ln_2_high: Any
    ln_2_low: Any
    coefficients: tuple[Any, ...]


def _constants(
    number: type[np.floating[Any]],
    *,
    lowest: int,
    highest: int,
    indistinct: int,
    digits: int,
    terms: int,
) -> Constants:
    """Round the constants to a precision; h has so many binary digits; eq. (3), (4)."""
    high = Fraction(math.floor(LN_2 * 2**digits), 2**digits)
    return Constants(
        one=number(1),
        half=number(0.5),
        lowest=number(lowest),
        highest=number(highest),
        indistinct=number(indistinct),
        log2_e=number(float(1 / LN_2)),
        ln_2_high=number(float(high)),
        ln_2_low=number(float(LN_2 - high)),
        coefficients=tuple(number(1 / math.factorial(j)) for j in range(terms, 0, -1)),
    )


SINGLE = _constants(np.float32, lowest=-104, highest=89, indistinct=-20, digits=16, terms=7)
DOUBLE = _constants(np.float64, lowest=-746, highest=710, indistinct=-40, digits=42, terms=13)


def constants_of(x: Any) -> Constants:
    """Give the constants of the precision of a number."""
    return SINGLE if x.dtype == np.float32 else DOUBLE


@overload(constants_of)  # type: ignore[untyped-decorator] # it is Any to mypy
def _compiled_constants_of(x: Any) -> Any:
    constants = SINGLE if x.bitwidth == 32 else DOUBLE

    def known(x: Any) -> Any:
        return constants

    return known


def power_of_2(k: Any, like: Any) -> Any:
    """Compute 2^k, a normal number of the precision of `like`, by its bits; eq. (5)."""
    return (_single if like.dtype == np.float32 else _double)(k, like)


@overload(power_of_2)  # type: ignore[untyped-decorator] # likewise
def _compiled_power_of_2(k: Any, like: Any) -> Any:
    return _single if like.bitwidth == 32 else _double


def _single(k: Any, like: Any) -> Any:
    return np.int32((k + 127) << 23).view(np.float32)


def _double(k: Any, like: Any) -> Any:
    return np.int64((np.int64(k) + 1023) << 52).view(np.float64)


@compiled_fused
def exp(x: Any) -> Any:
    """Compute e^x, which may be 0, subnormal or infinite, or not a number; eq. (2), (6)."""
    n, r = reduced(limited(x))
    y = scaled(series(r), n)
    return x if np.isnan(x) else y


@compiled_fused
def exp_of_sum(x: Any, rest: Any) -> Any:
    """Compute e^(x + rest) of a sum that is not rounded, |rest| below 0.03; eq. (2), (7)."""
    n, r = reduced(limited(x))
    y = scaled(series(r + rest), n)
    return x if np.isnan(x) else y


@compiled_fused
def expm1(x: Any) -> Any:
    """Compute e^x - 1 for an x that is not positive, or not a number; eq. (8)."""
    c = constants_of(x)
    n, r = reduced(x if x > c.indistinct else c.indistinct)
    power = power_of_2(n, x)
    y = power * series(r) + (power - c.one)
    return x if np.isnan(x) else y


@compiled_fused
def limited(x: Any) -> Any:
    """Give x, or the end of the range that it is beyond; the lowest of what is not a number."""
    c = constants_of(x)
    z = x if x > c.lowest else c.lowest
    return c.highest if z > c.highest else z


@compiled_fused
def scaled(t: Any, n: Any) -> Any:
    """Compute 2^n (1 + t), rounded once where that is subnormal; eq. (6)."""
    half = n >> 1
    return (constants_of(t).one + t) * power_of_2(half, t) * power_of_2(n - half, t)


@compiled_fused
def reduced(x: Any) -> tuple[Any, Any]:
    """Compute the nearest whole number n to x / ln 2, and r = x - n ln 2; eq. (1), (3)."""
    c = constants_of(x)
    n = np.floor(x * c.log2_e + c.half)
    return np.int32(n), (x - n * c.ln_2_high) - n * c.ln_2_low


@compiled_fused
def series(r: Any) -> Any:
    """Compute e^r - 1 = r P_1, for r between -ln 2 / 2 and ln 2 / 2; eq. (4)."""
    coefficients = constants_of(r).coefficients
    P = coefficients[0]
    for coefficient in coefficients[1:]:
        P = P * r + coefficient
    return P * r
