"""Mistakes of a convolution's derivative in its image and in its kernel are found, and named.

Axes: N examples, H x V places, C channels in, K channels out; S x S is the window.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference import check_gradient
from reference.arrays import Array
from tests.support.draws import normal

N, H, V, C, K, S = 2, 6, 7, 3, 3, 3
STRIDE, BEFORE, AFTER = 2, 2, 1


def loss(x: Any, w: Any, t: Any) -> Any:
    out = lax.conv_general_dilated(
        x, w, (STRIDE, STRIDE), [(BEFORE, AFTER)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return (out * t).sum()


def in_padding(x: Array) -> Array:
    return np.pad(x, ((0, 0), (BEFORE, AFTER), (BEFORE, AFTER), (0, 0)))


def d_image(
    w: Array,
    t: Array,
    *,
    adds: bool = True,
    by_elements: bool = False,
    stride: int = STRIDE,
    start: int | tuple[int, int] = BEFORE,
) -> Array:
    """Write the derivative in the image as people do, one window or one element after another."""
    padded = np.zeros((N, H + BEFORE + AFTER, V + BEFORE + AFTER, C))
    rows, columns = t.shape[1:3]
    order: Any = itertools.product(range(rows), range(columns), range(S), range(S))
    if by_elements:
        order = ((i, j, a, b) for a, b, i, j in np.ndindex(S, S, rows, columns))
    for i, j, a, b in order:
        place = slice(None), i * stride + a, j * stride + b
        padded[place] = (padded[place] if adds else 0) + t[:, i, j] @ w[a, b].T
    one, other = (start, start) if isinstance(start, int) else start
    return padded[:, one : one + H, other : other + V]


def d_kernel(x: Array, t: Array, *, step: int = 0, last: tuple[bool, bool] = (False, False)) -> Any:
    """Write the derivative in the kernel."""
    padded, d_w = np.pad(in_padding(x), ((0, 0), (0, 1), (0, 1), (0, 0))), np.zeros((S, S, C, K))
    for n, i, j in np.ndindex(t.shape[:3]):
        example, place = last
        if (example and n < N - 1) or (place and (i, j) != (t.shape[1] - 1, t.shape[2] - 1)):
            continue
        i_x, j_x = i * STRIDE + step, j * STRIDE + step
        d_w += np.einsum("abc,k->abck", padded[n, i_x : i_x + S, j_x : j_x + S], t[n, i, j])
    return d_w


IN_IMAGE: dict[str, Callable[[Array, Array], Array]] = {
    "turned": lambda w, t: d_image(w[::-1, ::-1], t),
    "kernel_transposed": lambda w, t: d_image(w.swapaxes(0, 1), t),
    "channels_transposed": lambda w, t: d_image(w.swapaxes(2, 3), t),
    "stride_ignored": lambda w, t: d_image(w, t, stride=1),
    "padding_ignored": lambda w, t: d_image(w, t, start=0),
    "moved_by_-1_along_all": lambda w, t: d_image(w, t, start=BEFORE + 1),
    "moved_by_1_along_0": lambda w, t: d_image(w, t, start=(BEFORE - 1, BEFORE)),
    "last_window_written": lambda w, t: d_image(w, t, adds=False),
    "last_element_written": lambda w, t: d_image(w, t, adds=False, by_elements=True),
}
IN_KERNEL: dict[str, Callable[[Array, Array], Array]] = {
    "turned": lambda x, t: d_kernel(x, t)[::-1, ::-1],
    "kernel_transposed": lambda x, t: d_kernel(x, t).swapaxes(0, 1),
    "moved_by_1_along_all": lambda x, t: d_kernel(x, t, step=1),
    "of_the_last_example": lambda x, t: d_kernel(x, t, last=(True, False)),
    "of_the_last_place_of_the_last_example": lambda x, t: d_kernel(x, t, last=(True, True)),
}


@pytest.fixture(scope="module")
def arrays() -> tuple[Array, Array, Array]:
    places = [(n + BEFORE + AFTER - S) // STRIDE + 1 for n in (H, V)]
    return normal(N, H, V, C), normal(S, S, C, K), normal(N, *places, K)


def test_mistakes_of_a_convolution_are_named(arrays: tuple[Array, Array, Array]) -> None:
    x, w, t = arrays
    report = check_gradient((d_image(w, t), d_kernel(x, t)), loss, x, w, t, argnums=(0, 1))
    assert (report.ok, report.causes) == (True, ())
    for kind, d_x in IN_IMAGE.items():
        cause, *_ = check_gradient(
            (d_x(w, t), d_kernel(x, t)), loss, x, w, t, argnums=(0, 1), explain_seconds=np.inf
        ).causes
        assert (cause.kind, cause.operand) == (kind, "`x`"), (kind, cause)
        assert cause.where is not None
        assert cause.where.text.startswith(("out = lax", "x, w, "))
    for kind, d_w in IN_KERNEL.items():
        gradient = d_image(w, t), d_w(x, t)
        report = check_gradient(gradient, loss, x, w, t, argnums=(0, 1), explain_seconds=np.inf)
        cause, *_ = report.causes
        assert (cause.kind, cause.operand) == (kind, "`w`"), (kind, cause)


def test_what_is_cut_out_of_a_padded_array_is_named() -> None:
    x, t = normal(5, 4), normal(9, 6)

    def of_padded(x: Any) -> Any:
        padded = jnp.pad(x, ((2, 2), (1, 1)))
        return (jnp.sin(padded) * t).sum()

    d_padded = np.cos(np.pad(x, ((2, 2), (1, 1)))) * t
    for kind, d_x in (
        ("cut_at_the_start", d_padded[:5, :4]),
        ("cut_too_early", d_padded[1:6, :4]),
        ("cut_too_late", d_padded[3:8, 2:]),
    ):
        cause, *_ = check_gradient(d_x, of_padded, x, explain_seconds=np.inf).causes
        assert (cause.kind, cause.operand) == (kind, "`x`"), (kind, cause)
