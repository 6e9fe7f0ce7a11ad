"""The arrays that the package computes with, NumPy's, and lists in which some are replaced."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

# In which a check may be, from the coarsest.
PRECISIONS = tuple(map(np.dtype, (ml_dtypes.bfloat16, np.float16, np.float32, np.float64)))
PRECISION = "must be bfloat16, float16, float32 or float64"


def merged(leaves: Sequence[Any], chosen: Sequence[bool], arrays: Iterable[Any]) -> list[Any]:
    """Put arrays, in their order, in the places of the chosen leaves.

    >>> merged(["x", "how", "y"], [True, False, True], [1, 2])
    [1, 'how', 2]
    """
    rest = iter(arrays)
    return [
        next(rest) if is_chosen else leaf for leaf, is_chosen in zip(leaves, chosen, strict=True)
    ]
