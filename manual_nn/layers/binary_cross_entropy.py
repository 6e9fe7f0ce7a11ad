"""The binary cross-entropy of logits: each entry of x says by itself how likely its class is.

binary_cross_entropy.md derives the equations. Axes: `...` any number of axes, C classes, which
are independent: any number of them may be present.
"""

from typing import Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_number
from manual_nn.checks.arrays import check_floats, check_like, check_scalar
from manual_nn.layers.sigmoid import sigmoid


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array  # (..., C)
    target: Array  # (..., C)
    pos_weight: float | Array


def forward(
    params: tuple[()], x: Array, *, target: Array, pos_weight: float | Array = 1.0
) -> tuple[np.floating[Any], Kept]:
    """Take the mean over all entries of -(w t ln p + (1 - t) ln(1 - p)); eq. (1), (2).

    p = sigmoid(x) is the probability of the class, t the target and w the weight of the positives.

    Args:
        params: there are none: ().
        x: the logits, (..., C), float32 or float64.
        target: (..., C), of the dtype of x, from 0 to 1: 0 and 1, or probabilities.
        pos_weight: how often an entry with target 1 counts, a number or one for each class, (C,);
            not negative.

    Returns:
        The loss, a scalar, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a target or weight is outside of its range.

    >>> loss, kept = forward((), np.array([0.0, 1000.0]), target=np.array([1.0, 1.0]))
    >>> print(f"{loss:.4f}")  # the mean of ln 2 and 0
    0.3466
    """
    pos_weight = checked(x, target, pos_weight)
    if not ((target >= 0) & (target <= 1)).all():
        raise outside(target)
    rare = np.log1p(np.exp(-abs(x)))  # -ln of the likelier one's probability
    if_absent = np.maximum(x, 0) + rare  # -ln(1 - p), (..., C)
    if_present = np.maximum(-x, 0) + rare  # -ln p, (..., C)
    losses = (1 - target) * if_absent + pos_weight * target * if_present
    return (losses / x.size).sum(), Kept(x, target, pos_weight)


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_x = d_out ((1 - t) p - w t (1 - p)) / n, of n entries; eq. (3).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: the derivative of what is made of the loss with respect to it.

    Returns:
        (), and d_x, (..., C).

    Raises:
        TypeError: d_out is not a real number.
        ValueError: d_out is an array that has an axis.
    """
    check_scalar(d_out, name="d_out")
    x, target, pos_weight = kept
    d_x = (1 - target) * sigmoid(x) - pos_weight * target * sigmoid(-x)  # (..., C)
    d_x /= x.size
    d_x *= d_out
    return (), d_x


def checked(x: Array, target: Array, pos_weight: object) -> float | Array:
    """Check the arguments, but for the numbers in target, and give pos_weight; eq. (1)."""
    check_floats(x, name="x", ndim=1)
    check_like(target, x.shape, x.dtype, name="target", like="x")
    if not isinstance(pos_weight, np.ndarray):
        return as_number(pos_weight, name="pos_weight", minimum=0, dtype=x.dtype)
    check_like(pos_weight, x.shape[-1:], x.dtype, name="pos_weight", like="the last axis of x")
    if not (np.isfinite(pos_weight) & (pos_weight >= 0)).all():
        raise ValueError(f"pos_weight must hold finite numbers, none negative, got {pos_weight}")
    return pos_weight


def outside(target: Array) -> ValueError:
    """Make the error that says that target does not hold probabilities; eq. (1)."""
    return ValueError(
        f"target must be from 0 to 1, got numbers from {target.min()} to {target.max()}"
    )
