"""Max pooling, in which all channels of a window are compared at once.

Axes: N examples; `...` axes of places, of which the input has P in all and the output Q; W places
of a window; C channels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.layers.convolution import Geometry, Padding, places_of
from manual_nn.layers.max_pool import Kept, numbers_for, pool_geometry

__all__ = ["Kept", "backward", "forward"]


def forward(
    params: tuple[()],
    x: Array,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
) -> tuple[Array, Kept]:
    """Take the largest number in each window; max_pool.md (1).

    >>> x = np.array([1.0, 3.0, 2.0, 2.0]).reshape(1, 4, 1)
    >>> out, kept = forward((), x, window=2, stride=1)
    >>> out[0, :, 0]
    array([3., 3., 2.])
    """
    geometry = pool_geometry(x, window, stride, padding)
    N, C, places = len(x), x.shape[-1], places_below(geometry)
    out = np.empty((N, *geometry.size, C), x.dtype)  # (N, ..., C)
    winner = np.empty(out.shape, numbers_for(geometry))
    by_places = N, len(places), C
    _compare(
        in_order(x).reshape(N, -1, C), places, winner.reshape(by_places), out.reshape(by_places)
    )
    return out, Kept(winner, geometry, x.dtype)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Add each window's gradient to the place of its largest number; max_pool.md (2)."""
    winner, geometry, dtype = kept
    check_like(d_out, winner.shape, dtype, name="d_out", like="out")
    N, C, places = len(d_out), d_out.shape[-1], places_below(geometry)
    d_x = np.zeros((N, *geometry.unpadded, C), dtype)  # (N, ..., C)
    by_places = N, len(places), C
    _give_back(
        winner.reshape(by_places), places, in_order(d_out).reshape(by_places), d_x.reshape(N, -1, C)
    )
    return (), d_x


def places_below(geometry: Geometry) -> npt.NDArray[np.intp]:
    """Number the places of x that lie below each window, (Q, W); -1 where that is padding; (1)."""
    numbers = np.full(geometry.padded, -1)
    numbers[geometry.inside] = np.arange(np.prod(geometry.unpadded)).reshape(geometry.unpadded)
    return np.stack([numbers[below[1:]].ravel() for _, below in places_of(geometry)], axis=1)


@compiled
def _compare(x: Array, places: npt.NDArray[np.intp], winner: npt.NDArray[Any], out: Array) -> None:
    N, Q, C = out.shape
    for n in range(N):
        for q in range(Q):
            found = False
            for w in range(places.shape[1]):
                place = places[q, w]
                if place < 0:
                    continue
                for c in range(C):
                    here = x[n, place, c]
                    if not found or here > out[n, q, c] or np.isnan(here):
                        out[n, q, c] = here  # (1)
                        winner[n, q, c] = w
                found = True


@compiled
def _give_back(
    winner: npt.NDArray[Any], places: npt.NDArray[np.intp], d_out: Array, d_x: Array
) -> None:
    N, Q, C = d_out.shape
    for n in range(N):
        for q in range(Q):
            for c in range(C):
                d_x[n, places[q, winner[n, q, c]], c] += d_out[n, q, c]  # (2)
