"""The two classifiers are fitted alike, and neither is timed while something is compiled."""

from typing import Any

import pytest

from benchmarks.speed import estimator
from benchmarks.speed.estimator import OURS, THEIRS, Settings
from manual_nn.compiled.backend import as_backend


def test_both_are_fitted_once_before_the_clock_and_then_from_each_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[tuple[str, int, int]] = []

    def fit(classifier: Any, X: Any, y: Any) -> None:
        fitted.append((type(classifier).__name__, classifier.random_state, classifier.max_iter))
        fit_itself(classifier, X, y)

    fit_itself = estimator.fit
    monkeypatch.setattr(estimator, "fit", fit)
    monkeypatch.setitem(estimator.SETTINGS, "digits", Settings(2, epochs=2, batch_size=512))
    found = estimator.measure("digits", None, [3, 4], threads=1)
    assert fitted[:2] == [(OURS, 3, 1), (THEIRS, 3, 1)]
    assert sorted(fitted[2:]) == sorted((who, seed, 2) for who in (OURS, THEIRS) for seed in (3, 4))
    assert (found.rows, found.sizes, found.backend) == (1024, (64, 2, 10), as_backend("auto"))
    assert {who: len(fits) for who, fits in found.fits.items()} == {OURS: 2, THEIRS: 2}
    assert all(fit.seconds > 0 for fits in found.fits.values() for fit in fits)
