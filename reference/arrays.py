"""The arrays that the package computes with, NumPy's, and lists in which some are replaced."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def merged(leaves: Sequence[Any], chosen: Sequence[bool], arrays: Iterable[Any]) -> list[Any]:
    """Put arrays, in their order, in the places of the chosen leaves.

    >>> merged(["x", "how", "y"], [True, False, True], [1, 2])
    [1, 'how', 2]
    """
    rest = iter(arrays)
    return [
        next(rest) if is_chosen else leaf for leaf, is_chosen in zip(leaves, chosen, strict=True)
    ]
