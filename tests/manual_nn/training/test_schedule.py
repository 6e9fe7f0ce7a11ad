"""Learning rates that change: optax's cosine, its ends, and what is refused."""

import math
from typing import Any

import numpy as np
import optax
import pytest

from manual_nn import CosineSchedule
from manual_nn.training.schedule import as_learning_rate, rate_at


@pytest.mark.parametrize("final", [0.0, 0.125])
def test_the_schedule_is_optax_s(final: float) -> None:
    """Both round a cosine of size 1 and four operations: a few units in the last place."""
    schedule = CosineSchedule(initial=0.5, epochs=4, final=final)
    theirs = optax.cosine_decay_schedule(0.5, 4 * 5, alpha=final / 0.5)
    for steps in range(25):
        want = float(theirs(np.float64(steps)))
        assert abs(schedule.at(steps, steps_per_epoch=5) - want) <= 8 * np.finfo(float).eps * 0.5


def test_it_begins_with_the_first_and_ends_with_the_last_and_stays() -> None:
    schedule = CosineSchedule(initial=0.5, epochs=2, final=0.125)
    assert schedule.at(0, steps_per_epoch=3) == 0.5
    assert [schedule.at(steps, steps_per_epoch=3) for steps in (6, 7, 600)] == [0.125] * 3
    assert math.isclose(schedule.at(3, steps_per_epoch=3), (0.5 + 0.125) / 2)
    assert schedule.at(5, steps_per_epoch=3) > 0.125
    assert schedule == CosineSchedule(0.5, 2, 0.125)
    assert CosineSchedule(0.5, 2).final == 0


def test_a_number_is_the_rate_of_every_step() -> None:
    assert {rate_at(0.25, steps, steps_per_epoch=2) for steps in range(9)} == {0.25}
    assert rate_at(CosineSchedule(0.5, 2), 2, steps_per_epoch=1) == 0


def test_what_is_not_given_is_the_usual_rate() -> None:
    assert as_learning_rate(None, usual=0.75) == 0.75
    assert as_learning_rate(0.5, usual=0.75) == 0.5
    schedule = CosineSchedule(0.5, 2)
    assert as_learning_rate(schedule, usual=0.75) is schedule
    with pytest.raises(ValueError, match="learning_rate must be a finite number above 0, got 0"):
        as_learning_rate(0, usual=0.75)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"initial": 0.0}, ValueError, "initial must be a finite number above 0, got 0.0"),
        ({"initial": None}, TypeError, "initial must be a real number, got NoneType"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"epochs": 2.5}, TypeError, "epochs must be a whole number, got 2.5"),
        ({"final": -0.5}, ValueError, "final must be a finite number of at least 0, got -0.5"),
        ({"final": 0.75}, ValueError, "final must be at most initial, 0.5, got 0.75"),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        CosineSchedule(**({"initial": 0.5, "epochs": 2} | settings))


def test_a_schedule_may_stay_where_it_begins() -> None:
    schedule = CosineSchedule(0.5, 2, final=0.5)
    assert {schedule.at(steps, steps_per_epoch=2) for steps in range(6)} == {0.5}
