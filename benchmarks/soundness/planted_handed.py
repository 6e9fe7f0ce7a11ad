"""Plant mistakes of what an operation does with the derivative that it is handed.

Of a = f(z) people hand f'(z) down, and forget d_a, or f(d_a); of what was broadcast along the rows
one sum over everything; and where an axis was split into two, or two were put together, they take
the two in each other's place.
"""

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from benchmarks.soundness.edges import Edge, Given

Shape: TypeAlias = tuple[int, ...]

ACTIVATIONS = {
    "elu", "gelu", "leaky_relu", "logistic", "max", "relu", "sigmoid", "silu", "softplus", "tanh",
}  # fmt: skip


def _shapes(edge: Edge) -> tuple[Shape, Shape]:
    return np.shape(edge.step.operands[edge.operand]), tuple(edge.out.shape)


def _is_activation(edge: Edge) -> bool:
    """Say whether each element is bent by itself; a maximum is an activation beside 0 alone."""
    x, out = _shapes(edge)
    others = [y for i, y in enumerate(edge.step.operands) if i != edge.operand]
    alone = all(np.size(y) == 1 for y in others)
    is_maximum = edge.name == "max" and any(np.any(y != 0) for y in others)
    return edge.name in ACTIVATIONS and x == out and alone and not is_maximum


def _of_the_upstream(given: Given) -> Any:
    operands = list(given.step.operands)
    operands[given.operand] = given.d_out
    return given.first(*operands)


def two_of_one(whole: Shape, parts: Shape) -> int | None:
    """Find the first of two axes longer than 1 that are one in another shape."""
    for axis, (n, m) in enumerate(itertools.pairwise(parts)):
        if min(n, m) > 1 and whole == (*parts[:axis], n * m, *parts[axis + 2 :]):
            return axis
    return None


def _split(given: Given) -> Any:
    """d_x[m N + n] = d_out[n, m], where x[n M + m] was split into out[n, m]."""
    axis = two_of_one(given.x.shape, given.d_out.shape)
    assert axis is not None, "no axis was split"
    return given.d_out.swapaxes(axis, axis + 1).reshape(given.x.shape)


def _joined(given: Given) -> Any:
    """d_x[n, m] = d_out[m N + n], where x[n, m] was put into out[n M + m]."""
    shape = list(given.x.shape)
    axis = two_of_one(given.d_out.shape, given.x.shape)
    assert axis is not None, "no axes were put together"
    shape[axis : axis + 2] = shape[axis : axis + 2][::-1]
    return given.d_out.reshape(shape).swapaxes(axis, axis + 1)


def _is_reshaped(edge: Edge, *, to_two: bool) -> bool:
    x, out = _shapes(edge)
    whole, parts = (x, out) if to_two else (out, x)
    return edge.name == "reshape" and two_of_one(whole, parts) is not None


OF_HANDED: dict[str, tuple[Callable[[Edge], bool], Callable[[Given], Any]]] = {
    "forgotten_upstream": (
        _is_activation,
        lambda given: given.pull(jnp.ones_like(given.d_out)),
    ),
    "applied_to_upstream": (_is_activation, _of_the_upstream),
    "split_in_another_order": (lambda edge: _is_reshaped(edge, to_two=True), _split),
    "joined_in_another_order": (lambda edge: _is_reshaped(edge, to_two=False), _joined),
}


def summed_over_all(given: Given) -> Any:
    """d_x = d_out.sum(), the same number for each element."""
    return jnp.full(given.x.shape, given.d_out.sum())
