"""Say in words which part of an array is wrong: rows, columns, a triangle, or where x < 0.

A description is exact or is not given: the elements that are wrong are all of that part, and none
is wrong elsewhere.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from reference.arrays import Array, counted, told_apart
from reference.compare import Leaf

LISTED = 6  # indices at most
LEFT_OUT = 2  # of a part that is described by what it lacks
WORST = 3  # elements that are shown
TELLING = 2  # elements that are in a part, and that are not, or it may be a part by chance

Compare: TypeAlias = Callable[[Any, Any], Any]

SIGNS: tuple[tuple[str, str, Compare], ...] = (
    ("<", "negative", operator.lt),
    (">", "positive", operator.gt),
    ("==", "0", operator.eq),
    ("!=", "not 0", operator.ne),
    ("<=", "negative or 0", operator.le),
    (">=", "positive or 0", operator.ge),
)
# Of the row number and the column number
TRIANGLES: tuple[tuple[str, Compare], ...] = (
    ("the diagonal", operator.eq),
    ("the upper triangle above the diagonal", operator.lt),
    ("the lower triangle below the diagonal", operator.gt),
    ("the upper triangle with the diagonal", operator.le),
    ("the lower triangle with the diagonal", operator.ge),
    ("what is off the diagonal", operator.ne),
)


def where_wrong(leaf: Leaf, arrays: Mapping[str, Array], name: str) -> str:
    """Say which part of an array is wrong, and show its worst elements.

    Args:
        leaf: a mismatch.
        arrays: the arguments by their names, for parts such as "where x < 0".
        name: of what has no path.
    """
    parts = "; ".join(parts_in_words(leaf, arrays, name))
    wrong = f"wrong in {parts or _count(leaf.wrong)}"
    elements = "; ".join(_element(leaf, index) for index in worst(leaf))
    shown = "the worst: " if leaf.wrong.sum() > 1 else ""
    return f"{leaf.path or name}: {wrong}; {shown}{elements}"


def parts_in_words(
    leaf: Leaf, arrays: Mapping[str, Array], name: str = "gradient"
) -> Iterator[str]:
    """List the descriptions of exactly the elements that are wrong.

    Args:
        leaf: a mismatch.
        arrays: the arguments by their names.
        name: of what the leaf is a part of.

    >>> want = np.ones((3, 2))
    >>> got = want + [[0, 0], [0, 0], [1, 1]]
    >>> list(parts_in_words(Leaf("", got, want, 0 * want, want, want), {}))
    ['the last row of 3']
    """
    wrong = leaf.wrong
    if wrong.all():
        yield "every element" if wrong.size > 1 else "its one element"
        return
    if words := in_words(wrong):
        yield words
    if not TELLING <= wrong.sum() <= wrong.size - TELLING:
        return
    right = f"the right {name or 'result'}"
    for subject, array in {**arrays, right: leaf.want, "what was returned": leaf.got}.items():
        if array.shape != wrong.shape or array.dtype.kind not in "biuf":
            continue
        for sign, meaning, compare in SIGNS:
            if np.array_equal(compare(array, 0), wrong):
                named = subject in arrays
                what = f"{subject} {sign} 0" if named else f"{subject} is {meaning}"
                yield f"the elements where {what}"
                break


def in_words(chosen: Array) -> str:
    """Describe a part of an array by its indices; empty where that takes too many words.

    >>> in_words(np.eye(3) > 0)
    'the diagonal'
    >>> in_words(np.array([False, True, False, True]))
    'elements 1 and 3 of 4'
    """
    if chosen.ndim > 1 and chosen.sum() == 1:
        return f"the one element ({', '.join(map(str, _indices(chosen)[0]))})"
    along: list[Array] = [
        np.asarray(chosen.any(axis=tuple(other for other in range(chosen.ndim) if other != axis)))
        for axis in range(chosen.ndim)
    ]
    if np.prod([axis.sum() for axis in along]) == chosen.sum():  # a block
        proper = [axis for axis, indices in enumerate(along) if not indices.all()]
        words = [_slices(along[axis], axis, chosen.ndim) for axis in proper]
        return " in ".join(words) if all(words) and len(words) <= 2 else ""
    return _triangle(chosen)


def _triangle(chosen: Array) -> str:
    """Describe a part of each matrix that the last two axes span."""
    if chosen.ndim < 2 or min(chosen.shape[-2:]) < 2:
        return ""
    i, j = np.indices(chosen.shape[-2:])
    for words, compare in TRIANGLES:
        if np.array_equal(np.broadcast_to(compare(i, j), chosen.shape), chosen):
            return words if chosen.ndim == 2 else f"{words} of each matrix"
    return ""


def _slices(chosen: Array, axis: int, ndim: int) -> str:
    """Describe some of the slices along an axis."""
    size = chosen.size
    noun, nouns, suffix = "index", "indices", f" along axis {axis}"
    if ndim <= 2:
        noun = "element" if ndim == 1 else ("row", "column")[axis]
        nouns, suffix = f"{noun}s", ""
    of = f" of {size}{suffix}"
    indices = np.flatnonzero(chosen).tolist()
    if len(indices) == 1:
        place = {0: "the first ", size - 1: "the last "}.get(indices[0], "")
        return f"{place}{noun}{of}" if place else f"{noun} {indices[0]}{of}"
    steps = set(np.diff(indices).tolist())
    if len(indices) > 2 and steps == {1}:
        return f"{nouns} {indices[0]} to {indices[-1]}{of}"
    if len(indices) > 2 and len(steps) == 1:
        (step,) = steps
        if indices[0] < step and indices[-1] + step >= size:
            return f"every {ordinal(step)} {noun}{of}, from {indices[0]} on"
    lacking = np.flatnonzero(~chosen).tolist()
    if len(lacking) <= LEFT_OUT and len(indices) > LEFT_OUT:
        return f"all {nouns} but {listed(lacking)}{of}"
    return f"{nouns} {listed(indices)}{of}" if len(indices) <= LISTED else ""


def ordinal(number: int) -> str:
    """Write which of several it is.

    >>> [ordinal(number) for number in (2, 3, 4, 11, 21, 112, 1003)]
    ['second', 'third', '4th', '11th', '21st', '112th', '1003rd']
    """
    if number in {2, 3}:
        return "second" if number == 2 else "third"
    suffixes = {1: "st", 2: "nd", 3: "rd"} if number // 10 % 10 != 1 else {}
    return f"{number}{suffixes.get(number % 10, 'th')}"


def listed(numbers: Sequence[int]) -> str:
    """List numbers in words.

    >>> listed([1, 3, 4])
    '1, 3 and 4'
    """
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def worst(leaf: Leaf) -> list[tuple[int, ...]]:
    """List the indices of the wrong elements that are farthest beyond their bounds."""
    order = np.argsort(np.where(leaf.wrong, -leaf.ratio, 1).ravel(), kind="stable")
    chosen = order[: min(WORST, int(leaf.wrong.sum()))]
    return [tuple(map(int, np.unravel_index(i, leaf.wrong.shape))) for i in chosen]


def _element(leaf: Leaf, index: tuple[int, ...]) -> str:
    at = f"at {','.join(map(str, index))} " if index else ""
    got, want = told_apart(leaf.got[index], leaf.want[index])
    text = f"{at}got {got} for {want}"
    if leaf.sigma is None:
        return text
    sigmas = float(leaf.sigmas[index])
    return f"{text}, {sigmas:.2g} sigma" if np.isfinite(sigmas) else text


def _count(chosen: Array) -> str:
    return f"{int(chosen.sum()):,} of {counted(chosen.size, 'element')}"


def _indices(chosen: Array) -> list[list[int]]:
    indices: list[list[int]] = np.argwhere(chosen).tolist()
    return indices
