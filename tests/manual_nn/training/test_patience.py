"""Patience ends when scikit-learn's does, and not an epoch before or after."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.training.patience import Patience


@pytest.mark.parametrize(
    ("scores", "ended"),
    [
        ([], False),
        ([-9.0], False),
        ([1.0, 1.25, 1.5], False),  # each gains 0.25
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 1.0, 1.0], True),
        ([1.0, 0.0, 0.0, 1.25], False),
        ([1.0, 0.0, 0.5, 1.0], True),  # no gain on the best
        ([1.0, 1.125, 1.25, 1.375], True),  # each gains on the best of all before, but too little
        ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], False),
        ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], True),
    ],
)
def test_it_ends_after_three_epochs_that_gain_less_than_a_quarter(
    scores: list[float], ended: bool
) -> None:
    assert Patience(epochs=2, min_gain=0.25).ended(scores) is ended


@given(
    scores=st.lists(st.integers(-8, 8), max_size=12),
    epochs=st.integers(1, 3),
    min_gain=st.integers(0, 3),
)
def test_it_counts_as_scikit_learn_counts(scores: list[int], epochs: int, min_gain: int) -> None:
    """`MLPClassifier._update_no_improvement_count`, with a loss that is the score with a minus."""
    best_loss, count, stopped = float("inf"), 0, False
    for score in scores:
        loss = -score
        if loss > best_loss - min_gain:
            count += 1
        else:
            count = 0
        best_loss = min(best_loss, loss)
        stopped = count > epochs
    assert Patience(epochs, min_gain).ended([float(score) for score in scores]) is stopped
