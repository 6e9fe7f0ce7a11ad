"""All arrays of a loss, what is handed down to each, and how each moves along some directions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from reference.arrays import Array
from reference.bounds.programs import compiled_fast, program
from reference.bounds.rounding import is_key
from reference.bounds.tracing import precise_jax
from reference.diagnosis.edges.swaps import UPDATED
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import Tap, Value

DIRECTIONS = 4  # that are drawn at random


class Recorded(NamedTuple):
    """The arrays of a loss at its arguments.

    Attributes:
        values: the arrays.
        handed: the derivative of the loss in each real one, one below another if it is that with
            several mistakes; else a single one.
        moved: how each real one changes along some directions of the arguments, one below another;
            with a mistake what the gradient along a direction takes of what is handed down to it.
    """

    values: dict[Value, Array]
    handed: dict[Value, Array]
    moved: dict[Value, Array]


def recorded(tapped: Tapped, directions: Sequence[Array]) -> Recorded:
    """Evaluate all arrays of a loss.

    Args:
        tapped: the loss.
        directions: for each differentiated input several changes, one below another.
    """

    def run(inputs: Sequence[Any], directions: Sequence[Any]) -> Any:
        active = [inputs[number] for number in tapped.active]
        kept = jax.eval_shape(lambda: tapped.values(active, inputs)[1])
        real = {key: x for key, x in kept.items() if jnp.issubdtype(x.dtype, jnp.floating)}
        zeros = {key: jnp.zeros(x.shape, x.dtype) for key, x in real.items()}

        def of_added(added: Any) -> Any:
            return tapped.values(active, inputs, added)

        def of_active(active: Any) -> Any:
            values = tapped.values(active, inputs)[1]
            return {key: values[key] for key in real}

        handed, values = jax.grad(of_added, has_aux=True)(zeros)
        moved = jax.vmap(lambda along: jax.jvp(of_active, (active,), (along,))[1])(list(directions))
        return values, handed, moved

    def compiled() -> Any:
        return compiled_fast(jax.jit(run).lower(tapped.inputs, list(directions)))

    with precise_jax():
        known = tapped.known_by
        key = None if known is None else (known, tuple(tapped.active), "recorded")
        values, handed, moved = program(key, compiled=compiled)(tapped.inputs, list(directions))
    values = {value: x if is_key(x) else np.asarray(x) for value, x in values.items()}
    handed = {value: np.asarray(x)[None] for value, x in handed.items()}
    return Recorded(values, handed, jax.tree.map(np.asarray, moved))


def recorded_beside(
    tapped: Tapped, right: Recorded, taps: Sequence[tuple[Tap, ...]], directions: Sequence[Array]
) -> Recorded:
    """Compute what is handed down to all arrays, and how they move, beside one mistake or another.

    Args:
        tapped: the loss.
        right: its arrays without a mistake.
        taps: of each mistake, which are set to 1.
        directions: for each differentiated input several changes, one below another.

    Returns:
        For each direction without a mistake, and then for each of them with each mistake.
    """
    every = list(dict.fromkeys(tap for some in taps for tap in some))
    settings = np.zeros((1 + len(taps), len(every)))
    for row, some in enumerate(taps, start=1):
        settings[row, [every.index(tap) for tap in some]] = 1

    def run(inputs: Sequence[Any], directions: Sequence[Any], settings: Any) -> Any:
        active = [inputs[number] for number in tapped.active]
        zeros = {key: jnp.zeros(x.shape[1:], x.dtype) for key, x in right.handed.items()}

        @jax.jit  # so that it is traced once
        def values(active: Any, added: Any, setting: Any) -> Any:
            chosen = dict(zip(every, setting, strict=True))
            value, kept = tapped.values(active, inputs, added, chosen)
            return value, {key: kept[key] for key in zeros}

        def of_setting(setting: Any) -> Any:
            def along(direction: Any) -> Any:
                def of_handed(handed: Any) -> Any:
                    def total(active: Any) -> Any:
                        kept = values(active, zeros, setting)[1]
                        return sum((kept[key] * d).sum() for key, d in handed.items())

                    pairs = zip(direction, jax.grad(total)(active), strict=True)
                    return sum((r * d_x).sum() for r, d_x in pairs)

                return jax.grad(of_handed)(zeros)

            handed, _ = jax.grad(values, argnums=1, has_aux=True)(active, zeros, setting)
            return handed, jax.vmap(along)(list(directions))

        return jax.lax.map(of_setting, settings)

    def compiled() -> Any:
        return compiled_fast(jax.jit(run).lower(tapped.inputs, list(directions), settings))

    with precise_jax():
        built_in = any(tap.kind == UPDATED for tap in every)  # the gradient that was handed in
        known = None if built_in else tapped.known_by
        key = None if known is None else (known, tuple(tapped.active), "beside", tuple(taps))
        handed, moved = program(key, compiled=compiled)(tapped.inputs, list(directions), settings)
    several = {key: np.repeat(np.asarray(x), DIRECTIONS, axis=0) for key, x in handed.items()}
    joined = {key: np.asarray(x).reshape(-1, *x.shape[2:]) for key, x in moved.items()}
    return Recorded(right.values, several, joined)


def literal(atom: Any) -> Array:
    """Give the number that stands in a jaxpr."""
    return np.asarray(atom.val, atom.aval.dtype)
