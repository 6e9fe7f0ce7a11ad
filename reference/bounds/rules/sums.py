"""Sums, and products of matrices, which are sums of products; ROUNDING.md (R6), (R7)."""

from typing import Any

import numpy as np
from jax import lax

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.rules.discrete import reduced


@register_rule("reduce_sum")
def _reduce_sum(rounding: Rounding, x: Bounded, *, axes: tuple[int, ...], **_: Any) -> Bounded:
    if x.value.dtype.kind != "f":
        return reduced(np.sum, np.any, x, axes)
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
    """A product of matrices, for each place of the batch axes; ROUNDING.md (R7)."""
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
    largest = abs(B) + e_B
    spread = np.zeros_like(value)
    if e_B.any():
        spread += abs(A) @ e_B
    if e_A.any():
        spread += e_A @ largest
    size = (abs(A) + e_A) @ largest
    return rounding.summed(value.reshape(shape), spread.reshape(shape), size.reshape(shape), terms)


@register_rule("conv_general_dilated")
def _conv_general_dilated(
    rounding: Rounding, x: Bounded, kernel: Bounded, *, dimension_numbers: Any, **params: Any
) -> Bounded:
    """A product of matrices, ROUNDING.md (R7), with a row for each place of the kernel."""

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
