"""The cases of a long campaign: many networks of one shape at once, compared without compiling.

A block is as many networks of one shape as are asked for. Their JAX function is traced once, with
an axis for the networks before the others, and NumPy evaluates JAX's operations, which gives the
values and the error bounds of all of them at once; XLA compiles only one block in `XLA_EVERY` as
well. Where the bound of a network is infinite its rounding is measured, by a program that is
compiled once for the block; so is that of one more network in one block in `MEASURED_EVERY`. Any
case can be drawn again from the campaign's seed, its block and its number alone.
Axes: N rows in the batch, D inputs, K classes.
"""

import dataclasses
import itertools
import operator
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from reference.arrays import Array
from reference.campaign.draws import LAYOUTS, MAGNITUDES, TRAITS, Shape, make_network, make_tangents
from reference.campaign.quantities import GROUPS, Group
from reference.compare import Comparer, Comparison, Leaf, Place, Verdict, worst_verdict
from reference.models.mlp import Params
from reference.noise.measure import ENUMERATED

# Which group of quantities a block is of, in turn; the matrices take by far the longest.
TURNS = (
    *("gradient", "rows", "products", "gradient", "weighted"),
    *("gradient", "rows", "products", "gradient", "matrices"),
)
XLA_EVERY = 49  # one block in so many is compiled as well, of each group in turn
MEASURED_EVERY = 21  # in one block in so many, of each group in turn, both witnesses are asked
XLA = "XLA beside NumPy"

REFUSED = "refused"  # rightly, by manual_nn: by the bound something may overflow
RAISED = "raised"  # an error where there should have been a result
VERDICTS = (*(verdict.value for verdict in Verdict), REFUSED, RAISED)
OVERFLOWS = "exceed the largest"  # what manual_nn says when it refuses
NOT_WRONG = (
    *(verdict.value for verdict in (Verdict.MATCH, Verdict.AMBIGUOUS, Verdict.BLIND)),
    *(Verdict.NOT_COMPARABLE.value, REFUSED),
)


class Plan(NamedTuple):
    """What the networks of a block have in common."""

    group: str
    shape: Shape
    dtype: str


class Case(NamedTuple):
    """A network with everything that any quantity needs, in the precision of its block."""

    params: Params
    tangents: Params
    X: Array  # (N, D)
    y: Array  # (N,) or (N, K)
    weight_decay: float
    sample_weight: Array  # (N,)
    max_norm: float

    def arguments(self, group: Group) -> tuple[Any, ...]:
        """Give the arguments of this group's functions."""
        return tuple(getattr(self, name) for name in group.arguments)


class Kind(NamedTuple):
    """What a case was drawn with."""

    trait: str
    layout: str
    magnitude: str


def plan_block(seed: int, block: int) -> Plan:
    """Draw what the networks of a block have in common.

    One to four layers, widths to 12, up to 16 rows; fewer of each for the matrices, whose size is
    the square of the number of parameters.
    """
    rng = np.random.default_rng([seed, block])
    group = TURNS[block % len(TURNS)]
    layers, width, rows = (3, 4, 5) if group == "matrices" else (4, 12, 16)
    sizes = rng.integers(1, width, size=rng.integers(2, layers + 1, endpoint=True), endpoint=True)
    N = int(rng.integers(1, rows, endpoint=True))
    shape = Shape(tuple(sizes.tolist()), N, soft=bool(rng.random() < 0.5))
    return Plan(group, shape, str(rng.choice(["float32", "float64"])))


def draw_case(seed: int, block: int, number: int) -> tuple[Kind, Case]:
    """Draw a case of a block: its kind, and its numbers."""
    _, shape, dtype = plan_block(seed, block)
    rng = np.random.default_rng([seed, block, number + 1])  # with a 0 it would be the plan's
    kind = Kind(
        str(rng.choice(TRAITS)),
        str(rng.choice(list(LAYOUTS))),
        str(rng.choice(MAGNITUDES, p=[0.55, 0.15, 0.1, 0.2])),
    )
    weight_decay = float(rng.choice([0.0, 2.0**-7, 10.0 ** rng.uniform(-8, 1)]))
    params, X, y, _ = make_network(
        shape,
        dtype,
        seed=[seed, block, number + 1, 1],
        trait=kind.trait,
        layout=kind.layout,
        magnitude=kind.magnitude,
    )
    tangents = make_tangents(params, seed=[seed, block, number + 1, 2], layout=kind.layout)
    sample_weight = rng.exponential(size=len(X)) * rng.integers(2, size=len(X))
    sample_weight[rng.integers(len(X))] = 1
    max_norm = 2.0 ** int(rng.integers(-8, 8))
    laid = LAYOUTS[kind.layout](sample_weight.astype(dtype))
    return kind, Case(params, tangents, X, y, weight_decay, laid, max_norm)


@dataclass
class Record:
    """What a block has shown.

    Attributes:
        block: its number.
        group, sizes, rows, soft, dtype: its plan.
        networks: how many there were.
        compiled: whether XLA compiled it as well.
        unbounded: of how many networks some bound is infinite.
        measured: of how many networks rounding was measured.
        overflowing: how many of them are still not comparable because JAX's value is not finite.
        uncertain: how many are because something may overflow in their precision.
        untried: how many are because they hang on more kinks than can be tried together.
        verdicts: how many networks had each verdict, for each quantity.
        worst: for each quantity the largest ratio of error to bound of a match, and the number
            of its case.
        found: the numbers of the cases with any verdict but a match, by verdict.
        seconds: how long it took.
        error: why the block could not be compared, if it could not; its first case stands for it.
    """

    block: int
    group: str
    sizes: list[int]
    rows: int
    soft: bool
    dtype: str
    networks: int
    compiled: bool
    unbounded: int = 0
    measured: int = 0
    overflowing: int = 0
    uncertain: int = 0
    untried: int = 0
    verdicts: dict[str, dict[str, int]] = field(default_factory=dict)
    worst: dict[str, tuple[float, int]] = field(default_factory=dict)
    found: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    @classmethod
    def read(cls, line: dict[str, Any]) -> "Record":
        """Make a record from its line in JSON."""
        worst = {quantity: (ratio, number) for quantity, (ratio, number) in line["worst"].items()}
        return cls(**{**line, "worst": worst})

    @property
    def wrong(self) -> list[int]:
        """List the numbers of the cases whose verdict means a mistake."""
        return [
            number
            for verdict, numbers in self.found.items()
            if verdict not in NOT_WRONG
            for number in numbers
        ]


class Compared(NamedTuple):
    """Cases of a block, compared.

    Attributes:
        record: what they have shown.
        leaves: all arrays of all cases, by the finest witness that was asked, by quantity; with an
            axis for the cases before the others.
        verdicts: the verdict of each case, for each quantity and for XLA.
        errors: what manual_nn said where it gave no result, by the place of the case.
    """

    record: Record
    leaves: dict[str, list[Leaf]]
    verdicts: dict[str, list[str]]
    errors: dict[int, str]


def compare_block(seed: int, block: int, networks: int) -> Record:
    """Draw the networks of a block, and compare all of them.

    An error does not end the campaign; it is kept in the block's record.
    """
    started = time.perf_counter()
    try:
        record = compare_cases(seed, block, range(networks), compiled=is_compiled(block)).record
    except Exception as error:  # by_hand's are caught; this one is of the comparison itself
        plan = plan_block(seed, block)
        record = _new_record(block, plan, networks, compiled=is_compiled(block))
        record.found[RAISED] = [0]
        record.error = f"{type(error).__name__}: {error}"
    record.seconds = round(time.perf_counter() - started, 3)
    return record


def is_compiled(block: int) -> bool:
    """Say whether XLA compiles a block of a campaign as well."""
    return block % XLA_EVERY == 0


def _new_record(block: int, plan: Plan, networks: int, *, compiled: bool) -> Record:
    sizes, rows, soft = plan.shape
    return Record(block, plan.group, list(sizes), rows, soft, plan.dtype, networks, compiled)


def compare_cases(
    seed: int, block: int, numbers: Sequence[int], *, compiled: bool, measured: bool = True
) -> Compared:
    """Draw cases of a block, and compare them all at once.

    Args:
        seed: the campaign's.
        block: the block's number.
        numbers: which of its cases; the record counts them from 0.
        compiled: compare with the function as XLA compiles it, and that with NumPy.
        measured: measure the rounding of those whose bound is infinite; else it is asked alone.
    """
    plan = plan_block(seed, block)
    group = GROUPS[plan.group]
    record = _new_record(block, plan, len(numbers), compiled=compiled)
    cases = [draw_case(seed, block, number)[1].arguments(group) for number in numbers]
    stacked = _stacked(cases)
    comparer = Comparer(jax.vmap(group.by_jax), *stacked)
    results = _Results(comparer, plan.dtype, len(numbers))
    for number, case in enumerate(cases):
        results.take(number, group, case)
    for number in _differing(_stacked(cases), stacked, len(numbers)):
        results.faults[number] = Verdict.MUTATED_INPUT.value
    place = comparer.at(*stacked, dtype=plan.dtype, compiled=compiled)
    by_quantity = place(results.tree).by_key()
    verdicts = _verdicts(by_quantity, results)
    left = Verdict.NOT_COMPARABLE.value
    unbounded = [number for number, of_one in _of_each(verdicts) if left in of_one]
    record.unbounded = len(unbounded)
    if measured and (chosen := unbounded + _one_more(record, unbounded, results)):
        # Both packages decide an exact tie alike, so that nothing may be moved off one.
        settled = [False] * len(jax.tree.leaves(cases[0]))
        of_one = Comparer(
            group.by_jax, *cases[0], measured=True, differentiated=settled, sparing=True
        )
        alone = _Alone(place, of_one, cases, results.tree)
        _measure(record, chosen, alone, by_quantity, verdicts)
    if compiled:
        by_xla = comparer(
            comparer.traced.by_xla(*stacked), *stacked, dtype=np.float64, compiled=False
        )
        by_quantity[XLA] = list(by_xla.leaves)
        verdicts[XLA] = _worst_of_each(by_xla.leaves)
    for quantity, leaves in by_quantity.items():
        _add(record, quantity, verdicts[quantity], leaves)
    return Compared(record, by_quantity, verdicts, results.errors)


def _one_more(record: Record, unbounded: list[int], results: "_Results") -> list[int]:
    """Choose, in one block of many, a network that the bound does say something of."""
    if (record.block + 1) % MEASURED_EVERY:
        return []
    others = {*unbounded, *results.errors, *results.faults}
    return [number for number in range(record.networks) if number not in others][:1]


def _of_each(verdicts: dict[str, list[str]]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Give the verdicts of each network, over the quantities."""
    return enumerate(zip(*verdicts.values(), strict=True))


class _Alone(NamedTuple):
    """Compares single networks of a block, by both witnesses."""

    place: Place
    comparer: Comparer
    cases: Sequence[tuple[Any, ...]]
    results: Any

    def __call__(self, number: int) -> Comparison:
        got = jax.tree.map(operator.itemgetter(number), self.results)
        return self.place.of_row(number, self.comparer, *self.cases[number])(got)


def _measure(
    record: Record,
    numbers: Sequence[int],
    alone: _Alone,
    by_quantity: dict[str, list[Leaf]],
    verdicts: dict[str, list[str]],
) -> None:
    """Measure the rounding of these networks, and take its bounds and verdicts for theirs."""
    for quantity, leaves in by_quantity.items():
        by_quantity[quantity] = [_copied(leaf) for leaf in leaves]
    for number in numbers:
        comparison = alone(number)
        worst, untried = Verdict.MATCH, False
        for quantity, leaves in comparison.by_key().items():
            for leaf, finer in zip(by_quantity[quantity], leaves, strict=True):
                leaf.bound[number] = finer.bound
                leaf.low[number], leaf.high[number] = finer.low, finer.high
            verdict = worst_verdict(_scaled(leaves))
            if verdict == Verdict.MISMATCH and comparison.open_kinks > ENUMERATED:
                # It may be right by a combination of kinks that no round has seen; NOISE.md.
                verdict, untried = Verdict.NOT_COMPARABLE, True
            verdicts[quantity][number] = verdict.value
            worst = max(worst, verdict, key=list(Verdict).index)
        record.measured += 1
        record.untried += untried
        if worst == Verdict.NOT_COMPARABLE and not untried:
            finite = all(np.isfinite(leaf.want).all() for leaf in comparison.leaves)
            record.uncertain += finite
            record.overflowing += not finite


def _copied(leaf: Leaf) -> Leaf:
    """Give a leaf whose bounds can be written to; several may share theirs."""
    bound, low, high = (np.array(array) for array in (leaf.bound, leaf.low, leaf.high))
    return dataclasses.replace(leaf, bound=bound, low=low, high=high)


def _scaled(leaves: Sequence[Leaf]) -> list[Leaf]:
    """Let a quantity's own largest element say how small an error must be to be seen."""
    real = [leaf.want[np.isfinite(leaf.want)] for leaf in leaves if leaf.want.dtype.kind == "f"]
    scale = max((float(abs(values).max(initial=0)) for values in real), default=0.0)
    return [dataclasses.replace(leaf, scale=scale) for leaf in leaves]


class _Results:
    """The results by hand, in arrays with an axis for the networks before the others."""

    def __init__(self, comparer: Comparer, dtype: str, networks: int) -> None:
        """Make the arrays, filled with NaN, which is what a refused case keeps."""
        traced = comparer.traced
        self.arrays = [
            np.full(aval.shape, np.nan, dtype)
            if aval.dtype.kind == "f"
            else np.zeros(aval.shape, np.intp)
            for aval in traced.jaxpr.out_avals
        ]
        self.structure = traced.structure
        self.tree = jax.tree.unflatten(traced.structure, self.arrays)
        self.refused = np.zeros(networks, bool)
        self.faults: dict[int, str] = {}
        self.errors: dict[int, str] = {}

    def take(self, number: int, group: Group, arguments: tuple[Any, ...]) -> None:
        """Compute a case by hand and keep its results, or what is wrong with them."""
        try:
            with np.errstate(all="ignore"):  # a magnitude may be huge
                results = group.by_hand(*arguments)
        except Exception as error:  # kept, whatever it is, and the rest goes on
            self.errors[number] = f"{type(error).__name__}: {error}"
            if isinstance(error, ValueError) and OVERFLOWS in str(error):
                self.refused[number] = True
            else:
                self.faults[number] = RAISED
            return
        structure: Any = jax.tree.structure(results)
        if structure != self.structure:
            self.faults[number] = Verdict.WRONG_STRUCTURE.value
            return
        for array, result in zip(
            self.arrays, map(np.asarray, jax.tree.leaves(results)), strict=True
        ):
            if result.shape != array.shape[1:]:
                self.faults[number] = Verdict.WRONG_SHAPE.value
            elif result.dtype != array.dtype:
                self.faults[number] = Verdict.WRONG_DTYPE.value
            else:
                array[number] = result


def _stacked(cases: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Stack the arrays of many cases along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *cases)


def _differing(one: Any, other: Any, networks: int) -> list[int]:
    """List the networks any of whose arrays differ."""
    differs = np.zeros(networks, bool)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        differs |= (a != b).reshape(networks, -1).any(axis=1)
    return np.flatnonzero(differs).tolist()


def _worst_of_each(leaves: Sequence[Leaf]) -> list[str]:
    """Give the worst verdict of each network, over the leaves."""
    by_leaf = ([verdict.value for verdict in leaf.verdicts()] for leaf in leaves)
    return [max(verdicts, key=VERDICTS.index) for verdicts in zip(*by_leaf, strict=True)]


def _verdicts(by_quantity: dict[str, list[Leaf]], results: _Results) -> dict[str, list[str]]:
    """Give the verdict of each network, for each quantity, under the proven bound.

    It is right to refuse a network if an element of any result may overflow: its bound is infinite.
    """
    networks = len(results.refused)
    may_overflow = np.zeros(networks, bool)
    for leaf in itertools.chain.from_iterable(by_quantity.values()):
        may_overflow |= ~np.isfinite(leaf.bound).reshape(networks, -1).all(axis=1)
    overruled = {
        number: REFUSED if may_overflow[number] else Verdict.MISMATCH.value
        for number in np.flatnonzero(results.refused).tolist()
    }
    overruled.update(results.faults)
    found = {quantity: _worst_of_each(leaves) for quantity, leaves in by_quantity.items()}
    for verdicts in found.values():
        for number, verdict in overruled.items():
            verdicts[number] = verdict
    return found


def _add(record: Record, quantity: str, verdicts: list[str], leaves: Sequence[Leaf]) -> None:
    """Record what the networks of a block have shown of one quantity."""
    record.verdicts[quantity] = dict(Counter(verdicts))
    ratios = np.max([leaf.ratio.reshape(len(verdicts), -1).max(axis=1) for leaf in leaves], axis=0)
    ratios = np.where(np.array(verdicts) == Verdict.MATCH.value, ratios, -1)
    if ratios.max() >= 0:
        record.worst[quantity] = (float(ratios.max()), int(ratios.argmax()))
    for number, verdict in enumerate(verdicts):
        if verdict != Verdict.MATCH.value:
            numbers = record.found.setdefault(verdict, [])
            if number not in numbers:
                numbers.append(number)
