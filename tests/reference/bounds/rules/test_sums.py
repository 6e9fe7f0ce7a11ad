"""Sums and products of matrices; (R6), (R7)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from jax import lax

from reference.bounds.rounding import Bounded, Rounding
from tests.support.bound_formulas import (
    INF,
    SOME_ULPS,
    TABLE,
    X,
    applied,
    assert_bounds,
    bounded,
    call,
    coarse,
    r6,
    summed,
    term,
)

WHOLE = bounded(np.arange(12).reshape(2, 2, 3), np.arange(12).reshape(2, 2, 3) == 4)


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 2), (0, 1, 2), ()])
def test_a_sum_has_as_many_terms_as_elements_fall_together(axes: tuple[int, ...]) -> None:
    kept = [axis for axis in range(3) if axis not in axes]
    shape = [TABLE.value.shape[axis] for axis in kept]
    want = np.zeros((2, *shape))
    for place in np.ndindex(*shape):
        index: list[Any] = [slice(None)] * 3
        for axis, at in zip(kept, place, strict=True):
            index[axis] = slice(at, at + 1)
        part = Bounded(TABLE.value[tuple(index)], TABLE.error[tuple(index)])
        want[:, *place] = summed(part, part.value.size)
    assert_bounds(call("reduce_sum", coarse(), TABLE, axes=axes), *want, ulps=SOME_ULPS)
    whole = call("reduce_sum", coarse(), WHOLE, axes=axes)
    assert_bounds(whole, WHOLE.value.sum(axis=axes), WHOLE.error.any(axis=axes))


def test_an_empty_sum_is_an_exact_0() -> None:
    assert_bounds(
        call("reduce_sum", coarse(), bounded(np.ones((0, 2))), axes=(0,)), [0.0, 0.0], 0 * X[:2]
    )
    assert_bounds(
        call("reduce_sum", coarse(), bounded(np.ones((0, 2))), axes=(1,)), [], np.zeros(0)
    )
    zeros = bounded(np.zeros((2, 3)))
    assert_bounds(call("reduce_sum", coarse(), zeros, axes=(1,)), [0.0, 0.0], [0.0, 0.0])


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_running_sum_is_a_sum_at_each_place(axis: int, reverse: bool) -> None:
    k = TABLE.value.shape[axis]
    want = np.zeros((2, *TABLE.value.shape))
    whole = np.zeros_like(WHOLE.value), np.zeros_like(WHOLE.error)
    for place in np.ndindex(*TABLE.value.shape):
        upto = slice(place[axis], None) if reverse else slice(0, place[axis] + 1)
        index: tuple[Any, ...] = (*place[:axis], upto, *place[axis + 1 :])
        want[:, *place] = summed(Bounded(TABLE.value[index], TABLE.error[index]), k)
        whole[0][place], whole[1][place] = WHOLE.value[index].sum(), WHOLE.error[index].any()
    params = {"axis": axis, "reverse": reverse}
    assert_bounds(call("cumsum", coarse(), TABLE, **params), *want, ulps=SOME_ULPS)
    assert_bounds(call("cumsum", coarse(), WHOLE, **params), *whole)


DOTS = {  # the axes summed over and the batch axes of each operand
    "nij,nkj->nik": (((2,), (2,)), ((0,), (0,))),
    "nij,jm->nim": (((2,), (0,)), ((), ())),
    "nij,ijm->nm": (((1, 2), (0, 1)), ((), ())),
    "nij,jin->n": (((1, 2), (1, 0)), ((0,), (2,))),
    "nij,ni->nj": (((1,), (1,)), ((0,), (0,))),
    "nij,k->nijk": (((), ()), ((), ())),
    "nij,jni->jn": (((1,), (2,)), ((2, 0), (0, 1))),
}


def other_factor(shape: Sequence[int]) -> Bounded:
    """Make one of small dyadic numbers, some of them exact."""
    place = np.arange(int(np.prod(shape))).reshape(shape)
    return Bounded((place % 5 - 2) / 4, (place % 3) / 8)


@pytest.mark.parametrize("equation", DOTS)
def test_a_product_of_matrices_is_a_sum_of_products(equation: str) -> None:
    inputs, output = equation.split("->")
    of_a, of_b = inputs.split(",")
    sizes = dict(zip(of_a, TABLE.value.shape, strict=True)) | {"k": 4, "m": 2}
    if equation == "nij,nkj->nik":
        sizes["k"] = 2
    b = other_factor([sizes[letter] for letter in of_b])
    shape = [sizes[letter] for letter in output]
    inner = sorted({*of_a, *of_b} - set(output))
    want = np.zeros((2, *shape))
    whole = Bounded(np.zeros(shape, int), np.zeros(shape, bool))
    integers = bounded(np.arange(b.value.size).reshape(b.value.shape), b.error > 0.125)
    for place in np.ndindex(*shape):
        terms = []
        for at in np.ndindex(*(sizes[letter] for letter in inner)):
            where = dict(zip([*output, *inner], [*place, *at], strict=True))
            i, j = (tuple(where[letter] for letter in letters) for letters in (of_a, of_b))
            terms.append(term(TABLE.value[i], TABLE.error[i], b.value[j], b.error[j]))
            whole.value[place] += WHOLE.value[i] * integers.value[j]
            whole.error[place] |= WHOLE.error[i] | integers.error[j]
        want[:, *place] = r6(terms, len(terms))
    params = {"dimension_numbers": DOTS[equation]}
    assert_bounds(call("dot_general", coarse(), TABLE, b, **params), *want, ulps=SOME_ULPS)
    assert_bounds(call("dot_general", coarse(), WHOLE, integers, **params), *whole)


def test_a_product_of_matrices_has_nothing_of_one_before_it() -> None:
    a, b = other_factor((3, 4)), other_factor((4, 2))
    params = {"dimension_numbers": (((1,), (0,)), ((), ()))}
    first, second = (call("dot_general", coarse(), a, b, **params) for _ in range(2))
    assert_bounds(first, second.value, second.error)


def test_nothing_is_known_of_a_product_with_what_may_be_anything() -> None:
    a, zero = bounded([[1.0, 2.0]], [[0.0, INF]]), bounded([[1.0], [0.0]])
    params = {"dimension_numbers": (((1,), (0,)), ((), ()))}
    assert_bounds(call("dot_general", coarse(), a, zero, **params), [[1.0]], [[INF]])
    images, kernel = (Bounded(*(part.reshape(1, 1, 2) for part in x)) for x in (a, zero))
    assert_bounds(convolve(coarse(), images, kernel), [[[1.0]]], [[[INF]]])


def convolve(
    rounding: Rounding,
    images: Bounded,
    kernel: Bounded,
    *,
    stride: int = 1,
    after: int = 0,
    **other: Any,
) -> Any:
    """Convolve along one axis; both have the axes batch or output, feature, place."""

    def function(images: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(images, kernel, (stride,), [(0, after)])

    return applied(function, rounding, images, kernel, **other)


def test_a_convolution_is_a_sum_of_products_at_each_place() -> None:
    images, kernel = TABLE, other_factor((3, 2, 2))  # 2 features, 2 places of the kernel
    want = np.zeros((2, 2, 3, 2))
    for n, o, place in np.ndindex(2, 3, 2):
        terms = [
            term(*(x[n, c, place + at] for x in images), *(x[o, c, at] for x in kernel))
            for c, at in np.ndindex(2, 2)
        ]
        want[:, n, o, place] = r6(terms, 4)
    assert_bounds(convolve(coarse(), images, kernel), *want, ulps=SOME_ULPS)
    single = {"preferred_element_type": np.dtype(np.float32)}  # of a loss in float32
    padded = convolve(coarse(), images, kernel, stride=2, after=1, **single)
    assert padded.value.dtype == np.float64
    first = Bounded(*(part[..., 0] for part in padded))
    assert_bounds(first, *want[..., 0], ulps=SOME_ULPS)
