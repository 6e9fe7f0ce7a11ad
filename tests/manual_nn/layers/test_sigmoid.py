"""The sigmoid, proven against JAX, and its values and slopes far out."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import sigmoid
from manual_nn.layers.sigmoid import Kept
from reference.layers import sigmoid as twin
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_at_0_and_far_out(dtype: type[np.floating[Any]]) -> None:
    largest = np.finfo(dtype).max
    out, kept = sigmoid.forward((), np.array([0, 1000, -1000, largest, -largest], dtype))
    np.testing.assert_array_equal(out, np.array([0.5, 1, 0, 1, 0], dtype))
    _, d_x = sigmoid.backward((), kept, np.full(5, 4, dtype))
    np.testing.assert_array_equal(d_x, np.array([1, 0, 0, 0, 0], dtype))


def test_value_and_slope_have_their_digits_on_both_sides() -> None:
    """In float32 exp is off by 4 units in the last place at most, 2 or 6 operations follow."""
    x = np.linspace(-40, 40, 81, dtype=np.float32)
    value, slope = sigmoid.value_and_slope(x)
    want = np.array([1 / (1 + math.exp(-t)) for t in x.tolist()])
    want_slope = want * np.array([1 / (1 + math.exp(t)) for t in x.tolist()])
    assert (abs(value - want) <= (8 + 2) * 2.0**-24 * want).all()
    assert (abs(slope - want_slope) <= (8 + 6) * 2.0**-24 * want_slope).all()
    np.testing.assert_array_equal(sigmoid.sigmoid(x), value)
    np.testing.assert_array_equal(sigmoid.forward((), x)[0], value)


def test_arguments_that_do_not_fit_are_refused() -> None:
    _, kept = sigmoid.forward((), np.ones((2, 3)))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        sigmoid.forward((), np.ones(3, np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        sigmoid.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        sigmoid.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        sigmoid.backward((), kept, np.ones(6))
