"""SiLU, proven against JAX, and its values far out."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import silu
from manual_nn.layers.sigmoid import value_and_slope
from manual_nn.layers.silu import Kept
from reference.layers import silu as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int]) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), {})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(silu, twin, subject_of(shape), seed)


def with_a_constant_gate(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * value_and_slope(kept.x)[0]


def with_half_of_the_product_rule(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * kept.x * value_and_slope(kept.x)[1]


def with_the_gate_for_the_output(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    """The sigmoid takes the place of o in o + sigmoid(x) (1 - o)."""
    value, _ = value_and_slope(kept.x)
    return (), d_out * (value + value * (1 - value))


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        silu,
        twin,
        subject_of([4, 5]),
        Named(with_a_constant_gate, "x * jax.nn.sigmoid(x)"),
        Named(with_half_of_the_product_rule, "x * jax.nn.sigmoid(x)"),
        Named(with_the_gate_for_the_output, "x * jax.nn.sigmoid(x)"),
    )


@of_each_implementation(silu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_at_0_and_far_out(layer: ModuleType, dtype: type[np.floating[Any]]) -> None:
    largest = np.finfo(dtype).max
    x = np.array([0, 1000, -1000, largest, -largest], dtype)
    out, kept = layer.forward((), x)
    np.testing.assert_array_equal(out, np.array([0, 1000, 0, largest, 0], dtype))
    np.testing.assert_array_equal(silu.silu_and_slope(x)[0], out)
    _, d_x = layer.backward((), kept, np.full(5, 4, dtype))
    np.testing.assert_array_equal(d_x, np.array([2, 4, 0, 4, 0], dtype))


@of_each_implementation(silu)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)))
    with pytest.raises(TypeError, match="x must be a NumPy array, got float"):
        layer.forward((), 1.0)
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
