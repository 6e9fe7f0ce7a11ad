"""Attention, proven against JAX with masks of all kinds, and on weights that are exact."""

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.compiled.layers import attention as compiled
from manual_nn.compiled.layers.attention import BLOCK
from manual_nn.layers import attention
from manual_nn.layers.attention import Inputs, Kept
from manual_nn.layers.dropout import draw_mask
from reference.layers import attention as twin
from tests.support.attention import subject_of
from tests.support.compiled import in_python, of_each_implementation
from tests.support.layer_proof import FEW, Named, prove, refute
from tests.support.strategies import seeds

sizes = st.integers(1, 5)


@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    shape=st.tuples(sizes, sizes, sizes, sizes),
    group=st.integers(1, 3),
    causal=st.booleans(),
    masked=st.sampled_from(["none", "all heads alike", "each head"]),
    scale=st.sampled_from([None, 1.0, 0.125]),
    rate=st.sampled_from([None, 0.25]),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    batch: list[int],
    shape: tuple[int, int, int, int],
    group: int,
    causal: bool,
    masked: str,
    scale: float | None,
    rate: float | None,
    seed: int,
) -> None:
    """Masks of random keys, in which some queries see none; weights dropped, or not."""
    rng = np.random.default_rng(seed)
    full = [*batch[:-1], batch[-1] * group, *shape[:2]] if batch else list(shape[:2])
    alike = [*[1] * len(batch), *shape[:2]]
    options: dict[str, Any] = {"causal": causal, "scale": scale}
    if masked != "none":
        options["mask"] = rng.random(full if masked == "each head" else alike) < 0.5
    if rate is not None:
        options["dropout_mask"] = draw_mask(full, rate=rate, rng=rng)
        options["dropout_rate"] = rate
    prove(attention, twin, subject_of(batch, *shape, group=group, **options), seed)


def test_more_queries_than_a_compiled_block_holds_agree_with_jax() -> None:
    T, S = 2 * BLOCK + 3, BLOCK + 6
    mask = np.random.default_rng(0).random((T, S)) < 0.75
    prove(attention, twin, subject_of([2], T, S, 2, 1, group=2, causal=True, mask=mask), seed=0)


@pytest.mark.parametrize(
    ("scores", "masked"),
    [
        *(((4, 5, 3), (4, 5, 3)), ((4, 5, 3), (3,)), ((2, 2, 4), (2, 2, 4))),
        *(((2, 3, 1), (2, 3, 1)), ((2, 4, 2), (2, 4, 2)), ((2, 1, 1), (1, 1))),
    ],
)
def test_blocks_of_queries_agree_with_jax(
    scores: tuple[int, int, int], masked: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of two, with weights that do not happen to begin as 0."""
    layer, rng = in_python(compiled), np.random.default_rng(0)
    monkeypatch.setattr(layer, "BLOCK", 2)
    filled = vars(np) | {"empty": lambda shape, dtype: np.full(shape, np.nan, dtype)}
    monkeypatch.setattr(layer, "np", SimpleNamespace(**filled))
    options: dict[str, Any] = {
        "causal": True,
        "mask": rng.random(masked) < 0.5,
        "dropout_mask": draw_mask([*scores], rate=0.25, rng=rng),
        "dropout_rate": 0.25,
    }
    heads, T, S = scores
    prove(layer, twin, subject_of([2], T, S, 2, 1, group=heads // 2, **options), seed=0)
    x = Inputs(np.ones((heads, T, 1)), np.ones((2, S, 1)), np.ones((2, S, 1)))
    (_, kept), (_, want) = (each.forward((), x, **options) for each in (layer, attention))
    np.testing.assert_array_equal(kept.weights == 0, want.weights.reshape(scores) == 0)


@of_each_implementation(attention)
def test_one_key_may_be_hidden_or_dropped(layer: ModuleType) -> None:
    x = Inputs(np.ones((1, 1)), np.ones((1, 1)), np.full((1, 1), 3.0))
    no = np.zeros((1, 1), bool)
    hidden, _ = layer.forward((), x, mask=no)
    dropped, kept = layer.forward((), x, dropout_mask=no, dropout_rate=0.5)
    _, (d_query, d_key, d_value) = layer.backward((), kept, np.ones((1, 1)))
    assert hidden == dropped == d_query == d_key == d_value == 0


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
        Named(by_the_diagonal_alone, "weights = jax.nn.softmax("),
        Named(without_the_scale, "scores = scale * "),
        without_the_transpose,
        with_sums_over_queries,
    )


def of_the_last_head_of_the_group(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Write where one has to add, as in marin-community/levanter#449."""
    _, right = attention.backward(params, kept, d_out)
    last = np.arange(d_out.shape[-3])[:, None, None] % 2 == 1
    _, (_, d_key, d_value) = attention.backward(params, kept, np.where(last, d_out, 0))
    return (), Inputs(right.query, d_key, d_value)


def with_the_mean_of_the_group(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, (d_query, d_key, d_value) = attention.backward(params, kept, d_out)
    return (), Inputs(d_query, d_key / 2, d_value / 2)


def with_the_heads_in_another_order(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Let head h see keys h mod H / G, as in XunhaoLai/native-sparse-attention-triton#27."""
    _, (d_query, d_key, d_value) = attention.backward(params, kept, d_out)
    return (), Inputs(d_query, d_key[..., ::-1, :, :], d_value)


def without_the_dropout(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    return attention.backward(params, kept._replace(dropout_mask=None), d_out)


def with_the_dropped_weights_in_the_softmax(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    dropping = kept.dropout_mask, kept.dropout_rate
    weights = attention.dropped(kept.weights, *dropping)
    _, right = attention.backward(params, kept, d_out)
    _, (d_query, d_key, _) = attention.backward(params, kept._replace(weights=weights), d_out)
    return (), Inputs(d_query, d_key, right.value)


def without_the_factor_of_the_dropout(params: tuple[()], kept: Any, d_out: Any) -> Any:
    """Drop the weights' gradients, and do not divide by the probability of staying."""
    p, (query, key, value) = kept.weights, kept.inputs
    d_p = np.where(kept.dropout_mask, d_out @ value.swapaxes(-1, -2), 0)
    d_z = kept.scale * p * (d_p - (p * d_p).sum(axis=-1, keepdims=True))
    _, right = attention.backward(params, kept, d_out)
    return (), Inputs(d_z @ key, d_z.swapaxes(-1, -2) @ query, right.value)


def test_the_mistakes_that_people_make_with_groups_are_seen() -> None:
    refute(
        attention,
        twin,
        subject_of([2], 3, 4, 3, 2, group=2),
        of_the_last_head_of_the_group,
        with_the_mean_of_the_group,
        with_the_heads_in_another_order,
    )


def test_the_mistakes_that_people_make_with_dropout_are_seen() -> None:
    mask = draw_mask([2, 3, 4], rate=0.25, rng=np.random.default_rng(1))
    refute(
        attention,
        twin,
        subject_of([2], 3, 4, 3, 2, dropout_mask=mask, dropout_rate=0.25),
        Named(without_the_factor_of_the_dropout, "weights @ value"),
        without_the_dropout,
        with_the_dropped_weights_in_the_softmax,
    )


@of_each_implementation(attention)
def test_a_group_of_heads_is_the_same_as_keys_that_are_repeated(layer: ModuleType) -> None:
    rng = np.random.default_rng(0)
    query, key, value = (rng.integers(-2, 3, (h, 3, 2)) / 1.0 for h in (6, 2, 2))
    repeated = Inputs(query, np.repeat(key, 3, axis=0), np.repeat(value, 3, axis=0))
    for heads in (6, 1):  # a mask each, or one for all
        mask = rng.random((heads, 3, 3)) < 0.5
        out, _ = layer.forward((), Inputs(query, key, value), mask=mask)
        np.testing.assert_array_equal(out, layer.forward((), repeated, mask=mask)[0])


@of_each_implementation(attention)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_the_numbers_are(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Scores that tie give the weights 1/2 and 1/4; query 2 sees no key."""
    query, key = np.ones((3, 1), dtype), np.zeros((4, 1), dtype)
    value = np.array([[1, 0], [3, 4], [5, 8], [7, 12]], dtype)
    mask = np.array([[True, True, False, False], [True] * 4, [False] * 4])
    out, kept = layer.forward((), Inputs(query, key, value), mask=mask, scale=2)
    np.testing.assert_array_equal(out, np.array([[2, 2], [4, 6], [0, 0]], dtype))
    d_out = np.array([[4, 0], [0, 8], [100, 100]], dtype)
    _, (d_query, d_key, d_value) = layer.backward((), kept, d_out)
    np.testing.assert_array_equal(d_value, np.array([[2, 2], [2, 2], [0, 2], [0, 2]], dtype))
    np.testing.assert_array_equal(d_query, np.zeros((3, 1), dtype))  # the keys are 0
    # d_scores of query 0: (4 - 8, 12 - 8, 0, 0) / 2, of query 1: (0 - 48, 32 - 48, 16, 48) / 4
    np.testing.assert_array_equal(d_key, 2 * np.array([[-14], [-2], [4], [12]], dtype))


@of_each_implementation(attention)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_a_query_sees_one_key_nothing_is_left_of_the_difference(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """Its weight is 1 whatever the score is: the two terms of d_scores are rounded alike."""
    rng = np.random.default_rng(0)
    x = Inputs(*(rng.normal(size=(5, 64)).astype(dtype) for _ in range(3)))
    _, kept = layer.forward((), x, mask=np.eye(5, dtype=bool))
    _, (d_query, d_key, _) = layer.backward((), kept, rng.normal(size=(5, 64)).astype(dtype))
    np.testing.assert_array_equal(d_query, np.zeros((5, 64), dtype))
    np.testing.assert_array_equal(d_key, np.zeros((5, 64), dtype))


@of_each_implementation(attention)
def test_a_large_score_that_is_not_seen_does_not_drown_the_others(layer: ModuleType) -> None:
    query, key = np.array([[1.0]]), np.array([[1.0], [1.0], [1e6]])
    mask = np.array([[True, True, False]])
    out, _ = layer.forward((), Inputs(query, key, np.array([[2.0], [4.0], [8.0]])), mask=mask)
    assert out == 3


@of_each_implementation(attention)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    x = Inputs(np.ones((2, 3, 4)), np.ones((2, 5, 4)), np.ones((2, 5, 6)))
    _, kept = layer.forward((), x)
    with pytest.raises(TypeError, match=r"x must be Inputs\(query, key, value\), got tuple"):
        layer.forward((), tuple(x))
    with pytest.raises(ValueError, match=r"x.key must have shape \(2, 5, 4\) .* got \(2, 5, 3\)"):
        layer.forward((), x._replace(key=np.ones((2, 5, 3))))
    with pytest.raises(
        ValueError, match=r"x.value must have shape \(2, 5, 6\) .*, got \(2, 4, 6\)"
    ):
        layer.forward((), x._replace(value=np.ones((2, 4, 6))))
    with pytest.raises(TypeError, match=r"x.value must be float64 like x.query, got float32"):
        layer.forward((), x._replace(value=np.ones((2, 5, 6), np.float32)))
    with pytest.raises(ValueError, match=r"x.query must have at least 2 axes"):
        layer.forward((), x._replace(query=np.ones(4)))
    with pytest.raises(ValueError, match=r"x.key must have .* no empty one, got shape \(2, 0, 4\)"):
        layer.forward((), x._replace(key=np.ones((2, 0, 4))))
    with pytest.raises(ValueError, match=r"x.key must have at least 2 axes"):
        layer.forward((), x._replace(key=np.ones(4)))
    with pytest.raises(TypeError, match=r"x.value must be a NumPy array, got float"):
        layer.forward((), x._replace(value=1.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mask must be a NumPy array of booleans, got float64"):
        layer.forward((), x, mask=np.ones((3, 5)))
    with pytest.raises(TypeError, match="mask must be a NumPy array of booleans, got str"):
        layer.forward((), x, mask="causal")
    for shape in ((5, 3), (4, 2, 3, 5)):
        with pytest.raises(ValueError, match=r"mask must .* broadcasts to \(2, 3, 5\), .* got"):
            layer.forward((), x, mask=np.ones(shape, bool))
    with pytest.raises(
        TypeError, match="dropout_mask must be a NumPy array of booleans, got int64"
    ):
        layer.forward((), x, dropout_mask=np.ones((3, 5), int))
    with pytest.raises(TypeError, match="causal must be a bool, got str"):
        layer.forward((), x, causal="no")
    with pytest.raises(ValueError, match="dropout_rate must be below 1, got 1"):
        layer.forward((), x, dropout_mask=np.ones((3, 5), bool), dropout_rate=1)
    with pytest.raises(ValueError, match="dropout_rate must be 0 without a dropout_mask"):
        layer.forward((), x, dropout_rate=0.5)
    with pytest.raises(TypeError, match="dropout_rate must be a real number, got str"):
        layer.forward((), x, dropout_rate="x")
    with pytest.raises(ValueError, match=r"x.key must have shape \(2, 5, 4\) .* got \(3, 5, 4\)"):
        layer.forward((), x._replace(key=np.ones((3, 5, 4))))
    with pytest.raises(ValueError, match="scale must be a finite number above 0, got 0"):
        layer.forward((), x, scale=0)
    with pytest.raises(
        ValueError, match=r"d_out must have shape \(2, 3, 6\) to fit out, got \(6,\)"
    ):
        layer.backward((), kept, np.ones(6))
