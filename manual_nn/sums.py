"""Sums over many rows that keep their digits.

Axes: `...` any number of axes, R rows, C columns.
"""

import numpy as np

from manual_nn.arrays import Array

BLOCK = 128  # rows


def sum_rows(x: Array, *, out: Array | None = None) -> Array:
    """Add up the rows, (..., R, C), in blocks, then the sums of the blocks likewise, (..., C).

    Along any axis but the last one in memory NumPy adds row after row, and R - 1 roundings may pile
    up. In blocks an entry goes through fewer than BLOCK of them at each of the levels, of which
    800,000 rows have three. `out` is where to write the result.

    >>> sum_rows(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    array([ 9., 12.])
    """
    *outer, rows, columns = x.shape
    while rows > BLOCK:
        whole = rows - rows % BLOCK
        blocks = x[..., :whole, :].reshape(*outer, -1, BLOCK, columns)
        x = np.concatenate([blocks.sum(axis=-2), x[..., whole:, :]], axis=-2)
        rows = x.shape[-2]
    return x.sum(axis=-2, out=out)
