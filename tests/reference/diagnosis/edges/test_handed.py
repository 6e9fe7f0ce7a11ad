"""What an operation does wrongly with what it is handed is what each mistake says."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reference.arrays import Array
from reference.diagnosis.edges.handed import HANDED
from reference.diagnosis.edges.mistakes import Shapes, Site

x, d_out = np.array([[-1.5, 0.0, 0.5]]), np.array([[2.0, 3.0, -4.0]])


def handed(kind: str, function: Callable[[Any], Any], x: Array, d_out: Array) -> Array:
    def made(y: Any) -> Any:
        return HANDED[kind].make(Site(function, [jnp.asarray(x)], 0, y))

    return np.asarray(jax.vjp(made, x)[1](jnp.asarray(d_out))[0])


def test_an_activation_forgets_what_it_is_handed_or_is_applied_to_it() -> None:
    for function, slope in ((jax.nn.relu, x > 0), (jnp.square, 2 * x)):
        got = handed("forgotten_upstream", function, x, d_out)
        np.testing.assert_array_equal(got, slope)
        got = handed("applied_to_upstream", function, x, d_out)
        np.testing.assert_array_equal(got, function(d_out))


def test_a_relu_may_pass_at_zero() -> None:
    got = handed("passes_at_zero", jax.nn.relu, x, d_out)
    np.testing.assert_array_equal(got, d_out * (x >= 0))


def test_all_may_be_summed_where_a_column_should_be() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    bias = np.array([[0.5, -0.5]])
    got = handed("summed_over_all", lambda b: jnp.broadcast_to(b, (3, 2)), bias, rows)
    np.testing.assert_array_equal(got, np.full((1, 2), 21.0))


def test_they_are_made_at_activations_and_at_what_is_broadcast() -> None:
    def fits(name: str, x: tuple[int, ...], out: tuple[int, ...]) -> set[str]:
        return {kind for kind, (_, is_it, _) in HANDED.items() if is_it(Shapes(name, (x,), 0, out))}

    of_all = {"forgotten_upstream", "applied_to_upstream"}
    assert fits("tanh", (2,), (2,)) == of_all
    assert fits("relu", (2,), (2,)) == {*of_all, "passes_at_zero"}
    assert fits("broadcast_in_dim", (2,), (3, 2)) == {"summed_over_all"}
    assert fits("exp", (2,), (2,)) == set()
