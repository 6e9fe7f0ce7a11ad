"""Tell a gradient that has lost digits from one that is wrong.

A wrong formula is wrong by the same amount in every precision; digits that are lost to cancellation
or to a long sum come back where the unit roundoff is smaller. What is wrong in one precision alone,
by a path of its own, has errors that leave no trace in the other. NOISE.md explains the rules.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from reference.arguments import copies, is_array
from reference.arrays import PRECISIONS, Array
from reference.compare import Comparer, Comparison, Leaf
from reference.noise.samples import unit_roundoff

# Errors that follow the unit roundoffs of two precisions differ as these do, but for chance and for
# what else the coarser precision rounds.
STRAYS = 2.0**7
NEARBY = (0.997, 0.999, 1.001, 1.003)  # times the arguments, where errors are small by chance
ROUNDINGS = 2.0**7  # of the largest element, at most, where an error may be of lost digits
FEWEST = 16  # elements in which randomness can be seen
DEVIATIONS = 3  # by which a random error may lean towards the gradient, or to one side


class Judged(NamedTuple):
    """What is known of errors that rounding of JAX's formula does not explain.

    Attributes:
        comparison: with the lost digits marked.
        how: how it is known that nothing but digits is wrong; empty if something else may be.
        undecided: the places of the leaves that may have lost digits or a small mistake alike.
    """

    comparison: Comparison
    how: str = ""
    undecided: frozenset[int] = frozenset()


def lost_digits(
    comparison: Comparison,
    comparer: Comparer,
    grad: Callable[..., Any] | None,
    args: tuple[Any, ...],
    dtype: str,
) -> Judged:
    """Mark the elements that are no mistake but have lost digits, and say how that is known.

    Each array is judged for itself, and all of its elements at once.

    Args:
        comparison: of the gradient; something in it is wrong.
        comparer: made it.
        grad: the function that gave the gradient; None if only its result is known.
        args: of the function.
        dtype: their precision.
    """
    if not all(np.isfinite(leaf.got[leaf.wrong]).all() for leaf in comparison.leaves):
        return Judged(comparison)
    if grad is not None:
        other = _in_other_precision(grad, comparer, args, dtype)
        if other is not None:
            nearby = functools.partial(_errors_nearby, grad, comparer, args)
            return _by_precision(comparison, other, dtype, nearby)
    return _by_looks(comparison)


def _in_other_precision(
    grad: Callable[..., Any], comparer: Comparer, args: tuple[Any, ...], dtype: str
) -> Comparison | None:
    """Compare what the function gives for arguments of the other precision, if it gives any."""
    name = "float32" if dtype == "float64" else "float64"
    there = _cast(args, name)
    try:
        result = jax.tree.map(np.array, grad(*copies(there)))
        if any(str(leaf.dtype) != name for leaf in jax.tree.leaves(result)):
            return None
        return comparer(result, *there, dtype=name)
    except Exception:  # nobody said that it takes this precision
        return None


def _cast(args: tuple[Any, ...], name: str, factor: float = 1.0) -> tuple[Any, ...]:
    """Take the real arrays among the arguments in a precision, and times a factor."""

    def cast(leaf: Any) -> Any:
        if not is_array(leaf) or leaf.dtype not in PRECISIONS:
            return leaf
        return leaf.astype(name) * np.dtype(name).type(factor)

    cast_args: tuple[Any, ...] = jax.tree.map(cast, args)
    return cast_args


def _errors_nearby(
    grad: Callable[..., Any], comparer: Comparer, args: tuple[Any, ...]
) -> list[list[Array]]:
    """Give the errors in float64 near the arguments, of each array."""
    found = []
    for factor in NEARBY:
        there = _cast(args, "float64", factor)
        try:
            result = jax.tree.map(np.array, grad(*copies(there)))
            wanted = comparer.at(*there, dtype=np.float64).wanted
            pairs = zip(jax.tree.leaves(result), wanted, strict=True)
            found.append([abs(got - want) for got, want in pairs])
        except Exception:  # noqa: S112, the function need not exist there
            continue
    return found


def _by_precision(
    comparison: Comparison,
    other: Comparison,
    dtype: str,
    nearby: Callable[[], list[list[Array]]],
) -> Judged:
    """Take errors for lost digits that follow the unit roundoff into the other precision.

    Args:
        comparison: of the gradient.
        other: of what it is in the other precision.
        dtype: the precision that is checked.
        nearby: gives the errors in float64 near the arguments.
    """
    coarser = max(dtype, "float32", key=unit_roundoff)
    expected = unit_roundoff(np.float64) / unit_roundoff(coarser)
    marked = []
    ratios = []
    undecided = set()
    for i, (leaf, there) in enumerate(zip(comparison.leaves, other.leaves, strict=True)):
        errors, others = leaf.error[leaf.wrong], there.error[leaf.wrong]
        if not errors.size:
            marked.append(leaf)
            continue
        fine, coarse = (errors, others) if dtype == "float64" else (others, errors)
        ratio = np.inf
        if np.isfinite(fine).all() and np.isfinite(coarse).all() and _size(coarse) > 0:
            ratio = _size(fine) / _size(coarse)
            if ratio < expected / STRAYS:
                near = [_size(arrays[i][leaf.wrong]) for arrays in nearby()]
                ratio = max([_size(fine), *near]) / _size(coarse)
        follows = expected / STRAYS <= ratio <= expected * STRAYS
        if ratio < expected / STRAYS and most_roundings(leaf) <= ROUNDINGS:
            undecided.add(i)
        ratios.append(ratio)
        marked.append(replace(leaf, lost=leaf.wrong) if follows else leaf)
    judged = Judged(replace(comparison, leaves=tuple(marked)), undecided=frozenset(undecided))
    if any(leaf.wrong.any() for leaf in marked):
        return judged
    name, times = ("float32", 1 / max(ratios)) if dtype == "float64" else ("float64", max(ratios))
    how = (
        f"called in {name} too, its errors there are {times:.1g} times as large: they follow the "
        "unit roundoff"
    )
    return judged._replace(how=how)


def _by_looks(comparison: Comparison) -> Judged:
    """Take errors for lost digits that are small beside the largest element, and random."""
    marked = []
    undecided = set()
    for i, leaf in enumerate(comparison.leaves):
        small = leaf.wrong.any() and most_roundings(leaf) <= ROUNDINGS
        lost = small and _looks_random(leaf)
        if small and not lost:
            undecided.add(i)
        marked.append(replace(leaf, lost=leaf.wrong) if lost else leaf)
    judged = Judged(replace(comparison, leaves=tuple(marked)), undecided=frozenset(undecided))
    if any(leaf.wrong.any() for leaf in marked):
        return judged
    how = (
        "its errors are as small beside the largest element of the array as roundings, and look "
        "random; this is the weaker way of knowing: hand in the function, and its errors in the "
        "other precision will tell"
    )
    return judged._replace(how=how)


def most_roundings(leaf: Leaf) -> float:
    """Give the largest error of a wrong element, in roundings of the array's largest element."""
    unit = unit_roundoff(leaf.got.dtype)
    largest = float(abs(leaf.want).max(initial=0))
    error = float(leaf.error[leaf.wrong].max(initial=0))
    return error / (unit * largest) if largest > 0 else np.inf


def _looks_random(leaf: Leaf) -> bool:
    errors = (leaf.got.astype(np.float64) - leaf.want)[leaf.wrong]
    want = leaf.want[leaf.wrong]
    if errors.size < FEWEST:
        return False
    # The cosine of a random vector with a given one has the standard deviation 1 / sqrt(size).
    return all(
        abs(float(_normalised(errors) @ _normalised(direction))) < DEVIATIONS / np.sqrt(errors.size)
        for direction in (np.ones(errors.size), want, np.sign(want))
    )


def _normalised(x: Array) -> Array:
    size = float(np.linalg.norm(x))
    return x / size if size > 0 else x


def _size(errors: Array) -> float:
    """Give the root mean square, of errors whose squares may vanish, too."""
    largest = float(errors.max(initial=0))
    if not 0 < largest < np.inf:
        return largest
    return largest * float(np.sqrt(np.mean(np.square(errors / largest))))


def digits(leaves: Sequence[Leaf], name: str = "gradient") -> str:
    """Say where digits are lost, and how many: the worst element of each array."""
    found = []
    for leaf in leaves:
        if leaf.lost is None or not leaf.lost.any():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(leaf.lost, leaf.error / abs(leaf.want), 0.0)
        at = tuple(int(i) for i in np.unravel_index(relative.argmax(), relative.shape))
        unit = unit_roundoff(leaf.got.dtype)
        total = -np.log10(unit)
        left = min(max(0.0, -np.log10(relative[at])), total)
        found.append(
            f"{name}{leaf.path} at {at} has {left:.0f} of its {total:.0f} digits, and "
            f"{int(leaf.lost.sum())} of {leaf.lost.size} elements have fewer than JAX's formula "
            "leaves them"
        )
    return "; ".join(found)
