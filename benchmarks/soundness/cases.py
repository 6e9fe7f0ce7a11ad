"""Check the backward passes that people write, right and with the mistakes they have reported.

python -m benchmarks.soundness.cases
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.soundness.backward_passes import CASES, Case, Wrong
from benchmarks.soundness.tally import DTYPES
from benchmarks.tables import Page, parser_of
from reference import GradientReport, Verdict

ABOUT = """\
Backward passes after public bug reports, and others that people have tried the checker on: each
derivative as it should be and with its mistake, against every twin, in float64 and in float32.
A right one passes if nothing is wrong in either precision, a wrong one is caught if it fails in
both. The first cause is that in float64. It is of use if it shows the author of the mistake where
it is: it holds a line or an operation of the function where the mistake was planted, the right
factor, or what is wrong in a word, which stands in `backward_passes.py` beside each mistake.
No line had to be written but the call of the check. Seconds are of the processor, for one
derivative in both precisions."""

UNKNOWN = {Verdict.BLIND, Verdict.NOT_COMPARABLE}
HEADINGS = ["case", "derivative", "twin", "verdicts", "as it should be", "first cause", "of use"]


class Outcome(NamedTuple):
    """What became of a derivative.

    Attributes:
        reports: one for each precision.
        seconds: of the processor.
    """

    reports: tuple[GradientReport, ...]
    seconds: float

    @property
    def passes(self) -> bool:
        """Whether nothing is wrong in any precision."""
        return all(report.ok for report in self.reports)

    @property
    def caught(self) -> bool:
        """Whether something is wrong in every precision, whatever it is called."""
        return not any(report.ok or report.verdict in UNKNOWN for report in self.reports)

    @property
    def first(self) -> str:
        """What is named first, in float64."""
        causes = self.reports[0].causes
        return f"{causes[0].code.value}: {causes[0].sentence}" if causes else "-"

    def is_useful(self, wrong: Wrong) -> bool:
        """Say whether the first cause shows where the mistake is."""
        cause = self.reports[0].causes[0]
        said = f"{cause.sentence} {cause.evidence if not cause.code.inferred else ''}"
        return any(words in said for words in wrong.planted)


def outcome(case: Case, twin: Callable[..., Any], function: Callable[..., Any]) -> Outcome:
    """Check a derivative in every precision."""
    begun = time.process_time()
    reports = tuple(
        case.check(function, twin, *cast(case.args, dtype), argnums=case.argnums)
        for dtype in DTYPES[::-1]
    )
    return Outcome(reports, time.process_time() - begun)


def cast(args: tuple[Any, ...], dtype: str) -> tuple[Any, ...]:
    """Take the arrays of real numbers in a precision."""

    def of_leaf(leaf: Any) -> Any:
        return leaf.astype(dtype) if getattr(leaf, "dtype", np.dtype(int)).kind == "f" else leaf

    return jax.tree.map(of_leaf, args)


class Tally(NamedTuple):
    """How many derivatives there were, and how many of them came out as they should."""

    right: int = 0
    passed: int = 0
    wrong: int = 0
    caught: int = 0
    useful: int = 0

    def __str__(self) -> str:
        """Sum it up."""
        return (
            f"Of {self.right} right derivatives {self.passed} pass, of {self.wrong} wrong ones "
            f"{self.caught} are caught, and the first cause shows the author of {self.useful} of "
            "them where the mistake is, all of it in both precisions."
        )


def rows(cases: Sequence[str]) -> Iterator[tuple[list[str], Tally]]:
    """Check every derivative of these cases; give a row of the table, and what it counts."""
    for name in cases:
        case = CASES[name]()
        for twin, function in case.twins.items():
            for about, derivative in case.right.items():
                found = outcome(case, function, derivative)
                row = [_cell(name), about or "right", twin, *_shown(found, found.passes)]
                yield [*row, "", _seconds(found)], Tally(right=1, passed=found.passes)
            for mistake, wrong in case.wrong.items():
                found = outcome(case, function, wrong.function)
                useful = found.caught and found.is_useful(wrong)
                row = [_cell(name), mistake, twin, *_shown(found, found.caught)]
                counted = Tally(wrong=1, caught=found.caught, useful=useful)
                yield [*row, "yes" if useful else "no", _seconds(found)], counted


def _shown(found: Outcome, as_it_should_be: bool) -> list[str]:  # noqa: FBT001
    verdicts = dict.fromkeys(report.verdict.value for report in found.reports)
    return [", ".join(verdicts), "yes" if as_it_should_be else "NO", _cell(found.first)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _seconds(found: Outcome) -> str:
    return f"{found.seconds:.1f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was found of each derivative, and write it down."""
    parser = parser_of("python -m benchmarks.soundness.cases", __doc__)
    parser.add_argument(
        "--case", action="append", choices=CASES, help="only this one, without a page"
    )
    args = parser.parse_args(argv)
    page = Page("Backward passes that people write", ABOUT)
    page.row([*HEADINGS, "seconds"])
    page.row([*["---"] * len(HEADINGS), "---:"])
    total = Tally()
    for row, counted in rows(args.case or list(CASES)):
        page.row(row)
        total = Tally(*map(sum, zip(total, counted, strict=True)))
    if args.case:
        print(f"\n{total}")
    else:
        page.write(args.results / "cases.md", str(total), parser.prog, argv)
    return 0 if (total.passed, total.caught) == (total.right, total.wrong) else 1


if __name__ == "__main__":
    sys.exit(main())
