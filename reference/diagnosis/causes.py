"""What is probably wrong with a gradient that disagrees with JAX: the diagnosis.

What the model knows of its own bugs comes first (`reference.diagnosis.models`), then the hypotheses
that need no model (`reference.diagnosis.hypotheses`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.diagnosis.edges.words import ELSEWHERE, located
from reference.diagnosis.found import Found
from reference.diagnosis.hypotheses import (
    OF_ARRAYS,
    OF_PARTS,
    OF_ROWS,
    layers_above_only,
)
from reference.diagnosis.models import recognised

__all__ = ["Cause", "Code", "Difference", "diagnose"]


def diagnose(difference: Difference) -> tuple[Cause, ...]:
    """List the bugs that would explain the difference, the most likely first.

    Those that explain every array that is wrong come first, with the operation of the loss whose
    backward would give the same; if there are none, the operations that explain it, or else what
    explains some arrays. A hint at the layer where the error enters comes last. If nothing explains
    the difference the one cause is `unknown`, and if no array is wrong there is none.
    """
    if not difference.wrong:
        return ()
    if nothing := difference.nothing & difference.wrong:
        return _of_nothing(difference, nothing)
    difference = replace(difference, model=recognised(difference))
    of_model = list(difference.model.causes()) if difference.model else []
    # What traces the loss again is not asked where the model has the answer.
    hypotheses = OF_ARRAYS if of_model else (*OF_ROWS, *OF_ARRAYS)
    found = _merged(part for hypothesis in hypotheses for part in hypothesis(difference))
    full = [part for part in found if part.leaves == difference.wrong]
    codes = {cause.code for cause in of_model}
    causes = of_model + [_cause(difference, part) for part in full if part.code not in codes]
    if causes:
        fitted = not of_model and full[0].fitted
        causes = _with_the_line(causes, located(difference, alone=True).causes, fitted=fitted)
        return (*causes, *layers_above_only(difference))
    searched = not difference.limit.is_over
    of_operations, doubt = located(difference)
    if of_operations:
        return tuple(_in_the_model(difference, cause) for cause in of_operations)
    of_parts = (part for hypothesis in OF_PARTS for part in hypothesis(difference))
    chosen = _covering([*found, *of_parts])
    causes = [_cause(difference, part) for part in chosen]
    doubtful = difference.undecided.difference(*(part.leaves for part in chosen))
    left = difference.wrong.difference(doubtful, *(part.leaves for part in chosen))
    if causes and left:
        also = f"Also wrong, and not explained: {difference.names(left)}."
        causes[0] = replace(causes[0], sentence=f"{causes[0].sentence} {also}")
    if difference.wrong != difference.undecided:
        causes += layers_above_only(difference)
    if not causes and difference.wrong != doubtful:
        evidence = "; ".join(
            filter(None, (difference.evidence(difference.wrong - doubtful), doubt))
        )
        causes = [Cause.observed(Code.UNKNOWN, evidence) if searched else _not_searched(evidence)]
    if doubtful:
        causes.append(Cause.observed(Code.FEW_ROUNDINGS, difference.doubt(doubtful)))
    return tuple(causes)


def _in_the_model(difference: Difference, cause: Cause) -> Cause:
    """Give a cause the code that the model has for it, and say what that means before the line."""
    code = difference.model.code_of_operation(cause) if difference.model else cause.code
    if code == cause.code:
        return cause
    return replace(cause, code=code, sentence=f"{code.description} {cause.sentence}")


def _not_searched(evidence: str) -> Cause:
    """Say that nothing was found where not much was looked for."""
    sentence = f"{Code.UNKNOWN.description[:-1]}; the operations of the loss were not searched."
    return Cause(Code.UNKNOWN, sentence, evidence)


def _of_nothing(difference: Difference, nothing: frozenset[int]) -> tuple[Cause, ...]:
    """Name what None was returned for, and then what is wrong with the other arrays."""
    names = difference.names(nothing)
    sentence = f"{Code.ZERO.description[:-1]}: None was returned in its place ({names})."
    cause = Cause(Code.ZERO, sentence, difference.evidence(nothing, explained=True))
    leaves = [
        replace(leaf, got=leaf.want.astype(leaf.got.dtype)) if i in nothing else leaf
        for i, leaf in enumerate(difference.leaves)
    ]
    others = replace(difference, leaves=leaves, nothing=frozenset())
    return cause, *diagnose(others)


def _with_the_line(causes: list[Cause], edges: list[Cause], *, fitted: bool) -> list[Cause]:
    """Say at which operation of the loss the first cause enters.

    Both give the gradient that was handed in, so that they are one mistake in other words. The
    operation comes first only where it takes no number, and the other needs one that was fitted
    and has no name.

    Args:
        causes: each explains all that is wrong.
        edges: the operation whose backward would give the same, if there is one.
        fitted: whether the first cause has such a number.
    """
    if not edges:
        return causes
    (edge,), (first, *rest) = edges, causes
    if fitted and edge.code != Code.PATH_SCALED:
        return [edge, *causes]
    sentence = f"{first.sentence} {edge.sentence}"
    _, *elsewhere = edge.evidence.partition(ELSEWHERE)
    evidence = f"{first.evidence}{''.join(elsewhere)}"
    return [replace(edge, code=first.code, sentence=sentence, evidence=evidence), *rest]


def _merged(found: Iterable[Found]) -> list[Found]:
    """Put the parts of each code together; then order, one for all before one for each."""
    by_code: dict[Code, Found] = {}
    for part in found:
        before = by_code.get(part.code)
        if before is None:
            by_code[part.code] = part
        elif not part.leaves <= before.leaves:
            details = {**before.details, **part.details}
            fitted = before.fitted or part.fitted
            by_code[part.code] = Found(part.code, details, shared=False, fitted=fitted)
    order = list(Code)
    return sorted(by_code.values(), key=lambda part: (not part.shared, order.index(part.code)))


def _covering(found: Sequence[Found]) -> list[Found]:
    """Take what explains most leaves first, then what explains any of those left."""
    chosen: list[Found] = []
    covered: frozenset[int] = frozenset()
    for part in sorted(found, key=lambda part: -len(part.leaves)):
        if not part.leaves <= covered:
            chosen.append(part)
            covered |= part.leaves
    return chosen


def _cause(difference: Difference, found: Found) -> Cause:
    code = difference.model.code_of(found) if difference.model else found.code
    details = [
        f"{difference.names(leaves)}: {detail}" if detail else difference.names(leaves)
        for leaves, detail in found.details.items()
    ]
    sentence = f"{code.description[:-1]} ({'; '.join(details)})."
    return Cause(code, sentence, difference.evidence(found.leaves, explained=True))
