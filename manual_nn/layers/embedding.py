"""Embedding: each token's row of a table.

embedding.md derives the equations. Axes: `...` any number of axes, of P places in all; V
tokens in the vocabulary, D features.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, as_dtype, as_rng
from manual_nn.checks.arrays import check_fields, check_floats, check_integers, check_like


class Embedding(NamedTuple):
    """The table: a row for each token."""

    weight: Array  # (V, D)


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: npt.NDArray[np.integer[Any]]  # (...)
    padding_idx: int | None


def forward(
    params: Embedding, x: npt.NDArray[np.integer[Any]], *, padding_idx: int | None = None
) -> tuple[Array, Kept]:
    """Look the row of each token up, out = weight[x]; eq. (1).

    Args:
        params: weight, (V, D), float32 or float64.
        x: the tokens, (...), integers from 0 to V - 1.
        padding_idx: a token whose row is to stay as it is: it is looked up, but gets no gradient.

    Returns:
        out, (..., D), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the weight is not a matrix, or a token is not in it.

    >>> out, kept = forward(Embedding(np.array([[1.0, 2.0], [3.0, 4.0]])), np.array([1, 0, 1]))
    >>> out
    array([[3., 4.],
           [1., 2.],
           [3., 4.]])
    >>> backward(Embedding(np.zeros((2, 2))), kept, np.ones((3, 2)))[0].weight
    array([[1., 1.],
           [2., 2.]])
    """
    check_fields(params, Embedding)
    weight = params.weight
    check_floats(weight, name="params.weight", ndim=2)
    if weight.ndim != 2:
        raise ValueError(f"params.weight must have shape (V, D), got {weight.shape}")
    V = len(weight)
    check_integers(x, name="x")
    outside = (x < 0) | (x >= V)
    if outside.any():
        raise ValueError(f"x must hold tokens from 0 to {V - 1}, got {x[outside][0]}")
    if padding_idx is not None and as_count(padding_idx, name="padding_idx", minimum=0) >= V:
        raise ValueError(
            f"padding_idx must be less than {V}, the number of tokens, got {padding_idx}"
        )
    return np.take(weight, x, axis=0), Kept(x, padding_idx)


def backward(params: Embedding, kept: Kept, d_out: Array) -> tuple[Embedding, None]:
    """Add each place's gradient to the row that was looked up there; eq. (2).

    A token that occurs at several places gets the sum of their gradients, one that occurs nowhere
    gets 0, and so does `padding_idx`.

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (..., D), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and None: tokens have no gradient.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    weight = params.weight
    shape = (*kept.x.shape, weight.shape[1])
    check_like(d_out, shape, weight.dtype, name="d_out", like="out")
    d_weight = np.zeros(weight.shape, weight.dtype)  # (V, D)
    tokens = kept.x.astype(np.intp).reshape(-1, 1)  # V D may be beyond what their own dtype holds
    entries = tokens * weight.shape[1] + np.arange(weight.shape[1])  # (P, D)
    # += would add only one of several places; and along one axis add.at is three times as fast
    np.add.at(d_weight.reshape(-1), entries.reshape(-1), d_out.reshape(-1))
    if kept.padding_idx is not None:
        d_weight[kept.padding_idx] = 0
    return Embedding(d_weight), None


def init(
    V: int, D: int, *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64
) -> Embedding:
    """Draw the table of eq. (1), normal numbers of mean 0 and variance 1.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1.
    """
    V, D = as_count(V, name="V"), as_count(D, name="D")
    return Embedding(as_rng(rng).normal(size=(V, D)).astype(as_dtype(dtype)))
