"""The rule of the early stop. Numbers are dyadic, so that differences of them are exact."""

import numpy as np
import pytest

from manual_nn import EarlyStopping


def test_accuracy_equal_to_the_minimum_does_not_stop() -> None:
    stop = EarlyStopping(min_accuracy=0.75, max_change=0.5)
    assert not stop.reached([0.75, 0.75])
    assert stop.reached([0.75, float(np.nextafter(0.75, 1))])


@pytest.mark.parametrize("val_acc", [[0.75, 0.875], [0.875, 0.75]], ids=["rise", "fall"])
def test_change_equal_to_the_maximum_does_not_stop(val_acc: list[float]) -> None:
    assert not EarlyStopping(min_accuracy=0.5, max_change=0.125).reached(val_acc)
    above = float(np.nextafter(0.125, 1))
    assert EarlyStopping(min_accuracy=0.5, max_change=above).reached(val_acc)


@pytest.mark.parametrize("val_acc", [[], [1.0]], ids=["no epoch", "one epoch"])
def test_fewer_than_two_epochs_do_not_stop(val_acc: list[float]) -> None:
    assert not EarlyStopping(min_accuracy=0.0, max_change=2.0).reached(val_acc)


def test_only_the_last_two_epochs_count() -> None:
    stop = EarlyStopping(min_accuracy=0.75, max_change=0.125)
    assert stop.reached([0.0, 0.875, 0.875])
    assert not stop.reached([0.875, 0.875, 0.0])
    assert not stop.reached([0.875, 0.875, 0.0, 0.875])


def test_only_the_later_of_the_two_epochs_must_be_above_the_minimum() -> None:
    stop = EarlyStopping(min_accuracy=0.75, max_change=0.5)
    assert stop.reached([0.5, 0.875])
    assert not stop.reached([0.875, 0.5])
