"""Average pooling by JAX, from its definition. Axes: N examples, `...` places, C channels."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.layers.max_pool import windows_on


def forward(
    params: tuple[()],
    x: Any,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "valid",
    count_include_pad: bool = True,
) -> jax.Array:
    """The sum of each window over its count of places, by a matrix of 0 and 1; (N, ..., C)."""
    del params
    size = x.shape[1:-1]
    sizes, windows = windows_on(size, window, stride, padding)
    covers = np.zeros((len(windows), math.prod(size)))
    for row, places in zip(covers, windows, strict=True):
        row[places] = 1
    widths = [window] * len(size) if isinstance(window, int) else window
    count = math.prod(widths) if count_include_pad else covers.sum(axis=1)[:, None]
    sums = jnp.asarray(covers, x.dtype) @ jnp.reshape(x, (len(x), -1, x.shape[-1]))
    count = jnp.broadcast_to(jnp.asarray(count, x.dtype), sums.shape)
    return jnp.reshape(sums / count, (len(x), *sizes, x.shape[-1]))
