"""Time contenders in turn: the same threads for all, interleaved rounds, ratios within a round.

pyperf, asv and pytest-benchmark time one contender after the other, so that a machine that slows
down in between changes their ratio. Here every contender has a turn in every round, in an order
drawn anew, and a ratio is of two turns in one round. A turn itself is the standard library's
`timeit`, which keeps the garbage collector out. This module does without NumPy: it sets what BLAS
and XLA read when they start.
"""

import importlib.metadata
import importlib.util
import math
import multiprocessing
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from timeit import Timer
from typing import NamedTuple

TURN = 0.02  # seconds that a turn takes at least
SETTLED = 10 * TURN  # a call of so many seconds needs no warming up

# Import names of what is timed, by the name of the distribution.
LIBRARIES = {
    "numpy": "numpy",
    "numba": "numba",
    "jax": "jax",
    "torch": "torch",
    "scikit-learn": "sklearn",
    "autograd": "autograd",
}


class Figure(NamedTuple):
    """A median with its quartiles."""

    lower: float
    median: float
    upper: float

    def __str__(self) -> str:
        """Write it with three digits."""
        return f"{self.median:.3g} ({self.lower:.3g}–{self.upper:.3g})"


def figure(values: Sequence[float]) -> Figure:
    """Take the median and the quartiles, of two values or more."""
    return Figure(*statistics.quantiles(values, n=4, method="inclusive"))


def ratio(above: Sequence[float], below: Sequence[float]) -> Figure:
    """Take the figure of the ratios within each round."""
    return figure([a / b for a, b in zip(above, below, strict=True)])


class Timings(NamedTuple):
    """What the contenders took.

    Attributes:
        seconds: of a call, by contender.
        over: the time as a multiple of that of another: `over[other][contender]`.
    """

    seconds: dict[str, Figure]
    over: dict[str, dict[str, Figure]]

    def as_json(self) -> dict[str, object]:
        """Name every figure."""
        return {
            "seconds": {name: figure._asdict() for name, figure in self.seconds.items()},
            "over": {
                other: {name: figure._asdict() for name, figure in figures.items()}
                for other, figures in self.over.items()
            },
        }


def compare(seconds: Mapping[str, Sequence[float]], others: Sequence[str]) -> Timings:
    """Take the figures of what `interleave` gives, and of the ratios to these others."""
    return Timings(
        {name: figure(times) for name, times in seconds.items()},
        {
            other: {
                name: ratio(times, seconds[other])
                for name, times in seconds.items()
                if name != other
            }
            for other in others
        },
    )


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int, *, threads: int
) -> dict[str, list[float]]:
    """Time each contender once in each round.

    With one thread the time is that of the process on its core, which other load disturbs less;
    with several it is the clock on the wall.

    Args:
        contenders: what to call, by name.
        rounds: how many turns each has.
        threads: how many there are.

    Returns:
        For each name the seconds of a call, one number for each round.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    timers = {name: Timer(call, timer=clock) for name, call in contenders.items()}
    calls = {name: calls_in_a_turn(timer) for name, timer in timers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for order in orders(list(timers), rounds):
        for name in order:
            if threads > 1:
                settle()
            seconds[name].append(turn(timers[name], calls[name]))
    return seconds


def orders(names: Sequence[str], rounds: int) -> Iterator[list[str]]:
    """Draw the order of each round, the same ones every time."""
    shuffle = random.Random(0).shuffle  # noqa: S311, an order
    for _ in range(rounds):
        order = list(names)
        shuffle(order)
        yield order


def settle() -> None:
    """Wait until the process is idle.

    The threads of OpenBLAS wait for their next product by spinning, for half a second: on a core
    that the next contender's threads would have.
    """
    while True:
        before = time.process_time()
        time.sleep(TURN)
        if time.process_time() - before < TURN / 20:
            return


def calls_in_a_turn(timer: Timer) -> int:
    """Count the calls that take a turn's time."""
    timer.timeit(1)  # JAX compiles
    calls = 1
    while (seconds := timer.timeit(calls)) < TURN:
        calls = max(2 * calls, math.ceil(calls * TURN / max(seconds, TURN / 100)))
    return calls


def turn(timer: Timer, calls: int) -> float:
    """Time a call: the mean of a turn's, after a quarter as many to warm up."""
    if calls > 1:
        timer.timeit(math.ceil(calls / 4))
    elif (seconds := timer.timeit(1)) >= SETTLED:
        return seconds
    return timer.timeit(calls) / calls


def all_threads() -> int:
    """Count the cores that this process may run on."""
    return len(cores()) or os.cpu_count() or 1


def cores() -> list[int]:
    """List the cores that this process may run on, where the system says so."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def limit_threads(threads: int) -> None:
    """Give BLAS, XLA and OpenMP so many threads, and with one of them the process one core.

    They read this when they start, before which it has to be called.
    """
    if {"jax", "numpy", "torch"} & set(sys.modules):
        raise RuntimeError(
            "NumPy, JAX or PyTorch has started, and does not read its settings again"
        )
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # so that BLAS finds its best kernels
        os.environ.pop(name, None)
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "NPROC"):
        os.environ[name] = str(threads)
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
        if sys.platform == "linux":
            os.sched_setaffinity(0, cores()[-1:])


def process_of(threads: int, *, processes: int = 1) -> ProcessPoolExecutor:
    """Start a fresh process with so many threads, or several, to submit what is measured to."""
    return ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=prepare, initargs=(threads,)
    )


def prepare(threads: int) -> None:
    """Set what the libraries of this process read when they start."""
    limit_threads(threads)
    os.environ["JAX_ENABLE_X64"] = "1"  # for float64; float32 and int32 stay what they are


def installed(module: str) -> bool:
    """Say whether a module can be imported."""
    return importlib.util.find_spec(module) is not None


def environment(threads: int) -> dict[str, str]:
    """Say what the figures depend on, and check that all have the same number of threads.

    Raises:
        RuntimeError: a library has another number of threads.
    """
    from threadpoolctl import threadpool_info  # noqa: PLC0415, after limit_threads

    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name, module in LIBRARIES.items()
        if module in sys.modules
    ]
    keys = ("internal_api", "version", "architecture")
    pools = {
        " ".join(str(pool[key]) for key in keys if pool.get(key)): int(pool["num_threads"])
        for pool in threadpool_info()
    }
    if "torch" in sys.modules:
        pools["PyTorch"] = sys.modules["torch"].get_num_threads()
    if wrong := {name: count for name, count in pools.items() if count != threads}:
        raise RuntimeError(f"every library must have {threads} threads, got {wrong}")
    return {
        "processor": processor(),
        "cores": f"{cores()} of {os.cpu_count()}",
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "libraries": ", ".join(versions),
        "threads": ", ".join(f"{name}: {count}" for name, count in pools.items()),
        "XLA": f"NPROC={os.environ['NPROC']} XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}",
    }


def facts_of(environments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Say what figures of one machine, with several numbers of threads, depend on."""
    about = environments[0]
    return {
        "Versions": f"{about['system']}, {about['libraries']}",
        "Machine": f"{about['processor']}, {os.cpu_count()} cores",
        "Threads": "; ".join(one["threads"] for one in environments),
        "XLA": "; ".join(one["XLA"] for one in environments),
    }


def processor() -> str:
    """Name the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
