"""Try the check on right gradients and wrong ones: does it ever take one for the other?

python -m benchmarks.soundness

A subject is a loss at a shape: each loss of losses.py at random shapes, with its gradient by hand,
and each family of depths.py at every size. A case is one draw of its values, in float32 or float64.
Its gradient is computed by XLA in that precision, by the same operations one by one in NumPy with
every sum and product of matrices added up one after the other and in another order, by hand, and by
other libraries: all of these are right. Then mistakes are made in one of them: all those are wrong.
"""

import functools
import itertools
import multiprocessing
import os
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from benchmarks.soundness.losses import rounded
from benchmarks.soundness.right_gradients import Witnesses
from benchmarks.soundness.subjects import subjects
from benchmarks.soundness.tally import (
    DTYPES,
    HEADINGS,
    REFUSED,
    SIGMAS,
    Tally,
    table_of_mistakes,
    table_of_unseen,
)
from benchmarks.soundness.wrong_gradients import change, is_gross, wrong_gradients
from benchmarks.tables import Page, parser_of
from reference.compare import Comparison
from reference.sensitivity import sensitivity

ABOUT = """\
Right gradients, by XLA, by NumPy with sums in sequential, random, blocked and pairwise order, by
hand and by other libraries, and wrong ones made of them, and what the check says of each."""
LEGEND = """
*false alarms*: right gradients that were called wrong. *sigmas*: the largest error of a right
gradient in measured standard deviations, away from kinks and ties; below the smallest normal number
there is no error, for it may be flushed to 0. *of bound*: the largest in parts of the proven bound,
- where none was computed. *sees*: the median, over cases and arrays, of the smallest relative error
that is seen; *median*: of that which is seen at half of an array."""
UNSEEN = """
Within rounding. *changes*: how much the mistake changes at most, beside the largest element of the
gradient, or beside 1 where that is 0 but for rounding, away from ties and kinks; what half of the
digits of that element would show must be seen, but for the two finest mistakes. *sees*: the
smallest relative error of an element that the report says it would see.
"""
SUBJECTS_OF_A_PROCESS = 8  # then a new one takes over: what JAX has compiled stays in memory


def try_subject(number: int, shapes: int, draws: int, seed: int) -> tuple[str, Tally]:
    """Check right and wrong gradients of the number-th subject at draws of its values."""
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003, JAX's way
    subject = next(itertools.islice(subjects(shapes, seed), number, None))
    rng = np.random.default_rng([seed, number])
    witnesses = Witnesses(subject, *subject.draw(rng))
    tally = Tally()
    for draw in range(draws):
        place = f"{subject.name}, subject {number}, draw {draw}"
        _add_case(tally, witnesses, DTYPES[draw % len(DTYPES)], rng, place)
    jax.clear_caches()
    return subject.name, tally


def _add_case(
    tally: Tally, witnesses: Witnesses, dtype: str, rng: np.random.Generator, place: str
) -> None:
    """Draw values, and check the right gradients of them, and the wrong ones."""
    args = rounded(witnesses.subject.draw(rng), dtype)
    right = witnesses.right(args, dtype, rng)
    wrong = dict(wrong_gradients(right["XLA"], rng)) | witnesses.broken(args)
    compared = witnesses.compare(right | wrong, args, dtype)
    tally.cases += 1
    tally.add_sight(compared["XLA"], dtype)
    for name in right:
        tally.add_right(compared[name], dtype)
        if compared[name].verdict in REFUSED:
            tally.failures.append(f"false alarm: {name} of {place}, {dtype}")
    for name in wrong:
        tally.add_wrong(name, compared[name].verdict)
        if compared[name].verdict.ok:
            size = change(compared[name])
            tally.add_unseen(name, witnesses.subject.name, dtype, size, _sight(compared[name]))
            if is_gross(name, compared[name], dtype):
                tally.failures.append(f"unseen: {name} of {place}, {dtype}: changes {size:.1g}")


def _sight(comparison: Comparison) -> float:
    """Say how fine an error could have been seen."""
    return min(map(sensitivity, comparison.leaves))


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables; return 1 at a false alarm, or a gross mistake that is unseen."""
    parser = parser_of("python -m benchmarks.soundness", __doc__)
    parser.add_argument("--shapes", type=int, default=6, help="of each loss")
    parser.add_argument("--draws", type=int, default=80, help="of values for each subject")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args(argv)
    count = sum(1 for _ in subjects(args.shapes, args.seed))
    tallies: dict[str, Tally] = {}
    trial = functools.partial(try_subject, shapes=args.shapes, draws=args.draws, seed=args.seed)
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.workers, maxtasksperchild=SUBJECTS_OF_A_PROCESS) as pool:
        done = pool.imap_unordered(trial, reversed(range(count)))  # those that take longest first
        for name, tally in tqdm(done, total=count, unit="subject", disable=None):
            tallies[name] = tallies.get(name, Tally()) + tally
            for failure in tally.failures:
                tqdm.write(failure)
    order = dict.fromkeys(subject.name for subject in subjects(args.shapes, args.seed))
    total = sum(tallies.values(), start=Tally())
    page = Page("Right gradients and wrong ones", ABOUT)
    page.heading(HEADINGS)
    for name in order:
        page.row(tallies[name].cells(name))
    page.row(total.cells("all"))
    page.line(LEGEND)
    page.line("\nErrors of right gradients in measured standard deviations:\n")
    page.heading(["beyond", *map(str, SIGMAS)])
    page.row(["elements", *(f"{total.beyond[number]:,}" for number in SIGMAS)])
    page.line("\nWrong gradients:\n")
    page.heading(["mistake", "made", "caught", "blind or not comparable", "within rounding"])
    for row in table_of_mistakes(total):
        page.row(row)
    if total.unseen:
        page.line(UNSEEN)
        page.heading(
            ["mistake", "subject", "precision", "cases", "changes at most", "sees at best"]
        )
        for row in table_of_unseen(total):
            page.row(row)
    made = sum(counts.total() for counts in total.wrong.values())
    summary = (
        f"{total.right.total():,} right gradients with {total.elements:,} elements, "
        f"{total.false_alarms:,} false alarms; {made:,} wrong ones, "
        f"{sum(map(len, total.unseen.values())):,} of them within rounding, as the report says."
    )
    page.write(args.results / "soundness.md", summary, parser.prog, argv)
    return int(bool(total.failures))
