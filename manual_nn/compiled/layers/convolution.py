"""Convolution, whose products are of parts of the input that stay in the cache.

Axes: N examples; `...` axes of places, `w...` those of a window; C channels in, K channels out, in
G groups of c and k of them; R places of all padded inputs, P of all outputs, W of a window.
"""

from collections.abc import Sequence

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.windows import gather, gather_products, scatter, windows_of
from manual_nn.layers.convolution import (
    Convolution,
    Geometry,
    Kept,
    Padding,
    checked,
    init,
    joined,
    rows_by_group,
)
from manual_nn.sums import sum_rows

__all__ = ["Convolution", "Geometry", "Kept", "backward", "forward", "init"]


def forward(
    params: Convolution,
    x: Array,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: Padding = "valid",
    groups: int = 1,
) -> tuple[Array, Kept]:
    """Lay the window on each place and multiply; convolution.md (1), (5).

    >>> difference = Convolution(np.array([-1.0, 1.0]).reshape(2, 1, 1), np.zeros(1))
    >>> out, kept = forward(difference, np.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1))
    >>> out[0, :, 0]
    array([1., 2., 4.])
    """
    kept = checked(params, x, stride=stride, dilation=dilation, padding=padding, groups=groups)
    padded, geometry, G = kept
    (N, *_, C), K = padded.shape, len(params.bias)
    windows = windows_of(geometry, N, C // G, K // G)
    weights = in_groups(params.weight, G)  # (W c, k) each
    of_groups = np.empty((G, len(windows.first), K // G), x.dtype)  # (G, P, k)
    for rows, weight, of_group in zip(in_groups(padded, G), weights, of_groups, strict=True):
        gather(rows, weight, windows, of_group)
    out = joined(of_groups).reshape(N, *geometry.size, K)
    out += params.bias
    return out, kept


def backward(params: Convolution, kept: Kept, d_out: Array) -> tuple[Convolution, Array]:
    """Go back through the dense layer of each place of the window; convolution.md (2), (3), (4)."""
    (weight, bias), (padded, geometry, G) = params, kept
    (N, *_, C), K = padded.shape, len(bias)
    check_like(d_out, (N, *geometry.size, K), padded.dtype, name="d_out", like="out")
    check_params(params, Convolution, [(*geometry.window, C // G, K), (K,)], padded.dtype)
    windows = windows_of(geometry, N, C // G, K // G)
    d_weights = np.empty((G, weight.size // K, K // G), weight.dtype)  # (G, W c, k)
    d_rows = np.zeros((G, padded.size // C, C // G), padded.dtype)  # (G, R, c)
    inputs = (in_groups(array, G) for array in (padded, weight, d_out))
    for g, (x_g, weight_g, d_out_g) in enumerate(zip(*inputs, strict=True)):
        gather_products(x_g, d_out_g, windows, d_weights[g])  # (2)
        scatter(d_out_g, weight_g, windows, d_rows[g])  # (4)
    d_weight = joined(d_weights).reshape(weight.shape)
    d_x = joined(d_rows).reshape(padded.shape)[:, *geometry.inside]  # (N, ..., C)
    return Convolution(d_weight, sum_rows(d_out.reshape(-1, K))), d_x


def in_groups(x: Array, groups: int) -> list[Array]:
    """Give each group its channels, all places in rows, in the form that is compiled for; (5)."""
    return [in_order(rows) for rows in rows_by_group(x, groups)]
