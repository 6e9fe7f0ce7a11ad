"""Learning rates that change from step to step; derived in schedule.md."""

import math
from dataclasses import dataclass

from manual_nn.checks.arguments import as_count, as_number, name_of_kind


@dataclass(frozen=True)
class CosineSchedule:
    """A learning rate that falls along half a cosine, then stays.

    final + (initial - final) (1 + cos(pi s)) / 2, where s is the part of the epochs that is over,
    counted in steps, and 1 afterwards; eq. (1).

    Args:
        initial: the learning rate of the first step, above 0.
        epochs: in how many epochs it falls.
        final: the learning rate at the end, at most `initial`.

    Raises:
        TypeError: a setting is not a number of its kind.
        ValueError: a setting is out of range.

    Source: Loshchilov and Hutter (2017), SGDR: Stochastic gradient descent with warm restarts,
    without the restarts.

    >>> schedule = CosineSchedule(initial=0.5, epochs=10)
    >>> [round(schedule.at(step, steps_per_epoch=2), 3) for step in (0, 5, 10, 15, 20, 21)]
    [0.5, 0.427, 0.25, 0.073, 0.0, 0.0]
    """

    initial: float
    epochs: int
    final: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        initial = as_number(self.initial, name="initial", minimum=0, strict=True)
        final = as_number(self.final, name="final", minimum=0)
        if final > initial:
            raise ValueError(f"final must be at most initial, {initial}, got {final}")
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "epochs", as_count(self.epochs, name="epochs"))
        object.__setattr__(self, "final", final)

    def at(self, steps: int, *, steps_per_epoch: int) -> float:
        """Compute the learning rate of the step that comes after so many; eq. (1)."""
        s = min(1.0, steps / (self.epochs * steps_per_epoch))
        return self.final + (self.initial - self.final) * (1 + math.cos(math.pi * s)) / 2


def rate_at(learning_rate: float | CosineSchedule, steps: int, *, steps_per_epoch: int) -> float:
    """Give the learning rate of the step that comes after so many."""
    if isinstance(learning_rate, CosineSchedule):
        return learning_rate.at(steps, steps_per_epoch=steps_per_epoch)
    return learning_rate


def as_learning_rate(value: object, *, usual: float) -> float | CosineSchedule:
    """Check that it is a number above 0 or a schedule; None is the usual one."""
    if value is None:
        return usual
    if isinstance(value, CosineSchedule):
        return value
    try:
        return as_number(value, name="learning_rate", minimum=0, strict=True)
    except TypeError as error:
        got = name_of_kind(value, CosineSchedule)
        msg = f"learning_rate must be a real number or a CosineSchedule, got {got}"
        raise TypeError(msg) from error
