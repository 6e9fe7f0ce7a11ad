"""How far a correct implementation may stray: error bounds beside the values of a JAX function.

A function is traced to JAX's own list of primitive operations, its jaxpr, and evaluated with NumPy
in float64; beside each value runs a bound on how far the same value may be off in an implementation
that rounds to `dtype`. ROUNDING.md derives the rules, which the code cites as eq. (R1) and so on.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import jax
import ml_dtypes
import numpy as np
import numpy.typing as npt
from jax.extend import core

Array: TypeAlias = npt.NDArray[Any]
Kinks: TypeAlias = Literal["decided", "open"]

ROUNDINGS = 2  # of one elementary operation: one of its own, one of an equivalent formula; (R3)
FUNCTION_ULPS = 4  # the error of exp, log, tanh and the like in any library; (R4)

# A function is compiled to be run a few times: compiling takes half as long without optimisation.
COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}


class Bounded(NamedTuple):
    """An array and how far an implementation's array may be off.

    `error` is a float64 bound where `value` is real; where `value` is boolean or integer it is
    boolean, and says whether the implementation's may differ.
    """

    value: Array
    error: Array


class Extreme(Bounded):
    """The largest or smallest of some numbers: which of them it is remains known.

    Comparing it with one of them is comparing that one with the others, eq. (R11).

    Attributes:
        choices: the numbers, as they were given, and where each may or may not be the extreme.
        home: for each place of `choices` the number of the extreme that it competes for.
        cell: the number of each extreme; it moves with the values.
    """

    choices: tuple[tuple[Bounded, Array], ...]
    home: Array
    cell: Array

    @classmethod
    def of(
        cls, choices: tuple[tuple[Bounded, Array], ...], home: Array, *parts: Array
    ) -> "Extreme":
        """Make one from what is known of the choices, and the value, error and cell."""
        value, error, cell = parts
        extreme = cls(value, error)
        extreme.choices, extreme.home, extreme.cell = choices, home, cell
        return extreme

    def open_against(self, other: Bounded) -> Array | None:
        """Say where `other` may or may not be the extreme, if it is one of the choices."""
        for choice, unsure in self.choices:
            if choice is other and self._at_home(unsure.shape):
                return unsure
        return None

    def _at_home(self, shape: tuple[int, ...]) -> bool:
        """Say whether each place of this shape meets the extreme that it competes for."""
        try:
            return np.array_equal(np.broadcast_to(self.cell, shape), self.home)
        except ValueError:  # the extreme has been moved into a shape that does not fit
            return False


class Rounding:
    """The arithmetic of an implementation in `dtype`, compared with ours in float64.

    Attributes:
        kinks: what a comparison gives whose sides lie within their joint error of each other:
            with "decided", what the values say; with "open", either.
        open_kinks: how many elements of comparisons were so close, counted in both cases.
    """

    def __init__(self, dtype: npt.DTypeLike, *, kinks: Kinks = "decided") -> None:
        """Take the unit roundoff, smallest normal and largest number from the dtype."""
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"dtype must be float32 or float64, got {self.dtype}")
        self.computing_in(np.float64)
        self.kinks = kinks
        self.open_kinks = 0
        self._literals: dict[tuple[bytes, np.dtype[Any]], Bounded] = {}

    def computing_in(self, dtype: npt.DTypeLike) -> None:
        """Take the units of the operations to come, which JAX computes in this dtype; eq. (R2).

        The implementation computes them in its own, or in JAX's if that is coarser; our evaluation,
        which both are compared with, is in float64.
        """
        by_jax = ml_dtypes.finfo(dtype)
        theirs = max((by_jax, ml_dtypes.finfo(self.dtype)), key=lambda info: float(info.eps))
        ours = ml_dtypes.finfo(np.float64)  # once beside each of the two
        self.unit_roundoff = sum(float(x.eps) / 2 for x in (theirs, ours, by_jax, ours))
        self.tiny = float(theirs.tiny) + float(by_jax.tiny)
        self.largest = min(float(by_jax.max), float(np.finfo(str(self.dtype)).max))

    def given(self, value: npt.ArrayLike) -> Bounded:
        """Take an input: exact if `dtype` holds it as a normal number, else rounded; eq. (R5)."""
        array = np.asarray(value)
        if array.dtype.kind in "biu":
            return exact(array)
        array = array.astype(np.float64)
        with np.errstate(over="ignore"):
            held = (array.astype(self.dtype) == array) | np.isnan(array)
        held &= (array == 0) | ~(abs(array) < self.tiny)
        with np.errstate(invalid="ignore"):
            return Bounded(array, np.where(held, 0.0, self.unit_roundoff * abs(array) + self.tiny))

    def literal(self, value: Any, dtype: npt.DTypeLike) -> Bounded:
        """Take a constant of a jaxpr; the same one each time, so that it can be recognised."""
        array = np.asarray(value, dtype)
        key = array.tobytes(), array.dtype  # 0 and -0 are two constants
        if key not in self._literals:
            self._literals[key] = self.given(array)
        return self._literals[key]

    def rounded(self, value: Array, spread: Array, *, roundings: int = ROUNDINGS) -> Bounded:
        """Add the rounding of an operation to what its operands' errors make of it; eq. (R3)."""
        size = abs(value) + spread
        error = spread + roundings * self.unit_roundoff * size + self.tiny * (size > 0)
        return self._overflowing(value, error, abs(value))

    def function(self, value: Array, spread: Array) -> Bounded:
        """Add the error of an elementary function; eq. (R4)."""
        return self.rounded(value, spread, roundings=2 * FUNCTION_ULPS + 1)

    def summed(self, value: Array, spread: Array, size: Array, terms: int) -> Bounded:
        """Add the error of a sum of `terms` whose absolute values sum to `size`; eq. (R6)."""
        error = spread + self.gamma(terms + 1) * size + terms * self.tiny * (size > 0)
        return self._overflowing(value, error, size)  # a partial sum may be as large as that

    def gamma(self, k: int) -> float:
        """gamma_k = k u / (1 - k u), the error of k roundings in a row; eq. (R1)."""
        ku = k * self.unit_roundoff
        return ku / (1 - ku) if ku < 1 else math.inf

    def product(self, a: Bounded, b: Bounded) -> Bounded:
        """Multiply; |xy - ab| <= |a| e_b + e_a |b| + e_a e_b; eq. (R8)."""
        spread = abs(a.value) * b.error + a.error * (abs(b.value) + b.error)
        return self.rounded(a.value * b.value, spread)

    def compared(self, value: Array, a: Bounded, b: Bounded) -> Bounded:
        """Mark the comparisons of a and b that either outcome is right for; eq. (R9)."""
        return self.opened(value, may_tie(a, b))

    def opened(self, value: Array, unsure: Array) -> Bounded:
        """Take a choice that is open where it is unsure, and count those; eq. (R9)."""
        self.open_kinks += int(unsure.sum())
        return Bounded(value, unsure & (self.kinks == "open"))

    def _overflowing(self, value: Array, error: Array, size: Array) -> Bounded:
        """Where the implementation may overflow, or a bound is NaN, anything may come out."""
        may_overflow = ~(size + error <= self.largest)
        return Bounded(value, np.where(may_overflow, np.inf, error))


def exact(value: npt.ArrayLike) -> Bounded:
    """Take a value that every implementation has alike."""
    array = np.asarray(value)
    return Bounded(array, np.zeros(array.shape, np.float64 if array.dtype.kind == "f" else bool))


def may_tie(a: Bounded, b: Bounded) -> Array:
    """Say where a and b lie within their joint error, so that either may be the larger; (R9)."""
    if a is b:
        return ~np.isfinite(a.error)  # it may be NaN, which is unequal to itself
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Extreme) and (unsure := one.open_against(other)) is not None:
            return unsure
    joint = reach(a) + reach(b)
    gap = abs(np.subtract(a.value, b.value, dtype=np.float64))
    return np.where(np.isnan(gap), ~np.isfinite(joint), (gap <= joint) & (joint > 0))


def reach(x: Bounded) -> Array:
    """Give the error as a number, infinite where a boolean or an integer is unsure."""
    return np.where(x.error, np.inf, 0.0) if x.error.dtype == bool else x.error


Rule = TypeVar("Rule", bound=Callable[..., Bounded | list[Bounded]])
RULES: dict[str, Callable[..., Bounded | list[Bounded]]] = {}


def register_rule(*primitives: str) -> Callable[[Rule], Rule]:
    """Register the error bound of a JAX primitive.

    The rule is called as rule(rounding, *operands, **params), where the operands are `Bounded`
    and the params those of the primitive, and returns the `Bounded` result, or a list of them.

    Args:
        primitives: the names, as a jaxpr prints them.

    >>> @register_rule("floor")
    ... def floor(rounding, x, **_):
    ...     lowest, highest = np.floor(x.value - x.error), np.floor(x.value + x.error)
    ...     which = rounding.opened(np.zeros(lowest.shape, int), lowest != highest)
    ...     if not which.error.any():  # every kink is decided, as the values say
    ...         return Bounded(np.floor(x.value), np.zeros(lowest.shape))
    ...     return Bounded((lowest + highest) / 2, (highest - lowest) / 2)
    """

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, rule))
        return rule

    return register


class Traced:
    """A function of arrays, traced by JAX in float64 for the shapes of its example arguments.

    >>> square = Traced(lambda x: x * x, 3.0)
    >>> float(square.by_xla(3.0))
    9.0
    >>> value, error = square.bounded(3.0, rounding=Rounding(np.float32))
    >>> float(value), float(error) < 1e-5
    (9.0, True)
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Trace the function at the shapes of these arguments."""
        with precise_jax():
            traced = jax.jit(function).trace(*in_float64(args))
        self.jaxpr = traced.jaxpr
        self.structure = jax.tree.structure(traced.out_info)
        self._lowered = traced

    @functools.cached_property
    def _compiled(self) -> Any:
        with precise_jax():
            return self._lowered.lower().compile(COMPILER_OPTIONS)

    def by_xla(self, *args: Any) -> Any:
        """Evaluate at these arguments in float64 as JAX does, compiled by XLA."""
        with precise_jax():
            return jax.tree.map(np.asarray, self._compiled(*in_float64(args)))

    def bounded(self, *args: Any, rounding: Rounding) -> Any:
        """Evaluate with error bounds; returns the function's tree, `Bounded` for each leaf."""
        inputs = [rounding.given(leaf) for leaf in jax.tree.leaves(args)]
        consts = [rounding.given(np.asarray(const)) for const in self.jaxpr.consts]
        with np.errstate(all="ignore"), precise_jax():
            outputs = evaluate(self.jaxpr.jaxpr, consts, inputs, rounding)
        return jax.tree.unflatten(self.structure, outputs)


@contextlib.contextmanager
def precise_jax() -> Iterator[None]:
    """Have JAX compute in float64, with matrix products in full precision on every device."""
    with jax.enable_x64(), jax.default_matmul_precision("highest"):
        yield


def in_float64(tree: Any) -> Any:
    """Convert the real arrays of a tree to float64, and leave the others."""

    def convert(leaf: Any) -> Array:
        array = np.asarray(leaf)
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    return jax.tree.map(convert, tree)


def evaluate(
    jaxpr: core.Jaxpr, consts: Sequence[Bounded], inputs: Sequence[Bounded], rounding: Rounding
) -> list[Bounded]:
    """Evaluate a jaxpr, operation by operation, by the rules of its primitives."""
    known: dict[Any, Bounded] = {}

    def read(atom: Any) -> Bounded:
        if isinstance(atom, core.Literal):
            aval: Any = atom.aval
            return rounding.literal(atom.val, aval.dtype)
        return known[atom]

    known.update(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))
    for eqn in _needed(jaxpr):
        name = eqn.primitive.name
        if name not in RULES:
            msg = (
                f"no error bound is known for the JAX primitive '{name}'; give it one with "
                f"@reference.register_rule('{name}'), see help(reference.register_rule)"
            )
            raise NotImplementedError(msg)
        operands = [read(atom) for atom in eqn.invars]
        rounding.computing_in(_coarsest(eqn.outvars))
        results = RULES[name](rounding, *operands, **eqn.params)
        if isinstance(results, Bounded):
            results = [results]
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


@functools.lru_cache(maxsize=1024)
def _needed(jaxpr: core.Jaxpr) -> tuple[core.JaxprEqn, ...]:
    """List the operations that the results depend on, in order."""
    needed, wanted = [], {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    for eqn in reversed(jaxpr.eqns):
        if not wanted.isdisjoint(eqn.outvars):
            wanted |= {atom for atom in eqn.invars if not isinstance(atom, core.Literal)}
            needed.append(eqn)
    return tuple(reversed(needed))


def _coarsest(variables: Sequence[Any]) -> npt.DTypeLike:
    """Find the precision in which JAX computes these."""
    dtypes = [getattr(variable.aval, "dtype", np.float64) for variable in variables]
    real = [dtype for dtype in dtypes if jax.numpy.issubdtype(dtype, jax.numpy.floating)]
    return max(real, key=lambda dtype: float(ml_dtypes.finfo(dtype).eps), default=np.float64)
