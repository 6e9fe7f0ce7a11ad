"""The operations of a loss as the search sees them: names, shapes, and what is within them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
from jax import lax
from jax.extend import core

from reference.diagnosis.edges.functions import Function
from reference.diagnosis.edges.mistakes import Shapes, Site
from reference.diagnosis.edges.taps import Value
from reference.jaxprs import bind, closed, is_real, names_in, shape_of, with_results

JaxArray: TypeAlias = jax.Array

PRODUCTS = {"dot_general", "conv_general_dilated"}  # whose derivative is the other operand
ENTERED = {"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint", "remat2"}


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


def variable(jaxpr: core.Jaxpr, value: Value, path: tuple[int, ...]) -> core.Var:
    """Find what stands for an array in the jaxpr of the operations at a path."""
    if value.path == path:
        found: core.Var = [*jaxpr.invars, *jaxpr.constvars][-1 - value.result]
        return found
    return jaxpr.eqns[value.path[-1]].outvars[value.result]


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
