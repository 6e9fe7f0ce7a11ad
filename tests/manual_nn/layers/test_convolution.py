"""Convolution, proven against JAX with strides, dilations and padding, and on exact numbers."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import convolution
from manual_nn.layers.convolution import Convolution, Kept
from reference.layers import convolution as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(
    N: int, sizes: list[int], window: list[int], C: int, K: int, **options: Any
) -> Subject:
    c = C // options.get("groups", 1)
    return Subject(
        lambda draw, _: (Convolution(draw(*window, c, K), draw(K)), draw(N, *sizes, C)), options
    )


@st.composite
def subjects(draw: st.DrawFn) -> Subject:
    """Windows that fit into the input, of one or two axes; up to three groups of channels."""
    axes = draw(st.integers(1, 2))

    def each(most: int, least: int = 1) -> list[int]:
        return [draw(st.integers(least, most)) for _ in range(axes)]

    window, dilation = each(3), each(2)
    extents = [gap * (n - 1) + 1 for gap, n in zip(dilation, window, strict=True)]
    sizes = [extent + more for extent, more in zip(extents, each(3, least=0), strict=True)]
    stride, pairs = each(3), list(zip(each(2, least=0), each(2, least=0), strict=True))
    padding = draw(st.sampled_from(["valid", "same", pairs]))
    groups = draw(st.integers(1, 3))
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    return subject_of(
        draw(st.integers(1, 3)),
        sizes,
        window,
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        **draw(st.sampled_from([options, options, {}])),
    )


@given(subject=subjects(), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(subject: Subject, seed: int) -> None:
    prove(convolution, twin, subject, seed)


def where_windows_overlap_the_last(params: Convolution, kept: Kept, d_out: Any) -> Any:
    """Write where one has to add, as in 0809zheng/CS231n-assignment2019#19."""
    d_params, d_x = convolution.backward(params, kept, d_out)
    d_padded = np.zeros_like(kept.padded)
    for w, places in convolution.places_of(kept.geometry):
        d_padded[places] = d_out @ params.weight[w].T
    (top, _), (left, _) = kept.geometry.padding
    return d_params, d_padded[:, top : top + d_x.shape[1], left : left + d_x.shape[2]]


def with_the_window_flipped(params: Convolution, kept: Kept, d_out: Any) -> Any:
    d_params, _ = convolution.backward(params, kept, d_out)
    turned = params._replace(weight=np.flip(params.weight, (0, 1)))
    return d_params, convolution.backward(turned, kept, d_out)[1]


def padded_in_front(params: Convolution, kept: Kept, d_out: Any) -> Any:
    """The extra zero of an even window stands before the input."""
    pairs = tuple((after, before) for before, after in kept.geometry.padding)
    turned = kept._replace(geometry=kept.geometry._replace(padding=pairs))
    return convolution.backward(params, turned, d_out)


def with_a_bias_for_each_place(params: Convolution, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = convolution.backward(params, kept, d_out)
    return d_params._replace(bias=d_out.sum(axis=0)[0, 0]), d_x


def with_the_mean_for_the_bias(params: Convolution, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = convolution.backward(params, kept, d_out)
    return d_params._replace(bias=d_params.bias / len(d_out)), d_x


def with_the_mean_over_the_examples(params: Convolution, kept: Kept, d_out: Any) -> Any:
    """Divide by the number of examples what the loss has divided by it."""
    d_params, d_x = convolution.backward(params, kept, d_out)
    return d_params._replace(weight=d_params.weight / len(d_out)), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        convolution,
        twin,
        subject_of(2, [5, 4], [3, 2], 2, 3, stride=1, dilation=1, padding="same"),
        Named(where_windows_overlap_the_last, "lax.conv"),
        Named(with_the_window_flipped, "lax.conv"),
        Named(padded_in_front, "lax.conv"),
        with_a_bias_for_each_place,
        Named(with_the_mean_for_the_bias, "expand_dims(bias"),
        Named(with_the_mean_over_the_examples, "lax.conv"),
    )


def with_the_channels_shuffled(params: Convolution, kept: Kept, d_out: Any) -> Any:
    """Let channel k belong to group k mod G, as where the axes of a reshape are exchanged."""
    K, G = len(params.bias), kept.groups
    order = np.arange(K).reshape(-1, G).T.ravel()
    (d_weight, _), d_x = convolution.backward(params, kept, d_out[..., order])
    right, _ = convolution.backward(params, kept, d_out)
    return Convolution(d_weight[..., np.argsort(order)], right.bias), d_x


def of_the_first_group_alone(params: Convolution, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = convolution.backward(params, kept, d_out)
    return d_params, np.where(np.arange(d_x.shape[-1]) < d_x.shape[-1] // kept.groups, d_x, 0)


def test_the_mistakes_that_people_make_with_groups_are_seen() -> None:
    refute(
        convolution,
        twin,
        subject_of(2, [5, 4], [3, 2], 4, 6, groups=2),
        with_the_channels_shuffled,
        of_the_first_group_alone,
    )


@of_each_implementation(convolution)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_places_beyond_the_last_window_get_no_gradient(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Windows of 2 with a stride of 3 on 6 places: places 2 and 5 are in none."""
    params = Convolution(np.array([[[2]], [[3]]], dtype), np.array([1], dtype))
    x = np.array([1, 2, 4, 8, 16, 32], dtype).reshape(1, 6, 1)
    out, kept = layer.forward(params, x, stride=3)
    np.testing.assert_array_equal(out, np.array([[[9], [65]]], dtype))
    (d_weight, d_bias), d_x = layer.backward(params, kept, np.array([[[1], [10]]], dtype))
    np.testing.assert_array_equal(d_weight, np.array([[[81]], [[162]]], dtype))
    np.testing.assert_array_equal(d_bias, np.array([11], dtype))
    np.testing.assert_array_equal(d_x.ravel(), np.array([2, 3, 0, 20, 30, 0], dtype))
    assert d_weight.dtype == d_bias.dtype == d_x.dtype == dtype


def test_three_axes_of_places_are_as_good_as_two() -> None:
    prove(convolution, twin, subject_of(2, [3, 2, 2], [2, 1, 2], 2, 2, padding="same"), seed=0)


def test_a_window_may_fill_the_padded_input() -> None:
    prove(convolution, twin, subject_of(2, [3], [5], 1, 2, padding=[(1, 1)]), seed=0)


@of_each_implementation(convolution)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = Convolution(np.ones((2, 2, 3, 4)), np.ones(4)), np.ones((1, 5, 5, 3))
    _, kept = layer.forward(params, x)
    with pytest.raises(
        ValueError, match=r"params.weight must have shape \(2, 2, 2, 4\) .* \(2, 2, 3"
    ):
        layer.forward(params, np.ones((1, 5, 5, 2)))
    with pytest.raises(ValueError, match=r"params.weight must have at least 3 axes"):
        layer.forward(params._replace(weight=np.ones((3, 4))), x)
    with pytest.raises(ValueError, match=r"params.bias must have shape \(4,\) .* got \(3,\)"):
        layer.forward(params._replace(bias=np.ones(3)), x)
    with pytest.raises(ValueError, match="x must have at least 3 axes"):
        layer.forward(params, np.ones((5, 3)))
    with pytest.raises(ValueError, match="of 1 places in axis 1, got an extent of 2"):
        layer.forward(params, np.ones((1, 1, 5, 3)))
    with pytest.raises(ValueError, match="of 4 places in axis 1, got an extent of 6"):
        layer.forward(params, np.ones((1, 1, 9, 3)), dilation=5, padding=[(2, 1), (0, 0)])
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        layer.forward(params, x, stride=0)
    with pytest.raises(ValueError, match=r"dilation must have 2 numbers, one an axis, got \[1\]"):
        layer.forward(params, x, dilation=[1])
    with pytest.raises(ValueError, match="groups must divide the 3 channels in and 4 out, got 2"):
        layer.forward(params, x, groups=2)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(2, 2, 1, 3\)"):
        layer.forward(Convolution(np.ones((2, 2, 3, 3)), np.ones(3)), x, groups=3)
    for padding in ("full", [(1, 1)], [(1, 1, 1), (0, 0)], [(0, 0), (1,)]):
        with pytest.raises(ValueError, match='padding must be "valid", "same" or 2 pairs'):
            layer.forward(params, x, padding=padding)
    with pytest.raises(TypeError, match='padding must be "valid", "same" or 2 pairs'):
        layer.forward(params, x, padding=1)
    with pytest.raises(ValueError, match=r"padding\[1\] must be at least 0, got -1"):
        layer.forward(params, x, padding=[(0, 0), (0, -1)])
    with pytest.raises(ValueError, match=r"d_out must have shape \(1, 4, 4, 4\) .*, got \(4,\)"):
        layer.backward(params, kept, np.ones(4))


@of_each_implementation(convolution)
def test_what_is_not_padded_is_not_copied_and_padding_may_be_an_array(layer: ModuleType) -> None:
    params = Convolution(np.ones((2, 1, 1)), np.zeros(1))
    x = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
    _, kept = layer.forward(params, x)
    assert kept.padded is x
    out, _ = layer.forward(params, x, padding=np.array([[1, 0]]))
    np.testing.assert_array_equal(out.ravel(), [1, 3, 6])
    out, _ = layer.forward(params._replace(weight=np.ones((1, 1, 1))), x, stride=3, padding="same")
    np.testing.assert_array_equal(out.ravel(), [1])  # where a step is wider than the window
