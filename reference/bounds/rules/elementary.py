"""Elementary functions, whose slope is bounded over [x - e, x + e]; ROUNDING.md (R4)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.special

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import EPS, FUNCTION_ULPS, ROUNDINGS, Bounded, Rounding, reach
from reference.bounds.rules.arithmetic import nearest_zero

LOG1P_ULPS = 130.0  # the error of XLA's in float64 between these two; ROUNDING.md (R13)
LOG1P_FROM, LOG1P_TO = -0.54, -0.27


def _increasing(
    function: Callable[[Array], Array], steepest: Callable[[Array, Array], Array]
) -> Callable[..., Bounded]:
    """Make the rule of a function from a bound on how much it changes within e of x."""

    def rule(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
        spread = np.where(x.error == 0, 0.0, steepest(x.value, x.error))
        return rounding.function(function(x.value), spread)

    return rule


def _sech2(x: Array) -> Array:
    return 1 / np.cosh(x) ** 2


def _log_spread(x: Array, e: Array) -> Array:
    """-ln(1 - e/x); infinite or NaN, which bounds nothing, where the interval reaches 0."""
    return -np.log1p(-e / np.maximum(x, 0))


def _rsqrt(x: Array) -> Array:
    return 1 / np.sqrt(x)


def _rsqrt_spread(x: Array, e: Array) -> Array:
    return _rsqrt(x) * np.expm1(_log_spread(x, e) / 2)


def _cbrt_spread(x: Array, e: Array) -> Array:
    """a - b = (a^3 - b^3) / (a^2 + a b + b^2), largest towards 0."""
    a, b = np.cbrt(abs(x)), np.cbrt(abs(x) - e)
    return e / (a * a + a * b + b * b)


def _erf_spread(x: Array, e: Array) -> Array:
    return e * 2 / np.sqrt(np.pi) * np.exp(-(nearest_zero(x, e) ** 2))


exp = _increasing(np.exp, lambda x, e: np.exp(x) * np.expm1(e))
register_rule("exp")(exp)
register_rule("expm1")(_increasing(np.expm1, lambda x, e: np.exp(x) * np.expm1(e)))
register_rule("log")(_increasing(np.log, _log_spread))
register_rule("tanh")(_increasing(np.tanh, lambda x, e: e * _sech2(nearest_zero(x, e))))
register_rule("erf")(_increasing(scipy.special.erf, _erf_spread))
register_rule("sin")(_increasing(np.sin, lambda _, e: np.minimum(e, 2)))
register_rule("cos")(_increasing(np.cos, lambda _, e: np.minimum(e, 2)))
register_rule("sqrt")(_increasing(np.sqrt, lambda x, e: e / (np.sqrt(x) + np.sqrt(x - e))))
register_rule("rsqrt")(_increasing(_rsqrt, _rsqrt_spread))


@register_rule("cbrt")
def _cbrt(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or x^(1/3), of which 1/3 is rounded; ROUNDING.md (R12)."""
    smallest, largest = nearest_zero(*x), abs(x.value) + x.error
    by_power = np.maximum(_root_times_log(smallest), _root_times_log(largest))
    within = (smallest < np.exp(-3)) & (largest > np.exp(-3))  # where it is largest below 1
    by_power = np.where(within, np.maximum(by_power, 3 / np.e), by_power)
    spread = np.where(x.error == 0, 0.0, _cbrt_spread(*x))
    return rounding.function(np.cbrt(x.value), spread + rounding.unit_roundoff / 3 * by_power)


def _root_times_log(x: Array) -> Array:
    return np.where(x == 0, 0.0, np.cbrt(x) * abs(np.log(x)))


@register_rule("exp2")
def _exp2(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or exp(x ln 2), of which the product is rounded; ROUNDING.md (R12)."""
    value = np.exp2(x.value)
    spread = np.where(x.error == 0, 0.0, value * np.expm1(x.error * np.log(2)))
    return rounding.function(value, spread, steps=1.4 * (abs(x.value) + x.error))


@register_rule("log1p")
def _log1p(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    spread = np.where(x.error == 0, 0.0, _log_spread(1 + x.value, x.error))
    result = rounding.function(np.log1p(x.value), spread)
    return inaccurate_log1p(x.value, x.error, result)


def inaccurate_log1p(x: Array, e: Array, result: Bounded) -> Bounded:
    """Widen what comes of log1p(x) where XLA's is off in float64; ROUNDING.md (R13)."""
    inside = (x + e >= LOG1P_FROM) & (x - e <= LOG1P_TO)
    inside &= np.isfinite(result.error)
    wider = 2 * LOG1P_ULPS * EPS * (abs(result.value) + result.error)
    return Bounded(result.value, np.where(inside, result.error + wider, result.error))


@register_rule("logistic")
def _logistic(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """1 / (1 + exp(-x)), by a library or in these three steps."""
    spread = x.error / 4 * _sech2(nearest_zero(*x) / 2)
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
