"""The squared error, proven against JAX, and on numbers that are exact."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import squared_error
from manual_nn.layers.squared_error import Kept
from reference.layers import squared_error as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int]) -> Subject:
    target = np.random.default_rng([0, 1]).normal(size=shape)
    return Subject(lambda draw, _: ((), draw(*shape)), {"target": target})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(squared_error, twin, subject_of(shape), seed)


def without_the_2(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return squared_error.backward(params, Kept(kept.error / 2), d_out)


def with_the_mean_over_the_examples(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = squared_error.backward(params, kept, d_out)
    return (), d_x * d_x.shape[-1]


def of_the_absolute_error(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return squared_error.backward(params, Kept(np.sign(kept.error) / 2), d_out)


def with_the_other_sign(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return squared_error.backward(params, Kept(-kept.error), d_out)


def without_the_mean(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = squared_error.backward(params, kept, d_out)
    return (), d_x * d_x.size


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        squared_error,
        twin,
        subject_of([4, 5]),
        Named(of_the_absolute_error, "(x - target) ** 2"),
        Named(without_the_2, "(x - target) ** 2"),
        Named(with_the_mean_over_the_examples, "jnp.mean("),
        Named(with_the_other_sign, "(x - target) ** 2"),
        without_the_mean,
    )


@of_each_implementation(squared_error)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x, target = np.array([[3, 1], [0, 2]], dtype), np.array([[1, 2], [4, 2]], dtype)
    loss, kept = layer.forward((), x, target=target)
    assert loss == (4 + 1 + 16) / 4
    np.testing.assert_array_equal(layer.backward((), kept)[1], [[1, -0.5], [-2, 0]])
    _, d_x = layer.backward((), kept, np.float64(-4))
    np.testing.assert_array_equal(d_x, [[-4, 2], [8, 0]])
    assert loss.dtype == d_x.dtype == dtype


@of_each_implementation(squared_error)
def test_large_squares_have_a_finite_mean(layer: ModuleType) -> None:
    x = np.full(8, 2.0**63, np.float32)
    assert layer.forward((), x, target=np.zeros_like(x))[0] == 2.0**126


@of_each_implementation(squared_error)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)), target=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"d_out must be one number, got an array of shape \(3,\)"):
        layer.backward((), kept, np.ones(3))
    with pytest.raises(ValueError, match=r"target must have shape \(3, 1\) to fit x, got \(3,\)"):
        layer.forward((), np.ones((3, 1)), target=np.ones(3))
    with pytest.raises(TypeError, match="target must be float32 like x, got float64"):
        layer.forward((), np.ones(3, np.float32), target=np.ones(3))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones(3, np.int64), target=np.ones(3))
    with pytest.raises(ValueError, match="x must have at least 1 axis"):
        layer.forward((), np.ones(()), target=np.ones(()))
