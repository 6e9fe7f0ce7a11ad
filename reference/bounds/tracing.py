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

from reference.arrays import PRECISIONS, Array
from reference.bounds.programs import compiled_fast, operations, program
from reference.bounds.registry import RULES
from reference.bounds.rounding import Bounded, Rounding


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


def _coarsest(variables: Sequence[Any]) -> npt.DTypeLike:
    """Find the precision in which JAX computes these."""
    dtypes = [getattr(variable.aval, "dtype", np.float64) for variable in variables]
    real = [dtype for dtype in dtypes if jax.numpy.issubdtype(dtype, jax.numpy.floating)]
    return max(real, key=lambda dtype: float(ml_dtypes.finfo(dtype).eps), default=np.float64)
