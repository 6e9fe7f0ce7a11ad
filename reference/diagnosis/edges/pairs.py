"""The search of two mistakes that were tried one by one, of single operations or of updates.

With A and B what two mistakes change at setting 1, both change a A + b B + a b AB, where AB is what
goes through both. At first AB is left out, so that all pairs are fitted at once.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from reference.arrays import Array
from reference.diagnosis.edges.chance import Luck
from reference.diagnosis.edges.changes import Explanation, Mistake
from reference.diagnosis.edges.choices import FITTED, STEPS
from reference.diagnosis.edges.judge import JUDGED, Judge
from reference.diagnosis.edges.singles import Trial
from reference.diagnosis.edges.taps import FACTOR

BEST = 8  # pairs of mistakes that are tried as they are
PAIRS = 256  # that seem best, for which it is computed what one mistake makes of the other


class Pairs:
    """The search of two mistakes.

    Args:
        judge: of the difference.
        tried: single mistakes, of which any two may have been made.

    Attributes:
        alone: those that may be made beside another one, one for all their settings.
    """

    def __init__(self, judge: Judge, tried: Sequence[Trial]) -> None:
        """Take what was tried."""
        self.judge, self.changes, self.target = judge, judge.changes, judge.target
        self.choices, self.tries, self.tapped = judge.choices, judge.tries, judge.changes.tapped
        linear = (trial for trial in tried if self.choices.is_linear(trial.mistake))
        self.alone = list({trial.mistake.taps: trial for trial in linear}.values())

    def run(self) -> list[Explanation]:
        """Look for two mistakes, at first as if neither changed what the other does."""
        alone = self.alone
        if len(alone) < 2:
            return []
        changes = np.stack([trial.sketch for trial in alone])
        target = self.target.sketch(self.target.weight * self.target.error)
        gram, projected = changes @ changes.T, changes @ target
        i, j = np.triu_indices(len(alone), 1)
        determinant = gram[i, i] * gram[j, j] - gram[i, j] ** 2
        independent = determinant > 1e-9 * gram[i, i] * gram[j, j]
        i, j, determinant = i[independent], j[independent], determinant[independent]
        first = (gram[j, j] * projected[i] - gram[i, j] * projected[j]) / determinant
        second = (gram[i, i] * projected[j] - gram[i, j] * projected[i]) / determinant
        residual = target @ target - first * projected[i] - second * projected[j]
        fits = []
        for k in np.argsort(residual)[:PAIRS]:
            if not self.tries.has_time():
                break
            pair = alone[i[k]], alone[j[k]]
            fits.append((*self._fitted_pair(pair, (first[k], second[k]), target), pair))
        fits.sort(key=lambda fit: fit[0])
        near, refused = [], 0
        for _, settings, pair in fits[:BEST]:
            mistaken = (trial.mistake for trial in pair)
            both = map(self.choices.rounded, mistaken, settings)
            for mistakes in itertools.product(*both):
                change = self.changes.change(mistakes)
                explains = self.target.explains(change)
                choices = len(residual) * self.choices.chosen_from(mistakes)
                bound, fitted = self.target.bound, self.choices.fitted_in(mistakes)
                if not self.judge.is_telling(change, bound, change.size, choices, fitted):
                    continue
                if not explains and self.target.nearly(change):
                    near.append((mistakes, change, pair))
                if not explains or refused == JUDGED:
                    continue
                allowed = self.judge.allowed(mistakes, change, explains=True)
                if self._luck(pair, mistakes, allowed).tells(choices):
                    return [self._at_the_simplest(pair, mistakes)]
                refused += 1
        for k in self.judge.first_right([(mistakes, change) for mistakes, change, _ in near]):
            mistakes, change, pair = near[k]
            choices = len(residual) * self.choices.chosen_from(mistakes)
            allowed = self.judge.allowed(mistakes, change, explains=False)
            fitted = self.choices.fitted_in(mistakes)
            telling = self.judge.is_telling(change, allowed, change.size, choices, fitted)
            if telling and self._luck(pair, mistakes, allowed).tells(choices):
                return [self._at_the_simplest(pair, mistakes)]
        return []

    def _luck(self, pair: Sequence[Trial], mistakes: Sequence[Mistake], allowed: Array) -> Luck:
        """Bound the chance that errors from where two mistakes may be look like them.

        A factor may be anywhere on its chain of edges.
        """
        places = [self.chain(trial, mistake) for trial, mistake in zip(pair, mistakes, strict=True)]
        return self.judge.luck_at(places, allowed, self.choices.fitted_in(mistakes))

    def _fitted_pair(
        self, pair: tuple[Trial, Trial], settings: tuple[float, float], target: Array
    ) -> tuple[float, tuple[float, float]]:
        """Fit two settings: what both change is a A + b B + a b AB, where AB goes through both."""
        one, other = pair
        both = self.changes.change([Mistake(trial.mistake.taps, 1.0) for trial in pair])
        through = self.target.sketch(self.target.weight * both) - one.sketch - other.sketch
        free = [trial.mistake.kind in FITTED for trial in pair]
        a, b = (s if is_free else 1.0 for s, is_free in zip(settings, free, strict=True))
        for _ in range(STEPS if any(free) else 0):
            slopes = [one.sketch + b * through, other.sketch + a * through]
            left = target - a * one.sketch - b * other.sketch - a * b * through
            columns = np.stack([s for s, is_free in zip(slopes, free, strict=True) if is_free])
            step = iter(np.linalg.lstsq(columns.T, left)[0].tolist())
            a, b = (x + next(step) if f else x for x, f in zip((a, b), free, strict=True))
        left = target - a * one.sketch - b * other.sketch - a * b * through
        return float(np.linalg.norm(left)), (float(a), float(b))

    def _at_the_simplest(self, pair: Sequence[Trial], mistakes: tuple[Mistake, ...]) -> Explanation:
        """Name each of two mistakes at the simplest of the edges on which it gives the same."""
        several = [self._same(*each) for each in zip(pair, mistakes, strict=True)]
        chosen = tuple(first for first, *_ in several)
        both, simplest = self.changes.change(mistakes), self.changes.change(chosen)
        if not self.target.alike(both, simplest):  # one changes the other
            return Explanation(mistakes)
        return Explanation(chosen, tuple(tuple(others) for _, *others in several))

    def _same(self, trial: Trial, mistake: Mistake) -> list[Mistake]:
        """List the edges on which a mistake changes the same by itself, the simplest first."""
        rounded = np.sqrt(np.count_nonzero(self.target.weight))
        found = {mistake}
        for other in self.alone:
            if (other.mistake.kind, len(other.mistake.taps)) != (mistake.kind, len(mistake.taps)):
                continue
            if np.linalg.norm(other.sketch - trial.sketch) <= rounded:
                found.add(mistake._replace(taps=other.mistake.taps))
        return sorted(found, key=self.choices.simplicity)

    def chain(self, trial: Trial, mistake: Mistake) -> list[Mistake]:
        """Choose of the edges on which a factor changes the same one for each shape of an array."""
        if mistake.kind != FACTOR:
            return [mistake]
        same = self._same(trial, mistake)
        return list({self.tapped.shape_at(one.taps[0]): one for one in same}.values())
