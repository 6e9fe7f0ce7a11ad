"""Train on MNIST from several seeds, beside the figures of the course exercise it grew from.

python -m benchmarks.mnist_seeds --data-dir mnist
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.speed.timing import all_threads, processor
from benchmarks.tables import Page, parser_of
from manual_nn.files.data_sets import Dataset, load_mnist
from manual_nn.interfaces.experiment import Settings, prepare, start_training
from manual_nn.interfaces.options import DTYPES
from manual_nn.training.evaluation import evaluate


class Run(NamedTuple):
    """What one training run has reached."""

    epoch: float  # at which it stopped
    train_loss: float  # with the penalty
    train_acc: float
    val_loss: float
    val_acc: float
    in_sample_acc: float
    test_acc: float
    seconds: float  # training alone, without reading the files


ABOUT = """\
The course exercise that the network grew from: one hidden layer of 256, minibatches of 32, learning
rate 0.1, weight decay 1e-4, early stopping; repeated from several seeds."""
LEGEND = """
*origin*: the exercise's own report; its test set lacked one row by mistake.
*train loss*: with the penalty on the weights, which the validation loss is without."""
HEADINGS = (
    *("seed", "stopped at epoch", "train loss", "train accuracy", "validation loss"),
    *("validation accuracy", "in-sample accuracy", "test accuracy", "seconds"),
)
FORMATS = ("g", ".4f", ".5f", ".4f", ".5f", ".5f", ".5f", ".1f")  # of the fields of Run
# As the exercise reported them; its test set lacked a row, and the time is not known.
ORIGIN = ("origin", "6", "0.0962", "0.98922", "0.0779", "0.97567", "0.98718", "0.97630", "")


def main(argv: Sequence[str] | None = None) -> None:
    """Print a Markdown table, a row for each seed."""
    parser = parser_of("python -m benchmarks.mnist_seeds", __doc__)
    parser.add_argument("--data-dir", type=Path, help="folder of the IDX files, else a download")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="a run each")
    parser.add_argument("--dtype", choices=DTYPES, default=Settings().dtype)
    args = parser.parse_args(argv)
    dataset = load_mnist(args.data_dir)
    page = Page("Training on MNIST from several seeds", ABOUT)
    page.heading(HEADINGS)
    runs = []
    for seed in args.seeds:
        runs.append(train_once(dataset, Settings(seed=seed, dtype=args.dtype)))
        page.row([str(seed), *_cells(runs[-1])])
    mean = Run(*np.mean(runs, axis=0))
    page.row(["mean", *_cells(mean)])
    page.row(ORIGIN)
    page.line(LEGEND)
    accuracies = [run.test_acc for run in runs]
    summary = (
        f"{len(runs)} seeds: test accuracy {min(accuracies):.5f} to {max(accuracies):.5f}, "
        f"mean {mean.test_acc:.5f}, beside {ORIGIN[7]} of the exercise."
    )
    facts = {"Machine": f"{processor()}, {all_threads()} cores"}
    page.write(args.results / "mnist_seeds.md", summary, parser.prog, argv, facts)


def train_once(dataset: Dataset, settings: Settings) -> Run:
    """Train with these settings, as `manual-nn train` does, and measure."""
    prepared = prepare(dataset, settings)
    start = time.perf_counter()
    *_, last = start_training(prepared, settings)
    seconds = time.perf_counter() - start
    history = last.history
    X_train, X_test = (
        prepared.scaling.apply(X, dtype=settings.dtype) for X in (dataset.X_train, dataset.X_test)
    )
    return Run(
        len(history),
        history.train_loss[-1],
        history.train_acc[-1],
        history.val_loss[-1],
        history.val_acc[-1],
        evaluate(last.params, X_train, dataset.y_train)[1],
        evaluate(last.params, X_test, dataset.y_test)[1],
        seconds,
    )


def _cells(run: Run) -> list[str]:
    return [format(value, spec) for value, spec in zip(run, FORMATS, strict=True)]


if __name__ == "__main__":
    main()
