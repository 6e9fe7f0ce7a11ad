"""Custom derivative rules in a function, and the function without them.

Whoever writes jax.custom_vjp or jax.custom_jvp has written a derivative by hand. To JAX it is the
derivative, so that a gradient taken by JAX would be compared with the very rule that is in doubt.
The rules of JAX itself, as that of its ReLU, are left where they are: those that a module of JAX
holds, for the very function that it gives them to. Every other rule is the user's, even one that is
made of JAX's functions only and given to a function of JAX.
"""

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import jax
from jax.extend import core, linear_util, source_info_util

from reference.arrays import merged
from reference.bounds.programs import OF_DERIVATIVES, operations
from reference.jaxprs import bind, closed, equations, functions_in, is_jaxpr

OF_JAX = f"{Path(jax.__file__).parent}/"
# Where jax.custom_gradient wraps a function of the user's, and defjvps its functions.
WRAPPED = f"{OF_JAX}_src/custom_derivatives.py"
OF_JVPS = "custom_jvp.defjvps.<locals>.jvp"
CUSTOM = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}


def custom_rules(jaxpr: Any) -> list[str]:
    """Name the functions with a rule of the user's that are called, each with its place, once."""
    return list(dict.fromkeys(_rules(jaxpr)))


def _rules(jaxpr: Any) -> Iterator[str]:
    for eqn in equations(jaxpr):
        body = _body(eqn)
        if body is not None:
            name, place = _written(body.jaxpr)
            if place.startswith(WRAPPED):
                yield "a function with jax.custom_gradient"
                continue
            if place.startswith(OF_JAX):
                places = _places_of_rule(eqn)
                place = next((p for p in places if not p.startswith(OF_JAX)), "")
            yield f"{name} ({Path(place).name})" if place else name


def _body(eqn: core.JaxprEqn) -> Any:
    """Give the body of a function with a rule of the user's; None for every other operation."""
    if eqn.primitive.name not in CUSTOM:
        return None
    body = _function(eqn)
    _, place = _written(body.jaxpr)
    if not place.startswith(OF_JAX) or place.startswith(WRAPPED):
        return body
    # The function is JAX's, but its rule need not be.
    return None if _is_of_jax(eqn, place) else body


def _function(eqn: core.JaxprEqn) -> Any:
    """Give the function that a rule was given to."""
    return eqn.params.get("call_jaxpr") or eqn.params["fun_jaxpr"]


def _written(of: Any) -> tuple[str, str]:
    """Give the name of what a jaxpr was traced of, and where it is written, if it is known."""
    name, _, place = str(of.debug_info.func_src_info).partition(" at ")
    return name, place


def _is_of_jax(eqn: core.JaxprEqn, place: str) -> bool:
    """Say whether JAX itself has given its function, which is written there, this rule."""
    places = _places_of_rule(eqn)
    if not all(p.startswith(OF_JAX) for p in places):
        return False
    given = {id(function) for rule in _rules_of(eqn) for function in _wrapped_in(rule)}
    modules = _modules()
    held = [rules for module in modules for rules in _held_by(module).get(place, [])]
    if any(all(id(function) in given for function in rules) for rules in held):
        return True
    # What a function of JAX makes when it is called, as jax.export does, no module holds.
    file = place.rpartition(":")[0]
    within = [_written_within(m) for m in modules if getattr(m, "__file__", None) == file]
    return any({place, *places} <= written for written in itertools.chain(*within))


def _rules_of(eqn: core.JaxprEqn) -> list[Any]:
    """List the functions that a rule consists of, as JAX has wrapped them."""
    return [eqn.params[key] for key in sorted(OF_DERIVATIVES & eqn.params.keys())]


def _places_of_rule(eqn: core.JaxprEqn) -> list[str]:
    """List where the functions are written that a rule consists of."""
    rules = _rules_of(eqn)
    places = [_written(rule)[1] for rule in rules if hasattr(rule, "debug_info")]
    if not any(place.startswith(WRAPPED) for place in places):
        return places
    return [_place_of(jvp) for rule in rules for jvp in _given_to_defjvps(rule)]


def _given_to_defjvps(rule: Any) -> list[Any]:
    """List the functions that `defjvps` has made a rule of, which closes over them."""
    for function in map(inspect.unwrap, _wrapped_in(rule)):
        if inspect.isfunction(function) and function.__qualname__ == OF_JVPS:
            jvps = inspect.getclosurevars(function).nonlocals["jvps"]
            # A rule without any function says that all is constant, which JAX says of none.
            return [jvp for jvp in jvps if jvp is not None] or [*jvps]
    return []


def _wrapped_in(rule: Any) -> list[Any]:
    """List what JAX has wrapped, one in another, to make a rule of what it was given: the last."""
    ahead, seen, wrapped = [rule], set[int](), list[Any]()
    while ahead:
        x = ahead.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, linear_util.WrappedFun):
            wrapped.append(x.f)
            ahead.append(x.f)
        elif inspect.isfunction(x):
            ahead += inspect.getclosurevars(x).nonlocals.values()
    return wrapped


def _modules() -> list[ModuleType]:
    """List the modules of JAX that have been imported."""
    return [module for name, module in [*sys.modules.items()] if name.partition(".")[0] == "jax"]


@functools.cache
def _held_by(module: ModuleType) -> dict[str, list[tuple[Any, ...]]]:
    """Give the rules of the functions that a module holds, by where those functions are written."""
    held: dict[str, list[tuple[Any, ...]]] = {}
    for function in vars(module).values():
        rules: tuple[Any, ...]
        if isinstance(function, jax.custom_jvp):
            rules = (function.jvp,)
        elif isinstance(function, jax.custom_vjp):
            rules = (function.fwd, function.bwd)
        else:
            continue
        if None not in rules:
            held.setdefault(_place_of(function.fun), []).append(rules)
    return held


@functools.cache
def _written_within(module: ModuleType) -> list[set[str]]:
    """List, for each function of a module, the places of the functions that are written in it."""
    functions = filter(inspect.isfunction, map(inspect.unwrap, vars(module).values()))
    return [set(_places_within(function.__code__)) for function in functions]


def _places_within(code: CodeType) -> Iterator[str]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield f"{inner.co_filename}:{inner.co_firstlineno}"
            yield from _places_within(inner)


def _place_of(function: Any) -> str:
    """Say where a function is written; nothing of what has no source."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""


# JAX's rules as they are now: a user may give one of its functions another.
for _module in _modules():
    _held_by(_module)


def alike(jaxpr: core.ClosedJaxpr) -> Hashable:
    """Give what is equal for the same operations that are differentiated by the same rules.

    Returns:
        None if something in the jaxpr cannot be compared; so with a rule of the user's, who may
        have given the function another one since.
    """
    known = operations(jaxpr)
    if known is None or custom_rules(jaxpr):
        return None
    called = (_function(eqn) for eqn in equations(jaxpr) if eqn.primitive.name in CUSTOM)
    return known, tuple(_written(function.jaxpr) for function in called)


class Bodies:
    """A function, made of the bodies of all functions in it that have a rule of the user's.

    Attributes:
        rules: names those functions, once it has been called.

    >>> @jax.custom_vjp
    ... def square(x):
    ...     return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, d_out: (3 * x * d_out,))  # it should be 2
    >>> float(jax.grad(square)(1.0)), float(jax.grad(Bodies(square))(1.0))
    (3.0, 2.0)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Take a function that JAX can trace."""
        functools.update_wrapper(self, function)
        self.function = function
        self.rules: list[str] = []

    def __call__(self, *args: Any) -> Any:
        """Call it; where there is no rule, as it is."""
        leaves, structure = jax.tree.flatten(args)
        traced = [isinstance(leaf, jax.core.Tracer) for leaf in leaves]

        def of_traced(*arrays: Any) -> Any:
            return self.function(*jax.tree.unflatten(structure, merged(leaves, traced, arrays)))

        given = [leaf for leaf, is_traced in zip(leaves, traced, strict=True) if is_traced]
        jaxpr, shapes = jax.make_jaxpr(of_traced, return_shape=True)(*given)
        self.rules = custom_rules(jaxpr)
        if not self.rules:
            return self.function(*args)
        outs = _evaluate(jaxpr.jaxpr, jaxpr.consts, given)
        return jax.tree.unflatten(jax.tree.structure(shapes), outs)


def _evaluate(jaxpr: core.Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Evaluate a jaxpr as JAX does, but for the rules of the user's."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for eqn in jaxpr.eqns:
        operands = list(map(read, eqn.invars))
        body = _body(eqn)
        outs: Sequence[Any]
        with source_info_util.user_context(eqn.source_info.traceback):
            if body is not None:
                outs = _evaluate(body.jaxpr, body.consts, operands)
            else:
                outs = bind(eqn, operands, _without_rules(eqn))
        known.update(zip(eqn.outvars, outs, strict=True))
    return list(map(read, jaxpr.outvars))


def _without_rules(eqn: core.JaxprEqn) -> Any:
    """Give an operation's parameters, the functions in them rewritten if there is a rule in one."""
    if not any(custom_rules(inner) for inner in functions_in(eqn)):
        return eqn.params
    return jax.tree.map(lambda x: _rewritten(x) if is_jaxpr(x) else x, eqn.params, is_leaf=is_jaxpr)


def _rewritten(inner: Any) -> Any:
    """Trace a function within an operation again, without the rules of the user's."""
    whole = closed(inner)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in whole.in_avals]
    again = jax.make_jaxpr(functools.partial(_apart, whole))(*shapes)
    return again if inner is whole else again.jaxpr


def _apart(whole: Any, *args: Any) -> list[Any]:
    return _evaluate(whole.jaxpr, whole.consts, args)
