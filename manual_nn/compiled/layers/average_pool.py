"""Average pooling, in one pass over memory.

Axes: N examples; `...` axes of places, of which the input has P in all and the output Q; W places
of a window; C channels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.layers.max_pool import places_below
from manual_nn.layers.average_pool import Kept, counted
from manual_nn.layers.convolution import Padding

__all__ = ["Kept", "backward", "forward"]


def forward(
    params: tuple[()],
    x: Array,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
    count_include_pad: bool = True,
) -> tuple[Array, Kept]:
    """Take the mean of each window; average_pool.md (1), (2).

    >>> x = np.array([1.0, 3.0, 2.0, 6.0]).reshape(1, 4, 1)
    >>> out, kept = forward((), x, window=2)
    >>> out[0, :, 0]
    array([2., 4.])
    """
    kept = counted(x, window, stride, padding, include_pad=count_include_pad)
    N, C, places = len(x), x.shape[-1], places_below(kept.geometry)
    out = np.empty(kept.shape, x.dtype)  # (N, ..., C)
    by_places = N, len(places), C
    _take_means(in_order(x).reshape(N, -1, C), places, _of_each(kept), out.reshape(by_places))
    return out, kept


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Give each place of a window its part of the window's gradient; average_pool.md (3)."""
    counts, geometry, shape = kept
    check_like(d_out, shape, counts.dtype, name="d_out", like="out")
    N, C, places = len(d_out), d_out.shape[-1], places_below(geometry)
    d_x = np.zeros((N, *geometry.unpadded, C), d_out.dtype)  # (N, ..., C)
    by_places = N, len(places), C
    _give_back(in_order(d_out).reshape(by_places), places, _of_each(kept), d_x.reshape(N, -1, C))
    return (), d_x


def _of_each(kept: Kept) -> Array:
    """Give the count of each window, (Q,)."""
    counts = np.broadcast_to(kept.counts, (*kept.geometry.size, 1))
    return np.array(counts, order="C").reshape(-1)


@compiled
def _take_means(x: Array, places: npt.NDArray[np.intp], counts: Array, out: Array) -> None:
    N, Q, C = out.shape
    zero = x.dtype.type(0)
    for n in range(N):
        for q in range(Q):
            mean = out[n, q]
            for c in range(C):
                mean[c] = zero
            for place in places[q]:
                if place >= 0:
                    for c in range(C):
                        mean[c] += x[n, place, c]
            for c in range(C):
                mean[c] /= counts[q]  # (1)


@compiled
def _give_back(d_out: Array, places: npt.NDArray[np.intp], counts: Array, d_x: Array) -> None:
    N, Q, C = d_out.shape
    part = np.empty(C, d_out.dtype)
    for n in range(N):
        for q in range(Q):
            for c in range(C):
                part[c] = d_out[n, q, c] / counts[q]
            for place in places[q]:
                if place >= 0:
                    for c in range(C):
                        d_x[n, place, c] += part[c]  # (3)
