"""Another array in the place of one at every step of a loop is found, and named.

Axes: T steps, N rows, H hidden units.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference import Code, check_gradient
from reference.arrays import Array
from tests.support.draws import normal

T, N, H = 3, 3, 4


def step(state: Any, gates: Any) -> Any:
    f = jax.nn.sigmoid(gates[0] + state)
    i = jax.nn.sigmoid(gates[1])
    g = jnp.tanh(gates[2])
    state = f * state + i * g
    return state, state


def in_a_scan(x: Any, start: Any) -> Any:
    last, _ = lax.scan(step, start, x)
    return (last**2).sum()


def unrolled(x: Any, start: Any) -> Any:
    state = start
    for t in range(T):
        state, _ = step(state, x[t])
    return (state**2).sum()


def gradient(x: Array, start: Array, mistake: str = "") -> tuple[Array, Array]:
    kept, state = [], start
    for z_f, z_i, z_g in x:
        f, i, g = 1 / (1 + np.exp(-z_f - state)), 1 / (1 + np.exp(-z_i)), np.tanh(z_g)
        kept.append((f, i, g, state))
        state = f * state + i * g
    d_state, d_x = 2 * state, np.zeros_like(x)
    for t, (f, i, g, before) in reversed(list(enumerate(kept))):
        d_f = d_state * (g if mistake == "g for the state" else before) * f * (1 - f)
        d_i = d_state * g * (f * (1 - f) if mistake == "f's slope for i's" else i * (1 - i))
        d_g = d_state * i * (1 - g if mistake == "1 - g" else 1 - g**2)
        d_x[t] = d_f, d_i, d_g
        d_state = d_state * (i if mistake == "i for f" else f) + d_f
    return d_x, d_state


@pytest.mark.parametrize(("loss", "every"), [(in_a_scan, 1), (unrolled, 2)])
def test_another_array_at_every_step_is_named(loss: Any, every: int) -> None:
    args = normal(T, 3, N, H), normal(N, H)
    mistakes = (
        ("i for f", "another_value", ["In place of `f`", "uses `i`"], "state = f * state"),
        ("g for the state", "another_value", ["derivative of `mul` in `f`", "uses `g`"], "state ="),
        ("1 - g", "another_factor", ["`tanh`", "replaced by `1 - g`"], "g = jnp.tanh"),
        ("f's slope for i's", "another_value", ["`logistic`", "is taken at"], "i = jax.nn"),
    )
    for mistake, kind, words, line in mistakes[::every]:
        report = check_gradient(
            gradient(*args, mistake), loss, *args, argnums=(0, 1), explain_seconds=np.inf
        )
        cause = report.causes[0]
        assert (cause.code, cause.kind) == (Code.LOCAL_DERIVATIVE, kind), (mistake, cause)
        assert all(part in cause.sentence for part in words), cause.sentence
        assert cause.where is not None
        assert cause.where.text.startswith(line)
    report = check_gradient(gradient(*args), loss, *args, argnums=(0, 1))
    assert (report.ok, report.causes) == (True, ())


def recurrent_in_a_scan(U: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ U + x)
        return h, None

    return (lax.scan(step, jnp.ones((N, H)), xs)[0] ** 2).sum()


def recurrent_unrolled(U: Any, xs: Any) -> Any:
    h = jnp.ones((N, H))
    for x in xs:
        h = jnp.tanh(h @ U + x)
    return (h**2).sum()


def of_the_recurrent(U: Array, xs: Array, mistake: str) -> tuple[Array, Array]:
    """Give the gradient with a mistake; h_t is the state after step t, and h_(t-1) before it."""
    states = [np.ones((N, H))]
    for x in xs:
        states.append(np.tanh(states[-1] @ U + x))
    d_U, d_xs, d_h = np.zeros_like(U), np.zeros_like(xs), 2 * states[-1]
    for t in reversed(range(len(xs))):
        d_xs[t] = d_h * (1 - states[t + (mistake != "tanh' before")] ** 2)
        d_U += states[t + (mistake == "U after")].T @ d_xs[t]
        d_h = d_xs[t] @ U.T * (t != 1 or mistake != "cut off")
    return d_U, d_xs


@pytest.mark.parametrize("loss", [recurrent_in_a_scan, recurrent_unrolled])
def test_the_state_of_the_step_in_the_place_of_that_before_is_named(loss: Any) -> None:
    args = normal(H, H), normal(T, N, H, seed=1)
    report = check_gradient(
        of_the_recurrent(*args, "U after"), loss, *args, argnums=(0, 1), explain_seconds=np.inf
    )
    cause = report.causes[0]
    assert (cause.kind, cause.operand, cause.operation) == ("another_value", "`U`", "dot_general")
    assert "In place of `h` of the step before, the derivative" in cause.sentence
    assert "uses `h`" in cause.sentence
    assert cause.where is not None
    assert cause.where.text == "h = jnp.tanh(h @ U + x)"


@pytest.mark.parametrize("loss", [recurrent_in_a_scan, recurrent_unrolled])
def test_the_slope_at_the_state_of_the_step_before_is_named(loss: Any) -> None:
    args = normal(H, H), normal(T, N, H, seed=1)
    found = of_the_recurrent(*args, "tanh' before")
    report = check_gradient(found, loss, *args, argnums=(0, 1), explain_seconds=np.inf)
    cause = report.causes[0]
    assert (cause.kind, cause.operation) == ("another_factor", "tanh")
    assert "is replaced by `1 - x**2` with x `h` of the step before in every array" in (
        cause.sentence
    )


def test_a_path_that_is_cut_off_in_one_run_of_a_line_says_which() -> None:
    args = normal(H, H), normal(T, N, H, seed=1)
    gradient = of_the_recurrent(*args, "cut off")
    report = check_gradient(gradient, recurrent_unrolled, *args, argnums=(0, 1))
    sentence = report.causes[0].sentence
    assert "hands down to `h` (" in sentence
    assert sentence.endswith(
        f"is missing in every array, at the second of the {T} runs of this line."
    )
