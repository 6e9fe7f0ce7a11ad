"""The operations of a jaxpr: how one is applied, what is within it, and where it was written."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

HERE = Path(__file__).parent
EXP_NEG_SQ = f"exp_neg_sq at {Path(jax.__file__).parent / '_src' / 'lax' / 'erf.py'}:"
PACKAGES = (str(Path(jax.__file__).parent), str(HERE))
FORWARD = (str(HERE / "layers"), str(HERE / "models"))  # which are written to be differentiated


def bind(
    eqn: core.JaxprEqn, operands: Sequence[Any], params: Mapping[str, Any] | None = None
) -> Sequence[Any]:
    """Apply an operation as JAX does, by its own rule if it has one.

    Args:
        eqn: the operation.
        operands: in place of its own.
        params: likewise; by default its own.

    Returns:
        A list of results.
    """
    given: Any = eqn.primitive.get_bind_params(eqn.params if params is None else params)
    functions, params = given if isinstance(given, tuple) else ((), given)  # before JAX 0.10
    outs: Any = eqn.primitive.bind(*functions, *operands, **params)
    return outs if eqn.primitive.multiple_results else [outs]


def is_exp_neg_sq(jaxpr: Any) -> bool:
    """Say whether it is the exp(-x^2) with which newer versions of JAX differentiate erf and erfc.

    That function splits x into its bits, which no interval can follow, to square it more exactly
    than an implementation need. The bound is that of the formula in earlier versions of JAX, of
    three operations.
    """
    return str(jaxpr.debug_info.func_src_info).startswith(EXP_NEG_SQ)


def is_jaxpr(x: Any) -> bool:
    """Say whether it is a jaxpr, with its constants or without."""
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


def closed(jaxpr: Any) -> Any:
    """Give a jaxpr with its constants, none if it has none with it."""
    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())


def with_results(function: Any) -> Any:
    """Leave out operations without results, such as a print: nothing is handed down there."""
    eqns = [eqn for eqn in function.jaxpr.eqns if eqn.outvars]
    if len(eqns) == len(function.jaxpr.eqns):
        return function
    effects = set[Any]().union(*(eqn.effects for eqn in eqns))
    return core.ClosedJaxpr(function.jaxpr.replace(eqns=eqns, effects=effects), function.consts)


def functions_in(eqn: core.JaxprEqn) -> list[Any]:
    """List the functions within an operation, as of a loop or a call, as jaxprs."""
    return [x for x in jax.tree.leaves(eqn.params, is_leaf=is_jaxpr) if is_jaxpr(x)]


def names_in(eqn: core.JaxprEqn) -> set[str]:
    """Name the primitives that an operation consists of."""
    inner = (e.primitive.name for function in functions_in(eqn) for e in equations(function))
    return {eqn.primitive.name, *inner}


def is_real(atom: Any) -> bool:
    """Say whether it is an array of real numbers."""
    return bool(jnp.issubdtype(getattr(atom.aval, "dtype", bool), jnp.floating))


def shape_of(atom: Any) -> tuple[int, ...]:
    """Give the shape of an array; of what is none, that of a number."""
    return tuple(getattr(atom.aval, "shape", ()))


def equations(jaxpr: Any) -> Iterator[core.JaxprEqn]:
    """List the operations of a jaxpr and of all functions within it."""
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield eqn
        for inner in functions_in(eqn):
            yield from equations(inner)


def is_ours(file: str) -> bool:
    """Say whether a file is of the layers and models of this package, which are a user's too."""
    return file.startswith(FORWARD)


def user_frame(eqn: core.JaxprEqn) -> Any:
    """Find the innermost frame that an operation comes from, of the user or of a layer's twin.

    Returns:
        A frame with `file_name`, `line_num` and `function_name`; None if there is none.
    """
    traceback: Any = eqn.source_info.traceback
    for frame in traceback.frames if traceback else []:
        internal = frame.file_name.startswith(PACKAGES) and not is_ours(frame.file_name)
        if not internal and frame.file_name.endswith(".py"):
            return frame
    return None
