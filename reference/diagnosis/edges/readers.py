"""Mistakes of how all that has read an element hands down to it together, as in sums of windows.

With A[o, i] the derivative of result o in element i, d_x[i] is the sum of A[o, i] d_out[o] over all
o. In its place people write with = what is to be added, so that of all that have read i one counts;
or they divide by how many there are.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend import core

from reference.diagnosis.edges.regions import Pattern, Region
from reference.jaxprs import is_real, names_in

JaxArray: TypeAlias = jax.Array

ADDING = {"add", "add_any", "sub"}
READING = ADDING | {
    "conv_general_dilated", "div", "dot_general", "gather", "mul", "reduce_window_sum", "take",
}  # fmt: skip
LINEAR = READING | {
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cumsum", "dynamic_slice",
    "neg", "pad", "reduce_sum", "reshape", "rev", "slice", "split", "squeeze", "transpose",
}  # fmt: skip
INDEXING = {"and", "clamp", "eq", "ge", "gt", "iota", "jit", "le", "lt", "ne", "or", "pjit",
            "rem", "select_n"}  # fmt: skip


def reading(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
    """List arrays with operations that read them, and constants of the loss beside them."""
    # Of each array that is no constant; integers, which say what is read, are taken for constants.
    source: dict[Any, Any] = {x: x for x in jaxpr.invars if is_real(x)}
    for number, eqn in enumerate(jaxpr.eqns):
        operands = [x for x in eqn.invars if not isinstance(x, core.Literal) and x in source]
        if not operands:
            continue
        out, names = eqn.outvars[0], names_in(eqn)
        sources = {source[x] for x in operands}
        linear = names <= LINEAR | INDEXING and is_real(out)
        if linear and len(sources) == 1 and (names <= ADDING or len(operands) == 1):
            source |= dict.fromkeys(eqn.outvars, *sources)
            if names & READING:
                yield source[out], number
        else:
            source |= {x: x for x in eqn.outvars}


def _first(region: Region, x: Any) -> JaxArray:
    return _applied(region, _of_first(region.jacobian), x)


def _last(region: Region, x: Any) -> JaxArray:
    return _applied(region, _of_first(region.jacobian[::-1])[::-1], x)


def _of_first(A: Any) -> JaxArray:
    """Keep of each column the first number that is not 0."""
    return jnp.where(jnp.cumsum(A != 0, axis=0) == 1, A, 0)


def _mean(region: Region, x: Any) -> JaxArray:
    read = (region.jacobian != 0).astype(x.dtype)
    return _applied(region, read / jnp.maximum(read.sum(axis=0, keepdims=True), 1), x)


def _applied(region: Region, A: Any, x: Any) -> JaxArray:
    out: JaxArray = (A.astype(x.dtype) @ x.ravel()).reshape(region.of(region.out).shape)
    return out


ONE_COUNTS = "is written with =, not added with +=, so that of all that have read an element the"
READERS = {
    "first_reader": Pattern(f"{ONE_COUNTS} first counts", reading, _first),
    "last_reader": Pattern(f"{ONE_COUNTS} last counts", reading, _last),
    "mean_of_the_readers": Pattern(
        "is divided by how many have read an element, each of which counts once", reading, _mean
    ),
}
