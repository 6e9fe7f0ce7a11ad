"""Mistakes of how a convolution hands its derivative down to the image and to the kernel.

Of one axis, with stride s, dilation e, L places of padding before the image and d the derivative,

    out[o] = sum_a w[a] x[s o + e a - L],
    d_x[s o + e a - L] += w[a] d_out[o],    d_w[a] += x[s o + e a - L] d_out[o].

Axes, after `_in_order`: x (N, C, places...), w (K, C, window...), out (N, K, places...).
"""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from reference.arrays import Array
from reference.diagnosis.edges.mistakes import Kind, Shapes, Site, mistake

JaxArray: TypeAlias = jax.Array
Fits: TypeAlias = Callable[[Shapes], bool]

CONVOLUTIONS: dict[str, Kind] = {}
convolution = functools.partial(mistake, among=CONVOLUTIONS)

X, W = 0, 1  # operands
NAMES = {"conv_general_dilated"}
LARGEST_WINDOW = 128  # elements of a window that are written one by one


def _is_convolution(shapes: Shapes) -> bool:
    return shapes.name in NAMES and len(shapes.params["window_strides"]) > 0


def _window(shapes: Shapes) -> list[int]:
    return [shapes.operands[W][axis] for axis in shapes.params["dimension_numbers"].rhs_spec[2:]]


def _has_window(shapes: Shapes) -> bool:
    return _is_convolution(shapes) and max(_window(shapes)) > 1


def _has_stride(shapes: Shapes) -> bool:
    """Say whether windows are some places apart, be it in the image or in the result."""
    params = shapes.params
    apart = ("window_strides", "lhs_dilation")
    return _is_convolution(shapes) and max(max(params[name]) for name in apart) > 1


def _has_padding(shapes: Shapes) -> bool:
    """Say whether something is padded, by more than the one place that is tried anyway."""
    return _is_convolution(shapes) and max(low for low, _ in shapes.params["padding"]) > 1


def _is_square(shapes: Shapes) -> bool:
    window = _window(shapes) if _is_convolution(shapes) else []
    return len(window) > 1 and window[-1] == window[-2] > 1


def _maps_to_as_many(shapes: Shapes) -> bool:
    if not _is_convolution(shapes) or shapes.params["feature_group_count"] > 1:
        return False
    outputs, inputs, *_ = (shapes.operands[W][axis] for axis in _kernel(shapes.params))
    return outputs == inputs > 1


def _kernel(params: Any) -> tuple[int, ...]:
    """List the axes of the kernel: outputs, inputs, and those of the window."""
    return tuple(params["dimension_numbers"].rhs_spec)


def convolved(site: Site, *, kernel: Any = None, **changed: Any) -> JaxArray:
    """Convolve with the operand that counts, and with another kernel or other parameters."""
    x, w = (site.x if i == site.operand else array for i, array in enumerate(site.operands))
    keys = [
        "window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers",
        "feature_group_count", "batch_group_count", "precision",
    ]  # fmt: skip
    given: Any = {key: site.params[key] for key in keys} | changed
    out: JaxArray = lax.conv_general_dilated(x, kernel(w) if kernel else w, **given)
    return out


# The kernel


@convolution("takes the kernel the other way round: convolution for correlation", _has_window)
def turned(site: Site) -> JaxArray:
    """d_x[s o + e a - L] += w[-1 - a] d_out[o], or d_w is turned round."""
    return convolved(site, kernel=lambda w: jnp.flip(w, _kernel(site.params)[2:]))


@convolution("has rows and columns of the kernel in each other's place", _is_square)
def kernel_transposed(site: Site) -> JaxArray:
    """d_x[..] += w[b, a] d_out[o, p], or d_w is transposed."""
    return convolved(site, kernel=lambda w: w.swapaxes(*_kernel(site.params)[-2:]))


@convolution("has inputs and outputs of the kernel in each other's place", _maps_to_as_many)
def channels_transposed(site: Site) -> JaxArray:
    """d_x[c] += w[c, k] d_out[k] in place of w[k, c] d_out[k], or so in d_w."""
    return convolved(site, kernel=lambda w: w.swapaxes(*_kernel(site.params)[:2]))


# Where a window stands


@convolution("has each window at its number, without the stride", _has_stride)
def stride_ignored(site: Site) -> JaxArray:
    """d_x[o + e a - L] += w[a] d_out[o]; transposed, d_x[o] += w[a] d_out[o + e a - L]."""
    params = site.params
    right = jax.eval_shape(site.function, *site.operands).shape
    ones = (1,) * len(params["window_strides"])
    places = [site.operands[X].shape[axis] for axis in params["dimension_numbers"].lhs_spec[2:]]
    ends = zip(params["padding"], params["lhs_dilation"], places, strict=True)
    padding = [(low, high + (step - 1) * (n - 1)) for (low, high), step, n in ends]
    out = convolved(site, window_strides=ones, lhs_dilation=ones, padding=padding)
    return out[tuple(slice(n) for n in right)]


def _moved_by(step: int, axis: int | None) -> Callable[[Site], JaxArray]:
    """Make the mistake that windows are moved along one axis of places, or along all."""

    def moved_by(site: Site) -> JaxArray:
        """d_x[s o + e a - L + step] += w[a] d_out[o], or x is read there for d_w."""
        padding = [
            (low - step, high + step) if axis in {None, i} else (low, high)
            for i, (low, high) in enumerate(site.params["padding"])
        ]
        return convolved(site, padding=padding)

    return moved_by


def _has_axis(shapes: Shapes, axis: int | None) -> bool:
    if not _is_convolution(shapes):
        return False
    count = len(shapes.params["window_strides"])
    return count > 1 if axis is None else axis < count


for _step in (-1, 1):
    for _axis, _along in ((None, "all axes"), (0, "the first axis"), (1, "the second axis")):
        moved = _moved_by(_step, _axis)
        moved.__name__ = f"moved_by_{_step}_along_{'all' if _axis is None else _axis}"
        convolution(
            f"is off by one place ({_step:+d}) along {_along} of the image",
            functools.partial(_has_axis, axis=_axis),
        )(moved)


@convolution("does not count the padding before the image", _has_padding)
def padding_ignored(site: Site) -> JaxArray:
    """d_x = padded_d_x[:len(x)] in place of padded_d_x[L:L + len(x)]."""
    return convolved(site, padding=[(0, low + high) for low, high in site.params["padding"]])


# = for +=


def _can_be_written(shapes: Shapes) -> bool:
    """Say whether windows may overlap, and are few and plain enough to be written one by one."""
    if not _has_window(shapes) or shapes.operand != X:
        return False
    params = shapes.params
    plain = params["feature_group_count"] == params["batch_group_count"] == 1
    return (
        plain
        and set(params["lhs_dilation"]) == {1}
        and math.prod(_window(shapes)) <= (LARGEST_WINDOW)
    )


@convolution("is written with = where windows overlap, not added with +=", _can_be_written)
def last_window_written(site: Site) -> JaxArray:
    """d_x[window of o] = w d_out[o], one window after the other."""
    return _written(site, lambda place, _: place)


@convolution("is written with = for each element of the kernel, not added with +=", _can_be_written)
def last_element_written(site: Site) -> JaxArray:
    """d_x[places of a] = w[a] d_out, one element of the kernel after the other."""
    return _written(site, lambda _, element: element)


def _written(site: Site, order: Callable[[Array, Array], Array]) -> JaxArray:
    """Keep of all that reads an element of x what comes last, along each axis."""
    params, x = site.params, site.x
    lhs, rhs, out = params["dimension_numbers"]
    window = [site.operands[W].shape[axis] for axis in rhs[2:]]
    image = x.transpose(lhs)
    patches = lax.conv_general_dilated_patches(
        image,
        window,
        params["window_strides"],
        params["padding"],
        rhs_dilation=params["rhs_dilation"],
    )
    size = patches.shape[2:]
    patches = patches.reshape(*image.shape[:2], *window, *size)
    rest = zip(params["window_strides"], params["rhs_dilation"], strict=True)
    for axis, (s, e) in enumerate(rest):
        a, o = np.indices((window[axis], size[axis]))
        place = s * o + e * a
        last = np.full(place.max() + 1, -1)
        np.maximum.at(last, place, order(o, a))
        kept = (last[place] == order(o, a)).astype(x.dtype)
        shape = [1] * patches.ndim
        shape[2 + axis], shape[2 + axis + len(size)] = kept.shape
        patches = patches * kept.reshape(shape)
    of_window = list(range(1, 2 + len(window)))
    kernel = site.operands[W].transpose(rhs)
    result = jnp.tensordot(patches, kernel, (of_window, of_window))  # (N, places..., K)
    return jnp.moveaxis(result, -1, 1).transpose(np.argsort(out))


def _is_kernel(shapes: Shapes) -> bool:
    return _is_convolution(shapes) and shapes.operand == W


def _of_last(*, example: bool, place: bool) -> Callable[[Site], JaxArray]:
    """Make the mistake that of all examples or places, or of both, the last one counts."""

    def of_last(site: Site) -> JaxArray:
        """d_w = x[window of the last o] d_out[-1], as where = stands for +=."""
        out = site.with_operand(site.x)
        batch, _, *places = site.params["dimension_numbers"].out_spec
        for axis in [batch] * example + places * place:
            keep = jnp.arange(out.shape[axis]) == out.shape[axis] - 1
            shape = [-1 if i == axis else 1 for i in range(out.ndim)]
            out = out * keep.astype(out.dtype).reshape(shape)
        return out

    return of_last


for _example, _place, _words in (
    (True, False, "example"),
    (False, True, "place"),
    (True, True, "place of the last example"),
):
    of_last = _of_last(example=_example, place=_place)
    of_last.__name__ = "of_the_last_" + _words.replace(" ", "_")
    convolution(f"is that of the last {_words} alone, as where = stands for +=", _is_kernel)(
        of_last
    )


# What is cut out of a padded array


def _is_padded(shapes: Shapes) -> bool:
    return shapes.name == "pad" and shapes.operand == 0 and max(map(max, _pads(shapes.params))) > 0


def _pads(params: Any) -> list[tuple[int, int]]:
    return [(low, high) for low, high, _ in params["padding_config"]]


@convolution("is cut out at the start of the padded array, not after the padding", _is_padded)
def cut_at_the_start(site: Site) -> JaxArray:
    """d_x = d_padded[:n] in place of d_padded[low:low + n]."""
    return _cut(site, lambda low, _: -low)


@convolution("is cut out one place too early along each padded axis", _is_padded)
def cut_too_early(site: Site) -> JaxArray:
    """d_x = d_padded[low - 1:low - 1 + n]."""
    return _cut(site, lambda low, high: -1 if low > 0 or high > 0 else 0)


@convolution("is cut out one place too late along each padded axis", _is_padded)
def cut_too_late(site: Site) -> JaxArray:
    """d_x = d_padded[low + 1:low + 1 + n]."""
    return _cut(site, lambda low, high: 1 if low > 0 or high > 0 else 0)


def _cut(site: Site, step: Callable[[int, int], int]) -> JaxArray:
    steps = [step(low, high) for low, high in _pads(site.params)]
    operands = list(site.operands)
    operands[0], operands[1] = site.x, jnp.zeros_like(operands[1])
    return jnp.roll(site.function(*operands), steps, range(len(steps)))
