"""Mistakes of what is chosen by the largest of several, in one operation or in many.

Max pooling is written by windows, by slices or by places that are read, and the entry that is the
largest of its window gets all of the window's derivative. With W[o, i] whether entry i is in window
o, and i(o) the largest of them, d_x[i] is the sum of d_out[o] over o with i(o) = i. In its place
people write the derivative of a mean, or find i(o) in one channel for all.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend import core

from reference.diagnosis.edges.patterns import PATTERNS
from reference.diagnosis.edges.regions import AXES, ENTRIES, Pattern, Region
from reference.jaxprs import functions_in, is_real, names_in, shape_of

JaxArray: TypeAlias = jax.Array

OF_TWO = {"max", "min"}
LARGEST = OF_TWO | {
    "argmax", "argmin", "reduce_max", "reduce_min", "reduce_window_max", "reduce_window_min",
}  # fmt: skip
SELECTING = LARGEST | {
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "dynamic_slice", "gather",
    "reshape", "select_n", "slice", "split", "squeeze", "stack", "stop_gradient", "transpose",
}  # fmt: skip
INDEXING = {
    "add", "and", "clamp", "eq", "ge", "gt", "iota", "jit", "le", "lt", "mul", "ne", "not", "or",
    "pjit", "rem", "sub",
}  # fmt: skip


def selecting(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
    """List arrays with operations whose results are chosen of their elements, by the largest."""
    return ((source, number) for source, number, _ in _selecting(jaxpr))


def pooling(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
    """List those of `selecting` whose results are not those of a maximum of two arrays alone."""
    for source, number, names in _selecting(jaxpr):
        out = jaxpr.eqns[number].outvars[0]
        if names & (LARGEST - OF_TWO) or shape_of(source) != shape_of(out):
            yield source, number


@functools.lru_cache(maxsize=1)  # several mistakes ask for those of one jaxpr
def _selecting(jaxpr: core.Jaxpr) -> tuple[tuple[Any, int, frozenset[str]], ...]:
    made = {x: eqn for eqn in jaxpr.eqns for x in eqn.outvars}
    found = []
    for number, eqn in enumerate(jaxpr.eqns):
        ends, names = _chosen_of(eqn.outvars[0], made)
        if len(ends) == 1 and names & LARGEST and is_real(eqn.outvars[0]):
            found.append((ends.pop(), number, names))
    return tuple(found)


def _chosen_of(out: Any, made: Mapping[Any, core.JaxprEqn]) -> tuple[set[Any], frozenset[str]]:
    """Go back to the arrays that a result is chosen of; name the operations on the way.

    Where a place is read, the way leads through its number, too, however that was computed.
    """
    ends, names, seen = set[Any](), set[str](), set[Any]()
    ahead = [out]
    while ahead:
        x = ahead.pop()
        if isinstance(x, core.Literal) or x in seen:
            continue
        seen.add(x)
        eqn = made.get(x)
        if is_real(x) and (eqn is None or not _selects(eqn)):
            ends.add(x)
        elif eqn is not None:
            names |= names_in(eqn)
            ahead += eqn.invars
    return ends, frozenset(names)


def _selects(eqn: core.JaxprEqn) -> bool:
    return names_in(eqn) <= (SELECTING | INDEXING if functions_in(eqn) else SELECTING)


def _first_window(region: Region, x: Any) -> JaxArray:
    return PATTERNS["first_window_only"].make(region.site(x))


def _last_window(region: Region, x: Any) -> JaxArray:
    return PATTERNS["last_window_only"].make(region.site(x))


def _window(region: Region) -> JaxArray:
    """Find W: an entry is in a window if one beyond all others there, or below, is seen."""
    x, out = region.of(region.source), region.of(region.out)
    if x.size * out.size > ENTRIES:
        raise NotImplementedError(f"windows on {x.size} entries")
    far = 1 + 2 * abs(x).max()

    def seen(place: Any) -> Any:
        unit = far * (jnp.arange(x.size) == place).reshape(x.shape).astype(x.dtype)
        above, below = (region.site(y).with_operand(y) for y in (x + unit, x - unit))
        return ((above != out) | (below != out)).ravel()

    return jax.vmap(seen, out_axes=1)(jnp.arange(x.size)).astype(x.dtype)


def _of_a_mean(region: Region, x: Any) -> JaxArray:
    """d_x[i] is the sum of d_out[o] / n(o) over all windows o of i, with n(o) the size of one."""
    W = _window(region)
    out: JaxArray = (W @ x.ravel() / W.sum(axis=1)).reshape(region.of(region.out).shape)
    return out


def _to_all(region: Region, x: Any) -> JaxArray:
    """d_x[i] is the sum of d_out[o] over all windows o of i."""
    out: JaxArray = (_window(region) @ x.ravel()).reshape(region.of(region.out).shape)
    return out


def _of_first(region: Region, x: Any, axis: int) -> JaxArray:
    """i(o) is found in the first slice along an axis, and taken for all slices."""
    point = region.of(region.source)
    first = jnp.broadcast_to(jax.lax.slice_in_dim(point, 0, 1, axis=axis), point.shape)
    return region.site(x).tangent(first, x)


def _has_axis(axis: int) -> Callable[[core.Jaxpr], Iterator[tuple[Any, int]]]:
    def places(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
        return (
            (source, number)
            for source, number in selecting(jaxpr)
            if axis < len(shape_of(source)) and shape_of(source)[axis] > 1
        )

    return places


SELECTIONS = {
    "last_window_of_slices": Pattern(
        PATTERNS["last_window_only"].sentence, selecting, _last_window
    ),
    "first_window_of_slices": Pattern(
        PATTERNS["first_window_only"].sentence, selecting, _first_window
    ),
    "of_a_mean": Pattern(
        "goes in equal parts to all of a window, as that of a mean, not to the largest alone",
        pooling, _of_a_mean,
    ),
    "to_all_of_a_window": Pattern(
        "goes to all of a window, not to the largest alone", pooling, _to_all
    ),
}  # fmt: skip
SELECTIONS |= {
    f"chosen_in_the_first_along_{axis}": Pattern(
        f"goes where the largest is in the first slice along axis {axis}, in all other slices too",
        _has_axis(axis),
        functools.partial(_of_first, axis=axis),
    )
    for axis in range(AXES)
}
