"""Operations on each element for itself: moved, rounded once, or within a library's accuracy."""

from typing import TypeGuard

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from reference.bounds.rounding import FUNCTION_ULPS
from reference.bounds.rules.elementary import LOG1P_FROM, LOG1P_TO, LOG1P_ULPS
from reference.noise.evaluation import disturbs, undisturbed
from reference.noise.rules.vanishing import LARGER, flushed
from reference.noise.samples import Sampled, Samples, computed, over_samples, unit_roundoff

SERIES_ROUNDINGS = 16  # of a series of a dozen terms, as XLA has for zeta or lgamma
SCALE = 2.0**64  # beyond this, which no scale of a loss is, a product with a power of 2 may vanish

# What only moves, selects, or changes a sign is exact, and so is the larger of two numbers.
disturbs(
    "abs", "neg", "real", "imag", "conj", "complex", "copy", "copy_p", "stop_gradient",
    "optimization_barrier", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose",
    "rev", "slice", "concatenate", "pad", "split", "unstack", "tile", "gather", "scatter",
    "dynamic_slice", "dynamic_update_slice", "select_n", "iota", "empty", "empty2", "max", "min",
    "reduce_max", "reduce_min", "cummax", "cummin", "reduce_window_max", "reduce_window_min",
    "scatter-max", "scatter-min", "scatter_max", "scatter_min", "bitcast_convert_type",
)(undisturbed)  # fmt: skip


@disturbs("clamp")
def _clamp(
    _samples: Samples, _eqn: core.JaxprEqn, low: Sampled, x: Sampled, high: Sampled
) -> list[Sampled]:
    return over_samples(lambda low, x, high: [jnp.minimum(jnp.maximum(x, low), high)], low, x, high)


@disturbs("add", "sub", "add_any")
def _rounded(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """One rounding; none where nothing is added, or both operands are given."""
    (out,) = undisturbed(samples, eqn, *operands)
    return [samples.relative(out)]


@disturbs("mul", "square", "div")
def _product(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """One rounding; none by a power of 2, unless the result vanishes.

    x / n may be x times 1 / n, of which the rounding is the same for all x.
    """
    (out,) = undisturbed(samples, eqn, *operands)
    divides = eqn.primitive.name == "div"
    scales = filter(is_power_of_two, eqn.invars[1:] if divides else eqn.invars)
    sizes = [abs(scale.val) for scale in scales]
    if any(size == 0 or 1 / SCALE <= size <= SCALE for size in sizes):
        return [out]
    roundings = 0.0 if sizes else np.sqrt(2) if divides else 1.0
    common = "div" if divides else ""
    return [samples.relative(out, roundings, common=common, flushed=flushed(eqn, *operands))]


def is_power_of_two(atom: object) -> TypeGuard[core.Literal]:
    """Say whether it is a constant that a product with is exact, unless it vanishes."""
    if not isinstance(atom, core.Literal) or not np.isfinite(atom.val):
        return False
    return abs(float(np.frexp(np.real(atom.val))[0])) in {0.0, 0.5} and np.imag(atom.val) == 0


@disturbs("sqrt", "convert_element_type", "reduce_precision")
def _narrowed(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """One rounding, that to another precision included; none to one as wide or wider."""
    (x,), (out,) = operands, undisturbed(samples, eqn, *operands)
    if eqn.primitive.name == "convert_element_type" and (
        not x.is_real or unit_roundoff(out.array.dtype) <= unit_roundoff(x.array.dtype)
    ):
        return [out]
    return [samples.relative(out)]


@disturbs("integer_pow")
def _integer_pow(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """A product of |y| factors, or a library's pow; a square is one product."""
    (out,) = undisturbed(samples, eqn, *operands)
    power = abs(eqn.params["y"])
    roundings = 1.0 if power <= 2 else max(power, FUNCTION_ULPS)
    return [samples.relative(out, roundings, flushed=flushed(eqn, *operands))]


@disturbs("one_minus_square")
def _one_minus_square(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """(1 - x) (1 + x), or 1 - x x with the rounding of the square."""
    (out,) = undisturbed(samples, eqn, *operands)
    (x,) = operands
    return [samples.disturbed(out, abs(out.array) + jnp.square(abs(x.array)))]


@disturbs("rem")
def _rem(samples: Samples, _eqn: core.JaxprEqn, a: Sampled, b: Sampled) -> list[Sampled]:
    """a - b n, where the whole number n is decided."""
    (n,) = samples.decide(lambda a, b: [jnp.trunc(a / b)], a, b)
    (out,) = over_samples(lambda a, b, n: [a - b * n], a, b, n)
    return [samples.disturbed(out, abs(a.array))]


def _function(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """A library's accuracy, half of whose variance is one error that the library always makes."""
    (out,) = undisturbed(samples, eqn, *operands)
    name = eqn.primitive.name
    vanishing = flushed(eqn, *operands) if name in LARGER else None
    roundings = computed(samples.dtype, FUNCTION_ULPS)
    return [samples.relative(out, roundings, common=name, flushed=vanishing)]


disturbs(
    "exp", "expm1", "log", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "tanh", "asinh",
    "acosh", "erf", "erf_inv", "pow", "cbrt", "rsqrt",
)(_function)  # fmt: skip


@disturbs("exp2", "sinh", "cosh")
def _by_exp(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    """Of an exponential whose argument, x ln 2 or x - ln 2, is rounded; ROUNDING.md (R12)."""
    return _function(samples, eqn, samples.relative(x))


@disturbs("log1p", "atanh")
def _by_log1p(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    """A library's accuracy, or XLA's in float64, which is off in a window; ROUNDING.md (R13)."""
    (out,) = undisturbed(samples, eqn, x)
    argument = x.array if eqn.primitive.name == "log1p" else -abs(x.array)
    inside = (argument >= LOG1P_FROM) & (argument <= LOG1P_TO) & (samples.dtype == np.float64)
    size = abs(out.array) * jnp.where(inside, LOG1P_ULPS / FUNCTION_ULPS, 1.0)
    name = eqn.primitive.name
    roundings = computed(samples.dtype, FUNCTION_ULPS)
    return [samples.disturbed(out, size, roundings=roundings, common=name)]


@disturbs("logistic")
def _logistic(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """1 / (1 + exp(-x)), by a library or in these three steps."""
    (out,) = undisturbed(samples, eqn, *operands)
    roundings = computed(samples.dtype, FUNCTION_ULPS) + 2
    return [samples.relative(out, roundings, common="logistic", flushed=flushed(eqn, *operands))]


@disturbs("erfc")
def _erfc(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """1 - erf(x), by a library or in these two steps."""
    (out,) = undisturbed(samples, eqn, *operands)
    size = abs(out.array) + abs(1 - out.array)
    roundings = computed(samples.dtype, FUNCTION_ULPS)
    return [
        samples.disturbed(
            out, size, roundings=roundings, common="erfc", flushed=flushed(eqn, *operands)
        )
    ]


@disturbs(
    "lgamma", "digamma", "polygamma", "igamma", "igammac", "igamma_grad_a", "bessel_i0e",
    "bessel_i1e", "regularized_incomplete_beta", "random_gamma_grad", "zeta",
)  # fmt: skip
def _special(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """Series of a dozen terms, and an argument, the last, that may be rounded on the way."""
    *orders, x = operands
    (out,) = undisturbed(samples, eqn, *orders, samples.relative(x))
    return [samples.relative(out, SERIES_ROUNDINGS, common=eqn.primitive.name)]
