"""The walk of the checks that need a direction, a d_out or tangents: along several of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves_with_path

from reference.arguments import Derivative, Subject, fresh, is_real
from reference.calls import Calls, copied
from reference.compare import Leaf, Verdict
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.directions import Direction
from reference.report import GradientReport
from reference.walk import (
    Finding,
    find,
    in_its_precision,
    of_forward,
    report_on,
    through_bodies,
    wrong_form,
)


def along(
    drawn: Iterable[Direction],
    subject: Subject,
    function: Callable[..., Any],
    *,
    by_jax: Callable[..., Any],
    target: Any,
    expected: Callable[[Any], str],
    difference: Callable[[Sequence[Leaf], tuple[Any, ...], frozenset[int]], Difference],
    what: str,
    name: str = "gradient",
    forward: Finding | None = None,
    remarks: Sequence[str] = (),
    trusts_rules: bool = True,
) -> GradientReport:
    """Check a function of a direction and the arguments along several directions.

    Args:
        drawn: the directions.
        subject: what the function is a derivative of.
        function: the handwritten one; its result has the target's structure, if it is right.
        by_jax: JAX's.
        target: arrays of the form that the result should have.
        expected: says what form that is, given a result of another.
        difference: what is to be diagnosed, given the leaves, where they were computed, and the
            places of those that are undecided.
        what: is checked.
        name: of the result.
        forward: what was found of the forward pass, if it was checked too.
        remarks: what else there is to say of that.
        trusts_rules: whether a custom rule is taken where its function's body cannot be
            differentiated.
    """
    args, given = subject.args, subject.given
    places = tuple(1 + place for place in subject.places)
    drawn = list(drawn)

    def derive(function: Callable[..., Any]) -> Derivative:
        subject.body = function
        first = (drawn[0].value, *given)
        names = [drawn[0].name, *map(subject.name, range(len(given)))]
        return Derivative(by_jax, first, traced=(0, *places), differentiated=places, names=names)

    derivative, _, notes = through_bodies(subject.function, derive, trusts=trusts_rules)
    notes = [*remarks, *(notes if trusts_rules else [])]  # or else the rule is what is checked
    findings: list[tuple[Finding, Direction, Any]] = []
    for direction in drawn:
        inputs = (_as_given(direction.value, args), *args)
        copied_inputs = (direction.value, *given)
        calls = None
        if not findings:
            names = [direction.name, *(f"args[{i}]" for i in range(len(args)))]
            moved = (0, *places)
            calls = Calls(
                function, inputs, copied_inputs, moved, names=names, lent=[0], result=name
            )
        result = calls.first if calls else jax.tree.map(copied, function(*fresh(inputs)))
        by_hand_of_jax = calls is not None and calls.by_jax
        form, dtype, said = in_its_precision(result, target, subject.dtype, by_jax=by_hand_of_jax)
        notes += [] if findings else said
        if fault := wrong_form(result, form, name=name, structure=expected):
            leaves = forward.comparison.leaves if forward else ()
            causes = [*(of_forward(forward)[1] if forward else []), fault]
            return GradientReport(
                fault.code.verdict, (), causes, notes, dtype, what=what, forward=leaves
            )
        here = derivative.at(*copied_inputs, dtype=dtype)
        found = find(here, result, copied_inputs, function=function, calls=calls, name=name)
        findings.append((found, direction, result))
    order = list(Verdict)
    worst, direction, result = max(findings, key=lambda found: order.index(found[0].verdict))
    wrong = [other.how for found, other, _ in findings if not found.verdict.ok]
    which = "the worst" if wrong else "the first"
    tried = f"{which} of {len(findings)} tried, {len(findings) - len(wrong)} of them right"
    tried += f"; wrong at {'; '.join(wrong)}" if 1 < len(wrong) < len(findings) else ""
    leaves, inputs = worst.comparison.leaves, (direction.value, *given)
    diagnosed = difference(leaves, inputs, worst.judged.undecided)
    known = []
    if worst.verdict == Verdict.MISMATCH:
        evidence = diagnosed.evidence(diagnosed.wrong, explained=True)
        known = list(
            _unused(
                derivative,
                direction,
                given,
                dtype=str(np.dtype(worst.here.dtype)),
                result=result,
                evidence=evidence,
            )
        )
    return report_on(
        worst,
        diagnosed,
        what=what,
        direction=replace(direction, tried=tried),
        forward=forward,
        notes=notes,
        known=known,
    )


def _unused(
    derivative: Derivative,
    direction: Direction,
    given: tuple[Any, ...],
    *,
    dtype: str,
    result: Any,
    evidence: str,
) -> Iterator[Cause]:
    """Look whether a part of the direction was taken for 0, or all of it for 1."""
    arrays, structure = jax.tree.flatten(direction.value)
    paths = [jax.tree_util.keystr(path) for path, _ in tree_leaves_with_path(direction.value)]
    others = {direction.name + " is taken for 1": list(map(np.ones_like, arrays))}
    for i, path in enumerate(paths if len(paths) > 1 else []):
        zeros = [0 * array if i == place else array for place, array in enumerate(arrays)]
        others[f"{direction.name}{path} is taken for 0"] = zeros
    for how, other in others.items():
        here = derivative.at(jax.tree.unflatten(structure, other), *given, dtype=dtype)
        if here(result).verdict == Verdict.MATCH:
            sentence = f"{Code.DIRECTION_UNUSED.description[:-1]} ({how})."
            yield Cause(Code.DIRECTION_UNUSED, sentence, evidence)


def _as_given(direction: Any, args: tuple[Any, ...]) -> Any:
    """Make arrays of JAX's where the real arguments are some."""
    if not any(is_real(leaf) and isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(args)):
        return fresh(direction)
    return jax.tree.map(jnp.asarray, direction)


def inner(one: Any, other: Any) -> Any:
    """Give the inner product of two trees, one of which has the precision of the other."""
    products = jax.tree.map(
        lambda a, b: jnp.vdot(a, jnp.asarray(b, jnp.result_type(a))), one, other
    )
    return sum(jax.tree.leaves(products))
