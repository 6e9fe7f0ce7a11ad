"""GRU, whose gates are computed together, while a step of an example is in the cache.

Axes: N examples, T steps, D features of the input, H units; 3 H are the pre-activations of reset
gate, update gate and candidate, in this order.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.layers.sigmoid import value_and_rest
from manual_nn.compiled.layers.tanh import slope, tanh
from manual_nn.compiled.products import product
from manual_nn.layers.gru import GRU, Inputs, Kept, checked, init, last_state, of_all_steps

__all__ = ["GRU", "Inputs", "Kept", "backward", "forward", "init", "last_state"]

Mask = npt.NDArray[np.bool_]


def forward(
    params: GRU, x: Inputs, *, lengths: npt.NDArray[np.integer[Any]] | None = None
) -> tuple[Array, Kept]:
    """Go through the steps in order; gru.md (1), (2), (3).

    >>> params = GRU(np.zeros((1, 3)), np.zeros((1, 3)), np.array([0.0, 0.0, 100.0]), np.zeros(1))
    >>> out, kept = forward(params, Inputs(np.zeros((1, 3, 1)), np.zeros((1, 1))))
    >>> out  # each step goes half of the way to 1
    array([[[0.5  ],
            [0.75 ],
            [0.875]]])
    """
    x, seen = checked(params, x, lengths)
    sequence, h = x
    z = np.ascontiguousarray(np.tensordot(sequence, params.weight, axes=1))  # (N, T, 3 H)
    all_a, all_h, out = np.empty((3, *seen.shape, h.shape[1]), z.dtype)  # (N, T, H) each
    _, recurrent_weight, bias, recurrent_bias = map(in_order, params)
    _steps(
        z, recurrent_weight, bias, recurrent_bias, np.array(h, order="C"), seen, all_a, all_h, out
    )
    return out, Kept(x, z, all_a, all_h, seen)


def backward(params: GRU, kept: Kept, d_out: Array) -> tuple[GRU, Inputs]:
    """Go back through the steps, the last one first; gru.md (4) to (9)."""
    (sequence, state), z, a, h, seen = kept
    check_like(d_out, h.shape, h.dtype, name="d_out", like="out")
    D, H = sequence.shape[-1], h.shape[-1]
    check_params(params, GRU, [(D, 3 * H), (H, 3 * H), (3 * H,), (H,)], h.dtype)
    d_z, d_recurrent, d_h = np.empty_like(z), np.empty_like(z), np.zeros(state.shape, z.dtype)
    transposed = np.ascontiguousarray(params.recurrent_weight.T)  # once, and not at every step
    _steps_backward(
        z, transposed, in_order(state), a, h, seen, in_order(d_out), d_z, d_recurrent, d_h
    )
    d_params, d_sequence = of_all_steps(params, kept, d_z, d_recurrent)
    return d_params, Inputs(d_sequence, d_h)


@compiled
def _steps(
    z: Array,
    recurrent_weight: Array,
    bias: Array,
    recurrent_bias: Array,
    h: Array,
    seen: Mask,
    all_a: Array,
    all_h: Array,
    out: Array,
) -> None:
    N, T, H = all_h.shape
    recurrent = np.empty((N, 3 * H), z.dtype)
    for t in range(T):
        product(h, recurrent_weight, 1.0, 0.0, recurrent)
        for n in range(N):
            a = all_a[n, t]
            for j in range(H):
                a[j] = recurrent[n, 2 * H + j] + recurrent_bias[j]
            for k in range(2 * H):
                z[n, t, k] = z[n, t, k] + bias[k] + recurrent[n, k]  # (1)
            _candidates(z[n, t], bias, a)
            if seen[n, t]:
                _outputs(z[n, t], h[n])
                copy(h[n], out[n, t])
            else:
                out[n, t] = 0  # (3)
            copy(h[n], all_h[n, t])


@compiled
def _candidates(z: Array, bias: Array, a: Array) -> None:
    """Add what the reset gate lets through to the candidates of one example; gru.md (1)."""
    H = len(a)
    for j in range(H):
        r, _ = value_and_rest(z[j])
        z[2 * H + j] = z[2 * H + j] + bias[2 * H + j] + r * a[j]


@compiled
def _outputs(z: Array, h: Array) -> None:
    """Turn the output of the step before into that of this one, (H,); gru.md (2)."""
    H = len(h)
    for j in range(H):
        u, rest = value_and_rest(z[H + j])
        h[j] = rest * tanh(z[2 * H + j]) + u * h[j]


@compiled
def _steps_backward(
    z: Array,
    transposed: Array,
    first_h: Array,
    all_a: Array,
    all_h: Array,
    seen: Mask,
    d_out: Array,
    d_z: Array,
    d_recurrent: Array,
    d_h: Array,
) -> None:
    N, T, H = all_h.shape
    d_recurrent_t, back = np.empty((N, 3 * H), z.dtype), np.empty((N, H), z.dtype)
    for t in range(T - 1, -1, -1):
        for n in range(N):
            if seen[n, t]:
                before_h = first_h[n] if t == 0 else all_h[n, t - 1]
                _outputs_backward(
                    z[n, t],
                    before_h,
                    all_a[n, t],
                    d_out[n, t],
                    d_h[n],
                    d_z[n, t],
                    d_recurrent_t[n],
                )
            else:
                d_z[n, t] = 0
                d_recurrent_t[n] = 0
            copy(d_recurrent_t[n], d_recurrent[n, t])
        product(d_recurrent_t, transposed, 1.0, 0.0, back)
        d_h += back  # (8)


@compiled
def _outputs_backward(
    z: Array,
    before_h: Array,
    a: Array,
    d_out: Array,
    d_h: Array,
    d_z: Array,
    d_recurrent: Array,
) -> None:
    """Write d_z and d_recurrent of a step of one example, (3 H,) each; gru.md (4) to (7).

    d_h becomes what the update gate sends back to the step before.
    """
    H = len(a)
    for j in range(H):
        r, rest_r = value_and_rest(z[j])
        u, rest_u = value_and_rest(z[H + j])
        z_n = z[2 * H + j]
        of_h = d_h[j] + d_out[j]  # (4)
        d_n = of_h * rest_u * slope(z_n)  # (5)
        d_r = d_n * a[j] * (r * rest_r)  # (7)
        d_u = of_h * (before_h[j] - tanh(z_n)) * (u * rest_u)  # (6)
        d_z[j] = d_recurrent[j] = d_r
        d_z[H + j] = d_recurrent[H + j] = d_u
        d_z[2 * H + j] = d_n
        d_recurrent[2 * H + j] = d_n * r
        d_h[j] = of_h * u  # (8)
