"""When training stops before its last epoch."""

from typing import NamedTuple

from manual_nn.checks.arguments import as_number


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


def as_early_stopping(early_stopping: object, *, validated: bool) -> EarlyStopping | None:
    """Check that it is a rule that can be followed, or None."""
    if early_stopping is None:
        return None
    if not isinstance(early_stopping, EarlyStopping):
        got = type(early_stopping).__name__
        raise TypeError(f"early_stopping must be an EarlyStopping or None, got {got}")
    rule = EarlyStopping(
        *(
            as_number(value, name=f"early_stopping.{name}", minimum=0)
            for name, value in early_stopping._asdict().items()
        )
    )
    if not validated:
        raise ValueError(f"early_stopping must be None without X_val and y_val, got {rule}")
    return rule
