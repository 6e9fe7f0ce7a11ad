"""What may be handed down on an edge in place of the right derivative, whatever the operation.

An operation f hands the derivative in its operand x_i down as (df/dx_i)^T d_out. Each mistake is a
linear map from x_i to the shape of the result, whose transpose is handed down instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

JaxArray: TypeAlias = jax.Array
Function: TypeAlias = Callable[..., JaxArray]


@dataclass(frozen=True)
class Place:
    """An operation with its operands, and one of these.

    Attributes:
        name: of the primitive, or of the function that is called.
        function: gives the operation's first result.
        operands: of the operation, through which nothing is handed down.
        operand: the number of the one that the derivative is handed down to.
        x: that operand.
    """

    name: str
    function: Function
    operands: Sequence[JaxArray]
    operand: int
    x: JaxArray

    def with_operand(self, x: JaxArray) -> JaxArray:
        """Give the result with another operand in the place of x."""
        operands = list(self.operands)
        operands[self.operand] = x
        return self.function(*operands)

    def tangent(self, point: JaxArray, x: JaxArray) -> JaxArray:
        """Apply the derivative at a point to x."""
        return jax.jvp(self.with_operand, (point,), (x,))[1]


Mistake: TypeAlias = Callable[[Place], JaxArray]
MISTAKES: dict[str, tuple[str, Mistake]] = {}


LARGEST = 64  # elements of a row, whose Jacobian is computed column by column


class NotHereError(Exception):
    """The mistake cannot be made at this operation."""


def mistake(sentence: str) -> Callable[[Mistake], Mistake]:
    """Register a mistake by the name of its function, with what it is in words."""

    def register(function: Mistake) -> Mistake:
        MISTAKES[function.__name__] = sentence, function
        return function

    return register


def _need(condition: bool) -> None:  # noqa: FBT001, as of an assertion
    if not condition:
        raise NotHereError


@mistake("is replaced by 1")
def identity(place: Place) -> JaxArray:
    """d_x = d_out: a mask, tanh' or another local derivative is forgotten."""
    out = jax.eval_shape(place.function, *place.operands)
    _need(out.shape == place.x.shape)
    return place.x


@mistake("is taken at the result, not at the operand")
def at_the_result(place: Place) -> JaxArray:
    """d_x = f'(f(x)) d_out, as where 1 - tanh(a)^2 is written for 1 - a^2."""
    _need(len(place.operands) == 1)
    _need(place.name not in LINEAR)
    out = place.function(*place.operands)
    _need(out.shape == place.x.shape)
    return place.tangent(out, place.x)


@mistake("is 1 where it should be 0, and 0 where it should be 1")
def inverted(place: Place) -> JaxArray:
    """d_x = (1 - f'(x)) d_out: a mask lets through what it should hold back."""
    _need(place.name in MASKS)
    return identity(place) - place.tangent(place.operands[place.operand], place.x)


@mistake("is applied twice")
def applied_twice(place: Place) -> JaxArray:
    """d_x = f'(x) f'(x) d_out: the derivative stands on top of one that is there already."""
    _need(place.name not in LINEAR)
    point = place.operands[place.operand]
    return place.tangent(point, place.tangent(point, identity(place)))


@mistake("is the diagonal of its Jacobian alone")
def diagonal_alone(place: Place) -> JaxArray:
    """d_x_i = (df_i/dx_i) d_out_i, as if no element of a row depended on the others."""
    x, point = identity(place), place.operands[place.operand]
    _need(place.name not in LINEAR and x.ndim > 0 and 1 < x.shape[-1] <= LARGEST)
    units = jnp.eye(x.shape[-1], dtype=x.dtype)
    columns = [unit * place.tangent(point, jnp.broadcast_to(unit, x.shape)) for unit in units]
    return jnp.stack(columns).sum(axis=0) * x


@mistake("uses the operand itself where the other one belongs")
def other_operand(place: Place) -> JaxArray:
    """d_x = (df/dx)(y, x)^T d_out: the two operands are confused."""
    _need(len(place.operands) == 2 and place.name in PRODUCTS)
    x = place.x
    _need(x.shape == place.operands[1 - place.operand].shape)
    operands = list(place.operands)
    operands[place.operand], operands[1 - place.operand] = x, operands[place.operand]
    return place.function(*operands)


@mistake("uses the other operand without its transpose")
def transposed(place: Place) -> JaxArray:
    """d_x = d_out W in place of d_out W^T."""
    _need(place.name == "dot_general")
    other = 1 - place.operand
    y = place.operands[other]
    _need(y.ndim >= 2 and y.shape[-1] == y.shape[-2])
    operands = list(place.operands)
    operands[place.operand], operands[other] = place.x, y.swapaxes(-1, -2)
    return place.function(*operands)


@mistake("is that of the last row alone, not summed over the rows")
def last_row_only(place: Place) -> JaxArray:
    """d_x = d_out[-1] where the forward pass has broadcast x along the rows."""
    return _of_row(place, -1)


@mistake("is that of the first row alone, not summed over the rows")
def first_row_only(place: Place) -> JaxArray:
    """d_x = d_out[0] where the forward pass has broadcast x along the rows."""
    return _of_row(place, 0)


def _of_row(place: Place, row: int) -> JaxArray:
    out, x = place.with_operand(place.x), place.x
    _need(out.ndim > 0 and out.shape[0] > 1 and place.name not in PRODUCTS)
    # It is broadcast, by itself or by an operation with another operand: d_x is a sum over rows.
    wider = x.ndim < out.ndim and place.name == "broadcast_in_dim"
    _need(wider or (x.ndim == out.ndim and x.shape[0] == 1))
    keep = jnp.zeros((out.shape[0], *[1] * (out.ndim - 1)), out.dtype).at[row].set(1)
    return out * keep


@mistake("is written with = where several places read the same element, not added with +=")
def last_reader_only(place: Place) -> JaxArray:
    """d_x[i] = d_out in place of d_x[i] += d_out: of its readers the last one counts."""
    _need(place.name == "gather" and place.operand == 0)
    numbers = jnp.arange(place.x.size, dtype=place.x.dtype).reshape(place.x.shape)
    read = place.with_operand(numbers).astype(np.int32)
    order = jnp.arange(read.size, dtype=np.int32)
    last = jnp.zeros(place.x.size, np.int32).at[read.ravel()].max(order)
    mask = (last[read.ravel()] == order).reshape(read.shape)
    return place.with_operand(place.x) * mask.astype(place.x.dtype)


@mistake("goes to the element after the one that was read")
def index_too_high(place: Place) -> JaxArray:
    """d_x[i + 1] += d_out in place of d_x[i] += d_out."""
    return _shifted(place, -1)


@mistake("goes to the element before the one that was read")
def index_too_low(place: Place) -> JaxArray:
    """d_x[i - 1] += d_out in place of d_x[i] += d_out."""
    return _shifted(place, 1)


def _shifted(place: Place, by: int) -> JaxArray:
    _need(place.name == "gather" and place.operand == 0 and place.x.ndim > 0)
    return place.with_operand(jnp.roll(place.x, by, axis=0))


@mistake("goes to all that were compared, not to the largest alone")
def all_of_the_compared(place: Place) -> JaxArray:
    """d_x = d_out for every element of a maximum, and not only where it is attained."""
    _need(place.name in {"reduce_max", "reduce_min"})
    out = jax.eval_shape(place.function, *place.operands)
    return place.x.sum(axis=_reduced(place.x.shape, out.shape))


def _reduced(whole: tuple[int, ...], rest: tuple[int, ...]) -> tuple[int, ...]:
    """Find axes whose removal leaves the rest; the last ones, where there is a choice."""
    for axis in reversed(range(len(whole))):
        if whole[:axis] + whole[axis + 1 :] == rest:
            return (axis,)
    _need(not rest)
    return tuple(range(len(whole)))


LINEAR = {
    "add", "add_any", "broadcast_in_dim", "convert_element_type", "copy", "cumsum", "gather",
    "mul", "neg", "reduce_sum", "reshape", "rev", "slice", "squeeze", "sub", "transpose",
}  # fmt: skip
MASKS = {"max", "min", "relu", "relu6", "select_n", "_where", "where", "abs", "clamp", "clip"}
PRODUCTS = {"mul", "div", "dot_general", "pow", "atan2"}
