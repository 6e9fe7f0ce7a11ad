"""Functions with custom derivative rules, found wherever they are called, and gone through."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax.experimental.ode import odeint

from reference.custom_rules import Bodies, alike, custom_rules
from tests.support.cases import each

Function = Callable[..., Any]
RELU6: Any = jax.nn.relu6  # whose attributes are not typed


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


def relu_with_jvp_of_softplus() -> Function:
    """The same with a rule that consists of JAX's functions, and is another function's."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvp(functools.partial(jax.jvp, jax.nn.softplus))
    return function


def relu_with_jvps_of_jax() -> Function:
    """The same the other way: the output where d_x is not 0, and else x."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvps(jnp.where)
    return function


def relu_with_rule_of_relu6() -> Function:
    """The same with a rule that JAX holds for another function."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvp(RELU6.jvp)
    return function


def relu_with_rule_jitted() -> Function:
    """The same with that rule in a wrapper of JAX's, which says that it is the rule."""
    function = jax.custom_jvp(jax.nn.relu)
    function.defjvp(jax.jit(RELU6.jvp))
    return function


WRITTEN = (relu_with_jvp, relu_with_jvps, relu_with_vjp)  # here; the others are made of JAX's


@each(
    "rule",
    [
        *WRITTEN,
        *(relu_without_any, relu_with_jvp_of_softplus, relu_with_jvps_of_jax),
        *(relu_with_rule_of_relu6, relu_with_rule_jitted),
    ],
)
def test_a_rule_for_a_function_of_jax_is_the_users(rule: Callable[[], Function]) -> None:
    x = jnp.array([0.0, 1.0])
    for use in ("call", "vmap", "scan") if rule in WRITTEN else ("vmap",):
        function = USES[use](rule())
        jaxpr = jax.make_jaxpr(function)(x)
        (name,) = custom_rules(jaxpr)
        assert name.startswith("relu (test_custom_rules.py:" if rule in WRITTEN else "relu"), use
        assert alike(jaxpr) is None  # another rule may come
        want = jax.grad(USES[use](jax.nn.relu))(x)
        np.testing.assert_array_equal(jax.grad(Bodies(function))(x), want)


def test_a_rule_given_to_a_function_that_jax_holds_is_the_users() -> None:
    def rules() -> list[str]:
        return custom_rules(jax.make_jaxpr(lambda x: 2 * RELU6(x))(jnp.ones(2)))  # anew

    own = RELU6.jvp
    try:
        RELU6.defjvp(functools.partial(jax.jvp, jax.nn.softplus))
        assert rules() == ["relu6"]
    finally:
        RELU6.defjvp(own)
    assert rules() == []


def test_the_rules_of_jax_stay() -> None:
    x = jnp.array([0.0, 1.0])
    special = jax.scipy.special
    for own in (
        *(jax.nn.relu, jax.nn.relu6, jax.nn.softmax, jax.nn.log_softmax, jax.nn.softplus),
        *(jax.nn.logsumexp, jax.nn.mish, jnp.sinc, jnp.i0, lambda x: jnp.logaddexp(x, x)),
        *(jnp.frexp, lambda x: jnp.linalg.slogdet(jnp.outer(x, x)), special.logit, special.expi),
        *(lambda x: special.xlogy(x, x), lambda x: special.zeta(x, x)),  # made of a partial
        lambda x: lax.custom_root(lambda y: y * y - x[0], 1.0, lambda _, y: y, lambda _, y: y),
        lambda x: odeint(lambda y, _: -y, x, x),  # of jax.custom_vjp
        export.export(jax.jit(jnp.sin))(x).call,  # made within a function
    ):
        jaxpr = jax.make_jaxpr(own)(x)
        assert custom_rules(jaxpr) == [], jaxpr
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
