"""The outcome of a gradient check, as text for a terminal and as data."""

import os
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from reference.arrays import told_apart
from reference.compare import Leaf, Verdict
from reference.diagnosis.codes import Cause, Code
from reference.directions import Direction
from reference.noise.measure import Measurement
from reference.noise.statistics import FAILURE, probability
from reference.picture import draw
from reference.sensitivity import sensitivity
from reference.source import marks_of, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 100
CAUSES = 4  # at most, and so on, so that a hundred leaves take a screen
ROWS = 12
NOTES = 6
PARTS = 4  # of arrays, that are told
WORST = 50  # sigma, beyond which no probability is worth a number
INDICES = 5  # of ambiguous elements


class GradientReport(str):
    """The outcome of `check_gradient`, and of each other check.

    It is a string, its own text, because that is what pytest prints whole where
    `assert report.ok, report` fails. It is true where it is ok.

    Attributes:
        verdict: the worst of the leaves' verdicts, or what has kept them from being compared.
        leaves: each array of the gradient beside JAX's; none if they could not be compared.
        causes: what is probably wrong, most likely first; none if nothing is.
        warnings: what this check could not have seen.
        dtype: the precision that the bounds are for.
        measurement: of the rounding, None if nothing could be compared.
        direction: of what depends on one, the `d_out` or the `tangents` of the leaves shown, with
            the arrays as its value; None for a gradient.
        forward: each array of a layer's output beside the twin's, if that was compared.
        where: which part of each array is wrong, with its worst elements, in words; first that of
            which the smallest share is wrong.
    """

    verdict: Verdict
    leaves: tuple[Leaf, ...]
    causes: tuple[Cause, ...]
    warnings: tuple[str, ...]
    dtype: str
    measurement: Measurement | None
    direction: Direction | None
    forward: tuple[Leaf, ...]
    where: tuple[str, ...]

    def __new__(
        cls,
        verdict: Verdict,
        leaves: Iterable[Leaf],
        causes: Iterable[Cause],
        warnings: Iterable[str],
        dtype: str,
        *,
        measurement: Measurement | None = None,
        what: str = "gradient",
        direction: Direction | None = None,
        forward: Iterable[Leaf] = (),
        where: Iterable[str] = (),
    ) -> Self:
        """Lay the report out to be read, and keep what it was made from."""
        leaves, causes, warnings = tuple(leaves), tuple(causes), tuple(warnings)
        forward, where = tuple(forward), tuple(where)
        text = _text(
            f"{what} check: {verdict.value} ({dtype})",
            leaves,
            causes,
            warnings,
            measurement=measurement,
            direction=direction,
            forward=forward,
            where=where,
        )
        report = super().__new__(cls, text)
        report.direction, report.forward, report.where = direction, forward, where
        report.measurement = measurement
        report.verdict, report.dtype = verdict, dtype
        report.leaves, report.causes, report.warnings = leaves, causes, warnings
        return report

    def __repr__(self) -> str:
        """Show the text in an interactive session, too."""
        return str(self)

    def __bool__(self) -> bool:
        """Be true where the gradient is right: `assert check_gradient(...)`."""
        return self.ok

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: every element agrees, but for a kink or lost digits."""
        return self.verdict.ok

    @property
    def accurate(self) -> bool:
        """Whether it is ok, and no digits are lost that JAX's formula keeps."""
        return self.ok and self.verdict != Verdict.LOSES_DIGITS

    @property
    def sensitivity(self) -> dict[str, float]:
        """Say, for each leaf, the smallest relative error that this check could have seen.

        A gradient that is off by this factor of itself leaves its bound at some element; infinite
        where JAX's gradient is zero.
        """
        return {leaf.path: sensitivity(leaf) for leaf in self.leaves}

    @property
    def source(self) -> str:
        """Show the lines of the loss whose backward is right, wrong or downstream.

        Empty if nothing is wrong, or if no operation of the loss explains what is.
        """
        return "\n".join(map(str, shown(marks_of(self.causes))))

    def to_dict(self) -> dict[str, Any]:
        """Give the report as plain numbers, strings, lists and dictionaries, fit for JSON."""
        return {
            "verdict": self.verdict.value,
            "ok": self.ok,
            "accurate": self.accurate,
            "dtype": self.dtype,
            "leaves": [_leaf_to_dict(leaf) for leaf in self.leaves],
            "causes": [_cause_to_dict(cause) for cause in self.causes],
            "warnings": list(self.warnings),
            "direction": str(self.direction) if self.direction else None,
            "forward": [_leaf_to_dict(leaf) for leaf in self.forward],
            "where": list(self.where),
        }

    def plot(self, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw error over bound for each element, the worst leaves first; needs matplotlib.

        What is beyond its bound is red. A vector is drawn as bars, and of an array with more axes
        the matrices of the last two stand one below the other. A leaf with more than 96 rows or
        columns is shown in blocks, each by its worst element, so that one wrong element is seen.
        Above stands what the check says, and below the source of the loss, if the line that is
        wrong was found. What is not comparable is grey.

        Args:
            path: where to save the picture, if anywhere.

        Returns:
            The figure, unknown to pyplot.

        Raises:
            ValueError: nothing was compared.
        """
        if not any(leaf.want.size for leaf in self.leaves):
            raise ValueError(f"there is nothing to draw, the check ended with: {self.verdict}")
        leaves = _worst_first([leaf for leaf in self.leaves if leaf.want.size])
        said = [str(self).partition("\n")[0]]
        for cause in self.causes[:1]:
            said += [cause.sentence, *[cause.evidence] * (self.verdict != Verdict.MISMATCH)]
        figure = draw(leaves, said, list(shown(marks_of(self.causes))))
        if path is not None:
            figure.savefig(path)
        return figure


def _cause_to_dict(cause: Cause) -> dict[str, Any]:
    """Give a cause as plain data, and the operation only where one was found."""
    found = {"code": cause.code.value, "sentence": cause.sentence, "evidence": cause.evidence}
    if not cause.kind:
        return found
    where = cause.where._asdict() if cause.where is not None else None
    at = {"where": where, "operation": cause.operation, "operand": cause.operand}
    return found | at | {"kind": cause.kind, "factor": cause.factor}


def _worst_first(leaves: Sequence[Leaf]) -> list[Leaf]:
    order = list(Verdict)
    return sorted(leaves, key=lambda leaf: (-order.index(leaf.verdict), -leaf.ratio.max(initial=0)))


def _text(
    title: str,
    leaves: Sequence[Leaf],
    causes: Sequence[Cause],
    warnings: Sequence[str],
    *,
    measurement: Measurement | None,
    direction: Direction | None,
    forward: Sequence[Leaf],
    where: Sequence[str],
) -> str:
    lines = [title]
    inferred = [cause for cause in causes if cause.code.inferred]
    for rank, cause in enumerate(causes[:CAUSES]):
        likely = "" if not cause.code.inferred else "likely" if cause is inferred[0] else "or"
        lines += _wrapped(f"{likely} {cause.code.value}: {cause.sentence}".lstrip())
        if rank == 0 or likely != "or":
            lines += _wrapped(cause.evidence, indent="    ")
    lines += ["", "forward pass", *table(forward)] if forward else []
    at = f"{'backward pass, ' if forward else ''}at {direction}"
    lines += ["", *_wrapped(at, indent="")] if direction else []
    lines += ["", *table(leaves)][bool(direction) :] if leaves else []
    doubtful = any(cause.code == Code.FEW_ROUNDINGS for cause in causes)
    if measurement:
        lines += _wrapped(witnesses(leaves, measurement, doubtful=doubtful), indent="")
    lines += [line for part in where[:PARTS] for line in _wrapped(part)]
    if len(where) > PARTS:
        rest = len(where) - PARTS
        lines.append(f"and {rest} more {'array that is' if rest == 1 else 'arrays that are'} wrong")
    notes = [line for leaf in leaves for line in _ambiguous(leaf)]
    notes += [f"warning: {warning}" for warning in warnings]
    lines += ["", *(line for note in notes[:NOTES] for line in _wrapped(note))] if notes else []
    if len(notes) > NOTES:
        lines.append(f"and {len(notes) - NOTES} more like these")
    return "\n".join(lines)


def witnesses(leaves: Sequence[Leaf], measurement: Measurement, *, doubtful: bool) -> str:
    """Say what the bounds in the table are, and by how much the worst error is beyond them.

    Beyond the proven bound an error is no rounding of JAX's formula; another formula may lose
    digits, so that an error that may be of such is not proven to be a mistake.
    """
    text = (
        f"bound: {measurement.multiple:.1f} sigma of measured rounding ({measurement.samples} "
        f"samples; a check of a right gradient fails once in {1 / FAILURE:,.0f})"
    )
    if any(leaf.proven is not None for leaf in leaves):
        text += ", or the proven bound where that is less"
    wrong = [leaf for leaf in leaves if leaf.verdict == Verdict.MISMATCH]
    if not wrong:
        return text
    sigmas = max(float(leaf.sigmas[leaf.wrong].max()) for leaf in wrong)
    text += f". The worst error is {sigmas:.3g} sigma"
    text += f", of which the probability is {probability(sigmas):.1g}" if sigmas < WORST else ""
    proven = [leaf for leaf in wrong if leaf.proven is not None]
    if any((leaf.error > leaf.proven)[leaf.wrong].any() for leaf in proven):
        formula = "it is proven to be no rounding of JAX's formula"
        return f"{text}; {formula if doubtful else 'it is proven to be wrong'}"
    return text


def _wrapped(text: str, *, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def table(leaves: Sequence[Leaf]) -> list[str]:
    """Lay out the arrays, the worst dozen if there are more, in lines."""
    shown = leaves if len(leaves) <= ROWS else _worst_first(leaves)[:ROWS]
    header = (
        "leaf",
        "shape",
        "verdict",
        "error",
        "bound",
        "ratio",
        "at",
        "got",
        "want",
        "sees",
        "median",
    )
    rows = [header, *map(_row, shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if len(leaves) > len(shown):
        rest = _worst_first(leaves)[ROWS:]
        worst = max(leaf.ratio.max(initial=0) for leaf in rest)
        verdict = rest[0].verdict.value
        count = f"and {len(rest)} more {'leaf' if len(rest) == 1 else 'leaves'}"
        lines.append(f"{count}, {verdict} or better, ratio {worst:.2g} at most")
    return lines


def _row(leaf: Leaf) -> tuple[str, ...]:
    shape = "x".join(map(str, leaf.want.shape)) or "scalar"
    if leaf.want.size == 0:
        return (leaf.path or "(all)", shape, leaf.verdict.value, *[""] * 8)
    at = leaf.worst_index
    got, want = f"{leaf.got[at]:.7g}", f"{leaf.want[at]:.7g}"
    if leaf.verdict == Verdict.MISMATCH:
        got, want = told_apart(leaf.got[at], leaf.want[at])
    return (
        leaf.path or "(all)",
        shape,
        leaf.verdict.value,
        f"{leaf.error[at]:.2g}",
        f"{leaf.bound[at]:.2g}",
        f"{leaf.ratio[at]:.2g}",
        ",".join(map(str, at)),
        got,
        want,
        f"{sensitivity(leaf):.1g}",
        f"{sensitivity(leaf, 0.5):.1g}",
    )


def _ambiguous(leaf: Leaf) -> list[str]:
    """Name the elements that agree only if kinks, or more ties than rounds, are left open."""
    indices = ambiguous_indices(leaf)
    if not indices:
        return []
    named = ", ".join(map(str, indices[:INDICES])) + (", ..." if len(indices) > INDICES else "")
    hang = "1 element hangs" if len(indices) == 1 else f"{len(indices)} elements hang"
    return [f"{leaf.path or 'the array'}: {hang} on a kink within rounding: {named}"]


def ambiguous_indices(leaf: Leaf) -> list[tuple[int, ...]]:
    """List the elements that are within the bound only with open kinks."""
    return [tuple(int(i) for i in index) for index in np.argwhere(leaf.ambiguous)]


def _leaf_to_dict(leaf: Leaf) -> dict[str, Any]:
    data: dict[str, Any] = {
        "path": leaf.path,
        "shape": list(leaf.want.shape),
        "verdict": leaf.verdict.value,
    }
    if not leaf.want.size:
        return data
    at = leaf.worst_index
    return data | {
        "worst_error": float(leaf.error[at]),
        "bound": float(leaf.bound[at]),
        "ratio": float(leaf.ratio[at]),
        "worst_index": list(at),
        "got": float(leaf.got[at]),
        "want": float(leaf.want[at]),
        "sensitivity": sensitivity(leaf),
        "median_sensitivity": sensitivity(leaf, 0.5),
        "ambiguous": [list(index) for index in ambiguous_indices(leaf)],
    }
