"""The rounding-error bounds of JAX's primitives, by the rules that ROUNDING.md derives.

Each rule takes `Bounded` operands, computes the value with NumPy and, beside it, a bound on what an
implementation may make of it: what the operands' errors can do (the spread), and its own rounding.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import scipy.special
from jax import lax

from reference.bounds.rounding import (
    FUNCTION_ULPS,
    ROUNDINGS,
    Bounded,
    Extreme,
    Rounding,
    evaluate,
    exact,
    may_tie,
    reach,
    register_rule,
)

Array = npt.NDArray[Any]

EXP_NEG_SQ = f"exp_neg_sq at {Path(jax.__file__).parent / '_src' / 'lax' / 'erf.py'}:"

# Arithmetic, eq. (R3), (R8)


@register_rule("add", "add_any")
def _add(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(np.add, a, b)
    return _infinite_or(rounding.rounded(a.value + b.value, a.error + b.error), a, b)


@register_rule("sub")
def _sub(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(np.subtract, a, b)
    return _infinite_or(rounding.rounded(a.value - b.value, a.error + b.error), a, b)


def _infinite_or(result: Bounded, a: Bounded, b: Bounded) -> Bounded:
    """Know that an exact infinity, as of a mask, stays one whatever finite is added to it."""
    finite = [np.isfinite(x.value) & np.isfinite(x.error) for x in (a, b)]
    infinite = [np.isinf(x.value) & (x.error == 0) for x in (a, b)]
    stays = (infinite[0] & finite[1]) | (finite[0] & infinite[1])
    return Bounded(result.value, np.where(stays, 0.0, result.error))


@register_rule("mul")
def _mul(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(np.multiply, a, b)
    return rounding.product(a, b)


@register_rule("div")
def _div(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    if a.value.dtype.kind != "f":
        return _discrete(lambda x, y: np.sign(x) * np.sign(y) * (abs(x) // abs(y)), a, b)
    value = a.value / b.value
    return rounding.rounded(value, (a.error + abs(value) * b.error) / _nearest_zero(*b))


@register_rule("integer_pow")
def _integer_pow(rounding: Rounding, x: Bounded, *, y: int, **_: Any) -> Bounded:
    """Multiply |y| - 1 times and perhaps divide, or, for other powers than squares, call pow."""
    if x.value.dtype.kind != "f":
        return _discrete(lambda base: base**y, x)
    value, n, size = x.value**y, abs(y), abs(x.value)
    large, small = (size, _nearest_zero(*x)) if y < 0 else (size + x.error, size)
    spread = x.error * sum(large**i * small ** (n - 1 - i) for i in range(n))  # large^n - small^n
    if y < 0:
        spread = np.where(small**n > rounding.tiny, spread * abs(value) / small**n, np.inf)
    roundings = max(ROUNDINGS * n, 2 * FUNCTION_ULPS + 1) if n > 2 else ROUNDINGS * n
    error = spread + rounding.gamma(roundings) * (abs(value) + spread)
    return rounding.rounded(value, error, roundings=0)


@register_rule("square")
def _square(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    if x.value.dtype.kind != "f":
        return _discrete(np.square, x)
    return rounding.product(x, x)


@register_rule("one_minus_square")
def _one_minus_square(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """(1 + x) (1 - x), in these three steps, or 1 - x x, whose rounding is that of the square."""
    if x.value.dtype.kind != "f":
        return _discrete(lambda value: 1 - value**2, x)
    value = (1 + x.value) * (1 - x.value)
    square = rounding.product(x, x)
    return rounding.rounded(value, square.error, roundings=3 * ROUNDINGS)


@register_rule("neg")
def _neg(_rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return Bounded(-x.value, x.error)


@register_rule("abs")
def _abs(_rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    return Bounded(abs(x.value), x.error)


@register_rule("sign")
def _sign(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    if x.value.dtype.kind != "f":
        return _discrete(np.sign, x)
    value, unsure = rounding.compared(np.sign(x.value), x, exact(0.0))
    return Bounded(value, np.where(unsure, 2.0, 0.0))


# Elementary functions: f' is bounded over the interval [x - e, x + e], eq. (R4)


def _increasing(
    function: Callable[[Array], Array], steepest: Callable[[Array, Array], Array]
) -> Callable[..., Bounded]:
    """Make the rule of a function from a bound of how much it changes within e of x."""

    def rule(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
        spread = np.where(x.error == 0, 0.0, steepest(x.value, x.error))
        return rounding.function(function(x.value), spread)

    return rule


def _sech2(x: Array) -> Array:
    return 1 / np.cosh(x) ** 2


def _nearest_zero(x: Array, e: Array) -> Array:
    return np.maximum(abs(x) - e, 0)


def _log_spread(x: Array, e: Array) -> Array:
    """-ln(1 - e/x), and nothing that bounds it, infinite or NaN, where the interval reaches 0."""
    return -np.log1p(-e / np.maximum(x, 0))


def _rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def _rsqrt_spread(x: Array, e: Array) -> Array:
    return _rsqrt(x) * np.expm1(_log_spread(x, e) / 2)


def _erf_spread(x: Array, e: Array) -> Array:
    return e * 2 / np.sqrt(np.pi) * np.exp(-(_nearest_zero(x, e) ** 2))


_exp = _increasing(np.exp, lambda x, e: np.exp(x) * np.expm1(e))
register_rule("exp")(_exp)
register_rule("exp2")(_increasing(np.exp2, lambda x, e: np.exp2(x) * np.expm1(e * np.log(2))))
register_rule("expm1")(_increasing(np.expm1, lambda x, e: np.exp(x) * np.expm1(e)))
register_rule("log")(_increasing(np.log, _log_spread))
register_rule("log1p")(_increasing(np.log1p, lambda x, e: _log_spread(1 + x, e)))
register_rule("tanh")(_increasing(np.tanh, lambda x, e: e * _sech2(_nearest_zero(x, e))))
register_rule("erf")(_increasing(scipy.special.erf, _erf_spread))
register_rule("sin")(_increasing(np.sin, lambda _, e: np.minimum(e, 2)))
register_rule("cos")(_increasing(np.cos, lambda _, e: np.minimum(e, 2)))
register_rule("sqrt")(_increasing(np.sqrt, lambda x, e: e / (np.sqrt(x) + np.sqrt(x - e))))
register_rule("rsqrt")(_increasing(_rsqrt, _rsqrt_spread))


@register_rule("logistic")
def _logistic(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """1 / (1 + exp(-x)), by a library or in these three steps."""
    spread = x.error / 4 * _sech2(_nearest_zero(*x) / 2)
    roundings = 2 * FUNCTION_ULPS + 1 + 2 * ROUNDINGS
    return rounding.rounded(scipy.special.expit(x.value), spread, roundings=roundings)


@register_rule("erfc")
def _erfc(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """1 - erf(x), by a library or in these two steps, with their cancellation for large x."""
    erf = rounding.function(scipy.special.erf(x.value), _erf_spread(*x))
    return rounding.function(scipy.special.erfc(x.value), erf.error)


@register_rule("pow")
def _pow(rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
    """a^b = exp(b ln a) for a > 0, with the relative error expm1 of the exponent's."""
    log_error = np.where(a.error == 0, 0.0, _log_spread(a.value, a.error))
    by_base = np.where(log_error == 0, 0.0, abs(b.value) * log_error)
    by_power = np.where(b.error == 0, 0.0, reach(b) * (abs(np.log(a.value)) + log_error))
    value = a.value**b.value
    return rounding.function(value, abs(value) * np.expm1(by_base + by_power))


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

    if x.value.dtype.kind != "f":
        return Bounded(cumulated(x.value), cumulated(x.error) > 0)
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
    if value.dtype.kind != "f":
        unsure = e_A.any(axis=2, keepdims=True) | e_B.any(axis=1, keepdims=True)
        return Bounded(value.reshape(shape), np.broadcast_to(unsure, value.shape).reshape(shape))
    spread = abs(A) @ e_B + e_A @ (abs(B) + e_B)
    size = (abs(A) + e_A) @ (abs(B) + e_B)
    return rounding.summed(value.reshape(shape), spread.reshape(shape), size.reshape(shape), terms)


@register_rule("conv_general_dilated")
def _conv_general_dilated(
    rounding: Rounding, x: Bounded, kernel: Bounded, *, dimension_numbers: Any, **params: Any
) -> Bounded:
    """A product of matrices, (R7), with a row for each place of the kernel."""

    def convolved(images: Array, kernels: Array) -> Array:
        return np.asarray(
            lax.conv_general_dilated_p.bind(
                images, kernels, dimension_numbers=dimension_numbers, **params
            )
        )

    params["preferred_element_type"] = None
    _, *summed = dimension_numbers.rhs_spec
    terms = int(np.prod([kernel.value.shape[axis] for axis in summed]))
    sizes = abs(x.value) + x.error, abs(kernel.value) + kernel.error
    spread = convolved(abs(x.value), kernel.error) + convolved(x.error, sizes[1])
    value = convolved(x.value, kernel.value)
    return rounding.summed(value, spread, convolved(*sizes), terms)


# Choices: the largest is as far off as the farthest off of its operands, eq. (R9)


def _extreme(function: Callable[[Array, Array], Array]) -> Callable[..., Bounded]:
    def rule(_rounding: Rounding, a: Bounded, b: Bounded, **_: Any) -> Bounded:
        value = np.asarray(function(a.value, b.value))
        error = np.asarray(np.maximum(a.error, b.error))
        unsure = np.broadcast_to(may_tie(a, b), value.shape)
        cell = np.arange(value.size).reshape(value.shape)
        return Extreme.of(((a, unsure), (b, unsure)), cell, value, error, cell)

    return rule


_max, _min = _extreme(np.maximum), _extreme(np.minimum)
register_rule("max")(_max)
register_rule("min")(_min)


@register_rule("clamp")
def _clamp(rounding: Rounding, low: Bounded, x: Bounded, high: Bounded, **_: Any) -> Bounded:
    return _min(rounding, _max(rounding, low, x), high)


def _ties(x: Bounded, value: Array, axes: tuple[int, ...]) -> Array:
    """Say which elements may or may not be the largest (the smallest) along these axes; (R11)."""
    largest, own = np.expand_dims(value, axes), reach(x)
    joint = own + np.where(x.value == largest, own, 0).max(axis=axes, keepdims=True)
    near = abs(np.subtract(largest, x.value, dtype=np.float64)) <= joint
    several = near.sum(axis=axes, keepdims=True) > 1
    inexact = (near & (own > 0)).any(axis=axes, keepdims=True)
    return np.asarray((near & several & inexact) | ~np.isfinite(joint))


def _reduced_extreme(function: Callable[..., Any]) -> Callable[..., Bounded]:
    def rule(_rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
        value = np.asarray(function(x.value, axis=axes))
        error = np.asarray(x.error.max(axis=axes))
        cell = np.arange(value.size).reshape(value.shape)
        home = np.broadcast_to(np.expand_dims(cell, axes), x.value.shape)
        return Extreme.of(((x, _ties(x, value, axes)),), home, value, error, cell)

    return rule


register_rule("reduce_max")(_reduced_extreme(np.max))
register_rule("reduce_min")(_reduced_extreme(np.min))


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
    """Where any case is right, take the interval that holds them all, by its middle; eq. (R10)."""
    chosen = which.value
    if not which.error.any() and chosen.ndim == 0:
        return cases[int(chosen)]
    value = np.choose(chosen, [case.value for case in cases])
    error = np.choose(chosen, [case.error for case in cases])
    if not which.error.any():
        return Bounded(value, error)
    if error.dtype == bool:
        return Bounded(value, error | which.error)
    low = np.min([case.value - case.error for case in cases], axis=0)
    high = np.max([case.value + case.error for case in cases], axis=0)
    half = (high - low) / 2
    middle = low + half
    rounded = half + np.finfo(np.float64).eps * np.maximum(abs(low), abs(high))
    return Bounded(np.where(which.error, middle, value), np.where(which.error, rounded, error))


def _index_of(index: Callable[..., Array], extreme: Callable[..., Array]) -> Callable[..., Bounded]:
    def rule(
        rounding: Rounding, x: Bounded, *, axes: tuple[int], index_dtype: npt.DTypeLike, **_: Any
    ) -> Bounded:
        (axis,) = axes
        ties = _ties(x, extreme(x.value, axis=axis), axes)
        chosen = np.asarray(index(x.value, axis=axis)).astype(index_dtype)
        return rounding.opened(chosen, np.asarray(ties.any(axis=axes)))

    return rule


register_rule("argmax")(_index_of(np.argmax, np.max))
register_rule("argmin")(_index_of(np.argmin, np.min))


def _discrete(function: Callable[..., Array], *operands: Bounded) -> Bounded:
    """Booleans and integers: the result is unsure where an operand is."""
    values, errors = zip(*operands, strict=True)
    return Bounded(np.asarray(function(*values)), np.any(np.broadcast_arrays(*errors), axis=0))


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
register_rule("is_finite")(lambda _, a, **__: Bounded(np.isfinite(a.value), ~np.isfinite(a.error)))
register_rule("reduce_or")(
    lambda _, a, *, axes, **__: _reduced(np.bitwise_or.reduce, np.any, a, axes)
)
register_rule("reduce_and")(
    lambda _, a, *, axes, **__: _reduced(np.bitwise_and.reduce, np.any, a, axes)
)


@register_rule("convert_element_type")
def _convert_element_type(
    rounding: Rounding, x: Bounded, *, new_dtype: npt.DTypeLike, **_: Any
) -> Bounded:
    """To another precision is one more rounding, in that precision's units; eq. (R2)."""
    new, old = jax.numpy.dtype(new_dtype), x.value.dtype
    if new.kind in "biu" and old.kind != "f":
        return Bounded(x.value.astype(new), x.error)
    if new.kind == "b":
        return rounding.opened(x.value != 0, may_tie(x, exact(0.0)))
    if new.kind in "iu":
        jumps = np.trunc(x.value - x.error) != np.trunc(x.value + x.error)
        return rounding.opened(x.value.astype(new), jumps)
    if old.kind != "f":
        value, error = rounding.given(x.value.astype(np.float64))
        x = Bounded(value, np.where(x.error, 1.0 if old.kind == "b" else np.inf, error))
    if new == np.float64:
        return x
    held = (x.value.astype(new) == x.value) & (x.error == 0)
    rounded = rounding.rounded(x.value, x.error, roundings=1)
    return Bounded(x.value, np.where(held, 0.0, rounded.error))


# Moving elements about: the errors move with the values


def _moving(function: Callable[..., Array]) -> Callable[..., Bounded]:
    def rule(_: Rounding, *operands: Bounded, **params: Any) -> Bounded:
        moved = [np.asarray(function(*arrays, **params)) for arrays in zip(*operands, strict=True)]
        match operands:
            case (Extreme() as extreme,):
                cell = np.asarray(function(extreme.cell, **params))
                return Extreme.of(extreme.choices, extreme.home, *moved, cell)
        return Bounded(*moved)

    return rule


def _broadcast_in_dim(x: Array, *, shape: Any, broadcast_dimensions: Any, **_: Any) -> Array:
    expanded = [1] * len(shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        expanded[axis] = size
    return np.broadcast_to(x.reshape(expanded), shape)


def _pad(x: Array, padding: Array, *, padding_config: Any, **_: Any) -> Array:
    return np.asarray(lax.pad(x, padding, padding_config))


def _slice(x: Array, *, start_indices: Any, limit_indices: Any, strides: Any, **_: Any) -> Array:
    steps = strides or (None,) * x.ndim
    return x[tuple(map(slice, start_indices, limit_indices, steps))]


register_rule("broadcast_in_dim")(_moving(_broadcast_in_dim))
register_rule("reshape")(_moving(lambda x, *, new_sizes, **_: x.reshape(new_sizes)))
register_rule("squeeze")(_moving(lambda x, *, dimensions, **_: x.squeeze(tuple(dimensions))))
register_rule("transpose")(_moving(lambda x, *, permutation, **_: x.transpose(permutation)))
register_rule("rev")(_moving(lambda x, *, dimensions, **_: np.flip(x, tuple(dimensions))))
register_rule("slice")(_moving(_slice))
register_rule("concatenate")(
    _moving(lambda *xs, dimension, **_: np.concatenate(xs, axis=dimension))
)
register_rule("pad")(_moving(_pad))


@register_rule("copy", "copy_p", "stop_gradient", "optimization_barrier")
def _copy(_: Rounding, *operands: Bounded, **__: Any) -> list[Bounded]:
    return list(operands)


@register_rule("split")
def _split(_: Rounding, x: Bounded, *, sizes: tuple[int, ...], axis: int, **__: Any) -> Any:
    ends = np.cumsum(sizes)[:-1]
    return [Bounded(*part) for part in zip(*(np.split(a, ends, axis) for a in x), strict=True)]


@register_rule("empty", "empty2")
def _empty(_: Rounding, *, dtype: npt.DTypeLike, shape: tuple[int, ...] = (), **__: Any) -> Bounded:
    """What is never looked at."""
    return exact(np.zeros(shape, dtype))


@register_rule("iota")
def _iota(_rounding: Rounding, **params: Any) -> Bounded:
    index = np.asarray(lax.iota_p.bind(**params))
    return exact(index.astype(np.float64) if index.dtype.kind == "f" else index)


def _at_indices(primitive: Any, arrays: int) -> Callable[..., Bounded]:
    """Make the rule of a primitive that moves elements to or from places given by its indices."""

    def rule(_: Rounding, *operands: Bounded, **params: Any) -> Bounded:
        # What lies outside is NaN in the value, and in the error too: nothing is known of it. Or it
        # is what the parameters say, which has no error.
        fill = params.get("fill_value")
        filled = [] if fill is None or np.isnan(fill) else [exact(float(fill))]
        exactly = {"fill_value": 0} if filled else {}
        indices = [operand.value for operand in operands[arrays:]]
        values, errors = zip(*operands[:arrays], strict=True)
        value = np.asarray(primitive.bind(*values, *indices, **params))
        error = np.asarray(primitive.bind(*errors, *indices, **(params | exactly)))
        elsewhere = np.zeros(value.shape, bool)
        for operand in operands[arrays:]:
            elsewhere |= _moved_elsewhere(operand.error, **params)
        if error.dtype == bool:
            return Bounded(value, error | elsewhere)
        sources = [*operands[:arrays], *filled]
        highest = max(np.max(x.value + x.error, initial=-np.inf) for x in sources)
        lowest = min(np.min(x.value - x.error, initial=np.inf) for x in sources)
        error = np.where(elsewhere, highest - lowest + error, error)
        return Bounded(value, np.where(np.isnan(error), np.inf, error))

    return rule


def _moved_elsewhere(unsure: Array, *, dimension_numbers: Any = None, **_: Any) -> Array:
    """Say which results may come from elsewhere, where an index is unsure: all, or its slice."""
    if dimension_numbers is None:
        return np.asarray(unsure.any())
    return np.expand_dims(unsure.any(axis=-1), dimension_numbers.offset_dims)


register_rule("gather")(_at_indices(lax.gather_p, 1))
register_rule("dynamic_slice")(_at_indices(lax.dynamic_slice_p, 1))
register_rule("dynamic_update_slice")(_at_indices(lax.dynamic_update_slice_p, 2))


def scatter_add(onto: Array, indices: Array, added: Array, **params: Any) -> Array:
    """Add at places given by indices, as the primitive of these params does, in any precision."""
    names = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")
    given = {name: params[name] for name in names}
    return np.asarray(lax.scatter_add(onto, indices, added, **given))


@register_rule("scatter-add", "scatter_add")
def _scatter_add(
    rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
) -> Bounded:
    """A sum of as many terms as fall upon the same place; those of unsure places upon any."""

    def scattered(onto: Array, added: Array) -> Array:
        return scatter_add(onto, indices.value, added, **params)

    value = scattered(x.value, updates.value)
    if value.dtype.kind != "f":
        unsure = x.error.any() or indices.error.any() or updates.error.any()
        return Bounded(value, np.full(value.shape, unsure))
    size = scattered(abs(x.value) + x.error, abs(updates.value) + updates.error)
    spread = scattered(x.error, updates.error)
    terms = 1 + int(scattered(np.zeros_like(value), np.ones_like(updates.value)).max(initial=0))
    if indices.error.any():
        anywhere = np.abs(updates.value).sum() + updates.error.sum()
        size, spread, terms = size + anywhere, spread + anywhere, 1 + updates.value.size
    return rounding.summed(value, spread, size, terms)


# Functions within functions


@register_rule("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "core_call")
def _call(rounding: Rounding, *operands: Bounded, jaxpr: Any, **_: Any) -> list[Bounded]:
    if not hasattr(jaxpr, "consts"):
        return evaluate(jaxpr, [], operands, rounding)
    consts = [rounding.given(np.asarray(const)) for const in jaxpr.consts]
    return evaluate(jaxpr.jaxpr, consts, operands, rounding)


@register_rule("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
def _custom_call(rounding: Rounding, *operands: Bounded, **params: Any) -> list[Bounded]:
    jaxpr = params.get("call_jaxpr") or params["fun_jaxpr"]
    if is_exp_neg_sq(jaxpr):
        (x,) = operands
        return [_exp(rounding, _neg(rounding, _square(rounding, x)))]
    return _call(rounding, *operands, jaxpr=jaxpr)


def is_exp_neg_sq(jaxpr: Any) -> bool:
    """Say whether it is the exp(-x^2) with which newer JAX differentiates erf and erfc.

    That splits x by its bits, which no interval sees through, to square it more exactly than an
    implementation need; the bound is of its formula as earlier JAX has it, in three operations.
    """
    return str(jaxpr.debug_info.func_src_info).startswith(EXP_NEG_SQ)


@register_rule("scan")
def _scan(
    rounding: Rounding,
    *operands: Bounded,
    jaxpr: Any,
    length: int,
    reverse: bool,
    **params: Any,
) -> list[Bounded]:
    if "ft_in" in params:  # which newer JAX gives instead of the two numbers
        num_consts, num_carry = map(len, params["ft_in"].unpack()[:2])
    else:
        num_consts, num_carry = params["num_consts"], params["num_carry"]
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


@register_rule("cond")
def _cond(
    rounding: Rounding, which: Bounded, *operands: Bounded, branches: tuple[Any, ...], **_: Any
) -> list[Bounded]:
    """Take the branch that is chosen; where either is right, reach to the farthest."""
    chosen = min(max(int(which.value), 0), len(branches) - 1)
    results = _call(rounding, *operands, jaxpr=branches[chosen])
    if not which.error:
        return results
    others = [_call(rounding, *operands, jaxpr=branch) for branch in branches]
    return [
        _select_n(rounding, Bounded(np.asarray(chosen), which.error), *cases)
        for cases in zip(*others, strict=True)
    ]
