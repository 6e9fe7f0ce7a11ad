"""What limits a gradient and an epoch: the products, and what was tried to make them faster.

Axes: N rows in the batch.
"""

from collections.abc import Sequence
from operator import itemgetter

from benchmarks.speed import epochs, gradients
from benchmarks.speed.epochs import Setting
from benchmarks.speed.gradients import Shape
from benchmarks.speed.timing import Timings

LIMITS = """
## What limits these figures, and what was tried

The products are the same work for everybody. Where *compiled / best floor* is near 1, there is
little else to save, and a peer whose products are as fast can be equalled, but hardly beaten. An
epoch that took no time but for the products of the floor would be *peer / floor* times as fast as a
peer's; to be faster than that takes faster products.
"""
TRIED = """
What was tried to make the products faster:

- Tiles of the result that stay in registers until all terms are added up, and read both matrices
  where they are. With AVX-512, on one thread, they beat BLAS where a matrix has few rows, and
  compiled takes them there; with hundreds of rows BLAS is ahead.
- Narrow products in parts, each so small that OpenBLAS copies nothing: compiled takes them on one
  thread, with AVX-512, and is faster than its floor where they weigh most.
- Tiles that read matrices packed in their order or transposed by a copy, and tiles that prefetch
  what they read next. None was faster than the tiles above.
- Blocks of rows on threads of their own, which are measured above if there are several threads.
  Compiled leaves the threads to BLAS."""


def of_gradients(measured: Sequence[tuple[Shape, Timings]]) -> str:
    """Say where JAX and PyTorch are fastest beside compiled, and how fast their products are."""
    sentences = []
    for peer, own in gradients.PRODUCTS.items():
        found = [
            (timings.over["compiled"][peer].median, shape, timings.over["floor"])
            for shape, timings in measured
            if peer in timings.over.get("compiled", {})
        ]
        if not found:
            continue
        by_peer, shape, over_floor = min(found, key=itemgetter(0))
        rows = f"{shape.N:,} row{'s' * (shape.N > 1)}"
        sentences.append(
            f"{peer} takes at least {by_peer:.3g} times as long as compiled: at {shape.network}, "
            f"{rows}, {shape.dtype}, where {own} take {over_floor[own].median:.3g} times "
            f"as long as the floor's, and compiled {over_floor['compiled'].median:.3g} times."
        )
    return " ".join(sentences)


def of_epochs(measured: Sequence[tuple[Setting, Timings]]) -> str:
    """Say how many times as long as its products an epoch of each peer takes, at the least."""
    if not measured:
        return ""
    found = {
        name: min(timings.over["floor"][name].median for _, timings in measured)
        for name in epochs.PEERS
        if all(name in timings.over["floor"] for _, timings in measured)
    }
    if not found:
        return ""
    each = ", ".join(f"{name}'s {least:.3g}" for name, least in found.items())
    return f"The epochs take at least so many times as long as their floor: {each}."
