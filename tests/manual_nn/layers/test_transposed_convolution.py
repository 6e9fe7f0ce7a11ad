"""Transposed convolution, proven against JAX with strides and padding, and on exact numbers."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import convolution, transposed_convolution
from manual_nn.layers.convolution import Convolution, by_group, joined, places_of
from manual_nn.layers.transposed_convolution import Kept, TransposedConvolution
from reference.layers import transposed_convolution as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(
    N: int, sizes: list[int], window: list[int], C: int, K: int, **options: Any
) -> Subject:
    c = C // options.get("groups", 1)
    return Subject(
        lambda draw, _: (
            TransposedConvolution(draw(*window, c, K), draw(K)),
            draw(N, *sizes, C),
        ),
        options,
    )


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    """Windows on one or two axes, of whose output something is left; up to three groups."""
    axes = draw(st.integers(1, 2))

    def each(most: int, least: int = 1) -> list[int]:
        return [draw(st.integers(least, most)) for _ in range(axes)]

    window, dilation, stride, sizes = each(3), each(2), each(3), each(3)
    padding: Any = draw(st.sampled_from(["valid", "same", "pairs"]))
    groups = draw(st.integers(1, 3))
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": padding}
    if padding == "pairs":
        reach = [gap * (m - 1) for gap, m in zip(dilation, window, strict=True)]
        ends = [[draw(st.integers(0, e)) for e in reach] for _ in range(2)]
        left = [
            step * (n - 1) + e + 1 - a - b
            for step, n, e, a, b in zip(stride, sizes, reach, *ends, strict=True)
        ]
        options["padding"] = [*zip(*ends, strict=True)] if min(left) > 0 else [(0, 0)] * axes
    if padding != "same":
        options["output_padding"] = [draw(st.integers(0, step - 1)) for step in stride]
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    options = draw(st.sampled_from([options | {"groups": groups}, options, {}]))
    return subject_of(draw(st.integers(1, 3)), sizes, window, *channels, **options)


@given(subject=subjects(), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(subject: Subject, seed: int) -> None:
    prove(transposed_convolution, twin, subject, seed)


def with_the_window_flipped(params: Any, kept: Kept, d_out: Any) -> Any:
    d_params, _ = transposed_convolution.backward(params, kept, d_out)
    turned = params._replace(weight=np.flip(params.weight, (0, 1)))
    return d_params, transposed_convolution.backward(turned, kept, d_out)[1]


def padded_on_the_other_side(params: Any, kept: Kept, d_out: Any) -> Any:
    pairs = tuple((after, before) for before, after in kept.geometry.padding)
    turned = kept._replace(geometry=kept.geometry._replace(padding=pairs))
    return transposed_convolution.backward(params, turned, d_out)


def without_the_stride(params: Any, kept: Kept, d_out: Any) -> Any:
    geometry = kept.geometry._replace(stride=(1, 1))
    return transposed_convolution.backward(params, kept._replace(geometry=geometry), d_out)


def with_the_bias_of_the_windows_alone(params: Any, kept: Kept, d_out: Any) -> Any:
    """Leave out the places that no window reaches."""
    d_params, d_x = transposed_convolution.backward(params, kept, d_out)
    geometry = kept.geometry
    reached = np.zeros((len(d_out), *geometry.padded), bool)
    for _, places in places_of(geometry):
        reached[places] = True
    return d_params._replace(bias=d_out[reached[:, *geometry.inside]].sum(axis=0)), d_x


def with_the_mean_for_the_bias(params: Any, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = transposed_convolution.backward(params, kept, d_out)
    return d_params._replace(bias=d_params.bias / len(d_out)), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    subject = subject_of(
        2, [3, 2], [3, 2], 2, 3, stride=[2, 3], padding=[(1, 0), (0, 0)], output_padding=[0, 2]
    )
    refute(
        transposed_convolution,
        twin,
        subject,
        Named(with_the_window_flipped, "lax.conv"),
        Named(padded_on_the_other_side, "lax.conv"),
        Named(without_the_stride, "lax.conv"),
        with_the_bias_of_the_windows_alone,
        Named(with_the_mean_for_the_bias, "expand_dims(bias"),
    )


@of_each_implementation(transposed_convolution)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_windows_that_overlap_add_up(layer: ModuleType, dtype: type[np.floating[Any]]) -> None:
    """Windows of 3 with a stride of 2; the first place is cut off, and one is added."""
    params = TransposedConvolution(np.array([[[1]], [[2]], [[4]]], dtype), np.array([8], dtype))
    x = np.array([1, 16], dtype).reshape(1, 2, 1)
    out, kept = layer.forward(params, x, stride=2, padding=[(1, 0)], output_padding=1)
    np.testing.assert_array_equal(out.ravel(), np.array([10, 28, 40, 72, 8], dtype))
    d_out = np.array([1, 2, 3, 4, 5], dtype).reshape(1, 5, 1)
    (d_weight, d_bias), d_x = layer.backward(params, kept, d_out)
    np.testing.assert_array_equal(d_weight.ravel(), np.array([32, 1 + 48, 2 + 64], dtype))
    np.testing.assert_array_equal(d_bias, np.array([15], dtype))
    np.testing.assert_array_equal(d_x.ravel(), np.array([2 + 8, 2 + 6 + 16], dtype))
    assert out.dtype == d_weight.dtype == d_bias.dtype == d_x.dtype == dtype


@of_each_implementation(transposed_convolution)
def test_it_is_what_a_convolution_does_to_its_gradient(layer: ModuleType) -> None:
    """Bit for bit, of integers, in two groups, and with a size that a stride does not divide."""
    rng = np.random.default_rng(0)
    weight, x = (rng.integers(-3, 4, shape) / 1.0 for shape in ((2, 3, 2, 2), (2, 6, 7, 4)))
    options: dict[str, Any] = {"stride": [2, 3], "padding": [(1, 0), (0, 1)], "groups": 2}
    _, kept = convolution.forward(Convolution(weight, np.zeros(2)), x, **options)
    d_out = rng.integers(-3, 4, (2, 3, 2, 2)) / 1.0
    _, d_x = convolution.backward(Convolution(weight, np.zeros(2)), kept, d_out)
    exchanged = joined(by_group(weight, 2).swapaxes(-1, -2))  # (w..., k, C) of (w..., c, K)
    params = TransposedConvolution(exchanged, np.zeros(4))
    out, _ = layer.forward(params, d_out, output_padding=[1, 2], **options)
    np.testing.assert_array_equal(out, d_x)


@of_each_implementation(transposed_convolution)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = TransposedConvolution(np.ones((2, 2, 3, 4)), np.ones(4)), np.ones((1, 5, 5, 3))
    _, kept = layer.forward(params, x)
    forward = layer.forward
    with pytest.raises(ValueError, match=r"params.weight must have shape \(2, 2, 2, 4\)"):
        forward(params, np.ones((1, 5, 5, 2)))
    with pytest.raises(ValueError, match=r"params.bias must have shape \(4,\) .* got \(3,\)"):
        forward(params._replace(bias=np.ones(3)), x)
    with pytest.raises(ValueError, match="x must have at least 3 axes"):
        forward(params, np.ones((5, 3)))
    with pytest.raises(ValueError, match="groups must divide the 3 channels in and 4 out, got 2"):
        forward(params, x, groups=2)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(2, 2, 1, 3\) .* got"):
        forward(TransposedConvolution(np.ones((2, 2, 3, 3)), np.ones(3)), x, groups=3)
    with pytest.raises(ValueError, match="output_padding must be below the stride, 1, got 1"):
        forward(params, x, output_padding=1)
    for added in ([0, 2], [2, 0]):
        with pytest.raises(ValueError, match="output_padding must be below the stride, 2, got 2"):
            forward(params, x, stride=2, output_padding=added)
    with pytest.raises(ValueError, match=r"output_padding must have 2 numbers, .* got \[1\]"):
        forward(params, x, stride=2, output_padding=[1])
    with pytest.raises(ValueError, match="output_padding must be at least 0, got -1"):
        forward(params, x, output_padding=-1)
    with pytest.raises(ValueError, match='output_padding must be 0 with "same", got 1'):
        forward(params, x, stride=2, padding="same", output_padding=1)
    with pytest.raises(ValueError, match=r"padding must leave something .* \(6, 6\), got"):
        forward(params, x, padding=[(3, 3), (0, 0)])
    with pytest.raises(ValueError, match='padding must be "valid", "same" or 2 pairs'):
        forward(params, x, padding="full")
    with pytest.raises(ValueError, match=r"d_out must have shape \(1, 6, 6, 4\) .*, got \(4,\)"):
        layer.backward(params, kept, np.ones(4))


@of_each_implementation(transposed_convolution)
def test_padding_may_be_an_array(layer: ModuleType) -> None:
    params = TransposedConvolution(np.ones((2, 1, 1)), np.zeros(1))
    x, padding = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1), np.array([[1, 0]])
    out, _ = layer.forward(params, x, padding=padding)
    np.testing.assert_array_equal(out.ravel(), [3, 6, 4])
