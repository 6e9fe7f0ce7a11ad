"""What the checker is tried on: losses of every kind at random shapes, and those that grow deep."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.soundness.depths import FAMILIES, Family
from benchmarks.soundness.foreign import BY_LIBRARY
from benchmarks.soundness.losses import LOSSES, Draw, Loss, Shape

LARGEST = 32  # of each size of a shape, drawn log-uniformly


class Subject(NamedTuple):
    """A loss of certain shapes.

    Attributes:
        name: the row of the table that it counts in.
        function: the loss.
        argnums: the arguments that it is differentiated in.
        draw: makes float64 arguments.
        others: right implementations of the loss and its gradient without JAX, by name.
        broken: losses of the same value whose gradient has a mistake, by the mistake's name.
    """

    name: str
    function: Callable[..., Any]
    argnums: int | tuple[int, ...]
    draw: Callable[[np.random.Generator], tuple[Any, ...]]
    others: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    broken: Mapping[str, Callable[..., Any]] = MappingProxyType({})

    @property
    def gradient(self) -> Callable[..., Any]:
        """Compute the gradient."""
        return jax.grad(self.function, self.argnums)

    @property
    def places(self) -> tuple[int, ...]:
        """List the arguments that the gradient is taken in."""
        return (self.argnums,) if isinstance(self.argnums, int) else self.argnums


def draw_shape(rng: np.random.Generator, smallest: int = 1, largest: int = LARGEST) -> Shape:
    """Draw each size between these two, log-uniformly."""
    low, high = np.log(smallest), np.log(largest + 1)
    return Shape(*(int(size) for size in np.exp(rng.uniform(low, high, 4))))


def of_loss(loss: Loss, shape: Shape) -> Subject:
    """Take a loss at a shape."""
    return Subject(
        loss.name,
        loss.function,
        loss.argnums,
        lambda rng: loss.arguments(Draw(rng), shape),
        {function.__name__: function for function in loss.by_hand},
    )


def of_family(family: Family, size: int) -> Subject:
    """Take a family at a size."""
    return Subject(
        f"{family.name}, {size}",
        family.loss(size),
        0,
        lambda rng: family.arguments(rng, size),
        {name: make() for name, make in BY_LIBRARY.get(family.name, {}).items()},
        {mistake: make(size) for mistake, make in family.broken.items()},
    )


def subjects(shapes: int, seed: int) -> Iterator[Subject]:
    """List so many shapes of each loss, drawn from the seed, and every family at every size."""
    for number in range(shapes):
        for i, loss in enumerate(LOSSES):
            yield of_loss(loss, draw_shape(np.random.default_rng([seed, number, i])))
    for family in FAMILIES:
        for size in family.sizes:
            yield of_family(family, size)
