"""Plant mistakes at random edges of many losses, and count those whose line and cause are named.

python -m benchmarks.soundness.located

A subject is a loss at a shape: each of losses.py, each layer of manual_nn by its twin, an LSTM, a
block of a transformer, a convolution net, and those of forms.py. planting.py runs its backward pass
with a mistake on an edge that is drawn, with another array where one belongs, or with a mistake of
several operations together (places.py says where); check_gradient is given the result, and what it
names first is planted in turn: the cause is right if that is the identical fault.
"""

import argparse
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from benchmarks.soundness.depths import FAMILIES
from benchmarks.soundness.edges import Edge
from benchmarks.soundness.forms import FORMS
from benchmarks.soundness.layer_losses import LAYERS, WITH_OPTIONS
from benchmarks.soundness.losses import LOSSES, Draw, rounded
from benchmarks.soundness.places import Places
from benchmarks.soundness.planted_operations import (
    NOT_PLANTED,
    OF_ALL,
    STRANGE,
    WHY_UNKNOWN,
    WRONG,
    factors,
)
from benchmarks.soundness.planted_regions import LEFT_OUT, OF_GROUP, axes_of
from benchmarks.soundness.planted_swaps import (
    FACTOR_OF,
    FITS,
    ITSELF,
    SWAPS,
    TOO_MANY,
    UPDATED,
    formulas,
)
from benchmarks.soundness.planting import (
    EVERY,
    FACTOR,
    FIRST,
    LAST,
    REGIONS,
    MisfitError,
    Plant,
    Tape,
    lines_of,
)
from benchmarks.soundness.subjects import Subject, draw_shape, of_family, of_loss
from benchmarks.soundness.tally import DTYPES, REFUSED
from benchmarks.tables import Page, parser_of
from reference import Cause, GradientReport, check_gradient
from reference.compare import Verdict

ABOUT = """\
Mistakes planted at random edges of the backward passes of many losses, and what the check says of
each. They are planted by running the backward pass operation by operation with one rule changed,
which shares no code with the search that is to find them: that of one operation, another array of
the loss where one belongs, or what several operations together hand down."""
LEGEND = """
*caught*: called wrong. *cause first*: what is named first, planted in turn, gives the
identical fault, to half of the digits of the precision: it is the edge and the mistake that was
planted, or another that nobody could tell from it. *line first*: the line that is named first is
the one where the mistake was planted, or the cause is right. *same line*: the former alone.
*unknown*: no operation is named. *both named*: of two mistakes at once, two are named, which give
the identical fault; where one is named that gives it, too, as of two factors on one path, they are
not. The last columns count right gradients, and those that were given a cause. Where the check
says of the right gradient itself that at these values no check could tell, nothing is planted, and
other values are drawn."""
OF_UNKNOWN = """
What stayed unknown. *doubted*: a mistake would explain the gradient, but the errors lie in so few
directions, or so near to rounding, that one of the many that are tried would do so by chance, and
none is named. *otherwise because*: what the search does not see of this kind.
"""
OF_STRANGE = """
Mistakes that the search knows nothing of; *wrong* is what names an operation that is not the one:
"""
LARGEST = 8  # of each size of a shape
FAULTS_OF_A_DRAW = 8
DOUBT = "it would be explained if"  # as the evidence says where so might chance
TRIES = 40  # to plant a mistake that shows
OF_FACTORS = 3  # times as often as any other kind
UNSEEING = {Verdict.BLIND, Verdict.NOT_COMPARABLE}  # verdicts that no gradient is right or wrong
AT_EVERY_STEP, IN_ONE_ARRAY = ", at every step", ", in one array alone"
OF_ONE_ARRAY = 1 / 8  # of the mistakes
T = TypeVar("T")


NETWORKS = {"LSTM": 5, "transformer": 1, "convolutions, normalised": 2}


def _drawn(arguments: Callable[[Draw], tuple[Any, ...]], rng: np.random.Generator) -> Any:
    return arguments(Draw(rng))


def subjects(shapes: int, seed: int) -> Iterator[Subject]:
    """List each loss at so many shapes, the layers and the networks."""
    for number in range(shapes):
        for i, loss in enumerate(LOSSES):
            shape = draw_shape(
                np.random.default_rng([seed, 7, number, i]), smallest=2, largest=LARGEST
            )
            yield of_loss(loss, shape)
    for name, (function, arguments, places) in (LAYERS | WITH_OPTIONS).items():
        yield Subject(
            f"layer {name}",
            function,
            places if len(places) > 1 else places[0],
            functools.partial(_drawn, arguments),
        )
    for family in FAMILIES:
        if family.name in NETWORKS:
            yield of_family(family, NETWORKS[family.name])
    for name, (function, arguments, places) in FORMS.items():
        yield Subject(name, function, places, functools.partial(_drawn, arguments))


class Result(NamedTuple):
    """What became of one gradient.

    Attributes:
        subject, dtype: what it is of.
        kinds: of the mistakes in it; none if it is right.
        caught: whether it was called wrong.
        cause, line, same: whether the first cause is right, its line, and its line to the number.
        code: of the first cause.
        words: what was planted, and what was said.
        doubted: whether something would explain the difference, but so might chance.
    """

    subject: str
    dtype: str
    kinds: tuple[str, ...]
    caught: bool
    cause: bool = False
    line: bool = False
    same: bool = False
    code: str = ""
    words: str = ""
    doubted: bool = False


class Planter:
    """A subject at one draw of its values."""

    def __init__(self, subject: Subject, args: tuple[Any, ...], dtype: str) -> None:
        """Put the loss on a tape."""
        self.subject, self.args, self.dtype = subject, args, dtype
        self.tape = Tape(subject.function, args, subject.places)
        self.places = Places(self.tape)
        self.edges = self.places.edges
        self.right = list(self.tape.right.values())
        self.half = float(np.sqrt(np.finfo(dtype).eps))
        self.by_kind: dict[str, list[Edge]] = {FACTOR: self.edges}
        for kind, (fits, _) in (WRONG | STRANGE).items():
            if chosen := [edge for edge in self.edges if fits(edge)]:
                self.by_kind[kind] = chosen

    def fault(self, plants: Sequence[Plant]) -> np.ndarray[Any, Any]:
        """Compute how these mistakes change the gradient; NaN where one of them does not fit."""
        try:
            wrong = self.tape.gradient(plants)
        except MisfitError:
            return np.full(sum(x.size for x in self.right), np.nan)
        parts = (a.astype(float) - b for a, b in zip(wrong, self.right, strict=True))
        return np.concatenate([part.ravel() for part in parts])

    def shows(self, fault: np.ndarray[Any, Any]) -> bool:
        """Say whether half of the digits of the largest element hold it."""
        largest = max(float(abs(x).max(initial=0)) for x in self.right)
        return bool(np.isfinite(fault).all() and abs(fault).max() > self.half * largest)

    def draw(self, rng: np.random.Generator, *, strange: bool = False) -> list[Plant]:
        """Draw a mistake, now and then in the derivative of one array alone.

        Args:
            rng: draws.
            strange: whether it is of a kind that the search does not know.
        """
        plants = self._drawn(rng, strange=strange)
        if strange or len(self.right) == 1 or rng.random() > OF_ONE_ARRAY:
            return plants
        wrong = [i for i, part in enumerate(self._of_arrays(self.fault(plants))) if part.any()]
        only = _one(wrong, rng) if len(wrong) > 1 else None
        return [plant._replace(only=only) for plant in plants]

    def _of_arrays(self, fault: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        return np.split(fault, np.cumsum([array.size for array in self.right])[:-1])

    def _drawn(self, rng: np.random.Generator, *, strange: bool) -> list[Plant]:
        """Draw a mistake; in a loop at some steps, of a line that is run again perhaps at all runs.

        Args:
            rng: draws.
            strange: whether it is of a kind that the search does not know.
        """
        kinds = [kind for kind in self.by_kind if (kind in STRANGE) == strange]
        if not strange:
            kinds += [FACTOR] * (OF_FACTORS - 1)
            kinds += [*self.places.swapped, *self.places.of_regions]
            kinds += OF_ALL if self.places.exponentiated else []
        kind = str(rng.choice(kinds))
        if kind in self.places.swapped:
            return self.places.swap(kind, _one(self.places.swapped[kind], rng), rng)
        if kind in self.places.of_regions:
            return [_one(self.places.of_regions[kind], rng)]
        if kind in OF_ALL:
            group = _one(self.places.exponentiated, rng)
            return [Plant(edge.path, edge.operand, kind) for edge in group]
        edge = self.by_kind[kind][int(rng.integers(len(self.by_kind[kind])))]
        factor = float(rng.choice(list(factors(edge)))) if kind == FACTOR else 1.0
        when = str(rng.choice([EVERY, EVERY, FIRST, LAST])) if edge.looped else EVERY
        alike = self.places.alike(edge) if kind == FACTOR or rng.integers(2) else [edge]
        chosen = alike if len(alike) > 1 and rng.integers(2) else [edge]
        return [Plant(e.path, e.operand, kind, factor, when) for e in chosen]

    def named(self, cause: Cause) -> Iterator[list[Plant]]:
        """Plant what a cause names: at the operation of that name on that line, on any operand."""
        if cause.kind in SWAPS:
            yield from self._named_swaps(cause)
        elif cause.kind in OF_ALL:
            for group in self.places.readers:
                at = [edge for edge in group if _is_called_on_line(edge, cause)]
                for some in itertools.chain([group], itertools.combinations(at, len(group) - 1)):
                    if at:  # all that read an array, or those that one function consists of
                        yield [Plant(edge.path, edge.operand, cause.kind) for edge in some]
        elif cause.kind in {FACTOR, *WRONG}:
            yield from self._named_edges(cause)
        # The diagonal of a softmax may be planted at one operation, or at several that make it.
        yield from ([plant] for plant in self._named_regions(cause))

    def _named_swaps(self, cause: Cause) -> Iterator[list[Plant]]:
        """Plant the array that is named; of those without a name any."""
        several = " and " in cause.operand or "times that the line is run" in cause.sentence
        rate = re.search(r"less (\S+) times its gradient", cause.sentence)
        groups = list(self.places.swapped.get(cause.kind, ()))
        if cause.kind == FACTOR_OF:  # which may be named where it is not planted
            groups += [(edge,) for edge in self.edges if not FITS[FACTOR_OF](edge)]
        for group in groups:
            of_one = len(group) == 1 or cause.kind == TOO_MANY
            if of_one == several or not any(_is_at(edge, cause) for edge in group):
                continue
            for sources in self.places.sources(cause.kind, group):
                for formula in formulas(cause.kind, group[0]):
                    if cause.kind == UPDATED and rate:
                        yield self.places.plants(
                            cause.kind, group, sources, formula, float(rate[1])
                        )
                    elif self.places.said(cause.sentence, sources[0], formula):
                        yield self.places.plants(cause.kind, group, sources, formula)

    def _named_regions(self, cause: Cause) -> Iterator[Plant]:
        for kind, plants in self.places.of_regions.items():
            for plant in plants:
                edges = (edge for edge in self.edges if edge.path == plant.path)
                is_named = kind == cause.kind or axes_of(kind, cause.kind) == plant.axes
                is_named |= kind == LEFT_OUT and cause.kind == "identity"  # of a function
                if plant.statistic is not None:
                    is_named &= self.places.said(cause.sentence, plant.statistic, ITSELF)
                if is_named and any(_is_called_on_line(edge, cause) for edge in edges):
                    yield plant

    def _named_edges(self, cause: Cause) -> Iterator[list[Plant]]:
        when = next((w for w in (FIRST, LAST) if f"at the {w} step" in cause.sentence), EVERY)
        factor = 1.0 if cause.factor is None else cause.factor
        seen = set()
        for edge in self.edges:
            fits = cause.kind == FACTOR or WRONG[cause.kind].fits(edge)
            if not _is_at(edge, cause) or not fits:
                continue
            several = " and " in cause.operand or "times that the line is run" in cause.sentence
            group = self.places.alike(edge) if several else [edge]
            key = tuple((e.path, e.operand) for e in group)
            if key not in seen:
                seen.add(key)
                yield [Plant(e.path, e.operand, cause.kind, factor, when) for e in group]

    def _named_entries(self, cause: Cause, wrong: Sequence[int]) -> Iterator[list[Plant]]:
        """Plant a factor that is told where arrays enter: at all that reads these arrays."""
        lines = {found[0] for found in re.finditer(r"\(\S+:\d+, `", cause.sentence)}
        if cause.factor is None or (len(lines) < 2 and "broadcast over" not in cause.sentence):
            return
        arrays = [self.tape.active[i] for i in wrong]
        yield [
            Plant(edge.path, edge.operand, FACTOR, cause.factor)
            for group in self.places.readers
            for edge in group
            if edge.step.ins[edge.operand] in arrays
        ]

    def same(self, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
        """Say whether two faults are identical, to half of the digits."""
        return bool(np.linalg.norm(one - other) <= self.half * np.linalg.norm(one))

    def check(self, gradient: list[Any]) -> GradientReport:
        """Check a gradient."""
        targets = [self.args[i] for i in self.subject.places]
        result = jax.tree.unflatten(jax.tree.structure(tuple(targets)), gradient)
        argnums = self.subject.argnums
        return check_gradient(
            result[0] if isinstance(argnums, int) else result,
            self.subject.function,
            *self.args,
            argnums=argnums,
            explain_seconds=np.inf,
        )

    def is_right(self, causes: Sequence[Cause], fault: np.ndarray[Any, Any]) -> bool:
        """Say whether these causes, planted, give the identical fault.

        One that is made in the derivatives of the arrays that are wrong alone is none in others.
        """
        alone = any("and in no other array" in cause.sentence for cause in causes)
        parts = self._of_arrays(fault)
        of_arrays = [np.full(part.size, part.any()) for part in parts]
        counted = np.concatenate(of_arrays) if alone else np.ones(fault.size, bool)
        wrong = [i for i, part in enumerate(parts) if part.any()]
        choices = [[*self.named(cause), *self._named_entries(cause, wrong)] for cause in causes]
        for chosen in itertools.product(*choices):
            plants = [plant for plants in chosen for plant in plants]
            if self.same(fault, np.where(counted, self.fault(plants), 0)):
                return True
        return False

    def result(self, plants: Sequence[Sequence[Plant]]) -> Result | None:
        """Plant mistakes and have them looked for; None if they do not show."""
        joined = [plant for group in plants for plant in group]
        fault = self.fault(joined)
        if not self.shows(fault):
            return None
        alone = [self.fault(group) for group in plants] if len(plants) > 1 else []
        if not all(self.shows(part) and not self.same(fault, part) for part in alone):
            return None
        report = self.check(self.tape.gradient(joined))
        causes = report.causes[: len(plants)] or (None,)
        first = causes[0]
        lines = {
            (edge.file, edge.line)
            for edge in self.edges
            for plant in joined
            if edge.path == plant.path
            and (edge.operand == plant.operand or plant.kind in self.places.of_regions)
        }
        kinds = tuple(map(self._kind, plants))
        if first is None or report.verdict not in REFUSED:
            return Result(self.subject.name, self.dtype, kinds, caught=False)
        named = [cause for cause in causes if cause is not None and cause.kind]
        right = len(named) == len(plants) and self.is_right(named, fault)
        at = {(cause.where.file, cause.where.number) for cause in named if cause.where is not None}
        same = bool(at) and at <= lines if len(plants) == 1 else at == lines
        planted = "; ".join(self._words(group) for group in plants)
        said = " | ".join(f"{cause.code}: {cause.sentence}" for cause in causes if cause)
        return Result(
            *(self.subject.name, self.dtype, kinds, True),
            *(right, right or same, same, str(first.code) if first.kind else "unknown"),
            f"{planted} -> {said}",
            any(DOUBT in cause.evidence for cause in causes if cause),
        )

    def _kind(self, group: Sequence[Plant]) -> str:
        """Name the kind of a mistake as the table does."""
        plant = group[0]
        looped = self.places.loop(plant.path) or (len(group) > 1 and plant.kind != TOO_MANY)
        every = AT_EVERY_STEP if plant.kind in SWAPS and looped else ""
        return plant.kind + every + (IN_ONE_ARRAY if plant.only is not None else "")

    def _words(self, group: Sequence[Plant]) -> str:
        plant = group[0]
        at = [edge for edge in self.edges if edge.path == plant.path]
        edge = next((edge for edge in at if edge.operand == plant.operand), at[0])
        shapes = [jnp.shape(x) for x in edge.step.operands]
        what = f"{plant.kind} {plant.factor:.4g}" if plant.kind == FACTOR else plant.kind
        if plant.array is not None:
            what += f" {plant.formula} {plant.array.path} {plant.array.result} {plant.axes}"
        when = f" at the {plant.when} step" if plant.when != EVERY else ""
        when += f" in [{plant.only}] alone" if plant.only is not None else ""
        times = f" x {len(group)}" if len(group) > 1 else ""
        name = edge.file.rpartition("/")[2]
        return f"{what}{when}{times} of {edge.name} {shapes} in {plant.operand}, {name}:{edge.line}"


def _one(among: Sequence[T], rng: np.random.Generator) -> T:
    return among[int(rng.integers(len(among)))]


def _is_at(edge: Edge, cause: Cause) -> bool:
    at = edge.file, edge.line, edge.name
    where = cause.where
    return where is not None and at == (where.file, where.number, cause.operation)


def _is_called_on_line(edge: Edge, cause: Cause) -> bool:
    """Say whether an operation is on a line, or within a function that is called there.

    One within a function of JAX's keeps the lines of the call that was traced first.
    """
    where = cause.where
    lines = [(edge.file, edge.line), *lines_of(edge.step.eqn)]
    return where is not None and (where.file, where.number) in lines


def try_subject(number: int, shapes: int, faults: int, seed: int) -> list[Result]:
    """Plant so many mistakes in the number-th subject, and at each draw of its values a pair."""
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003, JAX's way
    subject = next(itertools.islice(subjects(shapes, seed), number, None))
    rng = np.random.default_rng([seed, number])
    results: list[Result] = []
    for draw in itertools.count():
        dtype = DTYPES[draw % len(DTYPES)]
        planter = Planter(subject, rounded(subject.draw(rng), dtype), dtype)
        report = planter.check(planter.right)
        code = str(report.causes[0].code) if report.verdict in REFUSED else ""
        results.append(
            Result(subject.name, dtype, (), caught=not report.ok, code=code, words=str(report))
        )
        chosen = [*[(1, False)] * FAULTS_OF_A_DRAW, (2, False), (1, True)]
        for count, strange in [] if report.verdict in UNSEEING else chosen:
            drawn = (
                [planter.draw(rng, strange=strange) for _ in range(count)] for _ in range(TRIES)
            )
            if (result := next(filter(None, map(planter.result, drawn)), None)) is not None:
                results.append(result)
        planted = sum(is_known(result) for result in results)
        if planted >= faults or draw > faults:
            break
    jax.clear_caches()
    return results


def is_known(result: Result) -> bool:
    """Say whether one mistake was planted, of a kind that the search knows."""
    return len(result.kinds) == 1 and result.kinds[0] not in STRANGE


def percent(part: int, whole: int) -> str:
    """Write a part in percent; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def row(name: str, results: Sequence[Result]) -> list[str]:
    """Lay out what became of some gradients."""
    one = [r for r in results if is_known(r)]
    two = [r for r in results if len(r.kinds) == 2]
    right = [r for r in results if not r.kinds]
    shown = [sum(getattr(r, what) for r in one) for what in ("caught", "cause", "line", "same")]
    unknown = sum(r.code == "unknown" for r in one)
    return [
        name,
        f"{len(one):,}",
        *(percent(number, len(one)) for number in shown),
        f"{unknown:,}",
        f"{len(two):,}",
        percent(sum(r.cause for r in two), len(two)),
        f"{len(right):,}",
        f"{sum(bool(r.code) for r in right):,}",
    ]


def of_pairs(results: Sequence[Result]) -> Iterator[list[str]]:
    """Count the pairs by what both mistakes are of, and those that were both named."""
    pairs = [r for r in results if len(r.kinds) == 2]
    of = [" and ".join(sorted(map(_sort, r.kinds))) for r in pairs]
    for sort, number in Counter(of).most_common():
        named = sum(r.cause for r, own in zip(pairs, of, strict=True) if own == sort)
        yield [sort, f"{number:,}", percent(named, number)]


def _sort(kind: str) -> str:
    """Say what a mistake is of, of a kind as the table names it."""
    own = kind.partition(",")[0]
    if kind.endswith(IN_ONE_ARRAY):
        return "one array alone"
    if own in SWAPS:
        return "another array"
    return "several operations" if own in {*REGIONS, OF_GROUP} else "an operation"


def of_unknown(results: Sequence[Result]) -> Iterator[list[str]]:
    """Say of each kind why what was planted stayed unknown, the most frequent first."""
    unknown = [r for r in results if is_known(r) and r.code == "unknown"]
    for kind, number in Counter(r.kinds[0] for r in unknown).most_common():
        doubted = sum(r.doubted for r in unknown if r.kinds[0] == kind)
        why = WHY_UNKNOWN.get(kind.partition(",")[0], "") if doubted < number else ""
        yield [kind, f"{number:,}", f"{doubted:,}", why]


def _all_results(args: argparse.Namespace) -> dict[int, list[Result]]:
    """Try every subject that is not in the log yet, and give the results by its number."""
    count = sum(1 for _ in subjects(args.shapes, args.seed))
    found = _logged(args)
    trial = functools.partial(_numbered, args.shapes, args.faults, args.seed)
    numbers = [n for n in reversed(range(count)) if n not in found]  # those that take longest first
    with contextlib.ExitStack() as stack:
        if args.workers > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(args.workers, maxtasksperchild=1))
            done: Iterable[tuple[int, list[Result]]] = pool.imap_unordered(trial, numbers)
        else:
            done = map(trial, numbers)
        for number, results in tqdm(done, total=len(numbers), unit="subject", disable=None):
            found[number] = results
            if args.log is not None:
                with args.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps([_of_run(args), number, results]) + "\n")
            for result in results:
                if args.show and (not result.cause if result.kinds else result.code):
                    tqdm.write(f"{result.subject}, {result.dtype}: {result.words}")
    return found


def _of_run(args: argparse.Namespace) -> list[int]:
    return [args.shapes, args.faults, args.seed]


def _logged(args: argparse.Namespace) -> dict[int, list[Result]]:
    """Read what a run of the same options has left in the log."""
    if args.log is None or not args.log.exists():
        return {}
    lines = [json.loads(line) for line in args.log.read_text(encoding="utf-8").splitlines()]
    return {
        number: [Result(*fields)._replace(kinds=tuple(fields[2])) for fields in results]
        for run, number, results in lines
        if run == _of_run(args)
    }


def _numbered(shapes: int, faults: int, seed: int, number: int) -> tuple[int, list[Result]]:
    return number, try_subject(number, shapes, faults, seed)


HEADINGS = [
    *("subject", "faults", "caught", "cause first", "line first", "same line", "unknown"),
    *("pairs", "both named", "right gradients", "with a cause"),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; return 1 if a right gradient was given a cause."""
    parser = parser_of("python -m benchmarks.soundness.located", __doc__)
    parser.add_argument("--shapes", type=int, default=2, help="of each loss")
    parser.add_argument("--faults", type=int, default=24, help="single ones in each subject")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--log", type=Path, metavar="FILE", help="to write to and resume from")
    parser.add_argument("--show", action="store_true", help="print what was misnamed")
    args = parser.parse_args(argv)
    found = _all_results(args)
    results = [result for number in sorted(found) for result in found[number]]
    page = Page("Mistakes planted at single operations, and how many are located", ABOUT)
    page.heading(HEADINGS)
    for name in dict.fromkeys(subject.name for subject in subjects(args.shapes, args.seed)):
        page.row(row(name, [result for result in results if result.subject == name]))
    page.row(row("all", results))
    page.line(LEGEND)
    page.line("\nBy the kind of the mistake:\n")
    page.heading(["mistake", *HEADINGS[1:7]])
    of_swaps = [kind + when for kind in SWAPS for when in ("", AT_EVERY_STEP)]
    for kind in [FACTOR, *WRONG, *OF_ALL, *of_swaps, *REGIONS, OF_GROUP]:
        if of := [result for result in results if result.kinds == (kind,)]:
            page.row(row(kind, of)[:7])
    if of := [result for result in results if IN_ONE_ARRAY in "".join(result.kinds[:1])]:
        page.row(row(f"any of these{IN_ONE_ARRAY}", of)[:7])
    not_planted = "; ".join(f"`{kind}` ({why})" for kind, why in NOT_PLANTED.items())
    page.line(f"\nNot planted, though the search knows it: {not_planted}.")
    page.line("\nWhat was named first where that was not right:\n")
    page.heading(["mistake", "named first", "faults"])
    wrong = [r for r in results if is_known(r) and r.caught and not r.cause]
    for (kind, code), number in Counter((r.kinds[0], r.code) for r in wrong).most_common():
        page.row([kind, code, f"{number:,}"])
    page.line("\nTwo mistakes at once, by what they are:\n")
    page.heading(["mistakes of", "pairs", "both named"])
    for cells in of_pairs(results):
        page.row(cells)
    page.line(OF_UNKNOWN)
    page.heading(["mistake", "unknown", "doubted", "otherwise because"])
    for cells in of_unknown(results):
        page.row(cells)
    page.line(OF_STRANGE)
    page.heading(
        ["mistake", "faults", "caught", "unknown", "another named that gives the same", "wrong"]
    )
    strange = [r for r in results if len(r.kinds) == 1 and not is_known(r)]
    for kind in STRANGE:
        of = [r for r in strange if r.kinds == (kind,)]
        caught, unknown = sum(r.caught for r in of), sum(r.code == "unknown" for r in of)
        same = sum(r.cause for r in of)
        shown = [len(of), caught, unknown, same, caught - unknown - same]
        page.row([kind, *(f"{number:,}" for number in shown)])
    cells = row("all", results)
    summary = (
        f"Of {cells[1]} planted faults {cells[2]} were caught, the cause named first was right for "
        f"{cells[3]}, the line for {cells[4]}; of {cells[7]} pairs both were named for {cells[8]}; "
        f"{cells[10]} of {cells[9]} right gradients were given a cause."
    )
    page.write(args.results / "located.md", summary, parser.prog, argv)
    return int(cells[10] != "0")


if __name__ == "__main__":
    raise SystemExit(main())
