"""Copies of arrays as loops.

Where an array is assigned to a slice, `b[:] = a`, Numba compiles the message of an error as well,
for two seconds in each process, and links it to all that calls the function.
"""

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled

BLOCK = 16  # rows of `a`, of which the lines that are read stay in the cache for the next column


@compiled
def copy(a: Array, b: Array) -> None:
    """Write the numbers of one row to another of the same length, in its precision."""
    for i in range(len(a)):
        b[i] = a[i]


@compiled
def copy_rows(a: Array, b: Array) -> None:
    """Write a matrix to another of the same shape."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            b[i, j] = a[i, j]


@compiled
def copy_transposed(a: Array, b: Array) -> None:
    """Write a^T, for a in C order, to b, a few columns at a time."""
    for start in range(0, b.shape[1], BLOCK):
        for i in range(b.shape[0]):
            for j in range(start, min(start + BLOCK, b.shape[1])):
                b[i, j] = a[j, i]
