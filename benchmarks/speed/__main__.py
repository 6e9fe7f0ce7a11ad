"""Time manual_nn beside its floor and its peers: tables, a picture and a JSON file.

python -m benchmarks.speed

The floor is the bare products of matrices that a gradient takes, by the same BLAS, into arrays
made before. Contenders take turns in rounds; a figure is the median over the rounds of the ratio
within a round, with its quartiles. Each number of threads has a process of its own, in which BLAS,
XLA and OpenMP all have that many; with one thread the process has one core.
"""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.speed import checks, epochs, gradients, imports
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
All have a weight decay of 1e-4, which the floor has not. In the columns *X / ours*, below 1 means
that X is faster; an empty cell was not measured. With one row the products are no floor: NumPy's
product of a column and a row is slow.

![Time as a multiple of that of the matrix products, by batch](ratio_to_floor.png)"""


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
    found["threads"] = [
        time_with(page, threads, args.rounds, full=args.full)
        for threads in sorted({1, all_threads()})
    ]
    page.line(LEGEND)
    args.results.mkdir(parents=True, exist_ok=True)
    picture, figures = args.results / "ratio_to_floor.png", args.results / "speed.json"
    draw_ratios(found["threads"]).savefig(picture)
    figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nWrote {picture}\nWrote {figures}")
    facts = facts_of([run["environment"] for run in found["threads"]])
    page.write(args.results / "speed.md", summary(found), parser.prog, argv, facts)


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


def time_with(page: Page, threads: int, rounds: int, *, full: bool) -> dict[str, Any]:
    """Measure everything with so many threads, in a fresh process, and print the tables."""
    words = f"{threads} thread{'s' if threads > 1 else ''}"
    found: dict[str, Any] = {"threads": threads, "gradients": [], "epochs": []}
    with process_of(threads) as process:

        def measure(module: Any, *what: Any, turns: int = rounds) -> Timings:
            arguments = *what, turns, threads
            timings: Timings = process.submit(module.measure, *arguments).result()
            return timings

        found["environment"] = process.submit(load, threads).result()
        print(f"\n{words}:", *map(": ".join, found["environment"].items()), sep="\n")
        timings = measure(checks)
        over = timings.over["ours"]["checks"]
        page.line(f"\nThe checks of the arguments / ours, {checks.WHERE}, {words}: {over}")
        found["checks"] = timings.as_json()
        shapes = gradients.FULL if full else gradients.QUICK
        for dtype, group in itertools.groupby(shapes, key=lambda shape: shape.dtype):
            page.line(f"\n## The loss and its gradient, {dtype}, {words}\n")
            page.heading(gradients.HEADINGS)
            measured = []
            for shape in group:
                timings = measure(gradients, shape)
                page.row(gradients.row(shape, timings))
                found["gradients"].append(shape._asdict() | timings.as_json())
                measured.append((shape, timings))
            if "compiled" in timings.over:
                page.line(f"\n## The compiled loss and gradient, {dtype}, {words}\n")
                page.heading(gradients.COMPILED_HEADINGS)
                for shape, timings in measured:
                    page.row(gradients.compiled_row(shape, timings))
                page.line("\n" + gradients.means([timings for _, timings in measured]))
        page.line(f"\n## A training epoch of {epochs.N:,} rows, float32, {words}\n")
        page.heading(epochs.HEADINGS)
        for setting in epochs.FULL if full else epochs.QUICK:
            # An epoch is a mean of many steps already.
            timings = measure(epochs, setting, turns=rounds if full else max(2, rounds // 3))
            page.row(epochs.row(setting, timings))
            found["epochs"].append(setting._asdict() | timings.as_json())
    return found


if __name__ == "__main__":
    main()
