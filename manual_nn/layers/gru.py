"""GRU, the gated recurrent unit: a recurrent layer whose state is its output, over all steps.

gru.md derives the equations. Axes: N examples, T steps, D features of the input, H units; 3 H are
the pre-activations of reset gate, update gate and candidate, in this order.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_fields, check_like, check_params
from manual_nn.initial import glorot, orthogonal
from manual_nn.layers.lstm import before, check_before, steps_within, zero_past_the_end
from manual_nn.layers.sigmoid import sigmoid, value_and_slope
from manual_nn.layers.tanh import slope as tanh_slope
from manual_nn.sums import sum_rows


class GRU(NamedTuple):
    """A dense layer of the input, and another of the state, whose bias is the candidate's alone."""

    weight: Array  # (D, 3 H)
    recurrent_weight: Array  # (H, 3 H)
    bias: Array  # (3 H,)
    recurrent_bias: Array  # (H,)


class Inputs(NamedTuple):
    """The two inputs of the layer."""

    sequence: Array  # (N, T, D)
    state: Array  # (N, H), before the first step, of zeros where a sequence begins


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs
    z: Array  # (N, T, 3 H), the pre-activations
    a: Array  # (N, T, H), what the reset gate multiplies
    h: Array  # (N, T, H)
    seen: npt.NDArray[np.bool_]  # (N, T), which steps are within the sequences


def forward(
    params: GRU, x: Inputs, *, lengths: npt.NDArray[np.integer[Any]] | None = None
) -> tuple[Array, Kept]:
    """Go through the steps in order; eq. (1), (2), (3).

    With the gates r, u = sigmoid(...) of x_t weight + h_(t-1) recurrent_weight + bias and the
    candidate n = tanh(x_t weight + bias + r (h_(t-1) recurrent_weight + recurrent_bias)), the
    output becomes h_t = (1 - u) n + u h_(t-1).

    Args:
        params: weight, (D, 3 H), recurrent_weight, (H, 3 H), bias, (3 H,), and recurrent_bias,
            (H,).
        x: the sequence, (N, T, D), and the state before it, (N, H), float32 or float64 as are the
            parameters.
        lengths: how many steps of each sequence are real, (N,), integers from 0 to T; all by
            default. After them the state stays as it is, and out is 0; what the sequence holds
            there does not count, even if it is NaN.

    Returns:
        out, the h of each step, (N, T, H), and what `backward` needs; `last_state` gives the state
        after the last step.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a length is not between 0 and T.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation, 2014, arXiv:1406.1078, version 1.

    >>> params = GRU(np.zeros((1, 3)), np.zeros((1, 3)), np.array([0.0, 0.0, 100.0]), np.zeros(1))
    >>> out, kept = forward(params, Inputs(np.zeros((1, 3, 1)), np.zeros((1, 1))))
    >>> out  # each step goes half of the way to 1
    array([[[0.5  ],
            [0.75 ],
            [0.875]]])
    """
    x, seen = checked(params, x, lengths)
    sequence, h = x
    (N, T), H = seen.shape, h.shape[1]
    z = np.tensordot(sequence, params.weight, axes=1)  # (N, T, 3 H), in one product
    z += params.bias
    all_a, all_h = (np.empty((N, T, H), sequence.dtype) for _ in range(2))  # (N, T, H)
    for t in range(T):
        recurrent = np.matmul(h, params.recurrent_weight)  # (N, 3 H)
        all_a[:, t] = recurrent[:, 2 * H :] + params.recurrent_bias  # (N, H)
        z[:, t, : 2 * H] += recurrent[:, : 2 * H]
        z[:, t, 2 * H :] += sigmoid(z[:, t, :H]) * all_a[:, t]
        _, u, n = np.split(z[:, t], 3, axis=-1)  # (N, H) each
        new = sigmoid(-u) * np.tanh(n) + sigmoid(u) * h  # (N, H)
        h = np.where(seen[:, t, np.newaxis], new, h)
        all_h[:, t] = h
    return np.where(seen[..., np.newaxis], all_h, 0), Kept(x, z, all_a, all_h, seen)


def backward(params: GRU, kept: Kept, d_out: Array) -> tuple[GRU, Inputs]:
    """Go back through the steps, the last one first; eq. (4) to (9).

    Each step receives the gradient of its own output and what the step after it sends back. The
    products with sequence and weight are made for all steps at once.

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (N, T, H), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, shaped like x.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    (_, state), z, a, h, seen = kept
    check_like(d_out, h.shape, h.dtype, name="d_out", like="out")
    before_h = before(state, h)  # (N, T, H)
    z_r, z_u, z_n = np.split(z, 3, axis=-1)  # (N, T, H) each
    (r, slope_r), (u, slope_u) = map(value_and_slope, (z_r, z_u))  # (N, T, H) each
    n, slope_n = np.tanh(z_n), tanh_slope(z_n)  # (N, T, H) each
    rest = sigmoid(-z_u)  # 1 - u, (N, T, H)
    d_z = np.zeros(z.shape, z.dtype)  # (N, T, 3 H), of sequence weight + bias
    d_recurrent = np.zeros(z.shape, z.dtype)  # (N, T, 3 H), of h recurrent_weight
    d_h = np.zeros(state.shape, z.dtype)  # (N, H)
    transposed = params.recurrent_weight.T.copy()  # once, and not at every step
    for t in reversed(range(z.shape[1])):
        within = seen[:, t, np.newaxis]  # (N, 1)
        of_h = np.where(within, d_h + d_out[:, t], 0)  # 0 after the end
        d_n = of_h * rest[:, t] * slope_n[:, t]  # (N, H)
        d_r = d_n * a[:, t] * slope_r[:, t]  # (N, H)
        d_u = of_h * (before_h[:, t] - n[:, t]) * slope_u[:, t]  # (N, H)
        d_z[:, t] = np.concatenate([d_r, d_u, d_n], axis=-1)
        d_recurrent[:, t] = np.concatenate([d_r, d_u, d_n * r[:, t]], axis=-1)
        d_h = of_h * u[:, t] + np.matmul(d_recurrent[:, t], transposed)  # (N, H)
    d_params, d_sequence = of_all_steps(params, kept, d_z, d_recurrent)
    return d_params, Inputs(d_sequence, d_h)


def of_all_steps(params: GRU, kept: Kept, d_z: Array, d_recurrent: Array) -> tuple[GRU, Array]:
    """Make the products of all steps at once, for d_params and d_sequence; eq. (9).

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_z: of sequence weight + bias, (N, T, 3 H).
        d_recurrent: of h recurrent_weight, (N, T, 3 H).
    """
    sequence, state = kept.inputs
    H = state.shape[-1]
    d_params = GRU(
        np.tensordot(sequence, d_z, axes=((0, 1), (0, 1))),
        np.tensordot(before(state, kept.h), d_recurrent, axes=((0, 1), (0, 1))),
        sum_rows(d_z.reshape(-1, len(params.bias))),
        sum_rows(d_recurrent[..., 2 * H :].reshape(-1, H)),
    )
    return d_params, np.tensordot(d_z, params.weight.T, axes=1)


def init(D: int, H: int, *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64) -> GRU:
    """Draw the weights of eq. (1), and set the biases to 0.

    The variance of the input's weight is 2 / (D + H). The recurrent weight is an orthogonal matrix
    for each gate, so that the state neither explodes nor vanishes at first.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1.
    """
    weight = glorot((D, 3 * H), fan_in=D, fan_out=H, rng=rng, dtype=dtype)
    gates = [orthogonal(H, rng=rng, dtype=dtype) for _ in range(3)]
    recurrent_weight = np.concatenate(gates, axis=1)
    return GRU(weight, recurrent_weight, np.zeros(3 * H, weight.dtype), np.zeros(H, weight.dtype))


def checked(
    params: GRU, x: Inputs, lengths: npt.NDArray[np.integer[Any]] | None
) -> tuple[Inputs, npt.NDArray[np.bool_]]:
    """Check what `forward` is given, and give what counts of x and of its steps; eq. (1), (3)."""
    check_fields(params, GRU)
    sequence, state = x
    D, H = check_before(sequence, {"state": state}, like="x.sequence")
    check_params(params, GRU, [(D, 3 * H), (H, 3 * H), (3 * H,), (H,)], sequence.dtype)
    seen = steps_within(lengths, *sequence.shape[:2])
    return Inputs(zero_past_the_end(sequence, seen), state), seen


def last_state(kept: Kept) -> Array:
    """Give the state after the last step of each sequence, (N, H), in a new array; eq. (3).

    To go on from there in the next call is truncated backpropagation through time: what it sends
    back to the state is not passed on.
    """
    return kept.h[:, -1].copy()
