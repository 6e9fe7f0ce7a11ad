"""The rectified linear unit: its equations are derived in relu.md.

Axes: `...` any number of axes of rows, H units. `d_out` is dL/d(a), the derivative of the loss with
respect to the output. `out` is an array to write a result to, which may be the argument itself;
without it the result is a new array.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    a: Array  # (..., H), positive exactly where the input is


def forward(params: tuple[()], x: Array, *, out: Array | None = None) -> tuple[Array, Kept]:
    """Compute a = max(x, 0); eq. (1).

    Args:
        params: there are none: ().
        x: (..., H), float32 or float64.
        out: where to write a, (..., H).

    Returns:
        a, (..., H), and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array.
        ValueError: x has no axis or no element.

    >>> a, kept = forward((), np.array([-1.0, 0.0, 2.0]))
    >>> a
    array([0., 0., 2.])
    """
    check_floats(x, name="x", ndim=1)
    a = rectified(x, out=out)
    return a, Kept(a)


def backward(
    params: tuple[()], kept: Kept, d_out: Array, *, out: Array | None = None
) -> tuple[tuple[()], Array]:
    """Compute d_x = d_a where x > 0 and 0 elsewhere; eq. (2).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (..., H), the derivative of the loss with respect to a.
        out: where to write d_x, (..., H).

    Returns:
        (), and d_x, (..., H).

    Raises:
        TypeError: d_out is not an array of the dtype of a.
        ValueError: d_out has another shape than a.
    """
    check_like(d_out, kept.a.shape, kept.a.dtype, name="d_out", like="out")
    return (), masked(d_out, kept.a, out=out)


def rectified(x: Array, *, out: Array | None = None) -> Array:
    """Compute max(x, 0) alone, (..., H); eq. (1)."""
    return np.maximum(x, np.zeros(x.shape[-1], x.dtype), out=out)  # twice as fast as with a scalar


def masked(d_out: Array, a: Array | npt.NDArray[np.bool_], *, out: Array | None = None) -> Array:
    """Keep d_out where a > 0, which is where x > 0, and put 0 elsewhere, (..., H); eq. (2)."""
    with np.errstate(invalid="ignore"):  # infinity times 0, which is mended below
        d_x = np.multiply(d_out, a > 0, out=out)
    if not math.isfinite(np.vdot(d_x, d_x)):  # a d_out that overflowed: 0 times it is not 0
        np.copyto(d_x, 0, where=a <= 0)
    return d_x
