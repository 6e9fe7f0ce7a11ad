"""Softmax, proven against JAX, and on numbers that are exact."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import softmax
from manual_nn.layers.softmax import Kept
from reference.layers import softmax as twin
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(shape: list[int]) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), {})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(softmax, twin, subject_of(shape), seed)


def by_the_diagonal_alone(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), kept.p * (1 - kept.p) * d_out


def with_the_sum_of_all_rows(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), kept.p * (d_out - (kept.p * d_out).sum())


def with_sums_over_the_rows(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    return (), kept.p * (d_out - (kept.p * d_out).sum(axis=0))


def with_its_jacobian_twice(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, d_x = softmax.backward(params, kept, d_out)
    return softmax.backward(params, kept, d_x)


def as_if_the_loss_knew_it(params: tuple[()], kept: Kept, d_out: Any) -> Any:  # noqa: ARG001
    """Pass p - y on, which is right below a cross-entropy, for whatever else is above."""
    return (), d_out.copy()


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        softmax,
        twin,
        subject_of([4, 5]),
        Named(by_the_diagonal_alone, "jax.nn.softmax(x"),
        with_the_sum_of_all_rows,
        with_sums_over_the_rows,
        Named(with_its_jacobian_twice, "jax.nn.softmax(x"),
        Named(as_if_the_loss_knew_it, "jax.nn.softmax(x"),
    )


@of_each_implementation(softmax)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_entries_tie_or_are_excluded(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    largest = np.finfo(dtype).max
    x = np.array([[7, 7, 7, 7], [largest, largest, -largest, -np.inf]], dtype)
    with np.errstate(over="ignore"):  # which Python warns of where it runs what is compiled
        out, kept = layer.forward((), x)
    np.testing.assert_array_equal(out, np.array([[0.25] * 4, [0.5, 0.5, 0, 0]], dtype))
    d_out = np.array([[4, 0, 0, 0], [2, 4, 100, 100]], dtype)
    _, d_x = layer.backward((), kept, d_out)
    want = np.array([[0.75, -0.25, -0.25, -0.25], [-0.5, 0.5, 0, 0]], dtype)
    np.testing.assert_array_equal(d_x, want)
    assert out.dtype == d_x.dtype == dtype


@of_each_implementation(softmax)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_likely_class_keeps_its_digits(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """The other has a probability of 2e-9; exp is off by 4 ulps, each operation by half a one."""
    x = np.array([[0, -20], [-20, 0]], dtype)
    _, kept = layer.forward((), x)
    _, d_x = layer.backward((), kept, np.array([[1, 2], [5, 4]], dtype))
    want = math.exp(-20) / (1 + math.exp(-20)) ** 2
    assert (abs(d_x - want * np.array([[-1, 1], [1, -1]])) <= 12 * np.finfo(dtype).eps * want).all()


@of_each_implementation(softmax)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), np.ones((2, 3)))
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones(3, np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
