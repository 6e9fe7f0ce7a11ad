"""How likely it is that a mistake explains a difference by luck.

Whatever goes wrong above an array z of the loss comes to the gradient as J^T v, with J the
derivative of z in the arguments. Where z has two elements, as in a batch of two rows, all such
errors lie in one plane, however many elements the gradient has, and two fitted factors explain each
of them. So what counts is in how many directions errors from the place of a mistake can differ.

The model: each element of what the mistake changes in the derivative handed down has a factor of
its own, drawn from a normal distribution about that of the mistake. `DRAWS` such gradients, less
the mistake's and with each element in parts of what the check allows it, are the columns of
Y sqrt(DRAWS). Of any n elements, with the singular values s_i of their rows of Y, all within 1 of
the mistake's are within sqrt(n) of it along each singular vector, and the density of a normal is at
most 1 / (s sqrt(2 pi)). A number that was fitted takes the direction that says most, so that with k
of them

    P(as near by luck) <= prod over i > k of min(1, 2 sqrt(n) / (s_i sqrt(2 pi))).

This holds for each choice of elements, so those are taken that say most.

A factor on a single number is no guess: whatever has gone wrong above it, the gradient is that
number's part of it, times a factor. Such a place has one direction, and says nothing of places with
more. Where all have one, the factor is named if it is the same wherever it may be.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg

from reference.arrays import Array

DRAWS = 8  # directions that are counted, at most
CHANCE = 1e-6  # that one of all mistakes that are tried fits by luck


class Luck(NamedTuple):
    """How likely an error of another origin is to look like a mistake.

    Attributes:
        directions: in which errors from its place can be told apart by this check, up to `DRAWS`.
        log10: of the probability that one of them is as near to the mistake.
    """

    directions: int
    log10: float

    def tells(self, choices: float) -> bool:
        """Say whether none of so many mistakes is likely to fit by luck."""
        return bool(np.log10(choices) + self.log10 < np.log10(CHANCE))


def luck(draws: Array, fitted: int = 0) -> Luck:
    """Bound the chance that errors like some draws are within 1 in each element of a mistake's.

    Args:
        draws: gradients less that of the mistake, one a column, in parts of what is allowed.
        fitted: how many numbers were fitted.

    >>> plane = np.random.default_rng(0).normal(size=(100, 2)) @ np.ones((2, 8)) * 1e12
    >>> luck(plane, fitted=1).directions
    1
    """
    telling = draws[(abs(draws) > 1).any(axis=1)] / np.sqrt(DRAWS)
    if not telling.size:
        return Luck(0, 0.0)
    order = linalg.qr(telling.T, mode="r", pivoting=True)[1]  # the most independent ones first
    found = Luck(0, 0.0)
    for n in range(1, min(telling.shape) + 1):
        s = np.linalg.svd(telling[order[:n]], compute_uv=False)
        within = 2 * np.sqrt(n) / np.sqrt(2 * np.pi)
        near = np.minimum(1, within / np.maximum(s, within))
        chance = float(np.log10(near[fitted:]).sum())
        directions = max(found.directions, int((near < 1).sum()))
        found = Luck(directions, min(found.log10, chance))
    return found


def least(several: Sequence[Luck]) -> Luck:
    """Give the one that tells least, for the origin of an error may be at any of several places."""
    return max(several, key=lambda one: one.log10)
