"""Time the derivatives by hand beside jitted JAX, and beside the bare products of matrices.

python -m benchmarks.derivatives

In each round everything has its turn, in float32: one call to warm up, then calls for some
milliseconds, of which the mean is taken. The figures are the median over the rounds of the ratio
within a round, with its quartiles. The floor is the products of matrices that section 12 of
DERIVATIONS.md counts, into arrays made before. NumPy's BLAS and XLA get the same number of threads,
and each chooses the processor's best instructions. With one thread the time is that of the process
on its core, which other load disturbs less. Axes: N rows in the batch.
"""

import argparse
import gc
import itertools
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NETWORKS = ((784, 256, 10), (784, 512, 512, 10))
BATCHES = (64, 256)
TURN = 0.02  # seconds

# How many products each quantity takes in layer 1, and in every other: (up, down, weights), which
# are of one size each, a W, d_z W^T and a^T d_z.
PRODUCTS = {
    "gradient": ((1, 0, 1), (1, 1, 1)),
    "jvp": ((2, 0, 0), (3, 0, 0)),
    "hvp": ((2, 0, 1), (3, 3, 2)),
    "ggnvp": ((2, 0, 1), (3, 1, 1)),
    "per-example gradients": ((1, 0, 0), (1, 1, 0)),
    "per-example norms": ((1, 0, 0), (1, 1, 0)),
    "clipped gradient": ((1, 0, 1), (1, 1, 1)),
}


class Figure(NamedTuple):
    """A median with its quartiles."""

    lower: float
    median: float
    upper: float

    def __str__(self) -> str:
        """Write it with three digits."""
        return f"{self.median:.3g} ({self.lower:.3g} to {self.upper:.3g})"


class Result(NamedTuple):
    """What was measured of one quantity for one network and batch."""

    quantity: str
    sizes: tuple[int, ...]
    N: int
    milliseconds: float  # by hand
    jax_over_hand: Figure
    hand_over_floor: Figure


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.derivatives", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=21, help="for each network and batch")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and of XLA alike")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    args = parser.parse_args(argv)
    limit_threads(args.threads)
    import numpy  # noqa: F401, ICN001, PLC0415, for the next line to find its BLAS
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(args.threads):
        print("\n".join(environment()), end="\n\n", flush=True)
        results = []
        print(
            "quantity                sizes            rows  by hand ms  JAX / hand             ",
            end="",
        )
        print("hand / floor")
        for sizes, N in itertools.product(NETWORKS, BATCHES):
            for result in measure(sizes, N, args.rounds, args.threads):
                results.append(result)
                print(
                    f"{result.quantity:23} {'-'.join(map(str, sizes)):16} {N:4}  "
                    f"{result.milliseconds:10.3g}  {result.jax_over_hand!s:22} "
                    f"{result.hand_over_floor}",
                    flush=True,
                )
        print("\npeak memory, as a part of the gradient's")
        memory = peaks()
        for row in memory:
            print(f"{row['quantity']:23} {row['sizes']:16} {row['N']:4}  {row['ratio']:.2f}")
    if args.json is not None:
        found = {
            "environment": environment(),
            "rounds": args.rounds,
            "results": [result._asdict() for result in results],
            "memory": memory,
        }
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def limit_threads(threads: int) -> None:
    """Tell XLA, and let BLAS choose its kernels: both read this when they start."""
    if {"jax", "numpy"} & set(sys.modules):
        raise RuntimeError("NumPy or JAX has started already, and does not read its settings again")
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # as set for another processor
        os.environ.pop(name, None)
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["NPROC"] = str(threads)
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()


def environment() -> list[str]:
    """Say what the figures depend on."""
    import jax  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from threadpoolctl import threadpool_info  # noqa: PLC0415

    blas = [
        f"{pool['internal_api']} {pool['version']} ({pool.get('architecture')}), "
        f"{pool['num_threads']} threads"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return [
        f"Python {platform.python_version()}, NumPy {np.__version__}, JAX {jax.__version__}",
        f"{os.cpu_count()} cores; BLAS: {', '.join(blas)}",
        f"XLA: NPROC={os.environ.get('NPROC')}, XLA_FLAGS={os.environ.get('XLA_FLAGS', '')!r}",
    ]


def measure(sizes: tuple[int, ...], N: int, rounds: int, threads: int) -> list[Result]:
    """Run everything once in each round, in turn."""
    import numpy as np  # noqa: PLC0415

    clock = time.process_time if threads == 1 else time.perf_counter
    by_hand, by_jax = quantities(sizes, N)
    floors = {name: floor(sizes, N, counts) for name, counts in PRODUCTS.items()}
    contestants = [
        (name, kind, functions[name])
        for name in PRODUCTS
        for kind, functions in (("hand", by_hand), ("jax", by_jax), ("floor", floors))
    ]
    times: dict[tuple[str, str], list[float]] = {}
    for _, _, function in contestants:
        function()  # JAX compiles
    for _ in range(rounds):
        for name, kind, function in contestants:
            times.setdefault((name, kind), []).append(timed(function, clock))
    results = []
    for name in PRODUCTS:
        hand, other, least = (np.array(times[name, kind]) for kind in ("hand", "jax", "floor"))
        ratios = [
            Figure(*map(float, np.quantile(r, [0.25, 0.5, 0.75])))
            for r in (other / hand, hand / least)
        ]
        results.append(Result(name, sizes, N, float(np.median(hand)) * 1e3, *ratios))
    return results


def timed(function: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Time calls for TURN seconds after another to warm up, each with the freeing of its result."""
    gc.collect()
    function()
    start = now = clock()
    calls = 0
    while now - start < TURN:
        function()
        calls += 1
        now = clock()
    return (now - start) / calls


def inputs(sizes: tuple[int, ...], N: int) -> tuple[Any, Any, Any, Any]:
    """Draw parameters, tangents and a batch."""
    import numpy as np  # noqa: PLC0415

    import manual_nn  # noqa: PLC0415

    rng = np.random.default_rng(0)
    params, tangents = (manual_nn.init_params(sizes, rng=rng, dtype=np.float32) for _ in range(2))
    X = rng.random((N, sizes[0]), dtype=np.float32)
    return params, tangents, X, rng.integers(sizes[-1], size=N)


def quantities(sizes: tuple[int, ...], N: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the functions without arguments, by hand and by JAX."""
    import jax  # noqa: PLC0415

    import manual_nn  # noqa: PLC0415
    import reference  # noqa: PLC0415

    params, tangents, X, y = inputs(sizes, N)
    on_device = jax.device_put((params, tangents, X, y))

    def functions(package: Any) -> dict[str, Callable[..., Any]]:
        return {
            "gradient": lambda p, _, X, y: package.loss_and_grad(p, X, y),
            "jvp": package.jvp,
            "hvp": package.hvp,
            "ggnvp": package.ggnvp,
            "per-example gradients": lambda p, _, X, y: package.per_example_grads(p, X, y),
            "per-example norms": lambda p, _, X, y: package.per_example_grad_norms(p, X, y),
            "clipped gradient": lambda p, _, X, y: package.clipped_grad(p, X, y, max_norm=1.0),
        }

    def by_hand(function: Callable[..., Any]) -> Callable[[], Any]:
        return lambda: function(params, tangents, X, y)

    def by_jax(function: Callable[..., Any]) -> Callable[[], Any]:
        jitted = jax.jit(function)
        return lambda: jax.block_until_ready(jitted(*on_device))

    return (
        {name: by_hand(function) for name, function in functions(manual_nn).items()},
        {name: by_jax(function) for name, function in functions(reference).items()},
    )


def floor(sizes: tuple[int, ...], N: int, counts: Any) -> Callable[[], None]:
    """Make the bare products of matrices: as many as counted, into arrays made before."""
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(0)
    products = []
    for l, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        a, W, d_z = (
            rng.normal(size=shape).astype(np.float32)
            for shape in ((N, fan_in), (fan_in, fan_out), (N, fan_out))
        )
        up, down, weights = counts[min(l, 1)]
        products += [(a, W, np.empty_like(d_z))] * up
        products += [(d_z, W.T, np.empty_like(a))] * down
        products += [(a.T, d_z, np.empty_like(W))] * weights

    def run() -> None:
        for left, right, out in products:
            np.matmul(left, right, out=out)

    return run


def peaks() -> list[dict[str, Any]]:
    """Measure the most memory that NumPy holds during a call, beside a gradient's."""
    import manual_nn  # noqa: PLC0415

    def peak(function: Callable[[], Any]) -> int:
        function()
        tracemalloc.start()
        function()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    rows = []
    for sizes, N in itertools.product(NETWORKS, BATCHES):
        params, _, X, y = inputs(sizes, N)
        plain = peak(lambda: manual_nn.loss_and_grad(params, X, y))  # noqa: B023, called at once
        for quantity, function in {
            "per-example norms": lambda: manual_nn.per_example_grad_norms(params, X, y),  # noqa: B023
            "clipped gradient": lambda: manual_nn.clipped_grad(params, X, y, max_norm=1.0),  # noqa: B023
        }.items():
            ratio = peak(function) / plain
            rows.append(
                {"quantity": quantity, "sizes": "-".join(map(str, sizes)), "N": N, "ratio": ratio}
            )
    return rows


if __name__ == "__main__":
    main()
