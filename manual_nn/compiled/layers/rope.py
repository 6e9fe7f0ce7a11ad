"""Rotary position embedding, in one pass over memory.

Axes: `...` any number of axes of batches and heads, H of them in all, T places in the sequence, D
features, which make D / 2 pairs.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool
from manual_nn.checks.arrays import check_like
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.layers.rope import Kept, angles_of

__all__ = ["Kept", "backward", "forward"]


def forward(
    params: tuple[()],
    x: Array,
    *,
    positions: npt.NDArray[np.integer[Any]] | None = None,
    base: float = 10000.0,
    halves: bool = False,
) -> tuple[Array, Kept]:
    """Turn pair i at position p by the angle p base^(-2 i / D); rope.md (1), (2).

    >>> out, kept = forward((), np.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> out  # the place 1 is turned by an angle of 1
    array([[1.        , 0.        ],
           [0.54030231, 0.84147098]])
    """
    halves = as_bool(halves, name="halves")
    cos, sin = angles_of(x, positions, base)
    return _turned(x, cos, sin, halves=halves), Kept(cos, sin, halves, x.shape)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Turn each pair back, by the same angle with the other sign; rope.md (3)."""
    check_like(d_out, kept.shape, kept.cos.dtype, name="d_out", like="out")
    return (), _turned(d_out, kept.cos, -kept.sin, halves=kept.halves)


def _turned(x: Array, cos: Array, sin: Array, *, halves: bool) -> Array:
    """Lay all heads along one axis, and their angles, unless they are the same for all."""
    T, D = x.shape[-2:]
    rows = in_order(x).reshape(-1, T, D)  # (H, T, D)
    alike = all(length == 1 for length in cos.shape[:-2])
    outer = [1] * (x.ndim - 2) if alike else x.shape[:-2]
    cos, sin = (np.broadcast_to(part, (*outer, T, D // 2)) for part in (cos, sin))
    cos, sin = (in_order(part).reshape(-1, T, D // 2) for part in (cos, sin))  # (H or 1, T, D / 2)
    out = np.empty_like(rows)
    _turn(rows, cos, sin, halves, out)
    return out.reshape(x.shape)


@compiled
def _turn(
    x: Array,
    cos: Array,
    sin: Array,
    halves: bool,  # noqa: FBT001, Numba passes by position
    out: Array,
) -> None:
    H, T, D = x.shape
    half = D // 2
    for h in range(H):
        of_h = h if len(cos) > 1 else 0
        for t in range(T):
            for i in range(half):
                c, s = cos[of_h, t, i], sin[of_h, t, i]
                first, second = (i, i + half) if halves else (2 * i, 2 * i + 1)
                a, b = x[h, t, first], x[h, t, second]
                out[h, t, first] = a * c - b * s  # (2)
                out[h, t, second] = a * s + b * c  # (2)
