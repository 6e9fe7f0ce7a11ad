"""The result of a training: its curves, its parameters, and how it ended."""

from dataclasses import dataclass, field
from typing import NamedTuple

from manual_nn.layers.dense import Params
from manual_nn.training.optimizer import OptimizerState


@dataclass
class History:
    """Loss and accuracy after each epoch.

    `train_loss` includes the penalty on the weights, `val_loss` does not. Without validation rows
    `val_loss` and `val_acc` stay empty.
    """

    train_loss: list[float] = field(default_factory=list)
    train_acc: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_acc: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the epochs."""
        return len(self.train_loss)

    def copy(self) -> "History":
        """Copy the curves, which then grow apart."""
        return History(*(list(curve) for curve in vars(self).values()))


class Reached(NamedTuple):
    """Where a training is after an epoch: what the next one goes on from."""

    params: Params
    state: OptimizerState
    history: History


class TrainingResult(NamedTuple):
    """The result of a training after an epoch.

    `optimizer_state` is what the optimizer remembers, with which another training may go on.
    """

    params: Params
    history: History
    stopped_early: bool
    optimizer_state: OptimizerState | None = None


class TrainingDiverged(ArithmeticError):  # noqa: N818, not an error in the program
    """Training has reached numbers that are not finite, in batch `batch` of epoch `epoch`.

    `result` is that of the epochs before; if there are none, it holds the parameters that training
    began with and an empty history.
    """

    def __init__(self, epoch: int, batch: int, reason: str, result: TrainingResult) -> None:
        """Keep the place, the reason and the result."""
        super().__init__(epoch, batch, reason, result)  # which pickle passes to __init__
        self.epoch, self.batch, self.reason, self.result = epoch, batch, reason, result

    def __str__(self) -> str:
        """Say where training diverged and what to try."""
        return (
            f"training diverged in epoch {self.epoch}, batch {self.batch}: {self.reason}; "
            "choose a smaller learning_rate"
        )
