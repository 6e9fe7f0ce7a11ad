"""Operations are applied as JAX applies them, and found wherever they are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from reference.jaxprs import bind, closed, equations, functions_in, is_jaxpr, user_frame
from tests.support.bits import same_bits


def scanned(x: Any) -> Any:
    def step(total: Any, row: Any) -> Any:
        return total + jax.nn.relu(row), total

    return lax.scan(step, jnp.zeros(()), x)[0]


def in_a_call(x: Any) -> Any:
    return jax.jit(jnp.sin)(x).sum()


def by_its_own_rule(x: Any) -> Any:
    return jax.nn.relu(x).sum()


FUNCTIONS: tuple[Callable[[Any], Any], ...] = (scanned, in_a_call, by_its_own_rule)


def test_an_operation_gives_what_jax_gives() -> None:
    x = jnp.array([0.5, -1.0, 2.0])
    for function in FUNCTIONS:
        jaxpr = jax.make_jaxpr(function)(x)
        known: dict[Any, Any] = dict(zip(jaxpr.jaxpr.invars, [x], strict=True))
        for eqn in jaxpr.jaxpr.eqns:
            operands = [
                atom.val if isinstance(atom, core.Literal) else known[atom] for atom in eqn.invars
            ]
            known.update(zip(eqn.outvars, bind(eqn, operands), strict=True))
        (out,) = jaxpr.jaxpr.outvars
        assert same_bits(np.asarray(known[out]), np.asarray(function(x))), function


def test_operations_within_operations_are_listed_with_their_lines() -> None:
    x = jnp.array([0.5, -1.0, 2.0])
    for function, primitive in zip(FUNCTIONS, ("add", "sin", "max"), strict=True):
        jaxpr = jax.make_jaxpr(function)(x)
        names = [eqn.primitive.name for eqn in equations(jaxpr)]
        assert names == [eqn.primitive.name for eqn in equations(jaxpr.jaxpr)]
        assert primitive in names
        holders = [eqn for eqn in jaxpr.jaxpr.eqns if functions_in(eqn)]
        assert holders
        frame = user_frame(holders[0])
        assert (frame.function_name, frame.file_name) == (function.__name__, __file__)


def test_a_jaxpr_is_closed_once() -> None:
    jaxpr = jax.make_jaxpr(in_a_call)(jnp.ones(2))
    assert closed(jaxpr) is jaxpr
    assert closed(jaxpr.jaxpr).jaxpr is jaxpr.jaxpr
    assert is_jaxpr(jaxpr)
    assert is_jaxpr(jaxpr.jaxpr)
    assert not is_jaxpr(jnp.ones(2))
