"""Average pooling, proven against JAX where windows overlap and hang over the edge."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import average_pool
from manual_nn.layers.average_pool import Kept
from manual_nn.layers.convolution import places_of
from reference.layers import average_pool as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.layers import pools
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), options)


counts = st.sampled_from([{}, {"count_include_pad": False}])


@given(pool=pools(), count=counts, seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(
    pool: tuple[list[int], dict[str, Any]], count: dict[str, bool], seed: int
) -> None:
    shape, options = pool
    prove(average_pool, twin, subject_of(shape, **options, **count), seed)


def where_windows_overlap_the_last(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = average_pool.backward(params, kept, d_out)
    d_padded = np.zeros_like(d_x, shape=(len(d_x), *kept.geometry.padded, d_x.shape[-1]))
    for _, places in places_of(kept.geometry):
        d_padded[places] = d_out / kept.counts
    return (), d_padded[:, *kept.geometry.inside]


def without_the_count(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return average_pool.backward(params, kept._replace(counts=np.ones_like(kept.counts)), d_out)


def with_the_count_twice(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return average_pool.backward(params, kept._replace(counts=kept.counts**2), d_out)


def with_the_count_of_the_whole_window(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    whole = np.full_like(kept.counts, np.prod(kept.geometry.window))
    return average_pool.backward(params, kept._replace(counts=whole), d_out)


def over_the_windows_of_each_place(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, covered = without_the_count(params, kept, np.ones_like(d_out))
    _, d_sum = without_the_count(params, kept, d_out)
    return (), d_sum / covered


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        average_pool,
        twin,
        subject_of([2, 4, 4, 3], window=[2, 3], stride=1, padding="same", count_include_pad=False),
        Named(without_the_count, "sums / count"),
        Named(where_windows_overlap_the_last, "sums = "),
        Named(with_the_count_twice, "sums / count"),
        Named(with_the_count_of_the_whole_window, "sums / count"),
        over_the_windows_of_each_place,
    )


@of_each_implementation(average_pool)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_padding_counts_or_not(layer: ModuleType, dtype: type[np.floating[Any]]) -> None:
    """Windows of 4 with a stride of 2 on 4 places, with 2 zeros before and after."""
    x = np.array([8, 16, 4, 12], dtype).reshape(1, 4, 1)
    d_out = np.array([4, 8, 16], dtype).reshape(1, 3, 1)
    wants = {True: ([6, 10, 4], [3, 3, 6, 6]), False: ([12, 10, 8], [4, 4, 10, 10])}
    for count_include_pad, (want, d_want) in wants.items():
        out, kept = layer.forward(
            (), x, window=4, stride=2, padding=[(2, 2)], count_include_pad=count_include_pad
        )
        np.testing.assert_array_equal(out.ravel(), np.array(want, dtype))
        _, d_x = layer.backward((), kept, d_out)
        np.testing.assert_array_equal(d_x.ravel(), np.array(d_want, dtype))
        assert out.dtype == d_x.dtype == dtype


@of_each_implementation(average_pool)
def test_one_count_is_kept_where_all_are_the_same(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 9, 9, 3)), window=3)
    np.testing.assert_array_equal(kept.counts, [[[9]]])


@of_each_implementation(average_pool)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x = np.ones((1, 5, 5, 3))
    _, kept = layer.forward((), x, window=2)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones((1, 5, 3), np.int64), window=2)
    with pytest.raises(ValueError, match="window must fit into the padded x, of 5 places in axis"):
        layer.forward((), x, window=6)
    with pytest.raises(ValueError, match="padding must be less than the window, 2, got 2"):
        layer.forward((), x, window=2, padding=[(0, 0), (2, 0)])
    with pytest.raises(TypeError, match="count_include_pad must be a bool, got int"):
        layer.forward((), x, window=2, count_include_pad=0)
    with pytest.raises(ValueError, match=r"d_out must have shape \(1, 2, 2, 3\) .*, got \(3,\)"):
        layer.backward((), kept, np.ones(3))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((1, 2, 2, 3), np.float32))
