"""The bounds of ROUNDING.md written out once more, for one number at a time.

The units are mostly so large that each term of a bound shows, and powers of 2, as the operands and
their errors are: sums and products of them are exact, and so equal. Quotients, roots and elementary
functions may be computed in another order, and agree up to some ulps of float64.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
from jax import lax

from reference.arrays import Array
from reference.bounds import rules  # noqa: F401, registers them
from reference.bounds.registry import RULES
from reference.bounds.rounding import Bounded, Kinks, Rounding, exact
from reference.bounds.tracing import Traced, evaluate, precise_jax

Scalar = Callable[[float], float]
U, ETA, LARGEST = 2.0**-6, 2.0**-9, 2.0**16
EPS = 2.0**-52
SOME_ULPS = 32 * EPS  # some thirty operations, each within an ulp, whose bounds are all positive
INF, NAN = math.inf, math.nan
UNSURE = np.True_  # the error of an integer or a boolean that may be another


def coarse(kinks: Kinks = "decided", *, largest: float = LARGEST) -> Rounding:
    """Make one with large units, in which each term of a bound shows."""
    rounding = Rounding(np.float32, kinks=kinks)
    rounding.unit_roundoff, rounding.tiny, rounding.largest = U, ETA, largest
    return rounding


def bounded(value: Any, error: Any = 0.0) -> Bounded:
    """Make an operand, with one error for all its elements or one each."""
    value = np.asarray(value)
    kind = np.float64 if value.dtype.kind == "f" else bool
    return Bounded(value, np.broadcast_to(error, value.shape).astype(kind))


def call(name: str, rounding: Rounding, *operands: Bounded, **params: Any) -> Any:
    """Apply a rule as `evaluate` does, which may not change the operands: others use them too."""
    for part in itertools.chain(*operands):
        np.asarray(part).flags.writeable = False
    with np.errstate(all="ignore"), precise_jax():
        return RULES[name](rounding, *operands, **params)


def applied(
    function: Callable[..., Any], rounding: Rounding, *operands: Bounded, **other: Any
) -> Any:
    """Apply the rule of a function's last primitive, with the parameters that JAX gives it."""
    *_, eqn = Traced(function, *(operand.value for operand in operands)).jaxpr.eqns
    return call(eqn.primitive.name, rounding, *operands, **(eqn.params | other))


def spread_of(name: str, *operands: Bounded, **params: Any) -> Array:
    """What the operands' errors alone do: the bound of an arithmetic that does not round."""
    rounding = coarse(largest=INF)
    rounding.unit_roundoff = rounding.tiny = 0.0
    return call(name, rounding, *operands, **params).error


def assert_bounds(result: Bounded, value: Any, error: Any, *, ulps: float = 0.0) -> None:
    """Hold a result against the numbers it should have."""
    value, error = np.asarray(value), np.asarray(error)
    assert result.value.shape == result.error.shape == value.shape
    assert result.error.dtype == (np.float64 if value.dtype.kind == "f" else bool)
    assert result.value.dtype.kind == value.dtype.kind
    np.testing.assert_allclose(result.value, value, rtol=ulps, atol=ulps)
    np.testing.assert_allclose(result.error, error, rtol=ulps, atol=0)


def r1(k: int) -> float:
    """Bound k roundings in a row."""
    return k * U / (1 - k * U) if k * U < 1 else INF


def r3(value: float, spread: float, *, roundings: float = 2, largest: float = LARGEST) -> float:
    """Add an operation's rounding to its spread; without a number nothing is known."""
    size = abs(value) + spread
    error = spread + roundings * U * size + (ETA if size > 0 else 0)
    return error if abs(value) + error <= largest else INF


def r6(terms: Sequence[tuple[float, float, float]], k: int) -> tuple[float, float]:
    """Sum terms, each with its spread and its size, as one of k."""
    value, spread, size = (math.fsum(column) for column in zip(*terms, strict=True))
    error = spread + r1(k + 1) * size + (k * ETA if size > 0 else 0)
    return value, error if size + error <= LARGEST else INF


def r8(x: float, e: float, y: float, d: float) -> float:
    """Bound the spread of a product."""
    return abs(x) * d + e * (abs(y) + d)


def term(x: float, e: float, y: float = 1.0, d: float = 0.0) -> tuple[float, float, float]:
    """Give a product's value, spread and size."""
    return x * y, r8(x, e, y, d), (abs(x) + e) * (abs(y) + d)


def summed(x: Bounded, k: int) -> tuple[float, float]:
    """Sum all of an array's elements, as some of k terms."""
    return r6([term(*pair) for pair in zip(x.value.ravel(), x.error.ravel(), strict=True)], k)


VALUES = (-3.0, -1.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 3.0)
ERRORS = (0.0, 0.125, 0.5, 3.0)
POINTS = list(itertools.product(VALUES, ERRORS))


def columns(points: Any) -> list[Bounded]:
    """Make operands of points, each of which has a value and an error for each operand."""
    table = np.array(points).T.reshape(-1, 2, len(points))
    table.flags.writeable = False
    return [Bounded(*pair) for pair in table]


X, E = columns(POINTS)[0]
PAIRS = [(*a, *b) for a in POINTS[::3] for b in POINTS]


class Function(NamedTuple):
    """A function of one number, what an error does to it, and how many roundings it has."""

    value: Scalar
    spread: Callable[[float, float], float]
    roundings: float | Callable[[float, float], float] = 9

    def rounded(self, x: float, e: float) -> float:
        """How far it may be off in all."""
        k = self.roundings(x, e) if callable(self.roundings) else self.roundings
        return r3(known(self.value, x), known(self.spread, x, e), roundings=k)


def nearest(x: float, e: float) -> float:
    """How near to 0 the interval comes."""
    return max(abs(x) - e, 0.0)


def square_error(x: float, e: float) -> float:
    """What an implementation's x x may be off."""
    return r3(x * x, r8(x, e, x, e))


def known(function: Callable[..., float], *args: float) -> float:
    """Give a function's value, and NaN outside of its domain."""
    try:
        return function(*args)
    except (ValueError, ZeroDivisionError):
        return NAN


TABLE = bounded(
    np.array([[[1.0, -2.0, 0.5], [0.25, 0.0, -1.5]], [[3.0, 1.0, -0.5], [2.0, -0.25, 0.0]]]),
    np.array([[[0, 0.5, 0.25], [0.125, 0, 0]], [[0.5, 0, 0], [0.25, 0.125, 0]]]),
)
SINGLE, DOUBLE, BRAIN = np.float32, np.float64, ml_dtypes.bfloat16


def run(function: Callable[..., Any], rounding: Rounding, *operands: Bounded) -> list[Bounded]:
    """Evaluate a function at operands with errors."""
    traced = Traced(function, *(operand.value for operand in operands))
    with np.errstate(all="ignore"), precise_jax():
        consts = list(map(exact, traced.jaxpr.consts))
        return evaluate(traced.jaxpr.jaxpr, consts, operands, rounding)


def single(kinks: Kinks = "decided") -> Rounding:
    """Make one with the units of float32."""
    return Rounding(np.float32, kinks=kinks)


class Operation(NamedTuple):
    """A function of two numbers, the spread of its result, and how many roundings it has."""

    value: Callable[[float, float], float]
    spread: Callable[[float, float, float, float], float]
    roundings: int = 2
    ulps: float = 0.0


def assert_function(name: str, function: Function, *, ulps: float = SOME_ULPS) -> None:
    """Hold the rule of a function of one number against its formula at POINTS.

    At the edge of its domain nothing is known of it but for an operand that is exact.
    """
    values = [known(function.value, x) for x, _ in POINTS]
    errors = [function.rounded(*point) for point in POINTS]
    result = call(name, coarse(), Bounded(X, E))
    here = ~np.isnan(values)
    found = Bounded(result.value[here], result.error[here])
    assert_bounds(found, np.array(values)[here], np.array(errors)[here], ulps=ulps)
    assert np.isinf(result.error[~here]).all()


WIDE = np.finfo(np.longdouble).eps < 2.0**-60  # or else only float32 can be held against it
PRECISIONS = [np.float32, np.float64] if WIDE else [np.float32]


@functools.cache
def by_jax(name: str) -> Callable[..., Any]:
    """Compile a function of numbers as JAX does for everybody."""
    return jax.jit(getattr(lax, name))


def parts_of_bound(
    name: str, function: Callable[..., Array], *points: Array, dtypes: Sequence[Any] = PRECISIONS
) -> dict[tuple[str, str], float]:
    """Say how much of the bound the worst error is, of NumPy's function and of JAX's.

    The arguments are exact, and the truth is the function in an extended precision.
    """
    parts = {}
    for dtype in dtypes:
        given = [x.astype(dtype) for x in points]
        truth = function(*(x.astype(np.longdouble) for x in given))
        error = call(name, Rounding(dtype), *(exact(x.astype(np.float64)) for x in given)).error
        assert np.isfinite(error).all()
        for whose, got in (("NumPy", function(*given)), ("JAX", np.asarray(by_jax(name)(*given)))):
            parts[whose, str(np.dtype(dtype))] = float((abs(got - truth) / error).max())
    return parts


def assert_sound(
    name: str, function: Callable[..., Array], *points: Array, dtypes: Sequence[Any] = PRECISIONS
) -> None:
    """Hold the bound of exact arguments above the worst error of NumPy and of JAX."""
    parts = parts_of_bound(name, function, *points, dtypes=dtypes)
    assert max(parts.values()) <= 1, parts


def assert_sharp(
    name: str, function: Callable[..., Array], *points: Array, looser: float = 8
) -> None:
    """Hold the bound below so many times the worst error that is found in float32."""
    parts = parts_of_bound(name, function, *points, dtypes=[np.float32])
    assert max(parts.values()) > 1 / looser, parts


def magnitudes(rng: np.random.Generator, lowest: float, highest: float, size: int = 500) -> Array:
    """Draw numbers of either sign whose logarithms to the base 10 are uniform between these."""
    return np.asarray(10 ** rng.uniform(lowest, highest, size) * rng.choice([-1, 1], size))


def assert_operation(name: str, operation: Operation) -> None:
    """Hold the rule of a function of two numbers against its formula at PAIRS."""
    values = np.array([known(operation.value, a, b) for a, _, b, _ in PAIRS])
    errors = np.array(
        [
            r3(value, operation.spread(*pair), roundings=operation.roundings)
            if not math.isnan(value)
            else INF
            for pair, value in zip(PAIRS, values, strict=True)
        ]
    )
    result = call(name, coarse(), *columns(PAIRS))
    here = np.isfinite(values)
    found = Bounded(result.value[here], result.error[here])
    assert_bounds(found, values[here], errors[here], ulps=operation.ulps)
    assert np.isinf(result.error[~here]).all()
