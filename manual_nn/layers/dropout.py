"""Dropout: some entries become 0 at random, and the others grow to make up for them.

dropout.md derives the equations. All arrays have one shape, that of x, but for the mask, which may
broadcast to it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, as_number, as_rng
from manual_nn.checks.arrays import check_floats, check_like, check_mask
from manual_nn.layers.relu import masked

Mask = npt.NDArray[np.bool_]


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    mask: Mask | None  # True for what stays
    rate: float
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def forward(
    params: tuple[()], x: Array, *, mask: Mask | None = None, rate: float = 0.5
) -> tuple[Array, Kept]:
    """Compute out = x / (1 - rate) where the mask is True, and 0 elsewhere; eq. (1).

    Args:
        params: there are none: ().
        x: an array of at least one axis, float32 or float64.
        mask: which entries stay, of a shape that broadcasts to that of x; `draw_mask` makes one. In
            evaluation None: everything stays, and nothing grows.
        rate: the probability with which an entry was dropped, from 0 to below 1.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: x has no axis or no element, the mask does not fit, or the rate is out of range.

    Source: Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting,
    2014.

    >>> mask = np.array([True, False, True])
    >>> out, kept = forward((), np.array([1.0, 2.0, 3.0]), mask=mask, rate=0.5)
    >>> out
    array([2., 0., 6.])
    """
    check_floats(x, name="x", ndim=1)
    kept = Kept(mask, as_rate(rate), x.shape, x.dtype)
    if mask is not None:
        check_mask(mask, x.shape, like="x")
    return _dropped(x, kept), kept


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Do with the gradient what was done with x, with the same mask and rate; eq. (2).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: the derivative of the loss with respect to out, of its shape.

    Returns:
        (), and d_x, of the shape of x.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    check_like(d_out, kept.shape, kept.dtype, name="d_out", like="out")
    return (), _dropped(d_out, kept)


def draw_mask(shape: Sequence[int], *, rate: float, rng: np.random.Generator) -> Mask:
    """Draw True for each entry by itself, with probability 1 - rate; eq. (1).

    The same generator in the same state draws the same mask. An axis of length 1 makes the entries
    along it stay or go together: (N, 1, 1, C) drops whole channels of images.

    Args:
        shape: that of x, or one that broadcasts to it.
        rate: the probability with which an entry is dropped, from 0 to below 1.
        rng: a NumPy random generator, which moves on.

    Raises:
        TypeError: an argument has another type than these.
        ValueError: the rate is out of range, or a length is negative.
    """
    rate, rng = as_rate(rate), as_rng(rng)
    lengths = [as_count(n, name=f"shape[{axis}]", minimum=0) for axis, n in enumerate(shape)]
    return np.asarray(rng.random(lengths) >= rate)


def _dropped(x: Array, kept: Kept) -> Array:
    """Compute x / (1 - rate) where the mask is True, and 0 elsewhere; eq. (1), (2)."""
    if kept.mask is None:
        return x.copy()
    grown = x * (1 / (1 - kept.rate))
    return masked(grown, kept.mask, out=grown)


def as_rate(rate: object, *, name: str = "rate") -> float:
    """Check that the rate is a probability, and below 1; eq. (1)."""
    number = as_number(rate, name=name, minimum=0)
    if number >= 1:
        raise ValueError(f"{name} must be below 1, got {number:g}")
    return number
