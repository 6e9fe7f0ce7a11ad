"""The softmax and its cross-entropy, in which each row stays in the cache until it is done.

Axes: N rows, K classes.
"""

import math
from typing import Any

import numpy as np

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arrays import check_scalar
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled, compiled_in_any_order
from manual_nn.compiled.larger import larger
from manual_nn.compiled.reductions import WIDTH, exponentials, largest_of, sum_of
from manual_nn.layers.softmax_cross_entropy import Classes, Kept, checked

__all__ = ["Classes", "Kept", "backward", "forward"]


def forward(
    params: tuple[()],
    x: Array,
    *,
    target: Array | Classes,
    row_weight: RowWeight | float | None = None,
    class_weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> tuple[np.floating[Any], Kept]:
    """Compute the mean of -sum_k u_k ln p_k; softmax_cross_entropy.md (6), (7), (9), (12).

    >>> x = np.log(np.array([[1.0, 3.0], [1.0, 1.0]]))
    >>> loss, kept = forward((), x, target=np.array([1, -100]), ignore_index=-100)
    >>> print(f"{np.exp(-loss):.2f}")  # the probability of class 1 in row 0
    0.75
    """
    x, *constants = checked(
        x,
        target,
        row_weight=row_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    kept = Kept(np.empty(x.shape, x.dtype), *constants)
    if kept.target.ndim == 2:
        loss = _against_probabilities(
            in_order(x), in_order(kept.target), *_shares(kept), _of_rows(kept), kept.p
        )
    else:
        loss = _against_classes(in_order(x), _numbers(kept), *_shares(kept), _of_rows(kept), kept.p)
    return x.dtype.type(loss), kept


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_logits = d_out (sum_j u_j p - u) / N; softmax_cross_entropy.md (8), (10), (13)."""
    check_scalar(d_out, name="d_out")
    p = kept.p
    d_logits, number = np.empty(p.shape, p.dtype), p.dtype.type
    if kept.target.ndim == 2:
        _probabilities_backward(
            p, in_order(kept.target), *_shares(kept), _of_rows(kept), number(d_out), d_logits
        )
    else:
        _classes_backward(
            p, _numbers(kept), *_shares(kept), _of_rows(kept), number(d_out), d_logits
        )
    return (), d_logits


def _shares(kept: Kept) -> tuple[Array, Array]:
    """Give by what the target is multiplied, and what is added, of each class, (K,); (11)."""
    K, dtype, s = kept.p.shape[1], kept.p.dtype, kept.label_smoothing
    weights = np.ones(K, dtype) if kept.class_weight is None else kept.class_weight
    return in_order((1 - s) * weights), in_order(s / K * weights)


def _of_rows(kept: Kept) -> Array:
    """Give the factor of each row, (N,)."""
    N = len(kept.p)
    return np.array(np.broadcast_to(np.ravel(kept.row_weight), (N,)), kept.p.dtype)


def _numbers(kept: Kept) -> Classes:
    """Give the classes in the one type that is compiled for, (N,)."""
    return np.array(kept.target, np.int64)


@compiled
def _against_classes(
    x: Array, target: Classes, certain: Array, spread: Array, row_weight: Array, p: Array
) -> Any:
    loss, number = np.float64(0), x.dtype.type
    smoothed, lowest = spread.any(), -np.finfo(x.dtype).max  # where a difference stops
    for n in range(len(x)):
        m, log_s = _softmax(x[n], p[n])
        cost = certain[target[n]] * (log_s - larger(x[n, target[n]] - m, lowest))  # (6)
        if smoothed:
            cost += number(_costs(x[n], m, log_s, spread, number(1)))  # (11)
        loss += cost * row_weight[n]
    return loss


@compiled
def _against_probabilities(
    x: Array, target: Array, certain: Array, spread: Array, row_weight: Array, p: Array
) -> Any:
    loss, number = np.float64(0), x.dtype.type
    u = np.empty(x.shape[1], x.dtype)
    for n in range(len(x)):
        m, log_s = _softmax(x[n], p[n])
        _smooth(target[n], certain, spread, u)
        loss += number(_costs(x[n], m, log_s, u, row_weight[n]))  # (7)
    return loss


@compiled
def _softmax(z: Array, p: Array) -> tuple[Any, Any]:
    """Write the softmax of a row, (K,), to p; give its largest and ln sum exp(z - m); (2), (6)."""
    m = largest_of(z)
    total = exponentials(z, m, p)
    share = p.dtype.type(1) / total
    for k in range(len(p)):
        p[k] *= share
    return m, p.dtype.type(math.log(total))


@compiled
def _smooth(target: Array, certain: Array, spread: Array, u: Array) -> None:
    """Compute u of a row, (K,); (11)."""
    for k in range(len(u)):
        u[k] = target[k] * certain[k] + spread[k]


@compiled
def _costs(z: Array, m: Any, log_s: Any, u: Array, factor: Any) -> Any:
    """Add up -u ln p factor along a row, (K,), which is multiplied first; (6), (7), (9)."""
    total = np.float64(0)
    for start in range(0, len(z), WIDTH):
        stop = start + WIDTH
        total += _part(z[start:stop], m, log_s, u[start:stop], factor)
    return total


@compiled_in_any_order
def _part(z: Array, m: Any, log_s: Any, u: Array, factor: Any) -> Any:
    total, lowest = z.dtype.type(0), -np.finfo(z.dtype).max  # where a difference stops
    for k in range(len(z)):
        total += u[k] * ((log_s - larger(z[k] - m, lowest)) * factor)
    return total


@compiled
def _classes_backward(
    p: Array,
    target: Classes,
    certain: Array,
    spread: Array,
    row_weight: Array,
    d_out: Any,
    d_logits: Array,
) -> None:
    of_all = p.dtype.type(sum_of(spread))
    for n in range(len(p)):
        of_class = certain[target[n]]
        total = of_class + of_all  # of u
        for k in range(p.shape[1]):
            d_logits[n, k] = ((p[n, k] * total - spread[k]) * row_weight[n]) * d_out  # (10)
        k = target[n]
        rest = p[n, k] * total - spread[k] - of_class
        d_logits[n, k] = (rest * row_weight[n]) * d_out


@compiled
def _probabilities_backward(
    p: Array,
    target: Array,
    certain: Array,
    spread: Array,
    row_weight: Array,
    d_out: Any,
    d_logits: Array,
) -> None:
    u = np.empty(p.shape[1], p.dtype)
    for n in range(len(p)):
        _smooth(target[n], certain, spread, u)
        total = p.dtype.type(sum_of(u))
        for k in range(p.shape[1]):
            d_logits[n, k] = ((p[n, k] * total - u[k]) * row_weight[n]) * d_out  # (10)
