"""Functions with custom derivative rules, found wherever they are called, and gone through."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from reference.custom_rules import Bodies, alike, custom_rules
from tests.support.cases import each

Function = Callable[..., Any]


def square(x: Any) -> Any:
    """Square, without a rule."""
    return x * x


def with_vjp() -> Function:
    """Square, with a rule that is wrong."""
    function = jax.custom_vjp(square)
    function.defvjp(lambda x: (x * x, x), lambda x, d_out: (3 * x * d_out,))
    return function


def with_jvp() -> Function:
    """The same the other way."""
    function = jax.custom_jvp(square)
    function.defjvp(lambda x, d_x: (x[0] ** 2, 3 * x[0] * d_x[0]))
    return function


def with_gradient() -> Function:
    """The same the third way."""

    def function(x: Any) -> Any:
        return square(x), lambda d_out: 3 * x * d_out

    gradient: Function = jax.custom_gradient(function)
    return gradient


USES: dict[str, Callable[[Function], Function]] = {
    "call": lambda f: lambda x: f(x).sum(),
    "twice": lambda f: lambda x: f(f(x)).sum(),
    "jit": lambda f: lambda x: jax.jit(lambda x: f(x) * 2.0)(x).sum(),
    "vmap": lambda f: lambda x: jax.vmap(f)(x).sum(),
    "checkpoint": lambda f: lambda x: jax.checkpoint(lambda x: f(jnp.sin(x)))(x).sum(),
    "scan": lambda f: lambda x: lax.scan(lambda c, e: (f(c) * e, f(c)), x, x)[0].sum(),
    "loop": lambda f: lambda x: lax.fori_loop(0, 3, lambda _, c: f(c) * 0.5, x).sum(),
    "cond": lambda f: lambda x: lax.cond(x[0] > 0, f, jnp.sin, x).sum(),
    "beside JAX's own": lambda f: lambda x: jax.nn.relu(f(x) - 0.5).sum(),
}


@each(
    ("use", "rule"),
    [(use, with_vjp) for use in USES] + [("call", with_jvp), ("call", with_gradient)],
)
def test_wherever_a_rule_is_used_the_body_is_differentiated(
    use: str, rule: Callable[[], Function]
) -> None:
    x = jnp.array([1.0, 0.5, -2.0])
    function, plain = USES[use](rule()), USES[use](square)
    (name,) = custom_rules(jax.make_jaxpr(function)(x))
    assert name.startswith(("square (test_custom_rules.py:", "a function with jax.custom_gradient"))
    want = jax.grad(plain)(x)
    np.testing.assert_array_equal(jax.grad(Bodies(function))(x), want)  # nothing rounds
    assert not np.allclose(jax.grad(function)(x), want)


def relu_with_jvp() -> Function:
    """JAX's ReLU, with a rule of the user's."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvp(lambda x, d_x: (jax.nn.relu(x[0]), 3 * d_x[0]))
    return function


def relu_with_jvps() -> Function:
    """The same the other way, which has no operation of its own."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvps(lambda d_x, *_: d_x)
    return function


def relu_without_any() -> Function:
    """The same with a rule that hands nothing down."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvps(None)
    return function


def relu_with_vjp() -> Function:
    """The same the third way."""
    function = jax.custom_vjp(jax.nn.relu)
    function.defvjp(lambda x: (jax.nn.relu(x), None), lambda _, d_out: (3 * d_out,))
    return function


@each("rule", [relu_with_jvp, relu_with_jvps, relu_without_any, relu_with_vjp])
def test_a_rule_for_a_function_of_jax_is_the_users(rule: Callable[[], Function]) -> None:
    x = jnp.array([0.0, 1.0])
    for use in ("call", "vmap", "scan"):
        function = USES[use](rule())
        jaxpr = jax.make_jaxpr(function)(x)
        (name,) = custom_rules(jaxpr)
        assert name.startswith("relu (test_custom_rules.py:") or rule is relu_without_any, use
        assert alike(jaxpr) is None  # another rule may come
        want = jax.grad(USES[use](jax.nn.relu))(x)
        np.testing.assert_array_equal(jax.grad(Bodies(function))(x), want)


def test_the_rules_of_jax_stay() -> None:
    x = jnp.array([0.0, 1.0])
    special = jax.scipy.special
    for own in (
        *(jax.nn.relu, jax.nn.relu6, jax.nn.softmax, jax.nn.log_softmax, jax.nn.softplus),
        *(jax.nn.logsumexp, jnp.sinc, special.logit, lambda x: special.xlogy(x, x)),
    ):
        assert custom_rules(jax.make_jaxpr(own)(x)) == []
    jaxpr = jax.make_jaxpr(jax.vmap(jax.nn.relu))(x)
    assert "custom_jvp_call" in str(jaxpr)
    assert custom_rules(jaxpr) == []
    assert alike(jaxpr) == alike(jax.make_jaxpr(jax.vmap(jax.nn.relu))(x))
    np.testing.assert_array_equal(jax.grad(Bodies(lambda x: jax.nn.relu(x).sum()))(x), [0, 1])


def test_arguments_that_are_not_traced_pass_through() -> None:
    def function(x: Any, how: str, n: int) -> Any:
        return {how: (with_vjp()(x) ** n).sum()}

    slope = jax.grad(lambda x: Bodies(function)(x, "sum", 2)["sum"])(jnp.array([2.0]))
    np.testing.assert_allclose(slope, [32.0])
