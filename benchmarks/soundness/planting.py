"""Plant a mistake in the backward pass of any loss: its tape run backwards, with one rule changed.

The loss is traced, and evaluated operation by operation onto a tape; loops are unrolled and calls
are entered. Backwards, each operation hands its derivatives down by the rule that JAX has for it,
but for those edges where a mistake is planted. It shares no code with the search that is tried on
what it plants: that one changes how the loss is differentiated, not what is handed down.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from benchmarks.soundness import planted_readers as readers
from benchmarks.soundness import planted_regions as regions
from benchmarks.soundness import planted_swaps as swaps
from benchmarks.soundness.edges import Edge, Given, Path_, Step
from benchmarks.soundness.planted_operations import OF_ALL, STRANGE, WRONG
from reference.bounds.rules.calls import scan_counts
from reference.jaxprs import bind, closed

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
                    right, z = handed[plant.operand], self.taken(plant, step, plants)
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

    def taken(self, plant: Plant, step: Step, plants: Sequence[Plant]) -> Any:
        """Give what stands where another array belongs, at a step of a loop that of this step.

        A parameter is updated by the gradient that it has with all other mistakes.
        """
        if plant.array is None:
            return None
        numbers = self.made[plant.array]
        number = numbers[step.turn if len(numbers) > 1 else 0]
        if plant.kind == swaps.UPDATED:
            others = [other for other in plants if other is not plant]
            gradient = self._backwards(others) if others else self.right.values()
            step_of = dict(zip(self.active, gradient, strict=True))
            return self.values[number] - plant.factor * step_of[number]
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
        multiplied = {swaps.FACTOR_OF: d_out, swaps.TOO_MANY: right}.get(plant.kind, z)
        try:
            np.broadcast_shapes(np.shape(multiplied), np.shape(z))
        except ValueError as error:
            raise MisfitError(f"{plant.kind} cannot be multiplied: {error}") from error
        d_x = swaps.SWAPS[plant.kind](given, z)
    else:
        d_x = (WRONG | OF_ALL | STRANGE)[plant.kind].rule(given)
    if d_x.shape != right.shape:
        raise MisfitError(f"{plant.kind} hands down {d_x.shape} for {right.shape}")
    return d_x.astype(right.dtype)
