"""The directions in which a vjp, a jvp or an hvp is tried: drawn, so that they can be drawn again.

A derivative is linear in its direction, so that one without a zero would tell it from any other;
but its code often is not: it skips zeros, sums what it should keep apart, or forgets an output.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from reference.arrays import Array

ALONE = 4  # arrays that get a one-hot direction of their own
SPARSE = 0.25  # of the elements
STREAM = 1847  # whoever draws the arguments with the same seed gets other numbers


@dataclass(frozen=True)
class Direction:
    """A direction.

    Attributes:
        name: what it is to the function: `d_out` or `tangents`.
        how: how it was drawn, in words.
        value: the tree of arrays.
        tried: says what became of it and of others, once they were tried.
    """

    name: str
    how: str
    value: Any
    tried: str = ""

    def __str__(self) -> str:
        """Say which it is."""
        return f"{self.name} {self.how}" + (f" ({self.tried})" if self.tried else "")


def directions(name: str, like: Any, dtype: npt.DTypeLike) -> Iterator[Direction]:
    """Draw directions of the shapes of these arrays: dense, sparse and one-hot ones.

    Args:
        name: what they are to the function.
        like: a tree of what has shapes.
        dtype: of their numbers.

    >>> for direction in directions("d_out", np.zeros(3), np.float32):
    ...     print(direction)
    d_out dense, seed 0
    d_out dense, seed 1
    d_out sparse, seed 0
    d_out one-hot at [2], seed 0
    """
    leaves, structure = jax.tree.flatten(like)
    shapes = [np.shape(leaf) for leaf in leaves]
    sizes = [int(np.prod(shape, dtype=np.int64)) for shape in shapes]

    def direction(how: str, arrays: Sequence[Array]) -> Direction:
        cast = [array.astype(dtype) for array in arrays]
        return Direction(name, how, jax.tree.unflatten(structure, cast))

    for seed in (0, 1):
        rng = np.random.default_rng([seed, STREAM])
        yield direction(f"dense, seed {seed}", [rng.normal(size=shape) for shape in shapes])
    if max(sizes, default=0) > 1:
        rng = np.random.default_rng([0, STREAM])
        yield direction("sparse, seed 0", [_sparse(shape, rng) for shape in shapes])
    rng = np.random.default_rng([0, STREAM])
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(like)]
    for i in [i for i, size in enumerate(sizes) if size][:ALONE]:
        index = tuple(map(int, np.unravel_index(rng.integers(sizes[i]), shapes[i] or (1,))))
        arrays = [np.zeros(shape) for shape in shapes]
        arrays[i].flat[np.ravel_multi_index(index, shapes[i] or (1,))] = 1
        yield direction(f"one-hot at {paths[i]}{list(index)}, seed 0", arrays)


def _sparse(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw numbers of which most are 0, but not all."""
    kept = np.asarray(rng.random(shape) < SPARSE)
    if kept.size:
        kept.flat[rng.integers(kept.size)] = True
    return np.where(kept, rng.normal(size=shape), 0.0)
