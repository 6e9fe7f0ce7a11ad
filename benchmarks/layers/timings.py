"""Time the passes of a layer, by hand, compiled, by JAX and by PyTorch, in turn."""

from collections.abc import Mapping
from typing import Any

from benchmarks.layers import block
from benchmarks.layers.peers import Passes, bare, fields_kept, passes_of
from benchmarks.layers.table import TABLE, Row
from benchmarks.speed.timing import compare, interleave

PASSES = ("forward", "backward")


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Time a layer; beside what `timed` gives, name the `fields` in which ours has its arrays."""
    return timed(TABLE[name], passes_of(name), rounds) | {"fields": fields_kept(name)}


def measure_block(rounds: int) -> dict[str, Any]:
    """Time a block of a transformer."""
    return timed(block.ROW, block.passes(), rounds)


def timed(row: Row, contenders: Mapping[str, Passes], rounds: int) -> dict[str, Any]:
    """Give everybody a turn in each round, at both passes, with one thread.

    Returns:
        `timings` of each pass and of both together, and the bytes `kept` by everybody.
    """
    calls = {
        (part, who): getattr(passes, part) for who, passes in contenders.items() for part in PASSES
    }
    if row.products:
        calls["forward", "products"] = bare(row.products)
        calls["backward", "products"] = bare(row.products_back)
    named = {" by ".join(key): call for key, call in calls.items()}
    seconds = interleave(named, rounds, threads=1)
    of_pass: dict[str, dict[str, list[float]]] = {
        part: {who: seconds[f"{part} by {who}"] for other, who in calls if other == part}
        for part in PASSES
    }
    of_pass["both"] = {
        who: [sum(turns) for turns in zip(*(of_pass[part][who] for part in PASSES), strict=True)]
        for who in of_pass["forward"]
    }
    others = [who for who in ("ours", "compiled", "products") if who in of_pass["forward"]]
    return {
        "timings": {part: compare(times, others).as_json() for part, times in of_pass.items()},
        "kept": {who: passes.kept for who, passes in contenders.items()},
    }
