"""A JAX function as the list of its primitive operations, evaluated with error bounds.

A function is traced to its jaxpr and evaluated with NumPy in float64, one operation after the
other; beside each value runs a bound on how far it may be off in an implementation that rounds to
another precision. The rule for each primitive is in `reference.bounds.rules`.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np
import numpy.typing as npt
from jax.extend import core

from reference.arrays import PRECISIONS
from reference.bounds.programs import compiled_fast, operations, program
from reference.bounds.registry import RULES
from reference.bounds.rounding import Bounded, Rounding, is_key
from reference.bounds.widening import draws, in_own_precision, narrow_dtypes
from reference.jaxprs import bind, functions_in


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
        x64 = bool(jax.config.read("jax_enable_x64"))
        with precise_jax():
            traced = _traced(function, args, x64=x64)
        self.jaxpr = traced.jaxpr
        self.structure = jax.tree.structure(traced.out_info)
        self._lowered = traced

    @functools.cached_property
    def operations(self) -> Hashable:
        """What is equal for functions of the same operations; None if they are not compared."""
        return operations(self.jaxpr)

    @functools.cached_property
    def _compiled(self) -> Any:
        def compiled() -> Any:
            with precise_jax():
                return compiled_fast(self._lowered.lower(), faithful=True)

        given: Any = jax.tree.structure(self._lowered.args_info)
        return program(self.operations, given, self.structure, compiled=compiled)

    def by_xla(self, *args: Any) -> Any:
        """Evaluate at these arguments in float64 as JAX does, compiled by XLA."""
        with precise_jax():
            return jax.tree.map(np.asarray, self._compiled(*in_float64(args)))

    def bounded(self, *args: Any, rounding: Rounding) -> Any:
        """Evaluate with error bounds; returns the function's tree, `Bounded` for each leaf."""
        inputs = [rounding.given(leaf) for leaf in jax.tree.leaves(args)]
        consts = list(map(rounding.given, self.jaxpr.consts))
        with np.errstate(all="ignore"), precise_jax():
            outputs = evaluate(self.jaxpr.jaxpr, consts, inputs, rounding)
        return jax.tree.unflatten(self.structure, outputs)


def _traced(function: Callable[..., Any], args: Sequence[Any], *, x64: bool) -> Any:
    """Trace in float64, or where that cannot be, or draws other numbers, in the user's precision.

    Args:
        function: of the arguments.
        args: as the user has them.
        x64: whether JAX has float64 where the user calls it.
    """
    wide = in_float64(tuple(args))
    try:
        traced = jax.jit(function).trace(*wide)
    except TypeError:
        own = in_own_precision(function, args, x64=x64)
        if own is None:
            raise
        return jax.jit(own).trace(*wide)
    if narrow_dtypes(args) and draws(traced.jaxpr):
        with contextlib.suppress(TypeError):  # no such dtypes meet: it is meant for float64
            own = in_own_precision(function, args, x64=x64)
            return jax.jit(own).trace(*wide) if own else traced
    return traced


@contextlib.contextmanager
def precise_jax() -> Iterator[None]:
    """Have JAX compute in float64, with matrix products in full precision on every device."""
    with jax.enable_x64(), jax.default_matmul_precision("highest"):
        yield


def in_float64(tree: Any) -> Any:
    """Convert the real arrays of a tree to float64, and leave the others."""

    def convert(leaf: Any) -> Any:
        if is_key(leaf):
            return leaf
        array = np.asarray(leaf)
        return array.astype(np.float64) if array.dtype in PRECISIONS else array

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
        if (name not in RULES or _has_key(eqn)) and _is_discrete(eqn):
            known.update(zip(eqn.outvars, _by_jax(eqn, list(map(read, eqn.invars))), strict=True))
            continue
        if name not in RULES:
            msg = (
                f"no error bound is known for the JAX primitive '{name}'; give it one with "
                f"@reference.register_rule('{name}'), see help(reference.register_rule)"
            )
            raise NotImplementedError(msg)
        if any(map(_is_complex, [*eqn.invars, *eqn.outvars])):
            raise NotImplementedError(f"no error bound is known for complex numbers: '{name}'")
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


def _is_complex(variable: Any) -> bool:
    return getattr(getattr(variable.aval, "dtype", None), "kind", "") == "c"


def _has_key(eqn: core.JaxprEqn) -> bool:
    variables: list[Any] = [*eqn.invars, *eqn.outvars]
    return any(jax.numpy.issubdtype(x.aval.dtype, jax.dtypes.prng_key) for x in variables)


def _is_discrete(eqn: core.JaxprEqn) -> bool:
    """Say whether it is an operation on integers, booleans or random keys that returns the same."""
    variables: list[Any] = [*eqn.invars, *eqn.outvars]
    rounds = any(jax.numpy.issubdtype(x.aval.dtype, np.inexact) for x in variables)
    return not rounds and not eqn.effects and not functions_in(eqn)


def _by_jax(eqn: core.JaxprEqn, operands: Sequence[Bounded]) -> list[Bounded]:
    """Have JAX compute what is not rounded; all of it is unsure if any of the operands is."""
    unsure = any(operand.error.any() for operand in operands)
    outs = bind(eqn, [operand.value for operand in operands])
    return [
        Bounded(out if is_key(out) else np.asarray(out), np.full(out.shape, unsure)) for out in outs
    ]


def _coarsest(variables: Sequence[Any]) -> npt.DTypeLike:
    """Find the precision in which JAX computes these."""
    dtypes = [getattr(variable.aval, "dtype", np.float64) for variable in variables]
    real = [dtype for dtype in dtypes if jax.numpy.issubdtype(dtype, jax.numpy.floating)]
    return max(real, key=lambda dtype: float(ml_dtypes.finfo(dtype).eps), default=np.float64)
