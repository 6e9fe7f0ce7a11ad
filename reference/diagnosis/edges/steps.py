"""Find the array that stands in the place of another one at every step of a loop.

A wrong derivative at one step is handed on to the step before, so that what it changes is no sum
over steps, as for `substitutes.py`. But a factor z in the place of a local derivative f'(x) is the
right one and z - f'(x) more: one program takes this number for all operations of the loop, and is
run for each candidate. So it is with the other operand of a product, as where the derivative of
h_(t-1) U in U is made of h_t.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from reference.arrays import Array
from reference.bounds.tracing import precise_jax
from reference.diagnosis.edges.along import alone, slope
from reference.diagnosis.edges.expressions import places_of
from reference.diagnosis.edges.flow import Flow
from reference.diagnosis.edges.mistakes import Shapes
from reference.diagnosis.edges.operations import PRODUCTS, shapes_at
from reference.diagnosis.edges.recorded import Recorded, literal
from reference.diagnosis.edges.regions import ELEMENTWISE
from reference.diagnosis.edges.substitutes import (
    is_constant,
    is_of_factors,
)
from reference.diagnosis.edges.swaps import ANOTHER_FACTOR, ANOTHER_VALUE, FORMULAS, ITSELF
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import Edge, Swap, Tap, Value
from reference.limit import Limit

Values: TypeAlias = tuple[Value, ...]


class Steps:
    """The search at all steps of a loop, be it a scan or one that Python has unrolled.

    Args:
        tapped: the loss.
        recorded: its arrays.
        asked: the differentiated inputs whose gradient a mistake has to change, by their places.
        limit: after which it stops.

    Attributes:
        tried: how many mistakes.
    """

    def __init__(
        self, tapped: Tapped, recorded: Recorded, asked: frozenset[int], limit: Limit
    ) -> None:
        """Find the operations that are run again and again."""
        self.tapped, self.flow, self.values = tapped, Flow(tapped), recorded.values
        self.asked, self.limit, self.tried = asked, limit, 0
        self.depends = self.flow.depends(tapped.active)
        self.groups = [group for group in self._groups() if self._has_factor(group[0])]

    def candidates(self) -> Iterator[tuple[tuple[Tap, ...], list[Array]]]:
        """Give each mistake that may be the one with the gradient that it makes."""
        with precise_jax():
            rights = {edge: self._factor(edge) for group in self.groups for edge in group}
            zeros = {_key(edge): np.zeros_like(right) for edge, right in rights.items()}
            if not zeros:
                return
            gradient = self.tapped.with_factors(zeros)
            for group in self.groups:
                for taps, factors in self._of_group(group):
                    if self.limit.is_over:
                        self.limit.leave_out("some arrays in the place of others in a loop")
                        return
                    pairs = zip(factors, (rights[edge] for edge in group), strict=True)
                    more = [(z - right).astype(right.dtype) for z, right in pairs]
                    if is_constant(np.concatenate([np.ravel(z) for z in factors])):
                        continue
                    if all(np.isfinite(w).all() for w in more) and any(w.any() for w in more):
                        self.tried += 1
                        if not self._reaches(group):
                            continue
                        keys = map(_key, group)
                        yield taps, gradient(zeros | dict(zip(keys, more, strict=True)))

    def _reaches(self, group: Sequence[Edge]) -> bool:
        """Say whether what these edges hand down comes to all arrays whose gradient is asked."""
        values = (self._value(edge) for edge in group)
        reached = (self.depends.get(x, frozenset()) for x in values if x is not None)
        return self.asked <= frozenset[int]().union(*reached)

    def _groups(self) -> Iterator[tuple[Edge, ...]]:
        """List the edges of a loop, and together those of a line that is run again.

        And those of all functions of a name, as of the ReLUs of layers with lines of their own.
        """
        by_line: dict[tuple[Any, ...], list[Edge]] = {}
        by_name: dict[tuple[str, int], list[Edge]] = {}
        for edge in self.tapped.edges:
            out = self.flow.results[edge.path][0]
            operation = self.tapped.operations[edge.path]
            if out is None or out not in self.values:
                continue
            if self.flow.loop[out]:
                yield (edge,)
            elif places := places_of(operation.eqn):
                shapes = tuple(str(x.aval) for x in operation.eqn.invars)
                key = places[-1], operation.name, shapes, edge.operand
                by_line.setdefault(key, []).append(edge)
                if self._bends(edge):
                    by_name.setdefault((operation.name, edge.operand), []).append(edge)
        groups = (*by_line.values(), *by_name.values())
        yield from dict.fromkeys(tuple(edges) for edges in groups if len(edges) > 1)

    def _shapes(self, edge: Edge) -> Shapes | None:
        return shapes_at(self.tapped.operations[edge.path].eqn, edge.operand)

    def _has_factor(self, edge: Edge) -> bool:
        shapes = self._shapes(edge)
        if shapes is None or not shapes.forward or self._value(edge) is None:
            return False
        if shapes.name in PRODUCTS:
            return self._other(edge) in self.values
        return is_of_factors(shapes) or self._bends(edge)

    def _bends(self, edge: Edge) -> bool:
        shapes = self._shapes(edge)
        return shapes is not None and shapes.elementwise and shapes.within <= ELEMENTWISE

    def _value(self, edge: Edge) -> Value | None:
        return self.flow.operands[edge.path][edge.operand]

    def _other(self, edge: Edge) -> Value | None:
        return self.flow.operands[edge.path][1 - edge.operand]

    def _factor(self, edge: Edge) -> Array:
        """Give the local derivative at each step, or the other operand of a product."""
        if self.tapped.operations[edge.path].name in PRODUCTS:
            other = self._other(edge)
            assert other is not None  # noqa: S101, see _has_factor
            return self.values[other]
        return self._slope(edge)

    def _slope(self, edge: Edge, point: Value | None = None) -> Array:
        """Give the local derivative at each step, or that at another point."""
        eqn = self.tapped.operations[edge.path].eqn
        values = list(self.flow.operands[edge.path])
        if point is not None:
            values[edge.operand] = point
        atoms: Any = eqn.invars
        arrays = [
            literal(atom) if value is None else self.values[value].astype(atom.aval.dtype)
            for atom, value in zip(atoms, values, strict=True)
        ]

        looped = self.tapped.operations[edge.path].looped
        axes = [0 if looped and value is not None else None for value in values]
        jaxpr, _ = self.flow.scopes[edge.path[:-1]]
        return slope(alone(jaxpr, edge.path[-1:]), edge.operand, arrays, axes)

    def _of_group(self, group: Sequence[Edge]) -> Iterator[tuple[tuple[Tap, ...], list[Array]]]:
        """List what may stand in the place of a factor at these edges."""
        first, shapes = group[0], self._shapes(group[0])
        if shapes is None:
            return
        of_matrices = shapes.name in PRODUCTS
        product = of_matrices or is_of_factors(shapes)
        kind, operand = (
            (ANOTHER_VALUE, 1 - first.operand) if product else (ANOTHER_FACTOR, first.operand)
        )
        for values in self._sources(group):
            if not product and values != tuple(map(self._value, group)):
                taps = _taps(group, ANOTHER_VALUE, values, ITSELF, first.operand)
                pairs = zip(group, values, strict=True)
                yield taps, [self._slope(edge, value) for edge, value in pairs]
            for formula in [ITSELF] if of_matrices else FORMULAS:
                yield (
                    _taps(group, kind, values, formula, operand),
                    [self._made(value)[formula] for value in values],
                )

    def _made(self, value: Value) -> dict[str, Array]:
        if value not in self._formed:
            x = self.values[value]
            with np.errstate(all="ignore"):
                self._formed[value] = {f: np.asarray(make(x)) for f, make in FORMULAS.items()}
        return self._formed[value]

    @functools.cached_property
    def _formed(self) -> dict[Value, dict[str, Array]]:
        """What each formula makes of each array."""
        return {}

    def _sources(self, group: Sequence[Edge]) -> list[Values]:
        """List the arrays of the shape that a factor has, for each step one."""
        of_matrices = self.tapped.operations[group[0].path].name in PRODUCTS
        belong = [
            self._other(edge) if of_matrices else self.flow.results[edge.path][0] for edge in group
        ]
        shapes = [() if value is None else self.values[value].shape for value in belong]
        out = self.flow.results[group[0].path][0]
        loop = () if out is None else self.flow.loop[out]
        return [
            values
            for values in self._by_steps.get(len(group), ())
            if all(
                self.flow.loop[value] == loop
                and self.values[value].shape == shape
                and self.values[value].dtype.kind == "f"
                for value, shape in zip(values, shapes, strict=True)
            )
        ]

    @functools.cached_property
    def _by_steps(self) -> dict[int, list[Values]]:
        """List the arrays of a loop, and together those of a line that is run again and again."""
        found: dict[int, list[Values]] = {
            1: [(value,) for value in sorted(self.flow.loop) if value in self.values]
        }
        for edges in self._groups():
            if len(edges) > 1:
                made = [self.flow.results[edge.path][0] for edge in edges]
                read = zip(*(self.flow.operands[edge.path] for edge in edges), strict=True)
                for values in (made, *map(list, read)):
                    of_lines = (value for value in values if value is not None)
                    known = tuple(value for value in of_lines if value in self.values)
                    several = found.setdefault(len(edges), [])
                    if len(known) == len(edges) and known not in several:
                        several.append(known)
        return found


def _key(edge: Edge) -> Value:
    return Value(edge.path, edge.operand)


def _taps(
    group: Sequence[Edge], kind: str, values: Sequence[Value], formula: str, operand: int
) -> tuple[Tap, ...]:
    return tuple(
        Tap(edge, kind, swap=Swap(value, formula, operand))
        for edge, value in zip(group, values, strict=True)
    )
