"""Softmax, in which each row stays in the processor's cache until it is done.

Axes: `...` any number of axes of rows, R of them in all, K classes.
"""

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.reductions import exponentials, largest_of, place_of, sum_of_products
from manual_nn.layers.softmax import Kept

__all__ = ["Kept", "backward", "forward"]


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute p_k = exp(x_k) / sum_j exp(x_j) of each row; softmax.md (1).

    >>> out, kept = forward((), np.array([[0.0, 0.0], [1000.0, -1000.0]]))
    >>> out
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    check_floats(x, name="x", ndim=1)
    rows = in_order(x).reshape(-1, x.shape[-1])  # (R, K)
    p = np.empty(x.shape, x.dtype)  # (..., K)
    _softmax(rows, p.reshape(rows.shape))
    return p, Kept(p)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Compute d_x = p (d - <p, d>), where d is 0 for the likeliest class; softmax.md (2), (3)."""
    p = kept.p
    check_like(d_out, p.shape, p.dtype, name="d_out", like="out")
    rows = p.reshape(-1, p.shape[-1])  # (R, K)
    d_x = np.empty_like(rows)
    _softmax_backward(rows, in_order(d_out).reshape(rows.shape), d_x)
    return (), d_x.reshape(p.shape)


@compiled
def _softmax(x: Array, p: Array) -> None:
    for r in range(len(x)):
        total = exponentials(x[r], largest_of(x[r]), p[r])
        for k in range(x.shape[1]):
            p[r, k] = p[r, k] / total  # (1)


@compiled
def _softmax_backward(p: Array, d_out: Array, d_x: Array) -> None:
    R, K = p.shape
    for r in range(R):
        of_likeliest = d_out[r, place_of(largest_of(p[r]), p[r])]
        for k in range(K):
            d_x[r, k] = d_out[r, k] - of_likeliest  # (3), d
        mean = d_x.dtype.type(sum_of_products(p[r], d_x[r]))
        for k in range(K):
            d_x[r, k] = p[r, k] * (d_x[r, k] - mean)  # (3)
