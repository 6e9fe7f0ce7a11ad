"""The search of an array in the place of another one beside a mistake of a single operation.

The mistake is one of those that were tried. What it leaves is explained by one of `substitutes.py`,
whose derivative is taken with the mistake made.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from reference.diagnosis.edges.changes import Explanation, Mistake
from reference.diagnosis.edges.choices import FITTED
from reference.diagnosis.edges.judge import JUDGED
from reference.diagnosis.edges.pairs import Pairs
from reference.diagnosis.edges.singles import Trial
from reference.diagnosis.edges.substitutes import Beside, Substitutes
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import Tap
from reference.jaxprs import equations

# Operations of a loss, times the taps in one program with it. Nothing interrupts a compilation, and
# that program takes some 1.2 ms of a core for each: 3.2 s for 2,541, 8.0 s for 6,336.
COMPILED = 2**12


class StandInBeside:
    """The search of an array in the place of another one, beside a mistake that was tried.

    Args:
        pairs: of the mistakes that were tried.
    """

    def __init__(self, pairs: Pairs) -> None:
        """Take what was tried."""
        self.pairs, self.judge = pairs, pairs.judge
        self.changes, self.target = self.judge.changes, self.judge.target
        self.choices, self.tries = self.judge.choices, self.judge.tries

    def run(self) -> list[Explanation]:
        """Look for an array in the place of another one beside a mistake at one operation."""
        if not self.changes.is_forward:
            return []
        chosen = self._distinct()
        if not chosen or not self.tries.has_time(len(chosen)):
            return []
        taps = [trial.mistake.taps for trial in chosen]
        others = [
            Beside(some, self.changes.change([Mistake(some, 1.0)]), some[0].kind in FITTED)
            for some in taps
        ]
        limit = self.target.difference.limit.part(1 / 2)
        search = Substitutes(self.changes.tapped, *self.target.in_the_wrong, limit, others)
        pairs = [(chosen[x.beside or 0], Mistake(x.taps, 1.0)) for x in search.candidates()]
        # Of two mistakes on one edge nobody could tell what is handed down.
        apart = [pair for pair in pairs if not pair[0].mistake.edges & pair[1].edges]
        for trial, substitute in apart[:JUDGED]:
            if not self.tries.has_time():
                break
            for mistake in self._refitted(trial, substitute):
                both = mistake, substitute
                change = self.changes.change(both)
                tries = search.tried * self.choices.chosen_from(both)
                places = self.pairs.chain(trial, mistake), [substitute]
                if self.judge.stands(both, change, change.size, tries, places):
                    return [Explanation(both)]
        return []

    def _refitted(self, trial: Trial, substitute: Mistake) -> list[Mistake]:
        """Fit the setting of a mistake beside another one, to all elements."""
        taps = trial.mistake.taps
        if trial.mistake.kind not in FITTED:
            return [Mistake(taps, 1.0)]
        without, both = (self.changes.change([Mistake(taps, s), substitute]) for s in (0.0, 1.0))
        weight = 1 / np.maximum(self.target.reach(self.target.error), self.target.smallest)
        slope = weight * (both - without)
        if not np.isfinite(slope).all() or not slope.any():
            return []
        left = weight * (self.target.error - without)
        return self.choices.rounded(trial.mistake, float(slope @ left / (slope @ slope)))

    def _distinct(self) -> list[Trial]:
        """Choose one of those mistakes that change the same: one that may have any setting.

        None are chosen if they are too many for the size of the loss, or of its program.
        """

        def order(trial: Trial) -> tuple[Any, ...]:  # whatever its setting, for one program
            mistake = trial.mistake._replace(setting=0.0)
            return mistake.kind not in FITTED, self.choices.simplicity(mistake)

        rounded = np.sqrt(np.count_nonzero(self.target.weight))
        chosen: list[Trial] = []
        for trial in sorted(self.pairs.alone, key=order):
            if all(np.linalg.norm(other.sketch - trial.sketch) > rounded for other in chosen):
                chosen.append(trial)
            if not self.changes.has_room(len(chosen)):
                return []
        taps = {tap for trial in chosen for tap in trial.mistake.taps}
        return chosen if is_compiled_soon(self.changes.tapped, taps) else []


def is_compiled_soon(tapped: Tapped, taps: Collection[Tap]) -> bool:
    """Say whether all arrays of a loss with these taps are a program of seconds, not of minutes."""
    return sum(1 for _ in equations(tapped.jaxpr)) * len(taps) <= COMPILED
