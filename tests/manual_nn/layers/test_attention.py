"""Attention, proven against JAX with masks of all kinds, and on weights that are exact."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import attention
from manual_nn.layers.attention import Inputs, Kept
from reference.layers import attention as twin
from tests.support.layer_proof import FEW, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(batch: list[int], T: int, S: int, D: int, K: int, **options: Any) -> Subject:
    return Subject(
        lambda draw, _: ((), Inputs(draw(*batch, T, D), draw(*batch, S, D), draw(*batch, S, K))),
        options,
    )


sizes = st.integers(1, 5)


@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    shape=st.tuples(sizes, sizes, sizes, sizes),
    causal=st.booleans(),
    masked=st.booleans(),
    scale=st.sampled_from([None, 1.0, 0.125]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    batch: list[int],
    shape: tuple[int, int, int, int],
    causal: bool,
    masked: bool,
    scale: float | None,
    seed: int,
) -> None:
    """Masks of random keys, in which some queries see none."""
    mask = np.random.default_rng(seed).random([*batch, *shape[:2]]) < 0.5 if masked else None
    subject = subject_of(batch, *shape, causal=causal, mask=mask, scale=scale)
    prove(attention, twin, subject, seed)


def by_the_diagonal_alone(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    p, (query, key, value) = kept.weights, kept.inputs
    d_z = kept.scale * p * (1 - p) * (d_out @ value.swapaxes(-1, -2))
    _, right = attention.backward(params, kept, d_out)
    return (), Inputs(d_z @ key, d_z.swapaxes(-1, -2) @ query, right.value)


def without_the_scale(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, right = attention.backward(params, kept, d_out)
    return (), right._replace(query=right.query / kept.scale)


def without_the_transpose(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, (d_query, _, d_value) = attention.backward(params, kept, d_out)
    transposed = kept._replace(weights=kept.weights.swapaxes(-1, -2))
    _, (_, d_key, _) = attention.backward(params, transposed, d_out)
    return (), Inputs(d_query, d_key, d_value)


def with_sums_over_queries(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    p, (query, key, value) = kept.weights, kept.inputs
    d_p = d_out @ value.swapaxes(-1, -2)
    d_z = kept.scale * p * (d_p - (p * d_p).sum(axis=-2, keepdims=True))
    _, right = attention.backward(params, kept, d_out)
    return (), Inputs(d_z @ key, d_z.swapaxes(-1, -2) @ query, right.value)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        attention,
        twin,
        subject_of([2], 4, 4, 3, 2, causal=True),
        by_the_diagonal_alone,
        without_the_scale,
        without_the_transpose,
        with_sums_over_queries,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(dtype: type[np.floating[Any]]) -> None:
    """Scores that tie give the weights 1/2 and 1/4; query 2 sees no key."""
    query, key = np.ones((3, 1), dtype), np.zeros((4, 1), dtype)
    value = np.array([[1, 0], [3, 4], [5, 8], [7, 12]], dtype)
    mask = np.array([[True, True, False, False], [True] * 4, [False] * 4])
    out, kept = attention.forward((), Inputs(query, key, value), mask=mask, scale=2)
    np.testing.assert_array_equal(out, np.array([[2, 2], [4, 6], [0, 0]], dtype))
    d_out = np.array([[4, 0], [0, 8], [100, 100]], dtype)
    _, (d_query, d_key, d_value) = attention.backward((), kept, d_out)
    np.testing.assert_array_equal(d_value, np.array([[2, 2], [2, 2], [0, 2], [0, 2]], dtype))
    np.testing.assert_array_equal(d_query, np.zeros((3, 1), dtype))  # the keys are 0
    # d_scores of query 0: (4 - 8, 12 - 8, 0, 0) / 2, of query 1: (0 - 48, 32 - 48, 16, 48) / 4
    np.testing.assert_array_equal(d_key, 2 * np.array([[-14], [-2], [4], [12]], dtype))


def test_a_large_score_that_is_not_seen_does_not_drown_the_others() -> None:
    query, key = np.array([[1.0]]), np.array([[1.0], [1.0], [1e6]])
    mask = np.array([[True, True, False]])
    out, _ = attention.forward((), Inputs(query, key, np.array([[2.0], [4.0], [8.0]])), mask=mask)
    assert out == 3


def test_arguments_that_do_not_fit_are_refused() -> None:
    x = Inputs(np.ones((2, 3, 4)), np.ones((2, 5, 4)), np.ones((2, 5, 6)))
    _, kept = attention.forward((), x)
    with pytest.raises(ValueError, match=r"x.key must have shape \(2, 5, 4\) .* got \(2, 5, 3\)"):
        attention.forward((), x._replace(key=np.ones((2, 5, 3))))
    with pytest.raises(
        ValueError, match=r"x.value must have shape \(2, 5, 6\) .*, got \(2, 4, 6\)"
    ):
        attention.forward((), x._replace(value=np.ones((2, 4, 6))))
    with pytest.raises(TypeError, match=r"x.value must be float64 like x.query, got float32"):
        attention.forward((), x._replace(value=np.ones((2, 5, 6), np.float32)))
    with pytest.raises(ValueError, match=r"x.query must have at least 2 axes"):
        attention.forward((), x._replace(query=np.ones(4)))
    with pytest.raises(ValueError, match=r"x.key must have .* no empty one, got shape \(2, 0, 4\)"):
        attention.forward((), x._replace(key=np.ones((2, 0, 4))))
    with pytest.raises(ValueError, match=r"x.key must have at least 2 axes"):
        attention.forward((), x._replace(key=np.ones(4)))
    with pytest.raises(TypeError, match=r"x.value must be a NumPy array, got float"):
        attention.forward((), x._replace(value=1.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mask must be a NumPy array of booleans, got float64"):
        attention.forward((), x, mask=np.ones((3, 5)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mask must be a NumPy array of booleans, got str"):
        attention.forward((), x, mask="causal")  # type: ignore[arg-type]
    for shape in ((5, 3), (4, 2, 3, 5)):
        with pytest.raises(ValueError, match=r"mask must .* broadcasts to \(2, 3, 5\), .* got"):
            attention.forward((), x, mask=np.ones(shape, bool))
    with pytest.raises(ValueError, match="scale must be a finite number above 0, got 0"):
        attention.forward((), x, scale=0)
    with pytest.raises(
        ValueError, match=r"d_out must have shape \(2, 3, 6\) to fit out, got \(6,\)"
    ):
        attention.backward((), kept, np.ones(6))
