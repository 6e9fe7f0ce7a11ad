"""A training run as the command line makes it: rows held out, inputs scaled, a seed for it all.

Axes: N rows, D inputs, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count
from manual_nn.files.classes import Labels
from manual_nn.files.data_sets import Dataset, split_validation
from manual_nn.files.scaling import Scaling, fit_scaling
from manual_nn.models.mlp import init_params
from manual_nn.training.early_stopping import EarlyStopping, StoppingRule
from manual_nn.training.history import TrainingResult
from manual_nn.training.loop import train_epochs
from manual_nn.training.optimizer import Optimizer
from manual_nn.training.schedule import CosineSchedule
from manual_nn.training.sgd import SGD


@dataclass(frozen=True)
class Settings:
    """How to train; the defaults are those of the command line."""

    hidden: Sequence[int] = (256,)
    batch_size: int = 32
    optimizer: Optimizer = SGD()  # noqa: RUF009, it cannot be changed
    learning_rate: float | CosineSchedule = 0.1
    weight_decay: float = 1e-4
    max_grad_norm: float | None = None
    epochs: int = 30
    early_stopping: StoppingRule | None = EarlyStopping()  # noqa: RUF009, likewise
    validation_fraction: float = 0.15
    scaling: str | None = None  # or one of `manual_nn.files.scaling.KINDS`
    seed: int = 0
    dtype: str = "float32"
    backend: str = "auto"


class Prepared(NamedTuple):
    """Scaled rows to train on and to validate with, and the generator that has divided them."""

    scaling: Scaling
    X_train: Array  # (N, D)
    y_train: Labels  # (N,)
    X_val: Array | None  # (N_val, D)
    y_val: Labels | None  # (N_val,)
    sizes: list[int]
    rng: np.random.Generator


def prepare(dataset: Dataset, settings: Settings) -> Prepared:
    """Hold out rows for validation, and scale by what remains to train on.

    Args:
        dataset: what to train on.
        settings: how. Unless they say how to scale, images are divided, other inputs standardised.

    Returns:
        The scaled rows.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: a setting is out of range, or does not fit the rows.
    """
    rng = np.random.default_rng(as_count(settings.seed, name="seed", minimum=0))
    n, n_test = len(dataset.X_train), len(dataset.X_test)
    if settings.validation_fraction > 0 and n < 2:
        msg = f"{dataset.name}: the test takes {n_test} of {n + n_test} rows, which leaves {n}"
        raise ValueError(f"{msg}: too few to hold out others for validation")
    X_train, y_train, X_val, y_val = split_validation(
        dataset.X_train, dataset.y_train, fraction=settings.validation_fraction, rng=rng
    )
    kind = settings.scaling or ("standardise" if dataset.image_shape is None else "divide")
    scaling = fit_scaling(kind, X_train)
    hidden = [as_count(width, name="each width of hidden") for width in settings.hidden]
    return Prepared(
        scaling,
        scaling.apply(X_train, dtype=settings.dtype),
        y_train,
        None if X_val is None else scaling.apply(X_val, dtype=settings.dtype),
        y_val,
        [X_train.shape[1], *hidden, len(dataset.classes)],
        rng,
    )


def start_training(
    prepared: Prepared,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Iterator[TrainingResult]:
    """Train on rows that are prepared, and yield the result after each epoch.

    Args:
        prepared: the rows. Their generator draws the parameters and the batches.
        settings: how to train.
        checkpoint: the file that holds the state of the training, or None for no file.
        resume: continue from the checkpoint, if it exists.
        progress: show a progress bar.

    Returns:
        An iterator over the results after each epoch.

    Raises:
        OSError, TrainingDiverged: as for `train`.
        ValueError: as for `train`, or a setting is out of range.
    """
    return train_epochs(
        init_params(prepared.sizes, rng=prepared.rng, dtype=settings.dtype),
        prepared.X_train,
        prepared.y_train,
        prepared.X_val,
        prepared.y_val,
        batch_size=settings.batch_size,
        optimizer=settings.optimizer,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        epochs=settings.epochs,
        early_stopping=settings.early_stopping,
        rng=prepared.rng,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        backend=settings.backend,
    )
