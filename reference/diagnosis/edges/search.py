"""Find the edges of the backward pass on which one mistake, or two, gives the gradient handed in.

With C the change that a tap makes at setting 1 the gradient is want + c C, exactly so where the
tap's edge is on each path once, for the gradient is affine in a factor on it. c is fitted to
got - want by least squares, each element in parts of its bound; a mistake of `mistakes.py` has
c = 1. What is fitted is only an order: a mistake explains the gradient if with it every element is
within rounding, by the check's own witnesses.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from tqdm import tqdm

from reference.arrays import Array
from reference.bounds.rounding import is_key
from reference.compare import Comparer, Verdict
from reference.diagnosis.difference import Difference
from reference.diagnosis.edges.chance import CHANCE, DRAWS, Luck, least, luck
from reference.diagnosis.edges.expressions import places_of
from reference.diagnosis.edges.orders import ORDERS
from reference.diagnosis.edges.patterns import OF_ARRAYS, OF_TIES
from reference.diagnosis.edges.steps import Steps
from reference.diagnosis.edges.substitutes import (
    Beside,
    Candidate,
    Recorded,
    Substitutes,
    of_parameters,
    simplicity,
)
from reference.diagnosis.edges.swaps import UPDATED
from reference.diagnosis.edges.tapped import EVERY, FACTOR, Edge, Tap, Tapped, shapes_at
from reference.limit import Limit
from reference.noise.samples import unit_roundoff

Gradient: TypeAlias = Callable[[Sequence[Any], Any], list[Any]]

SKETCH = 4096  # numbers that stand for a gradient while mistakes are put in an order
JUDGED = 4  # of the best, by a measurement of their own rounding
SAME_FACTOR = 1e-2  # of a factor, within which others are the same
SPREAD = 16  # of those that explain the difference, whose errors are drawn
NODES = (-1.0, 1.0, -2.0, -0.5, 0.5, 2.0)  # settings that say what a factor on several edges does
VERIFIED = 3  # settings of such a factor, for which it is computed
BEST = 8  # pairs of mistakes that are tried as they are
BESIDE = 2**20  # numbers in all arrays of a loss, times the mistakes beside which others are tried
STEPS = 12  # of a fit of two settings
PAIRS = 256  # that seem best, for which it is computed what one mistake makes of the other
COARSER = 64.0  # times as far as a right gradient's may the rounding of a mistaken one stray
STEPPED = (-1.0, -2.0, 1.0, -0.5)  # factors 0, -1, 2 and 1/2 less 1, where no fit is possible
FINE = 1e-3  # of a learning rate, for a slope
TIDY = {float(f"{digit}e{-n}") for digit in range(1, 10) for n in range(7)}  # learning rates
KEPT = 2**26  # bytes of changes, for the next check of the same loss at the same arguments
OF_KINDS = 4.0  # how simple a mistake is that is no factor; the smaller the simpler
SIMPLEST = {FACTOR, *OF_TIES}  # kinds that are tried first, and whose program is small
FITTED = {FACTOR, UPDATED}  # kinds whose setting is any number
SLOW = 2.0  # seconds from which on progress is shown


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


class Search:
    """The search for the mistakes behind one difference.

    Args:
        difference: a gradient beside JAX's, which has a limit in seconds.

    Attributes:
        left: how many mistakes it did not come to try before the limit.
        doubtful: what would explain the difference, but so might chance; None if nothing does.
    """

    def __init__(self, difference: Difference) -> None:
        """Trace the loss, and compile its gradient with a factor on each edge."""
        self.difference, self.left = difference, 0
        self.doubtful: Explanation | None = None
        self.of_updates: list[Trial] = []  # parameters that were updated before, each by itself
        self.measured: dict[tuple[Mistake, ...], Array] = {}  # bounds of what was judged right
        self.tapped = Tapped(difference.loss, difference.args, difference.places)
        self.taps = self.tapped.taps()
        self.known = _changes_known(self.tapped, self.taps)
        self.factors = Program(self.tapped, [tap for tap in self.taps if tap.kind in SIMPLEST])
        self.right = self.factors.right
        # Where a tie has been decided the other way nothing is to be explained.
        self.bound = _joined(
            np.where(leaf.tied, np.inf, leaf.open_bound) for leaf in difference.leaves
        )
        self.error = _joined(leaf.got - leaf.want for leaf in difference.leaves)
        self.tapped.gradients = [np.asarray(leaf.got, np.float64) for leaf in difference.leaves]
        known = np.isfinite(self.bound)
        self.weight = np.where(known, 1 / np.maximum(self.bound, self._smallest()), 0.0)

    @functools.cached_property
    def all_taps(self) -> "Program":
        """The gradient with every tap, which takes longer to compile and to run."""
        return Program(self.tapped, self.taps)

    @functools.cached_property
    def updates(self) -> "Program":
        """The gradient with every tap, and with those of parameters that were updated."""
        return Program(self.tapped, [*self.taps, *of_parameters(self.tapped)])

    def _has_time(self, count: int = 1) -> bool:
        """Say whether time is left to try so many mistakes; or else count them as left out."""
        over = self.difference.limit.is_over
        self.left += count * over
        return not over

    def _smallest(self) -> float:
        """Give a bound for elements that nothing rounds: no weight is infinite."""
        largest = float(abs(self.right).max(initial=0) or abs(self.error).max(initial=0))
        return float(np.finfo(np.float64).eps) * largest or 1.0

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

    def _changed(self, mistake: Mistake) -> Array:
        """Compute how the gradient changes with a mistake, perhaps in some arrays alone."""
        change = self.change([mistake._replace(only=frozenset())])
        return np.where(self.of_the_wrong, change, 0.0) if mistake.only else change

    def _computed(self, mistakes: Sequence[Mistake]) -> Array:
        taps = [tap for mistake in mistakes for tap in mistake.taps]
        if any(tap.swap or tap.source or tap.others for tap in taps):
            updated = any(mistake.kind == UPDATED for mistake in mistakes)
            if updated and all(tap in self.updates.numbers for tap in taps):
                return self.updates.change(mistakes)
            settings = np.array([mistake.setting for mistake in mistakes for _ in mistake.taps])
            return _joined(self.tapped.compiled(taps)(settings)) - self.right
        of_factors = all(tap in self.factors.numbers for tap in taps)
        return (self.factors if of_factors else self.all_taps).change(mistakes)

    @functools.cached_property
    def of_the_wrong(self) -> Array:
        """Say which elements are those of arrays that are wrong."""
        leaves = enumerate(self.difference.leaves)
        return np.concatenate(
            [np.full(leaf.want.size, i in self.difference.wrong) for i, leaf in leaves]
        )

    def reached(self, mistake: Mistake) -> frozenset[int]:
        """Give the places of the arrays that are wrong, and that a mistake changes."""
        seen = abs(self.change([mistake])) * self.weight > 1
        ends = np.cumsum([leaf.want.size for leaf in self.difference.leaves])
        parts = np.split(seen, ends[:-1])
        return frozenset(i for i in self.difference.wrong if parts[i].any())

    def explains(self, change: Array) -> bool:
        """Say whether a change leaves every element within its bound of what was handed in."""
        return self._is_within(change, self.bound)

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
        return self._is_within(change, COARSER * self.reach(change))

    def run(self, *, alone: bool = False) -> list[Explanation]:
        """Give what explains the difference most simply; nothing if nothing does.

        Args:
            alone: whether only single mistakes are tried.
        """
        if not (abs(self.error) * self.weight > 1).any():
            return []  # what is wrong is too small beside the rest to be fitted
        tried = list(self._tried(self.factors.taps))
        single = self._told(self._no_chance((t for t in tried if t.explains), tried), tried)
        if not any(self.simplicity(trial.mistake)[0] < OF_KINDS for trial in single):
            others = [tap for tap in self.taps if tap not in self.factors.numbers]
            tried += self._tried(others)
            tried.sort(key=lambda trial: trial.residual)
            single = self._told(self._explaining(tried), tried)
            if not single:
                alone_there = self._in_the_wrong_alone(tried)
                single = self._told(self._explaining(alone_there), alone_there)
        if single:
            return [self._simplest(single)]
        if fits := [trial for trial in tried if trial.explains]:
            self.doubtful = self._simplest(fits)
        if alone:
            return []
        another, two = "an array that stands in for another", "two mistakes at once"
        looks = [
            (self._updated, another),
            (self._substituted, another),
            (lambda: self._pairs([*tried, *self.of_updates]), two),
            (lambda: self._beside([*tried, *self.of_updates]), two),
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

    def _simplest(self, trials: Sequence["Trial"]) -> Explanation:
        """Name the simplest of those that explain the difference, beside all others."""
        first, *others = sorted(trials, key=lambda trial: self.simplicity(trial.mistake))
        return Explanation((first.mistake,), (tuple(trial.mistake for trial in others),))

    def _updated(self) -> list[Explanation]:
        """Look for parameters that were updated before the derivative went through them.

        The gradient is affine in the rate if one was, and a polynomial if several were.
        """
        taps = of_parameters(self.tapped)
        if not taps or not self._has_time(len(taps)):
            return []
        program = Program(self.tapped, taps)
        together = [tuple(taps)] if len(taps) > 1 else []
        tries = len(taps) + len(together)
        for some in [(tap,) for tap in taps] + together:
            if not self._has_time():
                continue
            rate, change = self._rate(program, some)
            tidy = float(f"{rate:.0e}")  # as nearly all are that anybody sets
            found = [(tidy, program.change([Mistake(some, tidy)]))] if tidy in TIDY else []
            for setting, changed in (*found, (rate, change)):
                mistakes = (Mistake(some, setting),)
                several = tries * self._chosen_from(mistakes)
                if self._stands(mistakes, changed, self.error.size, several):
                    return [Explanation(mistakes)]
        for mistake in (Mistake((tap,), 1.0) for tap in taps if self._is_small(len(self.taps))):
            whole = program.change([mistake])
            if self._is_seen(whole):
                self.of_updates.append(self._trial(mistake, whole, whole))
        return []

    def _rate(self, program: "Program", taps: tuple[Tap, ...]) -> tuple[float, Array]:
        """Fit the setting of taps by least squares; give what it changes, too."""

        def change(rate: float) -> Array:
            return program.change([Mistake(taps, rate)])

        rate, step = 0.0, 1.0 if len(taps) == 1 else FINE
        for _ in range(1 if len(taps) == 1 else STEPS):
            now = change(rate)
            slope = self.weight * (change(rate + step) - now) / step
            if not np.isfinite(slope).all() or not slope.any():
                break
            rate += float(slope @ (self.weight * (self.error - now)) / (slope @ slope))
        return rate, change(rate)

    def _substituted(self) -> list[Explanation]:
        """Look for an array that stands in a derivative where another one belongs."""
        if not all(self._is_forward(edge) for edge in self.tapped.edges):
            return []
        error = np.where(self.of_the_wrong, self.error, 0.0)
        scale = COARSER * np.where(self.of_the_wrong, self.reach(self.error), np.inf)
        limit = self.difference.limit.part(1 / 2)  # of the time that is left; pairs take the rest
        search = Substitutes(self.tapped, error, scale, limit)
        found = self._standing(search.candidates(), search.tried)
        return found or self._standing(*self._of_steps(search.recorded, limit))

    def _of_steps(self, recorded: Recorded, limit: Limit) -> tuple[list[Candidate], int]:
        """Look for an array in the place of another one at all steps of a loop."""
        found, far = [], abs(self.error) > COARSER * self.bound  # from no change at all
        ends = np.cumsum([leaf.want.size for leaf in self.difference.leaves])
        parts = enumerate(np.split(far & self.of_the_wrong, ends[:-1]))
        asked = frozenset(i for i, part in parts if part.any())
        steps = Steps(self.tapped, recorded, asked, limit)
        for taps, gradient in steps.candidates():
            change = np.where(self.of_the_wrong, _joined(gradient) - self.right, self.error)
            if self.nearly(change):
                found.append(Candidate(taps, change.size))
        return sorted(found, key=simplicity), steps.tried

    def _standing(self, candidates: Sequence[Candidate], tried: int) -> list[Explanation]:
        """Give the first candidate with which all is within rounding, if it is no chance."""
        for candidate in candidates[:JUDGED]:
            mistake = Mistake(candidate.taps, 1.0)
            change = self.change([mistake])
            others = [other.taps for other in candidates if other != candidate]
            masked = np.where(self.of_the_wrong, change, 0.0)
            alone = mistake._replace(only=self.difference.wrong)
            for each, changed in ((mistake, change), (alone, masked)):
                if self._stands((each,), changed, candidate.size, tried):
                    alike = tuple(each._replace(taps=taps) for taps in others)
                    return [Explanation((each,), (alike,))]
        return []

    def _beside(self, tried: Sequence["Trial"]) -> list[Explanation]:
        """Look for an array in the place of another one beside a mistake at one operation."""
        if not all(map(self._is_forward, self.tapped.edges)):
            return []
        alone = [trial for trial in tried if self._is_simple(trial)]
        chosen = self._distinct(alone)
        if not chosen or not self._has_time(len(chosen)):
            return []
        taps = [trial.mistake.taps for trial in chosen]
        others = [
            Beside(some, self.change([Mistake(some, 1.0)]), some[0].kind in FITTED) for some in taps
        ]
        error = np.where(self.of_the_wrong, self.error, 0.0)
        scale = COARSER * np.where(self.of_the_wrong, self.reach(self.error), np.inf)
        limit = self.difference.limit.part(1 / 2)
        search = Substitutes(self.tapped, error, scale, limit, others)
        pairs = [(chosen[x.beside or 0], Mistake(x.taps, 1.0)) for x in search.candidates()]
        # Of two mistakes on one edge nobody could tell what is handed down.
        apart = [pair for pair in pairs if not _edges(pair[0].mistake) & _edges(pair[1])]
        for trial, substitute in apart[:JUDGED]:
            if not self._has_time():
                break
            for mistake in self._refitted(trial, substitute):
                both = mistake, substitute
                change, tries = self.change(both), search.tried * self._chosen_from(both)
                places = self._chain(trial, mistake, alone), [substitute]
                if self._stands(both, change, change.size, tries, places):
                    return [Explanation(both)]
        return []

    def _refitted(self, trial: "Trial", substitute: Mistake) -> list[Mistake]:
        """Fit the setting of a mistake beside another one, to all elements."""
        taps = trial.mistake.taps
        if trial.mistake.kind not in FITTED:
            return [Mistake(taps, 1.0)]
        without, both = (self.change([Mistake(taps, s), substitute]) for s in (0.0, 1.0))
        weight = 1 / np.maximum(self.reach(self.error), self._smallest())
        slope = weight * (both - without)
        if not np.isfinite(slope).all() or not slope.any():
            return []
        left = weight * (self.error - without)
        return self._rounded(trial, float(slope @ left / (slope @ slope)))

    def _is_small(self, count: int) -> bool:
        """Say whether so many mistakes leave room for another one beside each."""
        return self.size * (1 + count) <= BESIDE

    @functools.cached_property
    def size(self) -> int:
        """How many numbers all arrays of the loss have."""
        return sum(self.tapped.sizes())

    def _distinct(self, trials: Sequence["Trial"]) -> list["Trial"]:
        """Choose one of those mistakes that change the same: one that may have any setting.

        None are chosen if they are too many for the size of the loss.
        """

        def order(trial: "Trial") -> tuple[Any, ...]:  # whatever its setting, for one program
            mistake = trial.mistake._replace(setting=0.0)
            return mistake.kind not in FITTED, self.simplicity(mistake)

        rounded = np.sqrt(np.count_nonzero(self.weight))
        chosen: list[Trial] = []
        by_taps = {trial.mistake.taps: trial for trial in trials}
        for trial in sorted(by_taps.values(), key=order):
            if all(np.linalg.norm(other.sketch - trial.sketch) > rounded for other in chosen):
                chosen.append(trial)
            if not self._is_small(len(chosen)):
                return []
        return chosen

    def _stands(
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
        explains, fitted = self.explains(change), self._fitted_in(mistakes)
        if not explains and not (
            self.nearly(change)
            and self.telling(change, self.bound, size, tried, fitted)
            and self.judged(mistakes)
        ):
            return False
        allowed = self._allowed(mistakes, change, explains=explains)
        telling = self.telling(change, allowed, size, tried, fitted)
        places = places or [[mistake] for mistake in mistakes]
        return telling and self._luck(places, allowed, fitted).tells(tried)

    def _is_forward(self, edge: Edge) -> bool:
        shapes = shapes_at(self.tapped.operations[edge.path].eqn, edge.operand)
        return shapes is None or shapes.forward

    def telling(
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
        chance = self._chance(change, allowed, size, fitted)
        return bool(np.log10(tried) + chance < np.log10(CHANCE))

    def _chance(self, change: Array, reach: Array, size: int, fitted: int) -> float:
        """Give log10 of the chance that what was handed in is as near to a change as `reach`."""
        moved = self.of_the_wrong & (abs(change) * self.weight > 1)
        said = min(int(moved.sum()), size) - fitted
        if said <= 0:
            return 0.0
        least = np.finfo(np.float64).tiny  # of a reach of 0, where nothing rounds
        near = np.clip(reach[moved] / abs(change[moved]), least, 1)
        return float(said * np.median(np.log10(near)))

    def _allowed(self, mistakes: tuple[Mistake, ...], change: Array, *, explains: bool) -> Array:
        """Give how far what was handed in may be from a change that explains it, or nearly does."""
        if explains:
            return self.reach(change)
        return np.minimum(COARSER * self.reach(change), self.measured.get(mistakes, np.inf))

    def _luck(self, places: Sequence[Sequence[Mistake]], allowed: Array, fitted: int) -> Luck:
        """Bound the chance that errors from where mistakes may be look like them.

        The place counts that tells least.
        """
        draws = self._drawn([one for several in places for one in several], allowed)
        return least(
            [
                luck(np.concatenate([draws[one] for one in chosen], axis=1), fitted)
                for chosen in itertools.product(*places)
            ]
        )

    def _drawn(self, mistakes: Sequence[Mistake], allowed: Array) -> dict[Mistake, Array]:
        """Draw errors from the places of mistakes, one a column, in parts of what is allowed.

        Each element of what a mistake changes in what is handed down has a factor of its own.
        """
        taps = list(dict.fromkeys(tap for mistake in mistakes for tap in mistake.taps))
        at = self.tapped.compiled(taps, spread=True)
        shapes = [self.tapped.shape_at(tap) for tap in taps]
        counted = self.of_the_wrong & np.isfinite(self.bound)
        limits = allowed[counted]
        rng, found = np.random.default_rng(0), {}
        for mistake in mistakes:
            settings = [
                np.full(x, mistake.setting * (tap in mistake.taps))
                for tap, x in zip(taps, shapes, strict=True)
            ]
            base, columns = _joined(at(settings))[counted], []
            for _ in range(DRAWS):
                errors = [x * (1 + rng.normal(size=x.shape)) for x in settings]
                columns.append(_in_parts(_joined(at(errors))[counted], base, limits))
            found[mistake] = np.stack(columns, axis=1)
        return found

    def _told(self, trials: Sequence["Trial"], tried: Sequence["Trial"]) -> list["Trial"]:
        """Keep what explains the difference if errors of another origin would not look like it.

        Factors that explain the same are on one chain of edges, and are told together: an error may
        have come from any part of it. One of a single number is a factor, whatever it comes from.
        """
        groups: dict[Any, list[Trial]] = {}
        for trial in sorted(trials, key=lambda trial: self.simplicity(trial.mistake)):
            mistake = trial.mistake
            number = mistake.setting if mistake.setting in self.simple else None
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
        changes = np.max([abs(self._changed(mistake)) for mistake in chosen], axis=0)
        explains = all(trial.explains for trial in trials)
        draws = self._drawn(chosen, self._allowed((chosen[0],), changes, explains=explains))
        told: list[Trial] = []
        for ((kind, _), group), several in zip(groups.items(), places, strict=True):
            fitted = self._fitted_in(several[:1])
            lucks = [luck(draws[mistake], fitted) for mistake in several if mistake in draws]
            if kind == FACTOR and all(found.directions < 2 for found in lucks):
                told += group if self._is_one_factor(trials) else []
                continue
            if kind == FACTOR:
                lucks = [found for found in lucks if found.directions > 1]
            of_one = all(found.directions == 1 for found in lucks)
            among = self._along_the_error(tried) if of_one else len(tried)
            if lucks and least(lucks).tells(among * self._chosen_from(several[:1])):
                told += group
        return told

    def _is_one_factor(self, trials: Sequence["Trial"]) -> bool:
        """Say whether all edges on which a factor explains the difference take the same one."""
        settings = [t.mistake.setting for t in trials if t.mistake.kind == FACTOR]
        return max(settings) - min(settings) <= SAME_FACTOR * max(map(abs, settings))

    def _along_the_error(self, tried: Sequence["Trial"]) -> int:
        """Count the mistakes that change the gradient in the direction of the error alone.

        No other one can fit an error from a place where errors have one direction.
        """
        target, rounded = self._sketch(self.weight * self.error), np.count_nonzero(self.weight)
        target = target / np.linalg.norm(target)
        across = (t.sketch - (t.sketch @ target) * target for t in tried)
        return sum(bool(x @ x <= COARSER**2 * rounded) for x in across)

    def _chosen_from(self, mistakes: Iterable[Mistake]) -> int:
        """Count the settings that each of these was taken from, without those that were fitted."""
        mistakes = list(mistakes)
        tidy = sum(m.kind == UPDATED and m.setting in TIDY for m in mistakes)
        settings = (mistake.setting for mistake in mistakes if mistake.kind == FACTOR)
        named = (setting for setting in settings if setting in self.simple)
        of_factors = math.prod(len(STEPPED if n in STEPPED else self.simple) for n in named)
        return of_factors * len(TIDY) ** tidy

    def _fitted_in(self, mistakes: Iterable[Mistake]) -> int:
        named = {FACTOR: self.simple, UPDATED: TIDY}
        return sum(m.kind in FITTED and m.setting not in named[m.kind] for m in mistakes)

    def _no_chance(self, among: Iterable["Trial"], tried: Sequence["Trial"]) -> list["Trial"]:
        """Keep those that fit in more elements than one of as many mistakes would by chance."""
        return [
            trial
            for trial in among
            if np.log10(len(tried) * self._chosen_from([trial.mistake])) + trial.chance
            < np.log10(CHANCE)
        ]

    def _explaining(self, tried: Sequence["Trial"]) -> list["Trial"]:
        """Give those that explain the difference, by the bounds or else by their own rounding."""
        single = self._no_chance((trial for trial in tried if trial.explains), tried)
        if single:
            return single
        near = self._no_chance((trial for trial in tried if trial.nearly), tried)
        changes = [((trial.mistake,), self._changed(trial.mistake)) for trial in near]
        found = [near[i] for i in self._judged(changes)]
        return self._no_chance(map(self._as_judged, found), tried)

    def _as_judged(self, trial: "Trial") -> "Trial":
        """Say how likely a mistake is to be so near by chance, by what its judgement allows."""
        change, fitted = self._changed(trial.mistake), self._fitted_in([trial.mistake])
        allowed = self._allowed((trial.mistake,), change, explains=False)
        return trial._replace(chance=self._chance(change, allowed, change.size, fitted))

    def _in_the_wrong_alone(self, tried: Sequence["Trial"]) -> list["Trial"]:
        """Make each mistake in the derivatives of the arrays that are wrong, and in no others.

        Each array's derivative may have been written down for itself, as where the one of a bias
        takes what is handed down from before an activation's derivative, and all others do not.
        """
        found: list[Trial] = []
        only = self.difference.wrong
        if len(only) == len(self.difference.leaves):
            return found
        for trial in tried:
            mistake = trial.mistake
            if mistake.kind == FACTOR and mistake.setting not in self.simple:
                continue
            change = self._changed(mistake._replace(only=only))
            if not self._is_seen(change):
                continue
            setting = mistake.setting
            if mistake.kind == FACTOR and self._is_affine(mistake.taps):
                setting = self._nearest(setting * self._fit(change))
                change *= setting / mistake.setting
            mistake = mistake._replace(setting=setting, only=only)
            found.append(self._trial(mistake, change, change))
        return sorted(found, key=lambda trial: trial.residual)

    def _tried(self, among: Sequence[Tap]) -> Iterator["Trial"]:
        """Compute what each of these taps changes, and fit what can be fitted."""
        seen: set[Tap] = set()
        alone: list[tuple[Tap, ...]] = [(tap,) for tap in among if tap.kind not in OF_ARRAYS]
        for taps in tqdm(alone, unit="edge", delay=SLOW, disable=None, leave=False):
            trials = list(self._of(taps))
            yield from trials
            if trials:
                seen.update(taps)
        together = [*self._repeated(seen), *self.tapped.of_arrays()]
        known = set(among)
        chosen = [taps for taps in together if taps[0] in known]
        for taps in tqdm(chosen, unit="line", delay=SLOW, disable=None, leave=False):
            yield from self._of(taps)

    def _of(self, taps: tuple[Tap, ...]) -> Iterator["Trial"]:
        """Try a mistake, if it changes what this check could see and time is left."""
        if not self._has_time():
            return
        whole = self.change([Mistake(taps, 1.0)])
        if not self._is_seen(whole):
            return
        if taps[0].kind != FACTOR:
            yield self._trial(Mistake(taps, 1.0), whole, whole)
        elif self._is_affine(taps):
            yield from self._fitted(taps, whole)
        else:
            for setting in self._likely(taps):
                mistake = Mistake(taps, setting)
                yield self._trial(mistake, self.change([mistake]), whole)

    def _is_seen(self, change: Array) -> bool:
        return bool((abs(change) * self.weight > 1).any() and np.isfinite(change).all())

    def _likely(self, taps: tuple[Tap, ...]) -> Sequence[float]:
        """Choose settings for a factor that a path may go through again and again.

        The change is a polynomial in the setting, whose degree is at most the number of taps, and
        0 at setting 0: so many settings say what it is at every other.
        """
        degree = len(taps)
        looped = self.tapped.operations[taps[0].edge.path].looped
        if looped or degree > len(NODES):
            return self.simple
        nodes = np.array(NODES[:degree])
        changes = np.stack(
            [self.weight * self.change([Mistake(taps, node)]) for node in NODES[:degree]]
        )
        powers = np.arange(1, degree + 1)
        target = self.weight * self.error
        # At setting s the change is sum_k a_k s^k, and V a = changes with V[i, k] = nodes[i]^k.
        a = np.linalg.solve(nodes[:, None] ** powers, changes)
        norms, products, whole = a @ a.T, a @ target, target @ target
        by_setting = np.array(self.simple)[:, None] ** powers
        residuals = whole + ((by_setting @ norms) * by_setting).sum(1) - 2 * by_setting @ products
        best = [self.simple[i] for i in np.argsort(residuals)[:VERIFIED]]
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

    def _is_affine(self, taps: Sequence[Tap]) -> bool:
        looped = self.tapped.operations[taps[0].edge.path].looped
        return len(taps) == 1 and not (looped and taps[0].steps == EVERY)

    def _fitted(self, taps: tuple[Tap, ...], whole: Array) -> Iterator["Trial"]:
        """Fit the factor, and take the number nearest to it that has a name, too."""
        c = self._fit(whole)
        if not self.explains(c * whole):  # whose own rounding counts
            c = self._fit(whole, 1 / np.maximum(self.reach(c * whole), self._smallest()))
        nearest = self._nearest(c)
        yield self._trial(Mistake(taps, nearest), nearest * whole, whole)
        yield self._trial(Mistake(taps, c), c * whole, whole)

    def _fit(self, whole: Array, weight: Array | None = None) -> float:
        """Fit a multiple of a change to the difference, in parts of the bounds."""
        weight = self.weight if weight is None else weight
        weighted = weight * whole
        return float(weighted @ (weight * self.error) / (weighted @ weighted))

    @functools.cached_property
    def simple(self) -> tuple[float, ...]:
        """List the settings whose factors are simple, or have a name."""
        return *STEPPED, *(factor - 1 for factor in named_factors(self.tapped))

    def _nearest(self, setting: float) -> float:
        """Find the simple setting that is nearest to one that was fitted."""
        return min(self.simple, key=lambda simple: abs(simple - setting))

    def _trial(self, mistake: Mistake, change: Array, whole: Array) -> "Trial":
        left = self.weight * (self.error - change)
        residual = float(np.linalg.norm(left) / np.linalg.norm(self.weight * self.error))
        sketch = self._sketch(self.weight * whole)
        explains, nearly = self.explains(change), self.nearly(change)
        fitted = self._fitted_in([mistake])
        near = explains or nearly
        chance = self._chance(change, self.bound, change.size, fitted) if near else 0.0
        return Trial(mistake, residual, sketch, explains, nearly, chance)

    def _sketch(self, x: Array) -> Array:
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

    def judged(self, mistakes: tuple[Mistake, ...]) -> bool:
        """Say whether the gradient is right for the loss with these mistakes, by measurement.

        Then how far it may be off is known, which `reach` only guesses.
        """
        taps = [tap for mistake in mistakes for tap in mistake.taps]
        settings = np.array([m.setting for m in mistakes for _ in m.taps])
        gradient = self._gradient(taps, mistakes[0].only)
        leaves = self.difference.leaves
        dtype = str(np.result_type(*(leaf.got.dtype for leaf in leaves)))
        inputs = self.tapped.inputs
        comparer = Comparer(gradient, inputs, settings, measured=True)
        got = [leaf.got for leaf in leaves]
        found = comparer(got, inputs, settings, dtype=dtype)
        is_right = found.verdict in {Verdict.MATCH, Verdict.AMBIGUOUS}
        if is_right:
            bounds = [np.where(leaf.tied, np.inf, leaf.open_bound) for leaf in found.leaves]
            self.measured[mistakes] = np.maximum(_joined(bounds), self._smallest())
        return is_right

    def _gradient(self, taps: Sequence[Tap], only: frozenset[int]) -> Gradient:
        """Give the gradient with its taps, in some of the arrays alone if there are any."""
        mistaken, right = self.tapped.gradient(taps), self.tapped.gradient(())
        if not only:
            return mistaken

        def gradient(inputs: Sequence[Any], settings: Any) -> list[Any]:
            pairs = zip(mistaken(inputs, settings), right(inputs, settings), strict=True)
            return [wrong if i in only else x for i, (wrong, x) in enumerate(pairs)]

        return gradient

    def _judged(self, near: Sequence[tuple[tuple[Mistake, ...], Array]]) -> list[int]:
        """Find the first of these that is right by its own rounding, and those that are as well."""
        refused: list[Array] = []
        for mistakes, change in near:
            if any(self._alike(change, other) for other in refused):
                continue
            if len(refused) == JUDGED or not self._has_time():
                break
            if self.judged(mistakes):
                measured = self.measured[mistakes]
                alike = [i for i, (_, x) in enumerate(near) if self._is_within(x, measured)]
                self.measured.update((near[i][0], measured) for i in alike)
                return alike
            refused.append(change)
        return []

    def _is_within(self, change: Array, allowed: Array) -> bool:
        return bool((abs(self.error - change) <= allowed).all())

    def _alike(self, one: Array, other: Array) -> bool:
        return bool((abs(one - other) <= self.reach(one)).all())

    def _pairs(self, tried: Sequence["Trial"]) -> list[Explanation]:
        """Look for two mistakes, at first as if neither changed what the other does."""
        alone = list(
            {trial.mistake.taps: trial for trial in tried if self._is_simple(trial)}.values()
        )
        if len(alone) < 2:
            return []
        changes = np.stack([trial.sketch for trial in alone])
        target = self._sketch(self.weight * self.error)
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
            if not self._has_time():
                break
            pair = alone[i[k]], alone[j[k]]
            fits.append((*self._fitted_pair(pair, (first[k], second[k]), target), pair))
        fits.sort(key=lambda fit: fit[0])
        near, refused = [], 0
        for _, settings, pair in fits[:BEST]:
            both = map(self._rounded, pair, settings)
            for mistakes in itertools.product(*both):
                change = self.change(mistakes)
                explains = self.explains(change)
                choices = len(residual) * self._chosen_from(mistakes)
                fitted = self._fitted_in(mistakes)
                if not self.telling(change, self.bound, change.size, choices, fitted):
                    continue
                if not explains and self.nearly(change):
                    near.append((mistakes, change, pair))
                if not explains or refused == JUDGED:
                    continue
                allowed = self._allowed(mistakes, change, explains=True)
                if self._luck_of_pair(pair, mistakes, allowed, alone).tells(choices):
                    return [self._at_the_simplest(pair, mistakes, alone)]
                refused += 1
        for k in self._judged([(mistakes, change) for mistakes, change, _ in near]):
            mistakes, change, pair = near[k]
            choices = len(residual) * self._chosen_from(mistakes)
            allowed = self._allowed(mistakes, change, explains=False)
            telling = self.telling(change, allowed, change.size, choices, self._fitted_in(mistakes))
            if telling and self._luck_of_pair(pair, mistakes, allowed, alone).tells(choices):
                return [self._at_the_simplest(pair, mistakes, alone)]
        return []

    def _luck_of_pair(
        self,
        pair: Sequence["Trial"],
        mistakes: Sequence[Mistake],
        allowed: Array,
        alone: Sequence["Trial"],
    ) -> Luck:
        """Bound the chance that errors from where two mistakes may be look like them.

        A factor may be anywhere on its chain of edges.
        """
        places = [
            self._chain(trial, mistake, alone)
            for trial, mistake in zip(pair, mistakes, strict=True)
        ]
        return self._luck(places, allowed, self._fitted_in(mistakes))

    def _same(self, trial: "Trial", mistake: Mistake, alone: Sequence["Trial"]) -> list[Mistake]:
        """List the edges on which a mistake changes the same by itself, the simplest first."""
        rounded = np.sqrt(np.count_nonzero(self.weight))
        found = {mistake}
        for other in alone:
            if (other.mistake.kind, len(other.mistake.taps)) != (mistake.kind, len(mistake.taps)):
                continue
            if np.linalg.norm(other.sketch - trial.sketch) <= rounded:
                found.add(mistake._replace(taps=other.mistake.taps))
        return sorted(found, key=self.simplicity)

    def _chain(self, trial: "Trial", mistake: Mistake, alone: Sequence["Trial"]) -> list[Mistake]:
        """Choose of the edges on which a factor changes the same one for each shape of an array."""
        if mistake.kind != FACTOR:
            return [mistake]
        same = self._same(trial, mistake, alone)
        return list({self.tapped.shape_at(one.taps[0]): one for one in same}.values())

    def _at_the_simplest(
        self,
        pair: Sequence["Trial"],
        mistakes: tuple[Mistake, ...],
        alone: Sequence["Trial"],
    ) -> Explanation:
        """Name each of two mistakes at the simplest of the edges on which it gives the same."""
        several = [self._same(*each, alone) for each in zip(pair, mistakes, strict=True)]
        chosen = tuple(first for first, *_ in several)
        if not self._alike(self.change(mistakes), self.change(chosen)):  # one changes the other
            return Explanation(mistakes)
        return Explanation(chosen, tuple(tuple(others) for _, *others in several))

    def _fitted_pair(
        self, pair: tuple["Trial", "Trial"], settings: tuple[float, float], target: Array
    ) -> tuple[float, tuple[float, float]]:
        """Fit two settings: what both change is a A + b B + a b AB, where AB goes through both."""
        one, other = pair
        both = self.change([Mistake(one.mistake.taps, 1.0), Mistake(other.mistake.taps, 1.0)])
        through = self._sketch(self.weight * both) - one.sketch - other.sketch
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

    def simplicity(self, mistake: Mistake) -> tuple[float, int, int, tuple[int, ...]]:
        """Order mistakes from the simplest; of equal ones the nearest to the loss's value first.

        On a chain of edges the derivative enters at the operation that the loss comes to last, so
        that is where a path branches off.
        """
        if mistake.kind in OF_TIES:  # nothing else is likely to be seen at ties alone
            level = -1.0
        elif mistake.kind in ORDERS:  # which that of copies, or of heads, is too
            level = OF_KINDS + 0.25
        elif mistake.kind != FACTOR:
            of_source = self.tapped.operations[mistake.taps[0].edge.path].of_source
            level = OF_KINDS + 0.5 if of_source else OF_KINDS
        elif mistake.setting in self.simple:
            level = {0.0: 0, -1.0: 1, 2.0: 2, 0.5: 2}.get(mistake.factor, 3)
        else:
            level = 5
        steps = 0 if mistake.taps[0].steps == EVERY else 1
        return level, steps, len(mistake.taps), tuple(-n for n in mistake.taps[-1].edge.path)

    def _is_simple(self, trial: "Trial") -> bool:
        return trial.mistake.kind != FACTOR or self._is_affine(trial.mistake.taps)

    def _rounded(self, trial: "Trial", setting: float) -> list[Mistake]:
        """Give the mistakes that a fitted setting may stand for."""
        if trial.mistake.kind not in FITTED:
            return [Mistake(trial.mistake.taps, 1.0)]
        settings = [float(setting)]
        if trial.mistake.kind == FACTOR:
            settings = [self._nearest(setting), *settings]
        return [Mistake(trial.mistake.taps, setting) for setting in settings]


def _settled(s: float, a: Array, target: Array) -> float:
    """Fit the setting s for which sum_k a_k s^k is nearest to a target, from one that is near."""
    powers = np.arange(1, len(a) + 1)
    for _ in range(STEPS):
        slope = (powers * s ** (powers - 1)) @ a
        if not slope.any():
            break
        s += float(slope @ (target - s**powers @ a) / (slope @ slope))
    return s


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
        self.right = _joined(self._at(np.zeros(len(taps))))

    def change(self, mistakes: Iterable[Mistake]) -> Array:
        """Compute how the gradient changes with these mistakes."""
        settings = np.zeros(len(self.taps))
        for mistake in mistakes:
            for tap in mistake.taps:
                settings[self.numbers[tap]] += mistake.setting
        return _joined(self._at(settings)) - self.right


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


def named_factors(tapped: Tapped) -> dict[float, str]:
    """Name what may have been forgotten or counted twice: lengths of axes, sizes of sums, roots."""
    lengths = {n for x in tapped.inputs for n in np.shape(x) if n > 1}
    summed = {n for operation in tapped.operations.values() if (n := _summed(operation.eqn)) > 1}
    named: dict[float, str] = {}
    for n in sorted(lengths | summed):
        what = "length of an axis" if n in lengths else "number of elements of a sum"
        of: list[tuple[float, str]] = [
            (n, f"{n}, the {what}"),
            (1 / n, f"1/{n}, 1 over the {what}"),
            (float(np.sqrt(n)), f"{np.sqrt(n):.4g}, the square root of {n}"),
            (1 / float(np.sqrt(n)), f"{1 / np.sqrt(n):.4g}, 1 over the square root of {n}"),
            (n / (n - 1), f"{n}/{n - 1}"),
            ((n - 1) / n, f"{n - 1}/{n}"),
        ]
        for number, text in of:
            named.setdefault(float(number), text)
    for n in sorted({np.size(x) for x in tapped.inputs if np.size(x) > 1}):
        named.setdefault(float(n), f"{n}, the number of elements of an array")
        named.setdefault(1 / n, f"1/{n}, 1 over the number of elements of an array")
    return named


def _edges(mistake: Mistake) -> set[Edge]:
    return {tap.edge for tap in mistake.taps}


def _in_parts(x: Array, base: Array, allowed: Array) -> Array:
    """Give the difference of two arrays in parts of what is allowed; 0 where it is no number."""
    finite = np.isfinite(x) & np.isfinite(base)
    moved = np.subtract(x, base, out=np.zeros_like(x), where=finite)
    return np.divide(moved, allowed, out=np.zeros_like(x), where=allowed > 0)


def _summed(eqn: Any) -> int:
    """Count the elements of each sum; 1 of what is no sum over several axes."""
    axes = eqn.params["axes"] if eqn.primitive.name == "reduce_sum" else ()
    return math.prod(eqn.invars[0].aval.shape[axis] for axis in axes) if len(axes) > 1 else 1


def _joined(arrays: Iterable[Array]) -> Array:
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in arrays])
