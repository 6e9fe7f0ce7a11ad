"""What is flushed to 0 in float64: results that are too small for a normal number, but not for all.

XLA makes 0 of what is below the smallest normal number, 2^-1022, and others round to the next
multiple of 2^-1074. So a result of 0 is not exact if its true value is more than 2^-1075: then it
is 2^56 times as large a normal number.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend import core

from reference.jaxprs import bind
from reference.noise.samples import JaxArray, Sampled, over_samples

VISIBLE = 56
LOWEST = -1075 * np.log(2)  # the least x whose exponential does not round to 0
LARGEST = 27.2261  # the largest x whose erfc does not: exp(-x^2) / (x sqrt(pi)) is 2^-1075 there


def flushed(eqn: core.JaxprEqn, *operands: Sampled) -> Callable[[], Sampled]:
    """Give what computes, when asked, the sign of a result, and 0 where it is 0 in any case."""
    larger = LARGER[eqn.primitive.name]

    def signs(*arrays: JaxArray) -> list[JaxArray]:
        visible = larger(eqn, *arrays)
        return [jnp.where(jnp.isnan(visible), 0.0, jnp.sign(visible))]  # NaN: a huge number times 0

    return lambda: over_samples(signs, *operands)[0]


def _exponential(_eqn: core.JaxprEqn, x: JaxArray) -> JaxArray:
    return jnp.where(x > LOWEST, 1.0, 0.0)


def _integer_pow(eqn: core.JaxprEqn, x: JaxArray) -> JaxArray:
    return bind(eqn, [x * 2.0 ** (VISIBLE / (eqn.params["y"] or 1))])[0]


# Something of the result's sign that does not round to 0 where the result is more than 2^-1075.
LARGER: dict[str, Callable[..., Any]] = {
    "mul": lambda _eqn, a, b: a * 2.0**VISIBLE * b,
    "square": lambda _eqn, x: x * 2.0**VISIBLE * x,
    "div": lambda _eqn, a, b: a * 2.0**VISIBLE / b,
    "integer_pow": _integer_pow,
    "pow": lambda _eqn, a, b: jnp.power(a * 2.0 ** (VISIBLE / b), b),
    "exp": _exponential,
    "exp2": lambda eqn, x: _exponential(eqn, x * np.log(2)),
    "logistic": _exponential,
    "erfc": lambda _eqn, x: jnp.where(x < LARGEST, 1.0, 0.0),
}
