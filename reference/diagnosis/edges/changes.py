"""What mistakes change in the gradient: with them it is computed anew, and the right one taken off.

With C the change that a tap makes at setting 1 the gradient is want + c C, exactly so where the
tap's edge is on each path once, for the gradient is affine in a factor on it. A mistake of
`mistakes.py` has c = 1. A gradient is one array here, of all its elements one after the other.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from reference.arrays import Array
from reference.bounds.rounding import is_key
from reference.diagnosis.edges.flow import of_parameters
from reference.diagnosis.edges.operations import shapes_at
from reference.diagnosis.edges.patterns import OF_TIES
from reference.diagnosis.edges.swaps import UPDATED
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import FACTOR, Edge, Tap

SIMPLEST = {FACTOR, *OF_TIES}  # kinds that are tried first, and whose program is small
KEPT = 2**26  # bytes of changes, for the next check of the same loss at the same arguments
BESIDE = 2**20  # numbers in all arrays of a loss, times the mistakes beside which others are tried


class Mistake(NamedTuple):
    """Taps that are set alike, as those of one line of a loop that was unrolled.

    Attributes:
        taps: all of one kind.
        setting: what they are set to.
        only: the places of the arrays in whose own derivative it is made; empty for all of them.
    """

    taps: tuple[Tap, ...]
    setting: float
    only: frozenset[int] = frozenset()

    @property
    def kind(self) -> str:
        """FACTOR, or the name of a mistake."""
        return self.taps[0].kind

    @property
    def edges(self) -> set[Edge]:
        """Where what is handed down is wrong."""
        return {tap.edge for tap in self.taps}

    @property
    def factor(self) -> float:
        """What is handed down, in parts of what should be; of the kind FACTOR alone."""
        return 1 + self.setting


class Explanation(NamedTuple):
    """Mistakes that together give the gradient.

    Attributes:
        mistakes: one or two.
        alike: for each of them the other edges on which it gives the same; empty if not known.
    """

    mistakes: tuple[Mistake, ...]
    alike: tuple[tuple[Mistake, ...], ...] = ()

    def with_alike(self) -> list[tuple[Mistake, tuple[Mistake, ...]]]:
        """List the mistakes, each with the others that give the same."""
        return list(zip(self.mistakes, self.alike or ((),) * len(self.mistakes), strict=True))


class Program:
    """The gradient of a loss with some taps, compiled.

    Args:
        tapped: the loss.
        taps: those that are in the program.
    """

    def __init__(self, tapped: Tapped, taps: Sequence[Tap]) -> None:
        """Compile it, and compute the right gradient."""
        self.taps = taps
        self.numbers = {tap: number for number, tap in enumerate(taps)}
        self._at = tapped.compiled(taps)
        self.right = joined(self._at(np.zeros(len(taps))))

    def change(self, mistakes: Iterable[Mistake]) -> Array:
        """Compute how the gradient changes with these mistakes."""
        settings = np.zeros(len(self.taps))
        for mistake in mistakes:
            for tap in mistake.taps:
                settings[self.numbers[tap]] += mistake.setting
        return joined(self._at(settings)) - self.right


class Changes:
    """What mistakes change in the gradient of one loss, at its arguments.

    Args:
        tapped: the loss.

    Attributes:
        taps: of all mistakes but those that put an array in the place of another one.
        factors: the gradient with those that are tried first.
        right: the gradient without any mistake.
        known: the changes that were computed, as far as memory is left for them.
    """

    def __init__(self, tapped: Tapped) -> None:
        """Compile the gradient with a factor on each edge."""
        self.tapped, self.taps = tapped, tapped.taps()
        self.known = _changes_known(tapped, self.taps)
        self.factors = Program(tapped, [tap for tap in self.taps if tap.kind in SIMPLEST])
        self.right = self.factors.right

    @functools.cached_property
    def all_taps(self) -> Program:
        """The gradient with every tap, which takes longer to compile and to run."""
        return Program(self.tapped, self.taps)

    @functools.cached_property
    def updates(self) -> Program:
        """The gradient with every tap, and with those of parameters that were updated."""
        return Program(self.tapped, [*self.taps, *of_parameters(self.tapped)])

    def change(self, mistakes: Iterable[Mistake]) -> Array:
        """Compute how the gradient changes with these mistakes."""
        mistakes = tuple(mistakes)
        if mistakes not in self.known:
            change = self._computed(mistakes)
            if any(mistake.kind == UPDATED for mistake in mistakes):
                return change  # which depends on the gradient that was handed in
            if (len(self.known) + 1) * change.nbytes > KEPT:
                return change
            self.known[mistakes] = change
        return self.known[mistakes]

    def _computed(self, mistakes: Sequence[Mistake]) -> Array:
        taps = [tap for mistake in mistakes for tap in mistake.taps]
        if any(tap.swap or tap.source or tap.others for tap in taps):
            updated = any(mistake.kind == UPDATED for mistake in mistakes)
            if updated and all(tap in self.updates.numbers for tap in taps):
                return self.updates.change(mistakes)
            settings = np.array([mistake.setting for mistake in mistakes for _ in mistake.taps])
            return joined(self.tapped.compiled(taps)(settings)) - self.right
        of_factors = all(tap in self.factors.numbers for tap in taps)
        return (self.factors if of_factors else self.all_taps).change(mistakes)

    def has_room(self, count: int) -> bool:
        """Say whether so many mistakes leave room for another one beside each."""
        return self.size * (1 + count) <= BESIDE

    @functools.cached_property
    def size(self) -> int:
        """How many numbers all arrays of the loss have."""
        return sum(self.tapped.sizes())

    @functools.cached_property
    def is_forward(self) -> bool:
        """Say whether JAX can differentiate each operation forward, too."""
        shapes = (
            shapes_at(self.tapped.operations[edge.path].eqn, edge.operand)
            for edge in self.tapped.edges
        )
        return all(shape is None or shape.forward for shape in shapes)


_last: tuple[Any, dict[tuple[Mistake, ...], Array]] = (None, {})


def _changes_known(tapped: Tapped, taps: Sequence[Tap]) -> dict[tuple[Mistake, ...], Array]:
    """Give the changes that are known of a loss at its arguments; of the last one alone.

    Whoever looks for a mistake checks again and again at the same arguments.
    """
    global _last  # noqa: PLW0603, one loss at a time
    if tapped.known_by is None:
        return {}
    numbers = (jax.random.key_data(x) if is_key(x) else x for x in tapped.inputs)
    inputs = tuple((x.dtype, x.shape, x.tobytes()) for x in map(np.asarray, numbers))
    key = tapped.known_by, tuple(tapped.active), tuple(taps), inputs
    if _last[0] != key:
        _last = key, {}
    return _last[1]


def joined(arrays: Iterable[Array]) -> Array:
    """Join the arrays of a gradient into one, of float64."""
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in arrays])
