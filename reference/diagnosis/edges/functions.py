"""Take the operations of one function together, of the user's own or of JAX's, as one call.

JAX traces through a Python function without a trace of it, but for the stack of calls that each
operation keeps. Some mistakes are of a whole function: the diagonal of softmax's Jacobian in place
of the Jacobian is no wrong factor on any edge within it.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import jax
from jax.extend import core

from reference.jaxprs import PACKAGES, closed, is_ours, with_results

LIBRARY = {"softmax", "logsumexp", "log_softmax", "logaddexp", "softplus", "log_sigmoid"}


class Call(NamedTuple):
    """A call on the stack of an operation: the line it is made at, and the function called."""

    file: str
    line: int
    function: str


class Function(str):
    """The name of a function whose operations were taken together, with its call."""

    call: Call

    def __new__(cls, call: Call) -> Self:
        """Take the name of what is called."""
        function = super().__new__(cls, call.function)
        function.call = call
        return function


def grouped(traced: core.ClosedJaxpr) -> core.ClosedJaxpr:
    """Give the same operations, with those of each function within a call of its own."""
    jaxpr = with_results(traced).jaxpr
    stacks = [calls_of(eqn) for eqn in jaxpr.eqns]
    shared = _shared([stack for stack in stacks if stack is not None])
    below = [(stack or [])[shared:] for stack in stacks]
    eqns = _grouped(jaxpr, jaxpr.eqns, below, jaxpr.outvars)
    return core.ClosedJaxpr(jaxpr.replace(eqns=eqns), traced.consts)


def calls_of(eqn: core.JaxprEqn) -> list[Call] | None:
    """List the calls that led to an operation, the outermost first: of user code, and one of JAX's.

    Of JAX's functions that call each other the outermost with a name that is known counts. None if
    JAX has kept no stack.
    """
    traceback: Any = eqn.source_info.traceback
    if traceback is None:
        return None
    calls, caller, inside = [], None, False
    for frame in list(traceback.frames)[::-1]:
        ours = not frame.file_name.startswith(PACKAGES) or is_ours(frame.file_name)
        known = frame.function_name.lstrip("_") in LIBRARY
        if caller is not None and (ours or (known and not inside)):
            name = frame.function_name.lstrip("_")
            calls.append(Call(caller.file_name, caller.line_num, name))
        if ours:
            caller, inside = frame, False
        elif known:
            inside = True
    return calls


def _shared(stacks: Sequence[Sequence[Call]]) -> int:
    """Count the calls that lead to all operations, as that of the loss itself."""
    count = 0
    for calls in zip(*stacks, strict=False):  # no more than the shortest has
        if len(set(calls)) > 1:
            break
        count += 1
    return count


def _grouped(
    whole: core.Jaxpr,
    eqns: Sequence[core.JaxprEqn],
    stacks: Sequence[Sequence[Call]],
    outvars: Sequence[Any],
) -> list[core.JaxprEqn]:
    """Put neighbours that the same call led to into one operation, and so on within it."""
    found: list[core.JaxprEqn] = []
    pairs = list(zip(eqns, stacks, strict=True))
    groups = [
        (key, list(group))
        for key, group in itertools.groupby(pairs, key=lambda pair: next(iter(pair[1]), None))
    ]
    for i, (call, group) in enumerate(groups):
        own = [eqn for eqn, _ in group]
        if call is None or len(own) == 1:
            found += own
            continue
        later = itertools.chain.from_iterable(g for _, g in groups[i + 1 :])
        used = {x for eqn, _ in later for x in eqn.invars if not isinstance(x, core.Literal)}
        used |= {x for x in outvars if not isinstance(x, core.Literal)}
        results = [x for eqn in own for x in eqn.outvars if x in used]
        within = _grouped(whole, own, [stack[1:] for _, stack in group], results)
        if len(results) == 1:
            within = [_as_one(whole, call, within, results)]
        found += within
    return found


def _as_one(
    whole: core.Jaxpr, call: Call, eqns: Sequence[core.JaxprEqn], results: Sequence[Any]
) -> core.JaxprEqn:
    """Make a call of some operations of a jaxpr."""
    made = {x for eqn in eqns for x in eqn.outvars}
    given = {
        x: None
        for eqn in eqns
        for x in eqn.invars
        if not isinstance(x, core.Literal) and x not in made
    }
    inputs = list(given)
    names = whole.debug_info._replace(arg_names=None, result_paths=None)
    jaxpr = whole.replace(
        constvars=(), invars=inputs, outvars=list(results), eqns=list(eqns), debug_info=names
    )
    function = jax.jit(core.jaxpr_as_fun(closed(jaxpr)))
    (applied,) = jax.make_jaxpr(function)(*(x.aval for x in inputs)).eqns
    params = applied.params | {"jaxpr": core.ClosedJaxpr(jaxpr, ()), "name": Function(call)}
    return applied.replace(
        invars=inputs, outvars=list(results), params=params, source_info=eqns[-1].source_info
    )
