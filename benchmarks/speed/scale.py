"""Measure how the gradient scales: with rows on disk in memory and time, in time with every size.

python -m benchmarks.speed.scale

Memory: a file of 784 bytes a row is written, and mapped by a fresh process for each call, which
converts a chunk of it at a time. `arrays` is the most that NumPy and Python held at once during the
call, above what they held before, as tracemalloc counts it: exact. `anonymous` is the whole
process's anonymous memory, `RssAnon` in Linux's /proc/self/status, which holds BLAS's buffers too;
it is read every millisecond, less what it was before, and short peaks may be missed. Pages of the
file, which the system takes back when it needs them, are in neither, but are in the peak RSS that
the system keeps, with Python, NumPy and all.

Exponents: a call is timed at several values of one size, with the others fixed, on one core, in
interleaved rounds. A round's exponent is the slope of the least-squares line through log time
against log size; the figure is their median, with the quartiles.

Axes: N rows, D inputs, H hidden units, K classes.
"""

import math
import resource
import statistics
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed.timing import (
    Figure,
    all_threads,
    environment,
    facts_of,
    figure,
    interleave,
    process_of,
)
from benchmarks.tables import Page, parser_of

ABOUT = """\
The gradient over rows of 784 bytes in a file, by a fresh process each, and the time of a gradient
at several values of one size."""
LEGEND = """
*arrays*: the most that NumPy and Python held at once. *anonymous*: the process's memory without the
pages of the file, which the system can take back; *peak RSS*: with them. Both in MiB.

## Time

The time grows with a power of each size:
"""
WIDTHS = (784, 256, 10)
IN_ONE_PIECE = 200_000  # rows that fit into memory at once


class Call(NamedTuple):
    """What a call took."""

    rows: int
    chunk_size: int | None
    file_mib: float
    arrays_mib: float  # this and the next at their peak, above what they were before
    anonymous_mib: float
    peak_rss_mib: float
    seconds: float


class Sweep(NamedTuple):
    """The values of one size, and the other sizes."""

    values: Sequence[int]
    others: Mapping[str, int]
    chunk_size: int | None = None


SWEEPS = {
    "N": Sweep((1024, 2048, 4096, 8192, 16384), {"D": 784, "H": 256, "K": 10}, chunk_size=1024),
    "D": Sweep((512, 1024, 2048, 4096, 8192), {"N": 1024, "H": 256, "K": 10}),
    "H": Sweep((128, 256, 512, 1024, 2048), {"N": 1024, "D": 784, "K": 10}),
    "K": Sweep((256, 512, 1024, 2048, 4096), {"N": 1024, "D": 64, "H": 256}),
}


class Exponent(NamedTuple):
    """How time grows with a size."""

    size: str
    values: Sequence[int]
    others: Mapping[str, int]
    milliseconds: list[float]  # medians over the rounds
    exponent: Figure


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = parser_of("python -m benchmarks.speed.scale", __doc__)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1_000_000, 4_000_000], help="in the file"
    )
    parser.add_argument("--chunk-size", type=int, default=8192, help="rows in memory at a time")
    parser.add_argument("--folder", type=Path, help="for the file of 784 bytes a row; else /tmp")
    parser.add_argument("--rounds", type=int, default=11, help="for the exponents, 2 or more")
    args = parser.parse_args(argv)

    about = in_process(all_threads(), environment_with_numpy, all_threads())
    print("\n".join(f"{name}: {value}" for name, value in about.items()), end="\n\n")
    page = Page("How memory and time grow with each size", ABOUT)
    page.line("## Memory\n")
    page.row(["rows", "chunk_size", "file, MiB", "arrays, MiB", "anonymous", "peak RSS", "seconds"])
    page.row(["---:"] * 7)
    for call in measure_calls(args.rows, args.chunk_size, args.folder):
        page.row(
            [
                f"{call.rows:,}",
                str(call.chunk_size or "all"),
                f"{call.file_mib:,.0f}",
                f"{call.arrays_mib:,.1f}",
                f"{call.anonymous_mib:,.1f}",
                f"{call.peak_rss_mib:,.0f}",
                f"{call.seconds:.1f}",
            ]
        )
    page.line(LEGEND)
    page.row(["size", "from", "to", "of the others", "exponent of the time", "ms at the largest"])
    page.row(["---", "---:", "---:", "---", "---:", "---:"])
    powers = []
    for name, sweep in SWEEPS.items():
        exponent = in_process(1, measure_exponent, name, sweep, args.rounds)
        others = ", ".join(f"{other} {value}" for other, value in sweep.others.items())
        ends = str(sweep.values[0]), str(sweep.values[-1])
        slowest = f"{exponent.milliseconds[-1]:.3g}"
        page.row([name, *ends, others, str(exponent.exponent), slowest])
        powers.append(f"{exponent.exponent.median:.3g} of {name}")
    summary = (
        f"{call.rows:,} rows on disk take {call.arrays_mib:,.1f} MiB of arrays; time grows with "
        f"the power {' and '.join(filter(None, [', '.join(powers[:-1]), powers[-1]]))}."
    )
    page.write(args.results / "scale.md", summary, parser.prog, argv, facts_of([about]))


def in_process(threads: int, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a fresh process with so many threads."""
    with process_of(threads) as process:
        return process.submit(function, *args).result()


def environment_with_numpy(threads: int) -> dict[str, str]:
    """Say what the figures depend on."""
    import numpy  # noqa: F401, ICN001, PLC0415, so that its BLAS is among it

    return environment(threads)


def measure_calls(rows: Sequence[int], chunk_size: int, folder: Path | None) -> Iterator[Call]:
    """Measure calls over parts of one file, the first two of as much as fits at once."""
    threads = all_threads()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "rows"
        write_rows(path, max([*rows, IN_ONE_PIECE]))
        for N, chunk in [(IN_ONE_PIECE, None), (IN_ONE_PIECE, chunk_size)]:
            yield in_process(threads, measure_call, path, N, chunk)
        for N in rows:
            yield in_process(threads, measure_call, path, N, chunk_size)


def write_rows(path: Path, rows: int) -> None:
    """Write random bytes, the same for every 10,000 rows."""
    import numpy as np  # noqa: PLC0415

    size = WIDTHS[0] * min(rows, 10_000)
    block = np.random.default_rng(0).integers(256, size=size, dtype=np.uint8).tobytes()
    left = WIDTHS[0] * rows
    with path.open("wb") as file:
        while left:
            left -= file.write(block[:left])


def measure_call(path: Path, rows: int, chunk_size: int | None) -> Call:
    """Compute the gradient over the first rows of the file."""
    import numpy as np  # noqa: PLC0415

    import manual_nn  # noqa: PLC0415

    params = manual_nn.init_params(WIDTHS, rng=np.random.default_rng(0), dtype=np.float32)
    X = np.memmap(path, np.uint8, mode="r", shape=(rows, WIDTHS[0]))
    y = np.random.default_rng(1).integers(WIDTHS[-1], size=rows, dtype=np.uint8)
    tracemalloc.start()
    with peak_anonymous_memory() as anonymous:
        start = time.perf_counter()
        manual_nn.loss_and_grad(params, X, y, chunk_size=chunk_size)
        seconds = time.perf_counter() - start
    _, arrays = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Call(
        rows,
        chunk_size,
        file_mib=X.nbytes / 2**20,
        arrays_mib=arrays / 2**20,
        anonymous_mib=anonymous.above / 2**10,
        peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,  # KiB on Linux
        seconds=seconds,
    )


class Peak:
    """The most KiB of anonymous memory above what it was before, and how often it was read."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.before = anonymous_memory()
        self.above = self.readings = 0

    def read(self) -> None:
        """Read it now."""
        self.above = max(self.above, anonymous_memory() - self.before)
        self.readings += 1


@contextmanager
def peak_anonymous_memory() -> Iterator[Peak]:
    """Read the anonymous memory every millisecond."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            peak.read()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def anonymous_memory() -> int:
    """Read how many KiB the process holds that are not of a file, in memory or swapped out."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "VmSwap:")))


def measure_exponent(name: str, sweep: Sweep, rounds: int) -> Exponent:
    """Time a call at each value in each round, and fit."""
    contenders = {
        str(value): gradient_of(**sweep.others, **{name: value}, chunk_size=sweep.chunk_size)
        for value in sweep.values
    }
    times = interleave(contenders, rounds, threads=1)
    log_sizes = [math.log(value) for value in sweep.values]
    slopes = [
        statistics.linear_regression(log_sizes, [math.log(seconds) for seconds in one]).slope
        for one in zip(*times.values(), strict=True)
    ]
    milliseconds = [1000 * statistics.median(seconds) for seconds in times.values()]
    return Exponent(name, sweep.values, sweep.others, milliseconds, figure(slopes))


def gradient_of(N: int, D: int, H: int, K: int, chunk_size: int | None) -> Callable[[], object]:
    """Make a call without arguments, over float32 in memory."""
    import numpy as np  # noqa: PLC0415

    import manual_nn  # noqa: PLC0415

    rng = np.random.default_rng(0)
    params = manual_nn.init_params([D, H, K], rng=rng, dtype=np.float32)
    X, y = rng.random((N, D), dtype=np.float32), rng.integers(K, size=N)
    return lambda: manual_nn.loss_and_grad(params, X, y, chunk_size=chunk_size)


if __name__ == "__main__":
    main()
