"""Elements that go to or come from places given by indices."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding, exact
from reference.bounds.rules.arithmetic import neg

SCATTERING = ("dimension_numbers", "indices_are_sorted", "unique_indices", "mode")  # parameters


def _at_indices(primitive: Any, arrays: int) -> Callable[..., Bounded]:
    """Make the rule of a primitive that moves elements to or from places given by indices."""

    def rule(_: Rounding, *operands: Bounded, **params: Any) -> Bounded:
        # What lies outside is NaN, in the value and in the error: nothing is known of it. Or it is
        # the fill value of the parameters, which has no error.
        fill = params.get("fill_value")
        filled = [] if fill is None or np.isnan(fill) else [exact(float(fill))]
        exactly = {"fill_value": 0} if filled else {}
        indices = [operand.value for operand in operands[arrays:]]
        values, errors = zip(*operands[:arrays], strict=True)
        value = np.asarray(primitive.bind(*values, *indices, **params))
        error = np.asarray(primitive.bind(*errors, *indices, **(params | exactly)))
        elsewhere = np.zeros(value.shape, bool)
        for operand in operands[arrays:]:
            elsewhere |= _moved_elsewhere(operand.error, **params)
        if error.dtype == bool:
            return Bounded(value, error | elsewhere)
        sources = [*operands[:arrays], *filled]
        highest = max(np.max(x.value + x.error, initial=-np.inf) for x in sources)
        lowest = min(np.min(x.value - x.error, initial=np.inf) for x in sources)
        error = np.where(elsewhere, highest - lowest + error, error)
        return Bounded(value, np.where(np.isnan(error), np.inf, error))

    return rule


def _moved_elsewhere(unsure: Array, *, dimension_numbers: Any = None, **_: Any) -> Array:
    """Say which results may come from elsewhere because an index is unsure: all, or its slice."""
    if dimension_numbers is None:
        return np.asarray(unsure.any())
    return np.expand_dims(unsure.any(axis=-1), dimension_numbers.offset_dims)


register_rule("gather")(_at_indices(lax.gather_p, 1))
register_rule("dynamic_slice")(_at_indices(lax.dynamic_slice_p, 1))
register_rule("dynamic_update_slice")(_at_indices(lax.dynamic_update_slice_p, 2))


def scatter_add(onto: Array, indices: Array, added: Array, **params: Any) -> Array:
    """Add at places given by indices, as the primitive with these params does, in any precision."""
    given = {name: params[name] for name in SCATTERING}
    return np.asarray(lax.scatter_add(onto, indices, added, **given))


@register_rule("scatter-add", "scatter_add")
def _scatter_add(
    rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
) -> Bounded:
    """A sum of as many terms as fall on one place; a term of an unsure place may fall on any."""

    def scattered(onto: Array, added: Array) -> Array:
        return scatter_add(onto, indices.value, added, **params)

    value = scattered(x.value, updates.value)
    if value.dtype.kind != "f":
        unsure = x.error.any() or indices.error.any() or updates.error.any()
        return Bounded(value, np.full(value.shape, unsure))
    size = scattered(abs(x.value) + x.error, abs(updates.value) + updates.error)
    spread = scattered(x.error, updates.error)
    terms = 1 + int(scattered(np.zeros_like(value), np.ones_like(updates.value)).max(initial=0))
    if indices.error.any():
        anywhere = np.abs(updates.value).sum() + updates.error.sum()
        size, spread, terms = size + anywhere, spread + anywhere, 1 + updates.value.size
    return rounding.summed(value, spread, size, terms)


@register_rule("scatter-sub", "scatter_sub")
def _scatter_sub(
    rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
) -> Bounded:
    return _scatter_add(rounding, x, indices, neg(rounding, updates), **params)


@register_rule("scatter")
def _scatter(
    _rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
) -> Bounded:
    """Put elements in places; where a place is unsure, each may be any of all.

    Raises:
        NotImplementedError: a function is applied to what is there.
    """
    if params["update_jaxpr"] is not None:
        raise NotImplementedError("no error bound is known for scatter with a function")

    def put(onto: Array, elements: Array) -> Array:
        return np.asarray(lax.scatter_p.bind(onto, indices.value, elements, **params))

    return _or_anything(put(*_values(x, updates)), put(*_errors(x, updates)), indices, x, updates)


def _scattered_extreme(function: Callable[..., Any]) -> Callable[..., Bounded]:
    def rule(
        _rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
    ) -> Bounded:
        """It is no farther off than what is the farthest off of all that meet in a place."""
        given = {name: params[name] for name in SCATTERING}
        value = np.asarray(function(x.value, indices.value, updates.value, **given))
        if value.dtype.kind != "f":
            unsure = x.error.any() or updates.error.any() or indices.error.any()
            return Bounded(value, np.full(value.shape, unsure))
        error = np.asarray(lax.scatter_max(x.error, indices.value, updates.error, **given))
        return _or_anything(value, error, indices, x, updates)

    return rule


register_rule("scatter-max", "scatter_max")(_scattered_extreme(lax.scatter_max))
register_rule("scatter-min", "scatter_min")(_scattered_extreme(lax.scatter_min))


@register_rule("scatter-mul", "scatter_mul")
def _scatter_mul(
    rounding: Rounding, x: Bounded, indices: Bounded, updates: Bounded, **params: Any
) -> Bounded:
    """A product with one factor in each place.

    Raises:
        NotImplementedError: several factors meet in a place, or a place is unsure.
    """
    given = {name: params[name] for name in SCATTERING}
    zeros, ones = np.zeros_like(x.value), np.ones_like(updates.value)
    factors = scatter_add(zeros, indices.value, ones, **params)
    if factors.max(initial=0) > 1 or indices.error.any():
        raise NotImplementedError("no error bound is known for scatter-mul of several factors")
    value = np.asarray(lax.scatter_mul(x.value, indices.value, updates.value, **given))
    if value.dtype.kind != "f":
        unsure = x.error.any() or updates.error.any()
        return Bounded(value, np.full(value.shape, unsure))
    factor = Bounded(
        scatter_add(zeros, indices.value, updates.value, **params),
        scatter_add(zeros, indices.value, updates.error, **params),
    )
    product = rounding.product(x, factor)
    return Bounded(value, np.where(factors > 0, product.error, x.error))


def _values(*operands: Bounded) -> list[Array]:
    return [operand.value for operand in operands]


def _errors(*operands: Bounded) -> list[Array]:
    return [operand.error for operand in operands]


def _or_anything(value: Array, error: Array, indices: Bounded, *sources: Bounded) -> Bounded:
    """Let each element be any of the sources' where an index is unsure."""
    if not indices.error.any():
        return Bounded(value, error)
    if error.dtype == bool:
        return Bounded(value, np.ones_like(error))
    highest = max(np.max(x.value + x.error, initial=-np.inf) for x in sources)
    lowest = min(np.min(x.value - x.error, initial=np.inf) for x in sources)
    return Bounded(value, highest - lowest + error)
