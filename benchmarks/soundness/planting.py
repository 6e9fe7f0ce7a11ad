"""Plant a mistake in the backward pass of any loss: its tape run backwards, with one rule changed.

The loss is traced, and evaluated operation by operation onto a tape; loops are unrolled and calls
are entered. Backwards, each operation hands its derivatives down by the rule that JAX has for it,
but for those edges where a mistake is planted. It shares no code with the search that is tried on
what it plants: that one changes how the loss is differentiated, not what is handed down.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from benchmarks.soundness import planted_convolutions as convolutions
from benchmarks.soundness import planted_readers as readers
from benchmarks.soundness import planted_regions as regions
from benchmarks.soundness import planted_swaps as swaps
from benchmarks.soundness.planted_handed import OF_HANDED, summed_over_all
from reference.bounds.rules.calls import scan_counts
from reference.jaxprs import bind, closed

Path_: TypeAlias = tuple[int, ...]

CALLS = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2"}
JAX = str(Path(jax.__file__).parent)
EVERY, FIRST, LAST = "every", "first", "last"
FACTOR = "factor"


class Place(NamedTuple):
    """Where an array of the loss is made.

    Attributes:
        path: of the operation whose result it is; of the loop that gives it to its body, or () for
            the loss, whose argument it is.
        result: the number of the result; from -1 downwards that of what is given.
    """

    path: Path_
    result: int


class At(NamedTuple):
    """Where an evaluation is: an operation's path, and the steps of a loop as in `Step.when`."""

    path: Path_
    when: tuple[str, ...]


@dataclass
class Step:
    """An operation that was evaluated, or the entry of a call or a loop.

    Attributes:
        path: where in the loss it stands: its number, after those of what it is called by.
        eqn: the operation.
        function: gives its results for operands.
        operands: the values that it was given.
        reads: the numbers of these values.
        ins: the same, but None for what no derivative goes to.
        outs: the numbers of its results; for an entry of a call, of the values within.
        result: the number of the first result, seen from outside.
        pull: hands derivatives in the results down to all real operands; None for an entry.
        when: EVERY outside of loops; else the steps of the loop that this is one of.
        turn: how many times it was evaluated before.
    """

    path: Path_
    eqn: core.JaxprEqn
    function: Callable[..., Any]
    operands: list[Any]
    reads: Sequence[int]
    ins: Sequence[int | None]
    outs: Sequence[int]
    result: int | None
    pull: Callable[..., Any] | None
    when: tuple[str, ...]
    turn: int = 0


class Plant(NamedTuple):
    """A mistake on an edge.

    Attributes:
        path: of the operation.
        operand: that a wrong derivative is handed down to.
        kind: FACTOR, or a key of WRONG, STRANGE, SWAPS or REGIONS.
        factor: for the kind FACTOR; the learning rate of an update.
        when: at which steps, if it stands in a loop.
        array: that stands where another one belongs; of a region the one that it begins with.
        statistic: of a region, what takes the place of one.
        only: the argument, of those that are differentiated, in whose derivative alone it is made,
            as where each array's was written down for itself; None for all.
        formula: what is made of that array, by its name.
        axes: along which a region has its sums, or chooses in the first slice.
    """

    path: Path_
    operand: int
    kind: str
    factor: float = 1.0
    when: str = EVERY
    array: Place | None = None
    formula: str = ""
    axes: tuple[int, ...] = ()
    statistic: Place | None = None
    only: int | None = None


class Edge(NamedTuple):
    """Where an operation hands a derivative down, and the line that it is on."""

    path: Path_
    operand: int
    name: str
    file: str
    line: int
    step: Step
    looped: bool

    @property
    def out(self) -> Any:
        """What the result looks like."""
        return self.step.eqn.outvars[0].aval


def _is_real(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.floating))


@dataclass
class Tape:
    """A loss, evaluated at its arguments.

    Attributes:
        steps: in the order in which they were evaluated.
        values: by number.
        made: the numbers of the arrays of a place, one for each time that it is come to.
        loops: the paths of those that were unrolled.
        known_ways: from arrays, as `ways` gives them.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    places: Sequence[int]
    steps: list[Step] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    made: dict[Place, list[int]] = field(default_factory=dict)
    loops: set[Path_] = field(default_factory=set)
    known_ways: dict[int, dict[int, set[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Evaluate the loss."""
        traced = jax.make_jaxpr(self.function)(*self.args)
        leaves = jax.tree.leaves(self.args)
        self.inputs = [self._new(jnp.asarray(leaf)) for leaf in leaves]
        self._name((), self.inputs, given=True)
        (out,) = self._run(traced.jaxpr, traced.consts, self.inputs, At((), (EVERY,)))
        self.out = out
        counts = [len(jax.tree.leaves(arg)) for arg in self.args]
        starts = [0, *itertools.accumulate(counts)]
        self.active = [self.inputs[j] for i in self.places for j in range(*starts[i : i + 2])]

    def _new(self, value: Any) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def _name(self, path: Path_, numbers: Sequence[int], *, given: bool = False) -> None:
        for i, number in enumerate(numbers):
            self.made.setdefault(Place(path, -1 - i if given else i), []).append(number)

    def _run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int], at: At) -> list[int]:
        known: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
        known.update((var, self._new(x)) for var, x in zip(jaxpr.constvars, consts, strict=True))

        def number(atom: Any) -> int:
            is_literal = isinstance(atom, core.Literal)
            return self._new(jnp.asarray(atom.val)) if is_literal else known[atom]

        for i, eqn in enumerate(jaxpr.eqns):
            ins = [number(atom) for atom in eqn.invars]
            outs = self._operation(eqn, ins, at._replace(path=(*at.path, i)))
            known.update(zip(eqn.outvars, outs, strict=True))
        return [number(atom) for atom in jaxpr.outvars]

    def _operation(self, eqn: Any, ins: list[int], at: At) -> list[int]:
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        if eqn.primitive.name in CALLS and inner is not None:
            inner = closed(inner)
            entry, within = self._entry(eqn, core.jaxpr_as_fun(inner), ins, at)
            outs = self._run(inner.jaxpr, inner.consts, within, at)
            entry.result = outs[0]
            return outs
        if eqn.primitive.name == "scan":
            return self._loop(eqn, ins, at.path)
        return self._apply(eqn, lambda *xs: bind(eqn, xs), ins, at)

    def _apply(self, eqn: Any, function: Any, ins: Sequence[int], at: At) -> list[int]:
        operands = [self.values[i] for i in ins]
        real = [i for i, x in enumerate(operands) if _is_real(x)]

        def of_real(*chosen: Any) -> Any:
            given = list(operands)
            for i, x in zip(real, chosen, strict=True):
                given[i] = x
            return list(function(*given))

        results, pull = jax.vjp(of_real, *(operands[i] for i in real))
        outs = [self._new(x) for x in results]
        sources = [ins[i] if i in real else None for i in range(len(operands))]
        turn = len(self.made.get(Place(at.path, 0), ())) if at.path else 0
        self.steps.append(
            Step(at.path, eqn, function, operands, ins, sources, outs, outs[0], pull, at.when, turn)
        )
        if at.path:
            self._name(at.path, outs)
        return outs

    def _entry(self, eqn: Any, function: Any, ins: Sequence[int], at: At) -> tuple[Step, list[int]]:
        operands = [self.values[i] for i in ins]
        within = [self._new(x) for x in operands]
        sources = [i if _is_real(x) else None for i, x in zip(ins, operands, strict=True)]
        entry = Step(at.path, eqn, function, operands, ins, sources, within, None, None, at.when)
        self.steps.append(entry)
        return entry, within

    def _loop(self, eqn: Any, ins: list[int], path: Path_) -> list[int]:
        """Run a loop step by step; what it stacks up and what it takes apart are steps too."""
        self.loops.add(path)
        params, body = eqn.params, closed(eqn.params["jaxpr"])
        (count, carried), length = scan_counts(params), params["length"]
        end = count + carried
        order = range(length)[:: -1 if params["reverse"] else 1]
        _, within = self._entry(eqn, lambda *xs: bind(eqn, xs), ins, At(path, (EVERY,)))
        consts, carry, xs = within[:count], within[count:end], within[end:]
        stacked: list[list[int]] = []
        for t in order:
            at = At(path, (EVERY, *[FIRST] * (t == 0), *[LAST] * (t == length - 1)))
            take = functools.partial(_taken, t)
            now = [self._apply(eqn, take, [x], at._replace(path=()))[0] for x in xs]
            self._name(path, [*consts, *carry, *now], given=True)
            outs = self._run(body.jaxpr, body.consts, [*consts, *carry, *now], at)
            carry = outs[:carried]
            stacked.append(outs[carried:])
        results = list(carry)
        for ys in zip(*stacked[:: order.step], strict=True):
            results += self._apply(eqn, _stacked, ys, At((), (EVERY,)))
        return results

    def edges(self) -> list[Edge]:
        """List the edges on which something is handed down, each once."""
        found: dict[tuple[Path_, int], Edge] = {}
        lines: dict[Path_, tuple[str, int]] = {}  # of a call, for what is within it without one
        reached = set(self.active)
        for step in self.steps:
            if not reached.intersection(i for i in step.ins if i is not None):
                continue
            if step.pull is None:
                inner = zip(step.ins, step.outs, strict=True)
                reached.update(out for source, out in inner if source in reached)
            else:
                reached.update(step.outs)
            if not step.path:
                continue
            file, line = line_of(step.eqn)
            if not file:
                file, line = lines.get(step.path[:-1], ("", 0))
            lines[step.path] = file, line
            for operand, source in enumerate(step.ins):
                if source in reached and (step.path, operand) not in found:
                    found[step.path, operand] = Edge(
                        step.path, operand, name_of(step.eqn), file, line, step, len(step.when) > 1
                    )
        looped = {step.path for step in self.steps if step.when != (EVERY,)}
        return [edge._replace(looped=edge.path in looped) for edge in found.values()]

    def gradient(self, plants: Sequence[Plant] = ()) -> list[Any]:
        """Go backwards, with these mistakes, once more for each array that has some for itself."""
        common = [plant for plant in plants if plant.only is None]
        found = self._backwards(common)
        for only in {plant.only for plant in plants if plant.only is not None}:
            own = [plant for plant in plants if plant.only == only]
            found[only] = self._backwards([*common, *own])[only]
        return found

    def _backwards(self, plants: Sequence[Plant]) -> list[Any]:
        planted: dict[Path_, list[Plant]] = {}
        for plant in plants:
            planted.setdefault(plant.path, []).append(plant)
        cotangents: dict[int, Any] = {self.out: jnp.ones_like(self.values[self.out])}
        for step in reversed(self.steps):
            handed = self._handed(step, cotangents)
            if handed is None:
                continue
            d_out = cotangents.get(-1 if step.result is None else step.result)
            for plant in planted.get(step.path, ()):
                if plant.kind in REGIONS:
                    self._add_of_region(plant, d_out, cotangents)
                elif plant.when in step.when and plant.operand in handed:
                    right, z = handed[plant.operand], self.taken(plant, step)
                    handed[plant.operand] = wrong(plant, step, d_out, right, z)
            for operand, d_x in handed.items():
                source = step.ins[operand]
                if source is not None:
                    before = cotangents.get(source)
                    cotangents[source] = d_x if before is None else before + d_x
        zeros = (jnp.zeros_like(self.values[i]) for i in self.active)
        return [
            np.asarray(cotangents.get(i, zero)) for i, zero in zip(self.active, zeros, strict=True)
        ]

    def taken(self, plant: Plant, step: Step) -> Any:
        """Give what stands where another array belongs, at a step of a loop that of this step."""
        if plant.array is None:
            return None
        numbers = self.made[plant.array]
        number = numbers[step.turn if len(numbers) > 1 else 0]
        if plant.kind == swaps.UPDATED:
            return self.values[number] - plant.factor * self.right[number]
        if plant.kind == regions.OF_GROUP:
            own = np.asarray(step.operands[1 - plant.operand])
            return jnp.asarray(regions.of_another_group(np.asarray(self.values[number]), own))
        return swaps.FORMULAS[plant.formula](self.values[number])

    @functools.cached_property
    def right(self) -> dict[int, Any]:
        """The right gradient, by the numbers of the arguments."""
        return dict(zip(self.active, self.gradient(), strict=True))

    def through(self, source: int, out: int) -> Callable[[Any], Any]:
        """Give a result as a function of an array, while whatever else is read stays as it is."""
        last = next(i for i, step in enumerate(self.steps) if out in step.outs and step.pull)
        ahead = [step for step in self.steps[: last + 1] if step.outs]

        def function(x: Any) -> Any:
            found = {source: x}
            for step in ahead:
                if not any(i in found for i in step.reads):
                    continue
                given = [
                    found.get(i, old) for i, old in zip(step.reads, step.operands, strict=True)
                ]
                if step.pull is None:
                    pairs = zip(step.reads, step.outs, given, strict=True)
                    found.update((to, x) for i, to, x in pairs if i in found)
                else:
                    results = zip(step.outs, step.function(*given), strict=True)
                    found.update((to, x) for to, x in results if to != source)
            return found[out]

        return function

    def leads_past(self, source: int, out: int) -> bool:
        """Say whether a way leads from an array to the loss that is not through a result."""
        reached = {source}
        for step in self.steps:
            if step.pull is None:
                inner = zip(step.ins, step.outs, strict=True)
                reached.update(to for i, to in inner if i in reached)
            elif not reached.isdisjoint(step.ins):
                reached.update(step.outs)
            reached.discard(out)
        return self.out in reached

    def depends(self, source: int, out: int) -> set[str]:
        """Name the operations on the ways from an array to a result; none if there is no way."""
        return self.ways(source).get(out, set())

    def ways(self, source: int) -> dict[int, set[str]]:
        """Name for each array that depends on one the operations on the ways to it."""
        if source not in self.known_ways:
            reached: dict[int, set[str]] = {source: set()}
            for step in self.steps:
                if step.pull is None:
                    inner = zip(step.reads, step.outs, strict=True)
                    reached.update((to, reached[i]) for i, to in inner if i in reached)
                elif names := [reached[i] for i in step.reads if i in reached]:
                    own = {step.eqn.primitive.name}
                    reached.update(dict.fromkeys(step.outs, own.union(*names)))
            self.known_ways[source] = reached
        return self.known_ways[source]

    def value(self, place: Place) -> Any:
        """Give an array, in a loop that of the first step."""
        return self.values[self.made[place][0]]

    def ends(self, plant: Plant) -> tuple[int, int]:
        """Give the numbers of the array and of the result that a region lies between."""
        assert plant.array is not None, plant
        ((source,), (out,)) = self.made[plant.array], self.made[Place(plant.path, 0)]
        return source, out

    def _add_of_region(self, plant: Plant, d_out: Any, cotangents: Any) -> None:
        """Hand the array that a region begins with more, by what the mistake makes of it."""
        source, out = self.ends(plant)
        x, result = (np.asarray(self.values[i]) for i in (source, out))
        (right,) = jax.vjp(self.through(source, out), self.values[source])[1](d_out)
        other = jnp.asarray(REGIONS[plant.kind](self, plant, x, result, np.asarray(d_out)), x.dtype)
        before = cotangents.get(source)
        cotangents[source] = other - right + (0 if before is None else before)

    def _handed(self, step: Step, cotangents: dict[int, Any]) -> dict[int, Any] | None:
        real = [i for i, source in enumerate(step.ins) if source is not None]
        if step.pull is None:
            handed = {i: cotangents.get(step.outs[i]) for i in real}
            found = {i: x for i, x in handed.items() if x is not None}
            return found or None
        given = [cotangents.get(out) for out in step.outs]
        if all(x is None for x in given):
            return None
        full: list[Any] = []
        for out, x in zip(step.outs, given, strict=True):
            value = self.values[out]
            if not _is_real(value):
                full.append(np.zeros(value.shape, jax.dtypes.float0))
            else:
                full.append(jnp.zeros_like(value) if x is None else x)
        return dict(zip(real, step.pull(full), strict=True))


def _taken(t: int, x: Any) -> list[Any]:
    return [x[t]]


def _stacked(*items: Any) -> list[Any]:
    return [jnp.stack(items)]


def line_of(eqn: core.JaxprEqn) -> tuple[str, int]:
    """Find the line of the loss that an operation comes from."""
    return next(iter(lines_of(eqn)), ("", 0))


def lines_of(eqn: core.JaxprEqn) -> list[tuple[str, int]]:
    """List the line of the loss that an operation comes from, and those that have called it."""
    traceback: Any = eqn.source_info.traceback
    return [
        (str(frame.file_name), int(frame.line_num))
        for frame in (traceback.frames if traceback else [])
        if not frame.file_name.startswith(JAX) and frame.file_name != __file__
    ]


def name_of(eqn: core.JaxprEqn) -> str:
    """Name an operation by its primitive, or by the function that is called."""
    if eqn.primitive.name in CALLS and eqn.params.get("name"):
        return str(eqn.params["name"])
    inner = eqn.params.get("call_jaxpr")
    debug = getattr(getattr(inner, "jaxpr", None), "debug_info", None)
    if eqn.primitive.name.startswith("custom_") and debug is not None:
        return str(debug.func_name)
    return eqn.primitive.name


# What may be handed down in place of the right derivative


class Given(NamedTuple):
    """What a wrong rule has to work with.

    Attributes:
        step: the operation.
        operand: whose derivative is asked for.
        x: its value.
        d_out: the derivative in the operation's result.
        right: what should be handed down.
    """

    step: Step
    operand: int
    x: Any
    d_out: Any
    right: Any

    def first(self, *operands: Any) -> Any:
        """Give the operation's first result."""
        return self.step.function(*operands)[0]

    def pull(self, d_out: Any, **replaced: Any) -> Any:
        """Hand another derivative down, or at other operands: `x` and `other`."""
        operands = list(self.step.operands)
        if "other" in replaced:
            operands[1 - self.operand] = replaced["other"]
        x = replaced.get("x", self.x)

        def of_x(x: Any) -> Any:
            return self.first(*operands[: self.operand], x, *operands[self.operand + 1 :])

        return jax.vjp(of_x, x)[1](d_out)[0]


Rule: TypeAlias = Callable[[Given], Any]
LINEAR = {
    "add", "sub", "neg", "mul", "reduce_sum", "broadcast_in_dim", "convert_element_type", "copy",
    "reshape", "squeeze", "transpose", "slice", "gather", "dynamic_slice", "concatenate",
    "dot_general", "cumsum", "add_any", "rev", "split", "pad", "expand_dims",
}  # fmt: skip
MASKS = {"max", "min", "select_n", "relu", "_where", "abs"}


def _bends(edge: Edge) -> bool:
    """Say whether an edge is of an operation that acts on each element by itself, and bends it."""
    shape = jnp.shape(edge.step.operands[edge.operand])
    return shape == _out_shape(edge) and edge.name not in LINEAR | {"scan"}


def _values(edge: Edge) -> tuple[Any, Any]:
    """Give an operand and the result."""
    return edge.step.operands[edge.operand], edge.step.function(*edge.step.operands)[0]


def _out_shape(edge: Edge) -> tuple[int, ...]:
    out: Any = edge.step.eqn.outvars[0]
    return tuple(out.aval.shape)


def _in_shape(edge: Edge) -> tuple[int, ...]:
    return tuple(jnp.shape(edge.step.operands[edge.operand]))


def _same_pair(edge: Edge) -> bool:
    shapes = [jnp.shape(x) for x in edge.step.operands]
    return edge.name in {"mul", "dot_general"} and len(shapes) == 2 and shapes[0] == shapes[1]


def _square_other(edge: Edge) -> bool:
    if edge.name != "dot_general":
        return False
    shape = jnp.shape(edge.step.operands[1 - edge.operand])
    return len(shape) > 1 and shape[-1] == shape[-2]


def _spread(edge: Edge) -> bool:
    """Say whether an operand is broadcast along the rows."""
    x, out = _in_shape(edge), _out_shape(edge)
    if len(out) < 1 or out[0] < 2 or edge.name in {"dot_general", "mul", "div"}:
        return False
    if edge.name == "broadcast_in_dim":
        return 0 not in edge.step.eqn.params["broadcast_dimensions"] or (
            len(x) == len(out) and x[0] == 1
        )
    return len(x) == len(out) and x[0] == 1 and edge.name in {"add", "sub"}


def _square(edge: Edge) -> bool:
    """Say whether what is summed, or broadcast, has two axes that may be taken for each other."""
    x, out = _in_shape(edge), _out_shape(edge)
    large, small = (x, out) if edge.name == "reduce_sum" else (out, x)
    fits = edge.name in {"reduce_sum", "broadcast_in_dim"} and len(large) == 2
    return (
        fits and large[0] == large[1] > 1 and small in {large[:1], (1, *large[:1]), (*large[:1], 1)}
    )


def _gathered(edge: Edge) -> bool:
    return edge.name == "gather" and edge.operand == 0


def _diagonal(given: Given) -> Any:
    size = given.x.shape[-1]
    columns = []
    for j in range(size):
        unit = jnp.zeros_like(given.x).at[..., j].set(1)
        columns.append(given.pull(unit)[..., j])
    return jnp.stack(columns, axis=-1) * given.d_out


def _row(row: int) -> Rule:
    def rule(given: Given) -> Any:
        return given.pull(jnp.zeros_like(given.d_out).at[row].set(given.d_out[row]))

    return rule


def _written_over(given: Given) -> Any:
    x = np.asarray(given.x)
    places = np.arange(x.size, dtype=np.float64).reshape(x.shape)
    operands = list(given.step.operands)
    operands[0] = jnp.asarray(places)
    read = np.asarray(given.step.function(*operands)[0]).astype(int).ravel()
    d_x = np.zeros(x.size, x.dtype)
    for place, d in zip(read, np.asarray(given.d_out).ravel(), strict=True):
        d_x[place] = d
    return jnp.asarray(d_x.reshape(x.shape))


def _other_axis(given: Given) -> Any:
    summed = given.d_out.size < given.x.size
    return given.right.T if summed else given.pull(given.d_out.T)


class Kind(NamedTuple):
    """A kind of mistake: where it can be made, and what it hands down."""

    fits: Callable[[Edge], bool]
    rule: Rule


WRONG: dict[str, Kind] = {
    "identity": Kind(
        lambda edge: (
            (_bends(edge) or edge.name in {"mul", "div"}) and _in_shape(edge) == _out_shape(edge)
        ),
        lambda given: given.d_out,
    ),
    "at_the_result": Kind(
        lambda edge: _bends(edge) and len(edge.step.operands) == 1,
        lambda given: given.pull(given.d_out, x=given.first(*given.step.operands)),
    ),
    "inverted": Kind(
        lambda edge: _bends(edge) and edge.name in MASKS, lambda given: given.d_out - given.right
    ),
    "applied_twice": Kind(_bends, lambda given: given.pull(given.right)),
    "diagonal_alone": Kind(
        lambda edge: edge.name in {"softmax", "log_softmax"} and 1 < _in_shape(edge)[-1] <= 32,
        _diagonal,
    ),
    "softmax_on_top": Kind(
        lambda edge: edge.name == "log_softmax",
        lambda given: given.right * (p := jax.nn.softmax(given.x)) * (1 - p),
    ),
    "sigmoid_on_top": Kind(
        lambda edge: edge.name in {"softplus", "log_sigmoid", "logaddexp"},
        lambda given: given.right * (p := 1 / (1 + jnp.exp(-given.x))) * (1 - p),
    ),
    "all_of_the_compared": Kind(
        lambda edge: (
            edge.name == "reduce_max" and len(_in_shape(edge)) == len(_out_shape(edge)) + 1
        ),
        lambda given: jnp.broadcast_to(
            jnp.expand_dims(given.d_out, given.step.eqn.params["axes"]), given.x.shape
        ),
    ),
    "other_operand": Kind(_same_pair, lambda given: given.pull(given.d_out, other=given.x)),
    "transposed": Kind(
        _square_other,
        lambda given: given.pull(
            given.d_out, other=given.step.operands[1 - given.operand].swapaxes(-1, -2)
        ),
    ),
    "last_row_only": Kind(_spread, _row(-1)),
    "first_row_only": Kind(_spread, _row(0)),
    "summed_over_all": Kind(_spread, summed_over_all),
    "other_axis": Kind(_square, _other_axis),
    "last_reader_only": Kind(_gathered, _written_over),
    "index_too_high": Kind(_gathered, lambda given: jnp.roll(given.right, 1, axis=0)),
    "index_too_low": Kind(_gathered, lambda given: jnp.roll(given.right, -1, axis=0)),
}


Fits: TypeAlias = Callable[[convolutions.Pass, int], bool]


def _fits_convolution(edge: Edge, fits: Fits) -> bool:
    params = edge.step.eqn.params
    if edge.name != "conv_general_dilated" or not convolutions.is_plain(params):
        return False
    out: Any = edge.step.eqn.outvars[0]
    now = convolutions.right_pass(edge.step.operands, np.zeros(out.aval.shape), params)
    return fits(now, edge.operand)


def _in_convolution(given: Given, wrong: convolutions.Wrong) -> Any:
    params = given.step.eqn.params
    now = convolutions.right_pass(given.step.operands, given.d_out, params)
    order = params["dimension_numbers"][given.operand]
    return jnp.asarray(wrong(now, given.operand).transpose(np.argsort(order)))


def _of_convolution(fits: Fits, wrong: convolutions.Wrong) -> Kind:
    return Kind(
        lambda edge: _fits_convolution(edge, fits), lambda given: _in_convolution(given, wrong)
    )


def _of_pad(start: Callable[[int], int]) -> Kind:
    def rule(given: Given) -> Any:
        params, shape = given.step.eqn.params, jnp.shape(given.x)
        return jnp.asarray(convolutions.cut(given.d_out, shape, params, start))

    def fits(edge: Edge) -> bool:
        is_pad = edge.name == "pad" and edge.operand == 0
        return is_pad and convolutions.is_padded_on_both_sides(edge.step.eqn.params)

    return Kind(fits, rule)


def _of_log_softmax(back: Callable[[Any, Any], Any], axes: int = 1) -> Kind:
    """Make a mistake of d_z = d_out - p sum(d_out), of d_out and p."""
    return Kind(
        lambda edge: edge.name == "log_softmax" and len(_in_shape(edge)) >= axes,
        lambda given: back(given.d_out, jax.nn.softmax(given.x)),
    )


WRONG |= {
    "last_copy_only": Kind(
        lambda edge: (
            edge.name == "broadcast_in_dim"
            and _in_shape(edge)[:1] == _out_shape(edge)[:1] != ()
            and _in_shape(edge) != _out_shape(edge)
        ),
        _written_over,
    ),
    "sum_forgotten": _of_log_softmax(lambda d_out, p: d_out - p),
    "sum_forgotten_and_added": _of_log_softmax(lambda d_out, p: d_out + p),
}


def _summed_along(axis: int) -> Kind:
    return _of_log_softmax(
        lambda d_out, p: d_out - p * d_out.sum(axis, keepdims=True), max(axis + 1, 2)
    )


WRONG |= {f"summed_along_{axis}": _summed_along(axis) for axis in range(3)}


# All that an array is handed

ON_TOP: dict[str, Callable[[Any], Any]] = {
    "sigmoid_on_top_of_all": jax.nn.sigmoid,
    "softmax_on_top_of_all": jax.nn.softmax,
}


def _on_top(p_of: Callable[[Any], Any]) -> Kind:
    def rule(given: Given) -> Any:
        p = p_of(given.x)
        return given.right * p * (1 - p)

    return Kind(lambda edge: bool(_in_shape(edge)), rule)


OF_ALL = {name: _on_top(p_of) for name, p_of in ON_TOP.items()}  # edges that read one array


# Ties, windows, and the order of copies


def _of_windows(given: Given, *, backwards: bool = False) -> Any:
    out = np.asarray(given.first(*given.step.operands))
    arrays = np.asarray(given.x), out, np.asarray(given.d_out)
    return jnp.asarray(readers.written(*arrays, backwards=backwards))


def _overlaps(edge: Edge) -> bool:
    arrays = map(np.asarray, _values(edge))
    return edge.name == "reduce_window_max" and readers.read_twice(*arrays)


def _swapped(axis: int) -> Kind:
    """Take two axes of the copies in each other's place."""

    def fits(edge: Edge) -> bool:
        x, out = _in_shape(edge), _out_shape(edge)
        copied = edge.name == "broadcast_in_dim" and 0 < len(x) < len(out)
        return copied and axis + 1 < len(out) and min(out[axis : axis + 2]) > 1

    def rule(given: Given) -> Any:
        shape = list(given.d_out.shape)
        shape[axis : axis + 2] = shape[axis : axis + 2][::-1]
        return given.pull(given.d_out.reshape(shape).swapaxes(axis, axis + 1))

    return Kind(fits, rule)


def _tiled_axes(edge: Edge) -> list[int]:
    pairs = zip(_in_shape(edge), _out_shape(edge), strict=True)
    return [i for i, (n, m) in enumerate(pairs) if n != m]


def _repeated(given: Given) -> Any:
    shape = given.x.shape
    (axis,) = (i for i, n in enumerate(shape) if n != given.d_out.shape[i])
    copies = given.d_out.shape[axis] // shape[axis]
    return given.d_out.reshape(*shape[: axis + 1], copies, *shape[axis + 1 :]).sum(axis + 1)


def _whole_to_each(given: Given) -> Any:
    axes = given.step.eqn.params["axes"]
    largest, d_out = (
        jnp.expand_dims(x, axes) for x in (given.first(*given.step.operands), given.d_out)
    )
    return jnp.where(given.x == largest, d_out, 0)


WRONG |= {
    "last_window_only": Kind(_overlaps, _of_windows),
    "first_window_only": Kind(_overlaps, functools.partial(_of_windows, backwards=True)),
    "repeated_not_tiled": Kind(
        lambda edge: edge.name == "tile" and len(_tiled_axes(edge)) == 1, _repeated
    ),
    "whole_to_each_tied": Kind(lambda edge: edge.name == "reduce_max", _whole_to_each),
    "whole_to_both_tied": Kind(
        lambda edge: edge.name == "max" and _in_shape(edge) == _out_shape(edge),
        lambda given: jnp.where(given.x == given.first(*given.step.operands), given.d_out, 0),
    ),
}
WRONG |= {f"copies_in_another_order_{axis}": _swapped(axis) for axis in range(3)}
WRONG |= {name: _of_convolution(*kind) for name, kind in convolutions.OF_CONVOLUTIONS.items()}
WRONG |= {name: _of_pad(start) for name, start in convolutions.OF_PADS.items()}
WRONG |= {name: Kind(*kind) for name, kind in OF_HANDED.items()}

# What the search names, and no check of a loss is wrong for
NOT_PLANTED = {
    "passes_at_zero": "where an operand is exactly 0 it is another subgradient, which is a match",
}

# What the search does not see of some kinds, beside what it doubts
WHY_UNKNOWN = dict.fromkeys(
    readers.OF_SUMS, "the sum is a product with an array, such as a constant, within a function"
)

# What the search knows nothing of
STRANGE: dict[str, Kind] = {
    "rows moved by one": Kind(
        lambda edge: bool(_in_shape(edge)), lambda given: jnp.roll(given.right, 1, axis=0)
    ),
    "clipped": Kind(
        lambda _: True,
        lambda given: jnp.clip(
            given.right, -abs(given.right).max() / 2, abs(given.right).max() / 2
        ),
    ),
    "its square": Kind(lambda _: True, lambda given: given.right**2),
}


# Of several operations together

Region: TypeAlias = Callable[[Tape, Plant, Any, Any, Any], Any]


def _of_normal(kind: str) -> Region:
    _, back = regions.OF_NORMALS[kind]

    def region(_: Tape, plant: Plant, x: Any, out: Any, d_out: Any) -> Any:
        normal = regions.normal_of(x, out)
        assert normal is not None, plant
        return back(normal, x, out, d_out, plant.axes)

    return region


def _of_constants(tape: Tape, plant: Plant, x: Any, out: Any, d_out: Any) -> Any:
    normal = regions.normal_of(x, out)
    assert normal is not None, plant
    assert plant.statistic is not None, plant
    return regions.of_constants(normal, x, d_out, np.asarray(tape.value(plant.statistic)))


def _of_readers(back: readers.Back) -> Region:
    def region(tape: Tape, plant: Plant, x: Any, _: Any, d_out: Any) -> Any:
        return back(tape.through(*tape.ends(plant)), x, d_out)

    return region


def _in_the_first(tape: Tape, plant: Plant, x: Any, out: Any, d_out: Any) -> Any:
    (axis,) = plant.axes
    return _of_readers(readers.in_the_first(axis))(tape, plant, x, out, d_out)


REGIONS: dict[str, Region] = {
    **{kind: _of_normal(kind) for kind in regions.OF_NORMALS},
    regions.OTHER_STATISTICS: _of_constants,
    regions.LEFT_OUT: lambda _tape, _plant, _x, _out, d_out: d_out,
    **{kind: _of_readers(back) for kind, back in (readers.OF_CHOSEN | readers.OF_SUMS).items()},
    readers.IN_THE_FIRST: _in_the_first,
}


class MisfitError(ValueError):
    """What is handed down has not the shape of the operand: no mistake that anybody makes."""


def wrong(plant: Plant, step: Step, d_out: Any, right: Any, z: Any = None) -> Any:
    """Give what is handed down in place of the right derivative; with z where it takes another.

    Raises:
        MisfitError: it has another shape, as where an array of all rows takes the place of one.
    """
    if plant.kind == FACTOR:
        return (right * plant.factor).astype(right.dtype)
    given = Given(step, plant.operand, step.operands[plant.operand], d_out, right)
    if plant.kind == regions.OF_GROUP:
        d_x = d_out * z
    elif plant.kind in swaps.SWAPS:
        d_x = swaps.SWAPS[plant.kind](given, z)
    else:
        d_x = (WRONG | OF_ALL | STRANGE)[plant.kind].rule(given)
    if d_x.shape != right.shape:
        raise MisfitError(f"{plant.kind} hands down {d_x.shape} for {right.shape}")
    return d_x.astype(right.dtype)


def factors(edge: Edge) -> Iterator[float]:
    """List what may be forgotten or counted twice: signs, twos, lengths of axes and their roots."""
    yield from (0.0, -1.0, 2.0, 0.5)
    for n in sorted({n for n in (*_in_shape(edge), *_out_shape(edge)) if n > 1}):
        yield from (float(n), 1 / n, n**0.5, n**-0.5)
