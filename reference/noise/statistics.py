"""How many standard deviations a right gradient may be off: the multiple of sigma; NOISE.md."""

import functools

import numpy as np
import scipy.special

from reference.arrays import Array

FAILURE = 1e-6  # the probability that a check of a right gradient fails by chance
SAMPLES = 16  # to begin with
MORE_SAMPLES = 64  # where an element lies beyond the multiple after those


@functools.cache
def multiple(elements: int, samples: int = MORE_SAMPLES) -> float:
    """Compute how many measured standard deviations an element may be off; eq. (9).

    The quantile of Student's t with as many degrees of freedom as there are samples, by default in
    the end, at the probability that one of so many elements may fail with; two-sided.

    >>> round(multiple(1), 2), round(multiple(10**6), 2)
    (5.41, 8.86)
    """
    return float(-scipy.special.stdtrit(samples, FAILURE / max(elements, 1) / 2))


def probability(sigmas: float, samples: int = MORE_SAMPLES) -> float:
    """Compute how likely an element is so many measured standard deviations off, or more."""
    return float(2 * scipy.special.stdtr(samples, -sigmas))


def joined(norm: Array, other: Array) -> Array:
    """Give the norm of two parts together: NumPy's hypot, in a quarter of its time."""
    largest = np.maximum(norm, other)
    unit = np.where(largest > 0, largest, 1.0)
    with np.errstate(invalid="ignore"):  # infinite norms give no number: nothing is known
        return np.asarray(unit * np.sqrt(np.square(norm / unit) + np.square(other / unit)))


def longest_equal_sum(z: float) -> int:
    """Compute how many equal terms may be added up one after the other; eq. (10).

    >>> longest_equal_sum(7)
    348
    """
    return int(64 / 9 * z**2)
