"""Plant another array of the loss where one belongs in a derivative.

Of c = f g, d_f is d_c i in place of d_c g; of a = tanh z, d_z is d_a (1 - i^2), or tanh' is taken
at i. What an array is handed may be multiplied by i once too often, and a weight may have been
updated before the derivative goes through it. FORMULAS says what is made of i.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.soundness.edges import Edge, Given

VALUE, FACTOR_OF, TOO_MANY, UPDATED = (
    "another_value", "another_factor", "factor_too_many", "updated_before",
)  # fmt: skip
ITSELF, OF_COLUMNS = "{}", "{}.mT"
RATES = (0.05, 0.1, 0.5)  # of learning

FORMULAS: dict[str, Callable[[Any], Any]] = {
    ITSELF: lambda v: v,
    "1 - {}": lambda v: 1 - v,
    "1 - {}**2": lambda v: (1 - v) * (1 + v),
    "{0} * (1 - {0})": lambda v: v - v * v,
    "{}**2": jnp.square,
    "1 / {}": lambda v: jnp.ones_like(v) / v,
    "{} > 0": lambda v: jnp.sign(jnp.maximum(v, 0)),
    "sign({})": lambda v: (v > 0).astype(v.dtype) - (v < 0).astype(v.dtype),
    "tanh'({})": lambda v: jnp.cosh(v) ** -2.0,
    "sigmoid'({})": lambda v: jax.nn.sigmoid(v) * (1 - jax.nn.sigmoid(v)),
    OF_COLUMNS: lambda v: jnp.moveaxis(v, -1, -2),
}
# What bends each element by itself
POINTWISE = {
    "tanh", "logistic", "exp", "log", "log1p", "sqrt", "rsqrt", "integer_pow", "square", "sin",
    "cos", "erf", "sigmoid", "relu", "silu", "gelu", "softplus", "log_sigmoid",
}  # fmt: skip


def is_of_factors(edge: Edge) -> bool:
    """Say whether the derivative is the other operand, element by element."""
    shapes = {np.shape(x) for x in (*edge.step.operands, edge.out)}
    return edge.name == "mul" and len(shapes) == 1


def _is_pointwise(edge: Edge) -> bool:
    return edge.name in POINTWISE and len(edge.step.operands) == 1


def is_of_a_product(edge: Edge) -> bool:
    """Say whether an edge is of a product of two."""
    return edge.name in {"dot_general", "mul"} and len(edge.step.operands) == 2


FITS: dict[str, Callable[[Edge], bool]] = {
    VALUE: lambda edge: is_of_a_product(edge) or _is_pointwise(edge),
    FACTOR_OF: _is_pointwise,
}


def replaced(edge: Edge) -> Any:
    """Give the array whose place another one of its shape may take, or whose derivative it is."""
    return edge.step.operands[1 - edge.operand if is_of_a_product(edge) else edge.operand]


def formulas(kind: str, edge: Edge) -> list[str]:
    """List what may be made of another array there."""
    if kind == VALUE and not is_of_factors(edge):
        return [ITSELF]
    rows, columns = (1, 1, *np.shape(replaced(edge)))[-2:]
    return [name for name in FORMULAS if name != OF_COLUMNS or rows == columns > 1]


def _another_value(given: Given, z: Any) -> Any:
    if len(given.step.operands) == 1:
        return given.pull(given.d_out, x=z)
    return given.pull(given.d_out, other=z)


Rule: TypeAlias = Callable[[Given, Any], Any]
SWAPS: dict[str, Rule] = {
    VALUE: _another_value,
    FACTOR_OF: lambda given, z: given.d_out * z,
    TOO_MANY: lambda given, z: given.right * z,
    UPDATED: _another_value,
}
