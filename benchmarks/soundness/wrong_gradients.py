"""Mistakes of a gradient, whatever it is of: each makes a wrong one of a right one."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from reference.arrays import Array
from reference.compare import Comparison

Arrays = list[Array]


def _all(factor: float) -> Callable[[Arrays, np.random.Generator], Arrays]:
    return lambda arrays, _: [array * array.dtype.type(factor) for array in arrays]


def _changed(
    arrays: Arrays, rng: np.random.Generator, change: Callable[[Array], None], *, axes: int = 0
) -> Arrays:
    """Change one of the arrays that have so many axes."""
    places = [i for i, array in enumerate(arrays) if array.ndim >= axes and array.any()]
    changed = [array.copy() for array in arrays]
    if places:
        change(changed[int(rng.choice(places))])
    return changed


def _one_array_zero(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    return _changed(arrays, rng, lambda array: array.fill(0))


def _one_row_zero(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    def clear(array: Array) -> None:
        array[int(rng.integers(len(array)))] = 0

    return _changed(arrays, rng, clear, axes=2)


def _median_element(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    def move(array: Array) -> None:
        flat = array.reshape(-1)
        nonzero = np.flatnonzero(flat)
        place = nonzero[np.argsort(abs(flat[nonzero]))[len(nonzero) // 2]]
        flat[place] *= array.dtype.type(1.01)

    return _changed(arrays, rng, move)


MISTAKES: dict[str, Callable[[Arrays, np.random.Generator], Arrays]] = {
    "zero": _all(0.0),
    "negated": _all(-1.0),
    "doubled": _all(2.0),
    "times 1.001": _all(1.001),
    "one array zero": _one_array_zero,
    "one row zero": _one_row_zero,
    "median element 1 % off": _median_element,
}

# These are so small that rounding may be larger, in float32 where digits have cancelled.
FINE = {"times 1.001", "median element 1 % off"}


def change(comparison: Comparison) -> float:
    """Say how much a mistake changes at most, beside the largest element of the gradient.

    What hangs on an exact tie or a kink within rounding does not count: there either side is right.
    A gradient that is 0, of which rounding leaves something, has no size: there it is beside 1.
    """
    most = largest = 0.0
    for leaf in comparison.leaves:
        settled = ~(leaf.tied | leaf.ambiguous)
        most = max(most, float(leaf.error[settled].max(initial=0)))
        largest = max(largest, float(abs(leaf.want).max(initial=0)))
    return most / (largest or 1.0)


def is_gross(mistake: str, comparison: Comparison, dtype: str) -> bool:
    """Say whether a mistake must be seen: half of the digits of the largest element hold it.

    One that is smaller, such as of a row that is 0 but for rounding, is seen where rounding is
    smaller still.
    """
    return mistake not in FINE and change(comparison) > np.sqrt(np.finfo(dtype).eps)


def wrong_gradients(right: Any, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
    """Make a wrong gradient of the right one in each way; those that differ from it."""
    leaves, structure = jax.tree.flatten(right)
    arrays = [np.array(leaf) for leaf in leaves]
    for mistake, make in MISTAKES.items():
        made = [np.asarray(array) for array in make(arrays, rng)]
        if any((a != b).any() for a, b in zip(made, arrays, strict=True)):
            yield mistake, jax.tree.unflatten(structure, made)
