"""RMS normalisation, proven against JAX and on numbers that it normalises exactly."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import rms_norm
from manual_nn.layers.rms_norm import Kept, RMSNorm
from reference.layers import rms_norm as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    return Subject(lambda draw, _: (RMSNorm(draw(shape[-1])), draw(*shape)), options)


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3)
options = st.sampled_from([{}, {"eps": 1e-3}, {"eps": 0.5}])


@given(shape=shapes, options=options, seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], options: dict[str, float], seed: int
) -> None:
    prove(rms_norm, twin, subject_of(shape, **options), seed)


def with_a_sum_for_the_mean(params: RMSNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = rms_norm.backward(params, kept, d_out)
    d_normal = d_out * params.weight
    along = kept.normal * (d_normal * kept.normal).sum(axis=-1, keepdims=True)
    return d_params, (d_normal - along) / kept.rms


def with_a_constant_root(params: RMSNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = rms_norm.backward(params, kept, d_out)
    return d_params, d_out * params.weight / kept.rms


def as_layer_norm(params: RMSNorm, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = rms_norm.backward(params, kept, d_out)
    return d_params, d_x - (d_out * params.weight).mean(axis=-1, keepdims=True) / kept.rms


def without_the_weight(params: RMSNorm, kept: Kept, d_out: Any) -> Any:
    d_params, _ = rms_norm.backward(params, kept, d_out)
    return d_params, rms_norm.backward(RMSNorm(np.ones_like(params.weight)), kept, d_out)[1]


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        rms_norm,
        twin,
        subject_of([3, 4, 5]),
        Named(with_a_sum_for_the_mean, "normal = x / rms"),
        Named(with_a_constant_root, "normal = x / rms"),
        as_layer_norm,
        Named(without_the_weight, "normal * jnp.expand_dims(weight"),
    )


@of_each_implementation(rms_norm)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """The mean square is 7, the root 4."""
    params = RMSNorm(np.array([2, 4, 2, 4], dtype))
    x = np.array([[1, -1, 1, 5]], dtype)
    out, kept = layer.forward(params, x, eps=9)
    np.testing.assert_array_equal(out, np.array([[0.5, -1, 0.5, 5]], dtype))
    (d_weight,), d_x = layer.backward(params, kept, np.array([[4, 2, 8, 0]], dtype))
    np.testing.assert_array_equal(d_weight, np.array([1, -0.5, 2, 0], dtype))
    # d_normal 8, 8, 16, 0; d_normal * normal 2, -2, 4, 0 has mean 1
    np.testing.assert_array_equal(d_x, np.array([[1.9375, 2.0625, 3.9375, -0.3125]], dtype))


@of_each_implementation(rms_norm)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = RMSNorm(np.ones(3)), np.ones((2, 3))
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(4,\) .* got \(3,\)"):
        layer.forward(params, np.ones((2, 4)))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward(params, np.ones((2, 3), np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward(params, np.ones(()))
    with pytest.raises(ValueError, match="eps must be a finite number above 0, got -1"):
        layer.forward(params, x, eps=-1)
    single = [array.astype(np.float32) for array in params]
    with pytest.raises(
        ValueError, match="eps must be a finite number above 0 in float32, got 1e-60"
    ):
        layer.forward(type(params)(*single), x.astype(np.float32), eps=1e-60)
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(3,\)"):
        layer.backward(params, kept, np.ones(3))
