"""The normal distribution at single numbers: normal.md derives the equations.

In float32 there is nothing but arithmetic in it, so that a processor computes several at once. In
float64 Phi is the C library's, for one number after the other.
"""

import math
from typing import Any

import numpy as np
from numba.extending import overload
from numpy.polynomial import Polynomial, chebyshev

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled_fused
from manual_nn.compiled.exponential import constants_of, exp_of_sum

FARTHEST = np.float32(14.5)  # from here on the density is 0 in float32
NEAREST_W, FARTHEST_W = 1 / 2, 1 / (2 + 14.5)  # 1 / (2 + z) at both ends
STEEPNESS = np.float32(2 / (NEAREST_W - FARTHEST_W))  # with which s goes from -1 to 1; eq. (4)
SHIFT = np.float32((NEAREST_W + FARTHEST_W) / (NEAREST_W - FARTHEST_W))
STEPS, STEPS_IN_FLOAT64 = np.float32(2**8), 2.0**20  # of z, whose squares are exact; eq. (5)
ONE, TWO = np.float32(1), np.float32(2)
FARTHEST_IN_FLOAT64 = np.float64(64)  # beyond where it is 0, and the squares overflow nowhere
DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)
SQRT_HALF = math.sqrt(1 / 2)
DEGREE = 11


def _smooth(s: Array) -> Array:
    """Compute G = (2 + z) exp(z^2 / 2) Phi(-z) in float64, where s is that of z; eq. (3), (4)."""
    w = NEAREST_W + (s - 1) * (NEAREST_W - FARTHEST_W) / 2
    z = 1 / w - 2
    tail = np.array([math.erfc(SQRT_HALF * number) / 2 for number in z.tolist()])
    return np.asarray(tail * np.exp(z * z / 2) / w)


NODES = chebyshev.chebpts1(DEGREE + 1)
COEFFICIENTS = tuple(
    np.float32(c)
    for c in reversed(Polynomial.fit(NODES, _smooth(NODES), DEGREE, domain=[-1, 1]).coef.tolist())
)


def probability_and_density(x: Any) -> tuple[Any, Any]:
    """Compute Phi(x), the probability that a normal number is below x, and phi(x); eq. (1)."""
    return (_by_arithmetic if x.dtype == np.float32 else _by_the_library)(x)


@overload(probability_and_density)  # type: ignore[untyped-decorator] # it is Any to mypy
def _compiled(x: Any) -> Any:
    def in_float32(x: Any) -> Any:
        return _by_arithmetic(x)

    def in_float64(x: Any) -> Any:
        return _by_the_library(x)

    return in_float32 if x.bitwidth == 32 else in_float64


@compiled_fused
def _by_arithmetic(x: Any) -> tuple[Any, Any]:
    """Compute both in float32; eq. (2) to (4)."""
    z = FARTHEST if abs(x) > FARTHEST else abs(x)
    e = bell(z, STEPS)
    w = ONE / (z + TWO)
    s = STEEPNESS * w - SHIFT
    G = COEFFICIENTS[0]
    for coefficient in COEFFICIENTS[1:]:
        G = G * s + coefficient
    tail = e * (w * G)
    return ONE - tail if x > 0 else tail, e * np.float32(DENSITY_AT_0)


@compiled_fused
def bell(z: Any, steps: Any) -> Any:
    """Compute e^(-z^2 / 2) with all its digits, for 0 <= z <= 64; eq. (5)."""
    half = constants_of(z).half
    near = np.floor(z * steps + half) / steps
    return exp_of_sum(-half * (near * near), -half * ((z - near) * (z + near)))


@compiled_fused
def _by_the_library(x: Any) -> tuple[Any, Any]:
    """Compute both in float64; eq. (1), (5)."""
    z = FARTHEST_IN_FLOAT64 if abs(x) > FARTHEST_IN_FLOAT64 else abs(x)
    return math.erfc(-SQRT_HALF * x) / 2, bell(z, STEPS_IN_FLOAT64) * DENSITY_AT_0
