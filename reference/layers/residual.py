"""A residual connection by JAX, from its definition."""

from collections.abc import Sequence
from typing import Any

import jax


def forward(params: Any, x: Any, *, branch: Sequence[Any]) -> jax.Array:
    """x plus the branch of it: pairs of a twin and its options, in order; of the shape of x."""
    f = x
    for (twin, options), param in zip(branch, params, strict=True):
        f = twin.forward(param, f, **options)
    return x + f
