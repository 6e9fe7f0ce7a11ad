"""A mistake beside another one is looked for where that takes seconds."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from reference.diagnosis.edges.beside import is_compiled_soon
from reference.diagnosis.edges.tapped import Tapped
from tests.support.draws import normal


def gated(w: Any, u: Any, x: Any) -> Any:
    """Steps of a gated recurrence, each written out."""
    h = jnp.zeros(3)
    for x_t in x:
        z = jax.nn.sigmoid(x_t * u + h @ w)
        h = z * h + (1 - z) * jnp.tanh(x_t + h * u)
    return (h**2).sum()


@pytest.mark.parametrize(("steps", "is_soon"), [(1, True), (5, False)])
def test_a_long_program_is_not_compiled(steps: int, is_soon: bool) -> None:
    """The arrays are as small in the one that takes 40 seconds."""
    tapped = Tapped(gated, (normal(3, 3), normal(3), normal(steps, 3)), (0, 1))
    assert is_compiled_soon(tapped, tapped.taps()) == is_soon
