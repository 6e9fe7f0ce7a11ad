"""Which argument is not finite, or which operation first leaves the range of a precision."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import numpy.typing as npt
from jax.extend import core

from reference.bounds.tracing import Traced, in_float64, precise_jax
from reference.jaxprs import bind, closed, user_frame


def first_not_finite(traced: Traced, *args: Any, dtype: npt.DTypeLike) -> str:
    """Name the first operation whose result is not finite, or not in `dtype`, and its line.

    A constant that is infinite, as a mask's, and what is made of it by moving and selecting is not
    meant: the operation gives an infinity or a NaN for finite operands, or a NaN.

    Returns:
        A sentence's object: `div at loss.py:12 (loss)`; empty if everything is finite.
    """
    largest = float(ml_dtypes.finfo(np.dtype(dtype)).max)
    with precise_jax(), np.errstate(all="ignore"):
        return next(_suspects(traced.jaxpr, jax.tree.leaves(in_float64(args)), largest), "")


def first_given(
    names: Sequence[str], args: Sequence[Any], what: str, is_one: Callable[[Any], Any]
) -> str:
    """Name the first argument with such a number in it, and where; empty if there is none.

    >>> first_given(["x", "w"], [np.ones(1), np.array([[1, np.nan]])], "a NaN", np.isnan)
    'w has a NaN at [0, 1]'
    >>> first_given(["x"], [np.inf], "an infinity", np.isinf)
    'x is an infinity'
    """
    for name, arg in zip(names, args, strict=True):
        found = np.argwhere(is_one(np.asarray(arg)))
        if len(found):
            return (
                f"{name} has {what} at {found[0].tolist()}" if np.ndim(arg) else f"{name} is {what}"
            )
    return ""


def _suspects(
    traced: Any, inputs: Sequence[Any], largest: float, place: str = "an unknown line"
) -> Iterator[str]:
    """Evaluate operation by operation; calls are opened, loops and branches are taken whole."""
    jaxpr, consts = getattr(traced, "jaxpr", traced), getattr(traced, "consts", [])
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in jaxpr.eqns:
        operands = [x.val if isinstance(x, core.Literal) else known[x] for x in eqn.invars]
        inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
        inner = None if eqn.primitive.name in {"scan", "while"} else inner
        if inner is not None:
            yield from _suspects(inner, operands, largest, line(eqn) or place)
        outs = _evaluated(eqn, inner, operands)
        for out in outs:
            if _leaves(out, operands, largest):
                yield f"{eqn.primitive.name} at {line(eqn) or place}"
                break
        known.update(zip(eqn.outvars, outs, strict=True))


def _evaluated(eqn: core.JaxprEqn, inner: Any, operands: Sequence[Any]) -> Sequence[Any]:
    if inner is not None:
        return core.jaxpr_as_fun(closed(inner))(*operands)
    return bind(eqn, operands)


def _leaves(out: Any, operands: Sequence[Any], largest: float) -> bool:
    """Say whether a result is beyond the range although no operand is, or has the first NaN."""
    if not jax.numpy.issubdtype(out.dtype, jax.numpy.inexact):
        return False
    array = np.asarray(out)
    before = [np.asarray(x) for x in operands if jax.numpy.issubdtype(x.dtype, jax.numpy.inexact)]
    if np.isnan(array).any():
        return not any(np.isnan(x).any() for x in before)
    beyond = (abs(array) > largest).any()
    return bool(beyond and not any((abs(x) > largest).any() for x in before))


def line(eqn: core.JaxprEqn) -> str:
    """Give the line of the user's code that an operation comes from, if it is known."""
    frame = user_frame(eqn)
    if frame is None:
        return ""
    return f"{Path(frame.file_name).name}:{frame.line_num} ({frame.function_name})"
