"""Evaluate a loss with its taps set: the values are as they were, what is handed down is not."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from reference.bounds.rules.calls import scan_counts
from reference.diagnosis.edges.kinds import KINDS, REGIONS
from reference.diagnosis.edges.operations import (
    PRODUCTS,
    JaxArray,
    entered,
    site_at,
    variable,
)
from reference.diagnosis.edges.regions import Region
from reference.diagnosis.edges.statistics import normalised, statistics_of
from reference.diagnosis.edges.swaps import FORMULAS, SWAPS
from reference.diagnosis.edges.taps import FACTOR, FIRST, LAST, Edge, Tap, Value
from reference.jaxprs import bind

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


def evaluate(
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
        return evaluate(inner.jaxpr, inner.consts, operands, settings, position)
    (count, carried), length = scan_counts(eqn.params), eqn.params["length"]
    consts, carry, xs = (
        operands[:count], operands[count : count + carried], operands[count + carried :],
    )  # fmt: skip

    def body(state: Any, now: Any) -> Any:
        t, slices, known, added, factors = now
        kept: dict[Value, Any] | None = None if position.kept is None else {}
        at = position.path, t == 0, t == length - 1
        here = Position(*at, known=known, added=added, factors=factors, kept=kept)
        outs = evaluate(inner.jaxpr, inner.consts, [*consts, *state, *slices], settings, here)
        return outs[:carried], (outs[carried:], kept)

    steps = jnp.arange(length, dtype=np.int32)
    arrays = map(position.within, (position.known, position.added, position.factors))
    of_steps = steps, list(xs), *arrays
    state, (ys, kept) = lax.scan(body, list(carry), of_steps, reverse=eqn.params["reverse"])
    if position.kept is not None:
        position.kept.update(kept)
    return [*state, *ys]
