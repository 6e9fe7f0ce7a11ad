"""LSTM, long short-term memory: a recurrent layer with gated cells, over the steps of a sequence.

lstm.md derives the equations. Axes: N examples, T steps, D features of the input, H units; 4 H are
the pre-activations of input gate, forget gate, candidate and output gate, in this order.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import (
    check_fields,
    check_floats,
    check_integers,
    check_like,
    check_params,
)
from manual_nn.initial import glorot, orthogonal
from manual_nn.layers.sigmoid import sigmoid, value_and_slope
from manual_nn.layers.tanh import slope as tanh_slope
from manual_nn.sums import sum_rows


class LSTM(NamedTuple):
    """A dense layer of the input, and another, without a bias, of the state of the step before."""

    weight: Array  # (D, 4 H)
    recurrent_weight: Array  # (H, 4 H)
    bias: Array  # (4 H,)


class State(NamedTuple):
    """What goes from one step to the next."""

    h: Array  # (N, H), the output of a step
    c: Array  # (N, H), its cells


class Inputs(NamedTuple):
    """The two inputs of the layer."""

    sequence: Array  # (N, T, D)
    state: State  # before the first step, of zeros where a sequence begins


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    inputs: Inputs
    z: Array  # (N, T, 4 H), the pre-activations
    c: Array  # (N, T, H)
    h: Array  # (N, T, H)
    seen: npt.NDArray[np.bool_]  # (N, T), which steps are within the sequences


def forward(
    params: LSTM, x: Inputs, *, lengths: npt.NDArray[np.integer[Any]] | None = None
) -> tuple[Array, Kept]:
    """Go through the steps in order; eq. (1), (2), (3).

    With the gates i, f, o = sigmoid(...) and the candidate g = tanh(...) of x_t weight + h_(t-1)
    recurrent_weight + bias, the cells become c_t = f c_(t-1) + i g and the output becomes
    h_t = o tanh(c_t).

    Args:
        params: weight, (D, 4 H), recurrent_weight, (H, 4 H), and bias, (4 H,).
        x: the sequence, (N, T, D), and the state before it, h and c, (N, H) each, float32 or
            float64 as are the parameters.
        lengths: how many steps of each sequence are real, (N,), integers from 0 to T; all by
            default. After them the state stays as it is, and out is 0; what the sequence holds
            there does not count, even if it is NaN.

    Returns:
        out, the h of each step, (N, T, H), and what `backward` needs; `last_state` gives the state
        after the last step.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit, or a length is not between 0 and T.

    Source: Hochreiter and Schmidhuber, Long Short-Term Memory, 1997,
    doi:10.1162/neco.1997.9.8.1735; with the forget gate of Gers, Schmidhuber and Cummins, 2000.

    >>> params = LSTM(np.zeros((1, 4)), np.zeros((1, 4)), np.array([100.0, 0.0, 100.0, 100.0]))
    >>> begin = State(np.zeros((1, 1)), np.zeros((1, 1)))
    >>> out, kept = forward(params, Inputs(np.zeros((1, 3, 1)), begin))
    >>> kept.c  # each step adds 1 to half of what there was
    array([[[1.  ],
            [1.5 ],
            [1.75]]])
    """
    x, seen = checked(params, x, lengths)
    sequence, (h, c) = x
    (N, T, _), H = sequence.shape, h.shape[1]
    z = np.tensordot(sequence, params.weight, axes=1)  # (N, T, 4 H), in one product
    z += params.bias
    all_c, all_h = (np.empty((N, T, H), sequence.dtype) for _ in range(2))  # (N, T, H)
    for t in range(T):
        z[:, t] += np.matmul(h, params.recurrent_weight)
        i, f, g, o = np.split(z[:, t], 4, axis=-1)  # (N, H) each
        within = seen[:, t, np.newaxis]  # (N, 1)
        c = np.where(within, sigmoid(f) * c + sigmoid(i) * np.tanh(g), c)  # (N, H)
        h = np.where(within, sigmoid(o) * np.tanh(c), h)  # (N, H)
        all_c[:, t], all_h[:, t] = c, h
    return np.where(seen[..., np.newaxis], all_h, 0), Kept(x, z, all_c, all_h, seen)


def backward(params: LSTM, kept: Kept, d_out: Array) -> tuple[LSTM, Inputs]:
    """Go back through the steps, the last one first; eq. (4) to (9).

    Each step receives the gradient of its own output and what the step after it sends back, to h
    and to c. The products with sequence and weight are made for all steps at once.

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
    (sequence, state), z, c, h, seen = kept
    check_like(d_out, h.shape, h.dtype, name="d_out", like="out")
    before_h = before(state.h, h)  # (N, T, H)
    before_c = before(state.c, c)  # (N, T, H)
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=-1)  # (N, T, H) each
    (i, slope_i), (f, slope_f), (o, slope_o) = map(value_and_slope, (z_i, z_f, z_o))  # (N, T, H)
    g, slope_g = np.tanh(z_g), tanh_slope(z_g)  # (N, T, H) each
    tanh_c, slope_c = np.tanh(c), tanh_slope(c)  # (N, T, H) each
    # What (7) and (5) multiply d_c and d_h by, which have to wait for the step after.
    factors = [g * slope_i, before_c * slope_f, i * slope_g, tanh_c * slope_o]
    to_z = np.concatenate(factors, axis=-1)  # (N, T, 4 H), from c, c, c and h
    to_c = o * slope_c  # (N, T, H), from h
    d_z = np.empty(z.shape, z.dtype)  # (N, T, 4 H)
    d_h, d_c = np.zeros((2, *state.h.shape), z.dtype)  # (N, H) each
    transposed = params.recurrent_weight.T.copy()  # once, and not at every step
    for t in reversed(range(z.shape[1])):
        within = seen[:, t, np.newaxis]  # (N, 1)
        of_h = np.where(within, d_h + d_out[:, t], 0)  # 0 after the end, as d_c is
        of_c = d_c + of_h * to_c[:, t]  # (N, H)
        d_z[:, t] = to_z[:, t] * np.concatenate([of_c, of_c, of_c, of_h], axis=-1)
        d_c = of_c * f[:, t]  # (N, H)
        d_h = np.matmul(d_z[:, t], transposed)  # (N, H)
    d_params = LSTM(
        np.tensordot(sequence, d_z, axes=((0, 1), (0, 1))),
        np.tensordot(before_h, d_z, axes=((0, 1), (0, 1))),
        sum_rows(d_z.reshape(-1, len(params.bias))),
    )
    return d_params, Inputs(np.tensordot(d_z, params.weight.T, axes=1), State(d_h, d_c))


def init(D: int, H: int, *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64) -> LSTM:
    """Draw the weights of eq. (1), and set the bias to 0, but to 1 for the forget gates.

    The variance of the input's weight is 2 / (D + H). The recurrent weight is an orthogonal matrix
    for each gate, so that the state neither explodes nor vanishes at first; and what a cell holds
    is kept at first.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1.

    Source: for the forget gates Jozefowicz, Zaremba and Sutskever, An Empirical Exploration of
    Recurrent Network Architectures, 2015.
    """
    weight = glorot((D, 4 * H), fan_in=D, fan_out=H, rng=rng, dtype=dtype)
    gates = [orthogonal(H, rng=rng, dtype=dtype) for _ in range(4)]
    bias = np.repeat(np.array([0, 1, 0, 0], weight.dtype), H)  # input, forget, candidate, output
    return LSTM(weight, np.concatenate(gates, axis=1), bias)


def last_state(kept: Kept) -> State:
    """Give the state after the last step of each sequence, in new arrays; eq. (3).

    To go on from there in the next call is truncated backpropagation through time: what it sends
    back to the state is not passed on.
    """
    return State(kept.h[:, -1].copy(), kept.c[:, -1].copy())


def checked(
    params: LSTM, x: Inputs, lengths: npt.NDArray[np.integer[Any]] | None
) -> tuple[Inputs, npt.NDArray[np.bool_]]:
    """Check what `forward` is given, and give what counts of x and of its steps; eq. (1), (3)."""
    check_fields(params, LSTM)
    sequence, (h, c) = x
    state = {"state.h": h, "state.c": c}
    D, H = check_before(sequence, state, like="x.sequence and x.state.h")
    check_params(params, LSTM, [(D, 4 * H), (H, 4 * H), (4 * H,)], sequence.dtype)
    seen = steps_within(lengths, *sequence.shape[:2])
    return Inputs(zero_past_the_end(sequence, seen), State(h, c)), seen


def before(first: Array, later: Array) -> Array:
    """Give what each step receives, (N, T, H): the first state, then all but the last; eq. (1)."""
    return np.concatenate([first[:, np.newaxis], later[:, :-1]], axis=1)


def steps_within(
    lengths: npt.NDArray[np.integer[Any]] | None, N: int, T: int
) -> npt.NDArray[np.bool_]:
    """Say which steps are within the sequences, (N, T); eq. (3).

    Raises:
        TypeError: lengths is not an array of integers.
        ValueError: it has another shape than (N,), or a length is not between 0 and T.
    """
    if lengths is None:
        return np.ones((N, T), bool)
    check_integers(lengths, name="lengths")
    if lengths.shape != (N,):
        raise ValueError(f"lengths must have shape ({N},), one an example, got {lengths.shape}")
    outside = (lengths < 0) | (lengths > T)
    if outside.any():
        raise ValueError(f"lengths must be from 0 to {T}, got {lengths[outside][0]}")
    return np.arange(T) < lengths[:, np.newaxis]


def zero_past_the_end(sequence: Array, seen: npt.NDArray[np.bool_]) -> Array:
    """Give the sequence, (N, T, D), with 0 in the steps past the end of each example; eq. (3).

    Products with the zeros of d_z would make NaN of what is not finite there.
    """
    return sequence if seen.all() else np.where(seen[..., np.newaxis], sequence, 0)


def check_before(sequence: Array, state: Mapping[str, Array], *, like: str) -> tuple[int, int]:
    """Check that a sequence and the state before it fit each other, and give D and H; eq. (1).

    Args:
        sequence: (N, T, D).
        state: its arrays by their names in x, (N, H) each; the first says what H is.
        like: names what they have to fit.

    Raises:
        TypeError: one of them is not an array of the dtype of the sequence, float32 or float64.
        ValueError: the shapes do not fit.
    """
    first = next(iter(state))
    check_floats(sequence, name="x.sequence", ndim=3)
    check_floats(state[first], name=f"x.{first}", ndim=2)
    if sequence.ndim != 3:
        raise ValueError(f"x.sequence must have shape (N, T, D), got {sequence.shape}")
    (N, _, D), H = sequence.shape, state[first].shape[-1]
    for name, array in state.items():
        check_like(array, (N, H), sequence.dtype, name=f"x.{name}", like=like)
    return D, H
