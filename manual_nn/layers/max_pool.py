"""Max pooling: the largest number in each window, channel by channel.

max_pool.md derives the equations. Axes: N examples; `...` one axis of places of a sequence, two of
an image (height, width), and so on, of the input's or the output's size; C channels.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.layers.convolution import Geometry, Padding, geometry_of, per_axis, places_of
from manual_nn.layers.relu import masked


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    winner: npt.NDArray[np.unsignedinteger[Any]]  # (N, ..., C), which place of the window it was
    geometry: Geometry
    dtype: np.dtype[Any]


def forward(
    params: tuple[()],
    x: Array,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: Padding = "valid",
) -> tuple[Array, Kept]:
    """Take the largest number in each window; eq. (1).

    out[n, t] = max over the window's places w of x[n, stride t + w]. Places outside of x are never
    the largest. Of equal numbers the first one counts, in the order in which they lie in memory.

    Args:
        params: there are none: ().
        x: (N, ..., C), float32 or float64.
        window: places of a window, one number or one for each axis.
        stride: steps of the input between windows, likewise; by default those of the window, so
            that windows lie side by side.
        padding: places around the input, as for a convolution, fewer than the window has.

    Returns:
        out, (N, ..., C), and what `backward` needs. A window with a NaN in it gives NaN.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a window is larger than the padded input.

    >>> x = np.array([1.0, 3.0, 2.0, 2.0]).reshape(1, 4, 1)
    >>> out, kept = forward((), x, window=2, stride=1)
    >>> out[0, :, 0]
    array([3., 3., 2.])
    >>> backward((), kept, np.ones((1, 3, 1)))[1][0, :, 0]
    array([0., 2., 1., 0.])
    """
    geometry = pool_geometry(x, window, stride, padding)
    padded = np.pad(x, ((0, 0), *geometry.padding, (0, 0)), constant_values=-np.inf)  # (N, ..., C)
    shape = (len(x), *geometry.size, x.shape[-1])  # (N, ..., C)
    out = np.full(shape, -np.inf, x.dtype)  # (N, ..., C)
    winner = np.empty(shape, numbers_for(geometry))  # (N, ..., C)
    winner[...] = _first_inside(geometry)
    for number, (_, places) in enumerate(places_of(geometry)):
        here = padded[places]  # (N, ..., C)
        larger = (here > out) | np.isnan(here)  # (N, ..., C)
        np.maximum(out, here, out=out)
        np.maximum(winner, larger * winner.dtype.type(number), out=winner)  # the last one so far
    return out, Kept(winner, geometry, x.dtype)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Add each window's gradient to the place of its largest number; eq. (2).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (N, ..., C), the derivative of the loss with respect to out.

    Returns:
        (), and d_x, (N, ..., C).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    winner, geometry, dtype = kept
    check_like(d_out, winner.shape, dtype, name="d_out", like="out")
    d_padded = np.zeros((len(d_out), *geometry.padded, d_out.shape[-1]), dtype)  # (N, ..., C)
    for number, (_, places) in enumerate(places_of(geometry)):
        d_padded[places] += masked(d_out, winner == number)
    return (), d_padded[:, *geometry.inside]


def _first_inside(geometry: Geometry) -> npt.NDArray[np.integer[Any]]:
    """Find the first place of each window that lies within x, (..., 1); eq. (1)."""
    first = np.zeros((*geometry.size, 1), int)
    for number, within in reversed([*enumerate(within_x(geometry))]):
        first[within] = number
    return first


def numbers_for(geometry: Geometry) -> np.dtype[Any]:
    """Give the smallest whole numbers that a window's places can be numbered with; eq. (1)."""
    return np.min_scalar_type(np.prod(geometry.window) - 1)


def within_x(geometry: Geometry) -> Iterator[npt.NDArray[np.bool_]]:
    """Say for each place of the windows in which of them it lies within x, (...); eq. (1)."""
    inside = np.zeros(geometry.padded, bool)
    inside[geometry.inside] = True
    for _, places in places_of(geometry):
        yield inside[places[1:]]


def pool_geometry(
    x: Array,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: Padding,
) -> Geometry:
    """Check x, and find how the windows lie on it, none of them on padding alone; eq. (1)."""
    check_floats(x, name="x", ndim=3)
    size = x.shape[1:-1]
    widths = per_axis(window, "window", size)
    stride = widths if stride is None else stride
    geometry = geometry_of(size, widths, stride, 1, padding, name="window")
    for width, pair in zip(widths, geometry.padding, strict=True):
        if max(pair) >= width:
            raise ValueError(f"padding must be less than the window, {width}, got {max(pair)}")
    return geometry
