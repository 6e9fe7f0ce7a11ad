"""Plant mistakes of what one operation hands down to one of its operands.

Each is a rule that gives something in place of the right derivative; those that need no more than
arrays are in modules of their own.

Axes: of an operation's arrays any; N rows come first.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.soundness import planted_convolutions as convolutions
from benchmarks.soundness import planted_readers as readers
from benchmarks.soundness.edges import Edge, Given
from benchmarks.soundness.planted_handed import OF_HANDED, summed_over_all
from benchmarks.soundness.planted_regions import LEFT_OUT

Rule: TypeAlias = Callable[[Given], Any]
LINEAR = {
    "add", "sub", "neg", "mul", "reduce_sum", "broadcast_in_dim", "convert_element_type", "copy",
    "reshape", "squeeze", "transpose", "slice", "gather", "dynamic_slice", "concatenate",
    "dot_general", "cumsum", "add_any", "rev", "split", "pad", "expand_dims",
}  # fmt: skip
MASKS = {"max", "min", "select_n", "relu", "_where", "abs"}


def _bends(edge: Edge) -> bool:
    """Say whether an edge is of an operation that acts on each element by itself, and bends it."""
    shape = jnp.shape(edge.step.operands[edge.operand])
    return shape == _out_shape(edge) and edge.name not in LINEAR | {"scan"}


def _values(edge: Edge) -> tuple[Any, Any]:
    """Give an operand and the result."""
    return edge.step.operands[edge.operand], edge.step.function(*edge.step.operands)[0]


def _out_shape(edge: Edge) -> tuple[int, ...]:
    out: Any = edge.step.eqn.outvars[0]
    return tuple(out.aval.shape)


def _in_shape(edge: Edge) -> tuple[int, ...]:
    return tuple(jnp.shape(edge.step.operands[edge.operand]))


def _same_pair(edge: Edge) -> bool:
    shapes = [jnp.shape(x) for x in edge.step.operands]
    return edge.name in {"mul", "dot_general"} and len(shapes) == 2 and shapes[0] == shapes[1]


def _square_other(edge: Edge) -> bool:
    if edge.name != "dot_general":
        return False
    shape = jnp.shape(edge.step.operands[1 - edge.operand])
    return len(shape) > 1 and shape[-1] == shape[-2]


def _spread(edge: Edge) -> bool:
    """Say whether an operand is broadcast along the rows."""
    x, out = _in_shape(edge), _out_shape(edge)
    if len(out) < 1 or out[0] < 2 or edge.name in {"dot_general", "mul", "div"}:
        return False
    if edge.name == "broadcast_in_dim":
        return 0 not in edge.step.eqn.params["broadcast_dimensions"] or (
            len(x) == len(out) and x[0] == 1
        )
    return len(x) == len(out) and x[0] == 1 and edge.name in {"add", "sub"}


def _square(edge: Edge) -> bool:
    """Say whether what is summed, or broadcast, has two axes that may be taken for each other."""
    x, out = _in_shape(edge), _out_shape(edge)
    large, small = (x, out) if edge.name == "reduce_sum" else (out, x)
    fits = edge.name in {"reduce_sum", "broadcast_in_dim"} and len(large) == 2
    return (
        fits and large[0] == large[1] > 1 and small in {large[:1], (1, *large[:1]), (*large[:1], 1)}
    )


def _gathered(edge: Edge) -> bool:
    return edge.name == "gather" and edge.operand == 0


def _diagonal(given: Given) -> Any:
    size = given.x.shape[-1]
    columns = []
    for j in range(size):
        unit = jnp.zeros_like(given.x).at[..., j].set(1)
        columns.append(given.pull(unit)[..., j])
    return jnp.stack(columns, axis=-1) * given.d_out


def _row(row: int) -> Rule:
    def rule(given: Given) -> Any:
        return given.pull(jnp.zeros_like(given.d_out).at[row].set(given.d_out[row]))

    return rule


def _written_over(given: Given) -> Any:
    x = np.asarray(given.x)
    places = np.arange(x.size, dtype=np.float64).reshape(x.shape)
    operands = list(given.step.operands)
    operands[0] = jnp.asarray(places)
    read = np.asarray(given.step.function(*operands)[0]).astype(int).ravel()
    d_x = np.zeros(x.size, x.dtype)
    for place, d in zip(read, np.asarray(given.d_out).ravel(), strict=True):
        d_x[place] = d
    return jnp.asarray(d_x.reshape(x.shape))


def _other_axis(given: Given) -> Any:
    summed = given.d_out.size < given.x.size
    return given.right.T if summed else given.pull(given.d_out.T)


class Kind(NamedTuple):
    """A kind of mistake: where it can be made, and what it hands down."""

    fits: Callable[[Edge], bool]
    rule: Rule


WRONG: dict[str, Kind] = {
    "identity": Kind(
        lambda edge: (
            (_bends(edge) or edge.name in {"mul", "div", "dot_general"})
            and _in_shape(edge) == _out_shape(edge)
        ),
        lambda given: given.d_out,
    ),
    "at_the_result": Kind(
        lambda edge: _bends(edge) and len(edge.step.operands) == 1,
        lambda given: given.pull(given.d_out, x=given.first(*given.step.operands)),
    ),
    "inverted": Kind(
        lambda edge: _bends(edge) and edge.name in MASKS, lambda given: given.d_out - given.right
    ),
    "applied_twice": Kind(_bends, lambda given: given.pull(given.right)),
    "diagonal_alone": Kind(
        lambda edge: edge.name in {"softmax", "log_softmax"} and 1 < _in_shape(edge)[-1] <= 32,
        _diagonal,
    ),
    "softmax_on_top": Kind(
        lambda edge: edge.name == "log_softmax",
        lambda given: given.right * (p := jax.nn.softmax(given.x)) * (1 - p),
    ),
    "sigmoid_on_top": Kind(
        lambda edge: edge.name in {"softplus", "log_sigmoid", "logaddexp"},
        lambda given: given.right * (p := 1 / (1 + jnp.exp(-given.x))) * (1 - p),
    ),
    "all_of_the_compared": Kind(
        lambda edge: (
            edge.name == "reduce_max" and len(_in_shape(edge)) == len(_out_shape(edge)) + 1
        ),
        lambda given: jnp.broadcast_to(
            jnp.expand_dims(given.d_out, given.step.eqn.params["axes"]), given.x.shape
        ),
    ),
    "other_operand": Kind(_same_pair, lambda given: given.pull(given.d_out, other=given.x)),
    "transposed": Kind(
        _square_other,
        lambda given: given.pull(
            given.d_out, other=given.step.operands[1 - given.operand].swapaxes(-1, -2)
        ),
    ),
    "last_row_only": Kind(_spread, _row(-1)),
    "first_row_only": Kind(_spread, _row(0)),
    "summed_over_all": Kind(_spread, summed_over_all),
    "other_axis": Kind(_square, _other_axis),
    "last_reader_only": Kind(_gathered, _written_over),
    "index_too_high": Kind(_gathered, lambda given: jnp.roll(given.right, 1, axis=0)),
    "index_too_low": Kind(_gathered, lambda given: jnp.roll(given.right, -1, axis=0)),
}


Fits: TypeAlias = Callable[[convolutions.Pass, int], bool]


def _fits_convolution(edge: Edge, fits: Fits) -> bool:
    params = edge.step.eqn.params
    if edge.name != "conv_general_dilated" or not convolutions.is_plain(params):
        return False
    out: Any = edge.step.eqn.outvars[0]
    now = convolutions.right_pass(edge.step.operands, np.zeros(out.aval.shape), params)
    return fits(now, edge.operand)


def _in_convolution(given: Given, wrong: convolutions.Wrong) -> Any:
    params = given.step.eqn.params
    now = convolutions.right_pass(given.step.operands, given.d_out, params)
    order = params["dimension_numbers"][given.operand]
    return jnp.asarray(wrong(now, given.operand).transpose(np.argsort(order)))


def _of_convolution(fits: Fits, wrong: convolutions.Wrong) -> Kind:
    return Kind(
        lambda edge: _fits_convolution(edge, fits), lambda given: _in_convolution(given, wrong)
    )


def _of_pad(start: Callable[[int], int]) -> Kind:
    def rule(given: Given) -> Any:
        params, shape = given.step.eqn.params, jnp.shape(given.x)
        return jnp.asarray(convolutions.cut(given.d_out, shape, params, start))

    def fits(edge: Edge) -> bool:
        is_pad = edge.name == "pad" and edge.operand == 0
        return is_pad and convolutions.is_padded_on_both_sides(edge.step.eqn.params)

    return Kind(fits, rule)


def _of_log_softmax(back: Callable[[Any, Any], Any], axes: int = 1) -> Kind:
    """Make a mistake of d_z = d_out - p sum(d_out), of d_out and p."""
    return Kind(
        lambda edge: edge.name == "log_softmax" and len(_in_shape(edge)) >= axes,
        lambda given: back(given.d_out, jax.nn.softmax(given.x)),
    )


WRONG |= {
    "last_copy_only": Kind(
        lambda edge: (
            edge.name == "broadcast_in_dim"
            and _in_shape(edge)[:1] == _out_shape(edge)[:1] != ()
            and _in_shape(edge) != _out_shape(edge)
        ),
        _written_over,
    ),
    "sum_forgotten": _of_log_softmax(lambda d_out, p: d_out - p),
    "sum_forgotten_and_added": _of_log_softmax(lambda d_out, p: d_out + p),
}


def _summed_along(axis: int) -> Kind:
    return _of_log_softmax(
        lambda d_out, p: d_out - p * d_out.sum(axis, keepdims=True), max(axis + 1, 2)
    )


WRONG |= {f"summed_along_{axis}": _summed_along(axis) for axis in range(3)}


# All that an array is handed

ON_TOP: dict[str, Callable[[Any], Any]] = {
    "sigmoid_on_top_of_all": jax.nn.sigmoid,
    "softmax_on_top_of_all": jax.nn.softmax,
}


def _on_top(p_of: Callable[[Any], Any]) -> Kind:
    def rule(given: Given) -> Any:
        p = p_of(given.x)
        return given.right * p * (1 - p)

    return Kind(lambda edge: bool(_in_shape(edge)), rule)


OF_ALL = {name: _on_top(p_of) for name, p_of in ON_TOP.items()}  # edges that read one array


# Ties, windows, and the order of copies


def _of_windows(given: Given, *, backwards: bool = False) -> Any:
    out = np.asarray(given.first(*given.step.operands))
    arrays = np.asarray(given.x), out, np.asarray(given.d_out)
    return jnp.asarray(readers.written(*arrays, backwards=backwards))


def _overlaps(edge: Edge) -> bool:
    arrays = map(np.asarray, _values(edge))
    return edge.name == "reduce_window_max" and readers.read_twice(*arrays)


def _swapped(axis: int) -> Kind:
    """Take two axes of the copies in each other's place."""

    def fits(edge: Edge) -> bool:
        x, out = _in_shape(edge), _out_shape(edge)
        copied = edge.name == "broadcast_in_dim" and 0 < len(x) < len(out)
        return copied and axis + 1 < len(out) and min(out[axis : axis + 2]) > 1

    def rule(given: Given) -> Any:
        shape = list(given.d_out.shape)
        shape[axis : axis + 2] = shape[axis : axis + 2][::-1]
        return given.pull(given.d_out.reshape(shape).swapaxes(axis, axis + 1))

    return Kind(fits, rule)


def _tiled_axes(edge: Edge) -> list[int]:
    pairs = zip(_in_shape(edge), _out_shape(edge), strict=True)
    return [i for i, (n, m) in enumerate(pairs) if n != m]


def _repeated(given: Given) -> Any:
    shape = given.x.shape
    (axis,) = (i for i, n in enumerate(shape) if n != given.d_out.shape[i])
    copies = given.d_out.shape[axis] // shape[axis]
    return given.d_out.reshape(*shape[: axis + 1], copies, *shape[axis + 1 :]).sum(axis + 1)


def _whole_to_each(given: Given) -> Any:
    axes = given.step.eqn.params["axes"]
    largest, d_out = (
        jnp.expand_dims(x, axes) for x in (given.first(*given.step.operands), given.d_out)
    )
    return jnp.where(given.x == largest, d_out, 0)


WRONG |= {
    "last_window_only": Kind(_overlaps, _of_windows),
    "first_window_only": Kind(_overlaps, functools.partial(_of_windows, backwards=True)),
    "repeated_not_tiled": Kind(
        lambda edge: edge.name == "tile" and len(_tiled_axes(edge)) == 1, _repeated
    ),
    "whole_to_each_tied": Kind(lambda edge: edge.name == "reduce_max", _whole_to_each),
    "whole_to_both_tied": Kind(
        lambda edge: edge.name == "max" and _in_shape(edge) == _out_shape(edge),
        lambda given: jnp.where(given.x == given.first(*given.step.operands), given.d_out, 0),
    ),
}
WRONG |= {f"copies_in_another_order_{axis}": _swapped(axis) for axis in range(3)}
WRONG |= {name: _of_convolution(*kind) for name, kind in convolutions.OF_CONVOLUTIONS.items()}
WRONG |= {name: _of_pad(start) for name, start in convolutions.OF_PADS.items()}
WRONG |= {name: Kind(*kind) for name, kind in OF_HANDED.items()}

# What the search names, and no check of a loss is wrong for
NOT_PLANTED = {
    "passes_at_zero": "where an operand is exactly 0 it is another subgradient, which is a match",
}

# What the search does not see of some kinds, beside what it doubts
WHY_UNKNOWN = {
    **dict.fromkeys(
        readers.OF_SUMS, "the sum is a product with an array, such as a constant, within a function"
    ),
    LEFT_OUT: "the result is made within a function, and the argument comes from outside of it",
}

# What the search knows nothing of
STRANGE: dict[str, Kind] = {
    "rows moved by one": Kind(
        lambda edge: bool(_in_shape(edge)), lambda given: jnp.roll(given.right, 1, axis=0)
    ),
    "clipped": Kind(
        lambda _: True,
        lambda given: jnp.clip(
            given.right, -abs(given.right).max() / 2, abs(given.right).max() / 2
        ),
    ),
    "its square": Kind(lambda _: True, lambda given: given.right**2),
}


def factors(edge: Edge) -> Iterator[float]:
    """List what may be forgotten or counted twice: signs, twos, lengths of axes and their roots."""
    yield from (0.0, -1.0, 2.0, 0.5)
    for n in sorted({n for n in (*_in_shape(edge), *_out_shape(edge)) if n > 1}):
        yield from (float(n), 1 / n, n**0.5, n**-0.5)
