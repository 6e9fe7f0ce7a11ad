"""Convolution of sequences, images or volumes: a dense layer at each place of its window.

convolution.md derives the equations. Axes: N examples; `...` one axis of a sequence, two of an
image (height, width), and so on, of the input's or the output's size; `w...` the same axes of a
window (the kernel); C channels in, K channels out, in G groups of c and k of them; P places of all
outputs.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import glorot
from manual_nn.sums import sum_rows

Padding: TypeAlias = str | Sequence[tuple[int, int]]
Place: TypeAlias = tuple[int | slice, ...]


class Convolution(NamedTuple):
    """A dense layer for each place of the window, and the offset of each channel."""

    weight: Array  # (w..., c, K)
    bias: Array  # (K,)


class Geometry(NamedTuple):
    """How windows lie on the input, in each axis of its places."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]  # zeros before and after
    unpadded: tuple[int, ...]  # places of the input
    size: tuple[int, ...]  # of the output

    @property
    def padded(self) -> tuple[int, ...]:
        """How many places the padded input has, U + p; eq. (1)."""
        return tuple(
            before + n + after
            for n, (before, after) in zip(self.unpadded, self.padding, strict=True)
        )

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the input lies in the padded input; eq. (1)."""
        return tuple(
            slice(before, before + n)
            for n, (before, _) in zip(self.unpadded, self.padding, strict=True)
        )


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    padded: Array  # (N, ..., C), the input with zeros around it
    geometry: Geometry
    groups: int


def forward(
    params: Convolution,
    x: Array,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: Padding = "valid",
    groups: int = 1,
) -> tuple[Array, Kept]:
    """Lay the window on each place and multiply; eq. (1), (5).

    out[n, t] = bias + sum over the window's places w of x[n, stride t + dilation w] weight[w],
    where x is padded with zeros. As usual the window is not flipped (a correlation, strictly).

    Args:
        params: weight, (w..., C / groups, K), and bias, (K,).
        x: (N, ..., C), float32 or float64 as are the parameters.
        stride: steps of the input between windows, one number or one for each axis.
        dilation: steps of the input between places of a window, likewise.
        padding: zeros before and after, a pair for each axis; or "valid", none, or "same", as many
            as make the output's size that of the input divided by the stride, rounded up, with one
            more after than before if their number is odd.
        groups: into how many parts the channels are divided, those in and those out alike, each of
            which sees only its own; C of them is a depthwise convolution.

    Returns:
        out, (N, ..., K), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or the window is larger than the padded input.

    >>> difference = Convolution(np.array([-1.0, 1.0]).reshape(2, 1, 1), np.zeros(1))
    >>> out, kept = forward(difference, np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1))
    >>> out[0, :, 0]
    array([1., 2., 4.])
    """
    kept = checked(params, x, stride=stride, dilation=dilation, padding=padding, groups=groups)
    padded, geometry, groups = kept
    K = len(params.bias)
    out = np.zeros((groups, len(x), *geometry.size, K // groups), x.dtype)  # (G, N, ..., k)
    for w, places in places_of(geometry):
        weight = by_group(params.weight[w], groups)  # (G, c, k)
        weight = np.expand_dims(weight, tuple(range(1, x.ndim - 1)))  # (G, 1..., c, k)
        out += np.matmul(by_group(padded[places], groups), weight)
    return joined(out) + params.bias, kept


def backward(params: Convolution, kept: Kept, d_out: Array) -> tuple[Convolution, Array]:
    """Go back through the dense layer of each place of the window; eq. (2), (3), (4).

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (N, ..., K), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, (N, ..., C).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    (weight, bias), (padded, geometry, G) = params, kept
    shape = (len(padded), *geometry.size, len(bias))
    check_like(d_out, shape, padded.dtype, name="d_out", like="out")
    d_rows = rows_by_group(d_out, G)  # (G, P, k)
    d_weight = np.empty(weight.shape, weight.dtype)  # (w..., c, K)
    d_padded = np.zeros(padded.shape, padded.dtype)  # (N, ..., C)
    for w, places in places_of(geometry):
        rows = rows_by_group(padded[places], G)  # (G, P, c)
        d_weight[w] = joined(np.matmul(rows.swapaxes(1, 2), d_rows))  # (c, K)
        below = np.matmul(d_rows, by_group(weight[w], G).swapaxes(1, 2))  # (G, P, c)
        d_padded[places] += joined(below).reshape(padded[places].shape)
    d_x = d_padded[:, *geometry.inside]  # (N, ..., C)
    return Convolution(d_weight, sum_rows(d_out.reshape(-1, len(bias)))), d_x


def init(
    window: Sequence[int],
    C: int,
    K: int,
    *,
    groups: int = 1,
    rng: "np.random.Generator",
    dtype: npt.DTypeLike = np.float64,
) -> Convolution:
    """Draw the weight of eq. (1), (w..., C / groups, K), and set the bias to 0.

    An output is a sum over the window's places times C / groups, and an input is in as many as
    places times K / groups: 2 over the sum of the two is the variance.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1, or groups does not divide the channels.
    """
    C, K = as_count(C, name="C"), as_count(K, name="K")
    G, places = as_groups(groups, C, K), math.prod(window)
    fans = {"fan_in": places * (C // G), "fan_out": places * (K // G)}
    weight = glorot((*window, C // G, K), **fans, rng=rng, dtype=dtype)
    return Convolution(weight, np.zeros(K, weight.dtype))


def checked(
    params: Convolution,
    x: Array,
    *,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: Padding,
    groups: int,
) -> Kept:
    """Check what `forward` is given, and put zeros around x; eq. (1), (5)."""
    window, groups = window_and_groups(params, Convolution, x, groups)
    geometry = geometry_of(x.shape[1:-1], window, stride, dilation, padding, name="params.weight")
    padded = x  # (N, ..., C)
    if geometry.padded != geometry.unpadded:
        padded = np.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    return Kept(padded, geometry, groups)


def by_group(x: Array, groups: int) -> Array:
    """Give each group its channels, (G, ..., c) of (..., C); eq. (5)."""
    return np.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0)


def rows_by_group(x: Array, groups: int) -> Array:
    """Give each group its channels at all places, (G, P, c) of (N, ..., C); eq. (5)."""
    return by_group(x.reshape(-1, x.shape[-1]), groups)


def joined(x: Array) -> Array:
    """Put the channels of the groups side by side, (..., C) of (G, ..., c); eq. (5)."""
    return np.moveaxis(x, 0, -2).reshape(*x.shape[1:-1], -1)


def places_of(geometry: Geometry) -> Iterator[tuple[tuple[int, ...], Place]]:
    """List each place w of the window, and the places of the padded input below it; eq. (1)."""
    for w in itertools.product(*map(range, geometry.window)):
        starts = (step * i for step, i in zip(geometry.dilation, w, strict=True))
        axes = zip(starts, geometry.stride, geometry.size, strict=True)
        places = (slice(start, start + step * (n - 1) + 1, step) for start, step, n in axes)
        yield w, (slice(None), *places)


def as_groups(groups: object, C: int, K: int) -> int:
    """Check that the channels in and out are divided without a remainder; eq. (5)."""
    G = as_count(groups, name="groups")
    if C % G or K % G:
        raise ValueError(f"groups must divide the {C} channels in and {K} out, got {G}")
    return G


def window_and_groups(
    params: tuple[Array, Array], kind: type[NamedTuple], x: Array, groups: object
) -> tuple[tuple[int, ...], int]:
    """Check that weight, (w..., c, K), and bias, (K,), are of a kind and fit x; eq. (1), (5).

    Returns:
        The window, and the number of groups.
    """
    check_floats(x, name="x", ndim=3)
    check_fields(params, kind)
    weight, bias = params
    check_floats(weight, name="params.weight", ndim=3)
    C, K = x.shape[-1], weight.shape[-1]
    G = as_groups(groups, C, K)
    window = weight.shape[: x.ndim - 2]
    check_like(weight, (*window, C // G, K), x.dtype, name="params.weight", like="x")
    check_like(bias, (K,), x.dtype, name="params.bias", like="params.weight")
    return window, G


def geometry_of(
    size: tuple[int, ...],
    window: tuple[int, ...],
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: Padding,
    *,
    name: str,
) -> Geometry:
    """Find the padding and the output's size, (size + padding - extent) // stride + 1; eq. (1)."""
    steps, apart = per_axis(stride, "stride", size), per_axis(dilation, "dilation", size)
    extents = [gap * (n - 1) + 1 for gap, n in zip(apart, window, strict=True)]
    pairs = _pairs(padding, size, extents, steps)
    sizes = []
    for axis, ((before, after), n, extent, step) in enumerate(
        zip(pairs, size, extents, steps, strict=True)
    ):
        if before + n + after < extent:
            msg = (
                f"{name} must fit into the padded x, of {before + n + after} places in axis "
                f"{axis + 1}, got an extent of {extent}"
            )
            raise ValueError(msg)
        sizes.append((before + n + after - extent) // step + 1)
    return Geometry(window, steps, apart, pairs, size, tuple(sizes))


def _pairs(
    padding: Padding, size: tuple[int, ...], extents: list[int], steps: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Say how many zeros stand before and after the input in each axis."""
    named = padding if isinstance(padding, str) else None  # an array is not compared with a word
    if named == "valid":
        return ((0, 0),) * len(size)
    if named == "same":
        missing = (
            max((math.ceil(n / step) - 1) * step + extent - n, 0)
            for n, extent, step in zip(size, extents, steps, strict=True)
        )
        return tuple((zeros // 2, zeros - zeros // 2) for zeros in missing)
    msg = f'padding must be "valid", "same" or {len(size)} pairs of numbers, got {padding!r}'
    try:
        pairs = [tuple(pair) for pair in padding if not isinstance(pair, str)]
    except TypeError as error:
        raise TypeError(msg) from error
    if len(pairs) != len(size) or any(len(pair) != 2 for pair in pairs):
        raise ValueError(msg)
    before, after = zip(*pairs, strict=True)
    counts = [
        [as_count(zeros, name=f"padding[{axis}]", minimum=0) for axis, zeros in enumerate(side)]
        for side in (before, after)
    ]
    return tuple(zip(*counts, strict=True))


def per_axis(number: int | Sequence[int], name: str, size: tuple[int, ...]) -> tuple[int, ...]:
    """Give one number for each axis of the places; eq. (1)."""
    numbers = number if isinstance(number, Sequence) else [number] * len(size)
    if len(numbers) != len(size):
        raise ValueError(f"{name} must have {len(size)} numbers, one an axis, got {number!r}")
    return tuple(as_count(n, name=name) for n in numbers)
