"""Decisions that come as numbers, and orders: all samples follow the decider."""

import jax.numpy as jnp
from jax import lax
from jax.extend import core

from reference.noise.evaluation import bound, disturbs
from reference.noise.samples import Sampled, Samples, over_samples


@disturbs("sign", "floor", "ceil", "round", "nextafter")
def _decided(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    return samples.decide(bound(eqn), *operands)


@disturbs("sort")
def _sort(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """The order of the keys is decided; all operands are moved by it."""
    axis, keys = eqn.params["dimension"], eqn.params["num_keys"]
    places = lax.broadcasted_iota(jnp.int32, operands[0].shape, axis)

    def order(*arrays: jnp.ndarray) -> list[jnp.ndarray]:
        ordered = lax.sort((*arrays, places), dimension=axis, is_stable=True, num_keys=keys)
        return [ordered[-1]]

    (chosen,) = samples.decide(order, *operands[:keys])

    def moved(array: jnp.ndarray, places: jnp.ndarray) -> list[jnp.ndarray]:
        return [jnp.take_along_axis(array, places, axis=axis)]

    return [out for operand in operands for out in over_samples(moved, operand, chosen)]


@disturbs("top_k")
def _top_k(samples: Samples, eqn: core.JaxprEqn, x: Sampled) -> list[Sampled]:
    """Which are the largest is decided."""
    (places,) = samples.decide(lambda x: [bound(eqn)(x)[1]], x)
    axis = eqn.params.get("axis", -1)

    def taken(array: jnp.ndarray, places: jnp.ndarray) -> list[jnp.ndarray]:
        return [jnp.take_along_axis(array, places, axis=axis)]

    return [*over_samples(taken, x, places), places]
