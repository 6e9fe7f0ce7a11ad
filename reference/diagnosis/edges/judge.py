"""Whether a mistake is believed: with it all is within rounding, and that is no chance.

Within rounding is what is within the bounds of the right gradient, or else what the check's own
witnesses say is right for the mistaken loss. Chance has two models: `Judge.is_telling` counts the
elements of the gradient that fit, `chance.py` the directions in which errors from a place differ.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from reference.arrays import Array
from reference.compare import Comparer, Verdict
from reference.diagnosis.edges.chance import CHANCE, DRAWS, Luck, least, luck
from reference.diagnosis.edges.changes import Changes, Mistake, joined
from reference.diagnosis.edges.choices import Choices
from reference.diagnosis.edges.taps import Tap
from reference.diagnosis.edges.target import COARSER, Target
from reference.limit import Tries

Gradient: TypeAlias = Callable[[Sequence[Any], Any], list[Any]]

JUDGED = 4  # of the best, by a measurement of their own rounding


class Judge:
    """Says of mistakes whether they are what has gone wrong.

    Args:
        changes: what mistakes change.
        target: what they are to explain.
        choices: what they may be set to.
        tries: how many are left out for want of time.

    Attributes:
        measured: by mistakes, the bounds of those that were judged right by their own rounding.
    """

    def __init__(self, changes: Changes, target: Target, choices: Choices, tries: Tries) -> None:
        """Begin with nothing judged."""
        self.changes, self.target, self.choices, self.tries = changes, target, choices, tries
        self.measured: dict[tuple[Mistake, ...], Array] = {}

    def changed(self, mistake: Mistake) -> Array:
        """Compute how the gradient changes with a mistake, perhaps in some arrays alone."""
        change = self.changes.change([mistake._replace(only=frozenset())])
        return np.where(self.target.of_the_wrong, change, 0.0) if mistake.only else change

    def judged(self, mistakes: tuple[Mistake, ...]) -> bool:
        """Say whether the gradient is right for the loss with these mistakes, by measurement.

        Then how far it may be off is known, which `reach` only guesses.
        """
        taps = [tap for mistake in mistakes for tap in mistake.taps]
        settings = np.array([m.setting for m in mistakes for _ in m.taps])
        gradient = self._gradient(taps, mistakes[0].only)
        leaves = self.target.difference.leaves
        dtype = str(np.result_type(*(leaf.got.dtype for leaf in leaves)))
        inputs = self.changes.tapped.inputs
        comparer = Comparer(gradient, inputs, settings, measured=True)
        got = [leaf.got for leaf in leaves]
        found = comparer(got, inputs, settings, dtype=dtype)
        is_right = found.verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}
        if is_right:
            bounds = [np.where(leaf.tied, np.inf, leaf.open_bound) for leaf in found.leaves]
            self.measured[mistakes] = np.maximum(joined(bounds), self.target.smallest)
        return is_right

    def _gradient(self, taps: Sequence[Tap], only: frozenset[int]) -> Gradient:
        """Give the gradient with its taps, in some of the arrays alone if there are any."""
        mistaken, right = self.changes.tapped.gradient(taps), self.changes.tapped.gradient(())
        if not only:
            return mistaken

        def gradient(inputs: Sequence[Any], settings: Any) -> list[Any]:
            pairs = zip(mistaken(inputs, settings), right(inputs, settings), strict=True)
            return [wrong if i in only else x for i, (wrong, x) in enumerate(pairs)]

        return gradient

    def first_right(self, near: Sequence[tuple[tuple[Mistake, ...], Array]]) -> list[int]:
        """Find the first of these that is right by its own rounding, and those that are as well."""
        refused: list[Array] = []
        for mistakes, change in near:
            if any(self.target.alike(change, other) for other in refused):
                continue
            if len(refused) == JUDGED or not self.tries.has_time():
                break
            if self.judged(mistakes):
                measured = self.measured[mistakes]
                alike = [i for i, (_, x) in enumerate(near) if self.target.is_within(x, measured)]
                self.measured.update((near[i][0], measured) for i in alike)
                return alike
            refused.append(change)
        return []

    def allowed(self, mistakes: tuple[Mistake, ...], change: Array, *, explains: bool) -> Array:
        """Give how far what was handed in may be from a change that explains it, or nearly does."""
        if explains:
            return self.target.reach(change)
        return np.minimum(COARSER * self.target.reach(change), self.measured.get(mistakes, np.inf))

    def stands(
        self,
        mistakes: tuple[Mistake, ...],
        change: Array,
        size: int,
        tried: int,
        places: Sequence[Sequence[Mistake]] = (),
    ) -> bool:
        """Say whether mistakes explain the difference, and not by luck.

        Args:
            mistakes: the ones in question.
            change: that they make.
            size: of the array that is handed down wrongly.
            tried: how many mistakes.
            places: where each of them may be, if that is not only where it is.
        """
        explains, fitted = self.target.explains(change), self.choices.fitted_in(mistakes)
        if not explains and not (
            self.target.nearly(change)
            and self.is_telling(change, self.target.bound, size, tried, fitted)
            and self.judged(mistakes)
        ):
            return False
        allowed = self.allowed(mistakes, change, explains=explains)
        telling = self.is_telling(change, allowed, size, tried, fitted)
        places = places or [[mistake] for mistake in mistakes]
        return telling and self.luck_at(places, allowed, fitted).tells(tried)

    def is_telling(
        self, change: Array, allowed: Array, size: int, tried: int, fitted: int = 0
    ) -> bool:
        """Say whether a change is as what was handed in is in more elements than chance allows.

        Of as many mistakes as were tried one is near by chance with a probability of no more than
        `CHANCE`. What an array of a few elements hands down says no more than these elements.

        Args:
            change: what a mistake changes.
            allowed: how far what was handed in may be from that.
            size: of the array that is handed down wrongly.
            tried: how many mistakes.
            fitted: how many numbers have been fitted, to as many elements.
        """
        chance = self.chance(change, allowed, size, fitted)
        return bool(np.log10(tried) + chance < np.log10(CHANCE))

    def chance(self, change: Array, reach: Array, size: int, fitted: int) -> float:
        """Give log10 of the chance that what was handed in is as near to a change as `reach`."""
        moved = self.target.of_the_wrong & (abs(change) * self.target.weight > 1)
        said = min(int(moved.sum()), size) - fitted
        if said <= 0:
            return 0.0
        least = np.finfo(np.float64).tiny  # of a reach of 0, where nothing rounds
        near = np.clip(reach[moved] / abs(change[moved]), least, 1)
        return float(said * np.median(np.log10(near)))

    def luck_at(self, places: Sequence[Sequence[Mistake]], allowed: Array, fitted: int) -> Luck:
        """Bound the chance that errors from where mistakes may be look like them.

        The place counts that tells least.
        """
        draws = self.drawn([one for several in places for one in several], allowed)
        return least(
            [
                luck(np.concatenate([draws[one] for one in chosen], axis=1), fitted)
                for chosen in itertools.product(*places)
            ]
        )

    def drawn(self, mistakes: Sequence[Mistake], allowed: Array) -> dict[Mistake, Array]:
        """Draw errors from the places of mistakes, one a column, in parts of what is allowed.

        Each element of what a mistake changes in what is handed down has a factor of its own.
        """
        taps = list(dict.fromkeys(tap for mistake in mistakes for tap in mistake.taps))
        at = self.changes.tapped.compiled(taps, spread=True)
        shapes = [self.changes.tapped.shape_at(tap) for tap in taps]
        counted = self.target.of_the_wrong & np.isfinite(self.target.bound)
        limits = allowed[counted]
        rng, found = np.random.default_rng(0), {}
        for mistake in mistakes:
            settings = [
                np.full(x, mistake.setting * (tap in mistake.taps))
                for tap, x in zip(taps, shapes, strict=True)
            ]
            base, columns = joined(at(settings))[counted], []
            for _ in range(DRAWS):
                errors = [x * (1 + rng.normal(size=x.shape)) for x in settings]
                columns.append(_in_parts(joined(at(errors))[counted], base, limits))
            found[mistake] = np.stack(columns, axis=1)
        return found


def _in_parts(x: Array, base: Array, allowed: Array) -> Array:
    """Give the difference of two arrays in parts of what is allowed; 0 where it is no number."""
    finite = np.isfinite(x) & np.isfinite(base)
    moved = np.subtract(x, base, out=np.zeros_like(x), where=finite)
    return np.divide(moved, allowed, out=np.zeros_like(x), where=allowed > 0)
