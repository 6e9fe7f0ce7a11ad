"""What mistakes at some operations of a loss hand down, along directions of its arguments.

A loss repeats itself, in blocks and layers of the same shapes. So each group of operations is taken
by itself, with the arrays that it reads or makes as arguments: what is the same elsewhere is traced
and compiled once, and so it is in the next check of the same loss.
Axes: R directions.
"""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from reference.arrays import Array
from reference.bounds.programs import compiled_fast, program
from reference.custom_rules import alike
from reference.diagnosis.edges.kinds import REGIONS
from reference.diagnosis.edges.mistakes import Site
from reference.diagnosis.edges.operations import site_at
from reference.diagnosis.edges.regions import Region, between
from reference.diagnosis.edges.swaps import another_value
from reference.jaxprs import bind, closed

JaxArray: TypeAlias = jax.Array


class Along(NamedTuple):
    """What is known at the two ends of some operations.

    Attributes:
        moved: how the array that they begin with changes along each direction, of shape (R, ...).
        handed: what is handed down to the array that they end with, along each; of shape (1, ...)
            if that is the same.
    """

    moved: Any
    handed: Any


def alone(jaxpr: core.Jaxpr, numbers: Sequence[int]) -> core.Jaxpr:
    """Give some operations of a jaxpr by themselves, with all that they read as inputs."""
    eqns = [jaxpr.eqns[number] for number in numbers]
    made = {x for eqn in eqns for x in eqn.outvars}
    read = (x for eqn in eqns for x in eqn.invars if not isinstance(x, core.Literal))
    return jaxpr.replace(
        constvars=(),
        invars=list(dict.fromkeys(x for x in read if x not in made)),
        outvars=list(eqns[-1].outvars),
        eqns=eqns,
        debug_info=jaxpr.debug_info._replace(arg_names=None, result_paths=None),
    )


def of_region(
    jaxpr: core.Jaxpr,
    place: tuple[Any, int],
    kinds: Sequence[str],
    known: Mapping[Any, Array],
    along: Along,
) -> tuple[Array, dict[str, Array]]:
    """Give what mistakes of all that is between an array and another one hand down.

    Args:
        jaxpr: in which they are.
        place: the array, and the number of the operation whose result the other one is.
        kinds: of the mistakes.
        known: the arrays of the jaxpr.
        along: how the array changes, and what is handed down to the other one.

    Returns:
        What is right, and by its kind what each mistake makes of it, unless it cannot be made; each
        of shape (R,).
    """
    source, number = place
    here = [kind for kind in kinds if not REGIONS[kind].beyond]
    parts = [
        (alone(jaxpr, between(jaxpr, source, number)), here),
        (alone(jaxpr, range(number + 1)), [kind for kind in kinds if kind not in here]),
    ]
    right, found = np.zeros(len(along.moved)), dict[str, Array]()
    for part, some in parts:
        if some:
            right, wrong = _of_part(part, source, some, known, along)
            found |= wrong
    return right, found


def _of_part(
    part: core.Jaxpr, source: Any, kinds: Sequence[str], known: Mapping[Any, Array], along: Along
) -> tuple[Array, dict[str, Array]]:
    atoms = [x for eqn in part.eqns for x in (*eqn.invars, *eqn.outvars)]
    variables = list(dict.fromkeys(x for x in atoms if not isinstance(x, core.Literal)))
    names = [x for x in variables if x in known]

    def of_all(along: Along, arrays: Sequence[JaxArray]) -> Any:
        arrays_of = dict(zip(names, arrays, strict=True))
        return _made(Region(part, source, len(part.eqns) - 1, arrays_of), kinds, along)

    given = tuple(x in known for x in variables)
    key = alike(closed(part)), "region", names.index(source), given, tuple(kinds)
    found: tuple[Array, dict[str, Array]] = _compiled(key, of_all, along, [known[x] for x in names])
    return found


def _made(
    region: Region, kinds: Sequence[str], along: Along
) -> tuple[JaxArray, dict[str, JaxArray]]:
    def through(linear: Callable[[Any], Any]) -> JaxArray:
        results = jax.vmap(linear)(along.moved) * along.handed
        return results.reshape(len(results), -1).sum(axis=1)

    def right(x: Any) -> JaxArray:
        site = region.site(x)
        return site.tangent(site.point, x)

    found = {}
    for kind in kinds:
        try:
            found[kind] = through(functools.partial(REGIONS[kind].make, region))
        except Exception:  # noqa: S112, a way between them may lead through anything
            continue
    return through(right), found


def of_edge(
    part: core.Jaxpr,
    operand: int,
    arrays: Sequence[Array],
    other: tuple[Array, int],
    along: Along,
) -> Array:
    """Give what an operation hands down to an operand, with an array in the place of one.

    Args:
        part: the operation by itself.
        operand: the number of the operand.
        arrays: that are its operands.
        other: the array, and the number of the operand whose place it takes.
        along: how the operand changes, and what is handed down to the result.

    Returns:
        An array of shape (R,).
    """
    (eqn,), (z, number) = part.eqns, other

    def of_all(along: Along, z: JaxArray, arrays: Sequence[JaxArray]) -> JaxArray:
        site = site_at(eqn, arrays, operand)

        def one(x: JaxArray) -> JaxArray:
            given = Site(site.function, site.operands, operand, x)
            return another_value(given, z, number)

        results = jax.vmap(one)(along.moved) * along.handed
        return results.reshape(len(results), -1).sum(axis=1)

    key = alike(closed(part)), "edge", operand, number
    found: Array = _compiled(key, of_all, along, z, list(arrays))
    return found


def slope(part: core.Jaxpr, operand: int, arrays: Sequence[Array], axes: list[Any]) -> Array:
    """Give the local derivative of what is done element by element.

    Args:
        part: the operation by itself.
        operand: the number of the operand that it is taken in.
        arrays: that are its operands; those of a loop for each step.
        axes: 0 for those, and None for all others.
    """
    (eqn,) = part.eqns

    def one(*arrays: Any) -> Any:
        def of_x(x: Any) -> Any:
            return bind(eqn, [x if i == operand else y for i, y in enumerate(arrays)])[0]

        x = arrays[operand]
        return jax.jvp(of_x, (x,), (jnp.ones_like(x),))[1]

    function = jax.vmap(one, axes) if any(axis == 0 for axis in axes) else one
    key = alike(closed(part)), "slope", operand, tuple(axes)
    found: Array = _compiled(key, function, *arrays)
    return found


def _compiled(key: tuple[Hashable, ...], function: Callable[..., Any], *given: Any) -> Any:
    """Evaluate a function, which is compiled once for a key whose first part is not None."""
    of, *rest = key
    rest += [(np.shape(x), x.dtype) for x in jax.tree.leaves(given)]

    def compiled() -> Any:
        return compiled_fast(jax.jit(function).lower(*given))

    return jax.tree.map(np.asarray, program(of, *rest, compiled=compiled)(*given))
