"""What may be handed down on an edge in place of the right derivative, whatever the operation.

An operation f hands the derivative in its operand x down as (df/dx)^T d_out. Each mistake is a
linear map from x to the shape of the result, whose transpose is handed down instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

JaxArray: TypeAlias = jax.Array

NOTHING: Mapping[str, Any] = MappingProxyType({})
LINEAR = {
    "add", "add_any", "broadcast_in_dim", "convert_element_type", "copy", "cumsum", "dot_general",
    "gather", "mul", "neg", "reduce_sum", "reshape", "rev", "slice", "squeeze", "sub", "transpose",
}  # fmt: skip
SAME = {"add", "add_any", "convert_element_type", "copy", "neg", "sub"}  # 1, but for a sign
MIXING = ("cum", "reduce", "sort")  # elements of a row with each other
MASKS = {"max", "min", "relu", "relu6", "select_n", "_where", "where", "abs", "clamp", "clip"}
PRODUCTS = {"mul", "div", "dot_general", "pow", "atan2"}
LARGEST = 64  # elements of a row, whose Jacobian is computed column by column


class Shapes(NamedTuple):
    """What an operation looks like from outside.

    Attributes:
        name: of the primitive, or of the function that is called.
        operands: the shapes of its operands.
        operand: the number of the one that the derivative is handed down to.
        out: the shape of its result.
        forward: whether JAX can differentiate it forward, too.
        within: the names of the primitives that it consists of.
        params: of the primitive.
    """

    name: str
    operands: tuple[tuple[int, ...], ...]
    operand: int
    out: tuple[int, ...]
    forward: bool = True
    within: frozenset[str] = frozenset()
    params: Mapping[str, Any] = NOTHING

    @property
    def x(self) -> tuple[int, ...]:
        """The shape of the operand that the derivative is handed down to."""
        return self.operands[self.operand]

    @property
    def elementwise(self) -> bool:
        """Whether the result looks like x, and is no linear function of it."""
        return self.x == self.out and self.forward and self.name not in LINEAR

    @property
    def mixes(self) -> bool:
        """Whether it is more than element by element, but no layer of weights."""
        mixing = any(name.startswith(MIXING) for name in self.within)
        return mixing and "dot_general" not in self.within


@dataclass(frozen=True)
class Site:
    """An operation with its operands, and one of these.

    Attributes:
        function: gives the operation's result.
        operands: of the operation, through which nothing is handed down.
        operand: the number of the one that the derivative is handed down to.
        x: that operand.
        params: of the primitive.
    """

    function: Callable[..., JaxArray]
    operands: Sequence[JaxArray]
    operand: int
    x: JaxArray
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def point(self) -> JaxArray:
        """The operand as a number, through which nothing is handed down."""
        return self.operands[self.operand]

    def with_operand(self, x: JaxArray) -> JaxArray:
        """Give the result with another operand in the place of x."""
        operands = list(self.operands)
        operands[self.operand] = x
        return self.function(*operands)

    def tangent(self, point: JaxArray, x: JaxArray) -> JaxArray:
        """Apply the derivative at a point to x, both in the precision of the operand."""
        at, along = (array.astype(self.point.dtype) for array in (point, x))
        return jax.jvp(self.with_operand, (at,), (along,))[1]


class Kind(NamedTuple):
    """A kind of mistake that can be made at an operation.

    Attributes:
        sentence: what is wrong with the derivative.
        fits: whether it can be made at an operation of these shapes.
        make: gives the linear map, applied to x.
    """

    sentence: str
    fits: Callable[[Shapes], bool]
    make: Callable[[Site], JaxArray]


# What may be made at a function of the source, taken as one operation
OF_FUNCTIONS = {
    "identity", "at_the_result", "applied_twice", "inverted", "diagonal_alone", "softmax_on_top",
    "sigmoid_on_top",
}  # fmt: skip
Make: TypeAlias = Callable[[Site], JaxArray]
MISTAKES: dict[str, Kind] = {}


def mistake(
    sentence: str, fits: Callable[[Shapes], bool], among: dict[str, Kind] = MISTAKES
) -> Callable[[Make], Make]:
    """Register a mistake by the name of its function, with what it is in words."""

    def register(make: Make) -> Make:
        among[make.__name__] = Kind(sentence, fits, make)
        return make

    return register


# A local derivative is replaced


@mistake("is replaced by 1", lambda s: s.x == s.out and s.name not in SAME)
def identity(site: Site) -> JaxArray:
    """d_x = d_out: a mask, tanh' or another local derivative is forgotten."""
    return site.x


@mistake(
    "is taken at the result, not at the operand",
    lambda s: s.elementwise and len(s.operands) == 1,
)
def at_the_result(site: Site) -> JaxArray:
    """d_x = f'(f(x)) d_out, as where 1 - tanh(a)^2 is written for 1 - a^2."""
    return site.tangent(site.with_operand(site.point), site.x)


@mistake(
    "is 1 where it should be 0, and 0 where it should be 1",
    lambda s: s.elementwise and s.name in MASKS,
)
def inverted(site: Site) -> JaxArray:
    """d_x = (1 - f'(x)) d_out: a mask lets through what it should hold back."""
    return site.x - site.tangent(site.point, site.x)


@mistake("is applied twice", lambda s: s.elementwise)
def applied_twice(site: Site) -> JaxArray:
    """d_x = f'(x) f'(x) d_out: the derivative stands on top of one that is there already."""
    return site.tangent(site.point, site.tangent(site.point, site.x))


@mistake(
    "is the diagonal of its Jacobian alone",
    lambda s: s.elementwise and s.mixes and bool(s.x) and 1 < s.x[-1] <= LARGEST,
)
def diagonal_alone(site: Site) -> JaxArray:
    """d_x_i = (df_i/dx_i) d_out_i, as if no element of a row depended on the others."""

    def column(unit: JaxArray) -> JaxArray:
        everywhere = jnp.broadcast_to(unit, site.x.shape)
        return everywhere * site.tangent(site.point, everywhere)

    units = jnp.eye(site.x.shape[-1], dtype=site.x.dtype)
    return jax.vmap(column)(units).sum(axis=0) * site.x


@mistake(
    "is multiplied by p (1 - p), softmax's own derivative, which it contains already",
    lambda s: "softmax" in s.name or s.name in {"logsumexp", "cross_entropy"},
)
def softmax_on_top(site: Site) -> JaxArray:
    """d_z = (p - y) p (1 - p), where p - y is the derivative of the whole in z."""
    p = jax.nn.softmax(site.point, axis=-1)
    return site.tangent(site.point, p * (1 - p) * site.x)


@mistake(
    "is multiplied by p (1 - p), sigmoid's own derivative, which it contains already",
    lambda s: s.name in {"log_sigmoid", "softplus", "logaddexp"},
)
def sigmoid_on_top(site: Site) -> JaxArray:
    """d_z = (p - y) p (1 - p), where p - y is the derivative of the whole in z."""
    p = jax.nn.sigmoid(site.point)
    return site.tangent(site.point, p * (1 - p) * site.x)


@mistake(
    "goes to all that were compared, not to the largest alone",
    lambda s: s.name in {"reduce_max", "reduce_min"} and len(s.x) == len(s.out) + 1,
)
def all_of_the_compared(site: Site) -> JaxArray:
    """d_x = d_out for every element of a maximum, and not only where it is attained."""
    out = jax.eval_shape(site.function, *site.operands).shape
    axes = reversed(range(site.x.ndim))
    axis = next(i for i in axes if site.x.shape[:i] + site.x.shape[i + 1 :] == out)
    return site.x.sum(axis=axis)


# The wrong factor of a product


@mistake(
    "uses the operand itself where the other one belongs",
    lambda s: s.name in PRODUCTS and len(s.operands) == 2 and s.operands[0] == s.operands[1],
)
def other_operand(site: Site) -> JaxArray:
    """d_x = (df/dx)(y, x)^T d_out: the two operands are confused."""
    operands = list(site.operands)
    operands[site.operand], operands[1 - site.operand] = site.x, site.point
    return site.function(*operands)


@mistake(
    "uses the other operand without its transpose",
    lambda s: (
        s.name == "dot_general"
        and len(s.operands[1 - s.operand]) > 1
        and s.operands[1 - s.operand][-1] == s.operands[1 - s.operand][-2]
    ),
)
def transposed(site: Site) -> JaxArray:
    """d_x = d_out W in place of d_out W^T."""
    operands, other = list(site.operands), 1 - site.operand
    operands[site.operand], operands[other] = site.x, operands[other].swapaxes(-1, -2)
    return site.function(*operands)


# A sum over rows that is none


def is_broadcast(shapes: Shapes) -> bool:
    """Say whether x is broadcast along the rows, so that its derivative is a sum over them."""
    x, out = shapes.x, shapes.out
    if not out or out[0] < 2 or shapes.name in PRODUCTS - {"mul", "div"}:
        return False
    wider = len(x) < len(out) and shapes.name == "broadcast_in_dim"
    return wider or (len(x) == len(out) and x[0] == 1)


@mistake("is that of the last row alone, not summed over the rows", is_broadcast)
def last_row_only(site: Site) -> JaxArray:
    """d_x = d_out[-1] where the forward pass has broadcast x along the rows."""
    return _of_row(site, -1)


@mistake("is that of the first row alone, not summed over the rows", is_broadcast)
def first_row_only(site: Site) -> JaxArray:
    """d_x = d_out[0] where the forward pass has broadcast x along the rows."""
    return _of_row(site, 0)


def _of_row(site: Site, row: int) -> JaxArray:
    out = site.with_operand(site.x)
    keep = jnp.zeros((out.shape[0], *[1] * (out.ndim - 1)), out.dtype).at[row].set(1)
    return out * keep


def _has_equal_axes(shapes: Shapes) -> bool:
    """Say whether a sum, or its opposite, is along one of two axes of the same length."""
    large, small = (shapes.x, shapes.out)[:: 1 if shapes.name == "reduce_sum" else -1]
    square = len(large) > 1 and large[-1] == large[-2] > 1
    of_one = square and np.prod(small, dtype=int) * large[-1] == np.prod(large, dtype=int)
    return bool(of_one) and shapes.name in {"reduce_sum", "broadcast_in_dim"}


@mistake("runs along the wrong one of two axes of the same length", _has_equal_axes)
def other_axis(site: Site) -> JaxArray:
    """d_x = d_out.sum(1) in place of d_out.sum(0), or broadcast along the columns, not the rows."""
    if site.x.ndim > 1 and site.x.shape[-1] == site.x.shape[-2]:
        return site.with_operand(site.x.swapaxes(-1, -2))
    return site.with_operand(site.x).swapaxes(-1, -2)


# Reading by an index


def _is_read(shapes: Shapes) -> bool:
    return shapes.name == "gather" and shapes.operand == 0 and bool(shapes.x)


@mistake(
    "is written with = where several places read the same element, not added with +=", _is_read
)
def last_reader_only(site: Site) -> JaxArray:
    """d_x[i] = d_out in place of d_x[i] += d_out: of its readers the last one counts."""
    numbers = jnp.arange(site.x.size, dtype=site.x.dtype).reshape(site.x.shape)
    read = site.with_operand(numbers).astype(np.int32)
    order = jnp.arange(read.size, dtype=np.int32)
    last = jnp.zeros(site.x.size, np.int32).at[read.ravel()].max(order)
    mask = (last[read.ravel()] == order).reshape(read.shape)
    return site.with_operand(site.x) * mask.astype(site.x.dtype)


@mistake("goes to the element after the one that was read", _is_read)
def index_too_high(site: Site) -> JaxArray:
    """d_x[i + 1] += d_out in place of d_x[i] += d_out."""
    return site.with_operand(jnp.roll(site.x, -1, axis=0))


@mistake("goes to the element before the one that was read", _is_read)
def index_too_low(site: Site) -> JaxArray:
    """d_x[i - 1] += d_out in place of d_x[i] += d_out."""
    return site.with_operand(jnp.roll(site.x, 1, axis=0))
