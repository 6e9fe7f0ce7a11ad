"""Attention in blocks, proven against JAX's that is not in blocks, and on exact numbers."""

import tracemalloc
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import blockwise_attention
from manual_nn.layers.attention import Inputs, in_groups, scores_shape
from manual_nn.layers.blockwise_attention import Kept, Options, blocks_of, dropout_mask
from reference.layers import blockwise_attention as twin
from tests.support.attention import subject_of
from tests.support.layer_proof import FEW, Named, prove, refute
from tests.support.strategies import seeds


def whole_mask(x: Inputs, options: Options) -> Any:
    """Put the dropout's masks of all blocks together, which the shapes alone determine."""
    query, key, _ = in_groups(Inputs(*(np.empty(leaf.shape) for leaf in x)))  # JAX may trace x
    mask = np.ones((*query.shape[:-1], key.shape[-2]), bool)
    for rows, columns in blocks_of(query.shape[-2], key.shape[-2], options):
        part = mask[..., rows, columns]
        part[...] = dropout_mask(rows, columns, part.shape, options)
    return mask.reshape(scores_shape(x))


def forward_by_jax(
    params: Any,
    x: Any,
    *,
    dropout_rate: float = 0.0,
    dropout_seed: int = 0,
    block_size: int = 128,
    **options: Any,
) -> Any:
    """Give the twin the mask that the layer draws, in which blocks make no other difference."""
    mask = None
    if dropout_rate:
        causal = options.get("causal", False)
        mask = whole_mask(x, Options(causal, None, 1.0, dropout_rate, dropout_seed, block_size))
    return twin.forward(params, x, dropout_mask=mask, dropout_rate=dropout_rate, **options)


BY_JAX: Any = SimpleNamespace(forward=forward_by_jax)
sizes = st.integers(1, 5)


@given(
    batch=st.lists(st.integers(1, 2), max_size=2),
    shape=st.tuples(sizes, sizes, sizes, sizes),
    group=st.integers(1, 2),
    causal=st.booleans(),
    masked=st.sampled_from(["none", "all heads alike", "each head", "keys"]),
    scale=st.sampled_from([None, 1.0]),
    rate=st.sampled_from([0.0, 0.25]),
    block_size=st.integers(1, 4),
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
    rate: float,
    block_size: int,
    seed: int,
) -> None:
    """Masks of random keys, in which some queries see none, be it in a block or at all."""
    T, S = shape[:2]
    heads = [*batch[:-1], batch[-1] * group] if batch else []
    shapes = {"all heads alike": [T, S], "each head": [*heads, T, S], "keys": [S]}
    options: dict[str, Any] = {"causal": causal, "scale": scale, "block_size": block_size}
    if masked != "none":
        options["mask"] = np.random.default_rng(seed).random(shapes[masked]) < 0.5
    if rate:
        options |= {"dropout_rate": rate, "dropout_seed": seed}
    subject = subject_of(batch, *shape, group=group, **options)
    prove(blockwise_attention, BY_JAX, subject, seed)


def with_the_product_of_each_block(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Take the sum of p d_p over two keys at a time, where it belongs to the whole row."""
    (query, key, value), _, largest, total, options = kept
    p = np.exp(options.scale * query @ key.swapaxes(-1, -2) - largest) / total
    d_p = d_out @ value.swapaxes(-1, -2)
    along = (p * d_p).reshape(*p.shape[:-1], -1, 2).sum(axis=-1).repeat(2, axis=-1)
    d_z = options.scale * p * (d_p - along)
    _, right = blockwise_attention.backward(params, kept, d_out)
    return (), Inputs(d_z @ key, d_z.swapaxes(-1, -2) @ query, right.value)


def where_the_last_block_of_keys_is_written(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, right = blockwise_attention.backward(params, kept, d_out)
    last = np.arange(kept.inputs.key.shape[-2]) >= 2
    masked = kept._replace(options=kept.options._replace(mask=last[np.newaxis]))
    _, of_the_last = blockwise_attention.backward(params, masked, d_out)
    return (), right._replace(query=of_the_last.query)


def with_the_sum_of_the_last_block(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    (query, key, _), _, largest, _, options = kept
    z = options.scale * query @ key[..., 2:, :].swapaxes(-1, -2)
    total = np.exp(z - largest).sum(axis=-1, keepdims=True)
    return blockwise_attention.backward(params, kept._replace(total=total), d_out)


def without_the_scale(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    _, right = blockwise_attention.backward(params, kept, d_out)
    return (), right._replace(query=right.query / kept.options.scale)


def without_the_sum_of_the_row(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Leave <d_out, out> out."""
    _, right = blockwise_attention.backward(params, kept, d_out)
    _, wrong = blockwise_attention.backward(params, kept._replace(out=0 * kept.out), d_out)
    return (), wrong._replace(value=right.value)


def with_sums_over_the_queries(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    """Take the sum of p d_p along the wrong axis of a block."""
    (query, key, value), _, largest, total, options = kept
    p = np.exp(options.scale * query @ key.swapaxes(-1, -2) - largest) / total
    d_p = d_out @ value.swapaxes(-1, -2)
    d_z = options.scale * p * (d_p - (p * d_p).sum(axis=-2, keepdims=True))
    _, right = blockwise_attention.backward(params, kept, d_out)
    return (), Inputs(d_z @ key, d_z.swapaxes(-1, -2) @ query, right.value)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        blockwise_attention,
        BY_JAX,
        subject_of([2], 4, 4, 3, 2, block_size=2),
        with_the_product_of_each_block,
        where_the_last_block_of_keys_is_written,
        with_the_sum_of_the_last_block,
        Named(without_the_scale, "scores = scale * "),
        Named(without_the_sum_of_the_row, "jax.nn.softmax("),
        Named(with_sums_over_the_queries, "jax.nn.softmax("),
    )


def with_another_mask(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    options = kept.options._replace(dropout_seed=8)
    return blockwise_attention.backward(params, kept._replace(options=options), d_out)


def with_blocks_of_another_size(params: tuple[()], kept: Kept, d_out: Any) -> Any:
    options = kept.options._replace(block_size=3)
    return blockwise_attention.backward(params, kept._replace(options=options), d_out)


def test_masks_that_are_not_those_of_the_forward_pass_are_seen() -> None:
    subject = subject_of([2], 4, 4, 3, 2, block_size=2, dropout_rate=0.5, dropout_seed=7)
    wrong = with_another_mask, with_blocks_of_another_size
    refute(blockwise_attention, BY_JAX, subject, *wrong)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_it_is_exact_where_the_numbers_are(block_size: int, dtype: type[np.floating[Any]]) -> None:
    """Scores 1024 apart, so that weights are 0 or 1; query 2 sees no key, others none in blocks."""
    query, key = np.ones((3, 1), dtype), np.array([[-1024], [0], [0], [-1024]], dtype)
    value = np.array([[1, 0], [3, 4], [5, 8], [7, 12]], dtype)
    mask = np.array([[True, True, False, False], [False, False, True, True], [False] * 4])
    x, d_out = Inputs(query, key, value), np.array([[4, 0], [0, 8], [100, 100]], dtype)
    out, kept = blockwise_attention.forward((), x, mask=mask, scale=1, block_size=block_size)
    np.testing.assert_array_equal(out, np.array([[3, 4], [5, 8], [0, 0]], dtype))
    _, (d_query, d_key, d_value) = blockwise_attention.backward((), kept, d_out)
    np.testing.assert_array_equal(d_value, np.array([[0, 0], [4, 0], [0, 8], [0, 0]], dtype))
    np.testing.assert_array_equal(d_query, np.zeros((3, 1), dtype))
    np.testing.assert_array_equal(d_key, np.zeros((4, 1), dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_added_to_all_scores_changes_no_digit(dtype: type[np.floating[Any]]) -> None:
    """The second feature adds 1024 to each, which rounds none of them, for all are 16ths."""
    rng = np.random.default_rng(0)
    query, key = ((rng.integers(-8, 9, (6, 1)) / 4).astype(dtype) for _ in range(2))
    value, d_out = (rng.normal(size=(6, 3)).astype(dtype) for _ in range(2))
    gradients = []
    for added in (0, 1024):
        x = Inputs(
            np.column_stack([query, np.ones_like(query)]),
            np.column_stack([key, np.full_like(key, added)]),
            value,
        )
        _, kept = blockwise_attention.forward((), x, scale=1, block_size=4)
        _, (d_query, d_key, d_value) = blockwise_attention.backward((), kept, d_out)
        gradients.append((d_query[:, 0], d_key, d_value))
    for plain, shifted in zip(*gradients, strict=True):
        np.testing.assert_array_equal(shifted, plain)


def test_a_pass_knows_nothing_of_the_one_before() -> None:
    """Not even where that was not finite; query 1 sees no key."""
    x = Inputs(*np.random.default_rng(0).normal(size=(3, 2, 4)))
    mask = np.array([[True, True], [False, False]])
    first = jax.tree.map(np.copy, blockwise_attention.forward((), x, mask=mask))
    blockwise_attention.forward((), Inputs(*(np.full_like(array, np.nan) for array in x)))
    second = blockwise_attention.forward((), x, mask=mask)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_its_memory_is_linear_in_the_sequence() -> None:
    """All that is there at any time is less than a quarter of the weights of one head."""
    rng = np.random.default_rng(0)
    T, D = 512, 4
    x = Inputs(*(rng.normal(size=(T, D)) for _ in range(3)))
    d_out = rng.normal(size=(T, D))
    tracemalloc.start()
    _, kept = blockwise_attention.forward((), x, causal=True, block_size=32)
    blockwise_attention.backward((), kept, d_out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < T * T * d_out.itemsize / 4
    arrays = [leaf for leaf in jax.tree.leaves(kept) if isinstance(leaf, np.ndarray)]
    assert sum(array.size for array in arrays) == 4 * T * D + 2 * T


def test_a_causal_pass_looks_at_no_block_of_later_keys() -> None:
    options = Options(causal=True, mask=None, scale=1, dropout_rate=0, dropout_seed=0, block_size=2)
    blocks = [(rows.start, columns.start) for rows, columns in blocks_of(5, 7, options)]
    assert blocks == [(0, 0), (2, 0), (2, 2), (4, 0), (4, 2), (4, 4)]


@pytest.mark.parametrize("block_size", [1, 2, 3, 8])
def test_a_causal_pass_is_that_with_a_mask_of_the_later_keys(block_size: int) -> None:
    """To the bit: a block that nothing sees adds zeros to what it is not computed for."""
    rng = np.random.default_rng(0)
    x = Inputs(*(rng.normal(size=shape) for shape in ((5, 2), (7, 2), (7, 3))))
    d_out = rng.normal(size=(5, 3))
    options: list[dict[str, Any]] = [{"causal": True}, {"mask": np.tri(5, 7, dtype=bool)}]
    passes: list[Any] = []
    for sees in options:
        out, kept = blockwise_attention.forward((), x, block_size=block_size, **sees)
        passes.append((out, *blockwise_attention.backward((), kept, d_out)[1]))
    for causal, masked in zip(*passes, strict=True):
        np.testing.assert_array_equal(causal, masked)


def test_a_mask_of_one_row_or_column_is_for_all_queries_or_keys() -> None:
    x = Inputs(*np.random.default_rng(0).normal(size=(3, 2, 2)))
    whole = np.array([[True, False], [False, True]])
    for mask in (whole, whole[:1], whole[:, :1]):
        out, _ = blockwise_attention.forward((), x, mask=mask, block_size=1)
        full = np.broadcast_to(mask, (2, 2))
        want, _ = blockwise_attention.forward((), x, mask=full, block_size=2)
        np.testing.assert_array_equal(out, want)


def test_arguments_that_do_not_fit_are_refused() -> None:
    x = Inputs(np.ones((2, 3, 4)), np.ones((2, 5, 4)), np.ones((2, 5, 6)))
    _, kept = blockwise_attention.forward((), x)
    with pytest.raises(ValueError, match=r"x.key must have shape \(2, 5, 4\) .* got \(2, 5, 3\)"):
        blockwise_attention.forward((), x._replace(key=np.ones((2, 5, 3))))
    with pytest.raises(ValueError, match=r"mask must .* broadcasts to \(2, 3, 5\), .* got"):
        blockwise_attention.forward((), x, mask=np.ones((5, 3), bool))
    with pytest.raises(ValueError, match="scale must be a finite number above 0, got 0"):
        blockwise_attention.forward((), x, scale=0)
    with pytest.raises(TypeError, match="causal must be a bool, got str"):
        blockwise_attention.forward((), x, causal="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dropout_rate must be below 1, got 1"):
        blockwise_attention.forward((), x, dropout_rate=1)
    with pytest.raises(ValueError, match="dropout_seed must be at least 0, got -1"):
        blockwise_attention.forward((), x, dropout_seed=-1)
    with pytest.raises(ValueError, match="block_size must be at least 1, got 0"):
        blockwise_attention.forward((), x, block_size=0)
    with pytest.raises(
        ValueError, match=r"d_out must have shape \(2, 3, 6\) to fit out, got \(6,\)"
    ):
        blockwise_attention.backward((), kept, np.ones(6))
