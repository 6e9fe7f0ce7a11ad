"""check_jvp and check_hvp: derivatives along a direction, in the forms that people write."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_nn
import reference
from reference import Code, GradientReport, Verdict, check_hvp, check_jvp
from reference.arrays import Array
from tests.support.cases import each


def function(x: Any, weight: Any, power: int) -> Any:
    """Return a tree of two arrays."""
    z = x @ weight
    return {"z": z, "y": z**power}


def tangent(tangents: Any, x: Array, weight: Array, power: int) -> Any:
    """Its jvp by hand."""
    d_x, d_weight = tangents
    d_z = d_x @ weight + x @ d_weight
    return {"z": d_z, "y": power * (x @ weight) ** (power - 1) * d_z}


def example(dtype: Any = np.float64) -> tuple[Any, ...]:
    """Give the arguments of both."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3)).astype(dtype), rng.normal(size=(3, 2)).astype(dtype), 3


def with_value(tangents: Any, *args: Any) -> Any:
    """Return the output too, as jax.jvp does."""
    x, weight, power = args
    return {"z": x @ weight, "y": (x @ weight) ** power}, tangent(tangents, *args)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_right_jvp_matches_with_the_output_and_without(dtype: Any) -> None:
    report = check_jvp(tangent, function, *example(dtype))
    assert report.verdict == Verdict.MATCH
    assert [leaf.path for leaf in report.leaves] == ["['y']", "['z']"]
    assert report.startswith("jvp check: match")
    report = check_jvp(with_value, function, *example(dtype))
    assert report.verdict == Verdict.MATCH
    assert [leaf.path for leaf in report.leaves][::2] == ["['out']['y']", "['tangent']['y']"]


def check(wrong: Any) -> GradientReport:
    """Check a jvp at the example."""
    return check_jvp(wrong, function, *example())


def test_a_wrong_jvp_is_diagnosed() -> None:
    def zero(tangents: Any, *args: Any) -> Any:
        return jax.tree.map(np.zeros_like, tangent(tangents, *args))

    assert check(zero).causes[0].code == Code.ZERO

    def of_x_alone(tangents: Any, *args: Any) -> Any:
        return tangent((tangents[0], 0 * tangents[1]), *args)

    report = check(of_x_alone)
    assert report.verdict == Verdict.MISMATCH
    assert report.direction is not None
    assert report.direction.name == "tangents"
    assert [np.shape(part) for part in report.direction.value] == [(4, 3), (3, 2)]
    assert all(part.startswith("['") for part in report.where)
    assert not any("gradient" in line for line in (*report.where, *report.warnings))

    def value_off(tangents: Any, *args: Any) -> Any:
        out, d_out = with_value(tangents, *args)
        return {**out, "z": 2 * out["z"]}, d_out

    report = check(value_off)
    assert [leaf.path for leaf in report.leaves if leaf.wrong.any()] == ["['out']['z']"]
    report = check(lambda *_: 0)
    assert report.verdict == Verdict.WRONG_STRUCTURE
    assert "expected the tangent of the output, a dict of 'y', 'z', got" in report


def test_a_single_argument_has_its_tangent_alone_unless_argnums_is_a_sequence() -> None:
    x = np.array([0.5, -1.0, 2.0])
    assert check_jvp(lambda d_x, x: np.cos(x) * d_x, jnp.sin, x).ok
    assert check_jvp(lambda d_x, x: np.cos(x) * d_x, jnp.sin, x, argnums=0).ok
    assert check_jvp(lambda tangents, x: np.cos(x) * tangents[0], jnp.sin, x, argnums=(0,)).ok

    report = check_jvp(lambda *_: np.ones(3), jnp.sin, x)
    assert report.where[0].startswith("tangent: wrong in ")
    report = check_jvp(lambda d_x, _: d_x[:2], jnp.sin, x)
    assert report.causes[0].evidence == "tangent has shape (2,), expected (3,)"

    def in_x(d_x: Any, *args: Any) -> Any:
        return tangent((d_x, np.zeros((3, 2))), *args)

    assert check_jvp(in_x, function, *example(), argnums="x").ok


def quadratic(x: Any, A: Any, params: Any) -> Any:
    """Be of third order in the parameters."""
    return x @ A @ x * params["a"] + params["a"] ** 3


def product(tangents: Any, x: Array, A: Array, params: Any) -> Any:
    """The Hessian in x and params, times their tangents."""
    t, d_a = tangents[0], tangents[1]["a"]
    both = A + A.T
    return both @ t * params["a"] + both @ x * d_a, {
        "a": t @ both @ x + 6 * params["a"] * d_a,
    }


def test_a_right_hvp_matches_and_a_wrong_one_is_diagnosed() -> None:
    rng = np.random.default_rng(0)
    args = rng.normal(size=3), rng.normal(size=(3, 3)), {"a": np.array(0.5)}
    assert check_hvp(product, quadratic, *args, argnums=(0, 2)).verdict == Verdict.MATCH
    report = check_hvp(
        lambda t, x, A, p: jax.tree.map(np.negative, product(t, x, A, p)),
        quadratic,
        *args,
        argnums=("x", "params"),
    )
    assert report.verdict == Verdict.MISMATCH
    assert report.causes[0].code == Code.SIGN
    assert report.startswith("hvp check: mismatch")

    report = check_hvp(lambda *_: None, quadratic, *args)
    assert "expected an array of shape (3,), the gradient in x, got None" in report


def test_our_own_products_are_right() -> None:
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([3, 2], rng=rng)
    X, y = rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])

    def jvp(tangents: Any, params: Any, X: Array, y: Array) -> Any:
        return manual_nn.jvp(params, tangents, X, y)

    def hvp(tangents: Any, params: Any, X: Array, y: Array) -> Any:
        return manual_nn.hvp(params, tangents, X, y)

    assert check_jvp(jvp, reference.loss, params, X, y, argnums=0).ok
    assert check_hvp(hvp, reference.loss, params, X, y).ok


@each("check", [check_hvp, reference.check_gradient])
def test_a_loss_is_a_scalar(check: Any) -> None:
    words = r"must return a scalar, got an array of shape \(3,\); .* check_layer"
    with pytest.raises(TypeError, match=words):
        check(lambda *args: args[-1] + 0, jnp.sin, np.ones(3))
