"""Systems of equations with a triangular matrix; ROUNDING.md (R20)."""

from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding


@register_rule("triangular_solve")
def _triangular_solve(
    rounding: Rounding,
    a: Bounded,
    b: Bounded,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    unit_diagonal: bool,
    **_: Any,
) -> Bounded:
    """Bring it into the form T x = b with a lower T, and solve that; ROUNDING.md (R20)."""
    turned = transpose_a == left_side

    def matrix(part: Array, diagonal: float) -> Array:
        half = np.tril(part) if lower else np.triu(part)
        if unit_diagonal:
            half = np.where(np.eye(len(part.T), dtype=bool), diagonal, half)
        half = np.swapaxes(half, -1, -2) if turned else half
        return half if lower != turned else np.flip(half, (-2, -1))

    def rows(part: Array) -> Array:
        part = part if left_side else np.swapaxes(part, -1, -2)
        return part if lower != turned else np.flip(part, -2)

    def back(part: Array) -> Array:
        part = part if lower != turned else np.flip(part, -2)
        return part if left_side else np.swapaxes(part, -1, -2)

    T = Bounded(matrix(a.value, 1.0), matrix(a.error, 0.0))
    right = Bounded(*map(rows, b))
    x = _substituted(T.value, right.value)
    terms = len(T.value.T)
    off = T.error + rounding.gamma(terms + 3) * (abs(T.value) + T.error)
    moved = right.error + off @ abs(x) + terms * rounding.tiny
    # The comparison matrix: the least that the diagonal may be, and the most of what stands beside.
    least = np.maximum(_diagonal(abs(T.value)) - _diagonal(off), 0)
    compared = -(abs(T.value) + off)
    compared = np.where(np.eye(terms, dtype=bool), least[..., None], compared)
    return rounding.rounded(back(x), back(_substituted(compared, moved)), roundings=0)


def _diagonal(x: Array) -> Array:
    return np.diagonal(x, axis1=-2, axis2=-1)


def _substituted(T: Array, b: Array) -> Array:
    """Solve T x = b, row after row; ROUNDING.md (R20)."""
    x = np.zeros_like(b)
    for i in range(len(T.T)):
        known = np.einsum("...j,...jm->...m", T[..., i, :i], x[..., :i, :])
        x[..., i, :] = (b[..., i, :] - known) / T[..., i, i, None]
    return x
