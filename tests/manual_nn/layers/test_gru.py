"""GRU, proven against JAX over several steps, with sequences of several lengths."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.layers import gru
from manual_nn.layers.gru import GRU, Inputs, Kept, last_state
from manual_nn.layers.lstm import before
from manual_nn.layers.sigmoid import sigmoid
from reference.layers import gru as twin
from tests.support.bits import same_bits
from tests.support.compiled import of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.recurrent import (
    assert_padding_does_not_count,
    assert_padding_does_not_count_in_the_twin,
)
from tests.support.strategies import seeds


def subject_of(N: int, T: int, D: int, H: int, **options: Any) -> Subject:
    return Subject(
        lambda draw, _: (
            GRU(draw(D, 3 * H), draw(H, 3 * H), draw(3 * H), draw(H)),
            Inputs(draw(N, T, D), draw(N, H)),
        ),
        options,
    )


@given(
    N=st.integers(1, 3),
    T=st.integers(1, 3),
    D=st.integers(1, 2),
    H=st.integers(1, 2),
    of_lengths=st.booleans(),
    seed=seeds,
)
@FEW
def test_values_and_gradients_agree_with_jax(
    N: int, T: int, D: int, H: int, of_lengths: bool, seed: int
) -> None:
    lengths = np.random.default_rng(seed).integers(0, T + 1, N) if of_lengths else None
    prove(gru, twin, subject_of(N, T, D, H, lengths=lengths), seed)


def of_two_steps_by_themselves(params: GRU, kept: Kept, d_out: Any) -> Any:
    """Add up what the steps give if the second one passes nothing back."""
    (sequence, state), seen = kept.inputs, kept.seen.astype(int)
    _, first = gru.forward(params, Inputs(sequence[:, :1], state), lengths=seen[:, 0])
    rest = Inputs(sequence[:, 1:], last_state(first))
    _, second = gru.forward(params, rest, lengths=seen[:, 1])
    one, d_x = gru.backward(params, first, d_out[:, :1])
    two, d_rest = gru.backward(params, second, d_out[:, 1:])
    d_sequence = np.concatenate([d_x.sequence, d_rest.sequence], axis=1)
    return GRU(*(a + b for a, b in zip(one, two, strict=True))), Inputs(d_sequence, d_x.state)


def without_the_reset_gate(params: GRU, kept: Kept, d_out: Any) -> Any:
    """The candidate's part of the recurrent weight gets what the gates get, without r."""
    d_params, d_x = gru.backward(params, kept, d_out)
    before_h, H = before(kept.inputs.state, kept.h), kept.h.shape[-1]
    identity = np.eye(3 * H, dtype=d_out.dtype)  # with which the input's gradient is that of z
    d_z = gru.backward(params._replace(weight=identity), kept, d_out)[1].sequence
    of_n = np.einsum("nth,ntk->hk", before_h, d_z[..., 2 * H :])
    wrong = np.concatenate([d_params.recurrent_weight[:, : 2 * H], of_n], axis=1)
    bias = d_z[..., 2 * H :].sum(axis=(0, 1))
    return d_params._replace(recurrent_weight=wrong, recurrent_bias=bias), d_x


def with_the_other_sign_of_the_update(params: GRU, kept: Kept, d_out: Any) -> Any:
    """The update gate's part is negated wherever parameters receive it."""
    d_params, d_x = gru.backward(params, kept, d_out)
    sign = np.repeat(np.array([1, -1, 1], d_out.dtype), kept.h.shape[-1])
    weight, recurrent_weight, bias = (sign * array for array in d_params[:3])
    return GRU(weight, recurrent_weight, bias, d_params.recurrent_bias), d_x


def with_the_state_of_the_step_itself(params: GRU, kept: Kept, d_out: Any) -> Any:
    """h_t takes the place of h_(t-1)."""
    moved = kept._replace(
        inputs=kept.inputs._replace(state=kept.h[:, 0]), h=np.roll(kept.h, -1, axis=1)
    )
    return gru.backward(params, moved, d_out)


def by_steps(params: GRU, kept: Kept, d_out: Any, mistake: str) -> Any:
    """Go back one step after another, as people write it, with one mistake at each step."""
    (sequence, state), z, a, h, seen = kept
    before_h, d_z, d_recurrent = before(state, h), np.zeros_like(z), np.zeros_like(z)
    d_h = np.zeros_like(state)
    for t in reversed(range(z.shape[1])):
        z_r, z_u, z_n = np.split(z[:, t], 3, axis=-1)
        r, u, n = sigmoid(z_r), sigmoid(z_u), np.tanh(z_n)
        within = seen[:, t, np.newaxis]
        of_h = np.where(within, d_h + d_out[:, t], 0)
        d_n = of_h * (1 - u) * (1 - n**2)
        of_u = of_h * (-n if mistake == "one part of u" else before_h[:, t] - n)
        of_u *= -1 if mistake == "sign of u" else 1
        d_r, d_u = d_n * a[:, t] * r * (1 - r), of_u * u * (1 - u)
        d_a = d_n * (1 if mistake == "no reset gate" else r)
        d_z[:, t] = np.concatenate([d_r, d_u, d_n], axis=-1)
        d_recurrent[:, t] = np.concatenate([d_r, d_u, d_a], axis=-1)
        past = 0 if mistake == "no path past the step" else of_h * u
        d_h = np.where(within, past + d_recurrent[:, t] @ params.recurrent_weight.T, d_h)
    d_params = GRU(
        np.einsum("ntd,ntz->dz", sequence, d_z),
        np.einsum("nth,ntz->hz", before_h, d_recurrent),
        d_z.sum(axis=(0, 1)),
        d_recurrent[..., -state.shape[-1] :].sum(axis=(0, 1)),
    )
    return d_params, Inputs(d_z @ params.weight.T, d_h)


def without_the_reset_gate_at_each_step(params: GRU, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "no reset gate")


def without_the_path_past_the_step(params: GRU, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "no path past the step")


def with_one_part_of_the_update(params: GRU, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "one part of u")


def with_the_other_sign_of_the_update_at_each_step(params: GRU, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "sign of u")


def as_if_all_were_long(params: GRU, kept: Kept, d_out: Any) -> Any:
    return gru.backward(params, kept._replace(seen=np.ones_like(kept.seen)), d_out)


def with_the_mean_over_the_steps(params: GRU, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = gru.backward(params, kept, d_out)
    return d_params._replace(bias=d_params.bias / d_out.shape[1]), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        gru,
        twin,
        subject_of(2, 2, 2, 2, lengths=np.array([1, 2])),
        of_two_steps_by_themselves,
        without_the_reset_gate,
        with_the_other_sign_of_the_update,
        with_the_state_of_the_step_itself,
        as_if_all_were_long,
        Named(without_the_reset_gate_at_each_step, "r * (h_n + recurrent_bias"),
        Named(without_the_path_past_the_step, "u * h"),
        Named(with_one_part_of_the_update, "u * h"),
        Named(with_the_other_sign_of_the_update_at_each_step, "jax.nn.sigmoid(x_u + h_u)"),
        Named(with_the_mean_over_the_steps, "bias"),
    )


@of_each_implementation(gru)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_gates_are_open_shut_or_half_open(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """u is 1/2, r and n are 1, so that h becomes (h + 1) / 2; the second sequence is shorter."""
    params = GRU(
        np.zeros((1, 3), dtype),
        np.zeros((1, 3), dtype),
        np.array([1000, 0, 1000], dtype),
        np.zeros(1, dtype),
    )
    x = Inputs(np.ones((2, 2, 1), dtype), np.array([[-3], [-7]], dtype))
    out, kept = layer.forward(params, x, lengths=np.array([2, 1]))
    np.testing.assert_array_equal(out[..., 0], np.array([[-1, 0], [-3, 0]], dtype))
    np.testing.assert_array_equal(last_state(kept), np.array([[0], [-3]], dtype))
    d_out = np.array([[[4], [8]], [[0], [8]]], dtype)  # the last is after the end
    d_params, d_x = layer.backward(params, kept, d_out)
    # of_h is 8 in the second step and 4 + 8 / 2 in the first; h - n is -2 and -4, the slope 1/4.
    d_u = 8 * -2 / 4 + 8 * -4 / 4
    np.testing.assert_array_equal(d_params.bias, np.array([0, d_u, 0], dtype))
    np.testing.assert_array_equal(d_params.weight, d_params.bias[None])
    d_recurrent = -1 * (8 * -2 / 4) + -3 * (8 * -4 / 4)
    np.testing.assert_array_equal(d_params.recurrent_weight, [[0, d_recurrent, 0]])
    np.testing.assert_array_equal(d_params.recurrent_bias, [0])
    np.testing.assert_array_equal(d_x.state, np.array([[4], [0]], dtype))
    assert all(array.dtype == dtype for array in (out, *d_params, *d_x))


@of_each_implementation(gru)
def test_what_the_layer_has_not_forgotten_has_its_digits(layer: ModuleType) -> None:
    """In float32 1 - sigmoid(20) is 0; d_n is (1 - u) times the slope 1 of tanh at 0.

    exp is off by 4 units in the last place at most, and 5 operations follow.
    """
    params = GRU(*(np.zeros(shape, np.float32) for shape in [(1, 3), (1, 3), (3,), (1,)]))
    params.bias[1] = 20
    zeros = Inputs(np.zeros((1, 1, 1), np.float32), np.zeros((1, 1), np.float32))
    _, kept = layer.forward(params, zeros)
    d_params, _ = layer.backward(params, kept, np.ones((1, 1, 1), np.float32))
    want = 1 / (1 + math.exp(20))
    assert abs(d_params.bias[2] - want) <= (8 + 5) * 2.0**-24 * want


@of_each_implementation(gru)
def test_a_sequence_in_two_pieces_is_the_sequence(layer: ModuleType) -> None:
    """To the bit, with one feature, of which no sum can be taken in another order."""
    rng = np.random.default_rng(0)
    params = GRU(*(rng.normal(size=shape) for shape in [(1, 9), (3, 9), (9,), (3,)]))
    sequence, state = rng.normal(size=(2, 4, 1)), rng.normal(size=(2, 3))
    whole, _ = layer.forward(params, Inputs(sequence, state))
    first, kept = layer.forward(params, Inputs(sequence[:, :3], state))
    second, _ = layer.forward(params, Inputs(sequence[:, 3:], last_state(kept)))
    assert same_bits(np.concatenate([first, second], axis=1), whole)


def with_padding(draw: Any, sequence: Any) -> tuple[GRU, Inputs]:
    params = GRU(*(draw(*shape) for shape in [(2, 6), (2, 6), (6,), (2,)]))
    return params, Inputs(sequence, draw(2, 2))


@of_each_implementation(gru)
def test_what_a_sequence_holds_past_its_end_does_not_count(layer: ModuleType) -> None:
    assert_padding_does_not_count(layer, with_padding, last_state, lambda kept: (kept.h,))


def test_what_a_sequence_holds_past_its_end_does_not_count_in_the_twin() -> None:
    assert_padding_does_not_count_in_the_twin(twin, with_padding)


@of_each_implementation(gru)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params = GRU(np.ones((2, 9)), np.ones((3, 9)), np.ones(9), np.ones(3))
    x = Inputs(np.ones((4, 5, 2)), np.ones((4, 3)))
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(2, 9\) .* \(3, 9\)"):
        layer.forward(params._replace(weight=np.ones((3, 9))), x)
    with pytest.raises(ValueError, match=r"params.recurrent_weight must have shape \(3, 9\)"):
        layer.forward(params._replace(recurrent_weight=np.ones((3, 12))), x)
    with pytest.raises(ValueError, match=r"params.bias must have shape \(9,\) .* got \(3,\)"):
        layer.forward(params._replace(bias=np.ones(3)), x)
    with pytest.raises(ValueError, match=r"params.recurrent_bias must have shape \(3,\) .* \(9,\)"):
        layer.forward(params._replace(recurrent_bias=np.ones(9)), x)
    with pytest.raises(ValueError, match=r"x.state must have shape \(4, 3\) .* got \(5, 3\)"):
        layer.forward(params, x._replace(state=np.ones((5, 3))))
    with pytest.raises(TypeError, match=r"x.state must be float64 like x.sequence, got float32"):
        layer.forward(params, x._replace(state=np.ones((4, 3), np.float32)))
    with pytest.raises(ValueError, match=r"x.sequence must have at least 3 axes"):
        layer.forward(params, x._replace(sequence=np.ones((4, 2))))
    with pytest.raises(ValueError, match=r"x.sequence must have shape \(N, T, D\), got \(4, 5, 1"):
        layer.forward(params, x._replace(sequence=np.ones((4, 5, 1, 2))))
    with pytest.raises(ValueError, match="lengths must be from 0 to 5, got 6"):
        layer.forward(params, x, lengths=np.array([1, 2, 6, 3]))
    with pytest.raises(ValueError, match=r"d_out must have shape \(4, 5, 3\) to fit out, got \(3,"):
        layer.backward(params, kept, np.ones(3))
