"""Time manual_nn beside its floor and its peers: tables, a picture and a JSON file.

python -m benchmarks.speed

The floor is the bare products of matrices that a gradient takes, by the same BLAS, into arrays
made before. Contenders take turns in rounds; a figure is the median over the rounds of the ratio
within a round, with its quartiles. Each number of threads has a process of its own, in which BLAS,
XLA and OpenMP all have that many; with one thread the process has one core.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.speed import blocks, checks, epochs, gradients, imports, limits
from benchmarks.speed.gradients import Shape
from benchmarks.speed.peers import load, missing
from benchmarks.speed.picture import draw_ratios
from benchmarks.speed.timing import Timings, all_threads, facts_of, process_of
from benchmarks.tables import Page, parser_of

ROUNDS = 9
ABOUT = """\
`loss_and_grad` and a training epoch, by NumPy (*ours*) and by loops that Numba compiles
(*compiled*), beside the bare products of matrices that they need, jitted JAX, PyTorch,
scikit-learn's own backpropagation, autograd and the row-by-row algorithm: the same threads for all,
rounds in which each has its turn, each figure the median of the ratio within a round, with its
quartiles. All figures are in [`speed.json`](speed.json)."""
LEGEND = """
All have a weight decay of 1e-4, which the floor has not. The floor is the products by NumPy's BLAS,
the best floor the fastest in each round of these, XLA's and PyTorch's; NumPy's and PyTorch's write
into arrays made before, and XLA's into new ones in every call. In the columns *X / compiled*,
above 1 means that compiled is faster; an empty cell was not measured. With one row NumPy's
products are no floor: that of a column and a row is slow.

![Time as a multiple of that of the matrix products, by batch](ratio_to_floor.png)"""

BLOCKS_LEGEND = """
*blocks of rows*: one thread for each block, with BLAS on one thread, and the gradients added up."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, and write them, the picture and the JSON file."""
    parser = parser_of("python -m benchmarks.speed", __doc__)
    parser.add_argument(
        "--full",
        action="store_true",
        help="every network, batch and precision: takes a quarter of an hour",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    args = parser.parse_args(argv)
    if args.rounds < 2:
        parser.error(f"--rounds must be at least 2, for quartiles, got {args.rounds}")
    for name, module in missing().items():
        print(f"{name} is left out: {module} is not installed (pip install 'manual-nn[peers]')")
    page = Page("A gradient and a training epoch beside the floor and the peers", ABOUT)
    found: dict[str, Any] = {"rounds": args.rounds, "import": time_imports(page, args.rounds)}
    runs = [
        time_with(threads, args.rounds, full=args.full) for threads in sorted({1, all_threads()})
    ]
    write_tables(page, runs)
    if all_threads() > 1 and "compiled" not in missing():
        found["blocks"] = time_blocks(page, all_threads(), args.rounds)
    write_limits(page, runs)
    found["threads"] = [run.as_json() for run in runs]
    args.results.mkdir(parents=True, exist_ok=True)
    picture, figures = args.results / "ratio_to_floor.png", args.results / "speed.json"
    draw_ratios(found["threads"]).savefig(picture)
    figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nWrote {picture}\nWrote {figures}")
    facts = facts_of([run.environment for run in runs])
    page.write(args.results / "speed.md", summary(found), parser.prog, argv, facts)


class Run(NamedTuple):
    """What was measured with one number of threads."""

    threads: int
    environment: dict[str, str]
    checks: Timings
    gradients: list[tuple[Shape, Timings]]
    epochs: list[tuple[epochs.Setting, Timings]]

    def as_json(self) -> dict[str, Any]:
        """Name every figure."""
        return {
            "threads": self.threads,
            "environment": self.environment,
            "checks": self.checks.as_json(),
            "gradients": [shape._asdict() | timings.as_json() for shape, timings in self.gradients],
            "epochs": [setting._asdict() | timings.as_json() for setting, timings in self.epochs],
        }


def time_with(threads: int, rounds: int, *, full: bool) -> Run:
    """Measure everything with so many threads, in a fresh process."""
    with process_of(threads) as process:

        def measure(module: Any, *what: Any, turns: int = rounds) -> Timings:
            print(f"{threads} threads: {module.__name__}", *what, flush=True)
            arguments = *what, turns, threads
            timings: Timings = process.submit(module.measure, *arguments).result()
            return timings

        environment = process.submit(load, threads).result()
        print(*map(": ".join, environment.items()), sep="\n")
        shapes = gradients.FULL if full else gradients.QUICK
        settings = epochs.FULL if full else epochs.QUICK
        fewer = rounds if full else max(2, rounds // 3)  # an epoch is a mean of many steps already
        return Run(
            threads,
            environment,
            measure(checks),
            [(shape, measure(gradients, shape)) for shape in shapes],
            [(setting, measure(epochs, setting, turns=fewer)) for setting in settings],
        )


def write_tables(page: Page, runs: Sequence[Run]) -> None:
    """Print one table of the gradients for each precision, and one of the epochs."""
    for run in runs:
        over = run.checks.over["ours"]["checks"]
        page.line(
            f"\nThe checks of the arguments / ours, {checks.WHERE}, {in_words(run.threads)}: {over}"
        )
    base = "ours" if "compiled" in missing() else "compiled"
    for dtype in dict.fromkeys(shape.dtype for shape, _ in runs[0].gradients):
        page.line(f"\n## The loss and its gradient, {dtype}\n")
        page.heading(gradients.headings(base))
        measured = [
            (run.threads, shape, timings)
            for run in runs
            for shape, timings in run.gradients
            if shape.dtype == dtype
        ]
        for threads, shape, timings in measured:
            page.row(gradients.row(shape, threads, timings, base))
        for run in runs:
            timings_of_run = [timings for threads, _, timings in measured if threads == run.threads]
            page.line(f"\n{in_words(run.threads)}. {gradients.means(timings_of_run, base)}")
    page.line(LEGEND)
    page.line(f"\n## A training epoch of {epochs.N:,} rows, float32\n")
    page.heading(epochs.HEADINGS)
    for run in runs:
        for setting, timings in run.epochs:
            page.row(epochs.row(setting, run.threads, timings))
    page.line(epochs.LEGEND)


def time_blocks(page: Page, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Measure blocks of rows on threads of their own, and print the table."""
    page.line(f"\n## Blocks of the rows on threads of their own, {in_words(threads)}\n")
    page.heading(blocks.HEADINGS)
    found = []
    measured = blocks.measure(blocks.SHAPES, rounds, threads)
    for shape, timings in zip(blocks.SHAPES, measured, strict=True):
        page.row(blocks.row(shape, timings))
        found.append(shape._asdict() | timings.as_json())
    page.line(BLOCKS_LEGEND)
    return found


def write_limits(page: Page, runs: Sequence[Run]) -> None:
    """Print what the products allow, and what was tried."""
    page.line(limits.LIMITS)
    for run in runs:
        for found in (limits.of_gradients(run.gradients), limits.of_epochs(run.epochs)):
            if found:
                page.line(f"- {in_words(run.threads)}. {found}")
    page.line(limits.TRIED)


def in_words(threads: int) -> str:
    """Write the number of threads."""
    return f"{threads} thread{'s' if threads > 1 else ''}"


def summary(found: dict[str, Any]) -> str:
    """Say in a sentence how a gradient with one thread compares: that of MNIST's network."""
    measured = found["threads"][0]["gradients"]
    shown = next((one for one in measured if is_shown(one)), measured[-1])
    network = "-".join(map(str, shown["sizes"]))
    over = {
        other: {k: v["median"] for k, v in each.items()} for other, each in shown["over"].items()
    }
    peers = ", ".join(
        f"{name} {over['ours'][name]:.3g}" for name in gradients.PEERS if name in over["ours"]
    )
    said = (
        f"{network}, {shown['N']} rows, {shown['dtype']}, 1 thread: ours takes "
        f"{over['floor']['ours']:.3g} times the bare matrix products; {peers} times as long as "
        "ours."
    )
    if "compiled" not in over:
        return said
    fastest = ", ".join(
        f"{name} {over['compiled'][name]:.3g}"
        for name in gradients.FASTEST
        if name in over["compiled"]
    )
    return (
        f"{said} Compiled it takes {over['floor']['compiled']:.3g} times the products; {fastest} "
        "times as long as compiled."
    )


def is_shown(gradient: dict[str, Any]) -> bool:
    """Say whether this is the gradient of MNIST's network that the summary is about."""
    return (gradient["sizes"], gradient["N"], gradient["dtype"]) == checks.SHAPE[:3]


def time_imports(page: Page, rounds: int) -> dict[str, Any]:
    """Print how long the import takes."""
    timings = imports.measure(rounds)
    milliseconds = timings.seconds["manual_nn"].median * 1e3
    over = timings.over["numpy"]["manual_nn"]
    page.line(f"import manual_nn: {milliseconds:.3g} ms, import manual_nn / import numpy: {over}")
    return timings.as_json()


if __name__ == "__main__":
    main()
