"""What the parameters of every layer begin with, and where they are drawn from."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from manual_nn.layers import (
    batch_norm,
    convolution,
    dense,
    embedding,
    group_norm,
    gru,
    layer_norm,
    lstm,
    mixture_of_experts,
    rms_norm,
    transposed_convolution,
)
from tests.support.cases import each

# Each layer at some sizes: its parameters, and what `init` says of the variance of its weight.
DRAWN: dict[str, tuple[Callable[..., Any], dict[str, tuple[int, ...]], float]] = {
    "dense": (lambda **more: dense.init(60, 40, **more), {"weight": (60, 40), "bias": (40,)}, 0.02),
    "embedding": (lambda **more: embedding.init(50, 30, **more), {"weight": (50, 30)}, 1),
    "convolution": (
        lambda **more: convolution.init([3, 2], 8, 12, groups=4, **more),
        {"weight": (3, 2, 2, 12), "bias": (12,)},
        1 / 15,  # 2 / (6 * 2 + 6 * 3)
    ),
    "convolution in one group": (
        lambda **more: convolution.init([4], 10, 15, **more),
        {"weight": (4, 10, 15), "bias": (15,)},
        0.02,
    ),
    "transposed_convolution": (
        lambda **more: transposed_convolution.init([4], 10, 15, **more),
        {"weight": (4, 10, 15), "bias": (15,)},
        0.02,
    ),
    "lstm": (
        lambda **more: lstm.init(30, 20, **more),
        {"weight": (30, 80), "recurrent_weight": (20, 80), "bias": (80,)},
        0.04,
    ),
    "gru": (
        lambda **more: gru.init(30, 20, **more),
        {
            "weight": (30, 60),
            "recurrent_weight": (20, 60),
            "bias": (60,),
            "recurrent_bias": (20,),
        },
        0.04,
    ),
}


@each("name", DRAWN)
def test_weights_have_their_variance_and_biases_are_0(name: str) -> None:
    """The sample's mean and variance lie within 5 of their own deviations: that of seed 0 does."""
    init, shapes, variance = DRAWN[name]
    params = init(rng=np.random.default_rng(0))
    assert {field: array.shape for field, array in params._asdict().items()} == shapes
    n = params.weight.size
    assert abs(params.weight.mean()) < 5 * math.sqrt(variance / n)
    assert abs(params.weight.var() / variance - 1) < 5 * math.sqrt(2 / n)
    biases = {field: array for field, array in params._asdict().items() if "bias" in field}
    if name == "lstm":  # the forget gates
        np.testing.assert_array_equal(biases["bias"].reshape(4, -1).T[0], [0, 1, 0, 0])
        assert biases.pop("bias").sum() == 20
    assert not any(bias.any() for bias in biases.values())


def test_each_expert_is_drawn_as_a_dense_layer_is() -> None:
    params = mixture_of_experts.init(30, 20, 5, rng=np.random.default_rng(0))
    shapes = [(30, 5), (5, 30, 20), (5, 20), (5, 20, 30), (5, 30)]
    assert [array.shape for array in params] == shapes
    for weight in (params.weight_up, params.weight_down):
        assert abs(weight.var() / 0.04 - 1) < 5 * math.sqrt(2 / weight.size)
    assert not params.bias_up.any()
    assert not params.bias_down.any()


@each("name", DRAWN)
def test_the_same_generator_draws_the_same_in_both_precisions(name: str) -> None:
    init, _, _ = DRAWN[name]
    double, single = (
        init(rng=np.random.default_rng(7), dtype=dtype) for dtype in (np.float64, np.float32)
    )
    for one, other in zip(double, single, strict=True):
        assert (one.dtype, other.dtype) == (np.float64, np.float32)
        np.testing.assert_array_equal(one.astype(np.float32), other)
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, .*, got int"):
        init(rng=0)
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got int64"):
        init(rng=np.random.default_rng(0), dtype=int)


def test_each_call_draws_from_its_generator_into_new_arrays() -> None:
    inits: list[Callable[..., Any]] = [init for init, _, _ in DRAWN.values()]
    inits.append(functools.partial(mixture_of_experts.init, 3, 4, 5))
    for init in inits:
        one, other = (init(rng=np.random.default_rng(seed))._asdict() for seed in (1, 2))
        for field in one:
            assert "bias" in field or (one[field] != other[field]).all(), field
            assert not np.shares_memory(one[field], other[field]), field


@each("layer", [lstm, gru])
def test_recurrent_weights_are_orthogonal_for_each_gate(layer: Any) -> None:
    """Up to the rounding of inner products of 20 terms, whose absolute values sum to 1 at most."""
    params = layer.init(5, 20, rng=np.random.default_rng(0))
    for gate in np.split(params.recurrent_weight, params.recurrent_weight.shape[1] // 20, axis=1):
        product = gate.T @ gate
        assert (abs(product - np.eye(20)) < 20 * 20 * np.finfo(np.float64).eps).all()


@each("layer", [layer_norm, rms_norm, batch_norm, group_norm])
def test_norms_begin_with_ones_and_zeros(layer: Any) -> None:
    for dtype in (np.float32, np.float64):
        weight, *bias = layer.init(3, dtype=dtype)
        np.testing.assert_array_equal(weight, [1, 1, 1])
        assert weight.dtype == dtype
        for zeros in bias:
            np.testing.assert_array_equal(zeros, [0, 0, 0])
            assert zeros.dtype == dtype
    with pytest.raises(ValueError, match=r"[CD] must be at least 1, got 0"):
        layer.init(0)


def test_sizes_that_are_none_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="fan_in must be at least 1, got 0"):
        dense.init(0, 2, rng=rng)
    with pytest.raises(TypeError, match=r"V must be a whole number, got 1\.5"):
        embedding.init(1.5, 2, rng=rng)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="groups must divide the 4 channels in and 6 out, got 4"):
        convolution.init([3], 4, 6, groups=4, rng=rng)
    with pytest.raises(ValueError, match=r"fan_in must be at least 1, got 0"):
        convolution.init([0], 4, 6, rng=rng)
    for layer in (lstm, gru):
        with pytest.raises(ValueError, match="fan_out must be at least 1, got 0"):
            layer.init(2, 0, rng=rng)
