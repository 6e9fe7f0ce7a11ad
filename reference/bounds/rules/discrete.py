"""Booleans and integers: a result is exact or unsure."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded


def discrete(function: Callable[..., Array], *operands: Bounded) -> Bounded:
    """Booleans and integers: the result is unsure where an operand is."""
    values, errors = zip(*operands, strict=True)
    return Bounded(np.asarray(function(*values)), np.any(np.broadcast_arrays(*errors), axis=0))


def reduced(
    of_values: Callable[..., Any], of_errors: Callable[..., Any], x: Bounded, axes: tuple[int, ...]
) -> Bounded:
    """Reduce values and errors along these axes, each in its own way."""
    return Bounded(
        np.asarray(of_values(x.value, axis=axes)), np.asarray(of_errors(x.error, axis=axes))
    )


register_rule("and")(lambda _, a, b, **__: discrete(np.bitwise_and, a, b))
register_rule("or")(lambda _, a, b, **__: discrete(np.bitwise_or, a, b))
register_rule("xor")(lambda _, a, b, **__: discrete(np.bitwise_xor, a, b))
register_rule("not")(lambda _, a, **__: discrete(np.invert, a))
register_rule("is_finite")(lambda _, a, **__: Bounded(np.isfinite(a.value), ~np.isfinite(a.error)))
register_rule("reduce_or")(
    lambda _, a, *, axes, **__: reduced(np.bitwise_or.reduce, np.any, a, axes)
)
register_rule("reduce_and")(
    lambda _, a, *, axes, **__: reduced(np.bitwise_and.reduce, np.any, a, axes)
)
