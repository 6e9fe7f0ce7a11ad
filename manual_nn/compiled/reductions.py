"""What is made of many numbers: their sum, which keeps its digits, and the largest.

Blocks are added up in the precision of the arrays, and their sums in float64. Axes: R rows, D
columns.
"""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.exponential import exp
from manual_nn.compiled.larger import larger

BLOCK = 128  # rows
WIDTH = 1024  # numbers of a row, which a processor adds up in several lanes at once


@compiled
def sum_of(a: Array) -> Any:
    """Add up a row, (D,)."""
    total = np.float64(0)
    for start in range(0, len(a), WIDTH):
        total += _sum(a[start : start + WIDTH])
    return total


@compiled
def sum_of_squares(a: Array, centre: Any) -> Any:
    """Add up (a - centre)^2 along a row, (D,)."""
    total = np.float64(0)
    for start in range(0, len(a), WIDTH):
        total += _sum_of_squares(a[start : start + WIDTH], centre)
    return total


@compiled
def sum_of_products(a: Array, b: Array) -> Any:
    """Add up a b along a row, (D,) each."""
    total = np.float64(0)
    for start in range(0, len(a), WIDTH):
        total += _sum_of_products(a[start : start + WIDTH], b[start : start + WIDTH])
    return total


@compiled
def sum_of_triple_products(a: Array, b: Array, c: Array) -> Any:
    """Add up a b c along a row, (D,) each."""
    total = np.float64(0)
    for start in range(0, len(a), WIDTH):
        stop = start + WIDTH
        total += _sum_of_triple_products(a[start:stop], b[start:stop], c[start:stop])
    return total


@compiled
def sum_of_rows(a: Array) -> Array:
    """Add up rows, (R, D), to one in float64, (D,)."""
    total, part = np.zeros(a.shape[1], np.float64), np.empty(a.shape[1], a.dtype)
    for start in range(0, len(a), BLOCK):
        part[:] = 0
        for r in range(start, min(start + BLOCK, len(a))):
            for j in range(a.shape[1]):
                part[j] += a[r, j]
        total += part
    return total


@compiled
def sum_of_rows_squared(a: Array, centre: Array) -> Array:
    """Add up (a - centre)^2 of rows, (R, D), around one, (D,), to one in float64, (D,)."""
    total, part = np.zeros(a.shape[1], np.float64), np.empty(a.shape[1], a.dtype)
    for start in range(0, len(a), BLOCK):
        part[:] = 0
        for r in range(start, min(start + BLOCK, len(a))):
            for j in range(a.shape[1]):
                part[j] += (a[r, j] - centre[j]) * (a[r, j] - centre[j])
        total += part
    return total


@compiled
def exponentials(z: Array, m: Any, e: Array) -> Any:
    """Write exp(z - m) of a row, (D,), to e, and give their sum; softmax.md (1)."""
    for k in range(len(z)):
        e[k] = exp(z[k] - m)
    return e.dtype.type(sum_of(e))


@compiled
def largest_of(a: Array) -> Any:
    """Find the largest number of a row, (D,), or NaN if there is one."""
    largest = a[0]
    for j in range(len(a)):
        largest = larger(largest, a[j])
    return largest


@compiled
def place_of(number: Any, a: Array) -> int:
    """Find where in a row, (D,), a number stands last; 0 if it does not."""
    place = 0
    for j in range(len(a)):
        if a[j] == number:
            place = j
    return place


@compiled_in_any_order
def _sum(a: Array) -> Any:
    total = a.dtype.type(0)
    for j in range(len(a)):
        total += a[j]
    return total


@compiled_in_any_order
def _sum_of_squares(a: Array, centre: Any) -> Any:
    total = a.dtype.type(0)
    for j in range(len(a)):
        total += (a[j] - centre) * (a[j] - centre)
    return total


@compiled_in_any_order
def _sum_of_products(a: Array, b: Array) -> Any:
    total = a.dtype.type(0)
    for j in range(len(a)):
        total += a[j] * b[j]
    return total


@compiled_in_any_order
def _sum_of_triple_products(a: Array, b: Array, c: Array) -> Any:
    total = a.dtype.type(0)
    for j in range(len(a)):
        total += a[j] * b[j] * c[j]
    return total
