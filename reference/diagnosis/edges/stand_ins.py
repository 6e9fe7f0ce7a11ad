"""The search of an array that stands in a derivative where another one belongs.

A parameter may have been updated before the derivative went through it, or any array of the loss,
or what is made of it, may stand where another one does (`substitutes.py`).
"""

from collections.abc import Sequence

import numpy as np

from reference.arrays import Array
from reference.diagnosis.edges.changes import Explanation, Mistake, Program, joined
from reference.diagnosis.edges.choices import STEPS, TIDY
from reference.diagnosis.edges.flow import of_parameters
from reference.diagnosis.edges.judge import JUDGED, Judge
from reference.diagnosis.edges.recorded import Recorded
from reference.diagnosis.edges.singles import Trial, trial_of
from reference.diagnosis.edges.steps import Steps
from reference.diagnosis.edges.substitutes import (
    Candidate,
    Substitutes,
    simplicity,
)
from reference.diagnosis.edges.taps import Tap
from reference.diagnosis.edges.target import COARSER
from reference.limit import Limit

FINE = 1e-3  # of a learning rate, for a slope


class StandIns:
    """The search of arrays that stand in for others.

    Args:
        judge: of the difference.

    Attributes:
        of_updates: parameters that were updated before, each by itself; for a search of two
            mistakes, if `updated` explains nothing.
    """

    def __init__(self, judge: Judge) -> None:
        """Begin with none tried."""
        self.judge, self.changes, self.target = judge, judge.changes, judge.target
        self.choices, self.tries, self.tapped = judge.choices, judge.tries, judge.changes.tapped
        self.of_updates: list[Trial] = []

    def updated(self) -> list[Explanation]:
        """Look for parameters that were updated before the derivative went through them.

        The gradient is affine in the rate if one was, and a polynomial if several were.
        """
        taps = of_parameters(self.tapped)
        if not taps or not self.tries.has_time(len(taps)):
            return []
        program = Program(self.tapped, taps)
        together = [tuple(taps)] if len(taps) > 1 else []
        tries = len(taps) + len(together)
        for some in [(tap,) for tap in taps] + together:
            if not self.tries.has_time():
                continue
            rate, change = self._rate(program, some)
            tidy = float(f"{rate:.0e}")  # as nearly all are that anybody sets
            found = [(tidy, program.change([Mistake(some, tidy)]))] if tidy in TIDY else []
            for setting, changed in (*found, (rate, change)):
                mistakes = (Mistake(some, setting),)
                several = tries * self.choices.chosen_from(mistakes)
                if self.judge.stands(mistakes, changed, self.target.error.size, several):
                    return [Explanation(mistakes)]
        beside = taps if self.changes.has_room(len(self.changes.taps)) else []
        for mistake in (Mistake((tap,), 1.0) for tap in beside):
            whole = program.change([mistake])
            if self.target.is_seen(whole):
                self.of_updates.append(trial_of(self.judge, mistake, whole, whole))
        return []

    def _rate(self, program: Program, taps: tuple[Tap, ...]) -> tuple[float, Array]:
        """Fit the setting of taps by least squares; give what it changes, too."""

        def change(rate: float) -> Array:
            return program.change([Mistake(taps, rate)])

        rate, step = 0.0, 1.0 if len(taps) == 1 else FINE
        for _ in range(1 if len(taps) == 1 else STEPS):
            now = change(rate)
            slope = self.target.weight * (change(rate + step) - now) / step
            if not np.isfinite(slope).all() or not slope.any():
                break
            left = self.target.weight * (self.target.error - now)
            rate += float(slope @ left / (slope @ slope))
        return rate, change(rate)

    def substituted(self) -> list[Explanation]:
        """Look for an array that stands in a derivative where another one belongs."""
        if not self.changes.is_forward:
            return []
        # Half of the time that is left; pairs take the rest.
        limit = self.target.difference.limit.part(1 / 2)
        search = Substitutes(self.tapped, *self.target.in_the_wrong, limit)
        found = self._standing(search.candidates(), search.tried)
        return found or self._standing(*self._of_steps(search.recorded, limit))

    def _of_steps(self, recorded: Recorded, limit: Limit) -> tuple[list[Candidate], int]:
        """Look for an array in the place of another one at all steps of a loop."""
        target, found = self.target, []
        asked = target.reached_by(abs(target.error) > COARSER * target.bound)  # by no change at all
        steps = Steps(self.tapped, recorded, asked, limit)
        for taps, gradient in steps.candidates():
            change = joined(gradient) - self.changes.right
            change = np.where(target.of_the_wrong, change, target.error)
            if target.nearly(change):
                found.append(Candidate(taps, change.size))
        return sorted(found, key=simplicity), steps.tried

    def _standing(self, candidates: Sequence[Candidate], tried: int) -> list[Explanation]:
        """Give the first candidate with which all is within rounding, if it is no chance."""
        for candidate in candidates[:JUDGED]:
            mistake = Mistake(candidate.taps, 1.0)
            change = self.changes.change([mistake])
            others = [other.taps for other in candidates if other != candidate]
            masked = np.where(self.target.of_the_wrong, change, 0.0)
            alone = mistake._replace(only=self.target.difference.wrong)
            for each, changed in ((mistake, change), (alone, masked)):
                if self.judge.stands((each,), changed, candidate.size, tried):
                    alike = tuple(each._replace(taps=taps) for taps in others)
                    return [Explanation((each,), (alike,))]
        return []
