"""A loss with a tap on every edge of its backward pass, which changes what is handed down there.

A tap leaves the values as they are (`evaluation.py`); here is which taps a loss has, and its
gradient with some of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core

from reference.arguments import Derivative
from reference.arrays import Array
from reference.bounds.programs import compiled_fast, program
from reference.bounds.tracing import in_float64, precise_jax
from reference.custom_rules import alike
from reference.diagnosis.edges.evaluation import Position, Settings, Values, evaluate
from reference.diagnosis.edges.functions import grouped
from reference.diagnosis.edges.kinds import KINDS
from reference.diagnosis.edges.mistakes import OF_FUNCTIONS
from reference.diagnosis.edges.operations import (
    JaxArray,
    Operation,
    entered,
    name_of,
    shapes_at,
    variable,
)
from reference.diagnosis.edges.patterns import EXPONENTIALS, OF_ARRAYS, PATTERNS
from reference.diagnosis.edges.taps import EVERY, FACTOR, FIRST, LAST, Edge, Tap, Value
from reference.jaxprs import is_real, names_in, shape_of


class Tapped:
    """A loss, whose gradient is computed with any of its edges changed.

    Args:
        loss: a scalar function that JAX can trace.
        args: where.
        places: the numbers of the arguments that the gradient is taken in.
    """

    def __init__(
        self, loss: Callable[..., Any], args: tuple[Any, ...], places: Sequence[int]
    ) -> None:
        """Trace the loss, and find its operations and edges."""
        derivative = Derivative(loss, args, traced=places)
        traced = derivative.traced
        self.jaxpr = grouped(traced.jaxpr)
        self.known_by = alike(self.jaxpr)  # whose numbers the paths are
        self.inputs = jax.tree.leaves(in_float64(derivative.arrays(args)))
        self.where = derivative.where
        self.active = [n for place in places for n, (i, _) in enumerate(self.where) if i == place]
        self.operations: dict[tuple[int, ...], Operation] = {}
        self.edges: list[Edge] = []
        self.gradients: Sequence[Array] = ()  # that were handed in, for what is updated by them
        self.read_together: list[tuple[Edge, ...]] = []
        depends = [number in self.active for number in range(len(self.inputs))]
        inner = self.jaxpr.jaxpr
        self._find(inner, depends, list(range(len(self.inputs))), (), looped=False)

    def _find(
        self,
        jaxpr: core.Jaxpr,
        depends: Sequence[bool],
        sources: Sequence[Any],
        path: tuple[int, ...],
        *,
        looped: bool,
    ) -> list[Any]:
        """List the edges that the differentiated inputs reach; give where results come from."""
        known: dict[Any, bool] = dict(zip(jaxpr.invars, depends, strict=True))
        made: dict[Any, Any] = dict(zip(jaxpr.invars, sources, strict=True))
        for number, eqn in enumerate(jaxpr.eqns):
            here = (*path, number)
            reached = [_of(known, atom, default=False) for atom in eqn.invars]
            inputs = tuple(_of(made, atom, default=None) for atom in eqn.invars)
            self.operations[here] = Operation(eqn, name_of(eqn), inputs, looped)
            real = any(is_real(out) for out in eqn.outvars)
            for operand, atom in enumerate(eqn.invars):
                if real and reached[operand] and is_real(atom):
                    self.edges.append(Edge(here, operand))
            results: list[Any] = [here] * len(eqn.outvars)
            if (inner := entered(eqn)) is not None:
                flags = reached
                if eqn.primitive.name == "scan":
                    flags = [flag or any(reached) for flag in reached]
                results = self._find(
                    inner.jaxpr, flags, inputs, here, looped=looped or eqn.primitive.name == "scan"
                )
            known.update(dict.fromkeys(eqn.outvars, any(reached) and real))
            made.update(zip(eqn.outvars, results, strict=True))
        self._find_read_together(jaxpr, path)
        return [_of(made, atom, default=None) for atom in jaxpr.outvars]

    def _find_read_together(self, jaxpr: core.Jaxpr, path: tuple[int, ...]) -> None:
        """List the edges to each array that several operations read, and from it an exponential."""
        grown = set()  # arrays with an exponential of each of their elements
        for eqn in reversed(jaxpr.eqns):
            (out, *_), names = eqn.outvars, names_in(eqn)
            for atom in eqn.invars:
                if isinstance(atom, core.Literal):
                    continue
                same = shape_of(atom) == shape_of(out)
                if (same and out in grown) or (names & EXPONENTIALS and (same or entered(eqn))):
                    grown.add(atom)
        edges: dict[Any, list[Edge]] = {}
        known = set(self.edges)
        for number, eqn in enumerate(jaxpr.eqns):
            for operand, atom in enumerate(eqn.invars):
                edge = Edge((*path, number), operand)
                shapes = shapes_at(eqn, operand) if edge in known and atom in grown else None
                if shapes and shapes.forward:
                    edges.setdefault(atom, []).append(edge)
        self.read_together += [tuple(found) for found in edges.values() if len(found) > 1]

    def of_arrays(self) -> list[tuple[Tap, ...]]:
        """List the taps that change together all that is handed down to an array."""
        found = []
        for first, *others in self.read_together:
            shapes = shapes_at(self.operations[first.path].eqn, first.operand)
            kinds = [name for name, kind in OF_ARRAYS.items() if shapes and kind.fits(shapes)]
            found += [tuple(Tap(edge, kind) for edge in (first, *others)) for kind in kinds]
        return found

    def taps(self) -> list[Tap]:
        """List every tap that changes something, as far as shapes tell."""
        found = []
        for edge in self.edges:
            operation = self.operations[edge.path]
            steps = (EVERY, FIRST, LAST) if operation.looped else (EVERY,)
            shapes = shapes_at(operation.eqn, edge.operand)
            kinds = [
                name
                for name, kind in KINDS.items()
                if name not in OF_ARRAYS and shapes and kind.fits(shapes)
            ]
            if operation.of_source:  # a factor is that of an operation within
                kinds = [kind for kind in kinds if kind in OF_FUNCTIONS | PATTERNS.keys()]
            else:
                kinds = [FACTOR, *kinds]
            found += [Tap(edge, kind, part) for kind in kinds for part in steps]
        return found + [tap for taps in self.of_arrays() for tap in taps]

    def gradient(self, taps: Sequence[Tap]) -> Callable[[Sequence[Any], JaxArray], list[JaxArray]]:
        """Give a function of the loss's inputs and the taps' settings: the gradient, changed so."""

        def gradient(inputs: Sequence[Any], settings: JaxArray) -> list[JaxArray]:
            chosen = dict(zip(taps, settings, strict=True)) if taps else {}

            def loss(active: list[Any]) -> Any:
                every = self._with(active, inputs)
                position = Position(known=known)
                (value,) = evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, every, chosen, position)
                return value

            active = [inputs[number] for number in self.active]
            known = lax.stop_gradient(self._known(taps, inputs))
            return jax.grad(loss)(active)

        return gradient

    def with_factors(
        self, zeros: Mapping[Value, Array]
    ) -> Callable[[Mapping[Value, Array]], list[Array]]:
        """Compile the gradient, as a function of what edges hand down beside what they should.

        Args:
            zeros: for each edge, which is written as a value, an array like its factor: the local
                derivative of what is done element by element, the other operand of a product.
        """

        def gradient(inputs: Sequence[Any], factors: Values) -> list[JaxArray]:
            def loss(active: list[Any]) -> Any:
                every, position = self._with(active, inputs), Position(factors=factors)
                (value,) = evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, every, {}, position)
                return value

            return jax.grad(loss)([inputs[number] for number in self.active])

        def compiled() -> Any:
            return compiled_fast(jax.jit(gradient).lower(self.inputs, dict(zeros)))

        known: Any = self.known_by, tuple(self.active), "factors", tuple(zeros)
        with precise_jax():
            run: Any = program(known if self.known_by is not None else None, compiled=compiled)

        def at(factors: Mapping[Value, Array]) -> list[Array]:
            with precise_jax():
                return [np.asarray(x) for x in run(self.inputs, dict(factors))]

        return at

    def _with(self, active: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        every = list(inputs)
        for number, x in zip(self.active, active, strict=True):
            every[number] = x
        return every

    def _known(self, taps: Sequence[Tap], inputs: Sequence[Any]) -> Values:
        """Evaluate the arrays that these taps put in the place of others."""
        swaps = [tap.swap for tap in taps if tap.swap is not None]
        read = {swap.value for swap in swaps} | {z for tap in taps for _, z in tap.others}
        if not read:
            return {}
        active = [inputs[number] for number in self.active]
        if any(swap.updated for swap in swaps):
            active = [x - dx for x, dx in zip(active, self.gradients, strict=True)]
        kept = self.values(active, inputs)[1]
        return {value: kept[value] for value in read}

    def values(
        self,
        active: Sequence[Any],
        inputs: Sequence[Any],
        added: Values | None = None,
        settings: Settings | None = None,
    ) -> tuple[Any, dict[Value, Any]]:
        """Evaluate the loss, with something added to its arrays.

        Args:
            active: the inputs that are differentiated.
            inputs: all of them.
            added: to some arrays; to those of a loop for each step.
            settings: of taps.

        Returns:
            The loss and all its arrays, those of a loop one below the other.
        """
        kept: dict[Value, Any] = {}
        chosen = settings or {}
        known = lax.stop_gradient(self._known(list(chosen), inputs))
        position = Position(known=known, added=added or {}, kept=kept)
        every = self._with(active, inputs)
        (value,) = evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, every, chosen, position)
        return value, kept

    def sizes(self) -> list[int]:
        """Count the numbers of each array that an operation makes, in a loop for each step."""
        found = []
        for path, operation in self.operations.items():
            loops = (self.operations[path[:n]].eqn for n in range(1, len(path)))
            steps = (eqn.params["length"] for eqn in loops if eqn.primitive.name == "scan")
            size = sum(math.prod(shape_of(out)) for out in operation.eqn.outvars)
            found.append(math.prod(steps) * size)
        return found

    def shape_at(self, tap: Tap) -> tuple[int, ...]:
        """Give the shape of what a tap hands down."""
        path, operand = tap.edge
        eqn = self.operations[path].eqn
        if tap.others:
            return shape_of(eqn.outvars[0])
        if tap.source is None:
            return shape_of(eqn.invars[operand])
        if tap.skips_calls:
            return shape_of(variable(self.jaxpr.jaxpr, tap.source, ()))
        jaxpr = entered(self.operations[path[:-1]].eqn).jaxpr if path[1:] else self.jaxpr.jaxpr
        return shape_of(variable(jaxpr, tap.source, path[:-1]))

    def compiled(
        self, taps: Sequence[Tap], *, spread: bool = False
    ) -> Callable[[Any], list[Array]]:
        """Compile the gradient at the loss's arguments, as a function of the taps' settings.

        Args:
            taps: that are in it.
            spread: whether the settings are arrays, with a number for each element of what each
                tap hands down.
        """
        zeros: Any = np.zeros(len(taps))
        if spread:
            zeros = [np.zeros(self.shape_at(tap)) for tap in taps]

        def compiled() -> Any:
            return compiled_fast(jax.jit(self.gradient(taps)).lower(self.inputs, zeros))

        with precise_jax():
            updated = any(tap.swap is not None and tap.swap.updated for tap in taps)
            known: Any = self.known_by, tuple(self.active), tuple(taps), spread
            if updated or self.known_by is None:  # what was handed in is built in
                known = None
            tapped: Any = program(known, compiled=compiled)

        def at(settings: Any) -> list[Array]:
            with precise_jax():
                return [np.asarray(x) for x in tapped(self.inputs, settings)]

        return at


def _of(known: Mapping[Any, Any], atom: Any, *, default: Any) -> Any:
    return default if isinstance(atom, core.Literal) else known.get(atom, default)
