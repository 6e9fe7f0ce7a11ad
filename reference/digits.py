"""Tell a gradient that has lost digits from one that is wrong.

A wrong formula is wrong by the same amount in every precision; digits that are lost to cancellation
or to a long sum come back where the unit roundoff is smaller. What is wrong in one precision alone,
by a path of its own, leaves only rounding in the other. NOISE.md explains the rules.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np

from reference.arguments import copies, is_array
from reference.arrays import PRECISIONS, Array
from reference.compare import Comparer, Comparison, Leaf
from reference.noise.samples import unit_roundoff
from reference.noise.statistics import SAMPLES

# NOISE.md derives these, from one element at five points.
BEYOND = 3.0  # sigma, in the root mean square: more than rounding of JAX's formula would leave
STRAYS = 2.0**7  # between the errors of two precisions, each in its own sigma
CHANGES = 2.0**-3  # of their size, by which lost digits change near the arguments, at least
NEARBY = (0.997, 0.999, 1.001, 1.003)  # times the arguments, where rounding is another
ROUNDINGS = 2.0**7  # of the largest element, at most, where an error may be of lost digits
PART = 2.0**-10  # of the largest element, at most, in half precision, too
FEWEST = 16  # elements in which randomness can be seen
DEVIATIONS = 3  # by which a random error may lean towards the gradient, or to one side


class Errors(NamedTuple):
    """How far some elements of an array are off in one precision.

    Attributes:
        signed: got - want, float64.
        sigma: how far rounding of JAX's formula strays there, float64.
    """

    signed: Array
    sigma: Array

    def of(self, elements: Array) -> "Errors":
        """Give those of some of the elements."""
        return Errors(self.signed[elements], self.sigma[elements])


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
            nearby = functools.cache(functools.partial(_errors_nearby, grad, comparer, args))
            return _by_precision(comparison, other, dtype, nearby)
    return _by_looks(comparison, called=grad is not None)


def _in_other_precision(
    grad: Callable[..., Any], comparer: Comparer, args: tuple[Any, ...], dtype: str
) -> Comparison | None:
    """Compare what the function gives for arguments of the other precision, if it gives any."""
    name = _other(dtype)
    there = _cast(args, name)
    try:
        result = jax.tree.map(np.array, grad(*copies(there)))
        if any(str(leaf.dtype) != name for leaf in jax.tree.leaves(result)):
            return None
        return comparer(result, *there, dtype=name)
    except Exception:  # nobody said that it takes this precision
        return None


def _other(dtype: str) -> str:
    return "float32" if dtype == "float64" else "float64"


def _cast(args: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Take the real arrays among the arguments in a precision."""
    cast_args: tuple[Any, ...] = jax.tree.map(
        lambda leaf: leaf.astype(name) if _is_real(leaf) else leaf, args
    )
    return cast_args


def _is_real(leaf: Any) -> bool:
    return is_array(leaf) and leaf.dtype in PRECISIONS


def _moved(args: tuple[Any, ...], comparer: Comparer, factor: float) -> tuple[Any, ...]:
    """Multiply what the function is a derivative in; labels stay what they are."""
    leaves, structure = jax.tree.flatten(args)
    moving = comparer.differentiated or ()
    if len(moving) != len(leaves) or not any(moving):
        moving = [True] * len(leaves)
    moved = [
        leaf * leaf.dtype.type(factor) if moves and _is_real(leaf) else leaf
        for leaf, moves in zip(leaves, moving, strict=True)
    ]
    moved_args: tuple[Any, ...] = jax.tree.unflatten(structure, moved)
    return moved_args


def _errors_nearby(
    grad: Callable[..., Any], comparer: Comparer, args: tuple[Any, ...], name: str
) -> list[list[Errors]]:
    """Give the errors near the arguments in a precision, of each array."""
    found = []
    for factor in NEARBY:
        there = _moved(_cast(args, name), comparer, factor)
        try:
            results = [np.array(leaf) for leaf in jax.tree.leaves(grad(*copies(there)))]
            noise = comparer.witness(name).measure(*there, samples=SAMPLES, decisions=False).leaves
            wanted = jax.tree.leaves(comparer.traced.by_xla(*there))
            triples = zip(results, wanted, noise, strict=True)
            found.append([_errors(got, want, x.sigma) for got, want, x in triples])
        except Exception:  # noqa: S112, the function need not exist there
            continue
    return found


def _errors(got: Array, want: Array, sigma: Array | None) -> Errors:
    """Take an error in sigma, or in roundings of the result, or else of the largest element."""
    if got.dtype not in PRECISIONS:  # nothing rounds
        return Errors(np.zeros(got.shape), np.ones(got.shape))
    tiny, unit = float(ml_dtypes.finfo(got.dtype).tiny), unit_roundoff(got.dtype)
    with np.errstate(invalid="ignore"):
        signed = got.astype(np.float64) - want
        last = unit * abs(want)
        spread = last if sigma is None else np.fmax(sigma, last)
    spread = np.where(spread > 0, spread, last.max(initial=0))
    return Errors(signed, np.maximum(spread, tiny))


def _by_precision(
    comparison: Comparison,
    other: Comparison,
    dtype: str,
    nearby: Callable[[str], list[list[Errors]]],
) -> Judged:
    """Take errors for lost digits that follow the unit roundoff into the other precision.

    Args:
        comparison: of the gradient.
        other: of what it is in the other precision.
        dtype: the precision that is checked.
        nearby: gives the errors near the arguments in a precision.
    """
    name = _other(dtype)
    marked = []
    times = []
    undecided = set()
    for i, (leaf, there) in enumerate(zip(comparison.leaves, other.leaves, strict=True)):
        if not leaf.wrong.any() or leaf.want.dtype.kind != "f":
            marked.append(leaf)
            continue
        own, others = (
            _at_points(one, leaf.wrong, nearby, precision, i)
            for one, precision in ((leaf, dtype), (there, name))
        )
        fine, coarse = (own, others) if dtype == "float64" else (others, own)
        how_far = follow(fine, coarse)
        if how_far.too_small and may_be_roundings(leaf):
            undecided.add(i)
        times.append(how_far.ratio if name == "float64" else 1 / how_far.ratio)
        marked.append(replace(leaf, lost=leaf.wrong) if how_far.follows else leaf)
    judged = Judged(replace(comparison, leaves=tuple(marked)), undecided=frozenset(undecided))
    if any(leaf.wrong.any() for leaf in marked):
        return judged
    how = (
        f"called in {name} too, at the arguments and near them, its errors there are "
        f"{max(times):.1g} times as large: they follow the unit roundoff"
    )
    return judged._replace(how=how)


def _at_points(
    leaf: Leaf,
    elements: Array,
    nearby: Callable[[str], list[list[Errors]]],
    precision: str,
    place: int,
) -> Iterator[Errors]:
    """Give the errors of some elements of an array, at the arguments and then near them."""
    yield _errors(leaf.got, leaf.want, leaf.sigma).of(elements)
    for arrays in nearby(precision):
        yield arrays[place].of(elements)


class Following(NamedTuple):
    """What the errors in the finer precision say of those in the coarser one.

    Attributes:
        follows: they are lost digits in both.
        too_small: they are too small in one of the two to say anything, but in no proportion to
            the unit roundoffs that only a mistake has.
        ratio: of the sizes.
    """

    follows: bool
    too_small: bool = False
    ratio: float = 1.0


def follow(fine: Iterator[Errors], coarse: Iterator[Errors]) -> Following:
    """Say whether errors are lost digits: beyond rounding in both precisions; NOISE.md (13).

    Args:
        fine: the errors of some elements in the finer precision, at the arguments and near them.
        coarse: those of the same elements in the coarser precision.
    """
    first, other = next(fine), next(coarse)
    if not all(np.isfinite(errors.signed).all() for errors in (first, other)):
        return Following(follows=False)
    if _in_sigma([first]) > STRAYS**2 * _in_sigma([other]):  # as large in both, so a mistake
        return Following(follows=False)
    fines, coarses = [first, *fine], [other, *coarse]
    finer, coarser = _in_sigma(fines), _in_sigma(coarses)
    if not finer <= STRAYS * coarser:
        return Following(follows=False)
    beyond = min(finer, coarser) > BEYOND and coarser <= STRAYS * finer
    ratio = _size_of(fines) / _size_of(coarses) if beyond else 1.0
    return Following(beyond and _changes(fines), not beyond, ratio)


def _in_sigma(points: Sequence[Errors]) -> float:
    """Give the root mean square of the errors at some points, in units of that of sigma."""
    return _size_of(points) / _size(np.stack([errors.sigma for errors in points]))


def _size_of(points: Sequence[Errors]) -> float:
    return _size(abs(np.stack([errors.signed for errors in points])))


def _changes(points: Sequence[Errors]) -> bool:
    """Say whether errors change from point to point, as rounding does and a wrong formula not."""
    here, *around = (errors.signed for errors in points)
    if not around:
        return False
    return _size(abs(np.stack(around) - here)) > CHANGES * _size_of(points)


def _by_looks(comparison: Comparison, *, called: bool) -> Judged:
    """Take errors for lost digits that are small beside the largest element, and random."""
    marked = []
    undecided = set()
    for i, leaf in enumerate(comparison.leaves):
        small = leaf.wrong.any() and may_be_roundings(leaf)
        lost = small and _looks_random(leaf)
        if small and not lost:
            undecided.add(i)
        marked.append(replace(leaf, lost=leaf.wrong) if lost else leaf)
    judged = Judged(replace(comparison, leaves=tuple(marked)), undecided=frozenset(undecided))
    if any(leaf.wrong.any() for leaf in marked):
        return judged
    function = "a function that takes both precisions" if called else "the function"
    how = (
        "its errors are as small beside the largest element of the array as roundings, and look "
        f"random; this is the weaker way of knowing: hand in {function}, and its errors in the "
        "other precision will tell"
    )
    return judged._replace(how=how)


def most_roundings(leaf: Leaf) -> float:
    """Give the largest error of a wrong element, in roundings of the array's largest element."""
    unit = unit_roundoff(leaf.got.dtype)
    largest = float(abs(leaf.want).max(initial=0))
    error = float(leaf.error[leaf.wrong].max(initial=0))
    return error / (unit * largest) if largest > 0 else np.inf


def may_be_roundings(leaf: Leaf) -> bool:
    """Say whether the errors are so small, as part of the largest element too, as lost digits."""
    return most_roundings(leaf) <= min(ROUNDINGS, PART / unit_roundoff(leaf.got.dtype))


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
