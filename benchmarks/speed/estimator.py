"""Fit our classifier and scikit-learn's at equal settings: accuracy and time, from several seeds.

python -m benchmarks.speed.estimator --data-dir mnist

Both train one hidden layer in float32 by plain minibatch stochastic gradient descent: same rows,
batches, epochs, learning rate and penalty, no momentum, no early stop. For the penalty to be the
same in every batch of n rows, alpha = 2 * weight_decay * n, and rows that do not fill a batch are
left out. What remains different is the random start, and that ours computes loss and accuracy over
all rows after each epoch, while scikit-learn's adds up the losses of the batches. Before the clock
starts both are fitted for an epoch, in which Numba compiles. For each seed both have their turn, in
an order drawn anew; times are medians with quartiles, and the ratio is that of the two fits from
one seed. With one thread of BLAS the time is that of the process on its core, which other load
disturbs less.
"""

import random
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed import timing
from benchmarks.tables import Page, parser_of

ABOUT = """\
`BackpropClassifier` and scikit-learn's `MLPClassifier` at equal settings (plain SGD, no momentum,
no early stop), from several seeds. Rows are cut to whole batches. Ours includes an evaluation over
all rows after each epoch, which `MLPClassifier` does without."""
LEGEND = """
Accuracies are means with the lowest and the highest, times medians with quartiles; the ratio is
that of `MLPClassifier`'s time to ours, seed by seed."""


class Settings(NamedTuple):
    """What both are trained with."""

    hidden_width: int
    epochs: int
    batch_size: int = 32
    learning_rate: float = 0.1
    weight_decay: float = 1e-4


SETTINGS = {"digits": Settings(64, epochs=30), "mnist": Settings(256, epochs=3)}
OURS, THEIRS = "BackpropClassifier", "MLPClassifier"
HEADINGS = (
    *("data", "BLAS threads", "rows", "network", "epochs"),
    *(f"{name}: {what}" for what in ("accuracy", "seconds") for name in (OURS, THEIRS)),
    "ratio of seconds",
)


class Fit(NamedTuple):
    """What one fit has reached."""

    accuracy: float  # on the test set
    seconds: float


class Found(NamedTuple):
    """What the fits on one data set have reached, of each classifier one for each seed."""

    rows: int
    sizes: tuple[int, ...]
    backend: str  # of ours
    fits: dict[str, list[Fit]]


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table, a row for each data set and number of threads."""
    parser = parser_of("python -m benchmarks.speed.estimator", __doc__)
    parser.add_argument("--data", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--data-dir", type=Path, help="folder of the IDX files, else a download")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="a fit each")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, timing.all_threads()])
    args = parser.parse_args(argv)
    if len(args.seeds) < 2:
        parser.error("--seeds must be two or more, for a spread")
    page = Page("The classifier beside scikit-learn's", ABOUT)
    page.heading(HEADINGS)
    environments: list[dict[str, str]] = []
    everything: list[Found] = []
    for threads in dict.fromkeys(args.threads):
        with timing.process_of(threads) as process:
            for data in args.data:
                found = process.submit(
                    measure, data, args.data_dir, args.seeds, threads=threads
                ).result()
                page.row([data, str(threads), *cells(found, SETTINGS[data])])
                everything.append(found)
            environments.append(process.submit(timing.environment, threads).result())
    page.line(LEGEND)
    backends = dict.fromkeys(found.backend for found in everything)
    facts = timing.facts_of(environments) | {f"Backend of {OURS}": ", ".join(backends)}
    page.write(args.results / "estimator.md", summary(everything), parser.prog, argv, facts)


def summary(everything: Sequence[Found]) -> str:
    """Say in a sentence how the two compare."""
    ratios, accuracies = [], {OURS: list[float](), THEIRS: list[float]()}
    for found in everything:
        seconds = ([fit.seconds for fit in found.fits[name]] for name in (THEIRS, OURS))
        ratios.append(timing.ratio(*seconds).median)
        for name, means in accuracies.items():
            means.append(statistics.mean(fit.accuracy for fit in found.fits[name]))
    reach = {name: f"{min(means):.4f} to {max(means):.4f}" for name, means in accuracies.items()}
    return (
        f"{THEIRS} takes {min(ratios):.3g} to {max(ratios):.3g} times as long as {OURS}; mean "
        f"accuracies on the test rows {reach[OURS]} beside {reach[THEIRS]}."
    )


def measure(data: str, data_dir: Path | None, seeds: Sequence[int], *, threads: int) -> Found:
    """Fit both from each seed, in turn."""
    import numpy as np  # noqa: PLC0415, it starts with as many threads as were set before

    from manual_nn.compiled.backend import as_backend  # noqa: PLC0415, the same
    from manual_nn.files.data_sets import load_digits, load_mnist  # noqa: PLC0415, the same
    from manual_nn.files.scaling import fit_scaling  # noqa: PLC0415, the same

    dataset = load_digits() if data == "digits" else load_mnist(data_dir)
    settings, scaling = SETTINGS[data], fit_scaling("divide", dataset.X_train)
    X_train, X_test = (
        scaling.apply(X, dtype=np.float32) for X in (dataset.X_train, dataset.X_test)
    )
    rows = len(X_train) // settings.batch_size * settings.batch_size
    clock = time.process_time if threads == 1 else time.perf_counter
    fits: dict[str, list[Fit]] = {OURS: [], THEIRS: []}
    for classifier in classifiers(settings._replace(epochs=1), seeds[0]):
        fit(classifier, X_train[:rows], dataset.y_train[:rows])
    for seed in seeds:
        contenders = classifiers(settings, seed)
        random.Random(seed).shuffle(contenders)  # noqa: S311, an order
        for classifier in contenders:
            start = clock()
            fit(classifier, X_train[:rows], dataset.y_train[:rows])
            seconds = clock() - start
            accuracy = classifier.score(X_test, dataset.y_test)
            fits[type(classifier).__name__].append(Fit(float(accuracy), seconds))
    sizes = (X_train.shape[1], settings.hidden_width, 10)
    return Found(rows, sizes, as_backend("auto"), fits)


def classifiers(settings: Settings, seed: int) -> list[Any]:
    """Make ours and scikit-learn's, which mean the same by their parameters."""
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415, as NumPy

    from manual_nn.interfaces.estimator import BackpropClassifier  # noqa: PLC0415, the same

    same: dict[str, Any] = {
        "hidden_layer_sizes": (settings.hidden_width,),
        "batch_size": settings.batch_size,
        "learning_rate_init": settings.learning_rate,
        "max_iter": settings.epochs,
        "n_iter_no_change": settings.epochs,  # never before the last
        "solver": "sgd",
        "momentum": 0.0,
        "random_state": seed,
    }
    return [
        BackpropClassifier(**same, weight_decay=settings.weight_decay),
        MLPClassifier(
            **same,
            alpha=2 * settings.weight_decay * settings.batch_size,
        ),
    ]


def fit(classifier: Any, X: Any, y: Any) -> None:
    """Fit without the warning that all epochs were run, which they are to be."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415, as NumPy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(X, y)
    if classifier.n_iter_ != classifier.max_iter:
        raise RuntimeError(f"{classifier} stopped after {classifier.n_iter_} epochs")


def cells(found: Found, settings: Settings) -> list[str]:
    """Write the figures of a row, but for the first two."""
    accuracy, seconds = (
        {name: [fit[field] for fit in fits] for name, fits in found.fits.items()}
        for field in range(2)
    )
    return [
        f"{found.rows:,}",
        "-".join(map(str, found.sizes)),
        str(settings.epochs),
        *(
            f"{statistics.mean(values):.4f} ({min(values):.4f}–{max(values):.4f})"
            for values in accuracy.values()
        ),
        *(str(timing.figure(values)) for values in seconds.values()),
        str(timing.ratio(seconds[THEIRS], seconds[OURS])),
    ]


if __name__ == "__main__":
    main()
