"""When a curve has stopped to improve, as scikit-learn's `MLPClassifier` decides it."""

from collections.abc import Sequence
from typing import NamedTuple


class Patience(NamedTuple):
    """Stop when more than `epochs` epochs in a row have not improved on the best by `min_gain`.

    The best is the highest score of the epochs before, each of which counts, however little it has
    gained.

    >>> patience = Patience(epochs=2, min_gain=0.1)
    >>> patience.ended([0.5, 0.7, 0.75, 0.79])
    False
    >>> patience.ended([0.5, 0.7, 0.75, 0.79, 0.8])  # the third that gains less than 0.1
    True
    """

    epochs: int
    min_gain: float

    def ended(self, scores: Sequence[float]) -> bool:
        """Say whether training ends after the epochs with these scores, the more the better."""
        best, waited = -float("inf"), 0
        for score in scores:
            waited = waited + 1 if score < best + self.min_gain else 0
            best = max(best, score)
        return waited > self.epochs
