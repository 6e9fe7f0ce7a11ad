"""Arrays in the form that is compiled for."""

import numpy as np

from manual_nn.arrays import Array


def in_order(array: Array) -> Array:
    """Give an array in the one form that is compiled for: in C order, aligned and writeable.

    It is the array itself if it has that form, and else a copy.
    """
    return array if array.flags.carray else np.require(array, requirements=("C", "A", "W"))
