"""Recurrent layers, and what their sequences hold past their ends, which must not count.

Axes: N examples, T steps, D features, H units; 2 of each.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import jax
import numpy as np

Array: TypeAlias = Any
# Of a function that draws an array of a shape, and a sequence: params, and the layer's inputs.
Arguments: TypeAlias = Callable[[Callable[..., Array], Array], tuple[Any, Any]]


def of_padding(arguments: Arguments, value: float) -> tuple[Any, Any, Array]:
    """Make arguments whose examples have one real step and none, and hold this past their ends."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return rng.normal(size=shape)

    sequence = draw(2, 2, 2)  # (N, T, D)
    sequence[0, 1:] = sequence[1] = value
    return *arguments(draw, sequence), np.array([1, 0])


def assert_padding_does_not_count(
    layer: ModuleType,
    arguments: Arguments,
    last_state: Callable[[Any], Any],
    steps_of: Callable[[Any], Sequence[Array]],
) -> None:
    """Compare all results, where there are NaNs and infinities past the ends, to those with 0.

    Args:
        layer: NumPy's, or the compiled one.
        arguments: of it.
        last_state: gives the state after the last step, of what is kept.
        steps_of: gives the arrays of the states that are kept, in the state's order.
    """
    results = []
    for value in (0.0, np.nan, np.inf):
        params, x, lengths = of_padding(arguments, value)
        out, kept = layer.forward(params, x, lengths=lengths)
        assert np.isfinite(x.sequence).all() == np.isfinite(value)  # the caller's stays
        np.testing.assert_array_equal(kept.inputs.sequence[~kept.seen], 0)
        results.append((out, last_state(kept), layer.backward(params, kept, out + 1)))
    d_sequence = results[0][2][1].sequence
    np.testing.assert_array_equal(d_sequence != 0, [[[True] * 2, [False] * 2], [[False] * 2] * 2])
    for result in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, result, results[0])
    last, first = jax.tree.leaves(last_state(kept)), jax.tree.leaves(x.state)
    for after, before, steps in zip(last, first, steps_of(kept), strict=True):
        np.testing.assert_array_equal(after[1], before[1])  # of no step
        assert not np.shares_memory(after, steps)
    whole = x._replace(sequence=np.ones((2, 2, 2)))
    assert layer.forward(params, whole)[1].inputs.sequence is whole.sequence  # and no copy


def assert_padding_does_not_count_in_the_twin(twin: ModuleType, arguments: Arguments) -> None:
    """Compare JAX's value and derivatives in the same way."""

    def total(params: Any, x: Any, lengths: Array) -> Any:
        return twin.forward(params, x, lengths=lengths).sum()

    value_and_grad = jax.value_and_grad(total, (0, 1))
    zero, nan = (value_and_grad(*of_padding(arguments, value)) for value in (0.0, np.nan))
    jax.tree.map(np.testing.assert_array_equal, nan, zero)
