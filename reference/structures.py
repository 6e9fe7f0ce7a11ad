"""The structure of a result: what is taken for the right one, and what is wrong with any other."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from reference.arguments import form, in_words, is_array, same_structure
from reference.arrays import counted


def like(result: Any, target: Any) -> Any:
    """Make tuples of the lists where the target has tuples, and lists of the tuples likewise.

    >>> like(([1, 2], [3]), [(0, 0), [0]])
    [(1, 2), [3]]
    """
    plain = tuple, list
    if type(target) in plain and type(result) in plain and len(result) == len(target):
        return type(target)(map(like, result, target))
    if type(target) is dict and type(result) is dict and set(result) == set(target):
        return {key: like(part, target[key]) for key, part in result.items()}
    return result


def by_key(result: Any, target: "OrderedDict[str | int, Any]") -> Any:
    """Give each of several gradients its key; what cannot be told apart stays as it is.

    >>> dict(by_key([1, 2], OrderedDict(w=0, b=0)))
    {'w': 1, 'b': 2}
    """
    if isinstance(result, Mapping) and set(result) == set(target):
        parts = [result[key] for key in target]
    elif isinstance(result, (tuple, list)) and len(result) == len(target):
        parts = list(result)
    else:
        return result
    return OrderedDict(zip(target, map(like, parts, target.values()), strict=True))


def structure_in_words(
    result: Any, target: Any, args: Sequence[Any], places: Sequence[int], *, one: bool
) -> str:
    """Say which structure was returned, which was expected, and what may have been forgotten.

    Args:
        result: that was returned.
        target: of the structure that was expected; several gradients by their keys.
        args: of the loss.
        places: the numbers of those that the gradient is taken in.
        one: whether it is the gradient in one of them, rather than a tuple of such.
    """
    missing = _missing(result, target)
    if not one:
        if same_structure(result, target):
            result = tuple(result.values())
        target = tuple(target.values())
    got, want = in_words(result), in_words(target)
    pair = isinstance(result, tuple) and len(result) == 2
    if pair and form(result[0]) == form(0) and form(like(result[1], target)) == form(target):
        return (
            f"you returned (loss, gradient), a number and {in_words(result[1])}: "
            f"return {want} alone"
        )
    if missing:
        return (
            f"None is returned for gradient{missing}; where the loss does not depend on an array, "
            "return zeros of its shape"
        )
    if one and isinstance(result, (tuple, list)) and not isinstance(target, (tuple, list)):
        return _instead_of_one(result, target, args, places[0])
    if got == want:
        return f"got {jax.tree.structure(result)}, expected {jax.tree.structure(target)}"
    return f"got {got}, expected {want}"


def _instead_of_one(result: Sequence[Any], target: Any, args: Sequence[Any], place: int) -> str:
    """Say what a tuple or list is, in place of the gradient in one argument."""
    want, kind = in_words(target), type(result).__name__
    if is_array(target) and target.ndim and _are_numbers(result):
        nested = any(map(_are_numbers, result))
        numbers = "numbers in lists" if nested else f"a {kind} of {counted(len(result), 'number')}"
        return f"you returned {numbers}: return {want}"
    count, alone = len(result), len(jax.tree.leaves(target))
    text = f"you returned {counted(count, 'array')} in a {kind}"
    if count == alone == 1:
        return f"{text}, the gradient in argument {place} is {want} alone"
    text += f", the gradient in argument {place} alone is {alone}"
    meant = _argnums(result, args)
    return f"{text}: did you forget argnums={meant}?" if meant else f"{text}: see argnums"


def _are_numbers(result: Any) -> bool:
    """Say whether it is a list of numbers, or of such lists."""

    def is_number(part: Any) -> bool:
        return isinstance(part, (int, float)) or (is_array(part) and np.shape(part) == ())

    if not isinstance(result, (tuple, list)) or not result:
        return False
    return all(_are_numbers(part) or is_number(part) for part in result)


def _missing(result: Any, target: Any) -> str:
    """Give the path of the first None that stands where the target has an array."""
    if result is None:
        return ""
    arrays = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(target)}
    leaves = jax.tree_util.tree_leaves_with_path(result, is_leaf=lambda leaf: leaf is None)
    paths = (jax.tree_util.keystr(path) for path, leaf in leaves if leaf is None)
    return next((path for path in paths if path in arrays), "")


def _argnums(result: Sequence[Any], args: Sequence[Any]) -> str:
    """Find the first arguments, in their order, that have the structures and shapes returned."""
    places: list[int] = []
    for part in result:
        after = range(places[-1] + 1 if places else 0, len(args))
        place = next((i for i in after if form(args[i]) == form(part)), None)
        if place is None:
            return ""
        places.append(place)
    return str(tuple(places))
