"""With another array where one belongs the gradient is what one derives by hand."""

from collections.abc import Callable
from typing import Any

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
from reference.compare import Comparer, Verdict
from tests.support.draws import normal

N, D = 4, 3
W, V, x = normal(D, D), normal(D, D, seed=1), normal(N, D, seed=2)


def loss(W: Any, V: Any) -> Any:
    z = x @ W
    a = jnp.tanh(z)
    return ((a @ V) * a).sum()


TAPE = Tape(loss, (W, V), (0, 1))
EDGES = {(e.name, e.operand, e.path): e for e in TAPE.edges()}


def place(name: str, number: int = 0) -> Place:
    paths = list(dict.fromkeys(e.path for e in TAPE.edges() if e.name == name))
    return Place(paths[number], 0)


def planted(name: str, operand: int, kind: str, array: Place, **more: Any) -> list[Any]:
    number = 1 if (name, operand) == ("dot_general", 0) else 0  # of the second product
    return TAPE.gradient([Plant(place(name, number).path, operand, kind, array=array, **more)])


def same(got: Any, by_hand: Callable[..., Any], *args: Any) -> None:
    """Compare with what is derived by hand, up to proven rounding."""
    assert Comparer(by_hand, *args)(got, *args, compiled=False).verdict == Verdict.MATCH


def test_another_array_takes_the_place_of_one() -> None:
    z, a = place("dot_general"), place("tanh")
    got = [
        TAPE.gradient(),
        planted("mul", 0, VALUE, z, formula="1 - {}**2"),
        planted("tanh", 0, FACTOR_OF, z, formula=ITSELF),
        planted("tanh", 0, VALUE, a, formula=ITSELF),
        planted("tanh", 0, TOO_MANY, a, formula=ITSELF),
        planted("dot_general", 0, VALUE, Place((), -1), formula=ITSELF),  # W for V
        planted("dot_general", 0, UPDATED, Place((), -2), formula=ITSELF, factor=0.5),
    ]

    def by_hand(W: Any, V: Any) -> Any:
        Z = x @ W
        A = jnp.tanh(Z)
        B, slope = A @ V, 1 - A**2
        D_A = A @ V.T + B  # what a is handed
        d_V, d_B = A.T @ A, 1 - Z**2  # d_b = d_out (1 - z^2) for d_out a
        return [
            [x.T @ (slope * D_A), d_V],
            [x.T @ (slope * (d_B @ V.T + B)), A.T @ d_B],
            [x.T @ (Z * D_A), d_V],
            [x.T @ (D_A * (1 - jnp.tanh(A) ** 2)), d_V],
            [x.T @ (A * slope * D_A), d_V],
            [x.T @ (slope * (A @ W.T + B)), d_V],
            [x.T @ (slope * (A @ (V - 0.5 * d_V).T + B)), d_V],
        ]

    same(got, by_hand, W, V)


def test_what_is_made_of_an_array_is_what_it_says() -> None:
    v, names = np.array([[-1.5, 0.5], [2.0, 3.0]]), {"jnp": jnp, "sign": jnp.sign}
    for formula, make in FORMULAS.items():
        text = formula.format("v").replace("tanh'(v)", "1 - jnp.tanh(v) ** 2")
        text = text.replace("sigmoid'(v)", "1 / (2 + jnp.exp(v) + jnp.exp(-v))")
        as_said = eval(f"lambda v: ({text}).astype(v.dtype)", names)  # noqa: S307
        same(np.asarray(make(v)), as_said, v)


def test_in_a_loop_it_is_that_of_the_same_step() -> None:
    def looped(W: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = jnp.tanh(h @ W + x)
            return h, None

        return lax.scan(step, jnp.zeros(D), xs)[0].sum()

    xs = normal(N, D, seed=3)
    tape = Tape(looped, (W, xs), (0, 1))
    (edge,) = (e for e in tape.edges() if e.name == "tanh")
    plant = Plant(edge.path, 0, FACTOR_OF, 1.0, EVERY, Place(edge.path, 0), "1 - {}")

    def by_hand(W: Any, xs: Any) -> Any:
        states = [jnp.zeros(D)]
        for x_t in xs:
            states.append(jnp.tanh(states[-1] @ W + x_t))
        d_h, d_W = jnp.ones(D), jnp.zeros_like(W)
        d_xs: list[Any] = []
        for t in reversed(range(N)):
            d_xs.insert(0, d_h * (1 - states[t + 1]))  # not 1 - h^2
            d_W += jnp.outer(states[t], d_xs[0])
            d_h = d_xs[0] @ W.T
        return [d_W, jnp.stack(d_xs)]

    same(tape.gradient([plant]), by_hand, W, xs)
