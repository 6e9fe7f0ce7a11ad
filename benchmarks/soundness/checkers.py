"""Plant mistakes in gradients: which gradient checkers notice, and what does each cost?

python -m benchmarks.soundness.checkers

All checks of a function run in a process with one thread, and their time is that of the process,
which other load on the machine disturbs less. torch.autograd.gradcheck takes part where PyTorch is
installed.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.speed.timing import TURN, installed, process_of, processor
from benchmarks.tables import Page, parser_of, versions

if TYPE_CHECKING:
    from benchmarks.soundness.candidates import Candidate, Family
    from reference.compare import Comparer, Comparison

ABOUT = """\
Mistakes planted in right gradients, and which checker notices them: `jax.test_util.check_grads`
with its own tolerances, the usual central differences (20 random elements of each array, a step of
1e-3, rtol and atol of 1e-3), `torch.autograd.gradcheck` in both modes where PyTorch is installed,
the proven bound alone, and `reference.check_gradient`, which measures rounding beside it."""
LEGEND = """
*alarm either way*: the checker rejects the right gradient as well, for example because its random
step crosses kinks of the ReLU network. *-*: not made for float32. The gradients of the block are
handed to `reference.Comparer`, on which `check_gradient` rests, since one comparison says how far
right ones may be off."""
SEEN = """
The smallest error that is seen, as a part of the element: at any element, and at half of them.
Before: by the proven bound alone; now: with measured rounding, which `check_gradient` uses."""
COSTS = """
What a check of the right gradient costs, beside one jitted float64 gradient. *seconds* is the
median without compilation, *times* that of the ratios to the gradient in the same round,
*compiling* what the first call takes longer, in seconds. Ours takes 16 samples."""
MEMORY = """
What XLA's analysis of the compiled programs says of their memory (arguments, results and scratch):
that of our check beside that of one float64 gradient."""
SEEN_HEADINGS = ("gradient of", "any, before", "half, before", "any, now", "half, now")
COST_HEADINGS = ("gradient of", "checker", "seconds", "times", "compiling")
MEMORY_HEADINGS = ("gradient of", "samples at a time", "gradient, MiB", "check, MiB", "times")
WHOLE = 10**6  # elements of a gradient, up to which check_gradient is run for each mistake
PATIENCE = 60.0  # seconds that one checker may take at one gradient
ROUNDS = 3  # after the first, which compiles
LONG = 10.0  # seconds, after which a checker has no more rounds
MIB = 2**20
GRADIENT = "float64 gradient"
DIFFERENCES = "central differences"
PROVEN = "ours, proven bound alone"
OURS = "ours"
Check = Callable[[], bool]


class Skipped(NamedTuple):
    """A checker that would take too long, and how many evaluations of the loss it would take."""

    evaluations: int

    def __str__(self) -> str:
        """Say so in a table."""
        return f"not run: {self.evaluations:,} evaluations"


class Checked(NamedTuple):
    """The right gradient of a family, compared by both witnesses and by the proven bound alone.

    Attributes:
        comparers: by the names of the checkers.
        comparisons: what they said.
        seconds: which that took, compilation included.
    """

    comparers: "dict[str, Comparer]"
    comparisons: "dict[str, Comparison]"
    seconds: dict[str, float]


def compared(right: "Candidate", dtype: str) -> Checked:
    """Compare the right gradient with JAX's."""
    import jax  # noqa: PLC0415, after its threads are limited

    from reference.compare import Comparer  # noqa: PLC0415

    gradient = right.gradient(right.at)
    checked = Checked({}, {}, {})
    for name, measured in ((PROVEN, False), (OURS, True)):
        start = time.process_time()
        comparer = Comparer(jax.grad(right.total), right.at, measured=measured)
        checked.comparers[name] = comparer
        checked.comparisons[name] = comparer(gradient, right.at, dtype=dtype)
        checked.seconds[name] = time.process_time() - start
    return checked


def size(candidate: "Candidate") -> int:
    """Count the elements of a gradient."""
    import jax  # noqa: PLC0415

    return sum(leaf.size for leaf in jax.tree.leaves(candidate.at))


def checks_of(
    candidate: "Candidate", family: "Family", checked: Checked, differences: Any
) -> dict[str, Check | Skipped | None]:
    """List the checkers, each to say whether it raises an alarm; None if it is not made for it."""
    from benchmarks.soundness import rivals  # noqa: PLC0415
    from reference import check_gradient  # noqa: PLC0415

    def ours() -> bool:
        if size(candidate) > WHOLE:
            return not _accepted(candidate, checked.comparisons[OURS])
        return not check_gradient(candidate.gradient, candidate.total, candidate.at).ok

    checks: dict[str, Check | Skipped | None] = {
        "check_grads, fwd": lambda: rivals.check_grads_notices(candidate, "fwd"),
        "check_grads, rev": lambda: rivals.check_grads_notices(candidate, "rev"),
        DIFFERENCES: lambda: rivals.differ(candidate.gradient(candidate.at), differences()),
    }
    for mode, fast in (("fast", True), ("slow", False)) if installed("torch") else ():
        checks[f"gradcheck, {mode}"] = (
            gradcheck(candidate, fast=fast) if family.dtype == "float64" else None
        )
    checks[PROVEN] = lambda: not _accepted(candidate, checked.comparisons[PROVEN])
    return checks | {OURS: ours}


def gradcheck(candidate: "Candidate", *, fast: bool) -> Check | Skipped:
    """Call gradcheck, unless its slow mode would take too long: it moves each element twice."""
    import jax  # noqa: PLC0415

    from benchmarks.soundness import rivals  # noqa: PLC0415

    total = jax.jit(candidate.total)
    jax.block_until_ready(total(candidate.at))
    evaluations = 2 * size(candidate)
    each = seconds_of(lambda: jax.block_until_ready(total(candidate.at)))
    if not fast and evaluations * each > PATIENCE:
        return Skipped(evaluations)
    return lambda: rivals.gradcheck_notices(candidate, fast=fast)


def _accepted(candidate: "Candidate", comparison: "Comparison") -> bool:
    """Hold a gradient against what a comparison of the right one allows each element."""
    import jax  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from reference.compare import worst_verdict  # noqa: PLC0415

    results = jax.tree.leaves(candidate.gradient(candidate.at))
    leaves = [
        replace(leaf, got=np.asarray(result))
        for leaf, result in zip(comparison.leaves, results, strict=True)
    ]
    return worst_verdict(leaves).ok


def judge(family: "Family", candidates: "list[Candidate]", checked: Checked) -> Iterator[list[str]]:
    """Say of each gradient which checkers notice what is wrong: a row of the table."""
    from benchmarks.soundness import rivals  # noqa: PLC0415
    from reference.compare import Verdict  # noqa: PLC0415

    found = functools.cache(lambda: list(rivals.differences(candidates[0])))
    unseen = (Verdict.BLIND, Verdict.NOT_COMPARABLE)
    helpless = {
        name: comparison.verdict.value
        for name, comparison in checked.comparisons.items()
        if comparison.verdict in unseen
    }
    control: dict[str, bool] = {}
    for candidate in candidates:
        cells = []
        for name, check in checks_of(candidate, family, checked, found).items():
            if check is None or isinstance(check, Skipped):
                cells.append(str(check or "-"))
                continue
            if name in helpless:
                cells.append(helpless[name])
                continue
            alarm = check()
            if candidate is candidates[0]:
                control[name] = alarm
                cells.append("false alarm" if alarm else "passed")
            elif alarm:
                cells.append("alarm either way" if control[name] else "caught")
            else:
                cells.append("missed")
        yield [str(family), candidate.mistake, *cells]


def seconds_of(call: Callable[[], object]) -> float:
    """Time a call, or as many as take a while."""
    start, calls = time.process_time(), 0
    while (taken := time.process_time() - start) < TURN or not calls:
        call()
        calls += 1
    return taken / calls


def rounds_of(contenders: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Time all in turn, in several rounds; what takes too long, in fewer.

    The first number of each includes its compilation.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(1 + ROUNDS):
        for name, call in contenders.items():
            if sum(seconds[name]) < LONG:
                seconds[name].append(seconds_of(call))
    return seconds


def costs(family: "Family", candidates: "list[Candidate]", checked: Checked) -> Iterator[list[str]]:
    """Time the checks of the right gradient: the rows of the table."""
    import jax  # noqa: PLC0415

    from benchmarks.soundness import rivals  # noqa: PLC0415
    from reference.bounds.tracing import in_float64  # noqa: PLC0415

    right = candidates[0]
    gradient, at = right.gradient(right.at), jax.device_put(in_float64(right.at))
    differentiate = jax.jit(jax.grad(right.total))
    checks = checks_of(right, family, checked, list)
    total = jax.jit(right.total)
    contenders: dict[str, Callable[[], object]] = {
        GRADIENT: lambda: jax.block_until_ready(differentiate(at)),
    }
    for name, check in checks.items():
        if name in checked.comparers:
            contenders[name] = functools.partial(
                checked.comparers[name], gradient, right.at, dtype=family.dtype
            )
        elif name == DIFFERENCES:
            contenders[name] = lambda: jax.block_until_ready(total(right.at))
        elif callable(check):
            contenders[name] = check
    seconds = rounds_of(contenders)
    evaluations = 2 * rivals.SAMPLES * len(jax.tree.leaves(at))
    seconds[DIFFERENCES] = [evaluations * one for one in seconds[DIFFERENCES]]
    base = seconds.pop(GRADIENT)
    taken = statistics.median(base[1:])
    yield [str(family), GRADIENT, f"{taken:.3g}", "1", f"{base[0] - taken:.2g}"]
    for name, times in seconds.items():
        warm = list(zip(times, base, strict=False))[1:] or [(times[0], base[-1])]
        taken = statistics.median(time for time, _ in warm)
        ratio = statistics.median(time / one for time, one in warm)
        first = checked.seconds.get(name)
        compiling = f"{first - taken:.2g}" if first else ""
        yield [str(family), name, f"{taken:.3g}", f"{ratio:.3g}", compiling]
    for name, check in checks.items():
        if isinstance(check, Skipped):
            yield [str(family), name, str(check), "", ""]


def memory_of(compiled: Any) -> float:
    """Add up the memory of a compiled program, in MiB."""
    found = compiled.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(float(getattr(found, part)) for part in parts) / MIB


def memory(family: "Family", right: "Candidate", checked: Checked) -> list[str]:
    """Compare the largest program of our check with one gradient: a row of the table."""
    import jax  # noqa: PLC0415

    from reference.bounds.tracing import in_float64  # noqa: PLC0415

    compiled = jax.jit(jax.grad(right.total)).lower(in_float64(right.at)).compile()
    witness = checked.comparers[OURS].witness(family.dtype)
    ours = max(map(memory_of, witness._programs.values()))
    one = memory_of(compiled)
    samples = f"{witness.chunk} and the undisturbed one"
    return [str(family), samples, f"{one:.3g}", f"{ours:.3g}", f"{ours / one:.3g}"]


def seen(comparison: "Comparison") -> list[str]:
    """Give the smallest relative error that is seen, at any element and at half of them."""
    import numpy as np  # noqa: PLC0415

    factors = np.concatenate(
        [leaf.bound[leaf.want != 0] / abs(leaf.want[leaf.want != 0]) for leaf in comparison.leaves]
    )
    return [f"{factors.min():.1e}", f"{np.median(factors):.1e}"]


def summary_of(rows: Sequence[Sequence[str]], names: Sequence[str]) -> str:
    """Count the mistakes that each checker caught, and its alarms at right gradients."""
    right = [row[2:] for row in rows if row[1] == "none"]
    wrong = [row[2:] for row in rows if row[1] != "none"]
    caught = [sum(cell == "caught" for cell in column) for column in zip(*wrong, strict=True)]
    raised = [sum(cell == "false alarm" for cell in column) for column in zip(*right, strict=True)]
    counts = dict(zip(names, zip(caught, raised, strict=True), strict=True))

    def sentence(which: int) -> str:
        found = {name: pair[which] for name, pair in counts.items()}
        return (
            f"check_grads {found['check_grads, fwd']} forward and {found['check_grads, rev']} in "
            f"reverse, central differences {found[DIFFERENCES]}"
        )

    return (
        f"Of {len(wrong)} mistakes ours caught {counts[OURS][0]}, {sentence(0)}; at {len(right)} "
        f"right gradients ours raised {counts[OURS][1]} alarms, {sentence(1)}."
    )


class Found(NamedTuple):
    """What was found of one family: the rows of the tables, and the versions that it depends on."""

    names: list[str]
    noticed: list[list[str]]
    seen: list[str]
    costs: list[list[str]]
    memory: list[list[str]]
    versions: str


def find(number: int) -> Found:
    """Let all checkers judge the gradients of the family of this number, and time them."""
    from benchmarks.soundness.candidates import FAMILIES, SIZED  # noqa: PLC0415

    family = FAMILIES[number]
    candidates = list(family.candidates(family.dtype))
    checked = compared(candidates[0], family.dtype)
    noticed = list(judge(family, candidates, checked))
    before, now = (seen(checked.comparisons[name]) for name in (PROVEN, OURS))
    return Found(
        list(checks_of(candidates[0], family, checked, list)),
        noticed,
        [str(family), *before, *now],
        list(costs(family, candidates, checked)) if family in SIZED else [],
        [memory(family, candidates[0], checked)] if family in SIZED else [],
        versions(),
    )


def count_families() -> int:
    """Count them, in a process that may import JAX."""
    from benchmarks.soundness.candidates import FAMILIES  # noqa: PLC0415

    return len(FAMILIES)


def main(argv: Sequence[str] | None = None) -> None:
    """Print Markdown tables: what is noticed, how small an error is seen, and what it costs."""
    parser = parser_of("python -m benchmarks.soundness.checkers", __doc__)
    parser.add_argument(
        "--processes", type=int, default=1, help="functions at a time (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    page = Page("Mistakes that other gradient checkers let pass", ABOUT)
    found: list[Found] = []
    with process_of(1, processes=args.processes) as process:
        for one in process.map(find, range(process.submit(count_families).result())):
            if not found:
                page.row(["gradient of", "mistake", *one.names])
                page.row(["---"] * (len(one.names) + 2))
            for row in one.noticed:
                page.row(row)
            found.append(one)
    page.line(LEGEND)
    for about, headings, body in (
        (SEEN, SEEN_HEADINGS, [one.seen for one in found]),
        (COSTS, COST_HEADINGS, [row for one in found for row in one.costs]),
        (MEMORY, MEMORY_HEADINGS, [row for one in found for row in one.memory]),
    ):
        page.line(f"{about}\n")
        page.heading(headings)
        for row in body:
            page.row(row)
    summary = summary_of([row for one in found for row in one.noticed], found[0].names)
    facts = {"Versions": found[0].versions, "Machine": f"{processor()}, one thread"}
    page.write(args.results / "checkers.md", summary, parser.prog, argv, facts)


if __name__ == "__main__":
    main()
