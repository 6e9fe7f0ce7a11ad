"""Time the derivatives by hand beside jitted JAX, and beside the bare products of matrices.

python -m benchmarks.speed.derivatives

By hand, by NumPy and by the loops that Numba compiles, JAX and the floor take turns in rounds, in
float32, as `benchmarks.speed.timing` says. The figures are the median over the rounds of the ratio
within a round, with its quartiles. The floor is the products of matrices that "What it costs" in
mlp.md counts, into arrays made before. What takes a workspace by hand has one; JAX allocates its
results in every call. NumPy's BLAS and XLA get the same number of threads, and each chooses the
processor's best instructions.

Axes: N rows in the batch.
"""

import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.speed.timing import (
    Timings,
    compare,
    environment,
    facts_of,
    interleave,
    limit_threads,
)
from benchmarks.tables import Page, parser_of

ABOUT = """\
The derivatives by hand, by NumPy (*hand*) and by loops that Numba compiles (*compiled*), jitted JAX
and the bare products of matrices that each needs take turns in rounds; the figures are medians of
the ratio within a round, with quartiles. The products write into arrays made before, and so do hand
and compiled, but for what is per example or clipped; JAX allocates its results in every call.
*XLA's products* are the same products as the floor's, by XLA in one jitted function."""
HEADINGS = (
    *("quantity", "sizes", "rows", "by hand, ms", "JAX / hand", "hand / floor"),
    *("compiled, ms", "JAX / compiled", "compiled / floor"),
    *("XLA's products / floor", "JAX / XLA's products", "compiled / best floor"),
)
XLA, BEST = "XLA's products", "best floor"  # of both products, the faster in its round
NETWORKS = ((784, 256, 10), (784, 512, 512, 10))
BATCHES = (64, 256)

# How many products each quantity takes in layer 1, (in layer 2,) and in every other: (up, down,
# weights), which are of one size each, a W, d_z W^T and a^T d_z.
PRODUCTS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "gradient": ((1, 0, 1), (1, 1, 1)),
    "jvp": ((2, 0, 0), (3, 0, 0)),
    "hvp": ((2, 0, 1), (3, 2, 2), (3, 3, 2)),
    "ggnvp": ((2, 0, 1), (3, 1, 1)),
    "per-example gradients": ((1, 0, 0), (1, 1, 0)),
    "per-example norms": ((1, 0, 0), (1, 1, 0)),
    "clipped gradient": ((1, 0, 1), (1, 1, 1)),
}


class Result(NamedTuple):
    """What was measured of one quantity for one network and batch."""

    quantity: str
    sizes: tuple[int, ...]
    N: int
    timings: Timings

    def cells(self) -> list[str]:
        """Lay out what was measured."""
        cells = [self.quantity, "-".join(map(str, self.sizes)), str(self.N)]
        for name in ("hand", "compiled"):
            if name in self.timings.over:
                cells += [
                    f"{self.timings.seconds[name].median * 1e3:.3g}",
                    str(self.timings.over[name]["JAX"]),
                    str(self.timings.over["floor"][name]),
                ]
        if XLA in self.timings.over:
            cells += [
                str(self.timings.over["floor"][XLA]),
                str(self.timings.over[XLA]["JAX"]),
                str(self.timings.over[BEST]["compiled"]),
            ]
        return cells + [""] * (len(HEADINGS) - len(cells))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = parser_of("python -m benchmarks.speed.derivatives", __doc__)
    parser.add_argument("--rounds", type=int, default=21, help="for each network and batch")
    parser.add_argument("--threads", type=int, default=1, help="of BLAS and of XLA alike")
    args = parser.parse_args(argv)
    limit_threads(args.threads)
    import jax  # noqa: F401, PLC0415, after its threads are limited, for environment() to see it

    described = environment(args.threads)
    print(*map(": ".join, described.items()), "", sep="\n", flush=True)
    page = Page("The derivatives by hand beside jitted JAX", ABOUT)
    page.heading(HEADINGS)
    results = []
    for sizes, N in itertools.product(NETWORKS, BATCHES):
        for result in measure(sizes, N, args.rounds, args.threads):
            results.append(result)
            page.row(result.cells())
    page.line("\n## Where JAX is ahead of compiled code\n")
    page.line(limits(results))
    page.line("\n## Peak memory, as a part of the gradient's\n")
    page.heading(["quantity", "sizes", "rows", "ratio"])
    for quantity, network, N, part in peaks():
        page.row([quantity, network, str(N), f"{part:.2f}"])
    facts = facts_of([described]) | {"Precision": "float32"}
    page.write(args.results / "derivatives.md", summary(results), parser.prog, argv, facts)


def limits(results: Sequence[Result]) -> str:
    """Say where JAX is ahead of compiled code, and what both spend beside the products."""
    lines = []
    for result in results:
        over, seconds = result.timings.over, result.timings.seconds
        if "compiled" not in over or over["compiled"]["JAX"].median >= 1:
            continue
        beside = {
            name: (seconds[name].median - seconds[products].median) * 1e3
            for name, products in (("compiled", "floor"), ("JAX", XLA))
        }
        lines.append(
            f"- {result.quantity}, {'-'.join(map(str, result.sizes))}, {result.N} rows: JAX / "
            f"compiled {over['compiled']['JAX'].median:.3g}, and XLA's products / NumPy's "
            f"{over['floor'][XLA].median:.3g}; beside the products compiled code spends "
            f"{beside['compiled']:.2f} ms, JAX {beside['JAX']:.2f} ms."
        )
    return "\n".join(lines) or "JAX is ahead in none."


def summary(results: Sequence[Result]) -> str:
    """Say in a sentence how the two ways compare."""
    sentences = []
    for name, words in (("hand", "by hand"), ("compiled", "compiled")):
        timings = [result.timings for result in results if name in result.timings.over]
        if timings:
            by_jax = [one.over[name]["JAX"].median for one in timings]
            over_floor = [one.over["floor"][name].median for one in timings]
            sentences.append(
                f"JAX takes {min(by_jax):.3g} to {max(by_jax):.3g} times as long as {words}; "
                f"{words} takes {min(over_floor):.3g} to {max(over_floor):.3g} times the bare "
                "matrix products."
            )
    return " ".join(sentences)


def measure(sizes: tuple[int, ...], N: int, rounds: int, threads: int) -> list[Result]:
    """Run everything once in each round, in turn."""
    from benchmarks.speed.floor import floor, xla_floor  # noqa: PLC0415, it imports NumPy

    ways = quantities(sizes, N)
    results = []
    for name, counts in PRODUCTS.items():
        calls = {way: functions[name] for way, functions in ways.items() if name in functions}
        others = ["floor", *(way for way in ("hand", "compiled") if way in calls)]
        calls["floor"] = floor(sizes, N, "float32", *counts)
        if "compiled" in calls:
            calls[XLA] = xla_floor(sizes, N, "float32", *counts)
        seconds = interleave(calls, rounds, threads=threads)
        if XLA in seconds:
            seconds[BEST] = list(map(min, seconds["floor"], seconds[XLA]))
            others += [XLA, BEST]
        results.append(Result(name, sizes, N, compare(seconds, others)))
    return results


def inputs(sizes: tuple[int, ...], N: int) -> tuple[Any, Any, Any, Any]:
    """Draw parameters, tangents and a batch."""
    import numpy as np  # noqa: PLC0415

    import manual_nn  # noqa: PLC0415

    rng = np.random.default_rng(0)
    params, tangents = (manual_nn.init_params(sizes, rng=rng, dtype=np.float32) for _ in range(2))
    X = rng.random((N, sizes[0]), dtype=np.float32)
    return params, tangents, X, rng.integers(sizes[-1], size=N)


def quantities(sizes: tuple[int, ...], N: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """Make the functions without arguments, by each way: by hand, compiled and by JAX."""
    import jax  # noqa: PLC0415

    import manual_nn  # noqa: PLC0415
    import reference  # noqa: PLC0415
    from manual_nn.compiled.backend import obstacle_to_compiling  # noqa: PLC0415

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

    def in_workspace(backend: Literal["numpy", "numba"]) -> dict[str, Callable[[], Any]]:
        workspace = manual_nn.Workspace(params, N, backend=backend)
        return {
            "gradient": lambda: manual_nn.loss_and_grad(params, X, y, workspace=workspace),
            "jvp": lambda: manual_nn.jvp(params, tangents, X, y, workspace=workspace),
            "hvp": lambda: manual_nn.hvp(params, tangents, X, y, workspace=workspace),
            "ggnvp": lambda: manual_nn.ggnvp(params, tangents, X, y, workspace=workspace),
        }

    without = {name: by_hand(function) for name, function in functions(manual_nn).items()}
    ways = {
        "hand": without | in_workspace("numpy"),
        "JAX": {name: by_jax(function) for name, function in functions(reference).items()},
    }
    if obstacle_to_compiling() is None:
        ways["compiled"] = in_workspace("numba")
    return ways


def peaks() -> list[tuple[str, str, int, float]]:
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
            rows.append((quantity, "-".join(map(str, sizes)), N, peak(function) / plain))
    return rows


if __name__ == "__main__":
    main()
