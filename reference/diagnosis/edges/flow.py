"""Which arrays the operations of a loss read and make, and which of them are its parameters."""

from collections.abc import Iterable, Sequence
from typing import Any

from jax.extend import core

from reference.diagnosis.edges.operations import PRODUCTS, entered, variable
from reference.diagnosis.edges.swaps import ITSELF, UPDATED
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import Edge, Swap, Tap, Value

CHAIN = {"broadcast_in_dim", "convert_element_type", "copy", "reshape", "squeeze", "transpose"}


class Flow:
    """Which arrays the operations of a loss read and make, and in which loop."""

    def __init__(self, tapped: Tapped) -> None:
        """Go through the loss's operations."""
        self.operands: dict[tuple[int, ...], list[Value | None]] = {}  # None for a number
        self.results: dict[tuple[int, ...], list[Value | None]] = {}
        self.loop: dict[Value, tuple[int, ...]] = {}
        self.scopes: dict[tuple[int, ...], tuple[core.Jaxpr, dict[Any, Value | None]]] = {}
        jaxpr = tapped.jaxpr.jaxpr
        given = self._given(jaxpr, (), ())
        (self.last,) = self._follow(jaxpr, given, (), ())
        self.loops = set(self.loop.values()) - {()}

    def depends(self, active: Sequence[int]) -> dict[Value, frozenset[int]]:
        """Say on which of some inputs each array may depend, by their places in the list."""
        found = {Value((), -1 - number): frozenset({i}) for i, number in enumerate(active)}
        none = frozenset[int]()
        for path, operands in self.operands.items():
            of = none.union(*(found.get(x, none) for x in operands if x is not None))
            body = self.scopes.get(path)
            given = [] if body is None else [x for x in body[1].values() if x is not None]
            inputs = [x for x in given if x.path == path and x.result < 0]
            for value in (*inputs, *(x for x in self.results[path] if x is not None)):
                found[value] = found.get(value, none) | of
        return found

    def leads_through(self, source: Value, out: Value) -> bool:
        """Say whether all ways from an array to the loss lead through another one."""
        reached, past = {source}, {source}
        for path, operands in self.operands.items():
            if path in self.scopes and path not in self.loops:
                continue  # whose operations come by themselves
            results = [x for x in self.results[path] if x is not None]
            if not reached.isdisjoint(operands):
                reached.update(results)
            if not past.isdisjoint(operands):
                past.update(x for x in results if x != out)
        return out in reached and self.last not in past

    def entering(self, tapped: Tapped, numbers: Iterable[int]) -> list[Edge]:
        """List the edges by which some inputs of the loss meet others: below them is one alone.

        All that is handed down to these inputs is handed down on these, on each path once.
        """
        every = self.depends(range(len(tapped.inputs)))
        alone, found = {frozenset({number}) for number in numbers}, []
        for edge in tapped.edges:
            called = edge.path in self.scopes and edge.path not in self.loops
            if called or tapped.operations[edge.path].looped:
                continue
            value = self.operands[edge.path][edge.operand]
            own = None if value is None else every.get(value)
            results = [every.get(x) for x in self.results[edge.path] if x is not None]
            if own in alone and any(of != own for of in results):
                found.append(edge)
        return found

    def resolved(self, value: Value, path: tuple[int, ...]) -> Value | None:
        """Find out what an array is that the operations at a path read."""
        jaxpr, known = self.scopes[path]
        return known[variable(jaxpr, value, path)]

    def _given(self, jaxpr: Any, path: tuple[int, ...], loop: tuple[int, ...]) -> dict[Any, Value]:
        """Name the inputs and constants of the loss, or of a loop."""
        count = len(jaxpr.invars) + len(jaxpr.constvars)
        keys = [Value(path, -1 - i) for i in range(count)]
        self.loop.update((key, loop) for key in keys)
        return dict(zip([*jaxpr.invars, *jaxpr.constvars], keys, strict=True))

    def _follow(
        self, jaxpr: Any, known: dict[Any, Any], path: tuple[int, ...], loop: tuple[int, ...]
    ) -> list[Value | None]:
        def of(atom: Any) -> Value | None:
            return None if isinstance(atom, core.Literal) else known.get(atom)

        self.scopes[path] = jaxpr, known
        for number, eqn in enumerate(jaxpr.eqns):
            here = (*path, number)
            self.operands[here] = [of(atom) for atom in eqn.invars]
            inner = entered(eqn)
            if inner is not None and eqn.primitive.name != "scan":
                within = inner.jaxpr
                given = dict(zip(within.invars, self.operands[here], strict=True))
                constants = self._given(within, here, loop)
                given.update((x, constants[x]) for x in within.constvars)
                results = self._follow(within, given, here, loop)
            else:
                made = [Value(here, i) for i in range(len(eqn.outvars))]
                self.loop.update((value, loop) for value in made)
                results = list[Value | None](made)
            if inner is not None and eqn.primitive.name == "scan":
                self._follow(inner.jaxpr, self._given(inner.jaxpr, here, here), here, here)
            self.results[here] = list(results)
            known.update(zip(eqn.outvars, results, strict=True))
        return [of(atom) for atom in jaxpr.outvars]


def of_parameters(tapped: Tapped) -> list[Tap]:
    """List the edges of products whose other operand is a parameter, which may have been updated.

    A product is linear in it, so that the setting of the tap is the learning rate.
    """
    flow, found = Flow(tapped), []
    parameters = {Value((), -1 - number) for number in tapped.active}
    for edge in tapped.edges:
        eqn = tapped.operations[edge.path].eqn
        if eqn.primitive.name in PRODUCTS | {"mul"}:
            operand = 1 - edge.operand
            value = source = flow.operands[edge.path][operand]
            while source is not None and source.result == 0 and source.path:
                if tapped.operations[source.path].eqn.primitive.name not in CHAIN:
                    break
                source = flow.operands[source.path][0]
            if value is not None and source in parameters:
                swap = Swap(value, ITSELF, operand, updated=True)
                found.append(Tap(edge, UPDATED, swap=swap))
    return found
