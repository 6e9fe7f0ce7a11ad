"""GELU, in one pass over memory; all arrays have one shape, that of x."""

from typing import Any

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_bool
from manual_nn.checks.arrays import check_floats, check_like
from manual_nn.compiled.compiler import compiled, compiled_fused
from manual_nn.compiled.entrywise import entrywise
from manual_nn.compiled.layers.sigmoid import value_and_rest
from manual_nn.compiled.normal import probability_and_density
from manual_nn.layers.gelu import CUBIC, SATURATED, SQRT_2_BY_PI, Kept

__all__ = ["Kept", "backward", "forward"]


def forward(params: tuple[()], x: Array, *, approximate: bool = False) -> tuple[Array, Kept]:
    """Multiply each input by the probability that a normal number is smaller; gelu.md (1), (4).

    >>> import numpy as np
    >>> out, kept = forward((), np.array([-50.0, -1.0, 0.0, 1.0, 50.0]))
    >>> out
    array([-0.        , -0.15865525,  0.        ,  0.84134475, 50.        ])
    """
    check_floats(x, name="x", ndim=1)
    approximate = as_bool(approximate, name="approximate")
    if approximate:
        return entrywise(_values_by_tanh, x, numbers=_numbers(x)), Kept(x, approximate)
    return entrywise(_values, x), Kept(x, approximate)


def backward(params: tuple[()], kept: Kept, d_out: Array) -> tuple[tuple[()], Array]:
    """Multiply by the slope, Phi(x) + x Phi'(x); gelu.md (2), (3), (5)."""
    check_like(d_out, kept.x.shape, kept.x.dtype, name="d_out", like="out")
    end, linear, cubic = _numbers(kept.x)
    if kept.approximate:
        return (), entrywise(_slopes_by_tanh, d_out, kept.x, numbers=(end, linear, cubic))
    return (), entrywise(_slopes, d_out, kept.x, numbers=(end,))


def _numbers(x: Array) -> tuple[Any, Any, Any]:
    """Give where x is limited, and the factors of x and x^3 in 2 u, in its precision; gelu.md (4).

    Numba would keep what it compiles with the numbers of another file when that file changes.
    """
    number = x.dtype.type
    return number(SATURATED), number(2 * SQRT_2_BY_PI), number(2 * SQRT_2_BY_PI * CUBIC)


@compiled_fused
def limited(x: Any, end: Any) -> Any:
    """Limit x to where no power of it overflows; beyond, its factor is 0; gelu.md (2), (5)."""
    z = end if x > end else x
    return -end if z < -end else z


@compiled_fused
def gate(z: Any, linear: Any, cubic: Any) -> tuple[Any, Any]:
    """Compute sigmoid(2 u), 2 u = linear z + cubic z^3, and its derivative; gelu.md (4), (5)."""
    square = z * z
    value, rest = value_and_rest((square * cubic + linear) * z)
    d_u2 = square * (cubic + cubic + cubic) + linear
    return value, (value * rest) * d_u2


@compiled
def _values(x: Array, out: Array) -> None:
    for i in range(len(x)):
        Phi, _ = probability_and_density(x[i])
        out[i] = x[i] * Phi


@compiled
def _slopes(d_out: Array, x: Array, end: Any, d_x: Array) -> None:
    for i in range(len(x)):
        Phi, phi = probability_and_density(x[i])
        d_x[i] = d_out[i] * (Phi + limited(x[i], end) * phi)


@compiled
def _values_by_tanh(x: Array, end: Any, linear: Any, cubic: Any, out: Array) -> None:
    for i in range(len(x)):
        value, _ = gate(limited(x[i], end), linear, cubic)
        out[i] = x[i] * value


@compiled
def _slopes_by_tanh(d_out: Array, x: Array, end: Any, linear: Any, cubic: Any, d_x: Array) -> None:
    for i in range(len(x)):
        z = limited(x[i], end)
        value, d_value = gate(z, linear, cubic)
        d_x[i] = d_out[i] * (value + z * d_value)
