"""What fits by luck has no cause, in however many elements; a single mistake keeps its own.

Axes: N rows, D inputs, H hidden units.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from reference import Code, check_gradient
from reference.arrays import Array
from reference.diagnosis.codes import Cause
from reference.diagnosis.edges.chance import DRAWS, luck
from tests.support.draws import normal

D, H = 30, 4


def of_rows(params: Any, x: Any, t: Any) -> Any:
    hidden = jnp.tanh(x @ params["below"])
    z = hidden @ params["above"]
    p = jnp.tanh(z)
    return (p * t + jnp.sin(2 * z) * p).sum() + (z**2).mean()


def arguments(n: int, dtype: Any) -> Any:
    params = {"below": normal(D, H).astype(dtype), "above": normal(H).astype(dtype)}
    return params, normal(n, D, seed=1).astype(dtype), normal(n, seed=2).astype(dtype)


def backward(params: Any, x: Array, d_z: Array) -> Any:
    """Hand down what came to the outputs, as is right."""
    hidden = np.tanh(x @ params["below"])
    d_hidden = d_z[:, None] * params["above"][None, :]
    return {"below": x.T @ (d_hidden * (1 - hidden**2)), "above": hidden.T @ d_z}


def d_z(params: Any, x: Array, t: Array, mistake: str = "") -> Array:
    z = np.tanh(x @ params["below"]) @ params["above"]
    p = np.tanh(z)
    d_p = t + np.sin(2 * z)
    through_p = d_p if mistake == "no derivative" else d_p * (1 - p**2)
    square = 2 * z / len(z) * (1.37 if mistake == "some factor" else 1)
    right: Array = through_p + 2 * np.cos(2 * z) * p + square
    return right


def causes(gradient: Any, *args: Any) -> tuple[Cause, ...]:
    report = check_gradient(gradient, of_rows, *args, explain_seconds=np.inf)
    assert not report.ok
    return report.causes


@pytest.mark.parametrize(("n", "dtype"), [(1, "f8"), (2, "f8"), (2, "f4"), (3, "f8")])
def test_whatever_comes_to_a_few_outputs_is_explained_by_nothing(n: int, dtype: str) -> None:
    """All these errors lie in as many dimensions as there are rows, of 124."""
    params, x, t = arguments(n, dtype)
    found = causes(backward(params, x, normal(n, seed=3).astype(dtype)), params, x, t)
    assert not [cause for cause in found if cause.kind], found
    assert found[0].code == (Code.SCALED if n == 1 else Code.UNKNOWN)  # of one number a factor


def test_a_single_mistake_above_a_few_outputs_is_named() -> None:
    for n, dtype in ((1, "f8"), (3, "f4")):
        params, x, t = args = arguments(n, dtype)
        gradient = backward(params, x, d_z(params, x, t, "no derivative"))
        cause, *_ = causes(gradient, *args)
        assert (cause.kind, cause.operand) == ("identity", "`z`")
        assert cause.where is not None
        assert cause.where.text == "p = jnp.tanh(z)"
    params, x, t = args = arguments(2, "f8")
    cause, *_ = causes(backward(params, x, d_z(params, x, t, "some factor")), *args)
    assert (cause.code, cause.operand) == (Code.PATH_SCALED, "`z`")
    assert cause.factor == pytest.approx(1.37, rel=1e-9)


def test_what_fits_as_chance_would_is_said_to_be_doubtful() -> None:
    """In single precision a factor that was fitted to two numbers leaves one, of five digits."""
    params, x, t = args = arguments(2, "f4")
    (cause,) = causes(backward(params, x, d_z(params, x, t, "some factor")), *args)
    assert (cause.code, cause.kind) == (Code.UNKNOWN, "")
    assert "it would be explained if what `integer_pow` hands down to `z`" in cause.evidence
    assert cause.evidence.endswith("but one of those tried would be so by chance")


def test_parameters_that_are_numbers_have_causes_of_numbers_with_a_name_alone() -> None:
    x = normal(8)

    def loss(a: Any, b: Any) -> Any:
        h = jnp.tanh(a * x + b)
        return (h * jnp.sin(x * a)).sum() + (h**2).mean() + jnp.exp(b * a)

    a, b = normal(2, seed=1)
    found = check_gradient(
        tuple(normal(2, seed=2)), loss, a, b, argnums=(0, 1), explain_seconds=np.inf
    ).causes
    assert [(cause.code, cause.kind) for cause in found] == [(Code.UNKNOWN, "")], found


def test_of_a_loss_of_one_number_every_error_is_a_factor() -> None:
    left, w, right = normal(D), normal(D, H), normal(H, seed=1)

    def loss(w: Any) -> Any:
        z = left @ (w @ right)
        return jnp.tanh(z) * z + jnp.exp(z / 8)

    unit = np.outer(left, right)
    first, *_ = check_gradient(float(normal(1)[0]) * unit, loss, w, explain_seconds=np.inf).causes
    assert first.code == Code.SCALED
    assert first.kind in {"factor", ""}


def test_numbers_say_as_much_as_they_have_digits_and_directions() -> None:
    rng = np.random.default_rng(0)
    for directions, digits in ((1, 12), (2, 12), (3, 3), (20, 6)):
        across = rng.normal(size=(directions, DRAWS)) * 10.0**digits
        found = luck(rng.normal(size=(100, directions)) @ across / np.sqrt(directions))
        counted = min(directions, DRAWS)
        assert found.directions == counted
        assert -digits * counted - 1 <= found.log10 <= -digits * counted + 2 * counted
    assert luck(np.zeros((5, DRAWS))) == (0, 0.0)
    assert luck(np.full((5, DRAWS), 0.5)) == (0, 0.0)
