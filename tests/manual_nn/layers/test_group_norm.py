"""Group normalisation, proven against JAX and on numbers that it normalises exactly."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import group_norm
from manual_nn.layers.group_norm import GroupNorm, Kept
from reference.layers import group_norm as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    C = shape[-1]
    return Subject(lambda draw, _: (GroupNorm(draw(C), draw(C)), draw(*shape)), options)


@given(
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    groups=st.integers(1, 3),
    width=st.integers(1, 3),
    options=st.sampled_from([{}, {"eps": 1e-3}, {"eps": 0.5}]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], groups: int, width: int, options: dict[str, float], seed: int
) -> None:
    prove(group_norm, twin, subject_of([*shape, groups * width], groups=groups, **options), seed)


def over_the_channels_alone(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = group_norm.backward(params, kept, d_out)
    G = kept.deviation.shape[2]
    n, g = (group_norm._grouped(x, G) for x in (kept.normal, d_out * params.weight))
    d_x = g - g.mean(axis=3, keepdims=True) - n * (g * n).mean(axis=3, keepdims=True)
    return d_params, (d_x / kept.deviation).reshape(d_out.shape)


def with_the_weight_outside(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = group_norm.backward(params, kept, d_out)
    ones = params._replace(weight=np.ones_like(params.weight))
    return d_params, params.weight * group_norm.backward(ones, kept, d_out)[1]


def with_channels_in_turn(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    G = kept.deviation.shape[2]
    turn = np.arange(d_out.shape[-1]).reshape(-1, G).T.ravel()
    d_params, _ = group_norm.backward(params, kept, d_out)
    dealt = GroupNorm(*(param[turn] for param in params))
    in_turn = Kept(kept.normal[..., turn], kept.deviation)
    d_x = np.empty_like(d_out)
    d_x[..., turn] = group_norm.backward(dealt, in_turn, d_out[..., turn])[1]
    return d_params, d_x


def summed_over_the_examples_alone(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    (d_weight, _), d_x = group_norm.backward(params, kept, d_out)
    return GroupNorm(d_weight, d_out.sum(axis=0)[0]), d_x


def without_the_mean(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = group_norm.backward(params, kept, d_out)
    d_normal = group_norm._grouped(d_out * params.weight, kept.deviation.shape[2])
    mean = np.broadcast_to(d_normal.mean(axis=(1, 3), keepdims=True), d_normal.shape)
    return d_params, d_x + (mean / kept.deviation).reshape(d_x.shape)


def with_a_constant_deviation(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = group_norm.backward(params, kept, d_out)
    d_normal = group_norm._grouped(d_out * params.weight, kept.deviation.shape[2])
    d_x = (d_normal - d_normal.mean(axis=(1, 3), keepdims=True)) / kept.deviation
    return d_params, d_x.reshape(d_out.shape)


def without_the_weight(params: GroupNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = group_norm.backward(params, kept, d_out)
    ones = params._replace(weight=np.ones_like(params.weight))
    return d_params, group_norm.backward(ones, kept, d_out)[1]


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        group_norm,
        twin,
        subject_of([2, 3, 6], groups=2),
        over_the_channels_alone,
        with_the_weight_outside,
        with_channels_in_turn,
        summed_over_the_examples_alone,
        Named(without_the_mean, "(part - mean)"),
        Named(with_a_constant_deviation, "deviation"),
        Named(without_the_weight, "normal * weight"),
    )


@of_each_implementation(group_norm)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """The first group has mean 2, variance 2.5 and deviation 2; the second is constant."""
    params = GroupNorm(np.array([2, 4, 1, 1], dtype), np.array([1, 0, 0, -1], dtype))
    x = np.array([[[3, 1, 7, 7], [4, 0, 7, 7]]], dtype)
    out, kept = layer.forward(params, x, groups=2, eps=1.5)
    want = np.array([[[0.5, -0.5, 0, 0], [1, -1, 0, 0]]], dtype)
    np.testing.assert_array_equal(out, want * params.weight + params.bias)
    np.testing.assert_array_equal(kept.deviation.ravel(), [2, np.sqrt(dtype(1.5))])
    d_out = np.array([[[4, 2, 0, 0], [1, 0, 0, 0]]], dtype)
    (d_weight, d_bias), d_x = layer.backward(params, kept, d_out)
    np.testing.assert_array_equal(d_weight, np.array([3, -1, 0, 0], dtype))
    np.testing.assert_array_equal(d_bias, np.array([5, 2, 0, 0], dtype))
    # d_normal 8, 8, 2, 0 has mean 4.5, and d_normal * normal 4, -4, 2, 0 has mean 0.5
    want = np.array([[[1.625, 1.875, 0, 0], [-1.5, -2, 0, 0]]], dtype)
    np.testing.assert_array_equal(d_x, want)


@of_each_implementation(group_norm)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_shift_of_a_group_has_no_gradient_where_its_mean_is_rounded(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """The mean is off by a third of the last place of x, which is the deviation, more or less."""
    params = GroupNorm(np.ones(3, dtype), np.zeros(3, dtype))
    eps = np.finfo(dtype).eps
    x = np.array([[[1, 1, 1 + 3 * eps], [1, 1 + eps, 1]]], dtype)
    _, kept = layer.forward(params, x, groups=1, eps=eps**2)
    _, d_x = layer.backward(params, kept, np.array([[[0, 0, 1], [0, 0, 0]]], dtype))
    # Each of six elements is a sum of three terms below 1 / deviation, rounded five times at most.
    assert abs(d_x.sum(dtype=np.float64)) <= 6 * 3 * 5 * eps / 2 / kept.deviation.max()


@of_each_implementation(group_norm)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = GroupNorm(np.ones(4), np.zeros(4)), np.ones((2, 3, 4))
    _, kept = layer.forward(params, x, groups=2)
    with pytest.raises(ValueError, match="groups must divide the 4 channels of x, got 3"):
        layer.forward(params, x, groups=3)
    with pytest.raises(ValueError, match="groups must be at least 1, got 0"):
        layer.forward(params, x, groups=0)
    with pytest.raises(ValueError, match=r"params.bias must have shape \(4,\) .* got \(2,\)"):
        layer.forward(params._replace(bias=np.ones(2)), x, groups=2)
    with pytest.raises(TypeError, match=r"params.weight must be float32 .* got float64"):
        layer.forward(params, x.astype(np.float32), groups=2)
    with pytest.raises(ValueError, match=r"x must have at least 2 axes .* got shape \(4,\)"):
        layer.forward(params, np.ones(4), groups=2)
    with pytest.raises(ValueError, match="eps must be a finite number above 0, got 0"):
        layer.forward(params, x, groups=2, eps=0)
    single = [array.astype(np.float32) for array in params]
    with pytest.raises(
        ValueError, match="eps must be a finite number above 0 in float32, got 1e-60"
    ):
        layer.forward(type(params)(*single), x.astype(np.float32), groups=2, eps=1e-60)
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3, 4\) to fit out, got \(3,"):
        layer.backward(params, kept, np.ones(3))
