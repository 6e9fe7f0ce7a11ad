"""What has been seen of right and wrong gradients, counted and laid out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from reference.compare import Comparison, Leaf, Verdict
from reference.sensitivity import sensitivity

DTYPES = ("float32", "float64")
SIGMAS = (1, 2, 3, 4, 5, 6, 8)  # beyond which errors are counted
REFUSED = {Verdict.MISMATCH, Verdict.NON_FINITE}


def _lists() -> dict[str, list[float]]:
    return {dtype: [] for dtype in DTYPES}


@dataclass
class Tally:
    """What has been seen of one subject, or of several.

    Attributes:
        cases: how many draws of values were made.
        elements: of right gradients, how many were compared.
        right: how many right gradients had which verdict.
        beyond: how many of these elements, away from kinks and ties, were farther off than so many
            measured standard deviations, and by a normal number.
        farthest: the largest of these distances, by precision.
        of_bound: the largest error of a right gradient as a part of its proven bound, by precision.
        sees: for each case and array the smallest relative error that is seen, by precision.
        median: the same at half of the elements.
        wrong: by the mistake how many wrong gradients had which verdict.
        unseen: the wrong gradients that are within what rounding may do: for each mistake, subject
            and precision how much each changes, and the smallest error that would be seen.
        failures: right gradients that were called wrong, and gross mistakes that were not seen.
    """

    cases: int = 0
    elements: int = 0
    right: Counter[str] = field(default_factory=Counter)
    beyond: Counter[int] = field(default_factory=Counter)
    farthest: dict[str, float] = field(default_factory=lambda: dict.fromkeys(DTYPES, 0.0))
    of_bound: dict[str, float] = field(default_factory=lambda: dict.fromkeys(DTYPES, 0.0))
    sees: dict[str, list[float]] = field(default_factory=_lists)
    median: dict[str, list[float]] = field(default_factory=_lists)
    wrong: dict[str, Counter[str]] = field(default_factory=dict)
    unseen: dict[tuple[str, str, str], list[tuple[float, float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def false_alarms(self) -> int:
        """Count the right gradients that were called wrong."""
        return sum(self.right[verdict] for verdict in REFUSED)

    def add_right(self, comparison: Comparison, dtype: str) -> None:
        """Count a right gradient."""
        self.right[comparison.verdict] += 1
        for leaf in comparison.leaves:
            if leaf.want.dtype.kind != "f" or leaf.sigma is None:
                continue
            self.elements += leaf.want.size
            normal = leaf.error >= np.finfo(dtype).tiny  # below, either may have been flushed to 0
            sigmas = leaf.sigmas[_settled(leaf) & normal]
            for number in SIGMAS:
                self.beyond[number] += int((sigmas > number).sum())
            self.farthest[dtype] = max(self.farthest[dtype], float(sigmas.max(initial=0)))
            if leaf.proven is not None:
                self._add_ratio(leaf, dtype)

    def _add_ratio(self, leaf: Leaf, dtype: str) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(leaf.error == 0, 0.0, leaf.error / leaf.proven)[_settled(leaf)]
        self.of_bound[dtype] = max(self.of_bound[dtype], float(ratio.max(initial=0)))

    def add_sight(self, comparison: Comparison, dtype: str) -> None:
        """Count what could be seen, which is alike for all gradients of a case."""
        for leaf in comparison.leaves:
            if leaf.want.any() and np.isfinite(leaf.bound).all():
                self.sees[dtype].append(sensitivity(leaf))
                self.median[dtype].append(sensitivity(leaf, 0.5))

    def add_wrong(self, mistake: str, verdict: Verdict) -> None:
        """Count a wrong gradient."""
        self.wrong.setdefault(mistake, Counter())[verdict] += 1

    def add_unseen(self, mistake: str, subject: str, dtype: str, size: float, sight: float) -> None:
        """Count a wrong gradient that is within rounding."""
        self.unseen.setdefault((mistake, subject, dtype), []).append((size, sight))

    def __add__(self, other: "Tally") -> "Tally":
        """Take two together."""
        both = Tally(self.cases + other.cases, self.elements + other.elements)
        both.right = self.right + other.right
        both.beyond = self.beyond + other.beyond
        for key in {**self.unseen, **other.unseen}:
            both.unseen[key] = self.unseen.get(key, []) + other.unseen.get(key, [])
        both.failures = self.failures + other.failures
        for dtype in DTYPES:
            both.farthest[dtype] = max(self.farthest[dtype], other.farthest[dtype])
            both.of_bound[dtype] = max(self.of_bound[dtype], other.of_bound[dtype])
            both.sees[dtype] = self.sees[dtype] + other.sees[dtype]
            both.median[dtype] = self.median[dtype] + other.median[dtype]
        for mistake in {**self.wrong, **other.wrong}:
            counts = self.wrong.get(mistake, Counter()) + other.wrong.get(mistake, Counter())
            both.wrong[mistake] = counts
        return both

    def cells(self, name: str) -> list[str]:
        """Lay out a row of the table of right gradients."""
        counts = [self.right[verdict] for verdict in SHOWN]
        cells = [name, f"{self.cases:,}", f"{self.right.total():,}", f"{self.elements:,}"]
        cells += [f"{self.false_alarms:,}", *(f"{count:,}" for count in counts)]
        for dtype in DTYPES:
            bound = f"{self.of_bound[dtype]:.2g}" if self.of_bound[dtype] else "-"
            cells += [f"{self.farthest[dtype]:.2f}", bound]
            cells += [_median(self.sees[dtype]), _median(self.median[dtype])]
        return cells


SHOWN = (Verdict.MATCH, Verdict.AMBIGUOUS, Verdict.BLIND, Verdict.NOT_COMPARABLE)
HEADINGS = [
    *("subject", "cases", "right gradients", "elements", "false alarms"),
    *(verdict.value for verdict in SHOWN),
    *(f"{dtype}: {what}" for dtype in DTYPES for what in ("sigmas", "of bound", "sees", "median")),
]


def _settled(leaf: Leaf) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Say which elements hang on no kink and no tie."""
    settled = ~leaf.hanging
    return settled & ~leaf.tied if leaf.tie_low is not None else settled


def _median(figures: Sequence[float]) -> str:
    return f"{np.median(figures):.1e}" if figures else "-"


def table_of_mistakes(tally: Tally) -> list[list[str]]:
    """Lay out what became of the wrong gradients, a row for each mistake."""
    rows = []
    for mistake, counts in tally.wrong.items():
        caught = counts[Verdict.MISMATCH] + counts[Verdict.NON_FINITE]
        unsure = counts[Verdict.BLIND] + counts[Verdict.NOT_COMPARABLE]
        unseen = counts.total() - caught - unsure
        rows.append([mistake, *(f"{n:,}" for n in (counts.total(), caught, unsure, unseen))])
    return rows


def table_of_unseen(tally: Tally) -> list[list[str]]:
    """Lay out which wrong gradients were within rounding, in the order of the mistakes."""
    rows = []
    mistakes = list(tally.wrong)
    for key, found in sorted(tally.unseen.items(), key=lambda item: mistakes.index(item[0][0])):
        sizes, sights = zip(*found, strict=True)
        rows.append([*key, f"{len(found):,}", f"{max(sizes):.1e}", f"{min(sights):.1e}"])
    return rows
