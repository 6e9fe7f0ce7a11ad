"""Plant mistakes of all that normalises an array, in one operation or in many.

What lies between an array and a result is told by their values: the result is the softmax of the
array, or the array less its mean, or as it is, over the root of its mean square. So it does not
matter how that is written.

Axes: any of the array's; `right` are those of the forward pass, `other` those of the mistake.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Axes: TypeAlias = tuple[int, ...]

SOFTMAX, STANDARD, MEAN_SQUARE = "softmax", "standardised", "over its root mean square"
DIAGONAL, OF_GROUP = "softmax_diagonal", "of_another_group"
LEFT_OUT, OTHER_STATISTICS = "all_left_out", "other_statistics"
LARGEST = 4  # axes of an array that is normalised, at most


def _mean(x: Any, axes: Axes) -> Any:
    return x.mean(axis=axes, keepdims=True)


def normalise(form: str, x: Any, axes: Axes, eps: Any = 0.0) -> Any:
    """Normalise an array along some axes."""
    xp = x.__array_namespace__()
    if form == SOFTMAX:
        e = xp.exp(x - x.max(axis=axes, keepdims=True))
        return e / e.sum(axis=axes, keepdims=True)
    c = x - _mean(x, axes) if form == STANDARD else x
    return c / xp.sqrt(_mean(c**2, axes) + eps)


class Normal(NamedTuple):
    """How an array is normalised.

    Attributes:
        form: SOFTMAX, STANDARD or MEAN_SQUARE.
        right: the axes.
        eps: what is added to the mean square; 0 of a softmax.
    """

    form: str
    right: Axes
    eps: float = 0.0


def normal_of(x: Array, n: Array) -> Normal | None:
    """Say how an array is normalised, if it is."""
    if not 1 < x.ndim <= LARGEST or x.shape != n.shape or not np.isfinite(n).all():
        return None
    near = float(np.sqrt(np.finfo(x.dtype).eps))
    for count in (1, 2, 3):
        for axes in itertools.combinations(range(x.ndim), count):
            if min(x.shape[i] for i in axes) < 2:
                continue
            for form in (SOFTMAX, STANDARD, MEAN_SQUARE):
                with np.errstate(all="ignore"):
                    eps = 0.0 if form == SOFTMAX else _eps(form, x, n, axes)
                    want = np.asarray(normalise(form, x, axes, eps))
                centred = form == STANDARD and np.all(abs(_mean(x, axes)) <= near * abs(x).max())
                if np.allclose(n, want, rtol=near, atol=near) and not centred:
                    return Normal(form, axes, eps)
    return None


def _eps(form: str, x: Array, n: Array, axes: Axes) -> float:
    """Find what was added to the mean square, a power of ten; 0 if it was not small.

    Where two elements are normalised their derivative is a multiple of it, so that it has to be
    exact. It shows best where the mean square is least.
    """
    c = x - _mean(x, axes) if form == STANDARD else x
    square = _mean(c**2, axes)
    added = square * (1 / _mean(n**2, axes) - 1)
    known = np.isfinite(added) & (added > 0)
    if not known.any():
        return 0.0
    eps = float(f"1e{round(np.log10(added[known][square[known].argmin()]))}")
    return eps if eps < 1e-3 else 0.0


def others(x: Array, right: Axes) -> list[Axes]:
    """List axes that may be taken for the right ones."""
    long = [i for i in range(x.ndim) if x.shape[i] > 1]
    found = itertools.chain.from_iterable(itertools.combinations(long, n) for n in (1, 2))
    return [axes for axes in found if axes != right]


Back: TypeAlias = Callable[[Normal, Any, Any, Any, Axes], Any]


def _summed(_: Normal, __: Any, p: Any, d: Any, axes: Axes) -> Any:
    """d_x = p (d - (d p).sum(other))."""
    return p * (d - (d * p).sum(axis=axes, keepdims=True))


def _diagonal(_: Normal, __: Any, p: Any, d: Any, ___: Axes) -> Any:
    """d_x = p (1 - p) d."""
    return p * (1 - p) * d


def _of_means(normal: Normal, x: Any, n: Any, d: Any, axes: Axes) -> Any:
    """d_x = (d - d.mean(other) - n (d n).mean(other)) / s; without the first of a mean square."""
    c = x - _mean(x, normal.right) if normal.form == STANDARD else x
    s = np.sqrt(_mean(c**2, normal.right) + normal.eps)
    first = _mean(d, axes) if normal.form == STANDARD else 0
    return (d - first - n * _mean(d * n, axes)) / s


def _whole(normal: Normal, x: Any, _: Any, d: Any, axes: Axes) -> Any:
    """d_x is that of what is normalised along other axes."""
    return jax.vjp(lambda x: normalise(normal.form, x, axes, normal.eps), x)[1](d)[0]


def pulled(normal: Normal, x: Any, d: Any) -> Any:
    """Give what is rightly handed down through all that normalises."""
    return _whole(normal, x, None, d, normal.right)


# By the form, what is handed down, and by which name the check knows it, before its axes
OF_NORMALS: dict[str, tuple[str, Back]] = {
    DIAGONAL: (SOFTMAX, _diagonal),
    "sum_along": (SOFTMAX, _summed),
    "means_along": (STANDARD, _of_means),
    "mean_square_along": (MEAN_SQUARE, _of_means),
    "all_sums_along": (STANDARD, _whole),
}


def of_constants(normal: Normal, x: Array, d: Array, variance: Array) -> Array:
    """d_x = d / sqrt(variance + eps), with one that is no function of x, such as a running one."""
    shape = [1 if i in normal.right else n for i, n in enumerate(x.shape)]
    return np.asarray(d / np.sqrt(variance.reshape(shape) + normal.eps))


def may_be_variance(normal: Normal, x: Array, z: Array) -> bool:
    """Say whether an array has a positive number for each of those that x is divided by."""
    shape = [n for i, n in enumerate(x.shape) if i not in normal.right and n > 1]
    alike = normal.form == STANDARD and bool(shape) and [n for n in z.shape if n > 1] == shape
    return alike and bool((z > 0).all())


def axes_of(kind: str, name: str) -> Axes | None:
    """Read the axes off a name: (0, 1) of sum_along_0_1; None if it is none of this kind."""
    if kind == DIAGONAL and name == "diagonal_alone":  # of a softmax that is called by its name
        return ()
    of, _, axes = name.partition("_along_")
    return tuple(map(int, axes.split("_"))) if axes and f"{of}_along" == kind else None


def of_another_group(x: Array, normal: Array) -> Array | None:
    """Normalise (..., G, C / G) with the statistics of group c % G for each channel c.

    None where there are no groups, or where each channel's is its own.

    Args:
        x: what is normalised.
        normal: the same, normalised group by group, in any shape.
    """
    found = normal_of(x, normal.reshape(x.shape)) if normal.size == x.size else None
    if found is None or found.form != STANDARD:
        return None
    *_, groups, width = x.shape
    if x.ndim - 1 not in found.right or x.ndim - 2 in found.right:
        return None
    other = np.arange(groups * width).reshape(groups, width) % groups
    if (other == np.arange(groups)[:, None]).all():
        return None
    mean = _mean(x, found.right)
    s = np.sqrt(_mean((x - mean) ** 2, found.right) + found.eps)
    of_mean, of_s = (y[..., 0][..., other] for y in (mean, s))
    return np.asarray((x - of_mean) / of_s).astype(x.dtype).reshape(normal.shape)
