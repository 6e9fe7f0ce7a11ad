"""The walk that all checks have in common: compare a result, look for its faults, and report."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from reference.arguments import Derivative, in_words
from reference.arrays import Array
from reference.calls import Calls
from reference.compare import Comparison, Leaf, Place, Verdict
from reference.custom_rules import Bodies
from reference.diagnosis.causes import diagnose
from reference.diagnosis.coarser import by_errors, by_numbers
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference, outside
from reference.diagnosis.models import recognised
from reference.diagnosis.where import where_wrong
from reference.digits import Judged, digits, lost_digits
from reference.directions import Direction
from reference.noise.finite import first_given, first_not_finite
from reference.report import WIDTH, GradientReport
from reference.sensitivity import blind_spots, faults_of_ours

NO_NUMBERS = {  # by the kind of NumPy's dtype
    "O": "Python objects",
    "U": "strings",
    "S": "bytes",
    "M": "dates",
    "m": "durations",
}


@dataclass(frozen=True)
class Finding:
    """What was found of one result at one place.

    Attributes:
        here: what compared it.
        faults: that hold whatever the values are.
        judged: its errors, and the comparison with the lost digits marked.
        name: of what was compared.
    """

    here: Place
    faults: tuple[Cause, ...]
    judged: Judged
    name: str

    @property
    def comparison(self) -> Comparison:
        """The comparison with JAX's."""
        return self.judged.comparison

    @property
    def verdict(self) -> Verdict:
        """The verdict of the first fault, or else of the comparison."""
        return self.faults[0].code.verdict if self.faults else self.comparison.verdict


def find(
    here: Place,
    result: Any,
    args: tuple[Any, ...],
    *,
    function: Callable[..., Any] | None = None,
    calls: Calls | None = None,
    name: str = "gradient",
) -> Finding:
    """Compare a result of the right form, and look for its faults.

    Args:
        here: where it was computed.
        result: in the structure of JAX's.
        args: of the function.
        function: gave the result; None if only the result is known.
        calls: of the function, if it was called more than once.
        name: of the result.
    """
    comparison = here(result)
    faults = [
        *(calls.faults(here, comparison) if calls else []),
        *_not_finite(comparison.leaves, name),
    ]
    judged = Judged(comparison)
    if not faults and comparison.verdict == Verdict.MISMATCH:
        dtype = str(np.dtype(here.dtype))
        judged = lost_digits(comparison, here.comparer, function, args, dtype)
    return Finding(here, tuple(faults), judged, name)


def report_on(
    finding: Finding,
    difference: Difference,
    *,
    what: str = "gradient",
    direction: Direction | None = None,
    forward: Finding | None = None,
    notes: Sequence[str] = (),
    known: Sequence[Cause] = (),
) -> GradientReport:
    """Say what was found, and why.

    Args:
        finding: of the derivative.
        difference: the same, to be diagnosed.
        what: was checked.
        direction: in which it was.
        forward: what was found of the forward pass, if it was checked too.
        notes: further warnings.
        known: the causes of a mismatch, if they need no diagnosis.
    """
    before, causes = of_forward(forward) if forward else (Verdict.MATCH, [])
    causes += finding.faults
    if finding.verdict == Verdict.MISMATCH:
        causes += known or _diagnosed(finding, difference)
    elif not finding.faults:
        causes += remarks(finding)
    comparison = finding.comparison
    warnings = [*notes, *_nothing(comparison.leaves, finding.name)]
    warnings += faults_of_ours(comparison, finding.name)
    warnings += blind_spots(comparison.leaves, finding.name)
    model = recognised(difference)
    warnings += model.warnings() if model else []
    warnings += difference.limit.warnings()
    return GradientReport(
        max(before, finding.verdict, key=list(Verdict).index),
        comparison.leaves,
        causes,
        warnings,
        str(np.dtype(finding.here.dtype)),
        measurement=comparison.measurement,
        what=what,
        direction=direction,
        forward=forward.comparison.leaves if forward else (),
        where=_parts([*([forward] if forward else []), finding], difference),
    )


def _nothing(leaves: Sequence[Leaf], name: str) -> list[str]:
    """Say that nothing was compared, if so: all the arrays are right that have no element."""
    if any(leaf.want.size for leaf in leaves):
        return []
    return [f"there is nothing to compare: the {name or 'result'} has no elements"]


def _diagnosed(finding: Finding, difference: Difference) -> Iterator[Cause]:
    """Say what is probably wrong; a coarser precision, where that shows or nothing else does."""
    here, leaves, limit = finding.here, finding.comparison.leaves, difference.limit
    limit.begin()
    if precision := by_numbers(here, leaves):
        yield _coarser(difference, precision, f"each number that is wrong is one of {precision}")
        return
    causes = diagnose(difference)
    if {cause.code for cause in causes} <= {Code.UNKNOWN, Code.LAYERS_ABOVE_ONLY} and (
        precision := by_errors(here, leaves, limit)
    ):
        how = f"a right gradient with {precision} strays as far, and a small mistake may do so too"
        yield _coarser(difference, precision, how)
        causes = tuple(cause for cause in causes if cause.code != Code.UNKNOWN)
    yield from causes


def _coarser(difference: Difference, precision: str, how: str) -> Cause:
    sentence = f"{Code.COARSER_PRECISION.description[:-1]} ({precision})."
    evidence = f"{difference.evidence(difference.wrong)}; {how}"
    return Cause(Code.COARSER_PRECISION, sentence, evidence)


def _parts(findings: Iterable[Finding], difference: Difference) -> Iterator[str]:
    """Say which parts of the arrays are wrong, first of the array that most of is right."""
    for finding in findings:
        wrong = [leaf for leaf in finding.comparison.leaves if leaf.verdict == Verdict.MISMATCH]
        for leaf in sorted(wrong, key=lambda leaf: leaf.wrong.mean()):
            yield where_wrong(leaf, difference.arrays, finding.name)


def of_forward(forward: Finding) -> tuple[Verdict, list[Cause]]:
    """Give the verdict of a forward pass, and the causes."""
    if forward.faults or forward.verdict == Verdict.MISMATCH:
        evidence = "; ".join(cause.evidence for cause in forward.faults)
        if not evidence:
            evidence, _ = outside(forward.comparison.leaves, "the twin's")
        return Verdict.WRONG_FORWARD, [Cause.observed(Code.WRONG_FORWARD, evidence)]
    return forward.verdict, list(remarks(forward))


def through_bodies(
    function: Callable[..., Any],
    derive: Callable[[Callable[..., Any]], Derivative],
    *,
    trusts: bool = True,
) -> tuple[Derivative, Bodies, list[str]]:
    """Differentiate a function without the custom rules of the user's in it, and say so.

    Args:
        function: may call functions that have custom rules.
        derive: differentiates it.
        trusts: whether the rules are taken where the bodies cannot be differentiated.

    Returns:
        The derivative, the function without its rules, and what there is to say.
    """
    bodies = Bodies(function)
    try:
        derivative = derive(bodies)
    except Exception as error:
        if not bodies.rules or not trusts:
            raise
        names, why = ", ".join(bodies.rules), str(error).partition("\n")[0][:WIDTH]
        note = f"the custom rule of {names} is trusted: its body cannot be differentiated ({why})"
        return derive(function), bodies, [note]
    note = (
        f"autodiff has gone through the body of {', '.join(bodies.rules)} and left out its custom "
        "rule, which check_custom_rule checks"
    )
    return derivative, bodies, [note] if bodies.rules else []


def remarks(finding: Finding) -> Iterator[Cause]:
    """Say what there is to say of a result in which nothing is wrong."""
    comparison, here = finding.comparison, finding.here
    dtype = str(np.dtype(here.dtype))
    if finding.verdict == Verdict.NOT_COMPARABLE:
        yield Cause.observed(Code.NOT_COMPARABLE, _why_not_comparable(finding, dtype))
    if finding.verdict == Verdict.BLIND:
        names = ", ".join(finding.name + leaf.path for leaf in comparison.leaves if leaf.blind)
        other = "in float64, " if dtype != "float64" else ""
        evidence = (
            f"at half of {names} or more, an error of the size of the value itself would be "
            f"unseen; check {other}with a smaller case or at another point"
        )
        yield Cause.observed(Code.BLIND, evidence)
    if finding.judged.how:
        evidence = f"{digits(comparison.leaves, finding.name)}; {finding.judged.how}"
        yield Cause.observed(Code.LOST_DIGITS, evidence)
    if any(leaf.tied.any() for leaf in comparison.leaves):
        counts = ", ".join(
            f"{int(leaf.tied.sum())} of {leaf.tied.size} elements of {finding.name}{leaf.path}"
            for leaf in comparison.leaves
            if leaf.tied.any()
        )
        yield Cause.observed(Code.EXACT_TIE, counts)


def _why_not_comparable(finding: Finding, dtype: str) -> str:
    """Say what keeps a result from being compared: an argument, an operation, or rounding."""
    comparer, args = finding.here.comparer, finding.here.args
    given = comparer.names, jax.tree.leaves(args)
    if nan := first_given(*given, "a NaN", np.isnan):
        return f"{nan}, so that nothing is compared that depends on it; check where all are numbers"
    infinite = first_given(*given, "an infinity", np.isinf)
    if where := first_not_finite(comparer.traced, *args, dtype=dtype):
        return (
            f"the first result that {dtype} cannot hold is that of {where}"
            f"{f' ({infinite})' if infinite else ''}; rewrite it, or check "
            "at a point or in a precision where it is finite"
        )
    if any(map(_strays, finding.comparison.leaves)):
        return (
            "rounding decides it: small disturbances stray out of proportion, as where logits "
            "are so large that a few of their steps take a softmax from one class to another; "
            "check at smaller values or in a finer precision"
        )
    if infinite:
        return f"{infinite}; check where all are finite"
    return (
        "no operation leaves the range of the precision, but one does if it is disturbed; "
        "check at another point"
    )


def _strays(leaf: Leaf) -> bool:
    """Say whether nothing is known of an array although all samples of it are finite."""
    if leaf.sigma is None or leaf.want.dtype.kind != "f":
        return False
    return bool((np.isinf(leaf.bound) & np.isfinite(leaf.sigma) & np.isfinite(leaf.want)).any())


def in_its_precision(
    result: Any, target: Any, dtype: str, *, by_jax: bool = False, name: str = "result"
) -> tuple[Any, str, list[str]]:
    """Take a result in float32 for one in float64, to be compared in float32.

    Args:
        result: what was returned.
        target: arrays of the shapes and dtypes that it should have.
        dtype: the precision of the arguments.
        by_jax: whether JAX computed it.
        name: of the result.

    Returns:
        The target and the precision to compare with, and what there is to say of it.
    """
    arrays = list(map(np.asarray, jax.tree.leaves(result)))
    wanted: Any = jax.tree.structure(target)
    if (
        dtype != "float64"
        or jax.tree.structure(result) != wanted
        or not arrays
        or any(array.dtype != np.float32 for array in arrays)  # beside float64 it is another dtype
    ):
        return target, dtype, []
    form = jax.tree.map(lambda array: np.asarray(array).astype(np.float32), target)
    note = f"the {name} is float32 for float64 arguments, so that it was compared in float32"
    if by_jax or any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(result)):
        note += '; JAX computes in float64 after jax.config.update("jax_enable_x64", True)'
    return form, "float32", [note]


def wrong_form(
    result: Any,
    target: Any,
    *,
    name: str = "gradient",
    structure: Callable[[Any], str] | None = None,
) -> Cause | None:
    """Say what keeps a result from having the form of the target, if anything.

    Args:
        result: what was returned.
        target: arrays of the shapes and dtypes that it should have.
        name: of the result.
        structure: says what its structure should have been.
    """
    got: Any = jax.tree.structure(result)
    want: Any = jax.tree.structure(target)
    if got != want:
        evidence = structure(result) if structure else f"got {got}, expected {want}"
        return Cause.observed(Code.WRONG_STRUCTURE, evidence)
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(result), jax.tree.leaves(target), strict=True
    ):
        place = name + jax.tree_util.keystr(path)
        got_array, want_array = np.asarray(leaf), np.asarray(wanted)
        if got_array.dtype.kind in NO_NUMBERS:
            evidence = f"{place} is {_kind_in_words(got_array)}, expected {in_words(want_array)}"
            return Cause.observed(Code.WRONG_STRUCTURE, evidence)
        if got_array.shape != want_array.shape:
            evidence = f"{place} has shape {got_array.shape}, expected {want_array.shape}"
            return Cause.observed(Code.WRONG_SHAPE, evidence)
        if got_array.dtype != want_array.dtype:
            evidence = f"{place} is {_kind_in_words(got_array)}, expected {want_array.dtype}"
            if got_array.dtype == np.float32 and want_array.dtype == np.float64:
                evidence += "; float32 is compared in float32 only where all arrays are float32"
            by_numpy = isinstance(leaf, np.ndarray | np.generic)
            if by_numpy and got_array.dtype == np.float64 and want_array.itemsize < 8:
                evidence += (
                    "; a float64 scalar such as np.sqrt(2) makes float64 of NumPy's "
                    f"{want_array.dtype}, math.sqrt(2) does not"
                )
            return Cause.observed(Code.WRONG_DTYPE, evidence)
    return None


def _kind_in_words(array: Array) -> str:
    """Say what an array holds, if it is not real numbers of some precision."""
    if array.dtype.kind in NO_NUMBERS:
        alone = f"of type {type(array.item()).__name__}" if array.ndim == 0 else ""
        return alone or f"an array of {NO_NUMBERS[array.dtype.kind]}"
    what = {"b": "booleans", "i": "integers", "u": "integers", "c": "complex numbers"}
    named = what.get(array.dtype.kind)
    return f"an array of {named} ({array.dtype})" if named else str(array.dtype)


def _not_finite(leaves: Sequence[Leaf], name: str) -> list[Cause]:
    """Say where a result is not finite although JAX's is, and no overflow is possible."""
    wrong = {}
    for leaf in leaves:
        bad = ~np.isfinite(leaf.got) & np.isfinite(leaf.want) & np.isfinite(leaf.open_bound)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            wrong[leaf.path] = f"{int(bad.sum())} of {bad.size}, the first at {index}"
    if not wrong:
        return []
    evidence = "; ".join(f"{name}{path}: {count}" for path, count in wrong.items())
    return [Cause.observed(Code.NON_FINITE, evidence)]
