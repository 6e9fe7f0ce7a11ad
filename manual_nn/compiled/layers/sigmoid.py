"""The logistic sigmoid, in one pass over memory; all arrays have one shape, that of x.

The input is kept in the place of e = exp(-x), which is sooner computed anew than read.
"""

from typing import Any, NamedTuple

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled, compiled_fused
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.exponential import constants_of, exp

__all__ = ["Kept", "backward", "forward"]


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array


def forward(params: tuple[()], x: Array) -> tuple[Array, Kept]:
    """Compute out = 1 / (1 + exp(-x)); sigmoid.md (1).

    >>> import numpy as np
    >>> out, kept = forward((), np.array([-1000.0, -1.0, 0.0, 1.0, 1000.0]))
    >>> out
    array([0.        , 0.26894142, 0.5       , 0.73105858, 1.        ])
    """
    check_floats(x, name="x", ndim=1)
    return entrywise(_values, x), Kept(x)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, sigmoid(x) sigmoid(-x); sigmoid.md (3)."""
    check_like(d_out, kept.x.shape, kept.x.dtype, name="d_out", like="out")
    return (), entrywise(_slopes, d_out, kept.x)


@compiled_fused
def value_and_rest(x: Any) -> tuple[Any, Any]:
    """Compute sigmoid(x) and 1 - sigmoid(x) = sigmoid(-x) of a number; sigmoid.md (1), (2).

    With e = exp(-|x|), which does not overflow, 1 / (1 + e) is one of them and e / (1 + e) the
    other; their product is the slope, sigmoid.md (3).
    """
    one = constants_of(x).one
    e = exp(-abs(x))
    larger = one / (one + e)
    smaller = e * larger
    return (larger, smaller) if x > 0 else (smaller, larger)


@compiled
def values_and_rests(x: Array, value: Array, rest: Array) -> None:
    """Write sigmoid(x) and 1 - sigmoid(x) of a row of numbers, such as the gates of a step."""
    for i in range(len(x)):
        value[i], rest[i] = value_and_rest(x[i])


@compiled
def _values(x: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i], _ = value_and_rest(x[i])


@compiled
def _slopes(d_out: Array, x: Array, d_x: Array) -> None:
    for i in range(len(x)):
        value, rest = value_and_rest(x[i])
        d_x[i] = d_out[i] * (value * rest)
