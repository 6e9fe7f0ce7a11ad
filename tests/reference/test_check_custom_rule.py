"""check_custom_rule, and what the other checks make of a custom rule."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference import Code, Verdict, check_custom_rule, check_gradient, check_jvp, check_vjp
from tests.support.cases import each


def with_rule(factor: float, value: float = 1.0) -> Any:
    """Give x^n with a rule that is right for n and 1."""

    @functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x: Any, n: int) -> Any:
        return x**n

    def forward(x: Any, n: int) -> tuple[Any, Any]:
        return value * x**n, x

    def backward(n: int, x: Any, d_out: Any) -> tuple[Any]:
        return (factor * x ** (n - 1) * d_out,)

    power.defvjp(forward, backward)
    return power


X = np.array([1.0, -2.0, 0.5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_right_rule_matches_in_the_precision_of_the_arguments(dtype: Any) -> None:
    for x64 in (True, False):
        with jax.enable_x64(x64):
            report = check_custom_rule(with_rule(3.0), X.astype(dtype), 3)
        assert report.verdict == Verdict.MATCH, report
        assert report.dtype == np.dtype(dtype).name
        assert report.startswith("custom rule check: match")


def test_a_wrong_rule_is_found_be_it_in_its_derivative_or_in_its_value() -> None:
    report = check_custom_rule(with_rule(4.0), X, 3)
    assert report.verdict == Verdict.MISMATCH
    assert report.causes[0].code == Code.SCALED
    assert report.warnings == ()
    report = check_custom_rule(with_rule(3.0, value=2.0), X, 3)
    assert report.verdict == Verdict.WRONG_FORWARD
    assert all(leaf.verdict == Verdict.MATCH for leaf in report.leaves)


def test_a_jvp_rule_is_checked_and_so_is_one_within() -> None:
    @jax.custom_jvp
    def product(x: Any, y: Any) -> Any:
        return x * y

    @product.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (x, y), (d_x, _) = primals, tangents
        return x * y, d_x * y  # y has a tangent too

    report = check_custom_rule(lambda x, y: jnp.sin(product(x, y)), X, X + 1)
    assert [leaf.path for leaf in report.leaves if leaf.wrong.any()] == ["['y']"]
    assert check_custom_rule(lambda x, y: jnp.sin(product(x, y)), X, X + 1, argnums="x").ok


def test_without_a_rule_there_is_nothing_to_check() -> None:
    with pytest.raises(ValueError, match="the function has no custom rule, and calls none"):
        check_custom_rule(jax.nn.relu, X)


def test_a_rule_for_a_function_of_jax_is_checked() -> None:
    sine = jax.custom_jvp(jnp.sin)
    sine.defjvp(lambda x, d_x: (jnp.sin(x[0]), 2 * jnp.cos(x[0]) * d_x[0]))
    report = check_custom_rule(sine, X)
    assert [cause.code for cause in report.causes] == [Code.SCALED]
    report = check_gradient(jax.grad(lambda x: sine(x).sum()), lambda x: sine(x).sum(), X)
    assert [cause.code for cause in report.causes] == [Code.CUSTOM_RULE]


def test_a_rule_is_no_witness_of_itself() -> None:
    def loss(x: Any) -> Any:
        return with_rule(4.0)(x, 3).sum()

    report = check_gradient(lambda x: 3 * x**2, loss, X)
    assert report.ok
    (warning,) = report.warnings
    assert "gone through the body of power (test_check_custom_rule.py:" in warning
    report = check_gradient(lambda x: 4 * x**2, loss, X)
    assert report.verdict == Verdict.MISMATCH
    assert [cause.code for cause in report.causes] == [Code.CUSTOM_RULE]
    report = check_gradient(lambda x: 5 * x**2, loss, X)
    assert report.verdict == Verdict.MISMATCH
    assert Code.CUSTOM_RULE not in {cause.code for cause in report.causes}

    def cube(x: Any) -> Any:
        return with_rule(4.0)(x, 3)

    for factor, ok in ((3, True), (4, False)):
        report = check_vjp(lambda d, x, f=factor: f * x**2 * d, cube, X)
        assert report.ok is ok
        assert report.warnings == (warning,)
    report = check_jvp(lambda d, x: 3 * x**2 * d, cube, X)
    assert report.ok
    assert report.warnings == (warning,)


@each("check", [check_gradient, check_custom_rule])
def test_a_body_that_cannot_be_differentiated_is_not_passed_over_in_silence(check: Any) -> None:
    @jax.custom_vjp
    def root(a: Any) -> Any:
        """Newton's method, until it no longer moves."""
        return lax.while_loop(
            lambda x: abs(x * x - a) > 1e-15 * a, lambda x: (x + a / x) / 2, jnp.ones_like(a)
        )

    root.defvjp(lambda a: (root(a), root(a)), lambda x, d_out: (d_out / (2 * x),))
    a = np.array(0.5)
    if check is check_custom_rule:
        with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
            check_custom_rule(root, a)
    else:
        report = check_gradient(lambda a: np.asarray(0.5 / np.sqrt(a)), root, a)
        assert report.ok
        (warning,) = report.warnings
        assert "rule of root (test_check_custom_rule.py:" in warning
        assert "is trusted: its body cannot be differentiated (Reverse-mode" in warning
