"""Mistakes of how an operation as a whole shares out, adds up or normalises what is handed down.

They are mistakes as those of `mistakes.py`, but each belongs to a few operations alone: a maximum
shares between ties, a broadcast adds copies up in their order, a log-softmax subtracts a sum.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from reference.diagnosis.edges.mistakes import Kind, Shapes, Site, mistake

JaxArray: TypeAlias = jax.Array
Backward: TypeAlias = Callable[[JaxArray, JaxArray], JaxArray]

AXES = 3  # of an array, counted from the first and from the last one, that are tried
OF_TIES = {"whole_to_each_tied", "whole_to_both_tied"}
WINDOWS = {"reduce_window_max", "reduce_window_min"}
PATTERNS: dict[str, Kind] = {}
pattern = functools.partial(mistake, among=PATTERNS)


# Ties


@pattern(
    "goes whole to each of those that tie, not in shares",
    lambda s: s.operand == 0 and s.name in {"reduce_max", "reduce_min"},
)
def whole_to_each_tied(site: Site) -> JaxArray:
    """d_x = d_out (x == max x), which shares nothing out where several are the largest.

    With J the derivative, J J^T 1 is 1 over how many are equal.
    """
    out, down = jax.vjp(site.with_operand, site.point)
    shares = site.tangent(site.point, *down(jnp.ones_like(out)))
    return site.tangent(site.point, site.x) / shares


@pattern(
    "goes whole to each of the two where they tie, not in shares",
    lambda s: s.name in {"max", "min"} and s.x == s.out,
)
def whole_to_both_tied(site: Site) -> JaxArray:
    """d_x = d_out (x >= y) in max(x, y)."""
    passes = site.tangent(site.point, jnp.ones_like(site.point)) > 0
    return jnp.where(passes, site.x, 0)


# Copies


@pattern(
    "is written with = where windows overlap, not added with +=",
    lambda s: s.name in WINDOWS,
)
def last_window_only(site: Site) -> JaxArray:
    """d_x[i] = d_out in place of d_x[i] += d_out: the last window that i wins counts."""
    return _of_last_reader(site)


@pattern(
    "is written with = for each place of a window in turn, not added with +=",
    lambda s: s.name in WINDOWS,
)
def first_window_only(site: Site) -> JaxArray:
    """d_x[s o + w] = d_out[o] for one w after another: the first o that i wins has the last w."""
    return _of_last_reader(site, backwards=True)


@pattern(
    "is that of the last copy alone, not summed over the copies",
    lambda s: s.name == "tile" or (s.name == "broadcast_in_dim" and s.x[:1] == s.out[:1] != ()),
)
def last_copy_only(site: Site) -> JaxArray:
    """d_x = d_out[:, -1] where the forward pass has copied x along the axis after the first."""
    return _of_last_reader(site)


def _of_last_reader(site: Site, *, backwards: bool = False) -> JaxArray:
    """Hand down what the last element, or the first, that reads one of x hands down."""
    numbers = jnp.arange(site.x.size, dtype=site.x.dtype).reshape(site.x.shape)
    read = jnp.round(site.tangent(site.point, numbers)).astype(np.int32).ravel()
    order = jnp.arange(read.size, dtype=np.int32)[:: -1 if backwards else 1]
    last = jnp.zeros(site.x.size, np.int32).at[read].max(order)
    out = site.tangent(site.point, site.x)
    return out * (last[read] == order).reshape(out.shape).astype(site.x.dtype)


def _in_another_order(axis: int) -> Callable[[Site], JaxArray]:
    """Make the mistake that two axes of the result are taken in each other's place."""

    def in_another_order(site: Site) -> JaxArray:
        """d_x is that of jnp.tile where the forward pass has jnp.repeat, or the other way round."""
        out = site.with_operand(site.x)
        return out.swapaxes(axis, axis + 1).reshape(out.shape)

    return in_another_order


def _has_order(shapes: Shapes, axis: int) -> bool:
    out = shapes.out
    copied = shapes.name == "broadcast_in_dim" and 0 < len(shapes.x) < len(out)
    return copied and axis + 1 < len(out) and min(out[axis : axis + 2]) > 1


ORDER = "adds the copies up in another order: that of `tile` is not that of `repeat`"
for _axis in range(AXES):
    in_order = _in_another_order(_axis)
    in_order.__name__ = f"copies_in_another_order_{_axis}"
    pattern(ORDER, functools.partial(_has_order, axis=_axis))(in_order)


@pattern(ORDER, lambda s: s.name == "tile" and len(_tiled(s.x, s.out)) == 1)
def repeated_not_tiled(site: Site) -> JaxArray:
    """d_x is that of jnp.repeat where the forward pass has jnp.tile."""
    (axis,) = _tiled(site.x.shape, site.with_operand(site.point).shape)
    count = site.with_operand(site.point).shape[axis] // site.x.shape[axis]
    return jnp.repeat(site.x, count, axis=axis)


def _tiled(x: tuple[int, ...], out: tuple[int, ...]) -> list[int]:
    """List the axes that are longer in the result."""
    return [i for i, (n, m) in enumerate(zip(x, out, strict=True)) if n != m]


# The sum that normalises


def _is_log_softmax(shapes: Shapes) -> bool:
    return shapes.elementwise and {"exp", "log"} <= shapes.within and bool(shapes.x)


@pattern("has softmax without the sum over what is handed down", _is_log_softmax)
def sum_forgotten(site: Site) -> JaxArray:
    """d_z = d_out - softmax(z)."""
    return handed_down(site, lambda log_p, d_out: d_out - jnp.exp(log_p))


@pattern("has softmax added, without the sum over what is handed down", _is_log_softmax)
def sum_forgotten_and_added(site: Site) -> JaxArray:
    """d_z = d_out + softmax(z)."""
    return handed_down(site, lambda log_p, d_out: d_out + jnp.exp(log_p))


def _summed_along(axis: int) -> Callable[[Site], JaxArray]:
    """Make the mistake that the sum over what is handed down is along another axis."""

    def summed_along(site: Site) -> JaxArray:
        """d_z = d_out - softmax(z) d_out.sum(axis)."""
        return handed_down(
            site, lambda log_p, d_out: d_out - jnp.exp(log_p) * d_out.sum(axis, keepdims=True)
        )

    return summed_along


for _axis in range(AXES):
    summed = _summed_along(_axis)
    summed.__name__ = f"summed_along_{_axis}"
    pattern(
        f"has the sum along axis {_axis}",
        lambda s, axis=_axis: _is_log_softmax(s) and len(s.x) > axis,  # type: ignore[misc]
    )(summed)


def handed_down(site: Site, backward: Backward) -> JaxArray:
    """Hand down what a function of the result and of d_out gives, linear or not."""
    out = site.with_operand(site.point)

    @jax.custom_vjp
    def value(x: JaxArray, out: JaxArray) -> JaxArray:
        del x
        return jnp.zeros_like(out)

    def forward(x: JaxArray, out: JaxArray) -> tuple[JaxArray, JaxArray]:
        return value(x, out), out

    def back(out: JaxArray, d_out: JaxArray) -> tuple[JaxArray, JaxArray]:
        return backward(out, d_out), jnp.zeros_like(out)

    value.defvjp(forward, back)
    return value(site.x, out)


# What all that read an array hand down to it


def _on_top(p_of: Callable[[JaxArray], JaxArray]) -> Callable[[Site], JaxArray]:
    """Make the mistake that what is handed down is multiplied by p (1 - p)."""

    def on_top(site: Site) -> JaxArray:
        """d_z = (p - y) p (1 - p), where y z is read from z, too."""
        p = p_of(site.point)
        return site.tangent(site.point, p * (1 - p) * site.x)

    return on_top


EXPONENTIALS = {"exp", "exp2", "expm1", "logistic", "log1p", "tanh"}
ON_TOP = "is multiplied by p (1 - p), the {}'s own derivative, which it contains already"
OF_ARRAYS = {
    "sigmoid_on_top_of_all": Kind(ON_TOP.format("sigmoid"), bool, _on_top(jax.nn.sigmoid)),
    "softmax_on_top_of_all": Kind(
        ON_TOP.format("softmax"), lambda s: bool(s.x), _on_top(jax.nn.softmax)
    ),
}
