"""How fast networks are verified, and by what.

python -m benchmarks.speed.campaign

The same blocks of networks as in `python -m reference --campaign`, all groups of quantities in its
proportions, are compared with JAX in five ways: with a compilation for each network, as one would
begin; the same without XLA's optimisation, which serves no purpose for one call; with a compilation
for each shape, which many networks share (XLA is compared with NumPy then, too); with one for each
shape to measure the rounding of networks whose proven bound is infinite, as a campaign does; and
with none, JAX's operations being evaluated by NumPy.
Each block is taken in every way before the next; one process, one BLAS thread.
"""

import functools
import time
from collections.abc import Callable
from unittest import mock

import jax
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks.speed.timing import processor
from benchmarks.tables import Page, parser_of
from reference.bounds import programs
from reference.campaign.cases import REFUSED, TURNS, compare_cases, draw_case, plan_block
from reference.campaign.quantities import GROUPS
from reference.compare import Comparer

ABOUT = """\
The same blocks of networks as in the campaign are compared with JAX in five ways, on one core."""
NETWORKS = 100  # of a block
ALONE = 2  # of them are taken where each is compiled
SEED = 2


def one_by_one(block: int) -> int:
    """Compile for each network."""
    plan, taken = plan_block(SEED, block), 0
    group = GROUPS[plan.group]
    for number in range(NETWORKS):
        case = draw_case(SEED, block, number)[1].arguments(group)
        try:
            with np.errstate(all="ignore"):
                got = group.by_hand(*case)
        except ValueError:  # it overflows, and is refused
            continue
        Comparer(group.by_jax, *case)(got, *case, dtype=plan.dtype)
        taken += 1
        if taken == ALONE:
            break
    return taken


def optimised(block: int) -> int:
    """Compile for each network as JAX does by default."""
    with mock.patch.multiple(programs, FAST={}, FAITHFUL={}):
        return one_by_one(block)


def at_once(block: int, *, compiled: bool, measured: bool = False) -> int:
    """Take the networks of a block at once, and count those that were not refused."""
    numbers = range(NETWORKS)
    record = compare_cases(SEED, block, numbers, compiled=compiled, measured=measured).record
    return NETWORKS - len(record.found.get(REFUSED, []))


WAYS: dict[str, Callable[[int], int]] = {
    "a jit compilation for each network": optimised,
    "the same, not optimised": one_by_one,
    "a compilation for each shape of 100 networks": functools.partial(at_once, compiled=True),
    "the same, where the proven bound is infinite": functools.partial(
        at_once, compiled=False, measured=True
    ),
    "no compilation": functools.partial(at_once, compiled=False),
}


def main() -> None:
    """Measure and print."""
    parser = parser_of("python -m benchmarks.speed.campaign", __doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of ten blocks (default: 3)")
    options = parser.parse_args()
    seconds = {name: np.zeros(options.rounds) for name in WAYS}
    networks = {name: np.zeros(options.rounds) for name in WAYS}
    with threadpool_limits(1):
        for way in WAYS.values():  # what is done once is not counted
            way(0)
        for number in tqdm(range(options.rounds), unit="round", leave=False, disable=None):
            for block in range(1 + number * len(TURNS), 1 + (number + 1) * len(TURNS)):
                for name, way in WAYS.items():
                    jax.clear_caches()
                    start = time.perf_counter()
                    networks[name][number] += way(block)
                    seconds[name][number] += time.perf_counter() - start
    speeds = {name: networks[name] / seconds[name] for name in WAYS}
    first = next(iter(speeds.values()))
    page = Page("How fast networks are verified", ABOUT)
    page.heading(["networks verified", "networks a second", "times the first"])
    for name, speed in speeds.items():
        ratio = speed / first
        page.row(
            [
                name,
                f"{np.median(speed):,.3g}",
                f"{np.median(ratio):,.3g} ({ratio.min():,.3g}–{ratio.max():,.3g})",
            ]
        )
    *_, last = speeds.values()
    summary = (
        f"Without compilation {np.median(last):,.3g} networks a second on a core, "
        f"{np.median(last / first):,.3g} times as many as with a jit compilation for each."
    )
    facts = {"Machine": processor(), "Threads": "1"}
    page.write(options.results / "campaign_speed.md", summary, parser.prog, None, facts)


if __name__ == "__main__":
    main()
