"""SwiGLU, proven against JAX, and on numbers that are exact."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import swiglu
from manual_nn.layers.sigmoid import value_and_slope
from manual_nn.layers.swiglu import Inputs, Kept
from reference.layers import swiglu as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int]) -> Subject:
    return Subject(lambda draw, _: ((), Inputs(draw(*shape), draw(*shape))), {})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(swiglu, twin, subject_of(shape), seed)


def with_gate_and_value_exchanged(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    gate, value = kept.inputs
    return swiglu.backward(params, Kept(Inputs(value, gate)), d_out)


def with_the_slope_of_the_sigmoid(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, right = swiglu.backward(params, kept, d_out)
    gate, value = kept.inputs
    return (), right._replace(gate=d_out * value * value_and_slope(gate)[1])


def without_the_value(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    ones = np.ones_like(kept.inputs.value)
    return swiglu.backward(params, Kept(kept.inputs._replace(value=ones)), d_out)


def with_a_constant_gate(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, right = swiglu.backward(params, kept, d_out)
    gate, value = kept.inputs
    return (), Inputs(d_out * value / (1 + np.exp(-gate)), right.value)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        swiglu,
        twin,
        subject_of([4, 5]),
        with_gate_and_value_exchanged,
        Named(with_the_slope_of_the_sigmoid, "jax.nn.sigmoid(gate)"),
        Named(without_the_value, "* value"),
        Named(with_a_constant_gate, "jax.nn.sigmoid(gate)"),
    )


@of_each_implementation(swiglu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_gate_is_0_open_or_shut(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x = Inputs(np.array([0, 1000, -1000], dtype), np.array([3, -2, 5], dtype))
    out, kept = layer.forward((), x)
    np.testing.assert_array_equal(out, np.array([0, -2000, 0], dtype))
    _, (d_gate, d_value) = layer.backward((), kept, np.full(3, 4, dtype))
    np.testing.assert_array_equal(d_gate, np.array([6, -8, 0], dtype))
    np.testing.assert_array_equal(d_value, np.array([0, 4000, 0], dtype))


@of_each_implementation(swiglu)
def test_a_gate_that_is_shut_takes_no_gradient_through_an_overflow(layer: ModuleType) -> None:
    large = np.array([1e30], np.float32)
    _, kept = layer.forward((), Inputs(np.array([-1000], np.float32), large))
    _, (d_gate, _) = layer.backward((), kept, large)
    assert d_gate == 0


@of_each_implementation(swiglu)
def test_a_plain_pair_will_do(layer: ModuleType) -> None:
    out, kept = layer.forward((), (np.ones(2), np.ones(2)))
    assert layer.backward((), kept, out)[1].gate.shape == (2,)


@of_each_implementation(swiglu)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x = Inputs(np.ones((2, 3)), np.ones((2, 3)))
    _, kept = layer.forward((), x)
    with pytest.raises(TypeError, match=r"x.gate must be float32 or float64, got int64"):
        layer.forward((), x._replace(gate=np.ones(3, np.int64)))
    with pytest.raises(ValueError, match=r"x.gate must have at least 1 axis .* got shape \(\)"):
        layer.forward((), Inputs(np.ones(()), np.ones(())))
    with pytest.raises(ValueError, match=r"x.value must have shape \(2, 3\) .* got \(3, 2\)"):
        layer.forward((), x._replace(value=np.ones((3, 2))))
    with pytest.raises(TypeError, match=r"x.value must be float64 like x.gate, got float32"):
        layer.forward((), x._replace(value=np.ones((2, 3), np.float32)))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
