"""Batch normalisation in training and evaluation, proven against JAX, and its running moments."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import batch_norm
from manual_nn.layers.batch_norm import BatchNorm, Kept, Moments
from reference.layers import batch_norm as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], *, training: bool = True, **options: Any) -> Subject:
    C = shape[-1]
    if not training:
        rng = np.random.default_rng(C)
        options["running"] = Moments(rng.normal(size=C), rng.uniform(0, 2, size=C))
    return Subject(lambda draw, _: (BatchNorm(draw(C), draw(C)), draw(*shape)), options)


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    training=st.booleans(),
    options=st.sampled_from([{}, {"eps": 1e-3}, {"eps": 0.5}]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], training: bool, options: dict[str, float], seed: int
) -> None:
    prove(batch_norm, twin, subject_of(shape, training=training, **options), seed)


def with_the_other_mode(params: BatchNorm, kept: Kept, d_out: Any) -> Any:
    return batch_norm.backward(params, kept._replace(training=not kept.training), d_out)


def parts(params: BatchNorm, kept: Kept, d_out: Any) -> Any:
    (d_weight, d_bias), d_x = batch_norm.backward(params, kept, d_out)
    scale = params.weight / np.sqrt(kept.moments.variance + kept.eps)
    R = d_out.size // len(d_bias)
    return BatchNorm(d_weight, d_bias), d_x, scale * d_bias / R, scale * kept.normal * d_weight / R


def without_the_mean(params: BatchNorm, kept: Kept, d_out: Any) -> Any:
    d_params, d_x, by_mean, _ = parts(params, kept, d_out)
    return d_params, d_x + by_mean


def without_the_variance(params: BatchNorm, kept: Kept, d_out: Any) -> Any:
    d_params, d_x, _, by_variance = parts(params, kept, d_out)
    return d_params, d_x + by_variance


def with_the_examples_for_the_rows(params: BatchNorm, kept: Kept, d_out: Any) -> Any:
    d_params, d_x, by_mean, by_variance = parts(params, kept, d_out)
    places = d_out.shape[1]
    return d_params, d_x - (places - 1) * (by_mean + by_variance)


def without_the_weight(params: BatchNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = batch_norm.backward(params, kept, d_out)
    ones = params._replace(weight=np.ones_like(params.weight))
    return d_params, batch_norm.backward(ones, kept, d_out)[1]


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        batch_norm,
        twin,
        subject_of([3, 4, 5]),
        with_the_other_mode,
        Named(without_the_mean, "normal = (x - mean)"),
        Named(without_the_variance, "/ deviation"),
        Named(with_the_examples_for_the_rows, "mean"),
        without_the_weight,
    )
    refute(
        batch_norm,
        twin,
        subject_of([3, 4, 5], training=False),
        with_the_other_mode,
        without_the_weight,
    )


@of_each_implementation(batch_norm)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Mean 2, variance 2.5, deviation 2; with the running moments 1, and 4."""
    params = BatchNorm(np.array([2], dtype), np.array([1], dtype))
    x = np.array([[3], [1], [4], [0]], dtype)
    d_out = np.array([[4], [2], [1], [1]], dtype)
    out, kept = layer.forward(params, x, eps=1.5)
    np.testing.assert_array_equal(out, np.array([[2], [0], [3], [-1]], dtype))
    (d_weight, d_bias), d_x = layer.backward(params, kept, d_out)
    assert d_weight == 4 * 0.5 - 2 * 0.5 + 1 - 1
    assert d_bias == 8
    # weight / deviation is 1, d_out less its mean 2, and less normal times 1 / 4
    np.testing.assert_array_equal(d_x, np.array([[1.875], [0.125], [-1.25], [-0.75]], dtype))
    running = Moments(np.array([1], dtype), np.array([14.5], dtype))
    out, kept = layer.forward(params, x, running=running, eps=1.5)
    np.testing.assert_array_equal(out, np.array([[2], [1], [2.5], [0.5]], dtype))
    (d_weight, d_bias), d_x = layer.backward(params, kept, d_out)
    assert d_weight == 4 * 0.5 + 0.75 - 0.25
    assert d_bias == 8
    np.testing.assert_array_equal(d_x, d_out / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_running_moments_move_towards_those_of_the_batch(
    dtype: type[np.floating[Any]],
) -> None:
    """The batch has the mean 3, and the variance 3 of a sample of 4."""
    params = BatchNorm(np.ones(1, dtype), np.zeros(1, dtype))
    x = np.array([[[1.5], [4.5]], [[4.5], [1.5]]], dtype)  # the deviations are 1.5
    _, kept = batch_norm.forward(params, x)
    running = Moments(np.array([7], dtype), np.array([5], dtype))
    new = batch_norm.updated(running, kept, momentum=0.25)
    np.testing.assert_array_equal(new, [[6], [4.5]])
    assert all(array.dtype == dtype for array in new)
    np.testing.assert_array_equal(running, [[7], [5]])
    np.testing.assert_array_equal(batch_norm.updated(running, kept, momentum=1), [[3], [3]])
    np.testing.assert_array_equal(batch_norm.updated(running, kept, momentum=0), running)


def test_the_default_momentum_is_a_tenth() -> None:
    _, kept = batch_norm.forward(BatchNorm(np.ones(1), np.zeros(1)), np.array([[1.0], [3.0]]))
    new = batch_norm.updated(Moments(np.zeros(1), np.ones(1)), kept)
    np.testing.assert_array_equal(new, [[0.1 * 2], [0.9 + 0.1 * 2]])


@of_each_implementation(batch_norm)
def test_a_channel_may_have_had_no_variance(layer: ModuleType) -> None:
    params, none = BatchNorm(np.ones(1), np.zeros(1)), Moments(np.ones(1), np.zeros(1))
    out, kept = layer.forward(params, np.array([[3.0]]), running=none, eps=0.25)
    assert out == 4
    assert layer.backward(params, kept, np.array([[3.0]]))[1] == 6


@of_each_implementation(batch_norm)
def test_a_mean_far_from_0_costs_the_variance_no_digits(layer: ModuleType) -> None:
    """Of 2^20 +- 1 in float32: the mean of the squares less the squared mean would be 0 or 2^17."""
    x = np.array([[2.0**20 - 1], [2.0**20 + 1]], np.float32)
    _, kept = layer.forward(BatchNorm(*np.ones((2, 1), np.float32)), x)
    np.testing.assert_array_equal(kept.moments, [[2.0**20], [1]])


@of_each_implementation(batch_norm)
def test_plain_tuples_will_do_as_moments(layer: ModuleType) -> None:
    params = BatchNorm(np.ones(3), np.zeros(3))
    running: Any = (np.zeros(3), np.ones(3))
    out, kept = layer.forward(params, np.ones((2, 3)))
    layer.backward(params, kept, out)
    assert batch_norm.updated(running, kept).mean.shape == (3,)
    out, kept = layer.forward(params, np.ones((2, 3)), running=running)
    layer.backward(params, kept, out)


@of_each_implementation(batch_norm)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = BatchNorm(np.ones(3), np.zeros(3)), np.ones((2, 3))
    moments = Moments(np.zeros(3), np.ones(3))
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match=r"params.bias must have shape \(3,\) .* got \(2,\)"):
        layer.forward(params._replace(bias=np.ones(2)), x)
    with pytest.raises(TypeError, match=r"params.weight must be float32 .* got float64"):
        layer.forward(params, x.astype(np.float32))
    with pytest.raises(ValueError, match=r"x must have at least 2 axes .* got shape \(3,\)"):
        layer.forward(params, np.ones(3))
    with pytest.raises(ValueError, match=r"running.mean must have shape \(3,\) .* got \(2,\)"):
        layer.forward(params, x, running=moments._replace(mean=np.ones(2)))
    with pytest.raises(ValueError, match=r"running.variance must not be negative, got -1.0"):
        layer.forward(params, x, running=moments._replace(variance=np.array([1.0, -1, 0])))
    with pytest.raises(ValueError, match="eps must be a finite number above 0, got 0"):
        layer.forward(params, x, eps=0)
    single = [array.astype(np.float32) for array in params]
    with pytest.raises(
        ValueError, match="eps must be a finite number above 0 in float32, got 1e-60"
    ):
        layer.forward(type(params)(*single), x.astype(np.float32), eps=1e-60)
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(3,\)"):
        layer.backward(params, kept, np.ones(3))
    with pytest.raises(ValueError, match=r"running.variance must have shape \(3,\) .* got \(1,\)"):
        batch_norm.updated(moments._replace(variance=np.ones(1)), kept)
    with pytest.raises(ValueError, match=r"running.mean must have shape \(3,\) .* got \(1,\)"):
        batch_norm.updated(moments._replace(mean=np.ones(1)), kept)
    with pytest.raises(ValueError, match=r"momentum must be at most 1, got 1.5"):
        batch_norm.updated(moments, kept, momentum=1.5)
    with pytest.raises(ValueError, match="momentum must be a finite number of at least 0"):
        batch_norm.updated(moments, kept, momentum=-0.1)
    with pytest.raises(ValueError, match="kept must be of at least 2 rows, got 1"):
        batch_norm.updated(moments, layer.forward(params, x[:1])[1])
    with pytest.raises(ValueError, match="kept must be of a pass in training"):
        batch_norm.updated(moments, layer.forward(params, x, running=moments)[1])
