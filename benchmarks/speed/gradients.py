"""Time `loss_and_grad` beside its floor, the peers and the row-by-row algorithm.

Axes: N rows in the batch, D inputs, K classes.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import manual_nn
from benchmarks.speed.floor import floor, torch_floor, xla_floor
from benchmarks.speed.peers import GRADIENTS, Problem, missing
from benchmarks.speed.timing import Timings, compare, interleave

NETWORKS = ((64, 32, 10), (784, 100, 10), (784, 256, 10), (784, 1024, 10), (784, 512, 512, 10))
BATCHES = (1, 32, 128, 1024, 8192)
DTYPES = ("float32", "float64")
EPOCH = 51_000  # the training rows of MNIST that are not held out
FEW = 128  # rows up to which the row-by-row algorithm is timed, for it is slow, and for an EPOCH
WEIGHT_DECAY = 1e-4
NO_DECAY = "ours without decay"  # the floor has none either
PRODUCTS = {"JAX": "XLA's products", "PyTorch": "PyTorch's products"}
BEST = "best floor"  # of NumPy's, XLA's and PyTorch's products, the fastest in its round


class Shape(NamedTuple):
    """What a gradient is taken of."""

    sizes: tuple[int, ...]  # D, the hidden widths, K
    N: int
    dtype: str

    @property
    def network(self) -> str:
        """The sizes as they are usually written."""
        return "-".join(map(str, self.sizes))


QUICK = [
    Shape(sizes, N, "float32")
    for sizes in ((64, 32, 10), (784, 256, 10))
    for N in (1, 32, 128, 1024)
]
FULL = [Shape(sizes, N, dtype) for dtype in DTYPES for sizes in NETWORKS for N in BATCHES]
FULL.append(Shape((784, 256, 10), EPOCH, "float32"))


def measure(shape: Shape, rounds: int, threads: int) -> Timings:
    """Give everybody a turn in each round."""
    problem = draw_problem(shape)
    calls = {
        "floor": floor(*shape),
        NO_DECAY: GRADIENTS["ours"](problem._replace(weight_decay=0.0)).run,
    }
    for name in contenders(shape):
        calls[name] = GRADIENTS[name](problem).run
    floors = ["floor"]
    for (peer, name), make in zip(PRODUCTS.items(), (xla_floor, torch_floor), strict=True):
        if peer in calls:
            calls[name] = make(*shape)
            floors.append(name)
    seconds = interleave(calls, rounds, threads=threads)
    seconds[BEST] = [min(times) for times in zip(*map(seconds.get, floors), strict=True)]
    others = [name for name in ("floor", BEST, "ours", "compiled") if name in seconds]
    return compare(seconds, others)


def contenders(shape: Shape) -> list[str]:
    """List who is there, and takes no minutes."""
    absent = missing()
    return [
        name
        for name in GRADIENTS
        if name not in absent and (name != "row by row" or shape.N <= FEW or shape.N == EPOCH)
    ]


def draw_problem(shape: Shape) -> Problem:
    """Draw parameters, and rows that are as sparse as pictures of digits."""
    rng = np.random.default_rng(0)
    D, K = shape.sizes[0], shape.sizes[-1]
    params = manual_nn.init_params(shape.sizes, rng=rng, dtype=shape.dtype)
    X = rng.random((shape.N, D)) * (rng.random((shape.N, D)) < 0.2)
    return Problem(params, X.astype(shape.dtype), rng.integers(K, size=shape.N), WEIGHT_DECAY)


PEERS = [name for name in GRADIENTS if name not in {"ours", "compiled"}]
FASTEST = ["ours", "JAX", "PyTorch", "scikit-learn"]


def headings(base: str) -> list[str]:
    """Name the columns of `row`."""
    return [
        *("network", "rows", "threads", "floor, ms", f"{BEST} / floor"),
        *("ours / floor", "without decay / floor", "compiled / floor", f"compiled / {BEST}"),
        *(f"{name} / {base}" for name in beside(base)),
    ]


def beside(base: str) -> list[str]:
    """List whose time is told as a multiple of that of one of ours."""
    return [name for name in ("ours", *PEERS) if name != base]


def row(shape: Shape, threads: int, timings: Timings, base: str) -> list[str]:
    """Lay out what was measured for one shape with so many threads."""
    floor = timings.over["floor"]
    return [
        shape.network,
        f"{shape.N:,}",
        str(threads),
        f"{timings.seconds['floor'].median * 1e3:.3g}",
        *(str(floor.get(name, "")) for name in (BEST, "ours", NO_DECAY, "compiled")),
        str(timings.over[BEST].get("compiled", "")),
        *(str(timings.over[base].get(name, "")) for name in beside(base)),
    ]


def means(all_timings: Sequence[Timings], base: str) -> str:
    """Say how long the others take beside one of ours: the geometric mean, and the least."""
    words = []
    for name in FASTEST:
        ratios = [t.over[base][name].median for t in all_timings if name in t.over[base]]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            words.append(f"{name} {mean:.3g} ({min(ratios):.3g} to {max(ratios):.3g})")
    return f"Times as long as {base}, geometric mean (least to most): {', '.join(words)}."
