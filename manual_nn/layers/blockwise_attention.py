"""Attention in blocks of queries and keys, whose memory grows with the sequence, not its square.

blockwise_attention.md derives the equations. Axes: those of attention, and B queries and C keys of
a block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool, as_count
from manual_nn.checks.arrays import check_like, check_mask
from manual_nn.layers import dropout
from manual_nn.layers.attention import (
    Inputs,
    Mask,
    as_scale,
    check_inputs,
    dropped,
    in_groups,
    mask_in_groups,
    out_of_groups,
    scores_shape,
)


class Options(NamedTuple):
    """What is constant for both passes."""

    causal: bool
    mask: Mask | None  # broadcasts to (..., T, S)
    scale: float
    dropout_rate: float
    dropout_seed: int
    block_size: int


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs
    out: Array  # (..., T, K)
    largest: Array  # (..., T, 1), of the scores
    total: Array  # (..., T, 1), of exp(scores - largest)
    options: Options


def forward(
    params: tuple[()],
    x: Inputs,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_seed: int = 0,
    block_size: int = 128,
) -> tuple[Array, Kept]:
    """Go through the keys block by block, and rescale what has been added up; eq. (1) to (3).

    The function is that of `attention`: out = softmax(scale q k^T) v. No more than one block of
    scores for each head is there at a time.

    Args:
        params: there are none: ().
        x: query, (..., T, D), key, (..., S, D), and value, (..., S, K), as in `attention`.
        causal: let query t see the keys 0 to t alone; blocks beyond are not computed.
        mask: True where a query sees a key, as in `attention`.
        scale: the factor of the scores, above 0; 1 / sqrt(D) by default.
        dropout_rate: the probability with which a weight is dropped, from 0 to below 1.
        dropout_seed: what the masks of all blocks are drawn from, a whole number of at least 0: a
            new one for each step of a training.
        block_size: how many queries, and how many keys, a block has.

    Returns:
        out, (..., T, K), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a number is out of range.

    Source: Dao et al., FlashAttention, 2022, arXiv:2205.14135; for the sum that is rescaled Milakov
    and Gimelshein, Online normalizer calculation for softmax, 2018, arXiv:1805.02867.

    >>> query, key = np.zeros((2, 1)), np.zeros((2, 1))
    >>> x = Inputs(query, key, np.array([[2.0], [4.0]]))
    >>> out, kept = forward((), x, causal=True, block_size=1)
    >>> out
    array([[2.],
           [3.]])
    """
    check_inputs(x)
    if mask is not None:
        check_mask(mask, scores_shape(x), like="the scores")
        mask = np.atleast_2d(mask)
    options = Options(
        as_bool(causal, name="causal"),
        mask_in_groups(mask, x),
        as_scale(scale, x.query),
        dropout.as_rate(dropout_rate, name="dropout_rate"),
        as_count(dropout_seed, name="dropout_seed", minimum=0),
        as_count(block_size, name="block_size"),
    )
    query, key, value = in_groups(x)
    out = np.zeros((*query.shape[:-1], value.shape[-1]), value.dtype)  # (..., T, K)
    total = np.zeros((*query.shape[:-1], 1), out.dtype)  # (..., T, 1)
    largest = np.full_like(total, np.finfo(out.dtype).min)  # (..., T, 1)
    for rows, columns in blocks_of(query.shape[-2], key.shape[-2], options):
        scores = _scores(query, key, rows, columns, options)  # (..., B, C)
        before = largest[..., rows, :].copy()  # (..., B, 1)
        now = np.maximum(before, scores.max(axis=-1, keepdims=True), out=largest[..., rows, :])
        exps = np.exp(scores - now)  # (..., B, C)
        shrinks = np.exp(before - now)  # (..., B, 1)
        total[..., rows, :] = total[..., rows, :] * shrinks + exps.sum(axis=-1, keepdims=True)
        exps = dropped(exps, dropout_mask(rows, columns, exps.shape, options), dropout_rate)
        out[..., rows, :] *= shrinks
        out[..., rows, :] += np.matmul(exps, value[..., columns, :])
    total = np.where(total == 0, 1, total)  # where no key is seen
    out /= total
    out = out.reshape(*x.query.shape[:-1], -1)
    return out, Kept(x, out, largest, total, options)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Inputs]:
    """Compute each block of exponentials again, and add up what it gives; eq. (4) to (6).

    With out = sums / total, d_sums = d_out / total and d_total = -<d_sums, out>, the inner product
    being that of each query's row, a block of d_scores is exps * (d_sums v^T + d_total), where
    exps = exp(scores - largest).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (..., T, K), the derivative of the loss with respect to out.

    Returns:
        (), and d_x, shaped like x.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    x, out, largest, total, options = kept
    check_like(d_out, out.shape, out.dtype, name="d_out", like="out")
    query, key, value = in_groups(x)
    rows_of_out = *query.shape[:-1], value.shape[-1]
    d_sums = d_out.reshape(rows_of_out) / total  # (..., T, K)
    d_total = -(d_sums * out.reshape(rows_of_out)).sum(axis=-1, keepdims=True)  # (..., T, 1)
    d_query = np.zeros(query.shape, query.dtype)  # (..., T, D)
    d_key = np.zeros((*query.shape[:-2], *key.shape[-2:]), key.dtype)  # (..., S, D)
    d_value = np.zeros((*query.shape[:-2], *value.shape[-2:]), value.dtype)  # (..., S, K)
    for rows, columns in blocks_of(query.shape[-2], key.shape[-2], options):
        scores = _scores(query, key, rows, columns, options)  # (..., B, C)
        exps = np.exp(scores - largest[..., rows, :])  # (..., B, C)
        stays = dropout_mask(rows, columns, exps.shape, options)  # (..., B, C)
        d_rows = d_sums[..., rows, :]  # (..., B, K)
        left = dropped(exps, stays, options.dropout_rate)  # (..., B, C)
        d_value[..., columns, :] += np.matmul(left.swapaxes(-1, -2), d_rows)
        d_left = np.matmul(d_rows, value[..., columns, :].swapaxes(-1, -2))  # (..., B, C)
        d_exps = dropped(d_left, stays, options.dropout_rate) + d_total[..., rows, :]  # (..., B, C)
        d_scores = exps * d_exps  # (..., B, C)
        d_query[..., rows, :] += np.matmul(d_scores, key[..., columns, :])
        d_key[..., columns, :] += np.matmul(d_scores.swapaxes(-1, -2), query[..., rows, :])
    d_query *= options.scale
    d_key *= options.scale
    return (), out_of_groups(Inputs(d_query, d_key, d_value), x)


def blocks_of(T: int, S: int, options: Options) -> Iterator[tuple[slice, slice]]:
    """List the blocks of queries and keys in which something may be seen; eq. (1)."""
    size = options.block_size
    for row in range(0, T, size):
        rows = slice(row, min(row + size, T))
        for column in range(0, min(S, rows.stop) if options.causal else S, size):
            yield rows, slice(column, min(column + size, S))


def dropout_mask(
    rows: slice, columns: slice, shape: tuple[int, ...], options: Options
) -> Mask | None:
    """Draw the mask of a block, the same whenever it is asked for; eq. (3).

    The generator starts from the seed and from where the block is.
    """
    if options.dropout_rate == 0:
        return None
    rng = np.random.default_rng([options.dropout_seed, rows.start, columns.start])
    return dropout.draw_mask(shape, rate=options.dropout_rate, rng=rng)


def _scores(query: Array, key: Array, rows: slice, columns: slice, options: Options) -> Array:
    """Compute the scores of a block, -inf where a key is not seen; eq. (1)."""
    product = np.matmul(query[..., rows, :], key[..., columns, :].swapaxes(-1, -2))
    scores: Array = options.scale * product  # (..., B, C)
    if options.causal and columns.stop > rows.start + 1:
        later = np.arange(columns.start, columns.stop) > np.arange(rows.start, rows.stop)[:, None]
        np.copyto(scores, -np.inf, where=later)
    if options.mask is not None:
        np.copyto(scores, -np.inf, where=~_block_of(options.mask, rows, columns))
    return scores


def _block_of(mask: Mask, rows: slice, columns: slice) -> Mask:
    """Cut a block out of a mask, whose axes of length 1 stand for all queries or keys."""
    T, S = mask.shape[-2:]
    return mask[..., rows if T > 1 else slice(None), columns if S > 1 else slice(None)]
