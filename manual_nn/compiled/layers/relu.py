"""The rectified linear unit, in one pass over memory; all arrays have one shape, that of x."""

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.in_place import through_relu
from manual_nn.layers.relu import Kept

__all__ = ["Kept", "backward", "forward"]


def forward(params: tuple[()], x: Array, *, out: Array | None = None) -> tuple[Array, Kept]:
    """Compute a = max(x, 0); relu.md (1).

    >>> import numpy as np
    >>> a, kept = forward((), np.array([-1.0, 0.0, 2.0]))
    >>> a
    array([0., 0., 2.])
    """
    check_floats(x, name="x", ndim=1)
    a = rectified(x, out=out)
    return a, Kept(a)


def backward(
    params: tuple[()], kept: Kept, d_out: Array, *, out: Array | None = None
) -> tuple[tuple[()], Array]:
    """Compute d_x = d_a where x > 0 and 0 elsewhere; relu.md (2)."""
    check_like(d_out, kept.a.shape, kept.a.dtype, name="d_out", like="out")
    return (), masked(d_out, kept.a, out=out)


def rectified(x: Array, *, out: Array | None = None) -> Array:
    """Compute max(x, 0) alone; relu.md (1)."""
    if out is not None:
        check_like(out, x.shape, x.dtype, name="out", like="x")
    return entrywise(_rectify, x, out=out)


def masked(d_out: Array, a: Array, *, out: Array | None = None) -> Array:
    """Keep d_out where a > 0, and put 0 elsewhere; relu.md (2)."""
    if out is not None:
        check_like(out, a.shape, a.dtype, name="out", like="x")
    return entrywise(_mask, d_out, a, out=out)


@compiled
def _rectify(x: Array, a: Array) -> None:
    zero = x.dtype.type(0)
    for i in range(len(x)):
        a[i] = zero if x[i] <= zero else x[i]  # (1); what is not a number stays so


@compiled
def _mask(d_out: Array, a: Array, d_x: Array) -> None:
    for i in range(len(a)):
        d_x[i] = through_relu(d_out[i], a[i])  # (2)
