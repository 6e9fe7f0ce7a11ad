"""A tape run backwards gives JAX's gradient, and with a mistake what one derives by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks.soundness.planted_operations import WRONG
from benchmarks.soundness.planting import EVERY, FACTOR, LAST, Plant, Tape
from reference.arrays import Array
from tests.support.draws import normal

N, D = 4, 3
STEPS = 16  # more than any element of what has an exponential in it has on its way


def layered(w: Any, b: Any, x: Any) -> Any:
    z = x @ w + b[None, :]
    a = jnp.tanh(z)
    return (jax.nn.softmax(a) ** 2).sum()


def recurrent(w: Any, xs: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(h @ w + x)
        return h, h.sum()

    h, sums = lax.scan(step, jnp.zeros(D), xs, reverse=True)
    return (h**2).sum() + sums[0] * sums[1]


@pytest.mark.parametrize(
    ("loss", "args", "places"),
    [
        (layered, (normal(D, D), normal(D), normal(N, D)), (0, 1, 2)),
        (recurrent, (normal(D, D), normal(N, D)), (0, 1)),
    ],
)
def test_without_a_mistake_it_is_the_gradient(
    loss: Any, args: tuple[Any, ...], places: tuple[int, ...]
) -> None:
    for got, want in zip(
        Tape(loss, args, places).gradient(), jax.grad(loss, places)(*args), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=32 * np.finfo(float).eps)


def planted(tape: Tape, name: str, operand: int, kind: str, **more: Any) -> list[Any]:
    """Plant a mistake at the only operation of this name."""
    paths = {e.path for e in tape.edges() if (e.name, e.operand) == (name, operand)}
    (path,) = paths
    return tape.gradient([Plant(path, operand, kind, **more)])


def whole(*shape: int, seed: int = 0) -> Array:
    """Draw whole numbers, none of whose sums and products round."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(float)


def test_each_mistake_is_what_it_says() -> None:
    w, b, x, t = whole(D, D), whole(D), whole(D, D, seed=1), whole(D, D, seed=2)

    def loss(w: Any, b: Any) -> Any:
        a = (x @ w + b[None, :]) ** 2
        return (a * t).sum()

    tape = Tape(loss, (w, b), (0, 1))
    z = x @ w + b
    a, d_z = z**2, 2 * z * t
    clipped = d_z.clip(-abs(d_z).max() / 2, abs(d_z).max() / 2)
    wanted: list[tuple[str, int, str, Any]] = [
        ("integer_pow", 0, "identity", (x.T @ t, t.sum(0))),
        ("integer_pow", 0, "at_the_result", (x.T @ (e := t * 2 * a), e.sum(0))),
        ("integer_pow", 0, "applied_twice", (x.T @ (e := d_z * 2 * z), e.sum(0))),
        ("integer_pow", 0, "clipped", (x.T @ clipped, clipped.sum(0))),
        ("dot_general", 1, "transposed", (x @ d_z, d_z.sum(0))),
        ("dot_general", 1, "other_operand", (w.T @ d_z, d_z.sum(0))),
        ("add", 1, "last_row_only", (x.T @ d_z, d_z[-1])),
        ("add", 1, "first_row_only", (x.T @ d_z, d_z[0])),
        ("mul", 0, "other_operand", (x.T @ (e := a * 2 * z), e.sum(0))),
        ("mul", 0, "rows moved by one", (x.T @ (e := np.roll(t, 1, 0) * 2 * z), e.sum(0))),
    ]  # fmt: skip
    for name, operand, kind, want in wanted:
        for got, array in zip(planted(tape, name, operand, kind), want, strict=True):
            np.testing.assert_array_equal(got, array, err_msg=f"{name}, {kind}")


def test_reading_with_an_index_has_mistakes_of_its_own() -> None:
    table, t, rows = normal(4, D), normal(3, D), np.array([1, 3, 1])
    tape = Tape(lambda table: (table[rows] * t).sum(), (table,), (0,))
    added = np.zeros_like(table)
    np.add.at(added, rows, t)
    written = np.zeros_like(table)
    written[rows] = t
    for kind, want in (
        ("last_reader_only", written),
        ("index_too_high", np.roll(added, 1, 0)),
        ("index_too_low", np.roll(added, -1, 0)),
    ):
        np.testing.assert_array_equal(planted(tape, "gather", 0, kind)[0], want)


def test_a_sum_may_run_along_the_other_axis_and_a_maximum_have_no_mask() -> None:
    x, t = normal(D, D), normal(D, seed=1)
    want = np.broadcast_to(t[:, None], (D, D))
    tape = Tape(lambda x: (x.sum(0) * t).sum(), (x,), (0,))
    (edge,) = (edge for edge in tape.edges() if WRONG["other_axis"].fits(edge))
    (got,) = tape.gradient([Plant(edge.path, edge.operand, "other_axis")])
    np.testing.assert_array_equal(got, want)
    tape = Tape(lambda x: (x.max(1) * t).sum(), (x,), (0,))
    np.testing.assert_array_equal(planted(tape, "reduce_max", 0, "all_of_the_compared")[0], want)


def test_a_mask_may_be_inverted_and_a_jacobian_cut_to_its_diagonal() -> None:
    z, t = normal(N, D), normal(N, D, seed=1)
    tape = Tape(lambda z: (jax.nn.relu(z) * t).sum(), (z,), (0,))
    (edge,) = (e for e in tape.edges() if e.name == "relu" and len(e.path) == 1)
    (got,) = tape.gradient([Plant(edge.path, 0, "inverted")])
    np.testing.assert_array_equal(got, t * (z <= 0))
    tape = Tape(lambda z: (jax.nn.log_softmax(z) * t).sum(), (z,), (0,))
    (edge,) = (e for e in tape.edges() if WRONG["diagonal_alone"].fits(e))
    (got,) = tape.gradient([Plant(edge.path, 0, "diagonal_alone")])
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    # Less than STEPS numbers round on either side. z - max z is in the exponent, and so is
    # ln(1 + e^z): what rounds there counts as often as they are large, or else a number below 2.
    reach = 2 * STEPS * max(2, 2 * abs(z).max()) * np.finfo(float).eps / 2
    np.testing.assert_allclose(got, (1 - p) * t, rtol=0, atol=reach * abs(t).max())
    (got,) = tape.gradient([Plant(edge.path, 0, "softmax_on_top")])
    d_z = t - p * t.sum(1, keepdims=True)
    largest = abs(t).sum(1).max()  # that stands beside p in t - p sum(t)
    np.testing.assert_allclose(got, d_z * p * (1 - p), rtol=0, atol=reach * largest)
    tape = Tape(lambda z: (jax.nn.softplus(z) * t).sum(), (z,), (0,))
    edge = next(e for e in tape.edges() if WRONG["sigmoid_on_top"].fits(e))
    (got,) = tape.gradient([Plant(edge.path, edge.operand, "sigmoid_on_top")])
    s = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(got, s * t * s * (1 - s), rtol=0, atol=reach * abs(t).max())


def test_in_a_loop_it_is_made_at_every_step_or_at_one() -> None:
    w = whole(D, D)
    xs = whole(N, D, seed=1) + 0.5 ** np.arange(1, N + 1)[:, None]  # no h @ w + x is 0

    def loss(w: Any, xs: Any) -> Any:
        return (lax.scan(lambda h, x: (abs(h @ w + x), None), jnp.zeros(D), xs)[0] ** 2).sum()

    states = [np.zeros(D)]
    for x in xs:
        states.append(abs(states[-1] @ w + x))
    tape = Tape(loss, (w, xs), (0, 1))
    for when in (EVERY, LAST):
        d_h, d_w, d_xs = 2 * states[-1], np.zeros_like(w), np.zeros_like(xs)
        for t in reversed(range(N)):
            d_h = d_h * (3 if when == EVERY or t == N - 1 else 1)
            d_xs[t] = d_h * np.sign(states[t] @ w + xs[t])
            d_w += np.outer(states[t], d_xs[t])
            d_h = d_xs[t] @ w.T
        got = planted(tape, "abs", 0, FACTOR, factor=3.0, when=when)
        for array, want in zip(got, (d_w, d_xs), strict=True):
            np.testing.assert_array_equal(array, want)


def test_operations_within_a_call_without_a_line_have_that_of_the_call() -> None:
    def loss(x: Any) -> Any:
        return jax.nn.log_softmax(x).sum()

    edges = Tape(loss, (normal(N, D),), (0,)).edges()
    assert len({edge.line for edge in edges}) == 1
    assert all(edge.file == __file__ for edge in edges)


def test_a_mistake_may_be_made_in_the_derivative_of_one_array_alone() -> None:
    w, b, x, t = normal(D, D), normal(D), normal(N, D), normal(N, D, seed=1)
    tape = Tape(lambda w, b: (jnp.tanh(x @ w + b[None, :]) * t).sum(), (w, b), (0, 1))
    right, wrong = tape.gradient(), planted(tape, "tanh", 0, "identity")
    got = planted(tape, "tanh", 0, "identity", only=1)
    np.testing.assert_array_equal(got[0], right[0])
    np.testing.assert_array_equal(got[1], wrong[1])
