"""Sums, products of matrices, and what a library makes of many numbers at once."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from reference.bounds.rounding import FUNCTION_ULPS
from reference.noise.evaluation import bound, disturbs, undisturbed
from reference.noise.samples import JaxArray, Sampled, Samples, computed


def _summed(samples: Samples, out: Sampled, root: JaxArray, terms: Any) -> list[Sampled]:
    """Disturb a sum: u sqrt(k) (|sum| + sqrt(sum of squares)); NOISE.md (3)."""
    return [samples.disturbed(out, _size_of_sum(out.array, root, terms, samples.dtype))]


@functools.partial(jax.jit, static_argnames="dtype")
def _size_of_sum(out: JaxArray, root: JaxArray, terms: Any, dtype: np.dtype[Any]) -> JaxArray:
    size: JaxArray = computed(dtype, jnp.sqrt(terms)) * (abs(out) + root)
    return size


def _root_of_squares(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> JaxArray:
    """The root of the same sum of the squares of the nominal terms."""
    if not samples.noisy:
        return jnp.zeros(())
    units = [_unit(samples, x.nominal) for x in operands]
    (summed,) = bound(eqn)(*map(_square, (x.nominal for x in operands), units))
    return _root(summed, units)


@jax.jit
def _square(x: JaxArray, unit: Any) -> JaxArray:
    return jnp.square(abs(x) / unit).astype(x.dtype)


@jax.jit
def _root(summed: JaxArray, units: list[Any]) -> JaxArray:
    return functools.reduce(operator.mul, units, jnp.sqrt(summed.real))


def _unit(samples: Samples, *arrays: JaxArray) -> Any:
    """Give the largest magnitude, to be squared as 1: float64 does not hold all squares."""
    return _largest(*arrays) if samples.dtype == np.float64 else 1.0


@jax.jit
def _largest(*arrays: JaxArray) -> JaxArray:
    largest = functools.reduce(jnp.maximum, (abs(array).max(initial=0) for array in arrays))
    return jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)


@disturbs("reduce_sum")
def _reduce_sum(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    (out,) = undisturbed(samples, eqn, x)
    terms = int(np.prod([x.shape[axis] for axis in eqn.params["axes"]]))
    if terms <= 1:
        return [out]
    return _summed(samples, out, _root_of_squares(samples, eqn, x), terms)


@disturbs("cumsum")
def _cumsum(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    (out,) = undisturbed(samples, eqn, x)
    return _summed(samples, out, _root_of_squares(samples, eqn, x), x.shape[eqn.params["axis"]])


@disturbs("reduce_window_sum")
def _reduce_window_sum(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    (out,) = undisturbed(samples, eqn, x)
    terms = int(np.prod(eqn.params["window_dimensions"]))
    return _summed(samples, out, _root_of_squares(samples, eqn, x), terms)


@disturbs("dot_general")
def _dot_general(samples: Samples, eqn: core.JaxprEqn, a: Sampled, b: Sampled) -> list[Sampled]:
    a, b = samples.coarsened(a, b)
    (out,) = samples.coarsened(*undisturbed(samples, eqn, a, b))
    (summed, _), _ = eqn.params["dimension_numbers"]
    terms = int(np.prod([a.shape[axis] for axis in summed]))
    if terms == 1:
        return [samples.relative(out)]
    return _summed(samples, out, _root_of_squares(samples, eqn, a, b), terms)


@disturbs("conv_general_dilated")
def _convolution(samples: Samples, eqn: core.JaxprEqn, x: Sampled, k: Sampled) -> list[Sampled]:
    x, k = samples.coarsened(x, k)
    (out,) = samples.coarsened(*undisturbed(samples, eqn, x, k))
    _, *summed = eqn.params["dimension_numbers"].rhs_spec
    terms = int(np.prod([k.shape[axis] for axis in summed]))
    return _summed(samples, out, _root_of_squares(samples, eqn, x, k), terms)


@disturbs("scatter-add", "scatter_add")
def _scatter_add(
    samples: Samples, eqn: core.JaxprEqn, x: Sampled, indices: Sampled, updates: Sampled
) -> list[Sampled]:
    """A sum of as many terms as fall upon the same place; one that falls upon 0 is exact."""
    (out,) = undisturbed(samples, eqn, x, indices, updates)

    def scattered(onto: JaxArray, added: JaxArray) -> JaxArray:
        return bound(eqn)(onto, indices.array, added)[0]

    onto, added = abs(x.nominal), abs(updates.nominal)
    dtype = x.array.dtype
    unit = _unit(samples, onto, added)
    squares = [jnp.square(array / unit).astype(dtype) for array in (onto, added)]
    root = unit * jnp.sqrt(scattered(*squares).real)
    terms = scattered((onto != 0).astype(dtype), (added != 0).astype(dtype)).real
    return _summed(samples, out, root, jnp.where(terms > 1, terms, 0))


@disturbs("select_and_scatter_add")
def _select_and_scatter_add(
    samples: Samples, eqn: core.JaxprEqn, source: Sampled, x: Sampled
) -> list[Sampled]:
    """To the largest of each window, which is decided, goes what comes back for the window."""
    numbers = jnp.arange(1, source.array[0].size + 1 if source.spread else source.array.size + 1)
    numbers = numbers.reshape(source.shape).astype(source.array.dtype)
    samples.decide(lambda x: bound(eqn)(numbers, x), x)  # counts what would go elsewhere
    chosen = Sampled(samples.decided(x))
    (out,) = undisturbed(samples, eqn, source, chosen)
    terms = int(np.prod(eqn.params["window_dimensions"]))
    unit = _unit(samples, source.nominal)
    (squares,) = bound(eqn)(jnp.square(source.nominal / unit), chosen.array)
    return _summed(samples, out, unit * jnp.sqrt(squares), terms)


@disturbs("select_and_gather_add")
def _select_and_gather_add(
    samples: Samples, eqn: core.JaxprEqn, tangents: Sampled, x: Sampled
) -> list[Sampled]:
    """The tangent of the largest of each window, which is decided."""
    numbers = jnp.arange(int(np.prod(x.shape))).reshape(x.shape).astype(x.array.dtype)
    samples.decide(lambda x: bound(eqn)(numbers, x), x)
    chosen = Sampled(samples.decided(x))
    return undisturbed(samples, eqn, tangents, chosen)


def _multiplied(terms: Callable[[core.JaxprEqn, Sampled], int]) -> Callable[..., list[Sampled]]:
    def rule(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
        (out,) = undisturbed(samples, eqn, x)
        return [samples.relative(out, np.sqrt(terms(eqn, x)))]

    return rule


disturbs("reduce_prod")(
    _multiplied(lambda eqn, x: int(np.prod([x.shape[axis] for axis in eqn.params["axes"]])))
)
disturbs("cumprod")(_multiplied(lambda eqn, x: x.shape[eqn.params["axis"]]))
disturbs("cumlogsumexp")(_multiplied(lambda eqn, x: FUNCTION_ULPS**2 * x.shape[eqn.params["axis"]]))


@disturbs(
    "cholesky", "lu", "qr", "geqrf", "householder_product", "eigh", "svd",
    "eig", "schur", "tridiagonal", "tridiagonal_solve",
)  # fmt: skip
def _linear_algebra(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """A backward stable algorithm: exact for matrices off by u sqrt(n) of their largest entry."""
    moved = []
    for x in operands:
        if not x.is_real or len(x.shape) < 2:
            moved.append(x)
            continue
        largest = abs(x.array).max(axis=(-2, -1), keepdims=True)
        moved.append(samples.disturbed(x, np.sqrt(max(x.shape[-2:])) * largest))
    outs = undisturbed(samples, eqn, *moved)
    return [samples.relative(out) if out.is_real else out for out in outs]


@disturbs("triangular_solve")
def _triangular_solve(
    samples: Samples, eqn: core.JaxprEqn, a: Sampled, b: Sampled
) -> list[Sampled]:
    """Substitution: exact for a matrix off by u sqrt(n) of each entry; ROUNDING.md (R20)."""
    moved = samples.relative(a, np.sqrt(a.shape[-1])) if a.is_real else a
    (out,) = undisturbed(samples, eqn, moved, b)
    return [samples.relative(out)]


@disturbs("fft")
def _fft(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    """log2 n steps, each of which rounds sums as large as any of the results."""
    (out,) = undisturbed(samples, eqn, x)
    lengths = eqn.params["fft_lengths"]
    axes = tuple(range(-len(lengths), 0))
    unit = _unit(samples, out.nominal)
    squares = jnp.square(abs(out.array) / unit)
    size = unit * jnp.sqrt(squares.mean(axis=axes, keepdims=True))
    steps = max(1.0, np.log2(np.prod(lengths)))
    return [samples.disturbed(out, steps * lax.max(size, abs(out.array)))]
