"""Find the array of a loss that stands in a derivative where another one belongs.

There are as many candidates as pairs of an edge and an array of the same shape, times what people
make of an array to have a derivative. None of them is tried as it is. With r a direction of the
arguments, x' the change of an array x along it and d_x what a mistake hands down to x too much,

    r . (wrong gradient - right gradient) = x' . d_x,

so that a few directions r, drawn at random, give for all arrays at once what tells one candidate in
some 10^12 from the others. What is left is differentiated as it is, and judged as any mistake.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from reference.arrays import Array
from reference.bounds.tracing import precise_jax
from reference.diagnosis.edges.along import Along, alone, of_edge, of_region
from reference.diagnosis.edges.flow import Flow
from reference.diagnosis.edges.kinds import REGIONS
from reference.diagnosis.edges.mistakes import Shapes
from reference.diagnosis.edges.operations import PRODUCTS, entered, shapes_at
from reference.diagnosis.edges.recorded import DIRECTIONS, literal, recorded, recorded_beside
from reference.diagnosis.edges.regions import ELEMENTWISE
from reference.diagnosis.edges.skipped import LEFT_OUT
from reference.diagnosis.edges.statistics import (
    OTHER_STATISTICS,
    ends,
    normalised,
    operations_of,
    statistics_of,
)
from reference.diagnosis.edges.swaps import (
    ANOTHER_FACTOR,
    ANOTHER_VALUE,
    FACTOR_TOO_MANY,
    FORMULAS,
    ITSELF,
)
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import Edge, Swap, Tap, Value
from reference.limit import Limit

AT_ONCE = 2**23  # numbers of candidates that are multiplied out together
NEAR = 1 / 64  # of what is allowed, within which an error is beside others
ALIKE = 12  # arrays that are tried in the place of one statistic
ROUNDED = 64 * float(np.finfo(np.float64).eps)
BENT = {"div", "pow", "atan2", "rem"}  # functions of two operands with a derivative at each point


class Candidate(NamedTuple):
    """A mistake that may be what is looked for.

    Attributes:
        taps: one, or all of those that hand down to one array.
        size: of the array that is handed down wrongly.
        off: how far the error is from it along the directions, in parts of what is allowed.
        beside: the number of another mistake that is made, too; None if there is no other.
    """

    taps: tuple[Tap, ...]
    size: int
    off: float = 0.0
    beside: int | None = None


class Beside(NamedTuple):
    """A mistake beside which another array may stand where one belongs.

    Attributes:
        taps: that are set.
        change: of the gradient, at setting 1.
        is_fitted: whether the setting is any number; or else it is 1.
    """

    taps: tuple[Tap, ...]
    change: Array
    is_fitted: bool


class Substitutes:
    """The search for an array in the place of another one.

    Args:
        tapped: the loss.
        error: what was handed in, less the right gradient; 0 in arrays that are right.
        scale: how far a right gradient may be off, in each element; infinite where anything may be.
        limit: after which it stops.
        beside: other mistakes, one of which is made, too.
    """

    def __init__(
        self,
        tapped: Tapped,
        error: Array,
        scale: Array,
        limit: Limit,
        beside: Sequence[Beside] = (),
    ) -> None:
        """Evaluate the loss's arrays, and how they change along some directions."""
        self.tapped, self.limit = tapped, limit
        self.flow = Flow(tapped)
        rng = np.random.default_rng(0)
        weight = np.where(np.isfinite(scale) & (scale > 0), 1 / np.where(scale > 0, scale, 1), 0)
        weight /= weight.max(initial=0) or 1
        along = rng.choice([-1.0, 1.0], (DIRECTIONS, error.size)) * rng.uniform(
            0.5, 1, (DIRECTIONS, error.size)
        )
        along *= weight
        self.target = along @ error
        self.allowed = abs(along) @ np.where(weight > 0, scale, 0)
        shapes = [np.shape(tapped.inputs[number]) for number in tapped.active]
        cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        parts = np.split(along, cuts, axis=1)
        directions = [
            part.reshape(DIRECTIONS, *shape) for part, shape in zip(parts, shapes, strict=True)
        ]
        self.recorded = recorded(tapped, directions)
        if beside:  # filled up, so that few programs of other sizes are compiled
            nothing = Beside((), np.zeros(error.size), is_fitted=True)
            beside = [*beside, *[nothing] * (2 ** len(beside).bit_length() - 1 - len(beside))]
            taps = [one.taps for one in beside]
            self.recorded = recorded_beside(tapped, self.recorded, taps, directions)
            self.changes = np.stack([along @ one.change for one in beside])  # for each direction
            self.are_fitted = np.array([one.is_fitted for one in beside])
        self.beside = beside
        self.wrong = {i for i, part in enumerate(np.split(error, cuts)) if part.any()}
        self.depends = self.flow.depends(tapped.active)
        self.rows = DIRECTIONS * (1 + len(beside))
        self.tried = 0

    def candidates(self) -> list[Candidate]:
        """List what gives the error along each direction, the simplest first."""
        with precise_jax():
            found = [
                *self._of_operands(),
                *self._of_factors(),
                *self._of_arrays(),
                *self._of_statistics(),
                *self._of_regions(),  # which takes longest
                *self._of_skipped(),
            ]
        return sorted(found, key=simplicity)

    def _fits(self, change: Array, rounded: Array) -> Iterator[tuple[int, float, int | None]]:
        """Choose of these changes, one a column, those that are the error along each direction.

        Yields:
            The column, how far the error is from it, in parts of what is allowed, and the number
            of what is beside it.
        """
        if self.limit.is_over:
            self.limit.leave_out("some arrays in the place of others")
            return
        self.tried += change.shape[1] * max(1, len(self.beside))
        allowed = self.allowed[:, None] + rounded[:DIRECTIONS]
        with np.errstate(all="ignore"):
            if self.beside:
                blocks = change.reshape(-1, DIRECTIONS, change.shape[1])
                yield from self._fits_beside(blocks, allowed)
                return
            off = (abs(self.target[:, None] - change) / allowed).max(axis=0)
        for i in np.flatnonzero((off <= 1) & (abs(change) > allowed).any(axis=0)).tolist():
            yield i, float(off[i]), None

    def _fits_beside(self, change: Array, allowed: Array) -> Iterator[tuple[int, float, int]]:
        """Choose changes that are the error together with a mistake, whose factor is fitted.

        With A the change of a mistake at setting 1 and S(s) that of what stands beside it at
        setting s, both together are s A + S(0) + s (S(1) - S(0)).
        """
        alone, beside = change[0], change[1:]
        of_setting = (self.changes[:, :, None] + beside - alone) / allowed
        left = (self.target[:, None] - alone) / allowed
        fitted = (of_setting * left).sum(axis=1) / (of_setting**2).sum(axis=1)
        setting = np.where(self.are_fitted[:, None], fitted, 1.0)[:, None]
        off = abs(left - setting * of_setting).max(axis=1)
        both = (setting * of_setting, (alone + setting * (beside - alone)) / allowed)
        seen = [(abs(x) > 1).any(axis=1) for x in both]
        for k, i in np.argwhere((off <= 1) & seen[0] & seen[1]).tolist():
            yield i, float(off[k, i]), k

    def _reaches(self, value: Value | None) -> bool:
        """Say whether what is handed down to an array comes to all arrays that are wrong.

        Beside another mistake it need come to one.
        """
        reached = self.wrong & self.depends.get(value, frozenset()) if value is not None else set()
        return bool(reached) and (bool(self.beside) or reached == self.wrong)

    def _sources(self, shape: tuple[int, ...], loop: tuple[int, ...]) -> list[Value]:
        """List the arrays of a shape in a loop, each once."""
        return [
            value for value in self._by_shape.get(shape, ()) if self.flow.loop.get(value) == loop
        ]

    @functools.cached_property
    def _by_shape(self) -> dict[tuple[int, ...], list[Value]]:
        found: dict[tuple[int, ...], list[Value]] = {}
        for value in sorted(self.recorded.handed):
            if value in self.flow.loop and self.flow.loop[value] == ():
                found.setdefault(self.recorded.values[value].shape, []).append(value)
        return found

    def _made(self, shape: tuple[int, ...]) -> Iterator[tuple[list[tuple[Value, str]], Array]]:
        """Compute each formula of each array of a shape, one a row, some at a time."""
        pairs = [(value, name) for value in self._sources(shape, ()) for name in FORMULAS]
        step = max(1, AT_ONCE // max(1, int(np.prod(shape))))
        for start in range(0, len(pairs), step):
            some = pairs[start : start + step]
            with np.errstate(all="ignore"):
                rows = np.stack([np.ravel(self._formed[value][name]) for value, name in some])
            finite = np.isfinite(rows).all(axis=1)
            chosen = [i for i in np.flatnonzero(finite) if not is_constant(rows[i])]
            yield [some[i] for i in chosen], rows[chosen]

    @functools.cached_property
    def _formed(self) -> "_Formed":
        return _Formed(self.recorded.values)

    def _sites(self) -> Iterator[tuple[Edge, Shapes, core.JaxprEqn, Value, list[Array]]]:
        """List the edges outside of loops, with the result and the operands of their operation."""
        for edge in self.tapped.edges:
            if self.limit.is_over:
                self.limit.leave_out("some arrays in the place of others")
                return
            operation = self.tapped.operations[edge.path]
            shapes = shapes_at(operation.eqn, edge.operand)
            out = self.flow.results[edge.path][0]
            if operation.looped or not shapes or not shapes.forward or out is None:
                continue
            if out not in self.recorded.handed or not self._reaches(self._operand(edge)):
                continue
            operands = self.flow.operands[edge.path]
            atoms = zip(operation.eqn.invars, operands, strict=True)
            arrays = [
                literal(atom) if value is None else self.recorded.values[value]
                for atom, value in atoms
            ]
            yield edge, shapes, operation.eqn, out, arrays

    def _moved(self, edge: Edge) -> Array:
        value = self._operand(edge)
        return np.zeros(0) if value is None else self.recorded.moved[value]

    def _operand(self, edge: Edge) -> Value | None:
        value = self.flow.operands[edge.path][edge.operand]
        return value if value in self.recorded.moved else None

    def _of_regions(self) -> Iterator[Candidate]:
        """Make the mistakes of all that lies between one array and another."""
        for path, (jaxpr, named) in self.flow.scopes.items():
            values = {x: v for x, v in named.items() if v is not None}
            values = {x: v for x, v in values.items() if v in self.recorded.values}
            known = {x: self.recorded.values[v] for x, v in values.items()}
            asked: dict[tuple[Any, int], list[str]] = {}
            places: list[tuple[str, tuple[Any, int], Value, Value]] = []
            for kind, mistake in REGIONS.items():
                for source, number in mistake.places(jaxpr):
                    x, out = values.get(source), self.flow.results[*path, number][0]
                    if x is None or out is None or not {x, out} <= self.recorded.moved.keys():
                        continue
                    if self.flow.loop[x] or self.flow.loop[out] or not self._reaches(x):
                        continue
                    asked.setdefault((source, number), []).append(kind)
                    places.append((kind, (source, number), x, out))
            found: dict[tuple[Any, int], tuple[Array, dict[str, Array]]] = {}
            for kind, place, x, out in places:
                if place not in found:
                    if self.limit.is_over:
                        self.limit.leave_out("some mistakes of several operations together")
                        return
                    along = Along(self.recorded.moved[x], self.recorded.handed[out])
                    found[place] = of_region(jaxpr, place, asked[place], known, along)
                right, of_kinds = found[place]
                if (wrong := of_kinds.get(kind)) is not None:
                    rounded = ROUNDED * (abs(wrong) + abs(right))
                    for _, off, beside in self._fits((wrong - right)[:, None], rounded[:, None]):
                        source, number = place
                        edge, origin = Edge((*path, number), 0), _place(source, jaxpr, path)
                        size = self.recorded.values[x].size
                        yield Candidate((Tap(edge, kind, source=origin),), size, off, beside)

    def _of_skipped(self) -> Iterator[Candidate]:
        """Leave out all between an argument and a result within a function, if all ways lead there.

        Those outside of functions are among the mistakes of regions.
        """
        for number in self.tapped.active:
            source = Value((), -1 - number)
            x = self.recorded.values[source]
            ends = [
                out
                for out in self.recorded.handed
                if out.path[1:] and out.result == 0 and self.flow.loop.get(out) == ()
                if (z := self.recorded.values[out]).shape == x.shape and z.dtype == x.dtype
                if self._reaches(source) and self.flow.leads_through(source, out)
            ]
            if not ends:
                continue
            moved, right = self.recorded.moved[source], self.recorded.handed[source]
            parts = [moved * (self.recorded.handed[out] - right) for out in ends]
            rows = np.stack([part.reshape(self.rows, -1) for part in parts], axis=1)
            for i, off, beside in self._fits(rows.sum(axis=2), ROUNDED * abs(rows).sum(axis=2)):
                tap = Tap(Edge(ends[i].path, 0), LEFT_OUT, source=source)
                yield Candidate((tap,), x.size, off, beside)

    def _of_statistics(self) -> Iterator[Candidate]:
        """Put other arrays in the place of the statistics with which something is normalised."""
        for path, (jaxpr, named) in self.flow.scopes.items():
            for sums, numbers in ends(jaxpr).items():
                outs = [self.flow.results[*path, number][0] for number in numbers]
                asked = [
                    (number, out)
                    for number, out in zip(numbers, outs, strict=True)
                    if out is not None and out in self.recorded.handed and self._reaches(out)
                ]
                if not asked or any(self.flow.loop[out] for _, out in asked):
                    continue
                for chosen in statistics_of(jaxpr).replaced(jaxpr, sums):
                    if self.limit.is_over:
                        self.limit.leave_out("some statistics in the place of others")
                        return
                    taken = [self._alike(x) for x in chosen]
                    several = list(itertools.product(*taken))
                    size = self.recorded.values[asked[-1][1]].size
                    if several and len(several) * self.rows * size <= AT_ONCE:
                        yield from self._of_others(
                            (path, jaxpr, named), sums, chosen, several, asked
                        )

    def _alike(self, x: Any) -> list[Value]:
        """List what the loss is given that a statistic may be taken for, each once."""
        shape = [n for n in x.aval.shape if n > 1]
        found: dict[bytes, Value] = {}
        for value, array in self.recorded.values.items():
            given = not value.path and value.result < 0 and array.dtype.kind == "f"
            if given and shape and [n for n in array.shape if n > 1] == shape:
                found.setdefault(array.tobytes(), value)
        return list(found.values())[:ALIKE]

    def _of_others(
        self,
        scope: tuple[tuple[int, ...], core.Jaxpr, dict[Any, Value | None]],
        sums: frozenset[int],
        chosen: tuple[Any, ...],
        several: Sequence[tuple[Value, ...]],
        asked: Sequence[tuple[int, Value]],
    ) -> Iterator[Candidate]:
        """Compute what is handed down with each choice of statistics, at each of some ends."""
        path, jaxpr, named = scope
        values = {x: v for x, v in named.items() if v in self.recorded.values}
        known = {x: self.recorded.values[v] for x, v in values.items()}
        within = operations_of(jaxpr, sums, asked[-1][0])
        made = {y for eqn in within for y in eqn.outvars}
        atoms = (x for eqn in within for x in eqn.invars if not isinstance(x, core.Literal))
        live = [
            x
            for x in dict.fromkeys(atoms)
            if x not in made and values.get(x) in self.recorded.moved
        ]
        numbers = [number for number, _ in asked]

        def along(others: Any, moved: Any) -> Any:
            def of(arrays: Any) -> Any:
                changed = dict(zip(chosen, others, strict=True))
                given = known | dict(zip(live, arrays, strict=True))
                return normalised(jaxpr, given, changed, sums, numbers)

            return jax.jvp(of, ([jnp.asarray(known[x]) for x in live],), (moved,))[1]

        moved = [self.recorded.moved[values[x]] for x in live]
        stacked = [
            np.stack([np.ravel(self.recorded.values[z]) for z in some])
            for some in zip(*several, strict=True)
        ]
        try:
            every = jax.vmap(jax.vmap(along, (None, 0)), (0, None))(stacked, moved)
        except Exception:  # what normalises may be anything
            return
        for (number, out), tangents in zip(asked, every, strict=True):
            handed, size = self.recorded.handed[out], self.recorded.values[out].size
            axes = tuple(range(2, 1 + handed.ndim))
            parts = np.asarray(tangents) * handed
            wrong, rounded = parts.sum(axis=axes).T, ROUNDED * abs(parts).sum(axis=axes).T
            right = (self.recorded.moved[out] * handed).reshape(self.rows, -1).sum(axis=1)
            for i, off, beside in self._fits(wrong - right[:, None], rounded):
                others = tuple(
                    (_place(x, jaxpr, path), z) for x, z in zip(chosen, several[i], strict=True)
                )
                tap = Tap(Edge((*path, number), 0), OTHER_STATISTICS, others=others)
                yield Candidate((tap,), size, off, beside)

    def _of_operands(self) -> Iterator[Candidate]:
        """Take another array in the place of an operand: of a factor, or where a function bends."""
        for edge, shapes, _, out, arrays in self._sites():
            elementwise = shapes.within <= ELEMENTWISE
            if is_of_factors(shapes):
                continue  # which are tried below
            if shapes.name in PRODUCTS | {"mul"} or (shapes.name == "div" and edge.operand == 0):
                others = [1 - edge.operand]
            elif shapes.name in BENT:
                others = [0, 1]
            elif elementwise and shapes.elementwise and len(shapes.operands) == 1:
                others = [edge.operand]
            else:
                continue
            right = self._along(edge, out, arrays)
            for other in others:
                own = self.flow.operands[edge.path][other]
                for value in self._sources(shapes.operands[other], ()):
                    if value == own:
                        continue
                    z = self.recorded.values[value]
                    change = self._along(edge, out, arrays, (z, other)) - right
                    rounded = ROUNDED * abs(change + right)
                    for _, off, beside in self._fits(change[:, None], rounded[:, None]):
                        swap = Swap(value, ITSELF, other)
                        size = self.recorded.values[out].size
                        yield Candidate((Tap(edge, ANOTHER_VALUE, swap=swap),), size, off, beside)

    def _along(
        self,
        edge: Edge,
        out: Value,
        arrays: list[Array],
        other: tuple[Array, int] | None = None,
    ) -> Array:
        """Give what an edge hands down along each direction, with another array or as it is."""
        other = other or (arrays[edge.operand], edge.operand)
        along = Along(self._moved(edge), self.recorded.handed[out])
        jaxpr, _ = self.flow.scopes[edge.path[:-1]]
        return of_edge(alone(jaxpr, edge.path[-1:]), edge.operand, arrays, other, along)

    def _of_factors(self) -> Iterator[Candidate]:
        """Take what is made of another array in the place of a local derivative."""
        by_shape: dict[tuple[int, ...], list[tuple[Edge, Array, Array]]] = {}
        for edge, shapes, _, out, arrays in self._sites():
            bends = shapes.elementwise and shapes.within <= ELEMENTWISE
            if bends or is_of_factors(shapes) or (shapes.name == "mul" and shapes.x == shapes.out):
                through = self._moved(edge) * self.recorded.handed[out]
                right = self._along(edge, out, arrays)
                other = shapes.operands[1 - edge.operand] if is_of_factors(shapes) else shapes.out
                for shape in {other, shapes.out} if shapes.x == shapes.out else {other}:
                    wide = [1 + i for i, n in enumerate(shape) if n != shapes.out[i]]
                    summed = through.sum(axis=tuple(wide), keepdims=True)
                    entry = edge, summed.reshape(self.rows, -1), right
                    by_shape.setdefault(shape, []).append(entry)
        for shape, edges in by_shape.items():
            for pairs, rows in self._made(shape):
                for edge, through, right in edges:
                    change = through @ rows.T - right[:, None]
                    rounded = ROUNDED * (abs(through) @ abs(rows).T)
                    for i, off, beside in self._fits(change, rounded):
                        taps = (self._of_factor(edge, *pairs[i]),)
                        yield Candidate(taps, rows.shape[1], off, beside)

    def _of_factor(self, edge: Edge, value: Value, formula: str) -> Tap:
        """Say what takes the place of a factor: of the other operand of a product, if it is one."""
        shapes = shapes_at(self.tapped.operations[edge.path].eqn, edge.operand)
        if shapes is not None and is_of_factors(shapes):
            return Tap(edge, ANOTHER_VALUE, swap=Swap(value, formula, 1 - edge.operand))
        return Tap(edge, ANOTHER_FACTOR, swap=Swap(value, formula, edge.operand))

    def _of_arrays(self) -> Iterator[Candidate]:
        """Multiply all that is handed down to an array by what is made of one, once too often."""
        edges: dict[Value, list[Edge]] = {}
        for edge, _, eqn, *_ in self._sites():
            value = self._operand(edge)
            if value is not None and entered(eqn) is None:
                edges.setdefault(value, []).append(edge)
        by_shape: dict[tuple[int, ...], list[Value]] = {}
        for value in edges:
            by_shape.setdefault(self.recorded.values[value].shape, []).append(value)
        for shape, values in by_shape.items():
            for pairs, rows in self._made(shape):
                for value in values:
                    through = (self.recorded.moved[value] * self.recorded.handed[value]).reshape(
                        self.rows, -1
                    )
                    change = through @ rows.T - through.sum(axis=1, keepdims=True)
                    rounded = ROUNDED * (abs(through) @ abs(rows).T)
                    for i, off, beside in self._fits(change, rounded):
                        taps = [
                            Tap(edge, FACTOR_TOO_MANY, swap=Swap(*pairs[i], edge.operand))
                            for edge in edges[value]
                        ]
                        yield Candidate(tuple(taps), rows.shape[1], off, beside)


class _Formed(dict[Value, dict[str, Array]]):
    """What each formula makes of each array, computed when it is asked for."""

    def __init__(self, values: dict[Value, Array]) -> None:
        super().__init__()
        self.values_of = values

    def __missing__(self, value: Value) -> dict[str, Array]:
        x = self.values_of[value]
        self[value] = {name: np.asarray(formula(x)) for name, formula in FORMULAS.items()}
        return self[value]


def _place(x: Any, jaxpr: core.Jaxpr, path: tuple[int, ...]) -> Value:
    """Say where an array of a jaxpr is made, or that it is given."""
    given = [*jaxpr.invars, *jaxpr.constvars]
    if x in given:
        return Value(path, -1 - given.index(x))
    return next(
        Value((*path, i), eqn.outvars.index(x))
        for i, eqn in enumerate(jaxpr.eqns)
        if x in eqn.outvars
    )


def is_constant(x: Array) -> bool:
    """Say whether one number is in all places: a factor, which is tried as such, or 0."""
    return x.size > 1 and bool((x == x.flat[0]).all())


def is_of_factors(shapes: Shapes) -> bool:
    """Say whether the derivative is the other operand, element by element or broadcast."""
    return shapes.name == "mul" and {len(shape) for shape in shapes.operands} == {len(shapes.out)}


def simplicity(candidate: Candidate) -> tuple[Any, ...]:
    """Order from the simplest: an operand, then a factor, then one too many.

    What is far off comes after all that is not.
    """
    tap = candidate.taps[0]
    far = candidate.off > NEAR
    if tap.swap is None:
        return far, 0
    kinds, formulas = [ANOTHER_VALUE, ANOTHER_FACTOR, FACTOR_TOO_MANY], list(FORMULAS)
    order = tuple(-n for n in tap.edge.path)
    formula = formulas.index(tap.swap.formula)
    return far, 1 + kinds.index(tap.kind), formula, len(candidate.taps), order
