"""Mistakes in the backward pass of a convolution, written out window by window.

Of one axis, with stride s, dilation e, L places of padding before the image and d the derivative in
the result,

    d_x[s o + e a - L] += w[a] d[o],    d_w[a] += x[s o + e a - L] d[o],

where the places of an image with gaps, as that of a transposed convolution, count with the gaps.

Axes: x (N, C, places...), w (K, C, window...), d (N, K, places...).
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Index: TypeAlias = tuple[int, ...]
X, W = 0, 1  # operands


def _at(index: Index) -> Any:
    """Take all examples and channels at one place."""
    return (slice(None), slice(None), *index)


@dataclass(frozen=True)
class Pass:
    """The backward pass of a plain convolution, as somebody may write it.

    Attributes:
        x, w, d: as above.
        stride, dilation, padding: of each axis of places; of the padding the part in front.
        gaps: from one place of the image to the next; 1 if there are none.
        moved: by how many places each window is moved along each axis.
        written: whether d_x is written with = window by window or element by element, or added to.
    """

    x: Array
    w: Array
    d: Array
    stride: Index
    dilation: Index
    padding: Index
    gaps: Index
    moved: Index
    written: str = ""

    def image(self) -> Array:
        """Give d_x."""
        d_x = np.zeros_like(self.x)
        for a, o, place in self._places(by_element=self.written == "element"):
            part = self.d[_at(o)] @ self.w[_at(a)]
            at = _at(place)
            d_x[at] = part if self.written else d_x[at] + part
        return d_x

    def kernel(self) -> Array:
        """Give d_w."""
        d_w = np.zeros_like(self.w)
        for a, o, place in self._places():
            d_w[_at(a)] += self.d[_at(o)].T @ self.x[_at(place)]
        return d_w

    def _places(self, *, by_element: bool = False) -> Iterator[tuple[Index, Index, Index]]:
        """List elements of the window, windows, and the places in the image that they read."""
        window, places = (list(np.ndindex(*array.shape[2:])) for array in (self.w, self.d))
        pairs = list(itertools.product(window, places))
        if not by_element:
            pairs.sort(key=lambda pair: pair[1])
        size = self.x.shape[2:]
        for a, o in pairs:
            of_axes = zip(a, o, *self._of_axes(), strict=True)
            place = tuple(s * j + e * i - low + m for i, j, s, e, low, m in of_axes)
            gaps = list(zip(place, self.gaps, size, strict=True))
            if all(p % t == 0 and 0 <= p // t < n for p, t, n in gaps):
                yield a, o, tuple(p // t for p, t, _ in gaps)

    def _of_axes(self) -> Sequence[Index]:
        return self.stride, self.dilation, self.padding, self.moved


def right_pass(operands: Sequence[Any], d_out: Any, params: Any) -> Pass:
    """Give the right backward pass of an operation of JAX's."""
    lhs, rhs, out = params["dimension_numbers"]
    arrays = ((*operands, d_out), (lhs, rhs, out))
    x, w, d = (np.asarray(array).transpose(order) for array, order in zip(*arrays, strict=True))
    padding = tuple(low for low, _ in params["padding"])
    stride, dilation, gaps = (
        params[key] for key in ("window_strides", "rhs_dilation", "lhs_dilation")
    )
    return Pass(x, w, d, stride, dilation, padding, gaps, (0,) * len(padding))


Wrong: TypeAlias = Callable[[Pass, int], Array]


def given_back(now: Pass, operand: int) -> Array:
    """Give what a pass hands down to an operand."""
    return now.image() if operand == X else now.kernel()


def _of_kernel(change: Callable[[Array], Array]) -> Wrong:
    """Take another kernel for d_x, or leave d_w changed in the same way."""

    def wrong(now: Pass, operand: int) -> Array:
        if operand == X:
            return replace(now, w=change(now.w)).image()
        return change(now.kernel())

    return wrong


def _of_pass(**changed: Any) -> Wrong:
    return lambda now, operand: given_back(replace(now, **changed), operand)


def _moved(step: int, axis: int | None) -> Wrong:
    def wrong(now: Pass, operand: int) -> Array:
        moved = tuple(step if axis in {None, i} else 0 for i in range(len(now.moved)))
        return given_back(replace(now, moved=moved), operand)

    return wrong


def _of_last(*, example: bool, place: bool) -> Wrong:
    def wrong(now: Pass, operand: int) -> Array:
        del operand
        keep = np.zeros_like(now.d)
        places = [-1 if place else slice(None)] * len(now.stride)
        keep[(-1 if example else slice(None), slice(None), *places)] = 1
        return replace(now, d=now.d * keep).kernel()

    return wrong


def _turned(w: Array) -> Array:
    return np.flip(w, tuple(range(2, w.ndim)))


OF_CONVOLUTIONS: dict[str, tuple[Callable[[Pass, int], bool], Wrong]] = {
    "turned": (lambda now, _: max(now.w.shape[2:]) > 1, _of_kernel(_turned)),
    "kernel_transposed": (
        lambda now, _: now.w.ndim > 3 and now.w.shape[-1] == now.w.shape[-2] > 1,
        _of_kernel(lambda w: w.swapaxes(-1, -2)),
    ),
    "channels_transposed": (
        lambda now, _: now.w.shape[0] == now.w.shape[1] > 1,
        _of_kernel(lambda w: w.swapaxes(0, 1)),
    ),
    "stride_ignored": (
        lambda now, _: max(now.stride) > 1,
        lambda now, i: given_back(replace(now, stride=(1,) * len(now.stride)), i),
    ),
    "padding_ignored": (
        lambda now, _: max(now.padding) > 1,
        lambda now, i: given_back(replace(now, padding=(0,) * len(now.padding)), i),
    ),
    "last_window_written": (
        lambda now, i: i == X and max(now.w.shape[2:]) > 1 == max(now.gaps),
        _of_pass(written="window"),
    ),
    "last_element_written": (
        lambda now, i: i == X and max(now.w.shape[2:]) > 1 == max(now.gaps),
        _of_pass(written="element"),
    ),
    "of_the_last_example": (lambda _, i: i == W, _of_last(example=True, place=False)),
    "of_the_last_place": (lambda _, i: i == W, _of_last(example=False, place=True)),
    "of_the_last_place_of_the_last_example": (
        lambda _, i: i == W,
        _of_last(example=True, place=True),
    ),
}
for _step in (-1, 1):
    OF_CONVOLUTIONS[f"moved_by_{_step}_along_all"] = (
        lambda now, _: len(now.stride) > 1,
        _moved(_step, None),
    )
    OF_CONVOLUTIONS[f"moved_by_{_step}_along_0"] = (lambda _, __: True, _moved(_step, 0))
    OF_CONVOLUTIONS[f"moved_by_{_step}_along_1"] = (
        lambda now, _: len(now.stride) > 1,
        _moved(_step, 1),
    )


def is_plain(params: Any) -> bool:
    """Say whether this is a convolution as above, of one group."""
    return bool(params["feature_group_count"] == params["batch_group_count"] == 1)


def cut(d_out: Any, shape: Sequence[int], params: Any, start: Callable[[int], int]) -> Array:
    """Cut what was padded out at other places than after the padding."""
    array = np.asarray(d_out)
    for axis, (n, (low, high, _)) in enumerate(zip(shape, params["padding_config"], strict=True)):
        if low or high:
            array = np.take(array, start(low) + np.arange(n), axis=axis)
    return array


OF_PADS: dict[str, Callable[[int], int]] = {
    "cut_at_the_start": lambda _: 0,
    "cut_too_early": lambda low: low - 1,
    "cut_too_late": lambda low: low + 1,
}


def is_padded_on_both_sides(params: Any) -> bool:
    """Say whether an array without gaps has padding on both sides of each axis that has any."""
    config = params["padding_config"]
    padded = [(low, high) for low, high, _ in config if low or high]
    return all(gap == 0 for *_, gap in config) and all(min(p) > 0 for p in padded) and bool(padded)
