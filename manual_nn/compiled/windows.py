"""Sums over the places of a window, as products of matrices that stay in the cache.

Axes: R rows of the input, with C channels; P places of the output, with K channels; W places of a
window. Window p covers the rows first[p] + steps[w] of the input, whatever its stride and dilation.

OpenBLAS copies the matrices that it multiplies into an order of its own, unless they are small, and
then it is as fast without. So the places are taken in blocks, and a block stays in the cache while
it is multiplied by the weights of one place of the window after another. Where the rows below it
are consecutive, they are multiplied where they lie; elsewhere, and where there are few channels,
they are first copied side by side, for several places w at once.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.products import SMALL, product
from manual_nn.layers.convolution import Geometry, places_of

FEW, MANY = 32, 256  # places in a block: with fewer or with more, the products are slower
RUN = 24  # consecutive rows that are worth a product of their own
DEPTH = 32  # with fewer channels than this, several places w are taken at once

Numbers = npt.NDArray[np.intp]


class Windows(NamedTuple):
    """Where the windows lie, and how much is multiplied at once."""

    first: Numbers  # (P,), the row below the first place of each window
    steps: Numbers  # (W,), how many rows further on each place of the window is
    places: int  # in a block
    together: int  # places w that are taken at once


def windows_of(geometry: Geometry, N: int, C: int, K: int) -> Windows:
    """Find the windows on the rows of N padded examples; convolution.md (1).

    C and K are the channels in and out of a group.
    """
    rows = np.arange(N * int(np.prod(geometry.padded))).reshape(N, *geometry.padded)
    below = [rows[places] for _, places in places_of(geometry)]  # (N, ...) each
    steps = np.array([each.flat[0] for each in below])
    together = min(max(DEPTH // C, 1), len(steps))
    places = SMALL // (together * C * K)
    return Windows(below[0].ravel(), steps, min(places, MANY) if places >= FEW else MANY, together)


@compiled
def gather(x: Array, weight: Array, windows: Windows, out: Array) -> None:
    """Write out[p] = sum over w of x[first[p] + steps[w]] weight[w].

    x is (R, C), weight (W C, K), out (P, K).
    """
    _check(windows, x, weight, out)
    (P, _), C, W = out.shape, x.shape[1], len(windows.steps)
    memory = np.empty(windows.places * windows.together * C, x.dtype)
    p = 0
    while p < P:
        end = _end_of_block(windows, p)
        for w in range(0, W, windows.together):
            until = min(w + windows.together, W)
            below = _below(x, windows, p, end, w, until, memory)
            product(below, weight[w * C : until * C], 1.0, 1.0 if w else 0.0, out[p:end])
        p = end


@compiled
def gather_products(x: Array, y: Array, windows: Windows, out: Array) -> None:
    """Write out[w] = sum over p of x[first[p] + steps[w]]^T y[p].

    x is (R, C), y (P, K), out (W C, K).
    """
    _check(windows, x, out, y)
    (P, _), C, W = y.shape, x.shape[1], len(windows.steps)
    memory = np.empty(windows.places * windows.together * C, x.dtype)
    p = 0
    while p < P:
        end = _end_of_block(windows, p)
        for w in range(0, W, windows.together):
            until = min(w + windows.together, W)
            below = _below(x, windows, p, end, w, until, memory)
            product(below.T, y[p:end], 1.0, 1.0 if p else 0.0, out[w * C : until * C])
        p = end


@compiled
def scatter(y: Array, weight: Array, windows: Windows, x: Array) -> None:
    """Add y[p] weight[w]^T to x[first[p] + steps[w]], for all p and w.

    y is (P, K), weight (W C, K), x (R, C).
    """
    _check(windows, x, weight, y)
    (P, K), C, W = y.shape, x.shape[1], len(windows.steps)
    transposed = np.empty(weight.size, x.dtype)  # (K, C), of as many places w as are taken at once
    memory = np.empty(windows.places * windows.together * C, x.dtype)
    for w in range(0, W, windows.together):
        depth = (min(w + windows.together, W) - w) * C
        for k in range(K):
            for c in range(depth):
                transposed[w * C * K + k * depth + c] = weight[w * C + c, k]
    p = 0
    while p < P:
        end = _end_of_block(windows, p)
        for w in range(0, W, windows.together):
            until = min(w + windows.together, W)
            part = transposed[w * C * K : until * C * K].reshape(K, (until - w) * C)
            if until - w == 1 and _in_a_run(windows, p, end):
                start = windows.first[p] + windows.steps[w]
                product(y[p:end], part, 1.0, 1.0, x[start : start + end - p])
            else:
                below = memory[: (end - p) * part.shape[1]].reshape(end - p, part.shape[1])
                product(y[p:end], part, 1.0, 0.0, below)
                _add(below, windows, p, w, until, x)
        p = end


@compiled
def _check(windows: Windows, x: Array, weight: Array, y: Array) -> None:
    """Check that nothing is read or written outside the arrays."""
    first, steps = windows.first, windows.steps
    if weight.shape[1] != y.shape[1]:
        raise ValueError("weight and y must have as many columns, one for each channel out")
    if len(y) != len(first) or len(weight) != len(steps) * x.shape[1]:
        raise ValueError("each row of y must have a window, of as many places as weight")
    if first.min() + steps.min() < 0 or first.max() + steps.max() >= len(x):
        raise ValueError("the windows must lie on the rows of x")


@compiled
def _end_of_block(windows: Windows, p: int) -> int:
    """Find where the block that begins at p ends: where its run of rows does, if that is long."""
    first = windows.first
    most = min(p + windows.places, len(first))
    end = p + 1
    while end < most and first[end] == first[end - 1] + 1:
        end += 1
    return end if end - p >= RUN else most


@compiled
def _in_a_run(windows: Windows, p: int, end: int) -> bool:
    """Say whether the rows below a block are consecutive; they ascend in any case."""
    return windows.first[end - 1] - windows.first[p] == end - 1 - p


@compiled
def _below(
    x: Array, windows: Windows, p: int, end: int, w: int, until: int, memory: Array
) -> Array:
    """Give the rows of x below places w to until of windows p to end, a window's side by side."""
    if until - w == 1 and _in_a_run(windows, p, end):
        start = windows.first[p] + windows.steps[w]
        return x[start : start + end - p]
    C = x.shape[1]
    below = memory[: (end - p) * (until - w) * C].reshape(end - p, (until - w) * C)
    for q in range(end - p):
        for v in range(until - w):
            row = windows.first[p + q] + windows.steps[w + v]
            for c in range(C):
                below[q, v * C + c] = x[row, c]
    return below


@compiled
def _add(below: Array, windows: Windows, p: int, w: int, until: int, x: Array) -> None:
    """Add what is given for places w to until of the windows from p on to the rows below them."""
    C = x.shape[1]
    for q in range(len(below)):
        for v in range(until - w):
            row = windows.first[p + q] + windows.steps[w + v]
            for c in range(C):
                x[row, c] += below[q, v * C + c]
