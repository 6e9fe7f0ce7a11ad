"""Plant mistakes of how all that has read an element of an array hands down to it together.

Max pooling chooses each result of a window, and average pooling adds a window up, however either is
written. With A[o, i] the derivative of result o in element i and W[o, i] whether i is in window o,

    d_x[i] = sum_o A[o, i] d_out[o].

People write = for += here, share what is handed down as if a maximum were a mean, or choose in one
channel for all of them.

Axes: of x and of the result any; of A and W o, i, the elements of both in their order.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Function: TypeAlias = Callable[[Any], Any]  # gives a result of an array
Back: TypeAlias = Callable[[Function, Array, Array], Array]  # of that, x and d_out: d_x

LAST_OF_SLICES, FIRST_OF_SLICES = "last_window_of_slices", "first_window_of_slices"
OF_A_MEAN, TO_ALL = "of_a_mean", "to_all_of_a_window"
IN_THE_FIRST = "chosen_in_the_first_along"
FIRST, LAST, MEAN = "first_reader", "last_reader", "mean_of_the_readers"
ENTRIES = 2**16  # of A and of W, at most


# What is chosen of an array


def places_in(x: Array, out: Array) -> Array | None:
    """Find where in an array each element of a result is from, if it has no equal ones."""
    order = np.argsort(x.ravel())
    known = x.ravel()[order]
    if known.size < 2 or not np.isfinite(known).all() or (np.diff(known) == 0).any():
        return None
    at = np.searchsorted(known, out.ravel()).clip(0, known.size - 1)
    return order[at] if (known[at] == out.ravel()).all() else None


def read_twice(x: Array, out: Array) -> bool:
    """Say whether all elements of a result are some of an array's, and one is there twice."""
    places = places_in(x, out)
    return places is not None and len(np.unique(places)) < places.size


def written(x: Array, out: Array, d_out: Array, *, backwards: bool = False) -> Array:
    """d_x[i] = d_out in place of d_x[i] += d_out, from the first result on or from the last."""
    d_x, places = np.zeros(x.size, x.dtype), places_in(x, out)
    assert places is not None, "an array with equal elements"
    step = -1 if backwards else 1
    for place, d in zip(places[::step], d_out.ravel()[::step], strict=True):
        d_x[place] = d
    return d_x.reshape(x.shape)


def _windows(function: Function, x: Array) -> Array:
    """Find W: an element is in the windows whose largest it is once it is infinite."""
    raised = np.tile(x.ravel(), (x.size, 1))
    np.fill_diagonal(raised, np.inf)
    outs = np.asarray(jax.vmap(function)(jnp.asarray(raised.reshape(-1, *x.shape))))
    return np.isinf(outs).reshape(x.size, -1).T


def _written(*, backwards: bool) -> Back:
    def back(function: Function, x: Array, d_out: Array) -> Array:
        return written(x, np.asarray(function(x)), d_out, backwards=backwards)

    return back


def _of_a_mean(function: Function, x: Array, d_out: Array) -> Array:
    """d_x[i] is the sum of d_out[o] / n(o) over the windows o of i, with n(o) the size of one."""
    W = _windows(function, x)
    return (W.T @ (d_out.ravel() / W.sum(axis=1))).reshape(x.shape)


def _to_all(function: Function, x: Array, d_out: Array) -> Array:
    """d_x[i] is the sum of d_out[o] over the windows o of i."""
    return (_windows(function, x).T @ d_out.ravel()).reshape(x.shape)


def in_the_first(axis: int) -> Back:
    """Choose in the first slice along an axis, and take that for all slices."""

    def back(function: Function, x: Array, d_out: Array) -> Array:
        first = np.broadcast_to(x.take([0], axis), x.shape)
        (d_x,) = jax.vjp(function, jnp.asarray(first))[1](jnp.asarray(d_out))
        return np.asarray(d_x)

    return back


# What is a sum of an array's elements


def jacobian(function: Function, x: Array) -> Array:
    """Compute A."""
    A = np.asarray(jax.jacfwd(function)(jnp.asarray(x)))
    return A.reshape(-1, x.size)


def is_read_by_several(function: Function, x: Array, size: int) -> bool:
    """Say whether a result of a size is linear in an array, and reads some element twice.

    Where elements are in another order, one that is no sum of them has another derivative.
    """
    if x.size * size > ENTRIES:
        return False
    A, other = jacobian(function, x), x.ravel()[::-1].reshape(x.shape)
    return bool((jacobian(function, other) == A).all() and ((A != 0).sum(axis=0) > 1).any())


def _of_one(which: int) -> Back:
    """Have the first or the last result that reads an element hand down to it alone."""

    def back(function: Function, x: Array, d_out: Array) -> Array:
        d_x = np.zeros(x.size, x.dtype)
        A = jacobian(function, x)
        for i, column in enumerate(A.T):
            if (readers := np.flatnonzero(column)).size:
                d_x[i] = column[readers[which]] * d_out.ravel()[readers[which]]
        return d_x.reshape(x.shape)

    return back


def _mean(function: Function, x: Array, d_out: Array) -> Array:
    """d_x[i] is the mean of d_out[o] over all o that read i, each of which counts once."""
    read = jacobian(function, x) != 0
    return ((read.T @ d_out.ravel()) / read.sum(axis=0).clip(1)).reshape(x.shape)


OF_CHOSEN: dict[str, Back] = {
    LAST_OF_SLICES: _written(backwards=False),
    FIRST_OF_SLICES: _written(backwards=True),
    OF_A_MEAN: _of_a_mean,
    TO_ALL: _to_all,
}
OF_SUMS: dict[str, Back] = {FIRST: _of_one(0), LAST: _of_one(-1), MEAN: _mean}
