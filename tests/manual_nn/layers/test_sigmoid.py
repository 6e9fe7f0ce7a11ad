"""The sigmoid, proven against JAX, and its values and slopes far out."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import sigmoid
from manual_nn.layers.sigmoid import Kept
from reference.layers import sigmoid as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int]) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), {})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(sigmoid, twin, subject_of(shape), seed)


def of_the_output_once_more(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * sigmoid.value_and_slope(1 / (1 + kept.e))[1]


def without_the_second_factor(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out / (1 + kept.e)


def without_the_square(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * kept.e / (1 + kept.e)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        sigmoid,
        twin,
        Subject(lambda draw, _: ((), abs(draw(4, 5))), {}),  # where exp(-|x|) is exp(-x)
        Named(of_the_output_once_more, "jax.nn.sigmoid(x)"),
        Named(without_the_second_factor, "jax.nn.sigmoid(x)"),
        Named(without_the_square, "jax.nn.sigmoid(x)"),
    )


@of_each_implementation(sigmoid)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_at_0_and_far_out(layer: ModuleType, dtype: type[np.floating[Any]]) -> None:
    largest = np.finfo(dtype).max
    out, kept = layer.forward((), np.array([0, 1000, -1000, largest, -largest], dtype))
    np.testing.assert_array_equal(out, np.array([0.5, 1, 0, 1, 0], dtype))
    _, d_x = layer.backward((), kept, np.full(5, 4, dtype))
    np.testing.assert_array_equal(d_x, np.array([1, 0, 0, 0, 0], dtype))


@of_each_implementation(sigmoid)
def test_value_and_slope_have_their_digits_on_both_sides(layer: ModuleType) -> None:
    """In float32 exp is off by 4 units in the last place at most, 2 or 6 operations follow."""
    x = np.linspace(-40, 40, 81, dtype=np.float32)
    value, kept = layer.forward((), x)
    _, slope = layer.backward((), kept, np.ones_like(x))
    want = np.array([1 / (1 + math.exp(-t)) for t in x.tolist()])
    want_slope = np.array([1 / (2 + math.exp(-t) + math.exp(t)) for t in x.tolist()])
    assert (abs(value - want) <= (8 + 2) * 2.0**-24 * want).all()
    assert (abs(slope - want_slope) <= (8 + 6) * 2.0**-24 * want_slope).all()


def test_what_other_layers_take_of_it_is_the_same() -> None:
    x = np.linspace(-40, 40, 81, dtype=np.float32)
    out, kept = sigmoid.forward((), x)
    _, d_x = sigmoid.backward((), kept, np.ones_like(x))
    for array, want in zip(sigmoid.value_and_slope(x), (out, d_x), strict=True):
        np.testing.assert_array_equal(array, want)
    np.testing.assert_array_equal(sigmoid.sigmoid(x), out)


@of_each_implementation(sigmoid)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones(3, np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
