"""The logarithm of numbers just above 1, one at a time: logarithm.md derives the equations.

As in exponential.py there is nothing but arithmetic in it, so that a processor computes several at
once, in float32 or float64.
"""

from typing import Any

import numpy as np
from numba.extending import overload

from manual_nn.compiled.compiler import compiled_fused
from manual_nn.compiled.exponential import constants_of

Coefficients = tuple[Any, ...]

# 1 / (2 j + 1), from the last term to the first; eq. (2)
SINGLE: Coefficients = tuple(np.float32(1 / (2 * j + 1)) for j in range(7, -1, -1))
DOUBLE: Coefficients = tuple(np.float64(1 / (2 * j + 1)) for j in range(16, -1, -1))


def coefficients_of(y: Any) -> Coefficients:
    """Give the coefficients for the precision of a number; eq. (2)."""
    return SINGLE if y.dtype == np.float32 else DOUBLE


@overload(coefficients_of)  # type: ignore[untyped-decorator] # it is Any to mypy
def _compiled_coefficients_of(y: Any) -> Any:
    coefficients = SINGLE if y.bitwidth == 32 else DOUBLE

    def known(y: Any) -> Any:
        return coefficients

    return known


@compiled_fused
def log1p(y: Any) -> Any:
    """Compute ln(1 + y) for y from 0 to 1, or what is not a number; eq. (1), (2)."""
    c, coefficients = constants_of(y), coefficients_of(y)
    doubled = (y + y) / (c.one + c.one + y)  # 2 s, which keeps the last digit of a subnormal y
    s = c.half * doubled
    square, Q = s * s, coefficients[0]
    for coefficient in coefficients[1:]:
        Q = Q * square + coefficient
    return doubled * Q
