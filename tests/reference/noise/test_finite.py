"""Which operation is named where a result is not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference.bounds.tracing import Traced
from reference.noise.finite import first_not_finite


def guarded(x: Any) -> Any:
    """Take the logarithm in a function of its own."""
    return jax.jit(jnp.log)(x - x)


@pytest.mark.parametrize(
    ("function", "dtype", "name"),
    [
        (lambda x: jnp.exp(1000 * x) + 1, np.float64, "exp"),
        (lambda x: jnp.exp(100 * x) + 1, np.float32, "exp"),
        (lambda x: jnp.exp(100 * x) + 1, np.float64, ""),
        (lambda x: 1 / (x - x), np.float64, "div"),
        (lambda x: (1 / (x - x)) * 0, np.float64, "div"),
        (guarded, np.float64, "log"),
        (lambda x: jnp.where(x > 2, -jnp.inf, x), np.float64, ""),
        (lambda x: jnp.where(x > 0, -jnp.inf, x) * 2, np.float64, ""),
        (lambda x: lax.scan(lambda c, _: (c * 1e200, None), x, length=3)[0], np.float64, "scan"),
    ],
)
def test_the_first_that_leaves_the_range_is_named(
    function: Callable[..., Any], dtype: Any, name: str
) -> None:
    found = first_not_finite(Traced(function, 1.0), 1.0, dtype=dtype)
    assert found.split(" at ")[0] == name
    assert not name or "test_finite.py:" in found
