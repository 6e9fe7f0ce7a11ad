"""The rounding-error bounds of JAX's primitives, by the rules that ROUNDING.md derives.

Each rule takes `Bounded` operands, computes the value with NumPy and, beside it, a bound on what an
implementation may make of it: what the operands' errors can do (the spread), and its own rounding.
"""

from collections.abc import Callable
from typing import Any

import jax
import ml_dtypes
import numpy as np
import numpy.typing as npt
import scipy.special
from jax import lax

from reference.rounding import Bounded, Rounding, evaluate, exact, register_rule

Array = npt.NDArray[Any]

# Arithmetic, eq. (R3), (R8)


@register_rule("add", "add_any")
def _add(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(np.add, a, b)
    return rounding.rounded(a.value + b.value, a.error + b.error)


@register_rule("sub")
def _sub(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(np.subtract, a, b)
    return rounding.rounded(a.value - b.value, a.error + b.error)


@register_rule("mul")
def _mul(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(np.multiply, a, b)
    return rounding.product(a, b)


@register_rule("div")
def _div(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(lambda x, y: np.trunc(x / y).astype(x.dtype), a, b)
    nearest_zero = abs(b.value) - b.error
    value = a.value / b.value
    spread = (a.error + abs(value) * b.error) / nearest_zero
    return rounding.rounded(value, np.where(nearest_zero > 0, spread, np.inf))


@register_rule("integer_pow")
def _integer_pow(rounding: Rounding, x: Bounded, *, y: int, **_: Any) -> Bounded:
    value = x.value**y
    if y < 0:
        smallest = abs(x.value) - x.error
        spread = np.where(smallest > 0, smallest**y - abs(value), np.inf)
    else:
        spread = (abs(x.value) + x.error) ** y - abs(value)
    spread = np.where(x.error == 0, 0.0, spread)
    return rounding.rounded(value, spread, roundings=2 * abs(y))


@register_rule("square")
def _square(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return rounding.product(x, x)


@register_rule("neg")
def _neg(_rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return Bounded(-x.value, x.error)


@register_rule("abs")
def _abs(_rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return Bounded(abs(x.value), x.error)


@register_rule("sign")
def _sign(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    value = np.sign(x.value)
    unsure = rounding.compared(value, x, exact(np.zeros_like(x.value))).error
    return Bounded(value, np.where(unsure, 2.0, 0.0))


# Elementary functions: f' is bounded over the interval [x - e, x + e], eq. (R4)


def _increasing(
    function: Callable[[Array], Array], steepest: Callable[[Array, Array], Array]
) -> Callable[..., Bounded]:
    """Make the rule of a function from a bound of how much it changes within e of x."""

    def rule(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
        spread = np.where(x.error == 0, 0.0, steepest(x.value, x.error))
        return rounding.function(function(x.value), np.where(np.isnan(spread), np.inf, spread))

    return rule


def _sech2(x: Array) -> Array:
    return 1 / np.cosh(x) ** 2


def _nearest_zero(x: Array, e: Array) -> Array:
    return np.maximum(abs(x) - e, 0)


def _log_spread(x: Array, e: Array) -> Array:
    return np.where(x > e, -np.log1p(-e / x), np.inf)


def _rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


register_rule("exp")(_increasing(np.exp, lambda x, e: np.exp(x) * np.expm1(e)))
register_rule("exp2")(_increasing(np.exp2, lambda x, e: np.exp2(x) * np.expm1(e * np.log(2))))
register_rule("expm1")(_increasing(np.expm1, lambda x, e: np.exp(x) * np.expm1(e)))
register_rule("log")(_increasing(np.log, _log_spread))
register_rule("log1p")(_increasing(np.log1p, lambda x, e: _log_spread(1 + x, e)))
register_rule("tanh")(_increasing(np.tanh, lambda x, e: e * _sech2(_nearest_zero(x, e))))
register_rule("logistic")(
    _increasing(scipy.special.expit, lambda x, e: e / 4 * _sech2(_nearest_zero(x, e) / 2))
)
register_rule("erf")(
    _increasing(
        scipy.special.erf, lambda x, e: e * 2 / np.sqrt(np.pi) * np.exp(-(_nearest_zero(x, e) ** 2))
    )
)
register_rule("sin")(_increasing(np.sin, lambda _, e: np.minimum(e, 2)))
register_rule("cos")(_increasing(np.cos, lambda _, e: np.minimum(e, 2)))
register_rule("sqrt")(
    _increasing(np.sqrt, lambda x, e: np.where(x >= e, e / (np.sqrt(x) + np.sqrt(x - e)), np.inf))
)
register_rule("rsqrt")(
    _increasing(_rsqrt, lambda x, e: np.where(x > e, _rsqrt(x - e) - _rsqrt(x), np.inf))
)


@register_rule("pow")
def _pow(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    """a^b = exp(b ln a) for a > 0, with the relative error expm1 of the exponent's."""
    log_error = _log_spread(a.value, a.error)
    exponent = abs(b.value) * log_error + b.error * (abs(np.log(a.value)) + log_error)
    value = a.value**b.value
    inside = (a.value > 0) | ((a.error == 0) & (b.error == 0))
    spread = np.where(exponent == 0, 0.0, abs(value) * np.expm1(exponent))
    return rounding.function(value, np.where(inside, spread, np.inf))


# Sums and products of matrices, eq. (R6), (R7)


@register_rule("reduce_sum")
def _reduce_sum(rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
    if x.value.dtype.kind != "f":
        return _reduced(np.sum, np.any, x, axes)
    value = np.asarray(x.value.sum(axis=axes))
    size = (abs(x.value) + x.error).sum(axis=axes)
    terms = x.value.size // max(value.size, 1)
    return rounding.summed(value, np.asarray(x.error.sum(axis=axes)), np.asarray(size), terms)


@register_rule("cumsum")
def _cumsum(rounding: Rounding, x: Bounded, *, axis: int, reverse: bool, **_: Any) -> Bounded:
    def cumulated(array: Array) -> Array:
        if reverse:
            return np.flip(np.cumsum(np.flip(array, axis), axis=axis), axis)
        return np.cumsum(array, axis=axis)

    size = cumulated(abs(x.value) + x.error)
    return rounding.summed(cumulated(x.value), cumulated(x.error), size, x.value.shape[axis])


@register_rule("dot_general")
def _dot_general(
    rounding: Rounding, a: Bounded, b: Bounded, *, dimension_numbers: Any, **_: Any
) -> Bounded:
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    a_free = [i for i in range(a.value.ndim) if i not in (*a_sum, *a_batch)]
    b_free = [i for i in range(b.value.ndim) if i not in (*b_sum, *b_batch)]
    shape = [a.value.shape[i] for i in (*a_batch, *a_free)] + [b.value.shape[i] for i in b_free]
    terms = int(np.prod([a.value.shape[i] for i in a_sum]))

    def stack(array: Array, *groups: Any) -> Array:
        axes = [axis for group in groups for axis in group]
        sizes = [int(np.prod([array.shape[axis] for axis in group])) for group in groups]
        return array.transpose(axes).reshape(sizes)

    A, e_A = (stack(array, a_batch, a_free, a_sum) for array in a)
    B, e_B = (stack(array, b_batch, b_sum, b_free) for array in b)
    value = A @ B
    spread = abs(A) @ e_B + e_A @ (abs(B) + e_B)
    size = (abs(A) + e_A) @ (abs(B) + e_B)
    spread, size = (np.where(np.isnan(bound), np.inf, bound) for bound in (spread, size))
    return rounding.summed(value.reshape(shape), spread.reshape(shape), size.reshape(shape), terms)


# Choices: the largest is as far off as the farthest off of its operands, eq. (R9)


@register_rule("max")
def _max(_rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    return Bounded(np.maximum(a.value, b.value), np.maximum(a.error, b.error))


@register_rule("min")
def _min(_rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    return Bounded(np.minimum(a.value, b.value), np.maximum(a.error, b.error))


@register_rule("clamp")
def _clamp(rounding: Rounding, low: Bounded, x: Bounded, high: Bounded, **_: Any) -> Bounded:
    return _min(rounding, _max(rounding, low, x), high)


@register_rule("reduce_max")
def _reduce_max(_rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
    return _reduced(np.max, np.max, x, axes)


@register_rule("reduce_min")
def _reduce_min(_rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
    return _reduced(np.min, np.max, x, axes)


def _comparison(function: Callable[[Array, Array], Array]) -> Callable[..., Bounded]:
    def rule(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
        return rounding.compared(function(a.value, b.value), a, b)

    return rule


register_rule("gt")(_comparison(np.greater))
register_rule("ge")(_comparison(np.greater_equal))
register_rule("lt")(_comparison(np.less))
register_rule("le")(_comparison(np.less_equal))
register_rule("eq")(_comparison(np.equal))
register_rule("ne")(_comparison(np.not_equal))


@register_rule("select_n")
def _select_n(_rounding: Rounding, which: Bounded, *cases: Bounded, **_: Any) -> Bounded:
    """Where either case is right, the error reaches to the farthest of them."""
    chosen = which.value.astype(int)
    value = np.choose(chosen, [case.value for case in cases])
    error = np.choose(chosen, [case.error for case in cases])
    if not which.error.any():
        return Bounded(value, error)
    if error.dtype == bool:
        return Bounded(value, error | which.error)
    reach = np.max([abs(case.value - value) + case.error for case in cases], axis=0)
    return Bounded(value, np.where(which.error, np.maximum(reach, error), error))


@register_rule("argmax")
def _argmax(
    rounding: Rounding, x: Bounded, *, axes: tuple[int], index_dtype: npt.DTypeLike, **_: Any
) -> Bounded:
    """The index is unsure where another entry lies within its joint error of the largest."""
    (axis,) = axes
    chosen = np.expand_dims(x.value.argmax(axis=axis), axis)
    largest = Bounded(*(np.take_along_axis(array, chosen, axis) for array in x))
    near = (largest.value - x.value <= largest.error + x.error) & (x.error + largest.error > 0)
    np.put_along_axis(near, chosen, False, axis)  # noqa: FBT003, the value to put
    unsure = near.any(axis=axis)
    rounding.open_kinks += int(unsure.sum())
    index = chosen.squeeze(axis).astype(index_dtype)
    return Bounded(index, np.asarray(unsure & (rounding.kinks == "open")))


def _discrete(function: Callable[..., Array], *operands: Bounded) -> Bounded:
    """Booleans and integers: the result is unsure where an operand is."""
    value = np.asarray(function(*(operand.value for operand in operands)))
    unsure = np.zeros(value.shape, bool)
    for operand in operands:
        unsure = unsure | (operand.error != 0)
    return Bounded(value, unsure)


def _reduced(
    of_values: Callable[..., Any], of_errors: Callable[..., Any], x: Bounded, axes: tuple[int, ...]
) -> Bounded:
    return Bounded(
        np.asarray(of_values(x.value, axis=axes)), np.asarray(of_errors(x.error, axis=axes))
    )


register_rule("and")(lambda _, a, b, **__: _discrete(np.bitwise_and, a, b))
register_rule("or")(lambda _, a, b, **__: _discrete(np.bitwise_or, a, b))
register_rule("xor")(lambda _, a, b, **__: _discrete(np.bitwise_xor, a, b))
register_rule("not")(lambda _, a, **__: _discrete(np.invert, a))
register_rule("is_finite")(lambda _, a, **__: _discrete(np.isfinite, exact(a.value)))
register_rule("reduce_or")(lambda _, a, *, axes, **__: _reduced(np.any, np.any, a, axes))
register_rule("reduce_and")(lambda _, a, *, axes, **__: _reduced(np.all, np.any, a, axes))


@register_rule("convert_element_type")
def _convert_element_type(
    rounding: Rounding, x: Bounded, *, new_dtype: npt.DTypeLike, **_: Any
) -> Bounded:
    """To another precision is one more rounding, in that precision's units."""
    new, old = jax.numpy.dtype(new_dtype), x.value.dtype
    if not jax.numpy.issubdtype(new, jax.numpy.floating):
        unsure = (x.error != 0) if old.kind != "f" else x.error >= 1
        return Bounded(x.value.astype(new), unsure)
    if old.kind != "f":
        return Bounded(x.value.astype(np.float64), x.error.astype(np.float64))
    eps = float(ml_dtypes.finfo(new).eps)
    if eps <= np.finfo(str(rounding.dtype)).eps:
        return x
    held = np.asarray(x.value).astype(new).astype(np.float64) == x.value
    rounding_error = np.where(held & (x.error == 0), 0.0, eps * (abs(x.value) + x.error))
    return Bounded(x.value, x.error + rounding_error)


# Moving elements about: the errors move with the values


def _moving(function: Callable[..., Array]) -> Callable[..., Bounded]:
    def rule(_: Rounding, *operands: Bounded, **params: Any) -> Bounded:
        return Bounded(
            np.asarray(function(*(operand.value for operand in operands), **params)),
            np.asarray(function(*(operand.error for operand in operands), **params)),
        )

    return rule


def _broadcast_in_dim(x: Array, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> Array:
    expanded = [1] * len(shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        expanded[axis] = size
    return np.broadcast_to(x.reshape(expanded), shape)


def _pad(x: Array, padding: Array, *, padding_config: Any, **_: Any) -> Array:
    return np.asarray(lax.pad(x, padding.astype(x.dtype), padding_config))


def _slice(x: Array, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> Array:
    steps = strides or (None,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


register_rule("broadcast_in_dim")(_moving(_broadcast_in_dim))
register_rule("reshape")(_moving(lambda x, *, new_sizes, **_: x.reshape(new_sizes)))
register_rule("squeeze")(_moving(lambda x, *, dimensions, **_: x.squeeze(tuple(dimensions))))
register_rule("expand_dims")(
    _moving(lambda x, *, dimensions, **_: np.expand_dims(x, tuple(dimensions)))
)
register_rule("transpose")(_moving(lambda x, *, permutation, **_: x.transpose(permutation)))
register_rule("rev")(_moving(lambda x, *, dimensions, **_: np.flip(x, tuple(dimensions))))
register_rule("slice")(_moving(_slice))
register_rule("concatenate")(
    _moving(lambda *xs, dimension, **_: np.concatenate(xs, axis=dimension))
)
register_rule("pad")(_moving(_pad))
register_rule("copy", "copy_p", "stop_gradient", "optimization_barrier")(_moving(lambda x, **_: x))


@register_rule("iota")
def _iota(_rounding: Rounding, **params: Any) -> Bounded:
    index = np.asarray(lax.iota_p.bind(**params))
    return exact(index.astype(np.float64) if index.dtype.kind == "f" else index)


def _at_indices(primitive: Any, arrays: int) -> Callable[..., Bounded]:
    """Make the rule of a primitive that moves elements to or from places given by its indices."""

    def rule(_: Rounding, *operands: Bounded, **params: Any) -> Bounded:
        # What lies outside is NaN in the value, and in the error too: nothing is known of it.
        indices = [operand.value for operand in operands[arrays:]]
        value, error = (
            np.asarray(primitive.bind(*moved, *indices, **params))
            for moved in zip(*operands[:arrays], strict=True)
        )
        return Bounded(
            value, np.where(np.isnan(error), np.inf, error) if error.dtype != bool else error
        )

    return rule


register_rule("gather")(_at_indices(lax.gather_p, 1))
register_rule("dynamic_slice")(_at_indices(lax.dynamic_slice_p, 1))
register_rule("dynamic_update_slice")(_at_indices(lax.dynamic_update_slice_p, 2))


@register_rule("scatter-add", "scatter_add")
def _scatter_add(
    rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
) -> Bounded:
    def scattered(onto: Array, added: Array) -> Array:
        return np.asarray(lax.scatter_add_p.bind(onto, indices.value, added, **params))

    size = scattered(abs(x.value) + x.error, abs(updates.value) + updates.error)
    return rounding.summed(
        scattered(x.value, updates.value),
        scattered(x.error, updates.error),
        size,
        updates.value.size + 1,
    )


# Functions within functions


@register_rule("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "core_call")
def _call(rounding: Rounding, *operands: Bounded, jaxpr: Any, **_: Any) -> list[Bounded]:
    if not hasattr(jaxpr, "consts"):
        return evaluate(jaxpr, [], operands, rounding)
    consts = [rounding.given(np.asarray(const)) for const in jaxpr.consts]
    return evaluate(jaxpr.jaxpr, consts, operands, rounding)


@register_rule("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
def _custom_call(rounding: Rounding, *operands: Bounded, **params: Any) -> list[Bounded]:
    return _call(rounding, *operands, jaxpr=params.get("call_jaxpr") or params["fun_jaxpr"])


@register_rule("scan")
def _scan(
    rounding: Rounding,
    *operands: Bounded,
    jaxpr: Any,
    length: int,
    reverse: bool,
    num_consts: int,
    num_carry: int,
    **_: Any,
) -> list[Bounded]:
    consts = operands[:num_consts]
    carry = list(operands[num_consts : num_consts + num_carry])
    sequences = operands[num_consts + num_carry :]
    steps = range(length)[::-1] if reverse else range(length)
    outputs: dict[int, list[Bounded]] = {}
    for step in steps:
        elements = [Bounded(x.value[step], x.error[step]) for x in sequences]
        results = _call(rounding, *consts, *carry, *elements, jaxpr=jaxpr)
        carry, outputs[step] = results[:num_carry], results[num_carry:]
    stacked = [
        Bounded(np.stack([x.value for x in column]), np.stack([x.error for x in column]))
        for column in zip(*(outputs[step] for step in range(length)), strict=True)
    ]
    return carry + stacked
