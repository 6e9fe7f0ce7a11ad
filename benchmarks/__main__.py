"""Time manual_nn beside its floor and its peers: tables, a picture and a JSON file.

python -m benchmarks

The floor is the bare products of matrices that a gradient takes, by the same BLAS, into arrays
made before. Contenders take turns in rounds; a figure is the median over the rounds of the ratio
within a round, with its quartiles. Each number of threads has a process of its own, in which BLAS,
XLA and OpenMP all have that many; with one thread the process has one core.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import checks, epochs, gradients, imports
from benchmarks.speed.peers import load, missing
from benchmarks.speed.picture import draw_ratios
from benchmarks.speed.timing import all_threads, process_of
from benchmarks.tables import print_heading, print_row

ROUNDS = 9


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables, and write the picture and the JSON file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="every network, batch and precision: takes a quarter of an hour",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder to write to")
    args = parser.parse_args(argv)
    if args.rounds < 2:
        parser.error(f"--rounds must be at least 2, for quartiles, got {args.rounds}")
    for name, module in missing().items():
        print(f"{name} is left out: {module} is not installed (pip install 'manual-nn[peers]')")
    found: dict[str, Any] = {"rounds": args.rounds, "import": time_imports(args.rounds)}
    found["threads"] = [
        time_with(threads, args.rounds, full=args.full) for threads in sorted({1, all_threads()})
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    picture, figures = args.output / "ratio_to_floor.png", args.output / "benchmarks.json"
    draw_ratios(found["threads"]).savefig(picture)
    figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nWrote {picture}\nWrote {figures}")


def time_imports(rounds: int) -> dict[str, Any]:
    """Print how long the import takes."""
    timings = imports.measure(rounds)
    milliseconds = timings.seconds["manual_nn"].median * 1e3
    over = timings.over["numpy"]["manual_nn"]
    print(f"import manual_nn: {milliseconds:.3g} ms, import manual_nn / import numpy: {over}")
    return timings.as_json()


def time_with(threads: int, rounds: int, *, full: bool) -> dict[str, Any]:
    """Measure everything with so many threads, in a fresh process, and print the tables."""
    words = f"{threads} thread{'s' if threads > 1 else ''}"
    found: dict[str, Any] = {"threads": threads, "gradients": [], "epochs": []}
    with process_of(threads) as process:
        found["environment"] = process.submit(load, threads).result()
        print(f"\n{words}:", *map(": ".join, found["environment"].items()), sep="\n")
        timings = process.submit(checks.measure, rounds, threads).result()
        over = timings.over["ours"]["checks"]
        print(f"\nThe checks of the arguments / ours, {checks.WHERE}: {over}")
        found["checks"] = timings.as_json()
        shapes = gradients.FULL if full else gradients.QUICK
        for dtype, group in itertools.groupby(shapes, key=lambda shape: shape.dtype):
            print(f"\nThe loss and its gradient, {dtype}, {words}\n")
            print_heading(gradients.HEADINGS)
            for shape in group:
                timings = process.submit(gradients.measure, shape, rounds, threads).result()
                print_row(gradients.row(shape, timings))
                found["gradients"].append(shape._asdict() | timings.as_json())
        print(f"\nA training epoch of {epochs.N:,} rows, float32, {words}\n")
        print_heading(epochs.HEADINGS)
        for setting in epochs.FULL if full else epochs.QUICK:
            # An epoch is a mean of many steps already.
            turns = rounds if full else max(2, rounds // 3)
            timings = process.submit(epochs.measure, setting, turns, threads).result()
            print_row(epochs.row(setting, timings))
            found["epochs"].append(setting._asdict() | timings.as_json())
    return found


if __name__ == "__main__":
    main()
