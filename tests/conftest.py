"""JAX at its strictest, how much each profile tries, and the tally at the end of a run.

A profile is chosen with --hypothesis-profile or by CI=true: `dev` while writing, `ci` in .ci/run,
`deep` unattended, and `mutation` for each of thousands of mutants, which draws the same each time
and does not shrink what it finds.
"""

import gc
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

from manual_nn.compiled import backend
from reference.compare import Comparison
from reference.diagnosis import causes
from reference.diagnosis.edges.words import Located

backend.AUTOMATIC = ("numpy",)  # a test of what is compiled asks for it

jax.config.update("jax_enable_x64", True)  # noqa: FBT003, JAX's way
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

T = TypeVar("T")


class Depth(NamedTuple):
    """How much a profile tries.

    Attributes:
        examples: what Hypothesis draws for a property.
        compilations: the same, for a property whose every example JAX compiles for seconds.
        draws: of values, for each shape that is compiled.
        networks: how many of them each fault of the dictionary is planted in.
        seeds: of the arguments, for each fault that is planted elsewhere.
        kills: of a training that goes on to be killed again.
        stride: from one place of a file that is damaged to the next, and from one call before
            which its write is killed to the next, as a multiple of the smallest.
        halved: whether each of two precisions, or of two sizes, takes its half of a table, and not
            all of it.
        compiled: whether JAX's results in the known traps come from XLA, which compiles each for a
            second, or from the evaluation of JAX's operations by NumPy.
        workers: processes of Dask that two jobs run in.
        optimised: whether XLA compiles as it does for everybody, or twice as fast what is slow.
    """

    examples: int
    compilations: int
    draws: int
    networks: int
    seeds: int
    kills: int
    stride: int = 1
    halved: bool = False
    compiled: bool = True
    workers: int = 2
    optimised: bool = True


DEPTHS = {
    "dev": Depth(
        10,
        2,
        draws=4,
        networks=2,
        seeds=1,
        kills=5,
        stride=3,
        halved=True,
        compiled=False,
        workers=1,
        optimised=False,
    ),
    "ci": Depth(20, 2, draws=3, networks=2, seeds=1, kills=10, halved=True),
    "deep": Depth(2000, 200, draws=20, networks=20, seeds=20, kills=50),
    "mutation": Depth(10, 5, draws=4, networks=2, seeds=3, kills=10, optimised=False),
}

# XLA reads these at the first compilation, and refuses to start with one that it does not know:
# jaxlib 0.8 to 0.10 do. A program that is compiled in parts takes more time of all cores together.
IN_ONE_PART = ("--xla_cpu_parallel_codegen_split_count=1",)
# What most of the time goes into where a program is compiled to be run once.
UNOPTIMISED = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
)
KNOWN_TO = ((0, 8), (0, 9), (0, 10))

# One example holds many draws and a compilation: no time limit, and slowness is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
same_each_time = settings(patient, derandomize=True)
unshrunk = settings(same_each_time, database=None, phases=(Phase.explicit, Phase.generate))
for name, base in (
    ("dev", patient),
    ("ci", same_each_time),
    ("deep", patient),
    ("mutation", unshrunk),
):
    settings.register_profile(name, base, max_examples=DEPTHS[name].examples)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def depth() -> Depth:
    """Say how much the profile that is loaded tries."""
    return DEPTHS[settings.get_current_profile_name()]


def part_for(dtype: type[np.floating], table: Sequence[T], turn: int = 0) -> Sequence[T]:
    """Give the rows of a table that this precision is to try: all, or what the other leaves."""
    return half_of(table, turn + (dtype is np.float64))


def half_of(table: Sequence[T], turn: int) -> Sequence[T]:
    """Give every other row of a table, from the first or from the second on by turns, or all."""
    part = table[turn % 2 :: 2] if depth().halved else table
    assert part, "nothing would be tried"
    return part


class Tally:
    """Counts what the comparisons with JAX have found, so that nothing is set aside in silence."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.verdicts: Counter[str] = Counter()
        self.shapes = 0
        self.open_kinks = 0
        self.planted: Counter[str] = Counter()  # gradients with a fault, and right ones
        self.foreign: Counter[str] = Counter()  # networks that each other library took part in

    def merge(self, counts: dict[str, Any]) -> None:
        """Add what another process has counted."""
        for name, count in counts.items():
            setattr(self, name, getattr(self, name) + count)

    def add(self, comparison: Comparison) -> None:
        """Count a comparison of one network."""
        self.verdicts[comparison.verdict] += 1
        self.open_kinks += comparison.open_kinks > 0


TALLY = Tally()


@pytest.fixture(scope="session")
def tally() -> Tally:
    """Give the tally that the end of the run prints."""
    return TALLY


@pytest.fixture
def no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for no operation: the losses are made up, or what else is named is tested."""
    monkeypatch.setattr(causes, "located", lambda *_, **__: Located([]))


@pytest.fixture(scope="session")
def draws() -> int:
    """Say how many draws of values a shape gets in this profile."""
    return depth().draws


@pytest.hookimpl(trylast=True)  # the profile is chosen by then
def pytest_configure() -> None:
    """Have XLA, here and in child processes, compile fast where the profile asks for it."""
    if jax.__version_info__[:2] in KNOWN_TO:
        flags = IN_ONE_PART if depth().optimised else IN_ONE_PART + UNOPTIMISED
        os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: the modules and the tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each of several processes tests that stand together, and so share what is compiled."""
    from xdist.scheduler import WorkStealingScheduling  # noqa: PLC0415, it may be missing

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Have each of several processes compute in one thread, for they share the cores."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the tally of one of several processes (pytest -n) to the one that prints."""
    if hasattr(session.config, "workeroutput"):
        counts = {
            name: {str(what): number for what, number in count.items()}
            if isinstance(count, Counter)
            else count
            for name, count in vars(TALLY).items()
        }
        session.config.workeroutput["tally"] = counts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up the tallies of the processes."""
    counts = getattr(node, "workeroutput", {}).get("tally", {})
    TALLY.merge(
        {
            name: Counter(count) if isinstance(count, dict) else count
            for name, count in counts.items()
        }
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tally."""
    if TALLY.planted:
        counts = ", ".join(f"{count:,} {what}" for what, count in TALLY.planted.items())
        terminalreporter.write_line(f"diagnosis: {counts}")
    if TALLY.foreign:
        counts = ", ".join(f"{count:,} networks by {name}" for name, count in TALLY.foreign.items())
        terminalreporter.write_line(f"foreign witnesses: {counts}")
    if TALLY.shapes:
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in TALLY.verdicts.items())
        terminalreporter.write_line(
            f"manual_nn against JAX: {TALLY.shapes:,} shapes, {TALLY.verdicts.total():,} networks, "
            f"{TALLY.open_kinks:,} of them with a kink within rounding: {counts}"
        )
