"""The softmax and the cross-entropy of its probabilities: derived in softmax_cross_entropy.md.

Axes: N rows, K classes. `row_weight` is the factor of each row in the mean over the rows: 1/N, or
w_n / sum_m w_m, (N, 1).
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import as_integer, as_number
from manual_nn.checks.arrays import check_floats, check_integers, check_like, check_scalar

Classes: TypeAlias = npt.NDArray[np.integer[Any]]


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    p: Array  # (N, K), the softmax of the logits
    target: Any  # probabilities, (N, K), or class numbers, (N,)
    row_weight: RowWeight
    class_weight: Array | None = None  # (K,)
    label_smoothing: float = 0.0


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
    """Compute the mean over the rows of -sum_k u_k ln p_k, p = softmax(x); eq. (6), (7), (9), (12).

    u is the target. Label smoothing makes it (1 - s) target + s / K, and class weights multiply it.

    Args:
        params: there are none: ().
        x: the logits, (N, K), float32 or float64.
        target: probabilities, (N, K), of the dtype of x, whose rows sum to 1; or the number of each
            row's class, (N,), integers from 0 to K - 1.
        row_weight: the factor of each row, a number or (N, 1), of the dtype of x, none negative. By
            default that of the mean: 1/N; where the target is class numbers, 1 over the sum of the
            weights of the rows' classes.
        class_weight: how much each class counts, (K,), of the dtype of x, none negative.
        label_smoothing: s, the share of the target that is spread evenly over the classes, from 0
            to 1.
        ignore_index: a class number, perhaps none of 0 to K - 1, whose rows do not count, whatever
            their logits are, and not in the mean either. If what counts weighs nothing, the loss is
            0.

    Returns:
        The loss, a scalar, and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a number is outside of its range.

    Source: for label smoothing Szegedy et al., Rethinking the Inception Architecture for Computer
    Vision, 2015, arXiv:1512.00567.

    >>> x = np.log(np.array([[1.0, 3.0], [1.0, 1.0]]))
    >>> loss, kept = forward((), x, target=np.array([1, -100]), ignore_index=-100)
    >>> print(f"{np.exp(-loss):.2f}")  # the probability of class 1 in row 0
    0.75
    """
    x, target, row_weight, class_weight, label_smoothing = checked(
        x,
        target,
        row_weight=row_weight,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
    )
    shifted, e, s = _exponentials(x)  # (N, K), (N, K), (N, 1)
    kept = Kept(_softmax(e, s), target, row_weight, class_weight, label_smoothing)
    if target.ndim == 2:
        return cross_entropy(_log_softmax(shifted, s), _smoothed(kept), row_weight), kept
    certain, spread = _smoothed_classes(kept)
    log_s: Any = np.log(s)  # (N, 1)
    losses = certain * (log_s - np.take_along_axis(shifted, kept.target[:, None], axis=1))  # (N, 1)
    if label_smoothing:
        losses += ((log_s - shifted) * spread).sum(axis=1, keepdims=True)
    return (losses * row_weight).sum(), kept


def backward(params: tuple[()], kept: Kept, d_out: float = 1.0) -> tuple[tuple[()], Array]:
    """Compute d_logits = d_out (sum_j u_j p - u) / N, the one place with 1/N; eq. (8), (10), (13).

    Args:
        params: there are none: ().
        kept: what `forward` has kept.
        d_out: the derivative of what is made of the loss with respect to it.

    Returns:
        (), and d_logits, (N, K).

    Raises:
        TypeError: d_out is not a real number.
        ValueError: d_out is an array that has an axis.
    """
    check_scalar(d_out, name="d_out")
    p, target, row_weight, class_weight, label_smoothing = kept
    if target.ndim == 2:
        u = _smoothed(kept)  # (N, K)
        d_logits = p * u.sum(axis=1, keepdims=True) - u  # (N, K)
    else:
        certain, spread = _smoothed_classes(kept)
        d_logits = p.copy() if class_weight is None else p * (certain + spread.sum())
        if label_smoothing:
            d_logits -= spread
        d_logits[np.arange(len(p)), target] -= np.ravel(certain)
    d_logits *= row_weight
    if d_out != 1:
        d_logits *= d_out
    return (), d_logits


def softmax(logits: Array) -> Array:
    """Compute p_k = exp(z_k - m) / sum_j exp(z_j - m), m the row's largest; eq. (1), (2)."""
    _, e, total = _exponentials(logits)
    return _softmax(e, total)


def log_softmax(logits: Array) -> Array:
    """Compute ln p_k = z_k - m - ln sum_j exp(z_j - m), m the row's largest; eq. (6)."""
    shifted, _, total = _exponentials(logits)
    return _log_softmax(shifted, total)


def cross_entropy(log_p: Array, target: Array, row_weight: RowWeight) -> np.floating[Any]:
    """Compute the mean over the rows of -sum_k target ln p, a scalar; eq. (7), (9)."""
    return -np.vdot(target, log_p * row_weight)  # multiplied first, the sum cannot overflow


def _exponentials(logits: Array) -> tuple[Array, Array, Array]:
    """Compute z - m and exp(z - m), (N, K), and the row sums of the latter, (N, 1); eq. (2)."""
    with np.errstate(over="ignore"):  # a difference beyond the largest float stops there
        shifted = logits - np.maximum.reduce(logits, axis=-1, keepdims=True)
    np.maximum(shifted, np.finfo(logits.dtype).min, out=shifted)
    e = np.exp(shifted)
    return shifted, e, np.add.reduce(e, axis=-1, keepdims=True)


def _softmax(e: Array, total: Array) -> Array:
    """Divide exp(z - m) by its row sums, in place; eq. (2)."""
    e /= total
    return e


def _log_softmax(shifted: Array, total: Array) -> Array:
    """Subtract the logarithm of the row sums from z - m, in place; eq. (6)."""
    shifted -= np.log(total)
    return shifted


def _smoothed(kept: Kept) -> Array:
    """Compute u = w ((1 - s) target + s / K) of probabilities, (N, K); eq. (11)."""
    u: Array = kept.target
    if kept.label_smoothing:
        u = u * (1 - kept.label_smoothing) + kept.label_smoothing / u.shape[1]
    return u if kept.class_weight is None else u * kept.class_weight


def _smoothed_classes(kept: Kept) -> tuple[Array, Array]:
    """Compute the two parts of u: that of the row's class, (N, 1), and of all, (K,); eq. (11)."""
    p, target, _, class_weight, label_smoothing = kept
    weights = np.ones(p.shape[1], p.dtype) if class_weight is None else class_weight  # (K,)
    return (1 - label_smoothing) * weights[target, None], label_smoothing / len(weights) * weights


def checked(
    x: Array,
    target: Array | Classes,
    *,
    row_weight: RowWeight | float | None,
    class_weight: Array | None,
    label_smoothing: float,
    ignore_index: int | None,
) -> tuple[Array, Any, RowWeight, Array | None, float]:
    """Check the arguments, and give what is to be computed with, all but the last; eq. (9), (12).

    Of a row that does not count the weight becomes 0, and so do class and logits.
    """
    check_floats(x, name="x", ndim=2)
    class_weight = _as_class_weight(class_weight, x)
    label_smoothing = _as_share(label_smoothing)
    target, counted = _as_target(target, x, ignore_index)
    if row_weight is not None:
        row_weight = _as_row_weight(row_weight, x)
    elif target.ndim == 2:
        row_weight = x.dtype.type(1 / len(x))
    else:
        row_weight, class_weight = _factor_of_the_mean(target[counted], class_weight, x)
    if ignore_index is not None:
        counted = counted[:, np.newaxis]  # (N, 1)
        row_weight = np.where(counted, row_weight, x.dtype.type(0))
        x = np.where(counted, x, x.dtype.type(0))  # for 0 times NaN is NaN
    return x, target, row_weight, class_weight, label_smoothing


def _as_target(
    target: Any, x: Array, ignore_index: int | None
) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Check the target, and say which rows count, (N,); eq. (12). What is ignored gets class 0."""
    N, K = x.shape
    counted = np.ones(N, bool)  # (N,)
    if isinstance(target, np.ndarray) and target.ndim == 2:
        check_like(target, x.shape, x.dtype, name="target", like="x")
        if ignore_index is not None:
            raise ValueError("ignore_index must be None where the target is probabilities")
        return target, counted
    check_integers(target, name="target")
    if target.shape != (N,):
        raise ValueError(f"target must have shape ({N},) or {x.shape} to fit x, got {target.shape}")
    if ignore_index is not None:
        counted = target != as_integer(ignore_index, name="ignore_index")
    target = np.where(counted, target, 0)
    outside = (target < 0) | (target >= K)
    if outside.any():
        got = target[outside][0]
        raise ValueError(f"target must hold class numbers from 0 to {K - 1}, got {got}")
    return target, counted


def _factor_of_the_mean(
    classes: Any, class_weight: Array | None, x: Array
) -> tuple[np.floating[Any], Array | None]:
    """Compute 1 / sum_m v of the classes of the rows that count, and v as it is used; eq. (12).

    Only ratios of weights matter: where the sum or 1 over it is infinite or subnormal, v is
    multiplied by the power of 2 that takes the largest of these rows to between 1/2 and 1.
    """
    if class_weight is None:
        return x.dtype.type(1 / len(classes) if len(classes) else 0), None
    weights, tiny = class_weight[classes], np.finfo(x.dtype).tiny
    with np.errstate(over="ignore"):  # and below what no row has stops at the largest float
        total = weights.sum()
        if total and not tiny <= total <= 1 / tiny:
            scaled = np.ldexp(class_weight, -np.frexp(weights.max())[1])
            class_weight = np.minimum(scaled, np.finfo(x.dtype).max)
            total = class_weight[classes].sum()
    return x.dtype.type(1 / total if total else 0), class_weight


def _as_class_weight(class_weight: Array | None, x: Array) -> Array | None:
    """Check that the weights of the classes are numbers of the dtype of x, none negative."""
    if class_weight is None:
        return None
    check_like(class_weight, x.shape[1:], x.dtype, name="class_weight", like="the columns of x")
    if not (np.isfinite(class_weight) & (class_weight >= 0)).all():
        raise ValueError("class_weight must hold finite numbers, none negative")
    return class_weight


def _as_row_weight(row_weight: Any, x: Array) -> RowWeight:
    """Check that the factors of the rows are one number, or a column of the dtype of x."""
    if isinstance(row_weight, np.ndarray) and row_weight.ndim:
        check_like(row_weight, (len(x), 1), x.dtype, name="row_weight", like="the rows of x")
        if not (np.isfinite(row_weight) & (row_weight >= 0)).all():
            raise ValueError("row_weight must hold finite numbers, none negative")
        return row_weight
    number = row_weight[()] if isinstance(row_weight, np.ndarray) else row_weight
    return x.dtype.type(as_number(number, name="row_weight", minimum=0, dtype=x.dtype))


def _as_share(label_smoothing: object) -> float:
    """Check that the share of the target that is spread out is from 0 to 1."""
    share = as_number(label_smoothing, name="label_smoothing", minimum=0)
    if share > 1:
        raise ValueError(f"label_smoothing must be at most 1, got {share:g}")
    return share
