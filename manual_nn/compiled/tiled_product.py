"""A product of matrices, tile by tile.

BLAS first copies both matrices into another order, which takes a large part of its time if one of
them has few rows. Here a tile reads its numbers where they are, and nothing is copied but the last
columns, if they are too few for a vector. Axes: I rows and J columns of the product; K is what is
summed over.
"""

from typing import Any

import llvmlite.binding
import numpy as np
from numba import config

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy_rows
from manual_nn.compiled.reductions import sum_of_squares
from manual_nn.compiled.tile import BYTES, ROWS, WIDE, narrow_tile, wide_tile

DEPTH = 128  # how many terms a tile adds up before it is the next one's turn
# What Numba compiles for, which need not be this processor.
FEATURES = config.CPU_FEATURES
if FEATURES is None:
    FEATURES = llvmlite.binding.get_host_cpu_features().flatten()
HAS_AVX512 = "+avx512f" in FEATURES.split(",")


@compiled
def tiled_product(a: Array, b: Array, factor: Any, kept: Any, other: Array, out: Array) -> Any:
    """Write factor a b + kept other to out, (I, J), for a, (I, K), and b, (K, J).

    `other`, (I, J), may be `out`; these two and b are in C order. That the shapes fit is not
    checked. Returns the sum of the squares of `other`, in float64. Where `kept` is 0, it does not
    matter what `other` holds, and 0 is returned.
    """
    number, squares = out.dtype.type, np.float64(0)
    for k in range(0, a.shape[1], DEPTH):
        terms = a[:, k : k + DEPTH], b[k : k + DEPTH]
        if k == 0:
            squares = _add_up(*terms, number(factor), number(kept), other, out, kept)
        else:
            _add_up(*terms, number(factor), number(1), out, out, 0)
    return squares


@compiled
def _add_up(
    a: Array, b: Array, factor: Any, kept: Any, other: Array, out: Array, squared: Any
) -> Any:
    """Do the same for a part of the terms, going only once through the larger of b and out.

    The squares of `other` are added up unless `squared` is 0.
    """
    squares, (I, J), lanes = np.float64(0), out.shape, BYTES // out.itemsize
    zero = out.dtype.type(0)
    whole, wide = J - J % lanes, WIDE * lanes
    if len(b) > I:
        if squared != 0:
            squares += sum_of_squares(other.reshape(-1), zero)
        for j in range(0, whole - wide + 1, wide):
            for i in range(0, I, ROWS):
                wide_tile(a, i, b, j, factor, kept, other, out)
    else:
        for i in range(0, I, ROWS):
            if squared != 0:
                squares += sum_of_squares(other[i : i + ROWS].reshape(-1), zero)
            for j in range(0, whole - wide + 1, wide):
                wide_tile(a, i, b, j, factor, kept, other, out)
    for j in range(whole - whole % wide, whole, lanes):
        for i in range(0, I, ROWS):
            narrow_tile(a, i, b, j, factor, kept, other, out)
    if whole < J:
        _last_columns(a, b, whole, factor, kept, other, out)
    return squares


@compiled
def _last_columns(
    a: Array, b: Array, j: int, factor: Any, kept: Any, other: Array, out: Array
) -> None:
    """Do the same for the columns from j on, too few for a vector, in copies that fill one."""
    (I, J), lanes, dtype = out.shape, BYTES // out.itemsize, out.dtype
    part, before, after = (
        np.zeros((len(b), lanes), dtype),
        np.zeros((I, lanes), dtype),
        np.empty((I, lanes), dtype),
    )
    copy_rows(b[:, j:], part)
    if kept != 0:
        copy_rows(other[:, j:], before)
    for i in range(0, I, ROWS):
        narrow_tile(a, i, part, 0, factor, kept, before, after)
    copy_rows(after[:, : J - j], out[:, j:])
