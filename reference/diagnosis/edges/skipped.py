"""The mistake that all between an array and another one is left out of the backward pass."""

from collections.abc import Iterator
from typing import Any

from jax.extend import core

from reference.diagnosis.edges.regions import Pattern, between
from reference.jaxprs import is_real

LEFT_OUT = "all_left_out"
LAST = 4  # arrays that are tried


def skippable(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
    """List what is given with the last arrays of its shape through which all ways lead."""
    for source in filter(is_real, jaxpr.invars):
        alike = (i for i, eqn in enumerate(jaxpr.eqns) if eqn.outvars[0].aval == source.aval)
        for number in [*alike][: -1 - LAST : -1]:
            several = len(between(jaxpr, source, number)) > 1
            if several and not _leads_past(jaxpr, source, number):
                yield source, number


def _leads_past(jaxpr: core.Jaxpr, source: Any, number: int) -> bool:
    """Say whether a way leads from an array to a result that is not through an operation."""
    reached = {source}
    for i, eqn in enumerate(jaxpr.eqns):
        operands = (x for x in eqn.invars if not isinstance(x, core.Literal))
        if i != number and not reached.isdisjoint(operands):
            reached.update(eqn.outvars)
    results = (x for x in jaxpr.outvars if not isinstance(x, core.Literal))
    return not reached.isdisjoint(results)


SKIPPED = {
    LEFT_OUT: Pattern(
        "is replaced by 1, as if nothing were between the two,", skippable, lambda _, x: x
    )
}
