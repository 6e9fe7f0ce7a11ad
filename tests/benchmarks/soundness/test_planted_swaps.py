"""With another array where one belongs the gradient is what one derives by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.soundness.planted_swaps import (
    FACTOR_OF,
    FORMULAS,
    ITSELF,
    TOO_MANY,
    UPDATED,
    VALUE,
)
from benchmarks.soundness.planting import EVERY, Place, Plant, Tape
from tests.support.draws import normal

N, D = 4, 3
W, V, x = normal(D, D), normal(D, D, seed=1), normal(N, D, seed=2)


def loss(W: Any, V: Any) -> Any:
    z = x @ W
    a = jnp.tanh(z)
    return ((a @ V) * a).sum()


TAPE = Tape(loss, (W, V), (0, 1))
EDGES = {(e.name, e.operand, e.path): e for e in TAPE.edges()}
Z, A, B = x @ W, np.tanh(x @ W), np.tanh(x @ W) @ V
D_A = A @ V.T + B  # what a is handed


def place(name: str, number: int = 0) -> Place:
    paths = list(dict.fromkeys(e.path for e in TAPE.edges() if e.name == name))
    return Place(paths[number], 0)


def planted(name: str, operand: int, kind: str, array: Place, **more: Any) -> list[Any]:
    number = 1 if (name, operand) == ("dot_general", 0) else 0  # of the second product
    return TAPE.gradient([Plant(place(name, number).path, operand, kind, array=array, **more)])


def same(got: Any, want: Any) -> None:
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=64 * np.finfo(float).eps * 10)


def test_another_array_takes_the_place_of_one() -> None:
    slope = 1 - A**2
    right = [x.T @ (slope * D_A), A.T @ A]
    same(TAPE.gradient(), right)
    z, a = place("dot_general"), place("tanh")
    got = planted("mul", 0, VALUE, z, formula="1 - {}**2")  # d_b = d_out (1 - z^2) for d_out a
    d_b = 1 - Z**2
    same(got, [x.T @ (slope * (d_b @ V.T + B)), A.T @ d_b])
    same(planted("tanh", 0, FACTOR_OF, z, formula=ITSELF), [x.T @ (Z * D_A), right[1]])
    same(planted("tanh", 0, VALUE, a, formula=ITSELF), [x.T @ (D_A / np.cosh(A) ** 2), right[1]])
    same(planted("tanh", 0, TOO_MANY, a, formula=ITSELF), [x.T @ (A * slope * D_A), right[1]])
    got = planted("dot_general", 0, VALUE, Place((), -1), formula=ITSELF)  # W for V
    same(got, [x.T @ (slope * (A @ W.T + B)), right[1]])
    got = planted("dot_general", 0, UPDATED, Place((), -2), formula=ITSELF, factor=0.5)
    same(got, [x.T @ (slope * (A @ (V - 0.5 * right[1]).T + B)), right[1]])


def test_what_is_made_of_an_array_is_what_it_says() -> None:
    v, names = np.array([[-1.5, 0.5], [2.0, 3.0]]), {"np": np, "sign": np.sign}
    for formula, make in FORMULAS.items():
        text = formula.format("v").replace("tanh'(v)", "1 / np.cosh(v) ** 2")
        text = text.replace("sigmoid'(v)", "1 / (2 + np.exp(v) + np.exp(-v))")
        np.testing.assert_allclose(make(v), eval(text, names, {"v": v}), rtol=1e-13)  # noqa: S307


def test_in_a_loop_it_is_that_of_the_same_step() -> None:
    def looped(W: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = jnp.tanh(h @ W + x)
            return h, None

        return lax.scan(step, jnp.zeros(D), xs)[0].sum()

    xs = normal(N, D, seed=3)
    tape = Tape(looped, (W, xs), (0, 1))
    (edge,) = (e for e in tape.edges() if e.name == "tanh")
    states = [np.zeros(D)]
    for x_t in xs:
        states.append(np.tanh(states[-1] @ W + x_t))
    d_h, d_xs, d_W = np.ones(D), np.zeros_like(xs), np.zeros_like(W)
    for t in reversed(range(N)):
        d_xs[t] = d_h * (1 - states[t + 1])  # not 1 - h^2
        d_W += np.outer(states[t], d_xs[t])
        d_h = d_xs[t] @ W.T
    array = Place(edge.path, 0)
    plant = Plant(edge.path, 0, FACTOR_OF, 1.0, EVERY, array, "1 - {}")
    same(tape.gradient([plant]), [d_W, d_xs])
    assert jax.grad(looped)(W, xs).shape == d_W.shape
