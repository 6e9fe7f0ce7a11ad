"""Transposed convolution, whose products are of parts of the output that stay in the cache.

Axes: N examples; `...` axes of places, `w...` those of a window; C channels in, K channels out, in
G groups of c and k of them; P places of all inputs, R of all padded outputs, W of a window.
"""

from collections.abc import Sequence

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.layers.convolution import in_groups
from manual_nn.compiled.windows import gather, gather_products, scatter, windows_of
from manual_nn.layers.convolution import Padding, by_group, joined
from manual_nn.layers.transposed_convolution import Kept, TransposedConvolution, checked, init
from manual_nn.sums import sum_rows

__all__ = ["Kept", "TransposedConvolution", "backward", "forward", "init"]


def forward(
    params: TransposedConvolution,
    x: Array,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: Padding = "valid",
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
) -> tuple[Array, Kept]:
    """Add up the windows that all places lay down; transposed_convolution.md (1), (2), (6).

    >>> twice = TransposedConvolution(np.array([1.0, 10.0]).reshape(2, 1, 1), np.zeros(1))
    >>> out, kept = forward(twice, np.array([1.0, 2.0]).reshape(1, 2, 1), stride=2)
    >>> out[0, :, 0]
    array([ 1., 10.,  2., 20.])
    """
    kept = checked(
        params,
        x,
        stride=stride,
        dilation=dilation,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
    )
    x, geometry, G = kept
    (N, *_, C), K = x.shape, len(params.bias)
    windows = windows_of(geometry, N, K // G, C // G)
    places = N * int(np.prod(geometry.padded))
    of_groups = np.zeros((G, places, K // G), x.dtype)  # (G, R, k)
    weights = _turned(params.weight, G)  # (G, W k, c)
    for rows, weight, of_group in zip(in_groups(x, G), weights, of_groups, strict=True):
        scatter(rows, weight, windows, of_group)
    padded = joined(of_groups).reshape(N, *geometry.padded, K)
    return padded[:, *geometry.inside] + params.bias, kept


def backward(
    params: TransposedConvolution, kept: Kept, d_out: Array
) -> tuple[TransposedConvolution, Array]:
    """Convolve d_out; transposed_convolution.md (3), (4), (5)."""
    (weight, bias), (x, geometry, G) = params, kept
    (N, *_, C), K = x.shape, len(bias)
    check_like(d_out, (N, *geometry.unpadded, K), x.dtype, name="d_out", like="out")
    check_params(params, TransposedConvolution, [(*geometry.window, C // G, K), (K,)], x.dtype)
    windows = windows_of(geometry, N, K // G, C // G)
    d_padded = np.pad(d_out, ((0, 0), *geometry.padding, (0, 0)))  # (N, ..., K)
    weights = _turned(weight, G)  # (G, W k, c)
    d_weights = np.empty_like(weights)
    d_rows = np.empty((G, x.size // C, C // G), x.dtype)  # (G, P, c)
    inputs = in_groups(x, G), in_groups(d_padded, G)
    for g, (x_g, d_padded_g) in enumerate(zip(*inputs, strict=True)):
        gather_products(d_padded_g, x_g, windows, d_weights[g])  # (3)
        gather(d_padded_g, weights[g], windows, d_rows[g])  # (5)
    d_weights = d_weights.reshape(G, *geometry.window, K // G, C // G)
    d_weight = np.array(joined(d_weights.swapaxes(-1, -2)), order="C")  # (w..., c, K)
    d_x = joined(d_rows).reshape(x.shape)
    return TransposedConvolution(d_weight, sum_rows(d_out.reshape(-1, K))), d_x


def _turned(weight: Array, groups: int) -> Array:
    """Give each group its weight as that of the convolution back, (G, W k, c)."""
    of_groups = by_group(weight, groups).swapaxes(-1, -2)  # (G, w..., k, c)
    return np.array(of_groups, order="C").reshape(groups, -1, of_groups.shape[-1])
