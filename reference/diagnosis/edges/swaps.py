"""Another array takes the place of one that a derivative is made of, or of its factor.

The derivative of c = f g in f is d_c g. In its place stands d_c i, where i is another array of the
loss; or d_a (1 - a) where d_a (1 - a^2) belongs. `substitutes.py` looks for the array.
"""

import ast
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from reference.diagnosis.edges.mistakes import Site

JaxArray: TypeAlias = jax.Array

ANOTHER_VALUE = "another_value"  # in the place of an operand
ANOTHER_FACTOR = "another_factor"  # in the place of the local derivative
FACTOR_TOO_MANY = "factor_too_many"  # beside the local derivative
UPDATED = "updated_before"  # an operand, by its own gradient
ITSELF = "{}"


def _numpy_of(v: Any) -> Any:
    """Give the library that an array is of: with NumPy, there is nothing for XLA to compile."""
    return np if isinstance(v, np.ndarray | np.generic) else jnp


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + _numpy_of(x).exp(-x))


def _transposed(v: Any) -> Any:
    """Exchange rows and columns; where their numbers differ nothing is of the right shape."""
    square = v.ndim > 1 and v.shape[-1] == v.shape[-2] > 1
    return v.swapaxes(-1, -2) if square else _numpy_of(v).full(v.shape, np.nan, v.dtype)


# What people make of an array v to have a derivative
FORMULAS: dict[str, Callable[[Any], Any]] = {
    ITSELF: lambda v: v,
    "1 - {}": lambda v: 1 - v,
    "1 - {}**2": lambda v: 1 - v**2,
    "{0} * (1 - {0})": lambda v: v * (1 - v),
    "{}**2": lambda v: v**2,
    "1 / {}": lambda v: 1 / v,
    "{} > 0": lambda v: (v > 0).astype(v.dtype),
    "sign({})": lambda v: _numpy_of(v).sign(v),
    "tanh'({})": lambda v: 1 - _numpy_of(v).tanh(v) ** 2,
    "sigmoid'({})": lambda v: _sigmoid(v) * _sigmoid(-v),
    "{}.mT": _transposed,
}


def written(formula: str, name: str) -> str:
    """Write a formula of an array: with its name, or with x for what has none."""
    if formula == ITSELF:
        return name
    if name.startswith("`") and name.endswith("`"):
        return f"`{_filled(formula, name.strip('`'))}`"
    return f"`{formula.format('x')}` with x {name}"


def _filled(formula: str, source: str) -> str:
    """Put source into a formula, in parentheses where the formula would be another without them."""
    one = formula.replace("'(", "(")  # tanh' is no name in Python
    try:
        names = ast.dump(ast.parse(one.format(source), mode="eval"))
        meant = ast.dump(ast.parse(one.format(f"({source})"), mode="eval"))
    except SyntaxError:  # of an argument whose name is no Python
        return formula.format(source)
    return formula.format(source if names == meant else f"({source})")


def another_value(site: Site, z: JaxArray, operand: int) -> JaxArray:
    """d_x = (df/dx)^T d_out with z in the place of an operand; of x itself, where f bends."""
    operands = list(site.operands)
    operands[operand] = z.astype(operands[operand].dtype)
    return Site(site.function, operands, site.operand, site.x).tangent(
        operands[site.operand], site.x
    )


def another_factor(site: Site, z: JaxArray, operand: int) -> JaxArray:
    """d_x = z d_out in place of f'(x) d_out."""
    del operand
    return z * site.x


def factor_too_many(site: Site, z: JaxArray, operand: int) -> JaxArray:
    """d_x = z (df/dx)^T d_out, where z has no business."""
    del operand
    return site.tangent(site.point, z * site.x)


SWAPS: dict[str, Callable[[Site, JaxArray, int], JaxArray]] = {
    ANOTHER_VALUE: another_value,
    UPDATED: another_value,
    ANOTHER_FACTOR: another_factor,
    FACTOR_TOO_MANY: factor_too_many,
}
