"""How many standard deviations a right gradient may be off: the multiple of sigma; NOISE.md."""

import functools

import scipy.special

FAILURE = 1e-6  # the probability that a check of a right gradient fails by chance
SAMPLES = 16  # to begin with
MORE_SAMPLES = 64  # where an element lies beyond the multiple after those


@functools.cache
def multiple(elements: int, failure: float = FAILURE) -> float:
    """Compute how many measured standard deviations an element may be off; eq. (9).

    The quantile of Student's t with as many degrees of freedom as there are samples in the end,
    at the probability that one of so many elements may fail with; two-sided.

    >>> round(multiple(1), 2), round(multiple(10**6), 2)
    (5.41, 8.86)
    """
    return float(-scipy.special.stdtrit(MORE_SAMPLES, failure / max(elements, 1) / 2))


def probability(sigmas: float, samples: int = MORE_SAMPLES) -> float:
    """Compute how likely an element is so many measured standard deviations off, or more."""
    return float(2 * scipy.special.stdtr(samples, -sigmas))


def longest_equal_sum(z: float) -> int:
    """Compute how many equal terms may be added up one after the other; eq. (10).

    >>> longest_equal_sum(7)
    348
    """
    return int(64 / 9 * z**2)
