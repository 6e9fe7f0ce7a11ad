"""A loss with a tap on every edge of its backward pass, which changes what is handed down there.

A tap leaves the values as they are. Its setting is a number: at 0 the derivative is the right one,
and at 1 it is twice that, or what a mistake of `mistakes.py` makes of it.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from reference.arguments import Derivative
from reference.arrays import Array
from reference.bounds.programs import compiled_fast, program
from reference.bounds.rules.calls import scan_counts
from reference.bounds.tracing import in_float64, precise_jax
from reference.custom_rules import alike
from reference.diagnosis.edges.functions import Function, grouped
from reference.diagnosis.edges.kinds import KINDS, REGIONS
from reference.diagnosis.edges.mistakes import OF_FUNCTIONS, Shapes, Site
from reference.diagnosis.edges.patterns import EXPONENTIALS, OF_ARRAYS, PATTERNS
from reference.diagnosis.edges.regions import Region
from reference.diagnosis.edges.statistics import normalised, statistics_of
from reference.diagnosis.edges.swaps import FORMULAS, SWAPS
from reference.jaxprs import (
    bind,
    closed,
    is_real,
    names_in,
    shape_of,
    with_results,
)

JaxArray: TypeAlias = jax.Array

PRODUCTS = {"dot_general", "conv_general_dilated"}  # whose derivative is the other operand
ENTERED = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2"}
EVERY, FIRST, LAST = "every", "first", "last"  # steps of a loop
FACTOR = "factor"  # on what is handed down


class Edge(NamedTuple):
    """Where an operation hands a derivative down to one of its operands.

    Attributes:
        path: the operation's place in the loss: its number, and the numbers in what it calls.
        operand: the number of the operand.
    """

    path: tuple[int, ...]
    operand: int


class Value(NamedTuple):
    """An array of the loss, by where it is made.

    Attributes:
        path: the place of the operation whose result it is; or of the loop, or () for the loss,
            whose input or constant it is.
        result: the number of the result; from -1 downwards that of an input or constant.
    """

    path: tuple[int, ...]
    result: int


class Swap(NamedTuple):
    """What takes the place of an array, or of a factor, in a derivative.

    Attributes:
        value: an array of the loss.
        formula: the name of what is computed of it.
        operand: the number of the operand whose place it takes, or else of that of the edge.
        updated: whether the array is computed again, of parameters less their gradients.
    """

    value: Value
    formula: str
    operand: int
    updated: bool = False


class Tap(NamedTuple):
    """A change of what is handed down on an edge.

    Attributes:
        edge: where.
        kind: FACTOR, or the name of a mistake.
        steps: which steps of the loop that the edge is in; EVERY outside of loops.
        swap: what takes the place of what, if that is the mistake.
        source: the array that a wrong derivative is handed down to, if it is no operand of the
            operation but lies further back.
        others: what takes the place of which statistics, if that is the mistake.
    """

    edge: Edge
    kind: str = FACTOR
    steps: str = EVERY
    swap: Swap | None = None
    source: Value | None = None
    others: tuple[tuple[Value, Value], ...] = ()

    @property
    def skips_calls(self) -> bool:
        """Whether the array is an input of the loss, and the operation within a function."""
        return self.source is not None and not self.source.path and len(self.edge.path) > 1


Settings: TypeAlias = Mapping[Tap, JaxArray]
Values: TypeAlias = Mapping[Value, JaxArray]
NOTHING: Values = MappingProxyType({})


@jax.custom_vjp
def scaled(x: JaxArray, factor: JaxArray) -> JaxArray:
    """Give x, and hand its derivative down times the factor."""
    del factor
    return x


def _scaled_forward(x: JaxArray, factor: JaxArray) -> tuple[JaxArray, JaxArray]:
    return x, factor


def _scaled_backward(factor: JaxArray, d_out: JaxArray) -> tuple[JaxArray, JaxArray]:
    return d_out * factor.astype(d_out.dtype), jnp.zeros_like(factor)


scaled.defvjp(_scaled_forward, _scaled_backward)


@jax.custom_vjp
def switched(x: JaxArray, setting: JaxArray) -> JaxArray:
    """Give x, and hand its derivative down times the setting: at 0 none, be it infinite or not."""
    del setting
    return x


def _switched_backward(setting: JaxArray, d_out: JaxArray) -> tuple[JaxArray, JaxArray]:
    handed = d_out * setting.astype(d_out.dtype)
    return jnp.where(setting == 0, jnp.zeros_like(handed), handed), jnp.zeros_like(setting)


switched.defvjp(_scaled_forward, _switched_backward)


@jax.custom_vjp
def derivative_alone(x: JaxArray) -> JaxArray:
    """Give 0, and hand its derivative down as if it were x."""
    return jnp.zeros_like(x)


derivative_alone.defvjp(lambda x: (jnp.zeros_like(x), None), lambda _, d_out: (d_out,))


@dataclass(frozen=True)
class Operation:
    """An operation of the loss, as the search sees it.

    Attributes:
        eqn: the operation.
        name: of its primitive, or of the function that it calls.
        inputs: the operations that have made its operands, None for the loss's own arguments.
        looped: whether it is in the body of a loop.
    """

    eqn: core.JaxprEqn
    name: str
    inputs: tuple[tuple[int, ...] | int | None, ...]
    looped: bool

    @property
    def of_source(self) -> bool:
        """Whether it is a function of the source, whose operations were taken together."""
        return isinstance(self.name, Function)


class Position(NamedTuple):
    """Where in a loss an evaluation is.

    Attributes:
        path: as of an edge.
        first, last: whether the step of the loop that it is in is the first, and the last; None
            outside of loops.
        known: arrays of the loss, as an evaluation without taps has left them.
        added: what is added to arrays.
        factors: what stands on edges beside the local derivative, or beside the other operand of a
            product; by the operation's path and the operand.
        kept: where all arrays are written down; None if they are not.
        given: inputs of the loss that a tap within a function hands something down to.
    """

    path: tuple[int, ...] = ()
    first: JaxArray | None = None
    last: JaxArray | None = None
    known: Values = NOTHING
    added: Values = NOTHING
    factors: Values = NOTHING
    kept: dict[Value, JaxArray] | None = None
    given: Values = NOTHING

    def at(self, number: int) -> "Position":
        """Go to an operation by its number."""
        return self._replace(path=(*self.path, number))

    def noted(self, arrays: Sequence[Any], *, given: bool = False) -> list[Any]:
        """Give arrays with what is added to them, and write them down.

        Args:
            arrays: the results.
            given: whether they are inputs and constants instead.
        """
        keys = [Value(self.path, -1 - i if given else i) for i in range(len(arrays))]
        arrays = [
            x + self.added[key] if key in self.added else x
            for key, x in zip(keys, arrays, strict=True)
        ]
        if self.kept is not None:
            self.kept.update(zip(keys, arrays, strict=True))
        return arrays

    def within(self, values: Values) -> Values:
        """Choose the arrays of each step of the loop that this is."""
        inside = len(self.path)
        of_results = {key for key in values if key.path == self.path and key.result >= 0}
        chosen = (key for key in values if key.path[:inside] == self.path)
        return {key: values[key] for key in chosen if key not in of_results}


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
                (value,) = _evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, every, chosen, position)
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
                (value,) = _evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, every, {}, position)
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
        (value,) = _evaluate(self.jaxpr.jaxpr, self.jaxpr.consts, every, chosen, position)
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


def name_of(eqn: core.JaxprEqn) -> str:
    """Name an operation: its primitive, or the function that it calls."""
    name = eqn.params.get("name")
    if isinstance(name, str) and eqn.primitive.name in ENTERED:
        return name
    inner = eqn.params.get("call_jaxpr")
    debug = getattr(getattr(inner, "jaxpr", None), "debug_info", None)
    if eqn.primitive.name.startswith("custom_") and debug is not None:
        return str(debug.func_name)
    return eqn.primitive.name


def entered(eqn: core.JaxprEqn) -> Any:
    """Give the function within an operation, if its own operations have edges of their own."""
    if eqn.primitive.name not in ENTERED | {"scan"}:
        return None
    return with_results(closed(eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")))


def _evaluate(
    jaxpr: core.Jaxpr,
    consts: Sequence[Any],
    inputs: Sequence[Any],
    settings: Settings,
    position: Position,
) -> list[Any]:
    """Evaluate a jaxpr with its taps set."""
    given = position.noted([*inputs, *consts], given=True)
    known: dict[Any, Any] = dict(zip([*jaxpr.invars, *jaxpr.constvars], given, strict=True))
    if not position.path:
        known, position = _skipped(jaxpr, known, settings, position)
    for number, eqn in enumerate(jaxpr.eqns):
        operands = [x.val if isinstance(x, core.Literal) else known[x] for x in eqn.invars]
        here = position.at(number)
        outs = _operation(eqn, operands, settings, here)
        for tap in settings:
            if tap.source is None or tap.edge.path != here.path:
                pass
            elif tap.skips_calls:
                x = switched(position.given[tap.source], settings[tap])
                outs = [outs[0] + derivative_alone(x), *outs[1:]]
            else:
                source = variable(jaxpr, tap.source, position.path)
                x = switched(known[source], settings[tap])
                region = Region(jaxpr, source, number, known | {eqn.outvars[0]: outs[0]})
                site = region.site(x)
                wrong = REGIONS[tap.kind].make(region, x) - site.tangent(site.point, x)
                outs = [outs[0] + derivative_alone(wrong), *outs[1:]]
            if tap.others and tap.edge.path == here.path:
                others = {
                    variable(jaxpr, x, position.path): position.known[z] for x, z in tap.others
                }
                sums = statistics_of(jaxpr).wide[eqn.outvars[0]]
                (wrong,) = normalised(jaxpr, known, others, sums, [number])
                wrong = derivative_alone(switched(wrong, settings[tap]))
                outs = [scaled(outs[0], 1 - settings[tap]) + wrong, *outs[1:]]
        outs = here.noted(outs)
        known.update(zip(eqn.outvars, outs, strict=True))
    return [x.val if isinstance(x, core.Literal) else known[x] for x in jaxpr.outvars]


def _skipped(
    jaxpr: core.Jaxpr, known: dict[Any, Any], settings: Settings, position: Position
) -> tuple[dict[Any, Any], Position]:
    """Hand an input nothing through the operations that a tap within a function leaves out."""
    kept: dict[Value, JaxArray] = {}
    for tap, setting in settings.items():
        if tap.skips_calls and tap.source is not None:
            source = variable(jaxpr, tap.source, ())
            kept[tap.source] = known[source]
            known = known | {source: scaled(known[source], 1 - setting)}
    return known, position._replace(given=kept)


def variable(jaxpr: core.Jaxpr, value: Value, path: tuple[int, ...]) -> core.Var:
    """Find what stands for an array in the jaxpr of the operations at a path."""
    if value.path == path:
        found: core.Var = [*jaxpr.invars, *jaxpr.constvars][-1 - value.result]
        return found
    return jaxpr.eqns[value.path[-1]].outvars[value.result]


def _operation(
    eqn: core.JaxprEqn, operands: list[Any], settings: Settings, position: Position
) -> list[Any]:
    """Evaluate an operation; what is handed down to its operands is as the taps say."""
    tapped, more = list(operands), []
    for operand, x in enumerate(operands):
        edge = Edge(position.path, operand)
        factor = _setting(settings, edge, FACTOR, position)
        right = None if factor is None else 1 + factor
        for kind, (_, _, make) in KINDS.items():
            if (wrong := _setting(settings, edge, kind, position)) is not None:
                site = replace(site_at(eqn, operands, operand), x=switched(x, wrong))
                more.append(derivative_alone(make(site)))
                right = (1 if right is None else right) - wrong
        if (w := position.factors.get(Value(*edge))) is not None:
            more.append(derivative_alone(_beside(eqn, operands, operand, w)))
        for tap in settings:
            if tap.swap is not None and tap.edge == edge:
                wrong = settings[tap]
                site = replace(site_at(eqn, operands, operand), x=switched(x, wrong))
                z = FORMULAS[tap.swap.formula](position.known[tap.swap.value])
                more.append(derivative_alone(SWAPS[tap.kind](site, z, tap.swap.operand)))
                right = (1 if right is None else right) - wrong
        if right is not None:
            tapped[operand] = scaled(x, right)
    first, *others = _results(eqn, tapped, settings, position)
    alone = [x.astype(first.dtype) for x in more]
    return [functools.reduce(jnp.add, alone, first), *others]


def _beside(eqn: core.JaxprEqn, operands: Sequence[Any], operand: int, w: JaxArray) -> JaxArray:
    """Give what is handed down beside the right derivative: w for a factor, or times a matrix."""
    if eqn.primitive.name not in PRODUCTS:
        return w * operands[operand]
    product: JaxArray = bind(eqn, [x if i == operand else w for i, x in enumerate(operands)])[0]
    return product


def _setting(settings: Settings, edge: Edge, kind: str, position: Position) -> JaxArray | None:
    """Add up what the taps of an edge say of this step."""
    parts = [settings[tap] for tap in (Tap(edge, kind),) if tap in settings]
    for steps, here in ((FIRST, position.first), (LAST, position.last)):
        if (tap := Tap(edge, kind, steps)) in settings and here is not None:
            parts.append(jnp.where(here, settings[tap], 0.0))
    return functools.reduce(jnp.add, parts) if parts else None


def _results(
    eqn: core.JaxprEqn, operands: list[Any], settings: Settings, position: Position
) -> list[Any]:
    """Evaluate an operation, and what is within it with its own taps."""
    inner = entered(eqn)
    inside = len(position.path)
    tapped = any(tap.edge.path[:inside] == position.path for tap in settings)
    if inner is None or not (tapped or position.factors or position.kept is not None):
        return list(bind(eqn, operands))
    if eqn.primitive.name != "scan":
        return _evaluate(inner.jaxpr, inner.consts, operands, settings, position)
    (count, carried), length = scan_counts(eqn.params), eqn.params["length"]
    consts, carry, xs = (
        operands[:count], operands[count : count + carried], operands[count + carried :],
    )  # fmt: skip

    def body(state: Any, now: Any) -> Any:
        t, slices, known, added, factors = now
        kept: dict[Value, Any] | None = None if position.kept is None else {}
        at = position.path, t == 0, t == length - 1
        here = Position(*at, known=known, added=added, factors=factors, kept=kept)
        outs = _evaluate(inner.jaxpr, inner.consts, [*consts, *state, *slices], settings, here)
        return outs[:carried], (outs[carried:], kept)

    steps = jnp.arange(length, dtype=np.int32)
    arrays = map(position.within, (position.known, position.added, position.factors))
    of_steps = steps, list(xs), *arrays
    state, (ys, kept) = lax.scan(body, list(carry), of_steps, reverse=eqn.params["reverse"])
    if position.kept is not None:
        position.kept.update(kept)
    return [*state, *ys]


def shapes_at(eqn: core.JaxprEqn, operand: int) -> Shapes | None:
    """Give what mistakes look at; None of an operation that has several results, or no real one."""
    if len(eqn.outvars) != 1 or not is_real(eqn.outvars[0]):
        return None
    operands = tuple(shape_of(atom) for atom in eqn.invars)
    names = frozenset(names_in(eqn))
    forward = not any(name.startswith(("custom_vjp", "custom_lin")) for name in names)
    return Shapes(
        name_of(eqn), operands, operand, shape_of(eqn.outvars[0]), forward, names, eqn.params
    )


def site_at(eqn: core.JaxprEqn, operands: Sequence[Any], operand: int) -> Site:
    """Give an operation as the mistakes see it: without taps, and with one operand that counts."""

    def function(*given: Any) -> JaxArray:
        first: JaxArray = bind(eqn, given)[0]
        return first

    stopped = [lax.stop_gradient(x) for x in operands]
    return Site(function, stopped, operand, operands[operand], eqn.params)
