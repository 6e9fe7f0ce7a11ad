"""The Huber loss, proven against JAX, and on numbers that are exact."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import huber
from manual_nn.layers.huber import Kept
from reference.layers import huber as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    target = np.random.default_rng([0, 1]).normal(size=shape)
    return Subject(lambda draw, _: ((), draw(*shape)), {"target": target, **options})


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    options=st.sampled_from([{}, {"delta": 0.5}, {"delta": 3.0}]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], options: dict[str, float], seed: int
) -> None:
    prove(huber, twin, subject_of(shape, **options), seed)


DELTA = 0.5


def without_delta(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    far = abs(kept.clipped) == DELTA
    return huber.backward(params, Kept(np.where(far, np.sign(kept.clipped), kept.clipped)), d_out)


def of_smooth_l1(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return huber.backward(params, Kept(kept.clipped / DELTA), d_out)


def with_0_for_outliers(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    far = abs(kept.clipped) == DELTA
    return huber.backward(params, Kept(np.where(far, 0, kept.clipped)), d_out)


def without_the_mean(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), kept.clipped * d_out


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        huber,
        twin,
        subject_of([4, 5], delta=DELTA),
        Named(without_delta, "abs(r) <= delta"),
        of_smooth_l1,
        Named(with_0_for_outliers, "abs(r) <= delta"),
        Named(without_the_mean, "jnp.mean("),
    )


@of_each_implementation(huber)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Errors within, at and beyond a delta of 2, on both sides."""
    x = np.array([2, 3, -1, 9, -5, 1, 1, 1], dtype)
    target = np.ones(8, dtype)
    loss, kept = layer.forward((), x, target=target, delta=2)
    assert loss == (0.5 + 2 + 2 + 2 * 7 + 2 * 5) / 8
    want = np.array([1, 2, -2, 2, -2, 0, 0, 0]) / 8
    np.testing.assert_array_equal(layer.backward((), kept)[1], want)
    _, d_x = layer.backward((), kept, np.float64(-4))
    np.testing.assert_array_equal(d_x, -4 * want)
    assert loss.dtype == d_x.dtype == dtype


@of_each_implementation(huber)
def test_an_error_whose_square_overflows_costs_what_it_should(layer: ModuleType) -> None:
    x = np.array([1e30, -1e30], np.float32)
    loss, kept = layer.forward((), x, target=np.zeros_like(x))
    assert loss == x[0]
    np.testing.assert_array_equal(layer.backward((), kept)[1], [0.5, -0.5])


@of_each_implementation(huber)
def test_large_losses_have_a_finite_mean(layer: ModuleType) -> None:
    x = np.full(8, 1e38, np.float32)
    assert layer.forward((), x, target=np.zeros_like(x))[0] == x[0]


@of_each_implementation(huber)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x, target = np.ones((3, 1)), np.ones((3, 1))
    with pytest.raises(ValueError, match=r"target must have shape \(3, 1\) to fit x, got \(3,\)"):
        layer.forward((), x, target=np.ones(3))
    with pytest.raises(ValueError, match="delta must be a finite number above 0, got 0"):
        layer.forward((), x, target=target, delta=0)
    for delta in (1e-60, 1e39):
        with pytest.raises(ValueError, match="delta must be a finite number above 0 in float32"):
            layer.forward((), x.astype("f"), target=x.astype("f"), delta=delta)
    _, kept = layer.forward((), x, target=target)
    with pytest.raises(ValueError, match=r"d_out must be one number, got an array of shape \(1,\)"):
        layer.backward((), kept, np.ones(1))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones(3, np.int64), target=np.ones(3))
    with pytest.raises(ValueError, match="x must have at least 1 axis"):
        layer.forward((), np.ones(()), target=np.ones(()))
