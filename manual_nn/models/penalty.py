"""The penalty on the weights, weight_decay * sum_l ||W_l||^2: derived in penalty.md.

Biases are not penalised. Axes: a weight is (fan_in, fan_out).
"""

from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.layers.dense import Params

BLOCK = 8192  # numbers whose products are added up in their own precision


def forward(params: Params, weight_decay: float) -> np.floating[Any]:
    """Compute weight_decay times the sum of all squared weights, a scalar; eq. (1)."""
    if weight_decay == 0:
        return params[0].weight.dtype.type(0)
    with np.errstate(over="ignore"):  # the squares may be too large where the penalty is not
        penalty = weight_decay * np.add.reduce([_inner(weight, weight) for weight, _ in params])
    if np.isinf(penalty):
        penalty = np.add.reduce([_inner(weight_decay * weight, weight) for weight, _ in params])
    return penalty


def add_backward(
    d_weight: Array, weight: Array, weight_decay: float, *, out: Array | None = None
) -> None:
    """Add 2 weight_decay W to d_W in place, computed in `out` if it is given; eq. (2)."""
    if weight_decay:
        d_weight += np.multiply(2 * weight_decay, weight, out=out)


def jvp(params: Params, tangents: Params, weight_decay: float) -> np.floating[Any]:
    """Compute the derivative along the tangents, 2 weight_decay sum_l <W_l, R_W_l>; eq. (3)."""
    return np.sum(
        [
            _inner(2 * weight_decay * weight, R_weight)
            for (weight, _), (R_weight, _) in zip(params, tangents, strict=True)
        ]
    )


@np.errstate(over="ignore")  # what is too large is infinite, as a sum in its own precision
def _inner(a: Array, b: Array) -> np.floating[Any]:
    """Add up a b by blocks, and the sums of blocks in float64: float32 loses what comes late."""
    a, b = a.reshape(-1), b.reshape(-1)
    whole = a.size // BLOCK * BLOCK
    total = float(np.vdot(a[whole:], b[whole:]))
    if whole:
        blocks = np.vecdot(a[:whole].reshape(-1, BLOCK), b[:whole].reshape(-1, BLOCK))
        total += float(blocks.sum(dtype=np.float64))
    return a.dtype.type(total)
