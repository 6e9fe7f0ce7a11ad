"""The leaky ReLU, proven against JAX, and its convention at 0."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import leaky_relu
from manual_nn.layers.leaky_relu import Kept
from reference.layers import leaky_relu as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), options)


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    options=st.sampled_from([{}, {"negative_slope": 0.0}, {"negative_slope": 1.5}]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], options: dict[str, float], seed: int
) -> None:
    prove(leaky_relu, twin, subject_of(shape, **options), seed)


def as_a_relu(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * kept.positive


def with_the_other_sign(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return leaky_relu.backward(params, kept._replace(positive=~kept.positive), d_out)


def with_another_slope(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return leaky_relu.backward(params, kept._replace(negative_slope=0.2), d_out)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        leaky_relu,
        twin,
        subject_of([4, 5]),
        Named(as_a_relu, "negative_slope * x"),
        Named(with_the_other_sign, "negative_slope * x"),
        Named(with_another_slope, "negative_slope * x"),
    )


@of_each_implementation(leaky_relu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_0_it_has_the_slope_of_the_negative_side(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x = np.array([-4, -0.0, 0, 4, np.nan], dtype)
    out, kept = layer.forward((), x, negative_slope=0.25)
    np.testing.assert_array_equal(out, np.array([-1, 0, 0, 4, np.nan], dtype))
    _, d_x = layer.backward((), kept, np.full(5, 8, dtype))
    np.testing.assert_array_equal(d_x[:4], np.array([2, 2, 2, 8], dtype))
    assert out.dtype == d_x.dtype == dtype


@of_each_implementation(leaky_relu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_slope_of_0_is_the_relu_of_infinite_numbers_too(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x = np.array([-np.inf, np.inf, np.nan], dtype)
    out, kept = layer.forward((), x, negative_slope=0)
    np.testing.assert_array_equal(out, np.array([0, np.inf, np.nan], dtype))
    _, d_x = layer.backward((), kept, np.full(3, np.inf, dtype))
    np.testing.assert_array_equal(d_x[:2], np.array([0, np.inf], dtype))


@of_each_implementation(leaky_relu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows_that_is_not_used(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x = np.array([np.finfo(dtype).max, -2], dtype)
    with np.errstate(over="raise"):
        out, kept = layer.forward((), x, negative_slope=1.5)
        _, d_x = layer.backward((), kept, x)
    np.testing.assert_array_equal([out, d_x], np.array([[x[0], -3]] * 2))


@of_each_implementation(leaky_relu)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)))
    with pytest.raises(ValueError, match="negative_slope must be a finite number of at least 0"):
        layer.forward((), np.ones(3), negative_slope=-0.1)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones(3, np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"negative_slope must be a finite .* in float32"):
        layer.forward((), np.ones(3, np.float32), negative_slope=1e39)
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
