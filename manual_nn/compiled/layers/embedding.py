"""Embedding, whose gradients are added a row at a time.

Axes: `...` any number of axes of places, R of them in all, V tokens in the vocabulary, D features.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.layers import embedding as by_numpy
from manual_nn.layers.embedding import Embedding, Kept, init

__all__ = ["Embedding", "Kept", "backward", "forward", "init"]


def forward(
    params: Embedding, x: npt.NDArray[np.integer[Any]], *, padding_idx: int | None = None
) -> tuple[Array, Kept]:
    """Look the row of each token up, which NumPy does as fast as memory is; embedding.md (1).

    >>> out, kept = forward(Embedding(np.array([[1.0, 2.0], [3.0, 4.0]])), np.array([1, 0, 1]))
    >>> out
    array([[3., 4.],
           [1., 2.],
           [3., 4.]])
    """
    return by_numpy.forward(params, x, padding_idx=padding_idx)


def backward(params: Embedding, kept: Kept, d_out: Array) -> tuple[Embedding, None]:
    """Add each place's gradient to the row that was looked up there; embedding.md (2)."""
    V, D = params.weight.shape
    check_like(d_out, (*kept.x.shape, D), params.weight.dtype, name="d_out", like="out")
    d_weight = np.zeros((V, D), d_out.dtype)
    tokens = np.array(kept.x, np.intp).reshape(-1)  # (R,), a copy, which stays as it is checked
    outside = (tokens < 0) | (tokens >= V)
    if outside.any():  # x or the table is not what it was in the forward pass
        got = tokens[outside][0]
        raise ValueError(f"kept.x must hold tokens from 0 to {V - 1}, got {got}")
    _add_rows(tokens, in_order(d_out).reshape(-1, D), d_weight)
    if kept.padding_idx is not None:
        d_weight[kept.padding_idx] = 0
    return Embedding(d_weight), None


@compiled
def _add_rows(tokens: npt.NDArray[np.intp], d_out: Array, d_weight: Array) -> None:
    R, D = d_out.shape
    for r in range(R):
        row = d_weight[tokens[r]]
        for j in range(D):
            row[j] += d_out[r, j]  # (2)
