"""The embedding, proven against JAX, with repeated tokens and padding, alone and below a layer."""

from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import dense, embedding
from manual_nn.layers.dense import Dense
from manual_nn.layers.embedding import Embedding, Kept
from reference.compare import Comparer, Verdict
from reference.layers import embedding as twin
from tests.support.compiled import implementations, of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.strategies import seeds


def subject_of(V: int, D: int, places: list[int], padding_idx: int | None = None) -> Subject:
    """So few tokens that they repeat."""
    return Subject(
        lambda draw, rng: (Embedding(draw(V, D)), rng.integers(V, size=places)),
        {"padding_idx": padding_idx},
    )


@given(
    V=st.integers(1, 5),
    D=st.integers(1, 5),
    places=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    padded=st.booleans(),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    V: int, D: int, places: list[int], padded: bool, seed: int
) -> None:
    prove(embedding, twin, subject_of(V, D, places, seed % V if padded else None), seed)


@of_each_implementation(embedding)
def test_the_gradient_of_a_layer_above_comes_down_to_the_table(layer: ModuleType) -> None:
    rng = np.random.default_rng(0)
    table, above = Embedding(rng.normal(size=(3, 4))), Dense(rng.normal(size=(4, 2)), np.zeros(2))
    x, y = rng.integers(3, size=7), rng.normal(size=(7, 2))

    def loss(table: Any, above: Any, y: Any) -> Any:
        return ((twin.forward(table, x) @ above.weight - y) ** 2).sum()

    looked_up, kept = layer.forward(table, x)
    out, kept_above = dense.forward(above, looked_up)
    (d_weight, _), d_looked_up = dense.backward(above, kept_above, 2 * (out - y))
    d_table, _ = layer.backward(table, kept, d_looked_up)
    comparer = Comparer(jax.grad(loss, (0, 1)), table, above, y)
    got = d_table, Dense(d_weight, np.zeros(2))
    assert comparer(got, table, above, y, compiled=False).verdict == Verdict.MATCH


def once_for_each_token(params: Embedding, kept: Kept, d_out: Any) -> Any:
    """The mistake of ZacBi/CS224n-2019-solutions#5."""
    d_weight = np.zeros_like(params.weight)
    d_weight[kept.x] += d_out
    return Embedding(d_weight), None


def as_a_mean(params: Embedding, kept: Kept, d_out: Any) -> Any:
    (d_weight,), _ = embedding.backward(params, kept, d_out)
    counts = np.bincount(kept.x.ravel(), minlength=len(d_weight)).astype(d_weight.dtype)
    return Embedding(d_weight / np.maximum(counts, 1)[:, None]), None


def with_padding(params: Embedding, kept: Kept, d_out: Any) -> Any:
    return embedding.backward(params, kept._replace(padding_idx=None), d_out)


def counted_from_1(params: Embedding, kept: Kept, d_out: Any) -> Any:
    """Give each token's gradient to the one before it."""
    before = (kept.x - 1) % len(params.weight)
    return embedding.backward(params, Kept(before, None), d_out)


def test_the_mistakes_that_people_make_are_seen() -> None:
    subject = subject_of(3, 4, [5, 4], padding_idx=1)
    refute(
        embedding,
        twin,
        subject,
        Named(once_for_each_token, "weight[x]"),
        as_a_mean,
        Named(with_padding, "jax.lax.stop_gradient(weight)"),
        Named(counted_from_1, "weight[x]"),
    )


@of_each_implementation(embedding)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_token_gets_the_sum_over_its_places(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    params = Embedding(np.array([[1, 2], [3, 4], [5, 6]], dtype))
    out, kept = layer.forward(params, np.array([[0, 2], [0, 0]], np.uint8))
    np.testing.assert_array_equal(out, np.array([[[1, 2], [5, 6]], [[1, 2], [1, 2]]], dtype))
    d_out = np.array([[[1, 10], [2, 20]], [[4, 40], [8, 80]]], dtype)
    (d_weight,), d_x = layer.backward(params, kept, d_out)
    np.testing.assert_array_equal(d_weight, np.array([[13, 130], [0, 0], [2, 20]], dtype))
    assert d_weight.dtype == dtype
    assert d_x is None


@of_each_implementation(embedding)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.uint64])
def test_the_last_token_gets_its_gradient_whatever_holds_it(
    layer: ModuleType, dtype: type[np.integer[Any]]
) -> None:
    """The table has more entries than the dtype of the tokens counts, up to 16 bits."""
    largest = min(np.iinfo(dtype).max, 2**16 - 1)
    params, x = Embedding(np.zeros((largest + 1, 3), np.float32)), np.array([largest], dtype)
    _, kept = layer.forward(params, x)
    (d_weight,), _ = layer.backward(params, kept, np.array([[1, 2, 3]], np.float32))
    np.testing.assert_array_equal(d_weight[-1], [1, 2, 3])
    assert not d_weight[:-1].any()


@of_each_implementation(embedding)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params, x = Embedding(np.ones((3, 2))), np.array([0, 2])
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match="x must hold tokens from 0 to 2, got 3"):
        layer.forward(params, np.array([0, 3, 4]))
    with pytest.raises(ValueError, match="x must hold tokens from 0 to 2, got -1"):
        layer.forward(params, np.array([-1, 0]))
    with pytest.raises(TypeError, match="x must be a NumPy array of integers, got float64"):
        layer.forward(params, np.ones(2))
    with pytest.raises(TypeError, match="x must be a NumPy array of integers, got list"):
        layer.forward(params, [0, 1])
    with pytest.raises(
        ValueError, match=r"params.weight must have shape \(V, D\), got \(1, 3, 2\)"
    ):
        layer.forward(Embedding(np.ones((1, 3, 2))), x)
    with pytest.raises(ValueError, match=r"params.weight must have at least 2 axes"):
        layer.forward(Embedding(np.ones(3)), x)
    with pytest.raises(TypeError, match=r"params.weight must be float32 or float64, got int64"):
        layer.forward(Embedding(np.ones((3, 2), np.int64)), x)
    with pytest.raises(ValueError, match=r"padding_idx must be less than 3, .* got 3"):
        layer.forward(params, x, padding_idx=3)
    with pytest.raises(ValueError, match="padding_idx must be at least 0, got -1"):
        layer.forward(params, x, padding_idx=-1)
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 2\) to fit out, got \(2,\)"):
        layer.backward(params, kept, np.ones(2))


def test_tokens_that_are_no_longer_in_the_table_are_not_written_to() -> None:
    """A compiled loop would write past the gradient."""
    layer = implementations(embedding)[1]
    params, x = Embedding(np.ones((4, 2))), np.array([0, 2])
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match=r"kept\.x must hold tokens from 0 to 1, got 2"):
        layer.backward(Embedding(np.ones((2, 2))), kept, np.ones((2, 2)))
    for token in (-1, 4, 10**9):
        x[1] = token
        with pytest.raises(ValueError, match=rf"kept\.x must hold tokens from 0 to 3, got {token}"):
            layer.backward(params, kept, np.ones((2, 2)))
    x[:] = 5, 7
    with pytest.raises(ValueError, match="from 0 to 3, got 5"):
        layer.backward(params, kept, np.ones((2, 2)))
