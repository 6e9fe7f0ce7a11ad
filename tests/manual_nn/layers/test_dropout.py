"""Dropout, proven against JAX with masks of all shapes, and how its masks are drawn."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import dropout
from manual_nn.layers.dropout import Kept, draw_mask
from reference.layers import dropout as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int], **options: Any) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), options)


def mask_of(shape: list[int], rate: float, seed: int) -> Any:
    return draw_mask(shape, rate=rate, rng=np.random.default_rng(seed))


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    axis=st.sampled_from([None, 0, -1, "absent", "evaluation"]),
    rate=st.sampled_from([0.5, 0.0, 0.3, 0.9]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    shape: list[int], axis: Any, rate: float, seed: int
) -> None:
    """With a mask of the shape of x, with an axis of length 1 or one axis less, or with none."""
    lengths = shape[1:] if axis == "absent" else list(shape)
    if isinstance(axis, int):
        lengths[axis] = 1
    mask = None if axis == "evaluation" else mask_of(lengths, rate, seed)
    prove(dropout, twin, subject_of(shape, mask=mask, rate=rate), seed)


def with_another_mask(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    mask = mask_of([*kept.shape], kept.rate, seed=2)
    return dropout.backward(params, kept._replace(mask=mask), d_out)


def without_the_scale(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * kept.mask


def scaled_by_the_rate(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return dropout.backward(params, kept._replace(rate=1 - kept.rate), d_out)


def as_in_evaluation(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return dropout.backward(params, kept._replace(mask=None), d_out)


def without_the_mask(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out / (1 - kept.rate)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        dropout,
        twin,
        subject_of([4, 5], mask=mask_of([4, 5], 0.3, seed=1), rate=0.3),
        with_another_mask,
        Named(without_the_scale, "/ (1 - rate)"),
        scaled_by_the_rate,
        Named(as_in_evaluation, "return "),
        Named(without_the_mask, "mask"),
    )


@of_each_implementation(dropout)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_infinite_becomes_0_where_it_is_dropped(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    x = np.array([[1, np.inf, 0], [3, 4, 5]], dtype)
    mask = np.array([True, False, True])
    out, kept = layer.forward((), x, mask=mask, rate=0.75)
    np.testing.assert_array_equal(out, np.array([[4, 0, 0], [12, 0, 20]], dtype))
    d_out = np.array([[1, np.inf, 2], [3, 4, 5]], dtype)
    _, d_x = layer.backward((), kept, d_out)
    np.testing.assert_array_equal(d_x, np.array([[4, 0, 8], [12, 0, 20]], dtype))
    assert out.dtype == d_x.dtype == dtype


def test_a_mask_is_drawn_from_the_generator_alone() -> None:
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    first = draw_mask((100, 100), rate=0.25, rng=rng)
    np.testing.assert_array_equal(first, draw_mask((100, 100), rate=0.25, rng=again))
    assert (first != draw_mask((100, 100), rate=0.25, rng=rng)).any()  # it has moved on
    assert first.dtype == bool
    assert first.shape == (100, 100)
    # Of 10,000 entries 2,500 are dropped on average, with a deviation of sqrt(10,000 / 4 * 3 / 4).
    assert abs((~first).sum() - 2500) < 6 * 43.4
    assert draw_mask([3], rate=0, rng=rng).all()


@of_each_implementation(dropout)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x, rng = np.ones((2, 3)), np.random.default_rng(0)
    _, kept = layer.forward((), x)
    for rate in (1, 1.5):
        with pytest.raises(ValueError, match="rate must be below 1, got 1"):
            layer.forward((), x, rate=rate)
    with pytest.raises(ValueError, match=r"rate must be a finite number of at least 0, got -0.5"):
        draw_mask((2,), rate=-0.5, rng=rng)
    with pytest.raises(TypeError, match="mask must be a NumPy array of booleans, got float64"):
        layer.forward((), x, mask=x)
    with pytest.raises(TypeError, match="mask must be a NumPy array of booleans, got list"):
        layer.forward((), x, mask=[True])
    for shape in [(2,), (1, 2, 3)]:
        with pytest.raises(ValueError, match=r"mask must have a shape that .* \(2, 3\), that of x"):
            layer.forward((), x, mask=np.ones(shape, bool))
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, .*, got int"):
        draw_mask((2,), rate=0.5, rng=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape\[1\] must be at least 0, got -1"):
        draw_mask((2, -1), rate=0.5, rng=rng)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones(3, np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
