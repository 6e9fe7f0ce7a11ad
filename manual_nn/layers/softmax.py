"""Softmax: each row of numbers becomes a row of probabilities.

softmax.md derives the equations. Axes: `...` any number of axes of rows, K classes.
"""

from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.layers.softmax_cross_entropy import softmax


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    p: Array  # (..., K), the array that is returned as out


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute p_k = exp(x_k) / sum_j exp(x_j) of each row; eq. (1).

    Where a cross-entropy follows, `softmax_cross_entropy` is both in one, and loses no digits.

    Args:
        params: there are none: ().
        x: (..., K), float32 or float64; -inf gives a probability of 0.

    Returns:
        out, (..., K), and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array.
        ValueError: x has no axis or no element.

    >>> out, kept = forward((), np.array([[0.0, 0.0], [1000.0, -1000.0]]))
    >>> out
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    check_floats(x, name="x", ndim=1)
    p = softmax(x)  # (..., K)
    return p, Kept(p)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Compute d_x = p (d - <p, d>), the inner product being that of each row; eq. (2), (3).

    d is d_out less its entry of the likeliest class, which changes nothing but keeps the digits.

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (..., K), the derivative of the loss with respect to out.

    Returns:
        (), and d_x, (..., K). Each row of it sums to 0.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    p = kept.p
    check_like(d_out, p.shape, p.dtype, name="d_out", like="out")
    likeliest = p.argmax(axis=-1)[..., np.newaxis]  # (..., 1)
    d = d_out - np.take_along_axis(d_out, likeliest, axis=-1)  # (..., K)
    d -= np.vecdot(p, d)[..., np.newaxis]
    d *= p
    return (), d
