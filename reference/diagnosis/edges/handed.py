"""Mistakes of what an operation does with the derivative that it is handed.

An activation hands f'(x) d_out down, and what is broadcast the sum of d_out. People forget d_out,
apply f to it, or add up all of it.
"""

import functools
from typing import TypeAlias

import jax
import jax.numpy as jnp

from reference.diagnosis.edges.mistakes import Kind, Shapes, Site, is_broadcast, mistake

JaxArray: TypeAlias = jax.Array

ACTIVATIONS = {
    "elu", "gelu", "leaky_relu", "logistic", "max", "relu", "relu6", "sigmoid", "silu", "softplus",
    "swish", "tanh",
}  # fmt: skip
HANDED: dict[str, Kind] = {}
handed = functools.partial(mistake, among=HANDED)


def _is_activation(shapes: Shapes) -> bool:
    return shapes.elementwise and shapes.name in ACTIVATIONS


@jax.custom_vjp
def _ones_down(x: JaxArray) -> JaxArray:
    """Give x, and hand 1 down whatever is handed."""
    return x


_ones_down.defvjp(lambda x: (x, None), lambda _, d_out: (jnp.ones_like(d_out),))


@handed("is not multiplied by what is handed down to it", _is_activation)
def forgotten_upstream(site: Site) -> JaxArray:
    """d_x = f'(x) in place of f'(x) d_out."""
    return _ones_down(site.tangent(site.point, site.x))


@handed("is the function of what is handed down, not its derivative times that", _is_activation)
def applied_to_upstream(site: Site) -> JaxArray:
    """d_x = f(d_out) in place of f'(x) d_out."""

    @jax.custom_vjp
    def value(x: JaxArray) -> JaxArray:
        return jnp.zeros_like(x)

    value.defvjp(lambda x: (jnp.zeros_like(x), None), lambda _, d: (site.with_operand(d),))
    return value(site.x)


@handed("is 1 where the operand is exactly 0", lambda s: s.elementwise and s.name == "relu")
def passes_at_zero(site: Site) -> JaxArray:
    """d_x = d_out (x >= 0), where JAX's ReLU has 0 at 0."""
    return jnp.where(site.point == 0, site.x, site.tangent(site.point, site.x))


@handed("is summed over all axes, so that each element gets the same number", is_broadcast)
def summed_over_all(site: Site) -> JaxArray:
    """d_x = d_out.sum() in place of d_out.sum(axis=0)."""
    out = jax.eval_shape(site.function, *site.operands)
    return jnp.broadcast_to(site.x.sum(), out.shape)
