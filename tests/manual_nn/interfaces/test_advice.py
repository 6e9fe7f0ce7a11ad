"""What is said, and from where on, of features and of units that do not learn."""

import re

import numpy as np
import pytest

from manual_nn import Dense
from manual_nn.interfaces.advice import of_accuracy, of_dead_units, of_loss, of_sizes


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([1000.0, 1.0], None),
        ([1.0, 0.001, 0.0], None),
        ([0.001, 0.001], None),
        ([0.0, 0.0], None),
        ([1.7e308, 1.7e308], r"features of X are huge: \[0\] reaches 1.7e\+308$"),
        ([1001.0, 1.0], r"very unequal size: \[0\] reaches 1e\+03, \[1\] no more than 1$"),
        ([0.0, 0.25, 300.0], r"very unequal size: \[2\] reaches 300, \[1\] no more than 0.25$"),
        ([1000.0, 1001.0], r"features of X are huge: \[1\] reaches 1e\+03$"),
        ([0.0, 0.0009], r"are tiny: none reaches more than 0.0009$"),
    ],
    ids=str,
)
def test_sizes_beyond_a_factor_of_1000_are_named(sizes: list[float], said: str | None) -> None:
    found = of_sizes(np.array(sizes))
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(said, found)


def test_features_that_have_names_are_called_by_them() -> None:
    found = of_sizes(np.array([0.5, 2e4]), ["hue", "proline"])
    assert found is not None
    assert found.endswith("size: proline reaches 2e+04, hue no more than 0.5")


def network(alive: int, units: int) -> tuple[Dense, ...]:
    """Make layers of which the second has this many units that are ever above 0, once."""
    first = Dense(np.ones((1, 1)), np.zeros(1))
    second = Dense(np.ones((1, units)), np.where(np.arange(units) < alive, -2.0, -3.0))
    return first, second, Dense(np.ones((units, 2)), np.zeros(2))


@pytest.mark.parametrize(("alive", "units"), [(1, 4), (0, 1), (0, 4), (2, 9)])
def test_a_layer_in_which_three_quarters_are_dead_is_named(alive: int, units: int) -> None:
    """The largest row is 3: -2 + 3 is above 0, and -3 + 3 is not."""
    rows = np.array([[1.0], [3.0], [2.0]])
    found = of_dead_units(network(alive, units), (rows[i : i + 1] for i in range(3)))
    dead = f"{units - alive} of {units} units of hidden layer 2 are 0 for all rows"
    assert found is not None
    assert found.startswith(dead)
    assert of_dead_units(network(alive, units), [rows]) == found


@pytest.mark.parametrize(("alive", "units"), [(2, 4), (1, 1), (3, 9)])
def test_fewer_dead_units_are_what_chance_brings(alive: int, units: int) -> None:
    assert of_dead_units(network(alive, units), [np.array([[1.0], [3.0]])]) is None


def test_without_hidden_layers_no_unit_is_dead() -> None:
    assert of_dead_units(network(0, 1)[2:], [np.zeros((1, 1))]) is None


def test_a_loss_that_has_grown_is_named_and_no_other() -> None:
    assert of_loss(0.5, 0.5) is None
    assert of_loss(0.5, 0.25) is None
    assert of_loss(0.5, 0.75) == "the loss has grown in training, from 0.5 to 0.75"


def test_an_accuracy_of_the_most_frequent_class_is_named_and_no_better_one() -> None:
    assert of_accuracy(0.5, share=0.4) is None
    assert of_accuracy(1.0, share=1.0) is None  # all are of one class: nothing could be better
    assert of_accuracy(0.9, share=1.0) is None
    found = (
        "on the rows held out the network is right for 0.3, the most frequent class alone for 0.4"
    )
    assert of_accuracy(0.3, share=0.4) == found
