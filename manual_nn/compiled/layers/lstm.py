"""LSTM, in which a step is a product and one pass over what it makes.

Axes: N examples, T steps, D features of the input, H units; 4 H are the pre-activations of input
gate, forget gate, candidate and output gate, in this order.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_like, check_params
from manual_nn.compiled.arrays import in_order
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.copies import copy
from manual_nn.compiled.layers.sigmoid import value_and_rest, values_and_rests
from manual_nn.compiled.layers.tanh import slope, tanh
from manual_nn.compiled.products import product
from manual_nn.layers.lstm import LSTM, Inputs, Kept, State, before, checked, init, last_state
from manual_nn.sums import sum_rows

__all__ = ["LSTM", "Inputs", "Kept", "State", "backward", "forward", "init", "last_state"]


def forward(
    params: LSTM, x: Inputs, *, lengths: npt.NDArray[np.integer[Any]] | None = None
) -> tuple[Array, Kept]:
    """Go through the steps in order; lstm.md (1), (2), (3).

    >>> params = LSTM(np.zeros((1, 4)), np.zeros((1, 4)), np.array([100.0, 0.0, 100.0, 100.0]))
    >>> begin = State(np.zeros((1, 1)), np.zeros((1, 1)))
    >>> out, kept = forward(params, Inputs(np.zeros((1, 3, 1)), begin))
    >>> kept.c  # each step adds 1 to half of what there was
    array([[[1.  ],
            [1.5 ],
            [1.75]]])
    """
    x, seen = checked(params, x, lengths)
    weight, recurrent_weight, bias = params
    sequence, state = x
    z = np.tensordot(sequence, weight, axes=1)  # (N, T, 4 H), in one product
    h, c = (np.array(part, order="C") for part in state)  # (N, H) each
    all_h, all_c, out = (np.empty((*z.shape[:2], h.shape[1]), z.dtype) for _ in range(3))
    _go(z, in_order(bias), in_order(recurrent_weight), seen, h, c, all_h, all_c, out)
    return out, Kept(x, z, all_c, all_h, seen)


def backward(params: LSTM, kept: Kept, d_out: Array) -> tuple[LSTM, Inputs]:
    """Go back through the steps, the last one first; lstm.md (4) to (9)."""
    (sequence, state), z, c, h, seen = kept
    check_like(d_out, h.shape, h.dtype, name="d_out", like="out")
    D, H = sequence.shape[-1], h.shape[-1]
    check_params(params, LSTM, [(D, 4 * H), (H, 4 * H), (4 * H,)], h.dtype)
    before_c = before(state.c, c)  # (N, T, H)
    d_h, d_c = np.zeros(state.h.shape, z.dtype), np.zeros(state.c.shape, z.dtype)  # (N, H)
    d_z = np.empty_like(z)  # (N, T, 4 H)
    transposed = np.array(params.recurrent_weight.T, order="C")  # BLAS is faster at it
    _go_back(z, c, before_c, transposed, seen, in_order(d_out), d_h, d_c, d_z)
    d_params = LSTM(
        np.tensordot(sequence, d_z, axes=((0, 1), (0, 1))),
        np.tensordot(before(state.h, h), d_z, axes=((0, 1), (0, 1))),
        sum_rows(d_z.reshape(-1, len(params.bias))),
    )
    return d_params, Inputs(np.tensordot(d_z, params.weight.T, axes=1), State(d_h, d_c))


@compiled
def _go(
    z: Array,
    bias: Array,
    recurrent_weight: Array,
    seen: npt.NDArray[np.bool_],
    h: Array,
    c: Array,
    all_h: Array,
    all_c: Array,
    out: Array,
) -> None:
    """Turn x_t W into z_t, and move h and c from the state before the first step to the last."""
    N, T, H = out.shape
    of_state = np.empty((N, 4 * H), z.dtype)
    for t in range(T):
        product(h, recurrent_weight, 1.0, 0.0, of_state)
        for n in range(N):
            z_t = z[n, t]
            for j in range(4 * H):
                z_t[j] = z_t[j] + bias[j] + of_state[n, j]  # (1)
            if seen[n, t]:
                z_i, z_f, z_g, z_o = z_t[:H], z_t[H : 2 * H], z_t[2 * H : 3 * H], z_t[3 * H :]
                for k in range(H):
                    i, _ = value_and_rest(z_i[k])
                    f, _ = value_and_rest(z_f[k])
                    c[n, k] = f * c[n, k] + i * tanh(z_g[k])  # (2)
                for k in range(H):
                    o, _ = value_and_rest(z_o[k])
                    h[n, k] = o * tanh(c[n, k])  # (2)
                copy(h[n], out[n, t])
            else:
                out[n, t] = 0  # (3)
            copy(h[n], all_h[n, t])
            copy(c[n], all_c[n, t])


@compiled
def _go_back(
    z: Array,
    c: Array,
    before_c: Array,
    transposed: Array,
    seen: npt.NDArray[np.bool_],
    d_out: Array,
    d_h: Array,
    d_c: Array,
    d_z: Array,
) -> None:
    """Write d_z, and move d_h and d_c from after the last step, where they are 0, to the first."""
    N, T, H = d_out.shape
    of_step, of_c = np.empty((N, 4 * H), z.dtype), np.empty(H, z.dtype)
    gates, rests = np.empty(3 * H, z.dtype), np.empty(3 * H, z.dtype)
    for t in range(T - 1, -1, -1):
        for n in range(N):
            if seen[n, t]:
                for k in range(H):
                    d_h[n, k] += d_out[n, t, k]  # (4)
                _step_back(
                    z[n, t],
                    c[n, t],
                    before_c[n, t],
                    d_h[n],
                    d_c[n],
                    of_c,
                    gates,
                    rests,
                    of_step[n],
                )
            else:
                of_step[n] = 0  # (3)
            copy(of_step[n], d_z[n, t])
        product(of_step, transposed, 1.0, 0.0, d_h)  # (4), of the step before


@compiled
def _step_back(
    z: Array,
    c: Array,
    before_c: Array,
    d_h: Array,
    d_c: Array,
    of_c: Array,
    gates: Array,
    rests: Array,
    d_z: Array,
) -> None:
    """Write a row of d_z, and turn f d_c of the step after into that of this one.

    In loops that write one array each the processor uses all its lanes.
    """
    H = len(c)
    z_g = z[2 * H : 3 * H]
    values_and_rests(z[: 2 * H], gates[: 2 * H], rests[: 2 * H])
    values_and_rests(z[3 * H :], gates[2 * H :], rests[2 * H :])
    i, f, o = gates[:H], gates[H : 2 * H], gates[2 * H :]
    rest_i, rest_f, rest_o = rests[:H], rests[H : 2 * H], rests[2 * H :]
    for k in range(H):
        of_c[k] = d_h[k] * (o[k] * slope(c[k])) + d_c[k]  # (5)
    for k in range(H):
        d_z[k] = of_c[k] * (tanh(z_g[k]) * (i[k] * rest_i[k]))  # (6), (7)
    for k in range(H):
        d_z[H + k] = of_c[k] * (before_c[k] * (f[k] * rest_f[k]))
    for k in range(H):
        d_z[2 * H + k] = of_c[k] * (i[k] * slope(z_g[k]))
    for k in range(H):
        d_z[3 * H + k] = d_h[k] * (tanh(c[k]) * (o[k] * rest_o[k]))
    for k in range(H):
        d_c[k] = of_c[k] * f[k]  # (5), of the step before
