"""Time every layer beside JAX and PyTorch, measure how far it is off, and write the catalogue.

python -m benchmarks.layers

Speed and proof of each layer, and what a block of a transformer takes that is put together from
them, are kept in benchmarks/results/layers.json, so that some can be renewed without the others.
"""

import argparse
import datetime as dt
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.layers import pages, proofs, timings
from benchmarks.layers.table import TABLE
from benchmarks.speed.peers import load, missing
from benchmarks.speed.timing import facts_of, process_of
from benchmarks.tables import RESULTS

if TYPE_CHECKING:
    from concurrent.futures import Future

FIGURES = RESULTS / "layers.json"
PARTS = ("speed", "proof", "block")
BLOCK = "block of a transformer"
ROUNDS = 15
DRAWS = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the layers, and write their pages; return 1 if a right gradient is called wrong."""
    args = arguments_of(argv)
    timed = {"speed", "block"} & {*args.parts}
    if timed and "PyTorch" in missing():
        print("PyTorch is left out: torch is not installed (pip install 'manual-nn[peers]')")
    found: dict[str, Any] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    block: dict[str, Any] | None = found.pop(BLOCK, None)
    command = f"`{pages.COMMAND} {shlex.join(sys.argv[1:] if argv is None else argv)}`"
    about = {"Command": command, "Date": dt.datetime.now(tz=dt.UTC).date().isoformat()}
    with process_of(1) as timing, process_of(1) as proving:  # JAX is stricter in the tests
        measures: dict[str, Callable[[str], Future[dict[str, Any]]]] = {
            "speed": lambda name: timing.submit(timings.measure, name, args.rounds),
            "proof": lambda name: proving.submit(proofs.measure, name, args.draws),
        }
        facts = {}
        if timed:
            facts["speed"] = about | facts_of([timing.submit(load, 1).result()])
        if "proof" in args.parts:
            facts["proof"] = about | {
                "Versions of the proofs": proving.submit(proofs.load).result()
            }
        parts = [part for part in args.parts if part in measures]
        for name in args.layers if parts else ():
            figures = found.setdefault(name, {})
            for part in parts:
                figures[part] = measures[part](name).result() | {"facts": facts[part]}
            print(" | ".join(pages.row(name, figures)), flush=True)
            found = {name: found[name] for name in TABLE if name in found}
            save(found, block)
        if "block" in args.parts:
            figures = timing.submit(timings.measure_block, args.rounds).result()
            block = figures | {"facts": facts["speed"]}
            save(found, block)
    print(pages.write(found, pages.LAYERS, block))
    return int(any(figures["proof"]["wrong"] for figures in found.values()))


def save(found: dict[str, Any], block: dict[str, Any] | None) -> None:
    """Keep what was found."""
    figures = found if block is None else {**found, BLOCK: block}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=pages.COMMAND, description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--layers", nargs="+", choices=TABLE, default=list(TABLE), help="default: all"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to renew: all"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of timing, default %(default)s")
    parser.add_argument(
        "--draws", type=int, default=DRAWS, help="of values at each shape, default %(default)s"
    )
    args = parser.parse_args(argv)
    if args.rounds < 2:
        parser.error(f"--rounds must be at least 2, for quartiles, got {args.rounds}")
    return args


if __name__ == "__main__":
    sys.exit(main())
