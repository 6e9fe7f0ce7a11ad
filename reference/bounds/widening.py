"""A function as it is in the user's own precision, to be evaluated in float64.

A function is traced in float64. Some cannot be: a loop whose carry is made in float32, whatever the
arguments are. And what a random key gives is another number in float64. Such a function is traced
for the arguments as they are, and its operations are then applied to wider numbers.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core, source_info_util

from reference.arrays import PRECISIONS
from reference.jaxprs import bind, closed, equations, functions_in, is_exp_neg_sq, is_jaxpr

FLOAT32, FLOAT64 = map(np.dtype, (np.float32, np.float64))
DTYPES = {"new_dtype", "dtype", "preferred_element_type", "out_dtype"}  # parameters
# Whose results depend on the bits of their operands, or which are not JAX's own.
NARROW = {"bitcast_convert_type", "nextafter", "pure_callback", "io_callback", "ffi_call"}
DRAWS = {"random_bits", "rng_bit_generator", "threefry2x32"}


def draws(jaxpr: Any) -> bool:
    """Say whether random numbers are drawn in it."""
    return any(eqn.primitive.name in DRAWS for eqn in equations(jaxpr))


def narrow_dtypes(args: Any) -> set[np.dtype[Any]]:
    """List the precisions below float64 that the arguments have."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(args) if hasattr(leaf, "dtype")}
    return {dtype for dtype in dtypes if dtype in PRECISIONS} - {FLOAT64}


def in_own_precision(
    function: Callable[..., Any], args: Sequence[Any], *, x64: bool
) -> Callable[..., Any] | None:
    """Trace a function for its arguments as they are, to be called with those in float64.

    Args:
        function: traceable by JAX.
        args: example arguments.
        x64: whether JAX computes in float64 where the user calls it.

    Returns:
        The function; None where its arguments are in float64 already.
    """
    narrow = narrow_dtypes(args) | (set() if x64 else {FLOAT32})
    if not narrow:
        return None
    with jax.enable_x64(x64):
        traced = jax.jit(function).trace(*args)
    structure: Any = jax.tree.structure(traced.out_info)
    wider = _Wider(narrow)

    def of_wider(*args: Any) -> Any:
        jaxpr = traced.jaxpr
        given = [
            leaf if aval.dtype in narrow else lax.convert_element_type(leaf, aval.dtype)
            for leaf, aval in zip(jax.tree.leaves(args), jaxpr.in_avals, strict=True)
        ]
        return jax.tree.unflatten(structure, wider.evaluate(jaxpr, *given))

    return of_wider


class _Wider:
    """Evaluates jaxprs with float64 in place of some coarser dtypes."""

    def __init__(self, narrow: set[np.dtype[Any]]) -> None:
        self.narrow = narrow

    def evaluate(self, whole: Any, *args: Any) -> list[Any]:
        """Evaluate a jaxpr with its constants."""
        jaxpr = whole.jaxpr
        known: dict[Any, Any] = dict(
            zip(jaxpr.constvars, map(self._array, whole.consts), strict=True)
        )
        known.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Any:
            return self._constant(atom) if isinstance(atom, core.Literal) else known[atom]

        for eqn in jaxpr.eqns:
            operands = list(map(read, eqn.invars))
            with source_info_util.user_context(eqn.source_info.traceback):
                outs = self._applied(eqn, operands)
            known.update(zip(eqn.outvars, outs, strict=True))
        return list(map(read, jaxpr.outvars))

    def _applied(self, eqn: core.JaxprEqn, operands: Sequence[Any]) -> Sequence[Any]:
        if any(map(is_exp_neg_sq, functions_in(eqn))):
            (x,) = operands
            return [jnp.exp(-x * x)]
        if eqn.primitive.name in NARROW:
            avals: list[Any] = [atom.aval for atom in eqn.invars]
            pairs = zip(operands, avals, strict=True)
            outs = bind(eqn, [lax.convert_element_type(x, aval.dtype) for x, aval in pairs])
            return list(map(self._array, outs))
        params = jax.tree.map(
            lambda x: self._rewritten(x) if is_jaxpr(x) else x, dict(eqn.params), is_leaf=is_jaxpr
        )
        for name in DTYPES & params.keys():
            if params[name] is not None:
                params[name] = self._dtype(jnp.dtype(params[name]))
        return bind(eqn, operands, params)

    def _rewritten(self, inner: Any) -> Any:
        """Trace a function within an operation again."""
        whole = closed(inner)
        shapes = [jax.ShapeDtypeStruct(x.shape, self._dtype(x.dtype)) for x in whole.in_avals]
        again = jax.make_jaxpr(functools.partial(self.evaluate, whole))(*shapes)
        return again if inner is whole else again.jaxpr

    def _dtype(self, dtype: Any) -> Any:
        return FLOAT64 if dtype in self.narrow else dtype

    def _array(self, x: Any) -> Any:
        return x.astype(FLOAT64) if x.dtype in self.narrow else x

    def _constant(self, atom: core.Literal) -> Any:
        """Give a number as it was written, which is 0.1 and not the float32 that is nearest."""
        aval: Any = atom.aval
        value = np.asarray(atom.val, aval.dtype)
        return np.float64(str(value[()])) if value.dtype in self.narrow else value
