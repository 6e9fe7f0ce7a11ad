"""Loops over the entries of arrays of one shape, whatever shape that is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.compiled.arrays import in_order


def entrywise(
    loop: Callable[..., None],
    *arrays: npt.NDArray[Any],
    numbers: tuple[Any, ...] = (),
    out: Array | None = None,
) -> Array:
    """Run loop(*arrays, *numbers, out), with each array as one row of numbers, and give `out`.

    Args:
        loop: a compiled function.
        arrays: of one shape, the first with the dtype of `out`.
        numbers: what the loop takes beside them.
        out: an array of the same shape and dtype, a new one by default; one of the arrays, perhaps.
    """
    overlaps = out is not None and any(
        array is not out and np.may_share_memory(array, out) for array in arrays
    )
    into = np.empty(arrays[0].shape, arrays[0].dtype) if out is None or overlaps else in_order(out)
    loop(*map(as_row, arrays), *numbers, into.reshape(-1))
    if out is None or out is into:
        return into
    out[...] = into
    return out


def as_row(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give the numbers of an array as one row, in the form that is compiled for."""
    return in_order(array).reshape(-1)
