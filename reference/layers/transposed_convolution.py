"""Transposed convolution by JAX: a convolution of the input with zeros between its places.

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
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> jax.Array:
    """The window, flipped, on x with stride - 1 zeros between its places; (N, ..., K).

    The weight is (window..., C / groups, K).
    """
    weight, bias = params
    axes = "DHW"[3 - (x.ndim - 2) :]

    def each(number: int | Sequence[int]) -> Sequence[int]:
        return [number] * len(axes) if isinstance(number, int) else number

    steps, gaps = each(stride), each(dilation)
    reach = [gap * (m - 1) for gap, m in zip(gaps, weight.shape, strict=False)]
    if padding == "same":
        cut = [max(e + 1 - step, 0) for e, step in zip(reach, steps, strict=True)]
        cuts: Sequence[tuple[int, int]] = [(n // 2, n - n // 2) for n in cut]
        more: Sequence[int] = [max(step - e - 1, 0) for e, step in zip(reach, steps, strict=True)]
    else:
        cuts = [(0, 0)] * len(axes) if isinstance(padding, str) else padding
        more = each(output_padding)
    out = lax.conv_general_dilated(
        x,
        jnp.flip(weight, range(len(axes))),
        window_strides=[1] * len(axes),
        padding=[(e - a, e - b + n) for e, (a, b), n in zip(reach, cuts, more, strict=True)],
        lhs_dilation=steps,
        rhs_dilation=gaps,
        feature_group_count=groups,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )
    return out + jnp.expand_dims(bias, range(out.ndim - 1))
