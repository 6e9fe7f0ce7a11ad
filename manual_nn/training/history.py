"""The result of a training: its curves, its parameters, and how it ended."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from manual_nn.layers.dense import Params
from manual_nn.training.optimizer import OptimizerState


@dataclass
class History:
    """Loss and accuracy after each epoch.

    `train_loss` is what training minimises, and includes the penalty on the weights, `penalty`;
    `val_loss` does not, and is to be compared with `loss_of_rows`. Without validation rows
    `val_loss` and `val_acc` stay empty.

    >>> History(train_loss=[0.75, 0.5], val_loss=[0.5, 0.375], penalty=[0.25, 0.25]).loss_of_rows
    [0.5, 0.25]
    """

    train_loss: list[float] = field(default_factory=list)
    train_acc: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_acc: list[float] = field(default_factory=list)
    penalty: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self.train_loss)

    @property
    def loss_of_rows(self) -> list[float]:
        """The loss of the training rows without the penalty, which no validation loss has."""
        return [loss - part for loss, part in zip(self.train_loss, self.penalty, strict=True)]

    def copy(self) -> "History":
        """Copy the curves, which then grow apart."""
        return History(*(list(curve) for curve in vars(self).values()))


class Reached(NamedTuple):
    """Where a training is after an epoch: what the next one goes on from."""

    params: Params
    best: Params | None  # those of the best epoch, where the rule of stopping keeps them
    state: OptimizerState
    history: History
    start_loss: float  # of the training rows, with the penalty, before the first step


class TrainingResult(NamedTuple):
    """The result of a training after an epoch.

    Args:
        params: the parameters; with `Patience` those after the best epoch so far.
        history: loss and accuracy after each epoch.
        stopped_early: whether the rule of stopping was met; with `Convergence` it says that the
            loss has converged.
        optimizer_state: what the optimizer remembers, with which another training may go on.
        start_loss: the training loss, with the penalty, before the first step.
    """

    params: Params
    history: History
    stopped_early: bool
    optimizer_state: OptimizerState | None = None
    start_loss: float = math.nan


class TrainingDiverged(ArithmeticError):  # noqa: N818, not an error in the program
    """Training has lost itself in batch `batch` of epoch `epoch`.

    It has reached numbers that are not finite, or a loss beside which that at the start, or of a
    guess among the classes, is less than the rounding of a float64: more than 2^52 times as large.
    `result` is that of the epochs before; if there are none, it holds the parameters that training
    began with and an empty history. `advice` is what to try.
    """

    def __init__(
        self,
        epoch: int,
        batch: int,
        reason: str,
        result: TrainingResult,
        advice: str = "choose a smaller learning_rate",
    ) -> None:
        """Keep the place, the reason, the result and the advice."""
        super().__init__(epoch, batch, reason, result, advice)  # which pickle passes to __init__
        self.epoch, self.batch, self.reason = epoch, batch, reason
        self.result, self.advice = result, advice

    def __str__(self) -> str:
        """Say where training diverged and what to try."""
        return (
            f"training diverged in epoch {self.epoch}, batch {self.batch}: {self.reason}; "
            f"{self.advice}"
        )


class TrainingInterrupted(KeyboardInterrupt):
    """Training was interrupted, as by Ctrl-C; `result` is as far as it came.

    Its parameters are those of the moment, which may be in the middle of an epoch, or with
    `Patience` those of the best epoch, if there is one; its history has the whole epochs.
    """

    def __init__(self, result: TrainingResult) -> None:
        """Keep the result."""
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        """Say when it was."""
        return f"training was interrupted in epoch {len(self.result.history) + 1}"
