"""LSTM, proven against JAX over several steps, with sequences of several lengths."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.compiled.layers.tanh import tanh as compiled_tanh
from manual_nn.layers import lstm
from manual_nn.layers.lstm import LSTM, Inputs, Kept, State, before, last_state
from manual_nn.layers.sigmoid import sigmoid
from reference.layers import lstm as twin
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
            LSTM(draw(D, 4 * H), draw(H, 4 * H), draw(4 * H)),
            Inputs(draw(N, T, D), State(draw(N, H), draw(N, H))),
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
    prove(lstm, twin, subject_of(N, T, D, H, lengths=lengths), seed)


def of_two_steps_by_themselves(params: LSTM, kept: Kept, d_out: Any) -> Any:
    """Add up what the steps give if the second one passes nothing back."""
    (sequence, state), seen = kept.inputs, kept.seen.astype(int)
    _, first = lstm.forward(params, Inputs(sequence[:, :1], state), lengths=seen[:, 0])
    rest = Inputs(sequence[:, 1:], last_state(first))
    _, second = lstm.forward(params, rest, lengths=seen[:, 1])
    one, d_x = lstm.backward(params, first, d_out[:, :1])
    two, d_rest = lstm.backward(params, second, d_out[:, 1:])
    d_sequence = np.concatenate([d_x.sequence, d_rest.sequence], axis=1)
    return LSTM(*(a + b for a, b in zip(one, two, strict=True))), Inputs(d_sequence, d_x.state)


def with_the_last_step_alone(params: LSTM, kept: Kept, d_out: Any) -> Any:
    """The gradients of the parameters are written at each step, and not added."""
    _, d_x = lstm.backward(params, kept, d_out)
    after_0 = State(kept.h[:, 0], kept.c[:, 0])
    rest = kept._replace(
        inputs=Inputs(kept.inputs.sequence[:, 1:], after_0),
        **{name: getattr(kept, name)[:, 1:] for name in ("z", "c", "h", "seen")},
    )
    return lstm.backward(params, rest, d_out[:, 1:])[0], d_x


def with_the_state_of_the_step_itself(params: LSTM, kept: Kept, d_out: Any) -> Any:
    """h_t takes the place of h_(t-1), and c_t that of c_(t-1)."""
    moved = kept._replace(
        inputs=kept.inputs._replace(state=State(kept.h[:, 0], kept.c[:, 0])),
        h=np.roll(kept.h, -1, axis=1),
    )
    return lstm.backward(params, moved, d_out)


def with_gates_in_another_order(params: LSTM, kept: Kept, d_out: Any) -> Any:
    """As i, g, f, o, which the forward pass does not have."""

    def other(array: Any) -> Any:
        i, f, g, o = np.split(array, 4, axis=-1)
        return np.concatenate([i, g, f, o], axis=-1)

    return lstm.backward(params, kept._replace(z=other(kept.z)), d_out)


def by_steps(params: LSTM, kept: Kept, d_out: Any, mistake: str) -> Any:
    """Go back one step after another, as people write it, with one mistake at each step."""
    (sequence, state), z, c, h, seen = kept
    before_h, before_c = before(state.h, h), before(state.c, c)
    d_z, (d_h, d_c) = np.zeros_like(z), map(np.zeros_like, state)
    for t in reversed(range(z.shape[1])):
        z_i, z_f, z_g, z_o = np.split(z[:, t], 4, axis=-1)
        i, f, g, o, tanh_c = (
            sigmoid(z_i),
            sigmoid(z_f),
            np.tanh(z_g),
            sigmoid(z_o),
            np.tanh(c[:, t]),
        )
        within = seen[:, t, np.newaxis]
        of_h = np.where(within, d_h + d_out[:, t], 0)
        slope = 1 - (c[:, t] if mistake == "1 - c**2" else tanh_c) ** 2
        of_c = np.where(within, d_c, 0) + of_h * o * slope
        of_f = of_c * (c[:, t] if mistake == "c after the step" else before_c[:, t])
        gates = of_c * g * i * (1 - i), of_f * f * (1 - f), of_c * i * (1 - g**2)
        d_z[:, t] = np.concatenate([*gates, of_h * tanh_c * o * (1 - o)], axis=-1)
        past = 0 if mistake == "no path through c" else f
        d_c = np.where(within, of_c * past, d_c)
        back = 0 if mistake == "no path through h" else d_z[:, t] @ params.recurrent_weight.T
        d_h = np.where(within, back, d_h)
    d_params = LSTM(
        np.einsum("ntd,ntz->dz", sequence, d_z),
        np.einsum("nth,ntz->hz", before_h, d_z),
        d_z.sum(axis=(0, 1)),
    )
    return d_params, Inputs(d_z @ params.weight.T, State(d_h, d_c))


def without_the_path_through_c(params: LSTM, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "no path through c")


def without_the_path_through_h(params: LSTM, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "no path through h")


def with_c_after_the_step(params: LSTM, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "c after the step")


def with_the_slope_of_c_itself(params: LSTM, kept: Kept, d_out: Any) -> Any:
    return by_steps(params, kept, d_out, "1 - c**2")


def as_if_all_were_long(params: LSTM, kept: Kept, d_out: Any) -> Any:
    return lstm.backward(params, kept._replace(seen=np.ones_like(kept.seen)), d_out)


def with_the_mean_over_the_steps(params: LSTM, kept: Kept, d_out: Any) -> Any:
    d_params, d_x = lstm.backward(params, kept, d_out)
    return d_params._replace(bias=d_params.bias / d_out.shape[1]), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        lstm,
        twin,
        subject_of(2, 2, 2, 2, lengths=np.array([1, 2])),
        of_two_steps_by_themselves,
        with_the_last_step_alone,
        with_the_state_of_the_step_itself,
        with_gates_in_another_order,
        as_if_all_were_long,
        Named(without_the_path_through_c, "new_c = "),
        Named(without_the_path_through_h, "h @ recurrent_weight"),
        with_c_after_the_step,
        Named(with_the_slope_of_c_itself, "jnp.tanh(new_c)"),
        Named(with_the_mean_over_the_steps, "bias"),
    )


@of_each_implementation(lstm)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_exact_where_gates_are_open_shut_or_half_open(
    layer: ModuleType, dtype: type[np.floating[Any]]
) -> None:
    """f is 1/2, i, g and o are 1, so that c becomes c / 2 + 1; the second sequence is shorter."""
    bias = np.array([1000, 0, 1000, 1000], dtype)
    params = LSTM(np.zeros((1, 4), dtype), np.zeros((1, 4), dtype), bias)
    state = State(np.array([[7], [7]], dtype), np.array([[-2], [-6]], dtype))
    x = Inputs(np.ones((2, 2, 1), dtype), state)
    out, kept = layer.forward(params, x, lengths=np.array([2, 1]))
    np.testing.assert_array_equal(kept.c[..., 0], [[0, 1], [-2, -2]])
    tanh: Any = np.tanh if layer is lstm else compiled_tanh
    one, two = tanh(dtype(1)), tanh(dtype(2))
    np.testing.assert_array_equal(out[..., 0], np.array([[0, one], [-two, 0]], dtype))
    np.testing.assert_array_equal(last_state(kept).h, np.array([[one], [-two]], dtype))
    np.testing.assert_array_equal(last_state(kept).c, [[1], [-2]])
    d_out = np.array([[[4], [0]], [[0], [8]]], dtype)  # the last is after the end
    d_params, d_x = layer.backward(params, kept, d_out)
    # d_c is 4 in the first step, which multiplies c_0 = -2 by f; its slope is 1/4.
    np.testing.assert_array_equal(d_params.bias, np.array([0, 4 * -2 / 4, 0, 0], dtype))
    np.testing.assert_array_equal(d_params.weight, d_params.bias[None])
    np.testing.assert_array_equal(d_params.recurrent_weight, 7 * d_params.bias[None])
    np.testing.assert_array_equal(d_x.state.c, np.array([[2], [0]], dtype))
    np.testing.assert_array_equal(d_x.state.h, np.zeros((2, 1), dtype))
    assert all(array.dtype == dtype for array in (out, *d_params, d_x.sequence, *d_x.state))


@of_each_implementation(lstm)
def test_a_sequence_in_two_pieces_is_the_sequence(layer: ModuleType) -> None:
    """To the bit, with one feature, of which no sum can be taken in another order."""
    rng = np.random.default_rng(0)
    params = LSTM(*(rng.normal(size=shape) for shape in [(1, 12), (3, 12), (12,)]))
    sequence, state = rng.normal(size=(2, 4, 1)), State(*rng.normal(size=(2, 2, 3)))
    whole, _ = layer.forward(params, Inputs(sequence, state))
    first, kept = layer.forward(params, Inputs(sequence[:, :3], state))
    second, _ = layer.forward(params, Inputs(sequence[:, 3:], last_state(kept)))
    assert same_bits(np.concatenate([first, second], axis=1), whole)


def with_padding(draw: Any, sequence: Any) -> tuple[LSTM, Inputs]:
    params = LSTM(*(draw(*shape) for shape in [(2, 8), (2, 8), (8,)]))
    return params, Inputs(sequence, State(draw(2, 2), draw(2, 2)))


@of_each_implementation(lstm)
def test_what_a_sequence_holds_past_its_end_does_not_count(layer: ModuleType) -> None:
    assert_padding_does_not_count(layer, with_padding, last_state, lambda kept: (kept.h, kept.c))


def test_what_a_sequence_holds_past_its_end_does_not_count_in_the_twin() -> None:
    assert_padding_does_not_count_in_the_twin(twin, with_padding)


@of_each_implementation(lstm)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    params = LSTM(np.ones((2, 12)), np.ones((3, 12)), np.ones(12))
    x = Inputs(np.ones((4, 5, 2)), State(np.ones((4, 3)), np.ones((4, 3))))
    _, kept = layer.forward(params, x)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(2, 12\) .* \(3, 12\)"):
        layer.forward(params._replace(weight=np.ones((3, 12))), x)
    with pytest.raises(ValueError, match=r"params.recurrent_weight must have shape \(3, 12\)"):
        layer.forward(params._replace(recurrent_weight=np.ones((3, 9))), x)
    with pytest.raises(ValueError, match=r"params.bias must have shape \(12,\) .* got \(3,\)"):
        layer.forward(params._replace(bias=np.ones(3)), x)
    with pytest.raises(ValueError, match=r"x.state.c must have shape \(4, 3\) .* got \(3,\)"):
        layer.forward(params, x._replace(state=x.state._replace(c=np.ones(3))))
    with pytest.raises(ValueError, match=r"x.state.h must have shape \(4, 3\) .* got \(5, 3\)"):
        layer.forward(params, x._replace(state=State(np.ones((5, 3)), np.ones((5, 3)))))
    with pytest.raises(ValueError, match=r"x.state.h must have at least 2 axes"):
        layer.forward(params, x._replace(state=x.state._replace(h=np.ones(3))))
    with pytest.raises(ValueError, match=r"x.state.h must have shape \(4, 3\) .* got \(4, 1, 3\)"):
        layer.forward(params, x._replace(state=x.state._replace(h=np.ones((4, 1, 3)))))
    with pytest.raises(ValueError, match=r"x.sequence must have at least 3 axes"):
        layer.forward(params, x._replace(sequence=np.ones((4, 2))))
    with pytest.raises(ValueError, match=r"x.sequence must have shape \(N, T, D\), got \(4, 5, 1"):
        layer.forward(params, x._replace(sequence=np.ones((4, 5, 1, 2))))
    with pytest.raises(TypeError, match=r"params.weight must be float32 like x, got float64"):
        layer.forward(params, Inputs(*_as_float32(x)))
    with pytest.raises(TypeError, match="lengths must be a NumPy array of integers, got list"):
        layer.forward(params, x, lengths=[1, 2, 3, 4])
    with pytest.raises(ValueError, match=r"lengths must have shape \(4,\), one an example, got"):
        layer.forward(params, x, lengths=np.array([1, 2]))
    for length in (6, -1):
        with pytest.raises(ValueError, match=f"lengths must be from 0 to 5, got {length}"):
            layer.forward(params, x, lengths=np.array([1, 2, length, 7]))
    with pytest.raises(ValueError, match=r"d_out must have shape \(4, 5, 3\) to fit out, got \(3,"):
        layer.backward(params, kept, np.ones(3))


def _as_float32(x: Inputs) -> tuple[Any, State]:
    h, c = (array.astype(np.float32) for array in x.state)
    return x.sequence.astype(np.float32), State(h, c)
