"""Layer normalisation, proven against JAX and on numbers that it normalises exactly."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import layer_norm
from manual_nn.layers.layer_norm import Kept, LayerNorm
from reference.layers import layer_norm as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    D = shape[-1]
    return Subject(lambda draw, _: (LayerNorm(draw(D), draw(D)), draw(*shape)), options)


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3)
options = st.sampled_from([{}, {"eps": 1e-3}, {"eps": 0.5}])


@given(shape=shapes, options=options, seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], options: dict[str, float], seed: int
) -> None:
    prove(layer_norm, twin, subject_of(shape, **options), seed)


def without_the_mean(params: LayerNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = layer_norm.backward(params, kept, d_out)
    d_normal = d_out * params.weight
    along = kept.normal * (d_normal * kept.normal).mean(axis=-1, keepdims=True)
    return d_params, (d_normal - along) / kept.deviation


def with_a_constant_deviation(params: LayerNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = layer_norm.backward(params, kept, d_out)
    d_normal = d_out * params.weight
    return d_params, (d_normal - d_normal.mean(axis=-1, keepdims=True)) / kept.deviation


def without_the_weight(params: LayerNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = layer_norm.backward(params, kept, d_out)
    ones = params._replace(weight=np.ones_like(params.weight))
    return d_params, layer_norm.backward(ones, kept, d_out)[1]


def with_all_but_the_first_axis_as_features(params: LayerNorm, kept: Kept, d_out: Any) -> Any:
    """The count of rows of flagos-ai/FlagGems#5392."""
    d_params, _ = layer_norm.backward(params, kept, d_out)
    M, D = len(d_out), d_out.shape[-1]
    wide = LayerNorm(*(np.tile(param, d_out.size // M // D) for param in params))
    deviation = kept.deviation.reshape(M, -1)[:, :1]
    rows = Kept(kept.normal.reshape(M, -1), deviation)
    return d_params, layer_norm.backward(wide, rows, d_out.reshape(M, -1))[1].reshape(d_out.shape)


def summed_over_the_first_axis_alone(params: LayerNorm, kept: Kept, d_out: Any) -> Any:
    (d_weight, _), d_x = layer_norm.backward(params, kept, d_out)
    return LayerNorm(d_weight, d_out.sum(axis=0)[0]), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        layer_norm,
        twin,
        subject_of([3, 4, 5]),
        Named(without_the_mean, "normal = (x - mean)"),
        Named(with_a_constant_deviation, "/ deviation"),
        Named(without_the_weight, "normal * weight + bias"),
        with_all_but_the_first_axis_as_features,
        summed_over_the_first_axis_alone,
    )


@of_each_implementation(layer_norm)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Mean 2, variance 2.5, deviation 2."""
    params = LayerNorm(np.array([2, 4, 2, 4], dtype), np.array([1, 0, -1, 0.5], dtype))
    x = np.array([[3, 1, 4, 0]], dtype)
    out, kept = layer.forward(params, x, eps=1.5)
    np.testing.assert_array_equal(kept.normal, np.array([[0.5, -0.5, 1, -1]], dtype))
    np.testing.assert_array_equal(out, np.array([[2, -2, 1, -3.5]], dtype))
    (d_weight, d_bias), d_x = layer.backward(params, kept, np.array([[4, 2, 1, 0]], dtype))
    np.testing.assert_array_equal(d_weight, np.array([2, -1, 1, 0], dtype))
    np.testing.assert_array_equal(d_bias, np.array([4, 2, 1, 0], dtype))
    # d_normal 8, 8, 2, 0 has mean 4.5, and d_normal * normal 4, -4, 2, 0 has mean 0.5
    np.testing.assert_array_equal(d_x, np.array([[1.625, 1.875, -1.5, -2]], dtype))


@of_each_implementation(layer_norm)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = LayerNorm(np.ones(3), np.zeros(3)), np.ones((2, 3))
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(4,\) .* got \(3,\)"):
        layer.forward(params, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"params.bias must have shape \(3,\) .* got \(2,\)"):
        layer.forward(params._replace(bias=np.ones(2)), x)
    with pytest.raises(TypeError, match=r"params.weight must be float32 .* got float64"):
        layer.forward(params, x.astype(np.float32))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward(params, np.ones((2, 3), np.int64))
    with pytest.raises(TypeError, match="x must be a NumPy array, got list"):
        layer.forward(params, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward(params, np.ones(()))
    with pytest.raises(ValueError, match="eps must be a finite number above 0, got 0"):
        layer.forward(params, x, eps=0)
    single = [array.astype(np.float32) for array in params]
    with pytest.raises(
        ValueError, match="eps must be a finite number above 0 in float32, got 1e-60"
    ):
        layer.forward(type(params)(*single), x.astype(np.float32), eps=1e-60)
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(3,\)"):
        layer.backward(params, kept, np.ones(3))
