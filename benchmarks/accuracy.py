"""Compare the accuracy of the classifier's defaults with that of scikit-learn's, on small data.

python -m benchmarks.accuracy

For each seed the rows are divided into five folds anew, each of which is predicted by networks that
were trained on the other four. Both classifiers get the same folds and the same seed.
"""

import statistics
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.tables import Page, parser_of
from manual_nn.interfaces.estimator import BackpropClassifier

ABOUT = """\
`BackpropClassifier()` and scikit-learn's `MLPClassifier()`, both with the defaults of their
parameters, on data that come with scikit-learn: as they are, and behind a `StandardScaler`."""
LEGEND = """
Means over the seeds of the accuracy in five folds, with the lowest and the highest seed."""
DATA = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}
CLASSIFIERS = {"BackpropClassifier": BackpropClassifier(), "MLPClassifier": MLPClassifier()}
FOLDS = 5


class Row(NamedTuple):
    """What both have reached on one set of data, scaled or not."""

    data: str
    ours: list[float]  # for each seed, over its folds
    theirs: list[float]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table, two rows for each set of data."""
    parser = parser_of("python -m benchmarks.accuracy", __doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of folds")
    args = parser.parse_args(argv)
    page = Page("The accuracy of the classifier's defaults", ABOUT)
    page.heading(("data", "rows", "features", "features are", *CLASSIFIERS))
    rows = []
    for data, load in DATA.items():
        X, y = load(return_X_y=True)
        for scaled in (False, True):
            ours, theirs = (
                [accuracy(classifier, X, y, seed, scaled=scaled) for seed in args.seeds]
                for classifier in CLASSIFIERS.values()
            )
            rows.append(Row(data, ours, theirs))
            how = "standardised" if scaled else "as they are"
            page.row([data, f"{len(X):,}", str(X.shape[1]), how, *map(cell, (ours, theirs))])
    page.line(LEGEND)
    page.write(args.results / "accuracy.md", summary(rows), parser.prog, argv)


def accuracy(classifier: Any, X: Any, y: Any, seed: int, *, scaled: bool) -> float:
    """Cross-validate a classifier with this seed."""
    seeded = clone(classifier).set_params(random_state=seed)
    model = make_pipeline(StandardScaler(), seeded) if scaled else seeded
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(cross_val_score(model, X, y, cv=folds, error_score="raise").mean())


def summary(rows: Sequence[Row]) -> str:
    """Say in a sentence where ours is as good, how much worse it is, and where the two differ."""
    means = [(statistics.mean(row.ours), statistics.mean(row.theirs)) for row in rows]
    lags = [theirs - ours for ours, theirs in means if ours < theirs]
    most, (ours, theirs) = max(
        zip(rows, means, strict=True), key=lambda pair: abs(pair[1][0] - pair[1][1])
    )
    behind = f", and less by {max(lags):.4f} at most in the others" if lags else ""
    return (
        f"By their defaults BackpropClassifier is at least as accurate as MLPClassifier in "
        f"{len(rows) - len(lags)} of {len(rows)} cases{behind}; they differ most on {most.data}, "
        f"{ours:.3f} beside {theirs:.3f}."
    )


def cell(accuracies: Sequence[float]) -> str:
    """Write the mean and the reach of the seeds."""
    mean = statistics.mean(accuracies)
    return f"{mean:.4f} ({min(accuracies):.4f}–{max(accuracies):.4f})"


if __name__ == "__main__":
    main()
