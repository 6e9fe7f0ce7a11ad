"""Training by minibatch stochastic gradient descent, with early stopping.

Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from manual_nn import backprop
from manual_nn.backprop import Dense, Params
from manual_nn.network import loss_and_grad
from manual_nn.validation import as_count, as_inputs, as_number, as_params, as_rng, as_targets


class EarlyStopping(NamedTuple):
    """Stop when the validation accuracy is good and has settled.

    val_acc > min_accuracy and |val_acc - val_acc of the epoch before| < max_change.

    >>> stop = EarlyStopping(min_accuracy=0.975, max_change=0.005)
    >>> stop.reached([0.972, 0.976])
    True
    >>> stop.reached([0.970, 0.976]), stop.reached([0.972, 0.974]), stop.reached([0.976])
    (False, False, False)
    """

    min_accuracy: float = 0.975
    max_change: float = 0.005

    def reached(self, val_acc: list[float]) -> bool:
        """Say whether training stops after the epochs with these validation accuracies."""
        if len(val_acc) < 2:
            return False
        before, now = val_acc[-2:]
        return now > self.min_accuracy and abs(now - before) < self.max_change


@dataclass
class History:
    """Loss and accuracy after each epoch.

    `train_loss` includes the penalty on the weights, `val_loss` does not.
    """

    train_loss: list[float] = field(default_factory=list)
    train_acc: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_acc: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self.val_acc)


class TrainingResult(NamedTuple):
    """What training has reached after an epoch."""

    params: Params
    history: History
    stopped_early: bool


def train(
    params: Params,
    X_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    X_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    *,
    batch_size: int = 32,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    epochs: int = 30,
    early_stopping: EarlyStopping | None = EarlyStopping(),  # noqa: B008, it cannot be changed
    rng: np.random.Generator,
    progress: bool = False,
) -> TrainingResult:
    """Train by minibatch stochastic gradient descent from the given parameters.

    Each epoch goes through the training rows in a new random order, batch by batch, and takes the
    step of eq. (20) for each: W_l <- W_l - learning_rate * d_W_l, likewise b_l.

    Args:
        params: where to start, float32 or float64; left as they are.
        X_train: the training inputs, (N, D).
        y_train: their class numbers, (N,), or target probabilities, (N, K).
        X_val: the validation inputs, (N_val, D).
        y_val: their targets, likewise.
        batch_size: rows in a step; the last batch of an epoch has what remains.
        learning_rate: the factor of the gradient in a step.
        weight_decay: the factor of the penalty on the weights.
        epochs: how many to run at most.
        early_stopping: when to stop before that, or None for never.
        rng: draws the order of the rows; the same state gives the same result, to the bit.
        progress: show a progress bar on the standard error stream, which needs tqdm.

    Returns:
        The trained parameters, the history of the epochs, and whether training stopped early.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: shapes do not fit each other, or a number is out of range.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 2))
    >>> y = (X.sum(axis=1) > 0).astype(int)
    >>> zero = (Dense(np.zeros((2, 2)), np.zeros(2)),)
    >>> train(zero, X[:80], y[:80], X[80:], y[80:], epochs=20, rng=rng).history.val_acc[-1]
    1.0
    """
    results = train_epochs(
        params,
        X_train,
        y_train,
        X_val,
        y_val,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        epochs=epochs,
        early_stopping=early_stopping,
        rng=rng,
        progress=progress,
    )
    *_, last = results
    return last


def train_epochs(
    params: Params,
    X_train: npt.ArrayLike,
    y_train: npt.ArrayLike,
    X_val: npt.ArrayLike,
    y_val: npt.ArrayLike,
    *,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    epochs: int,
    early_stopping: EarlyStopping | None,
    rng: np.random.Generator,
    progress: bool,
) -> Iterator[TrainingResult]:
    """Train as `train` does, and give out what has been reached after each epoch.

    Whoever iterates may stop at any time and keep the last result.
    """
    params = as_params(params)
    X_train, X_val = (
        as_inputs(params, X_train, name="X_train"),
        as_inputs(params, X_val, name="X_val"),
    )
    y_train = as_targets(params, len(X_train), y_train, name="y_train")
    y_val = as_targets(params, len(X_val), y_val, name="y_val")
    batch_size = as_count(batch_size, name="batch_size")
    learning_rate = as_number(learning_rate, name="learning_rate", minimum=0, strict=True)
    weight_decay = as_number(weight_decay, name="weight_decay", minimum=0)
    _check_early_stopping(early_stopping)
    as_rng(rng)
    history = History()
    for epoch in range(1, as_count(epochs, name="epochs") + 1):
        order = rng.permutation(len(X_train))
        starts: Iterable[int] = range(0, len(X_train), batch_size)
        for start in _with_bar(starts, f"epoch {epoch}") if progress else starts:
            rows = order[start : start + batch_size]
            _, gradient = loss_and_grad(
                params, X_train[rows], y_train[rows], weight_decay=weight_decay
            )
            params = sgd_step(params, gradient, learning_rate)
        train_loss, train_acc = evaluate(params, X_train, y_train, weight_decay=weight_decay)
        val_loss, val_acc = evaluate(params, X_val, y_val)
        history.train_loss.append(train_loss)
        history.train_acc.append(train_acc)
        history.val_loss.append(val_loss)
        history.val_acc.append(val_acc)
        stop = early_stopping is not None and early_stopping.reached(history.val_acc)
        yield TrainingResult(params, copy.deepcopy(history), stop)
        if stop:
            return


def sgd_step(params: Params, gradient: Params, learning_rate: float) -> Params:
    """Take one step down the gradient, W <- W - learning_rate * d_W, b likewise; eq. (20)."""
    return tuple(
        Dense(weight - learning_rate * d_weight, bias - learning_rate * d_bias)
        for (weight, bias), (d_weight, d_bias) in zip(params, gradient, strict=True)
    )


def evaluate(
    params: Params, X: npt.ArrayLike, y: npt.ArrayLike, *, weight_decay: float = 0.0
) -> tuple[float, float]:
    """Compute the loss, as `loss` does, and the accuracy, with one forward pass for both.

    The accuracy is the share of rows whose largest logit is at the right class: at the class
    number or, with target probabilities, at the most probable class.
    """
    params = as_params(params)
    X = as_inputs(params, X)
    target = as_targets(params, len(X), y)
    logits = backprop.forward(params, X)[1]
    cross_entropy = backprop.cross_entropy_forward(backprop.log_softmax(logits), target)
    value = cross_entropy + backprop.penalty_forward(params, weight_decay)
    return float(value), float(np.mean(logits.argmax(axis=1) == target.argmax(axis=1)))


def _check_early_stopping(early_stopping: object) -> None:
    if early_stopping is None:
        return
    if not isinstance(early_stopping, EarlyStopping):
        got = type(early_stopping).__name__
        raise TypeError(f"early_stopping must be an EarlyStopping or None, got {got}")
    for name, value in early_stopping._asdict().items():
        as_number(value, name=f"early_stopping.{name}", minimum=0)


def _with_bar(starts: Iterable[int], description: str) -> Iterable[int]:
    from tqdm.auto import tqdm  # noqa: PLC0415, the core needs NumPy alone

    return cast("Iterable[int]", tqdm(starts, desc=description, unit="batch", leave=False))
