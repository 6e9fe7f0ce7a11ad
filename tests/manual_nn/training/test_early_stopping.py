"""The rule of the early stop. Numbers are dyadic, so that differences of them are exact."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier

from manual_nn import Convergence, EarlyStopping, History, Patience
from manual_nn.training.early_stopping import (
    as_early_stopping,
    epochs_without_improvement,
    is_best,
    is_over,
    kept_epoch,
)


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


curves = st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=1, max_size=12)
tolerances = st.sampled_from([0.0, 0.125, 0.25])


def counts_of_scikit_learn(curve: list[float], tol: float, *, validated: bool) -> list[int]:
    """Give what `MLPClassifier` counts after each epoch, and for the scores the best of them."""
    classifier = MLPClassifier(tol=tol)
    classifier.best_loss_, classifier.best_validation_score_ = np.inf, -np.inf
    classifier.loss_curve_, classifier.validation_scores_ = [], []
    classifier.coefs_ = classifier.intercepts_ = []
    classifier._no_improvement_count, counts = 0, []
    for value in curve:
        classifier.loss_curve_.append(value)
        classifier._score = lambda *_, value=value, **__: value
        classifier._update_no_improvement_count(validated, None, None, None)
        counts.append(classifier._no_improvement_count)
    return counts


@given(curve=curves, tol=tolerances)
@example(curve=[0.5, 0.5, 0.625, 0.5], tol=0.125)
def test_patience_and_convergence_count_as_scikit_learn_does(
    curve: list[float], tol: float
) -> None:
    """The numbers are dyadic, so that nothing is rounded."""
    for validated in (True, False):
        rule = Patience if validated else Convergence
        counts = counts_of_scikit_learn(curve, tol, validated=validated)
        for n, count in enumerate(counts, start=1):
            for n_iter_no_change in (1, 2, count - 1, count):
                if n_iter_no_change >= 1:
                    reached = rule(n_iter_no_change, tol).reached(curve[:n])
                    assert reached == (count > n_iter_no_change)


def test_the_rules_are_those_of_scikit_learn_if_nothing_is_given() -> None:
    classifier = MLPClassifier()
    settings = classifier.n_iter_no_change, classifier.tol
    assert tuple(Patience()) == tuple(Convergence()) == settings


def test_before_the_first_epoch_there_is_no_improvement_to_miss() -> None:
    assert epochs_without_improvement([], 0.0) == 0
    assert not Patience(1).reached([])
    assert not Convergence(1).reached([])


def test_the_first_of_equal_accuracies_is_the_best() -> None:
    assert is_best([0.5])
    assert is_best([0.5, 0.25, 0.75])
    assert not is_best([0.5, 0.5])
    assert not is_best([0.5, 0.75, 0.25])


def test_the_epoch_that_is_kept_is_the_best_by_patience_and_the_last_otherwise() -> None:
    history = History(train_loss=[0.5] * 4, val_acc=[0.5, 0.875, 0.875, 0.25])
    assert kept_epoch(Patience(), history) == 2
    for rule in (EarlyStopping(), Convergence(), None):
        assert kept_epoch(rule, history) == 4
        assert kept_epoch(rule, History()) == 0
    assert kept_epoch(Patience(), History()) == 0


def test_convergence_watches_the_loss_and_the_others_the_validation_accuracy() -> None:
    flat, rising = [0.5] * 4, [0.25, 0.5, 0.75, 1.0]
    history = History(train_loss=flat, val_acc=rising)
    assert is_over(Convergence(1, 0.0), history) == is_over(Convergence(2, 0.0), history) is False
    assert is_over(Convergence(1, 0.125), history)
    assert not is_over(Patience(1, 0.125), history)
    assert is_over(Patience(1, 0.5), history)
    assert not is_over(None, history)
    assert is_over(EarlyStopping(0.75, 0.5), history)


@pytest.mark.parametrize("rule", [Patience, Convergence])
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ((0, 0.5), ValueError, r"early_stopping\.n_iter_no_change must be at least 1, got 0"),
        ((1.5, 0.5), TypeError, r"early_stopping\.n_iter_no_change must be a whole number"),
        ((1, -0.5), ValueError, r"early_stopping\.tol must be a finite number of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    rule: Any, settings: tuple[Any, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        as_early_stopping(rule(*settings), validated=True)


def test_what_watches_validation_needs_it() -> None:
    for rule in (EarlyStopping(), Patience()):
        assert as_early_stopping(rule, validated=True) == rule
        with pytest.raises(
            ValueError, match="early_stopping must be None or a Convergence without"
        ):
            as_early_stopping(rule, validated=False)
    for validated in (True, False):
        rule_kept = as_early_stopping(Convergence(3, 0.5), validated=validated)
        assert type(rule_kept) is Convergence
        assert rule_kept == (3, 0.5)
