"""The hyperbolic tangent, proven against JAX, and its slopes far out."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import tanh
from manual_nn.layers.tanh import Kept
from reference.layers import tanh as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int]) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), {})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(tanh, twin, subject_of(shape), seed)


def of_the_output_once_more(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return tanh.backward(params, Kept(np.tanh(kept.x)), d_out)


def of_the_input(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * (1 - kept.x**2)


def without_the_square(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * (1 - np.tanh(kept.x))


def of_the_sigmoid(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    out = np.tanh(kept.x)
    return (), d_out * out * (1 - out)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        tanh,
        twin,
        subject_of([4, 5]),
        Named(of_the_output_once_more, "jnp.tanh(x)"),
        Named(of_the_input, "jnp.tanh(x)"),
        Named(without_the_square, "jnp.tanh(x)"),
        of_the_sigmoid,
    )


@of_each_implementation(tanh)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_at_0_and_far_out(layer: ModuleType, dtype: type[np.floating[Any]]) -> None:
    largest = np.finfo(dtype).max
    with np.errstate(over="ignore"):  # of 2 x, where Python runs what is compiled
        out, kept = layer.forward((), np.array([0, 1000, -1000, largest, -largest], dtype))
    np.testing.assert_array_equal(out, np.array([0, 1, -1, 1, -1], dtype))
    _, d_x = layer.backward((), kept, np.full(5, 4, dtype))
    np.testing.assert_array_equal(d_x, np.array([4, 0, 0, 0, 0], dtype))


@of_each_implementation(tanh)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_0_keeps_its_sign(layer: ModuleType, dtype: type[np.floating[Any]]) -> None:
    out, _ = layer.forward((), np.array([0.0, -0.0], dtype))
    np.testing.assert_array_equal(np.signbit(out), [False, True])


def test_the_slope_has_its_digits_on_both_sides() -> None:
    """In float32 exp is off by 4 units in the last place at most.

    A sum and a quotient are rounded after it; what the rounding of e^2 adds to the sum is less than
    e^2 in it takes from the error of e. All that counts twice in the square, which is rounded once.
    """
    x = np.linspace(-20, 20, 81, dtype=np.float32)
    want = np.array([math.cosh(t) ** -2 for t in x.tolist()])
    assert (abs(tanh.slope(x) - want) <= (2 * (8 + 2) + 1) * 2.0**-24 * want).all()


@of_each_implementation(tanh)
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
