"""Max pooling, proven against JAX where windows overlap, hang over the edge and hold ties."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from manual_nn.layers import max_pool
from manual_nn.layers.convolution import places_of
from manual_nn.layers.max_pool import Kept
from reference.layers import max_pool as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.layers import pools
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), options)


@given(pool=pools(), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(
    pool: tuple[list[int], dict[str, Any]], seed: int
) -> None:
    shape, options = pool
    prove(max_pool, twin, subject_of(shape, **options), seed)


def where_windows_overlap_the_last(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Write where one has to add, as in 0809zheng/CS231n-assignment2019#19."""
    _, d_x = max_pool.backward(params, kept, d_out)
    d_x[...] = 0
    for number, (_, places) in enumerate(places_of(kept.geometry)):
        np.copyto(d_x[places], d_out, where=kept.winner == number)
    return (), d_x


def with_one_mask_for_all_channels(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    first = np.repeat(kept.winner[..., :1], d_out.shape[-1], axis=-1)
    return max_pool.backward(params, kept._replace(winner=first), d_out)


def counted_from_the_first_window(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = max_pool.backward(params, kept, d_out)
    d_x[...] = 0
    for number, (w, _) in enumerate(places_of(kept.geometry)):
        places: Any = (slice(None), *w)
        d_x[places] += np.where(kept.winner == number, d_out, 0).sum(axis=(1, 2))
    return (), d_x


def as_a_mean(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = max_pool.backward(params, kept, d_out)
    d_x[...] = 0
    for _, places in places_of(kept.geometry):
        d_x[places] += d_out / np.prod(kept.geometry.window, dtype=d_out.dtype)
    return (), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        max_pool,
        twin,
        subject_of([2, 4, 4, 3], window=[2, 3], stride=1),
        Named(where_windows_overlap_the_last, "largest = jnp.take_along_axis("),
        Named(with_one_mask_for_all_channels, "largest = jnp.take_along_axis("),
        Named(as_a_mean, "largest = jnp.take_along_axis("),
        counted_from_the_first_window,
    )


@of_each_implementation(max_pool)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_tied_entries_the_first_has_all_and_none_loses_to_the_padding(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """The windows are (-, 0), (0, 0), (0, 0), (0, -1), (-1, -2) and (-2, -)."""
    x = np.array([0, 0, 0, -1, -2], dtype).reshape(1, 5, 1)
    out, kept = layer.forward((), x, window=2, stride=1, padding=[(1, 1)])
    np.testing.assert_array_equal(out.ravel(), np.array([0, 0, 0, 0, -1, -2], dtype))
    d_out = np.array([1, 2, 4, 8, 16, 32], dtype).reshape(1, 6, 1)
    _, d_x = layer.backward((), kept, d_out)
    np.testing.assert_array_equal(d_x.ravel(), np.array([1 + 2, 4, 8, 16, 32], dtype))
    assert out.dtype == d_x.dtype == dtype


@of_each_implementation(max_pool)
def test_a_tie_in_an_image_goes_to_the_first_in_memory(layer: ModuleType) -> None:
    x = np.array([[0.0, 1.0], [1.0, 1.0]]).reshape(1, 2, 2, 1)
    _, kept = layer.forward((), x, window=2)
    _, d_x = layer.backward((), kept, np.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(d_x.ravel(), [0, 1, 0, 0])


@of_each_implementation(max_pool)
def test_not_a_number_is_not_lost_and_infinite_gradients_stay_where_they_are(
    layer: ModuleType,
) -> None:
    x = np.array([3.0, np.nan, 5.0, 1.0, 2.0]).reshape(1, 5, 1)
    out, kept = layer.forward((), x, window=3, stride=2)
    np.testing.assert_array_equal(out.ravel(), [np.nan, 5])
    _, d_x = layer.backward((), kept, np.array([1.0, np.inf]).reshape(1, 2, 1))
    np.testing.assert_array_equal(d_x.ravel(), [0, 1, np.inf, 0, 0])


@of_each_implementation(max_pool)
def test_a_window_may_have_more_places_than_a_byte_can_number(layer: ModuleType) -> None:
    x = np.arange(300.0).reshape(1, 300, 1)
    out, kept = layer.forward((), x, window=257, stride=40)
    np.testing.assert_array_equal(out.ravel(), [256, 296])
    _, d_x = layer.backward((), kept, np.ones((1, 2, 1)))
    np.testing.assert_array_equal(np.flatnonzero(d_x), [256, 296])
    assert kept.winner.dtype == np.uint16
    assert layer.forward((), x, window=256)[1].winner.dtype == np.uint8


@of_each_implementation(max_pool)
def test_a_window_of_nothing_but_minus_infinity_gives_to_its_first_place_inside_x(
    layer: ModuleType,
) -> None:
    """The windows are (-, 0), (0, 1), (1, 2) and (2, -)."""
    x = np.array([-np.inf, -np.inf, -np.inf]).reshape(1, 3, 1)
    out, kept = layer.forward((), x, window=2, stride=1, padding=[(1, 1)])
    np.testing.assert_array_equal(out.ravel(), [-np.inf] * 4)
    _, d_x = layer.backward((), kept, np.array([1.0, 2, 4, 8]).reshape(1, 4, 1))
    np.testing.assert_array_equal(d_x.ravel(), [1 + 2, 4, 8])


@of_each_implementation(max_pool)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x = np.ones((1, 5, 5, 3))
    _, kept = layer.forward((), x, window=2)
    with pytest.raises(ValueError, match="x must have at least 3 axes"):
        layer.forward((), np.ones((5, 3)), window=2)
    with pytest.raises(ValueError, match=r"window must fit into the padded x, of 5 places in axis"):
        layer.forward((), x, window=6)
    with pytest.raises(ValueError, match="window must have 2 numbers, one an axis, got "):
        layer.forward((), x, window=[2])
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        layer.forward((), x, window=0)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        layer.forward((), x, window=2, stride=0)
    for pair in [(2, 0), (0, 2)]:
        with pytest.raises(ValueError, match="padding must be less than the window, 2, got 2"):
            layer.forward((), x, window=2, padding=[(0, 0), pair])
        with pytest.raises(ValueError, match="padding must be less than the window, 2, got 2"):
            layer.forward((), x, window=2, padding=[pair, (0, 0)])
    for number in (1, [1, 1]):
        with pytest.raises(TypeError, match='padding must be "valid", "same" or 2 pairs of numb'):
            layer.forward((), x, window=2, padding=number)
    with pytest.raises(ValueError, match=r"d_out must have shape \(1, 2, 2, 3\) .*, got \(3,\)"):
        layer.backward((), kept, np.ones(3))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((1, 2, 2, 3), np.float32))
