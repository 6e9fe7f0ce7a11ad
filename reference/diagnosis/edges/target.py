"""What is to be explained: the error of a gradient, each element in parts of its rounding bound.

A gradient, and what a mistake changes in it, is one array here: the elements of all leaves, one
after the other.
"""

import functools

import numpy as np

from reference.arrays import Array
from reference.diagnosis.difference import Difference
from reference.diagnosis.edges.changes import joined
from reference.noise.samples import unit_roundoff

SKETCH = 4096  # numbers that stand for a gradient while mistakes are put in an order
COARSER = 64.0  # times as far as a right gradient's may the rounding of a mistaken one stray


class Target:
    """The error of a gradient, and how near to it an explanation has to come.

    Args:
        difference: the gradient beside JAX's.
        right: the gradient without any mistake, by the program that mistakes are put into.

    Attributes:
        bound: of each element; infinite at a tie that was decided the other way.
        error: what was handed in, less what is wanted.
        weight: 1 / bound, and 0 where that is not known.
    """

    def __init__(self, difference: Difference, right: Array) -> None:
        """Take the error, and its bounds."""
        self.difference, self._right = difference, right
        # Where a tie has been decided the other way nothing is to be explained.
        self.bound = joined(
            np.where(leaf.tied, np.inf, leaf.open_bound) for leaf in difference.leaves
        )
        self.error = joined(leaf.got - leaf.want for leaf in difference.leaves)
        known = np.isfinite(self.bound)
        self.weight = np.where(known, 1 / np.maximum(self.bound, self.smallest), 0.0)

    @functools.cached_property
    def smallest(self) -> float:
        """Give a bound for elements that nothing rounds: no weight is infinite."""
        largest = float(abs(self._right).max(initial=0) or abs(self.error).max(initial=0))
        return float(np.finfo(np.float64).eps) * largest or 1.0

    @property
    def is_any_seen(self) -> bool:
        """Whether any of the error is outside of its bound."""
        return bool((abs(self.error) * self.weight > 1).any())

    @functools.cached_property
    def of_the_wrong(self) -> Array:
        """Say which elements are those of arrays that are wrong."""
        leaves = enumerate(self.difference.leaves)
        return np.concatenate(
            [np.full(leaf.want.size, i in self.difference.wrong) for i, leaf in leaves]
        )

    def explains(self, change: Array) -> bool:
        """Say whether a change leaves every element within its bound of what was handed in."""
        return self.is_within(change, self.bound)

    def reach(self, change: Array) -> Array:
        """Give the bounds, widened by a rounding of the largest change of each array.

        A mistake puts numbers where the right gradient is exact, as where it is 0.
        """
        wider = self.bound.copy()
        start = 0
        for leaf in self.difference.leaves:
            part = slice(start, start := start + leaf.want.size)
            wider[part] += 2 * unit_roundoff(leaf.got.dtype) * abs(change[part]).max(initial=0)
        return wider

    def nearly(self, change: Array) -> bool:
        """Say whether the mistaken gradient's own rounding might explain what is left."""
        return self.is_within(change, COARSER * self.reach(change))

    def is_within(self, change: Array, allowed: Array) -> bool:
        """Say whether a change leaves every element so near to what was handed in."""
        return bool((abs(self.error - change) <= allowed).all())

    def alike(self, one: Array, other: Array) -> bool:
        """Say whether two changes are the same but for rounding."""
        return bool((abs(one - other) <= self.reach(one)).all())

    def is_seen(self, change: Array) -> bool:
        """Say whether this check could see a change, which has to be finite."""
        return bool((abs(change) * self.weight > 1).any() and np.isfinite(change).all())

    def fit(self, whole: Array, weight: Array | None = None) -> float:
        """Fit a multiple of a change to the difference, in parts of the bounds."""
        weight = self.weight if weight is None else weight
        weighted = weight * whole
        return float(weighted @ (weight * self.error) / (weighted @ weighted))

    def sketch(self, x: Array) -> Array:
        """Add elements up at random places with random signs, which leaves sums what they are."""
        if x.size <= SKETCH:
            return x
        places, signs = self._places_and_signs
        return np.bincount(places, signs * x, SKETCH)

    @functools.cached_property
    def _places_and_signs(self) -> tuple[Array, Array]:
        """Draw where each element of a gradient is added up, and with which sign."""
        rng, size = np.random.default_rng(0), self.error.size
        return rng.integers(SKETCH, size=size), rng.choice([-1.0, 1.0], size)

    @property
    def in_the_wrong(self) -> tuple[Array, Array]:
        """The error of the arrays that are wrong, and how far an explanation may be from it."""
        error = np.where(self.of_the_wrong, self.error, 0.0)
        scale = COARSER * np.where(self.of_the_wrong, self.reach(self.error), np.inf)
        return error, scale

    def reached_by(self, elements: Array) -> frozenset[int]:
        """Give the places of the arrays that are wrong, and have any of these elements."""
        ends = np.cumsum([leaf.want.size for leaf in self.difference.leaves])
        parts = np.split(elements, ends[:-1])
        return frozenset(i for i in self.difference.wrong if parts[i].any())
