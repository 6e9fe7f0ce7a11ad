"""The search of single mistakes: each is made, and what may have any setting is fitted.

The setting c is fitted to got - want by least squares, each element in parts of its bound. What is
fitted is only an order: `telling.py` says which of them are believed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from reference.arrays import Array
from reference.diagnosis.edges.changes import Mistake
from reference.diagnosis.edges.choices import STEPS
from reference.diagnosis.edges.expressions import places_of
from reference.diagnosis.edges.flow import Flow
from reference.diagnosis.edges.judge import Judge
from reference.diagnosis.edges.patterns import OF_ARRAYS
from reference.diagnosis.edges.taps import EVERY, FACTOR, Tap

NODES = (-1.0, 1.0, -2.0, -0.5, 0.5, 2.0)  # settings that say what a factor on several edges does
VERIFIED = 3  # settings of such a factor, for which it is computed
SLOW = 2.0  # seconds from which on progress is shown


class Trial(NamedTuple):
    """A mistake, and what became of it; its change is computed again, for all would not fit.

    Attributes:
        mistake: that was tried.
        residual: what it leaves of the difference, in parts of that.
        sketch: of what the tap changes at 1.
        explains, nearly: whether it explains the difference, and whether its own rounding may be
            what is left.
        chance: log10 of the probability that it is as near as that to any numbers.
    """

    mistake: Mistake
    residual: float
    sketch: Array
    explains: bool
    nearly: bool
    chance: float


def trial_of(judge: Judge, mistake: Mistake, change: Array, whole: Array) -> Trial:
    """Say what becomes of a mistake.

    Args:
        judge: of the difference.
        mistake: that is tried.
        change: that it makes.
        whole: that it would make at setting 1.
    """
    target = judge.target
    left = target.weight * (target.error - change)
    residual = float(np.linalg.norm(left) / np.linalg.norm(target.weight * target.error))
    sketch = target.sketch(target.weight * whole)
    explains, nearly = target.explains(change), target.nearly(change)
    fitted = judge.choices.fitted_in([mistake])
    near = explains or nearly
    chance = judge.chance(change, target.bound, change.size, fitted) if near else 0.0
    return Trial(mistake, residual, sketch, explains, nearly, chance)


class Singles:
    """The search of single mistakes behind a difference.

    Args:
        judge: of the difference.
    """

    def __init__(self, judge: Judge) -> None:
        """Begin with none tried."""
        self.judge, self.changes, self.target = judge, judge.changes, judge.target
        self.choices, self.tries, self.tapped = judge.choices, judge.tries, judge.changes.tapped

    def tried(self, among: Sequence[Tap]) -> Iterator[Trial]:
        """Compute what each of these taps changes, and fit what can be fitted."""
        seen: set[Tap] = set()
        alone: list[tuple[Tap, ...]] = [(tap,) for tap in among if tap.kind not in OF_ARRAYS]
        for taps in tqdm(alone, unit="edge", delay=SLOW, disable=None, leave=False):
            trials = list(self._trials(taps))
            yield from trials
            if trials:
                seen.update(taps)
        together = [*self._repeated(seen), *self.tapped.of_arrays()]
        known = set(among)
        chosen = [taps for taps in together if taps[0] in known]
        for taps in tqdm(chosen, unit="line", delay=SLOW, disable=None, leave=False):
            yield from self._trials(taps)

    def _trials(self, taps: tuple[Tap, ...]) -> Iterator[Trial]:
        """Try a mistake, if it changes what this check could see and time is left."""
        if not self.tries.has_time():
            return
        whole = self.changes.change([Mistake(taps, 1.0)])
        if not self.target.is_seen(whole):
            return
        if taps[0].kind != FACTOR:
            yield trial_of(self.judge, Mistake(taps, 1.0), whole, whole)
        elif self.choices.is_affine(taps):
            yield from self._fitted(taps, whole)
        else:
            for setting in self._likely(taps):
                mistake = Mistake(taps, setting)
                yield trial_of(self.judge, mistake, self.changes.change([mistake]), whole)

    def _likely(self, taps: tuple[Tap, ...]) -> Sequence[float]:
        """Choose settings for a factor that a path may go through again and again.

        The change is a polynomial in the setting, whose degree is at most the number of taps, and
        0 at setting 0: so many settings say what it is at every other.
        """
        degree = len(taps)
        looped = self.tapped.operations[taps[0].edge.path].looped
        if looped or degree > len(NODES):
            return self.choices.simple
        nodes = np.array(NODES[:degree])
        made = (self.changes.change([Mistake(taps, node)]) for node in NODES[:degree])
        changes = np.stack([self.target.weight * change for change in made])
        powers = np.arange(1, degree + 1)
        target = self.target.weight * self.target.error
        # At setting s the change is sum_k a_k s^k, and V a = changes with V[i, k] = nodes[i]^k.
        a = np.linalg.solve(nodes[:, None] ** powers, changes)
        norms, products, whole = a @ a.T, a @ target, target @ target
        by_setting = np.array(self.choices.simple)[:, None] ** powers
        residuals = whole + ((by_setting @ norms) * by_setting).sum(1) - 2 * by_setting @ products
        best = [self.choices.simple[i] for i in np.argsort(residuals)[:VERIFIED]]
        settled = [_settled(setting, a, target) for setting in best]
        return [*best, min(settled, key=lambda s: np.linalg.norm(target - s**powers @ a))]

    def _repeated(self, seen: Iterable[Tap]) -> Iterator[tuple[Tap, ...]]:
        """Give those taps together that come again and again from one line, or one expression.

        And those of one kind at all operations of a name, as at each ReLU of layers that have lines
        of their own, or other widths.
        """
        by_place: dict[tuple[object, ...], list[Tap]] = {}
        by_name: dict[tuple[object, ...], list[Tap]] = {}
        for tap in sorted(seen):
            operation = self.tapped.operations[tap.edge.path]
            shapes = tuple(str(x.aval) for x in operation.eqn.invars)
            for place in self._places_of(tap.edge.path):
                key = place, operation.name, shapes, tap.edge.operand, tap.kind, tap.steps
                by_place.setdefault(key, []).append(tap)
            if tap.kind != FACTOR and tap.steps == EVERY:
                name = operation.name, tap.edge.operand, tap.kind
                by_name.setdefault(name, []).append(tap)
        groups = (*by_place.values(), *by_name.values())
        yield from dict.fromkeys(tuple(taps) for taps in groups if len(taps) > 1)

    def _places_of(self, path: tuple[int, ...]) -> tuple[Any, ...]:
        """Say where an operation comes from; within a function of JAX's, where that is called."""
        calls = (path[:n] for n in range(len(path), 0, -1))
        found = (places_of(self.tapped.operations[call].eqn) for call in calls)
        return next(filter(None, found), ())

    def _fitted(self, taps: tuple[Tap, ...], whole: Array) -> Iterator[Trial]:
        """Fit the factor, and take the number nearest to it that has a name, too."""
        c = self.target.fit(whole)
        if not self.target.explains(c * whole):  # whose own rounding counts
            reach = np.maximum(self.target.reach(c * whole), self.target.smallest)
            c = self.target.fit(whole, 1 / reach)
        nearest = self.choices.nearest(c)
        yield trial_of(self.judge, Mistake(taps, nearest), nearest * whole, whole)
        yield trial_of(self.judge, Mistake(taps, c), c * whole, whole)

    def where_they_enter(self) -> list[Trial]:
        """Fit one factor on all that the arrays that are wrong are handed, where each enters.

        Where an array that is right takes the same path further up, no mistake is made there.
        """
        difference = self.target.difference
        if len(difference.wrong) == len(difference.leaves):
            return []
        numbers = [self.tapped.active[i] for i in difference.wrong]
        taps = tuple(map(Tap, Flow(self.tapped).entering(self.tapped, numbers)))
        if not taps or any(tap not in self.changes.factors.numbers for tap in taps):
            return []
        whole = self.changes.change([Mistake(taps, 1.0)])
        return list(self._fitted(taps, whole)) if self.target.is_seen(whole) else []

    def in_the_wrong_alone(self, tried: Sequence[Trial]) -> list[Trial]:
        """Make each mistake in the derivatives of the arrays that are wrong, and in no others.

        Each array's derivative may have been written down for itself, as where the one of a bias
        takes what is handed down from before an activation's derivative, and all others do not.
        """
        found: list[Trial] = []
        only = self.target.difference.wrong
        if len(only) == len(self.target.difference.leaves):
            return found
        for trial in tried:
            mistake = trial.mistake
            if mistake.kind == FACTOR and mistake.setting not in self.choices.simple:
                continue
            change = self.judge.changed(mistake._replace(only=only))
            if not self.target.is_seen(change):
                continue
            setting = mistake.setting
            if mistake.kind == FACTOR and self.choices.is_affine(mistake.taps):
                setting = self.choices.nearest(setting * self.target.fit(change))
                change *= setting / mistake.setting
            mistake = mistake._replace(setting=setting, only=only)
            found.append(trial_of(self.judge, mistake, change, change))
        return sorted(found, key=lambda trial: trial.residual)


def _settled(s: float, a: Array, target: Array) -> float:
    """Fit the setting s for which sum_k a_k s^k is nearest to a target, from one that is near."""
    powers = np.arange(1, len(a) + 1)
    for _ in range(STEPS):
        slope = (powers * s ** (powers - 1)) @ a
        if not slope.any():
            break
        s += float(slope @ (target - s**powers @ a) / (slope @ slope))
    return s
