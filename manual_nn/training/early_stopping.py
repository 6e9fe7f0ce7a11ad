"""When training stops before its last epoch."""

from typing import NamedTuple, TypeAlias

from manual_nn.checks.arguments import as_count, as_number, name_of_kind
from manual_nn.training.history import History


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

    def can_tell(self, rows: int) -> bool:
        """Say whether the accuracy on so many validation rows can have settled by this rule.

        The smallest change that it can show is that of one row, 1 / rows. Where that is no less
        than max_change, two epochs have settled if they happen to be right about equally many rows.

        >>> EarlyStopping(max_change=0.005).can_tell(200), EarlyStopping().can_tell(201)
        (False, True)
        """
        return rows * self.max_change > 1


class Patience(NamedTuple):
    """Stop when the validation accuracy does not improve any more, and keep the best parameters.

    More than n_iter_no_change epochs in a row, each with val_acc < best before it + tol. The
    parameters that count are those after the epoch with the best accuracy, the first of equals.
    It is the rule of scikit-learn's `MLPClassifier` with `early_stopping=True`.

    >>> stop = Patience(n_iter_no_change=2, tol=0.01)
    >>> stop.reached([0.5, 0.75, 0.755, 0.75, 0.755])  # the last three are no improvement
    True
    >>> stop.reached([0.5, 0.75, 0.755, 0.75]), stop.reached([0.5, 0.75, 0.755, 0.75, 0.77])
    (False, False)
    """

    n_iter_no_change: int = 10
    tol: float = 1e-4

    def reached(self, val_acc: list[float]) -> bool:
        """Say whether training stops after the epochs with these validation accuracies."""
        return epochs_without_improvement(val_acc, self.tol) > self.n_iter_no_change


class Convergence(NamedTuple):
    """Stop when the training loss does not improve any more; needs no validation rows.

    More than n_iter_no_change epochs in a row, each with train_loss > best before it - tol. It is
    the rule of scikit-learn's `MLPClassifier` with `early_stopping=False`.

    >>> Convergence(n_iter_no_change=1, tol=0.01).reached([0.5, 0.25, 0.245, 0.2425])
    True
    """

    n_iter_no_change: int = 10
    tol: float = 1e-4

    def reached(self, train_loss: list[float]) -> bool:
        """Say whether training stops after the epochs with these training losses."""
        scores = [-loss for loss in train_loss]
        return epochs_without_improvement(scores, self.tol) > self.n_iter_no_change


StoppingRule: TypeAlias = EarlyStopping | Patience | Convergence


def epochs_without_improvement(scores: list[float], tol: float) -> int:
    """Count the last epochs in a row whose scores are not above the best before them by tol."""
    best, count = -float("inf"), 0
    for score in scores:
        count = count + 1 if score < best + tol else 0
        best = max(best, score)
    return count


def is_over(rule: StoppingRule | None, history: History) -> bool:
    """Say whether training stops by the rule after these epochs."""
    if rule is None:
        return False
    watched = history.train_loss if isinstance(rule, Convergence) else history.val_acc
    return rule.reached(watched)


def is_best(val_acc: list[float]) -> bool:
    """Say whether the last epoch has a better validation accuracy than each before it."""
    return val_acc.index(max(val_acc)) == len(val_acc) - 1


def kept_epoch(rule: StoppingRule | None, history: History) -> int:
    """Give the number of the epoch whose parameters are kept by the rule, 0 if there is none yet.

    >>> history = History(train_loss=[0.5, 0.25, 0.125], val_acc=[0.75, 0.875, 0.875])
    >>> kept_epoch(Patience(), history), kept_epoch(None, history)
    (2, 3)
    """
    if isinstance(rule, Patience) and history.val_acc:
        return 1 + history.val_acc.index(max(history.val_acc))
    return len(history)


def as_early_stopping(early_stopping: object, *, validated: bool) -> StoppingRule | None:
    """Check that it is a rule that can be followed, or None."""
    if early_stopping is None:
        return None
    rule: StoppingRule
    if isinstance(early_stopping, EarlyStopping):
        rule = EarlyStopping(
            *(
                as_number(value, name=f"early_stopping.{name}", minimum=0)
                for name, value in early_stopping._asdict().items()
            )
        )
    elif isinstance(early_stopping, Patience | Convergence):
        count, tol = early_stopping
        rule = type(early_stopping)(
            as_count(count, name="early_stopping.n_iter_no_change"),
            as_number(tol, name="early_stopping.tol", minimum=0),
        )
    else:
        got = name_of_kind(early_stopping, EarlyStopping, Patience, Convergence)
        msg = "early_stopping must be an EarlyStopping, Patience or Convergence, or None"
        raise TypeError(f"{msg}, got {got}")
    if not validated and not isinstance(rule, Convergence):
        msg = "early_stopping must be None or a Convergence without X_val and y_val"
        raise ValueError(f"{msg}, got {rule}")
    return rule
