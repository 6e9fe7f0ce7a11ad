"""Time the search for the operation that is differentiated wrongly, in a transformer.

python -m benchmarks.speed.search

Each gradient has a process of its own, for what has been compiled is kept. There it is checked with
and without the search, and the difference is the search. The figures are seconds that all threads
of the process had a processor, so that other work beside it does not count.
"""

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from benchmarks.soundness.depths import FAMILIES, normal
from benchmarks.tables import Page, parser_of
from reference import check_gradient
from reference.diagnosis.edges.tapped import Tapped

ABOUT = """\
What the search for causes takes when a wrong gradient of a transformer is checked, in seconds of
the processor, without any limit: the first time, when all is traced and compiled, and once more for
the same loss. Random numbers, and the gradient for other labels, are explained by no mistake that
the search knows, so that each is tried."""
HEADINGS = ("gradient", "first, s", "again, s", "named")
BLOCKS, T, D = 2, 16, 78  # tokens, units

Gradient = Any
Wrong = Callable[[Callable[..., Any], Gradient, tuple[Any, ...]], Gradient]
FAMILY = next(family for family in FAMILIES if family.name == "transformer")


class Result(NamedTuple):
    """What became of one gradient.

    Attributes:
        wrong: how it is wrong.
        first, again: seconds of the processor.
        named: the code of the first cause.
        operations: of the loss.
        parameters: numbers that the gradient has.
    """

    wrong: str
    first: float
    again: float
    named: str
    operations: int
    parameters: int


def _cut(_loss: Callable[..., Any], _right: Gradient, args: tuple[Any, ...]) -> Gradient:
    (make,) = FAMILY.broken.values()
    return jax.grad(make(len(args[0])))(*args)


def _doubled(_loss: Callable[..., Any], right: Gradient, _args: tuple[Any, ...]) -> Gradient:
    return [*right[:-1], {**right[-1], "up": 2 * right[-1]["up"]}]


def _other_labels(loss: Callable[..., Any], _right: Gradient, args: tuple[Any, ...]) -> Gradient:
    blocks, x, y = args
    return jax.grad(loss)(blocks, x, np.random.default_rng(1).permutation(y))


def _random(_loss: Callable[..., Any], right: Gradient, _args: tuple[Any, ...]) -> Gradient:
    rng = np.random.default_rng(1)

    def noisy(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return x + rng.normal(scale=abs(x).mean(), size=x.shape)

    return jax.tree.map(noisy, right)


WRONG: dict[str, Wrong] = {
    "one array by 2": _doubled,
    "attention of a block cut": _cut,
    "for other labels": _other_labels,
    "random numbers added": _random,
}


def draw(rng: np.random.Generator, blocks: int, tokens: int, units: int) -> tuple[Any, ...]:
    """Draw parameters, inputs and labels."""
    shapes = {
        "qkv": (units, 3 * units),
        "out": (units, units),
        "up": (units, 4 * units),
        "down": (4 * units, units),
    }
    params = [
        {name: normal(rng, *shape, fan_in=shape[0]) for name, shape in shapes.items()}
        for _ in range(blocks)
    ]
    return params, normal(rng, tokens, units), rng.integers(units, size=tokens)


def measure(wrong: str, sizes: tuple[int, int, int] = (BLOCKS, T, D)) -> Result:
    """Check one wrong gradient with and without the search, twice each."""
    jax.config.update("jax_enable_x64", True)  # noqa: FBT003, JAX's way
    loss, args = FAMILY.loss(sizes[0]), draw(np.random.default_rng(0), *sizes)
    right = jax.tree.map(np.asarray, jax.grad(loss)(*args))
    got = jax.tree.map(np.asarray, WRONG[wrong](loss, right, args))

    def check(seconds: float) -> tuple[float, str]:
        start = time.process_time()
        report = check_gradient(got, loss, *args, explain_seconds=seconds)
        return time.process_time() - start, str(report.causes[0].code)

    check(0)
    without, _ = check(0)
    first, named = check(math.inf)
    again, _ = check(math.inf)
    operations = len(Tapped(loss, args, [0]).operations)
    parameters = sum(x.size for x in jax.tree.leaves(right))
    return Result(wrong, first - without, again - without, named, operations, parameters)


def main(argv: Sequence[str] | None = None) -> None:
    """Print and write the table."""
    parser = parser_of("python -m benchmarks.speed.search", __doc__)
    args = parser.parse_args(argv)
    page = Page("How long the search for a cause takes", ABOUT)
    page.heading(HEADINGS)
    results = []
    for wrong in WRONG:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result = pool.apply(measure, (wrong,))
        page.row([wrong, f"{result.first:.1f}", f"{result.again:.1f}", result.named])
        results.append(result)
    longest = max(result.first for result in results)
    summary = (
        f"In a loss of {results[0].operations} operations and {results[0].parameters:,} parameters "
        f"the search took {longest:.1f} seconds of the processor where it took longest."
    )
    page.write(args.results / "search.md", summary, parser.prog, argv)


if __name__ == "__main__":
    main()
