"""Other statistics in the backward pass than those with which the forward pass has normalised.

Batch norm gives (x - mean) / s, where mean and s are made of sums of x. In its backward pass may
stand the running mean and variance in their place, which are constants: d_x = d_out / running_s.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from reference.diagnosis.edges.regions import FORMS, NORMALISING
from reference.jaxprs import bind, is_real, names_in, shape_of

JaxArray: TypeAlias = jax.Array

OTHER_STATISTICS = "other_statistics"
MOST = 2  # sums that are replaced together
SAME = FORMS | {"convert_element_type", "copy"}  # what gives the same numbers


class Statistics(NamedTuple):
    """What the operations of a jaxpr make of sums, by the numbers of these.

    Attributes:
        narrow: which sums an array is made of, and of nothing else: a mean, a variance.
        wide: which sums an array is made of beside other arrays: what is centred, or scaled.
    """

    narrow: Mapping[Any, frozenset[int]]
    wide: Mapping[Any, frozenset[int]]

    def replaced(self, jaxpr: core.Jaxpr, sums: frozenset[int]) -> Iterator[tuple[Any, ...]]:
        """List which statistics of these sums may have been replaced: one of each, or of some."""
        chains = [
            [
                eqn.outvars[0]
                for eqn in jaxpr.eqns
                if eqn.primitive.name not in SAME
                and (of := self.narrow.get(eqn.outvars[0])) is not None
                and of <= sums
                and max(of) == number
            ]
            for number in sorted(sums)
        ]
        for chosen in itertools.product(*([None, *chain] for chain in chains)):
            if found := tuple(x for x in chosen if x is not None):
                yield found


@functools.lru_cache(maxsize=1)  # it is asked for at each end
def statistics_of(jaxpr: core.Jaxpr) -> Statistics:
    """Find what is made of sums, element by element."""
    narrow: dict[Any, frozenset[int]] = {}
    wide: dict[Any, frozenset[int]] = {}
    for number, eqn in enumerate(jaxpr.eqns):
        (out, *more), names = eqn.outvars, names_in(eqn)
        if more or not is_real(out) or not names <= NORMALISING:
            continue
        arrays = [x for x in eqn.invars if not isinstance(x, core.Literal)]
        others = [x for x in arrays if x not in narrow and shape_of(x)]
        largest = max((math.prod(shape_of(x)) for x in others), default=0)
        of = [narrow[x] for x in arrays if x in narrow] + [wide[x] for x in others if x in wide]
        if "reduce_sum" in names and math.prod(shape_of(out)) < largest:
            narrow[out] = frozenset({number})
        elif of:
            (wide if others else narrow)[out] = frozenset[int]().union(*of)
    return Statistics(narrow, wide)


def ends(jaxpr: core.Jaxpr) -> dict[frozenset[int], list[int]]:
    """List for some sums the operations that make something of them and of other arrays."""
    found: dict[frozenset[int], list[int]] = {}
    wide = statistics_of(jaxpr).wide
    for number, eqn in enumerate(jaxpr.eqns):
        if (of := wide.get(eqn.outvars[0])) and len(of) <= MOST:
            found.setdefault(of, []).append(number)
    return found


def operations_of(jaxpr: core.Jaxpr, sums: frozenset[int], last: int) -> list[core.JaxprEqn]:
    """List the operations up to the last one that read what is made of some sums."""
    narrow, wide = statistics_of(jaxpr)
    of = {**narrow, **wide}
    return [
        eqn
        for number, eqn in enumerate(jaxpr.eqns[: last + 1])
        if number not in sums and of.get(eqn.outvars[0], sums | {-1}) <= sums
    ]


def normalised(
    jaxpr: core.Jaxpr,
    known: Mapping[Any, Any],
    others: Mapping[Any, Any],
    sums: frozenset[int],
    asked: Sequence[int],
) -> list[JaxArray]:
    """Compute what operations make with other statistics, all of which are constants.

    Args:
        jaxpr: of these operations.
        known: all arrays that they read.
        others: what takes the place of some statistics.
        sums: of which these are made.
        asked: the numbers of the operations whose results are given.
    """
    narrow = statistics_of(jaxpr).narrow
    found = {x: jnp.reshape(z, shape_of(x)).astype(x.aval.dtype) for x, z in others.items()}

    def of(x: Any) -> Any:
        if isinstance(x, core.Literal):
            return x.val
        array = found[x] if x in found else known[x]
        return lax.stop_gradient(array) if x in narrow else array

    for eqn in operations_of(jaxpr, sums, max(asked)):
        if eqn.outvars[0] not in found:
            found[eqn.outvars[0]] = bind(eqn, [of(x) for x in eqn.invars])[0]
    return [found[jaxpr.eqns[number].outvars[0]] for number in asked]
