"""Find the edges of the backward pass on which one mistake, or two, gives the gradient handed in.

Each module has one subject; they are read in the order of the search:

- `changes.py`: what mistakes change in the gradient;
- `choices.py`: what a mistake may be set to, and which one is the simplest;
- `target.py`: the error that is to be explained, and what is within rounding of it;
- `judge.py`: whether a mistake is believed, by rounding and by chance;
- `singles.py` and `telling.py`: single mistakes are tried, and those that explain the error told;
- `stand_ins.py`: an array in the place of another one;
- `pairs.py` and `beside.py`: two mistakes at once.
"""

from collections.abc import Sequence

import numpy as np

from reference.diagnosis.difference import Difference
from reference.diagnosis.edges.beside import StandInBeside
from reference.diagnosis.edges.changes import Changes, Explanation, Mistake
from reference.diagnosis.edges.choices import OF_KINDS, Choices
from reference.diagnosis.edges.judge import Judge
from reference.diagnosis.edges.pairs import Pairs
from reference.diagnosis.edges.singles import Singles, Trial
from reference.diagnosis.edges.stand_ins import StandIns
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.target import Target
from reference.diagnosis.edges.telling import Telling
from reference.limit import Tries


class Search:
    """The search for the mistakes behind one difference.

    Args:
        difference: a gradient beside JAX's, which has a limit in seconds.

    Attributes:
        tries: with the number of mistakes that it did not come to before the limit.
        doubtful: what would explain the difference, but so might chance; None if nothing does.
    """

    def __init__(self, difference: Difference) -> None:
        """Trace the loss, and compile its gradient with a factor on each edge."""
        self.difference, self.tries = difference, Tries(difference.limit)
        self.doubtful: Explanation | None = None
        self.tapped = Tapped(difference.loss, difference.args, difference.places)
        self.changes = Changes(self.tapped)
        self.target = Target(difference, self.changes.right)
        self.tapped.gradients = [np.asarray(leaf.got, np.float64) for leaf in difference.leaves]
        self.choices = Choices(self.tapped)
        self.judge = Judge(self.changes, self.target, self.choices, self.tries)

    def reached(self, mistake: Mistake) -> frozenset[int]:
        """Give the places of the arrays that are wrong, and that a mistake changes."""
        seen = abs(self.changes.change([mistake])) * self.target.weight > 1
        return self.target.reached_by(seen)

    def run(self, *, alone: bool = False) -> list[Explanation]:
        """Give what explains the difference most simply; nothing if nothing does.

        Args:
            alone: whether only single mistakes are tried.
        """
        if not self.target.is_any_seen:
            return []  # what is wrong is too small beside the rest to be fitted
        singles, telling, stand_ins = Singles(self.judge), Telling(self.judge), StandIns(self.judge)
        tried = list(singles.tried(self.changes.factors.taps))
        single = telling.told(telling.no_chance((t for t in tried if t.explains), tried), tried)
        if not any(self.choices.simplicity(trial.mistake)[0] < OF_KINDS for trial in single):
            left = [tap for tap in self.changes.taps if tap not in self.changes.factors.numbers]
            tried += singles.tried(left)
            tried.sort(key=lambda trial: trial.residual)
            single = telling.told(telling.explaining(tried), tried)
            if not single and (entering := singles.where_they_enter()):
                single = telling.told(telling.explaining(entering), [*tried, *entering])
            if not single:
                alone_there = singles.in_the_wrong_alone(tried)
                single = telling.told(telling.explaining(alone_there), alone_there)
        if single:
            return [self._simplest(single)]
        if fits := [trial for trial in tried if trial.explains]:
            self.doubtful = self._simplest(fits)
        if alone:
            return []
        another, two = "an array that stands in for another", "two mistakes at once"

        def pairs() -> Pairs:  # once it is known what `updated` leaves for them
            return Pairs(self.judge, [*tried, *stand_ins.of_updates])

        looks = [
            (stand_ins.updated, another),
            (stand_ins.substituted, another),
            (lambda: pairs().run(), two),
            (lambda: StandInBeside(pairs()).run(), two),
        ]
        for look, what in looks:
            try:
                found = look()
            except Exception as error:  # of any operation of anybody's loss
                self.difference.limit.fail(what, error)
                continue
            if found:
                return found
        return []

    def _simplest(self, trials: Sequence[Trial]) -> Explanation:
        """Name the simplest of those that explain the difference, beside all others."""
        first, *others = sorted(trials, key=lambda trial: self.choices.simplicity(trial.mistake))
        return Explanation((first.mistake,), (tuple(trial.mistake for trial in others),))
