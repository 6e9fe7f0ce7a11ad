"""Each function of a layer where its arithmetic is exact, and where it is not finite.

Axes: N rows, H units of a hidden layer, K classes.
"""

import math
from typing import Any

import numpy as np
import pytest

from manual_nn.arrays import Array
from manual_nn.compiled import in_place
from manual_nn.compiled.products import SMALL
from manual_nn.compiled.reductions import WIDTH
from manual_nn.layers import softmax_cross_entropy
from tests.support.cases import each

pytestmark = pytest.mark.usefixtures("way")
of_each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def integers(seed: int, *shape: int, dtype: type[np.floating]) -> Array:
    """Draw small whole numbers, zeros among them."""
    return np.random.default_rng(seed).integers(-3, 4, size=shape).astype(dtype)


@of_each_dtype
def test_the_bias_is_added_and_what_is_not_positive_becomes_zero(dtype: type[np.floating]) -> None:
    z, bias = integers(0, 5, 7, dtype=dtype), integers(1, 7, dtype=dtype)
    want = np.maximum(z + bias, 0)
    assert in_place.rectify(z, bias)
    np.testing.assert_array_equal(z, want)
    assert z.dtype == dtype


@each("value", [np.inf, -np.inf, np.nan])
@each("place", [(0, 0), (1, 2)])
def test_what_the_relu_hides_is_seen(value: float, place: tuple[int, int]) -> None:
    z = np.ones((2, 3))
    z[place] = value
    assert not in_place.rectify(z, np.zeros(3))


def test_the_largest_number_is_finite_and_one_that_overflows_with_its_bias_is_not() -> None:
    largest = np.finfo(np.float32).max
    z = np.array([[largest, -largest]])
    assert in_place.rectify(z.copy(), np.zeros(2, np.float32))
    with np.errstate(over="ignore"):
        assert not in_place.rectify(z.copy(), np.array([largest, 0]))
        assert not in_place.rectify(z.copy(), np.array([0, -largest]))


@of_each_dtype
def test_the_gradient_passes_where_the_unit_is_on_and_is_summed_over_the_rows(
    dtype: type[np.floating],
) -> None:
    d_a, a = integers(0, 5, 7, dtype=dtype), np.maximum(integers(1, 5, 7, dtype=dtype), 0)
    want = np.where(a > 0, d_a, 0)
    d_a[0, 0], a[0, 0], want[0, 0] = np.inf, 0, 0  # overflowed, at a unit that is off
    d_bias = np.full(7, np.nan, dtype)
    in_place.rectify_backward(d_a, a, d_bias)
    np.testing.assert_array_equal(d_a, want)
    np.testing.assert_array_equal(d_bias, want.sum(axis=0))


@pytest.mark.parametrize("N", [1, 2, in_place.FEW, in_place.FEW + 1])
@pytest.mark.parametrize(("fan_in", "fan_out"), [(4, 5), (SMALL // 500 + 1, 500)])
@of_each_dtype
def test_few_rows_and_many_go_down_through_the_weights(
    N: int, fan_in: int, fan_out: int, dtype: type[np.floating]
) -> None:
    """Of small weights, and of those that are large enough for the transpose to be computed."""
    d_z, weight = integers(0, N, fan_out, dtype=dtype), integers(1, fan_in, fan_out, dtype=dtype)
    d_a = np.full((N, fan_in), np.nan, dtype)
    in_place.input_backward(d_z, weight, 0.5, d_a)
    np.testing.assert_array_equal(d_a, d_z @ weight.T / 2)


@pytest.mark.parametrize("N", [1, 2, 5])
@pytest.mark.parametrize("decay", [0.0, 0.5])
@of_each_dtype
def test_the_gradient_of_a_weight_has_its_decay(
    N: int, decay: float, dtype: type[np.floating]
) -> None:
    a, d_z = integers(0, N, 4, dtype=dtype), integers(1, N, 3, dtype=dtype)
    weight = integers(2, 4, 3, dtype=dtype)
    d_weight = np.full((4, 3), np.nan, dtype)
    squares = in_place.weight_backward(a, d_z, weight, dtype(decay), d_weight)
    np.testing.assert_array_equal(d_weight, a.T @ d_z + dtype(decay) * weight)
    assert squares == (weight**2).sum() or (decay == 0 and N > 1 and squares == 0)


@pytest.mark.parametrize("N", [1, 2])
def test_the_sum_of_many_squares_keeps_its_digits(N: int) -> None:
    """Number after number float32 would lose three of its seven digits here."""
    weight = np.full((128, 1024), 0.1, np.float32)
    a, d_z = np.zeros((N, 128), np.float32), np.zeros((N, 1024), np.float32)
    got = in_place.weight_backward(a, d_z, weight, np.float32(0.5), np.empty_like(weight))
    exact = weight.size * float(weight[0, 0]) ** 2
    assert abs(got - exact) <= (WIDTH + 1) * 2.0**-24 * exact  # and the square is rounded


# The cross-entropy: N = 4 rows of K = 2 equal logits, p = 1/2 and the loss is ln 2


@of_each_dtype
def test_equal_logits_have_the_loss_of_a_coin(dtype: type[np.floating]) -> None:
    z, bias = np.array([[3, 1], [-1, -3], [0, -2], [8, 6]], dtype), np.array([-1, 1], dtype)
    target = np.array([[1, 0], [0, 1], [0.25, 0.75], [0.5, 0.5]], dtype)
    row_weight, d_bias = np.array([0.5, 0.25, 0.125, 0.125], dtype), np.full(2, np.nan, dtype)
    loss, finite = in_place.cross_entropy(z, bias, target, row_weight, d_bias)
    want = (0.5 - target) * row_weight[:, None]
    assert finite
    assert abs(loss - math.log(2)) <= 8 * np.finfo(dtype).eps * math.log(2)  # 8 roundings
    np.testing.assert_array_equal(z, want)
    np.testing.assert_array_equal(d_bias, want.sum(axis=0))


@of_each_dtype
def test_it_is_the_layer_s_own_cross_entropy_but_for_the_order_of_sums(
    dtype: type[np.floating],
) -> None:
    """Exponentials of whole multiples of 1024 are 0 or 1, and every other number is exact."""
    z, bias = 1024 * integers(0, 6, 4, dtype=dtype), 1024 * integers(1, 4, dtype=dtype)
    target = np.eye(4, dtype=dtype)[[0, 1, 2, 3, 0, 1]]
    row_weight = np.array([1, 0, 2, 1, 4, 0.5], dtype)
    before = z + bias
    tied = (before == before.max(axis=1, keepdims=True)).sum(axis=1)
    assert {*tied} <= {1, 2, 4}  # ln of which is the same for both
    kept: Any
    want, kept = softmax_cross_entropy.forward(
        (), before, target=target, row_weight=row_weight[:, None]
    )
    _, d_z = softmax_cross_entropy.backward((), kept)
    d_bias = np.empty(4, dtype)
    loss, finite = in_place.cross_entropy(z, bias, target, row_weight, d_bias)
    assert finite
    np.testing.assert_array_equal(z, d_z)
    np.testing.assert_array_equal(d_bias, d_z.sum(axis=0))
    assert abs(loss - want) <= 20 * np.finfo(dtype).eps * want  # 24 terms, none negative


@each("value", [np.inf, -np.inf, np.nan])
@each("place", [(0, 0), (1, 2)])
def test_logits_that_are_not_finite_are_seen(value: float, place: tuple[int, int]) -> None:
    z = np.ones((2, 3))
    z[place] = value
    with np.errstate(invalid="ignore"):
        _, finite = in_place.cross_entropy(
            z, np.zeros(3), np.full((2, 3), 1 / 3), np.full(2, 0.5), np.empty(3)
        )
    assert not finite


def test_a_difference_of_logits_beyond_the_largest_number_stops_there() -> None:
    largest = np.finfo(np.float64).max
    z = np.array([[largest, -largest]])
    with np.errstate(over="ignore"):
        loss, finite = in_place.cross_entropy(
            z, np.zeros(2), np.array([[0.0, 1.0]]), np.ones(1), np.empty(2)
        )
    assert finite
    assert loss == largest
    np.testing.assert_array_equal(z, [[1, -1]])
