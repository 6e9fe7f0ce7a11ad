"""Rotary position embedding: each pair of features is turned by an angle that grows with the place.

rope.md derives the equations. Axes: `...` any number of axes of batches and heads, T places in the
sequence, D features, which make D / 2 pairs.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool, as_number
from manual_nn.checks.arrays import check_broadcasts, check_floats, check_integers, check_like


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    cos: Array  # (..., T, D / 2), of the angles
    sin: Array  # (..., T, D / 2)
    halves: bool
    shape: tuple[int, ...]  # of x


def forward(
    params: tuple[()],
    x: Array,
    *,
    positions: npt.NDArray[np.integer[Any]] | None = None,
    base: float = 10000.0,
    halves: bool = False,
) -> tuple[Array, Kept]:
    """Turn pair i at position p by the angle p base^(-2 i / D); eq. (1), (2).

    (a, b) becomes (a cos - b sin, a sin + b cos). The layer goes before the product of queries and
    keys, which then depends on the difference of their positions alone.

    Args:
        params: there are none: ().
        x: (..., T, D), float32 or float64, with an even D.
        positions: the places' numbers, integers of a shape that broadcasts to (..., T); 0 to T - 1
            by default. They differ from these where keys are cached or sequences packed.
        base: how slowly the slowest pair turns; above 0.
        halves: pair feature i with i + D / 2, and not 2 i with 2 i + 1.

    Returns:
        out, (..., T, D), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, D is odd, or base is not above 0.

    Source: Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, 2021,
    arXiv:2104.09864.

    >>> out, kept = forward((), np.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> out  # the place 1 is turned by an angle of 1
    array([[1.        , 0.        ],
           [0.54030231, 0.84147098]])
    """
    halves = as_bool(halves, name="halves")
    cos, sin = angles_of(x, positions, base)
    return _turned(x, cos, sin, halves=halves), Kept(cos, sin, halves, x.shape)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Turn each pair back, by the same angle with the other sign; eq. (3).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: (..., T, D), the derivative of the loss with respect to out.

    Returns:
        (), and d_x, (..., T, D).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    check_like(d_out, kept.shape, kept.cos.dtype, name="d_out", like="out")
    return (), _turned(d_out, kept.cos, -kept.sin, halves=kept.halves)


def angles_of(
    x: Array, positions: npt.NDArray[np.integer[Any]] | None, base: float
) -> tuple[Array, Array]:
    """Check what `forward` is given, and give cos and sin of the angles, (..., T, D / 2); eq. (1).

    Those of the positions 0 to T - 1 are kept for the next call, and cannot be written to.
    """
    check_floats(x, name="x", ndim=2)
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"x must have an even number of features, got {D}")
    base = as_number(base, name="base", minimum=0, strict=True)
    if positions is None:
        return _angles_in_order(T, D, base, x.dtype)
    check_integers(positions, name="positions")
    check_broadcasts(positions, x.shape[:-1], name="positions", like="x without its features")
    return _angles(positions, D, base, x.dtype)


@functools.lru_cache(maxsize=8)
def _angles_in_order(T: int, D: int, base: float, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    cos, sin = _angles(np.arange(T), D, base, dtype)
    cos.flags.writeable = sin.flags.writeable = False
    return cos, sin


def _angles(
    positions: npt.NDArray[np.integer[Any]], D: int, base: float, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    """Compute cos and sin of p base^(-2 i / D) in float64, and round them; eq. (1)."""
    angles = np.multiply.outer(positions, base ** (-np.arange(0, D, 2) / D))
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def _turned(x: Array, cos: Array, sin: Array, *, halves: bool) -> Array:
    """Turn each pair (a, b) into (a cos - b sin, a sin + b cos); eq. (2), (3).

    Neighbours are the two parts of a complex number, and its product with cos + i sin is that.
    """
    if not halves:
        z = np.ascontiguousarray(x).view(np.result_type(x, np.complex64))  # (..., T, D / 2)
        return (z * (cos + 1j * sin)).view(x.dtype)
    out = np.empty(x.shape, x.dtype)  # (..., T, D)
    (a, b), (turned_a, turned_b) = _halves(x), _halves(out)
    turned_a[...] = a * cos - b * sin
    turned_b[...] = a * sin + b * cos
    return out


def _halves(x: Array) -> tuple[Array, Array]:
    """Give the first and the second feature of each pair, (..., T, D / 2), as views; eq. (1)."""
    half = x.shape[-1] // 2
    return x[..., :half], x[..., half:]
