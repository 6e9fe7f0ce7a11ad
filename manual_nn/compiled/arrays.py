"""Arrays in the form that is compiled for."""

import numpy as np

from manual_nn.arrays import Array


def in_order(array: Array) -> Array:
    """Give an array in the one form that is compiled for: in C order, aligned and writeable.

    It is the array itself if it has that form, and else a copy; of a subclass, its numbers alone.

    Raises:
        TypeError: some of its numbers are masked, which would be lost.
    """
    if type(array) is np.ndarray and array.flags.carray:
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError("what is compiled takes NumPy arrays without a mask, got a MaskedArray")
    return np.require(array, requirements=("C", "A", "W", "E"))  # E: of no subclass
