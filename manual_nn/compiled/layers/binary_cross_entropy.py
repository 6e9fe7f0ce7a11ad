"""The binary cross-entropy of logits, in one pass over memory.

Axes: `...` any number of axes, R rows in all, C classes.
"""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_scalar
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.exponential import exp
from manual_nn.compiled.layers.sigmoid import value_and_rest
from manual_nn.compiled.logarithm import log1p
from manual_nn.compiled.reductions import WIDTH
from manual_nn.layers.binary_cross_entropy import Kept, checked, outside

__all__ = ["Kept", "backward", "forward"]


def forward(
    params: tuple[()], x: Array, *, target: Array, pos_weight: float | Array = 1.0
) -> tuple[np.floating[Any], Kept]:
    """Take the mean of -(w t ln p + (1 - t) ln(1 - p)); binary_cross_entropy.md (1), (2).

    >>> loss, kept = forward((), np.array([0.0, 1000.0]), target=np.array([1.0, 1.0]))
    >>> print(f"{loss:.4f}")  # the mean of ln 2 and 0
    0.3466
    """
    kept = Kept(x, target, checked(x, target, pos_weight))
    total, inside = _mean(*_rows(kept), x.dtype.type(1 / x.size))
    if not inside:
        raise outside(target)
    return x.dtype.type(total), kept


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out ((1 - t) p - w t (1 - p)) / n; binary_cross_entropy.md (3)."""
    check_scalar(d_out, name="d_out")
    x = kept.x
    d_x = np.empty(x.shape, x.dtype)
    factors = x.dtype.type(1 / x.size), x.dtype.type(d_out)
    _differences(*_rows(kept), *factors, d_x.reshape(-1, x.shape[-1]))
    return (), d_x


def _rows(kept: Kept) -> tuple[Array, Array, Array]:
    """Give x and target as rows, (R, C), and the weights of the positives, (C,)."""
    C = kept.x.shape[-1]
    pos_weight = np.array(np.broadcast_to(kept.pos_weight, (C,)), kept.x.dtype)
    return in_order(kept.x).reshape(-1, C), in_order(kept.target).reshape(-1, C), pos_weight


@compiled
def _mean(x: Array, target: Array, pos_weight: Array, share: Any) -> tuple[Any, bool]:
    R, C = x.shape
    total, inside = np.float64(0), True
    for r in range(R):
        for start in range(0, C, WIDTH):
            stop = start + WIDTH
            t = target[r, start:stop]
            total += _part(x[r, start:stop], t, pos_weight[start:stop], share)
            inside &= _is_inside(t)
    return total, inside


@compiled_in_any_order
def _part(x: Array, target: Array, pos_weight: Array, share: Any) -> Any:
    zero, one = x.dtype.type(0), x.dtype.type(1)
    total = zero
    for j in range(len(x)):
        rare = log1p(exp(-abs(x[j])))
        if_absent = (x[j] if x[j] > zero else zero) + rare  # (2)
        if_present = (zero if x[j] > zero else -x[j]) + rare  # (2)
        total += ((one - target[j]) * if_absent + pos_weight[j] * target[j] * if_present) * share
    return total


@compiled
def _is_inside(target: Array) -> bool:
    """Say whether all of a row is from 0 to 1."""
    zero, one = target.dtype.type(0), target.dtype.type(1)
    inside = 0
    for j in range(len(target)):
        inside += (target[j] >= zero) & (target[j] <= one)
    return inside == len(target)


@compiled
def _differences(
    x: Array, target: Array, pos_weight: Array, share: Any, d_out: Any, d_x: Array
) -> None:
    R, C = x.shape
    one = x.dtype.type(1)
    for r in range(R):
        for j in range(C):
            p, rest = value_and_rest(x[r, j])
            t = target[r, j]
            d_x[r, j] = (((one - t) * p - pos_weight[j] * t * rest) * share) * d_out  # (3)
