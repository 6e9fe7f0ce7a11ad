"""Which of the single mistakes that were tried explain the difference, and not by chance.

The more were tried, the more a mistake has to explain.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reference.diagnosis.edges.chance import CHANCE, least, luck
from reference.diagnosis.edges.judge import Judge
from reference.diagnosis.edges.singles import Trial
from reference.diagnosis.edges.taps import FACTOR
from reference.diagnosis.edges.target import COARSER

SAME_FACTOR = 1e-2  # of a factor, within which others are the same
SPREAD = 16  # of those that explain the difference, whose errors are drawn


class Telling:
    """Says which of the single mistakes that were tried are told.

    Args:
        judge: of the difference.
    """

    def __init__(self, judge: Judge) -> None:
        """Take what is known of the difference."""
        self.judge, self.target, self.choices = judge, judge.target, judge.choices
        self.tapped = judge.changes.tapped

    def explaining(self, tried: Sequence[Trial]) -> list[Trial]:
        """Give those that explain the difference, by the bounds or else by their own rounding."""
        single = self.no_chance((trial for trial in tried if trial.explains), tried)
        if single:
            return single
        near = self.no_chance((trial for trial in tried if trial.nearly), tried)
        changes = [((trial.mistake,), self.judge.changed(trial.mistake)) for trial in near]
        found = [near[i] for i in self.judge.first_right(changes)]
        return self.no_chance(map(self._as_judged, found), tried)

    def _as_judged(self, trial: Trial) -> Trial:
        """Say how likely a mistake is to be so near by chance, by what its judgement allows."""
        change, fitted = self.judge.changed(trial.mistake), self.choices.fitted_in([trial.mistake])
        allowed = self.judge.allowed((trial.mistake,), change, explains=False)
        return trial._replace(chance=self.judge.chance(change, allowed, change.size, fitted))

    def no_chance(self, among: Iterable[Trial], tried: Sequence[Trial]) -> list[Trial]:
        """Keep those that fit in more elements than one of as many mistakes would by chance."""
        return [
            trial
            for trial in among
            if np.log10(len(tried) * self.choices.chosen_from([trial.mistake])) + trial.chance
            < np.log10(CHANCE)
        ]

    def told(self, trials: Sequence[Trial], tried: Sequence[Trial]) -> list[Trial]:
        """Keep what explains the difference if errors of another origin would not look like it.

        Factors that explain the same are on one chain of edges, and are told together: an error may
        have come from any part of it. One of a single number is a factor, whatever it comes from.
        """
        groups: dict[Any, list[Trial]] = {}
        for trial in sorted(trials, key=lambda trial: self.choices.simplicity(trial.mistake)):
            mistake = trial.mistake
            number = mistake.setting if mistake.setting in self.choices.simple else None
            of = number if mistake.kind == FACTOR else mistake
            groups.setdefault((mistake.kind, of), []).append(trial)
        # Of factors one for each shape of an array will do.
        places = [
            list({self.tapped.shape_at(t.mistake.taps[0]): t.mistake for t in group}.values())
            for group in groups.values()
        ]
        chosen = list(itertools.chain.from_iterable(places))[:SPREAD]
        if not chosen:
            return []
        changes = np.max([abs(self.judge.changed(mistake)) for mistake in chosen], axis=0)
        explains = all(trial.explains for trial in trials)
        allowed = self.judge.allowed((chosen[0],), changes, explains=explains)
        draws = self.judge.drawn(chosen, allowed)
        told: list[Trial] = []
        for ((kind, _), group), several in zip(groups.items(), places, strict=True):
            fitted = self.choices.fitted_in(several[:1])
            lucks = [luck(draws[mistake], fitted) for mistake in several if mistake in draws]
            if kind == FACTOR and all(found.directions < 2 for found in lucks):
                told += group if self._is_one_factor(trials) else []
                continue
            if kind == FACTOR:
                lucks = [found for found in lucks if found.directions > 1]
            of_one = all(found.directions == 1 for found in lucks)
            among = self._along_the_error(tried) if of_one else len(tried)
            if lucks and least(lucks).tells(among * self.choices.chosen_from(several[:1])):
                told += group
        return told

    def _is_one_factor(self, trials: Sequence[Trial]) -> bool:
        """Say whether all edges on which a factor explains the difference take the same one."""
        settings = [t.mistake.setting for t in trials if t.mistake.kind == FACTOR]
        return max(settings) - min(settings) <= SAME_FACTOR * max(map(abs, settings))

    def _along_the_error(self, tried: Sequence[Trial]) -> int:
        """Count the mistakes that change the gradient in the direction of the error alone.

        No other one can fit an error from a place where errors have one direction. At least the
        one that is judged was tried, even if rounding takes it out of that direction.
        """
        weight = self.target.weight
        target, rounded = self.target.sketch(weight * self.target.error), np.count_nonzero(weight)
        target = target / np.linalg.norm(target)
        across = (t.sketch - (t.sketch @ target) * target for t in tried)
        return max(1, sum(bool(x @ x <= COARSER**2 * rounded) for x in across))
