"""Max pooling by JAX, from its definition. Axes: N examples, `...` places, C channels."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax


def forward(
    params: tuple[()],
    x: Any,
    *,
    window: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "valid",
) -> jax.Array:
    """The entry at the first argmax of each window; (N, ..., C)."""
    del params
    sizes, windows = windows_on(x.shape[1:-1], window, stride, padding)
    width = max(len(places) for places in windows)
    # A window that hangs over the edge holds its first place several times, which changes nothing.
    indices = np.array([[*places[:1]] * (width - len(places)) + places for places in windows])
    rows = jnp.reshape(x, (len(x), -1, x.shape[-1]))[:, indices]  # (N, outputs, width, C)
    first = jnp.argmax(rows, axis=2, keepdims=True)
    largest = jnp.take_along_axis(rows, first, axis=2)
    return jnp.reshape(largest, (len(x), *sizes, x.shape[-1]))


def windows_on(
    size: tuple[int, ...],
    window: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: str | Sequence[tuple[int, int]],
) -> tuple[list[int], list[list[int]]]:
    """The output's size, and the places of the input in each window, in one count of all axes."""
    widths = [window] * len(size) if isinstance(window, int) else list(window)
    stride = widths if stride is None else stride
    steps = [stride] * len(size) if isinstance(stride, int) else list(stride)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(size, widths, steps, padding.upper())
    along: list[list[npt.NDArray[Any]]] = []  # each axis: the places of each window
    for n, width, step, (before, after) in zip(size, widths, steps, padding, strict=True):
        starts = range(-before, n + after - width + 1, step)
        along.append([np.arange(max(start, 0), min(start + width, n)) for start in starts])
    windows = [
        np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), size).ravel().tolist()
        for places in itertools.product(*along)
    ]
    return [len(starts) for starts in along], windows
