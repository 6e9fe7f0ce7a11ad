"""Convolution by JAX's own, from its definition.

Axes: N examples, C channels in, K channels out, and one to three axes of places between them.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def forward(
    params: Any,
    x: Any,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: str | Sequence[tuple[int, int]] = "valid",
    groups: int = 1,
) -> jax.Array:
    """The window on each place, x (N, ..., C), weight (window..., C / groups, K); (N, ..., K)."""
    weight, bias = params
    axes = "DHW"[3 - (x.ndim - 2) :]

    def each(number: int | Sequence[int]) -> Sequence[int]:
        return [number] * len(axes) if isinstance(number, int) else number

    out = lax.conv_general_dilated(
        x,
        weight,
        window_strides=each(stride),
        padding=padding.upper() if isinstance(padding, str) else padding,
        rhs_dilation=each(dilation),
        feature_group_count=groups,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )
    return out + jnp.expand_dims(bias, range(out.ndim - 1))
