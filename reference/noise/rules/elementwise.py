"""Operations on each element for itself: moved, rounded once, or within a library's accuracy."""

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from reference.bounds.rounding import FUNCTION_ULPS
from reference.noise.evaluation import disturbs, undisturbed
from reference.noise.samples import Sampled, Samples, over_samples, unit_roundoff

SERIES_ROUNDINGS = 16  # of a series of a dozen terms, as XLA has for zeta or lgamma

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


@disturbs("mul", "square")
def _mul(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """One rounding; none where a factor is 0 or a power of 2."""
    (out,) = undisturbed(samples, eqn, *operands)
    if any(map(is_power_of_two, eqn.invars)):
        return [out]
    return [samples.relative(out, factors=operands)]


@disturbs("div")
def _div(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """x / n, or x times 1 / n, of which the rounding is the same for all x."""
    (out,) = undisturbed(samples, eqn, *operands)
    if is_power_of_two(eqn.invars[1]):
        return [out]
    return [samples.relative(out, np.sqrt(2), common="div", factors=operands)]


def is_power_of_two(atom: object) -> bool:
    """Say whether it is a constant that a product with is exact."""
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
    return [samples.relative(out, roundings, factors=operands)]


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
    factors = operands if name in NEVER_ZERO else ()
    return [samples.relative(out, FUNCTION_ULPS, common=name, factors=factors)]


NEVER_ZERO = {"exp", "exp2", "pow"}  # but for an argument that is 0 or infinite
disturbs(
    "exp", "exp2", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erf_inv", "pow", "cbrt", "rsqrt",
)(_function)  # fmt: skip


@disturbs("logistic")
def _logistic(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """1 / (1 + exp(-x)), by a library or in these three steps."""
    (out,) = undisturbed(samples, eqn, *operands)
    return [samples.relative(out, FUNCTION_ULPS + 2, common="logistic", factors=operands)]


@disturbs("erfc")
def _erfc(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """1 - erf(x), by a library or in these two steps."""
    (out,) = undisturbed(samples, eqn, *operands)
    size = abs(out.array) + abs(1 - out.array)
    return [samples.disturbed(out, size, roundings=FUNCTION_ULPS, common="erfc", factors=operands)]


@disturbs(
    "lgamma", "digamma", "polygamma", "igamma", "igammac", "igamma_grad_a", "bessel_i0e",
    "bessel_i1e", "regularized_incomplete_beta", "random_gamma_grad", "zeta",
)  # fmt: skip
def _special(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """Series of a dozen terms, and an argument, the last, that may be rounded on the way."""
    *orders, x = operands
    (out,) = undisturbed(samples, eqn, *orders, samples.relative(x))
    return [samples.relative(out, SERIES_ROUNDINGS, common=eqn.primitive.name)]
