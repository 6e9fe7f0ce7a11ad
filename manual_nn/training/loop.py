"""Training by minibatch stochastic gradient descent, with early stopping.

Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import collections
import contextlib
import errno
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import (
    as_count,
    as_number,
    as_rng,
    as_sample_weight,
    name_of_kind,
)
from manual_nn.checks.finite import check_finite_params
from manual_nn.compiled.backend import BACKENDS, as_backend, obstacle_to_compiling
from manual_nn.layers.dense import Params
from manual_nn.models import penalty
from manual_nn.models.arguments import as_params
from manual_nn.training.checkpoint import CheckpointFile, backend_of, fingerprint
from manual_nn.training.descent import Descent
from manual_nn.training.early_stopping import (
    EarlyStopping,
    Patience,
    StoppingRule,
    as_early_stopping,
    is_best,
    is_over,
)
from manual_nn.training.evaluation import evaluate
from manual_nn.training.history import (
    History,
    Reached,
    TrainingDiverged,
    TrainingInterrupted,
    TrainingResult,
)
from manual_nn.training.losses import LOSSES, as_loss
from manual_nn.training.optimizer import (
    Optimizer,
    OptimizerState,
    as_optimizer,
    as_optimizer_state,
    copy_of,
)
from manual_nn.training.rows import Rows, as_rows_to_train
from manual_nn.training.schedule import CosineSchedule, as_learning_rate
from manual_nn.training.settings import as_json
from manual_nn.training.sgd import SGD

EPS = float(np.finfo(np.float64).eps)


def train(
    params: Params,
    X_train: npt.ArrayLike | Rows,
    y_train: npt.ArrayLike,
    X_val: npt.ArrayLike | Rows | None = None,
    y_val: npt.ArrayLike | None = None,
    *,
    loss: str = "softmax_cross_entropy",
    batch_size: int = 32,
    optimizer: Optimizer = SGD(),  # noqa: B008, it cannot be changed
    learning_rate: float | CosineSchedule | None = None,
    weight_decay: float = 1e-4,
    max_grad_norm: float | None = None,
    epochs: int = 30,
    early_stopping: StoppingRule | None = EarlyStopping(),  # noqa: B008, it cannot be changed
    sample_weight: npt.ArrayLike | None = None,
    rng: np.random.Generator,
    optimizer_state: OptimizerState | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    backend: str = "auto",
) -> TrainingResult:
    """Train on minibatches from the given parameters.

    Each epoch goes through the training rows in a new random order, batch by batch, and takes a
    step for each: that of sgd.md (1), W_l <- W_l - learning_rate * d_W_l, likewise b_l, unless
    another optimizer is given.

    Args:
        params: where to start, float32 or float64; unchanged.
        X_train: the training inputs, (N, D), an array or a sparse one of SciPy, of which a batch at
            a time is made dense.
        y_train: their class numbers, (N,), or target probabilities, (N, K).
        X_val: the validation inputs, (N_val, D), or None for no validation.
        y_val: their targets, likewise; given if and only if X_val is.
        loss: what is minimised beside the penalty: "softmax_cross_entropy", for classes of which a
            row has one, or "binary_cross_entropy", for classes any number of which may be there in
            a row. The targets are then (N, K), from 0 to 1, the loss of a row is its mean over the
            classes, and a row is right if all of them are. `predict` and `predict_proba` are about
            one class a row: here a class is there where its logit is above 0, with the probability
            sigmoid(logit). NumPy computes the steps of this loss, whatever the backend is.
        batch_size: rows in a step; the last batch of an epoch has what remains.
        optimizer: how a gradient becomes a step: `SGD` with its momentum, `Adam` or `AdamW`.
        learning_rate: the factor of each step, a number or a `CosineSchedule`; None is 0.1 for
            `SGD`, 0.001 for `Adam` and `AdamW`.
        weight_decay: the factor of the penalty on the weights; for `AdamW` see adam.md (4).
        max_grad_norm: the norm to which a batch's gradient is shortened if it is longer,
            clipping.md (1), or None for no limit.
        epochs: how many to run at most.
        early_stopping: when to stop before that: an `EarlyStopping`, `Patience`, which keeps the
            best parameters, or `Convergence`; or None to run all epochs. The first two need
            validation rows.
        sample_weight: how much each training row counts, (N,), none negative, or None for all
            the same: a batch's loss is sum_n w_n L_n / sum_n w_n plus the penalty, over its own
            rows, and the history's likewise. A row of weight 0 might as well be absent, except that
            its numbers must be finite.
        rng: draws the order of the rows; the same state gives the same result, bit for bit, on the
            same processor by the same BLAS with as many threads.
        optimizer_state: the state in which an earlier training with the same optimizer has left
            it, `TrainingResult.optimizer_state`, or None to begin.
        checkpoint: the file that holds the state of the training, replaced after each epoch,
            completely or not at all, or None for no file. It must not exist yet, unless training
            resumes.
        resume: continue from the checkpoint, if it exists, to the result of a training without
            interruption, as exactly as `rng` says. The settings and the data must be the same,
            except that `epochs` may be larger. `params`, `rng` and `optimizer_state` then give way
            to those of the checkpoint.
        progress: show a progress bar on the standard error stream, which needs tqdm.
        backend: what computes the steps: "numpy"; "numba", which compiles them when it is first
            used on a machine, for seconds, and needs the extra `fast`; or "auto", which is "numba"
            where that is installed, and what computed the checkpoint where training resumes. The
            result is the same up to rounding.

    Returns:
        The trained parameters, the history of the epochs, whether training stopped early, and more.
        A training that is interrupted, as by Ctrl-C, gives a warning and what it has reached: the
        parameters of that moment, and the history of the whole epochs.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: shapes do not fit each other, a number is out of range, or the checkpoint is
            damaged or another training's.
        OSError: the checkpoint cannot be read or written, or there is one already.
        ModuleNotFoundError: the backend is "numba", which is not installed.
        TrainingDiverged: the loss or the parameters are no longer finite, or the loss is more than
            2^52 times that at the start and that of a guess, ln K. The result of the epochs before
            is the error's `result`, and remains in the checkpoint.

    >>> from manual_nn import Dense
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
        loss=loss,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        epochs=epochs,
        early_stopping=early_stopping,
        sample_weight=sample_weight,
        rng=rng,
        optimizer_state=optimizer_state,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        backend=backend,
    )
    try:
        return collections.deque(results, maxlen=1).pop()
    except TrainingInterrupted as interruption:
        warnings.warn(f"{interruption}: its result is as far as it came", stacklevel=2)
        return interruption.result


def train_epochs(
    params: Params,
    X_train: npt.ArrayLike | Rows,
    y_train: npt.ArrayLike,
    X_val: npt.ArrayLike | Rows | None = None,
    y_val: npt.ArrayLike | None = None,
    *,
    loss: str = "softmax_cross_entropy",
    batch_size: int,
    optimizer: Optimizer = SGD(),  # noqa: B008, as above
    learning_rate: float | CosineSchedule | None,
    weight_decay: float,
    max_grad_norm: float | None = None,
    epochs: int,
    early_stopping: StoppingRule | None,
    sample_weight: npt.ArrayLike | None = None,
    rng: np.random.Generator,
    optimizer_state: OptimizerState | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    backend: str = "auto",
) -> Iterator[TrainingResult]:
    """Train as `train` does, and yield the result after each epoch.

    The caller may stop at any time and keep the last result. When training resumes, the
    checkpoint's result comes first, unless it holds no epoch yet.

    Raises:
        TrainingInterrupted: a KeyboardInterrupt, whose `result` is as far as training came.
        TypeError, ValueError, OSError, TrainingDiverged: as for `train`.
    """
    params = as_params(params)
    check_finite_params(params)
    optimizer = as_optimizer(optimizer, params[0].weight.dtype)
    as_targets = LOSSES[as_loss(loss)].as_targets
    task = _Task(
        *_as_training_rows(params, X_train, y_train, sample_weight, as_targets),
        *_as_validation_rows(params, X_val, y_val, as_targets),
        as_count(batch_size, name="batch_size"),
        loss,
        optimizer,
        as_learning_rate(learning_rate, usual=optimizer.usual_learning_rate),
        as_number(weight_decay, name="weight_decay", minimum=0),
        _as_max_grad_norm(max_grad_norm),
        as_early_stopping(early_stopping, validated=X_val is not None),
        _for_loss(backend_to_take(backend, checkpoint, resume=resume), loss),
    )
    epochs = as_count(epochs, name="epochs")
    rng = as_rng(rng)
    state = as_optimizer_state(optimizer_state, optimizer, params)
    best = params if isinstance(task.early_stopping, Patience) else None
    start = Reached(params, best, state, History(), math.nan)
    file = _as_checkpoint_file(checkpoint, task, resume=resume)
    if file is None:
        reached = _begin(start, task)
    else:  # what does not go with the checkpoint is found out before anything is compiled
        reached = _take_up(file, start, task, rng, resume=resume)
    if len(reached.history) > epochs:
        msg = f"epochs must be at least the {len(reached.history)} that {checkpoint} has reached"
        raise ValueError(f"{msg}, got {epochs}")
    if len(reached.history) > 0:
        yield _given_out(reached, task)
    descent = None
    try:
        while len(reached.history) < epochs and not is_over(task.early_stopping, reached.history):
            descent = _descent(reached, task)
            reached = _next_epoch(reached, descent, task, rng, progress=progress)
            if file is not None:
                file.save(reached, rng)
            yield _given_out(reached, task)
    except KeyboardInterrupt as error:
        result = _given_out(_at_the_moment(reached, descent), task)
        raise TrainingInterrupted(result) from error


class _Task(NamedTuple):
    """The data and the settings, which together with the start determine the result."""

    X_train: Rows  # (N, D)
    y_train: Array  # (N, K)
    sample_weight: Array | None  # (N,), all above 0
    X_val: Rows | None  # (N_val, D)
    y_val: Array | None  # (N_val, K)
    batch_size: int
    loss: str
    optimizer: Optimizer
    learning_rate: float | CosineSchedule
    weight_decay: float
    max_grad_norm: float | None
    early_stopping: StoppingRule | None
    backend: str


def _given_out(reached: Reached, task: _Task) -> TrainingResult:
    """Copy the arrays and the history, which the caller may change."""
    best = reached.best if len(reached.history) > 0 else None
    return TrainingResult(
        copy_of(best or reached.params),
        reached.history.copy(),
        is_over(task.early_stopping, reached.history),
        reached.state.copy(),
        reached.start_loss,
    )


def _descent(reached: Reached, task: _Task) -> Descent:
    """Prepare the steps of an epoch."""
    kind: type[Descent] = Descent
    if task.backend == "numba":
        from manual_nn.training.descent_compiled import CompiledDescent  # noqa: PLC0415, needs Numba

        kind = CompiledDescent
    return kind(
        reached.params,
        task.X_train,
        task.y_train,
        loss=task.loss,
        batch_size=min(task.batch_size, len(task.y_train)),
        optimizer=task.optimizer,
        learning_rate=task.learning_rate,
        weight_decay=task.weight_decay,
        max_grad_norm=task.max_grad_norm,
        sample_weight=task.sample_weight,
        state=reached.state.copy(),
    )


def _at_the_moment(reached: Reached, descent: Descent | None) -> Reached:
    """Take what the steps of an unfinished epoch have made, unless it is not finite."""
    if descent is None:
        return reached
    try:
        for layers in (descent.params, *descent.moments):
            check_finite_params(layers)
    except ValueError:
        return reached
    return reached._replace(params=descent.params, state=descent.state)


@np.errstate(over="ignore", invalid="ignore")  # what overflows ends in what is not finite
def _next_epoch(
    reached: Reached, descent: Descent, task: _Task, rng: np.random.Generator, *, progress: bool
) -> Reached:
    """Train for one more epoch, and measure the result."""
    epoch = len(reached.history) + 1
    order = rng.permutation(len(task.y_train))
    try:
        _take_steps(descent, task, order, f"epoch {epoch}" if progress else None)
        history = _with_measures(reached, descent, task)
    except _LostError as error:
        before, advice = _given_out(reached, task), _advice(task.X_train)
        raise TrainingDiverged(epoch, error.batch, error.reason, before, advice) from error
    best = reached.best
    if best is not None and is_best(history.val_acc):
        best = descent.params
    return Reached(descent.params, best, descent.state, history, reached.start_loss)


class _LostError(ArithmeticError):
    """Training has diverged, as this batch of an epoch shows."""

    def __init__(self, batch: int, reason: str) -> None:
        self.batch, self.reason = batch, reason


def _advice(X_train: Rows) -> str:
    """Say what to try: where the square of an input overflows, no learning rate is to blame."""
    largest = float(abs(X_train).max())
    if largest * largest > np.finfo(X_train.dtype).max:
        return f"scale X_train, whose largest number is {largest:.3g}"
    return "choose a smaller learning_rate"


def _take_steps(
    descent: Descent, task: _Task, order: npt.NDArray[np.int64], description: str | None
) -> None:
    """Take a step for each batch of the rows in this order."""
    taken = 0
    with _bar(math.ceil(len(order) / task.batch_size), description) as bar:
        try:
            for more in descent.take(order):
                taken += more
                if bar is not None:
                    bar.update(more)
        except ValueError as error:  # X_train was checked: the parameters have grown too large
            raise _LostError(taken + 1, str(error)) from error


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused
def _begin(start: Reached, task: _Task) -> Reached:
    """Measure the loss before the first step, and check that training can begin."""
    try:
        loss, _ = _training_measures(start.params, task)
    except ValueError as error:
        raise ValueError(f"X_train does not go with params: {error}") from error
    if not math.isfinite(loss):
        raise ValueError(f"params must give a finite loss with weight_decay, got {loss}")
    return start._replace(start_loss=loss)


def _training_measures(params: Params, task: _Task) -> tuple[float, float]:
    return evaluate(
        params,
        task.X_train,
        task.y_train,
        loss=task.loss,
        weight_decay=task.weight_decay,
        sample_weight=task.sample_weight,
        backend=task.backend,
    )


def _with_measures(reached: Reached, descent: Descent, task: _Task) -> History:
    """Add the losses and accuracies that the parameters have after an epoch."""
    history, params = reached.history.copy(), descent.params
    batches = math.ceil(len(task.y_train) / task.batch_size)
    try:
        for i, moment in enumerate(descent.moments):
            check_finite_params(moment, name=f"optimizer_state.moments[{i}]")
        train_loss, train_acc = _training_measures(params, task)
        if task.X_val is not None and task.y_val is not None:
            val_loss, val_acc = evaluate(
                params, task.X_val, task.y_val, loss=task.loss, backend=task.backend
            )
            history.val_loss.append(val_loss)
            history.val_acc.append(val_acc)
    except ValueError as error:  # as in _take_steps
        raise _LostError(batches, str(error)) from error
    # Further up, a curve of float64 numbers cannot hold both what it began with and where it is.
    guess = LOSSES[task.loss].of_a_guess(task.y_train.shape[1])
    known = max(reached.start_loss, guess)
    if not EPS * train_loss <= known:  # nor if it is NaN
        reason = f"the loss after it is {train_loss:.3g}, and was {reached.start_loss:.3g} at first"
        raise _LostError(batches, reason)
    history.train_loss.append(train_loss)
    history.train_acc.append(train_acc)
    history.penalty.append(float(penalty.forward(params, task.weight_decay)))
    return history


def _take_up(
    file: CheckpointFile,
    start: Reached,
    task: _Task,
    rng: np.random.Generator,
    *,
    resume: bool,
) -> Reached:
    """Resume from the checkpoint, or begin by writing it, which shows that it can be written."""
    if not file.path.exists():
        reached = _begin(start, task)
        file.remove_drafts()
        file.save(reached, rng)
        return reached
    if not resume:
        what = "there is a checkpoint already, resume from it or remove it"
        raise FileExistsError(errno.EEXIST, what, os.fspath(file.path))
    reached = file.load(start, rng)
    file.remove_drafts()
    return reached


def _as_training_rows(
    params: Params,
    X_train: npt.ArrayLike | Rows,
    y_train: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None,
    as_targets: Callable[..., Array],
) -> tuple[Rows, Array, Array | None]:
    """Check the training rows, and leave out those of weight 0: no batch is without weight."""
    rows = as_rows_to_train(params, X_train, name="X_train")
    target = as_targets(params, rows.shape[0], y_train, name="y_train")
    sample_weight = as_sample_weight(len(target), sample_weight)
    if sample_weight is None or sample_weight.all():
        return rows, target, sample_weight
    kept = sample_weight > 0
    return rows[kept], target[kept], sample_weight[kept]


def _as_validation_rows(
    params: Params,
    X_val: npt.ArrayLike | Rows | None,
    y_val: npt.ArrayLike | None,
    as_targets: Callable[..., Array],
) -> tuple[Rows | None, Array | None]:
    """Check the validation rows: inputs and targets, or neither."""
    if X_val is None and y_val is None:
        return None, None
    if X_val is None or y_val is None:
        given, missing = ("y_val", "X_val") if X_val is None else ("X_val", "y_val")
        raise ValueError(f"{missing} must be given with {given}, got None")
    rows = as_rows_to_train(params, X_val, name="X_val")
    return rows, as_targets(params, rows.shape[0], y_val, name="y_val")


def _as_checkpoint_file(checkpoint: object, task: _Task, *, resume: bool) -> CheckpointFile | None:
    if checkpoint is None:
        if resume:
            raise ValueError("checkpoint must be the file to resume from, got None")
        return None
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint must be a path or None, got {name_of_kind(checkpoint)}")
    path = Path(checkpoint)
    if not path.parent.is_dir():
        what = "checkpoint must be in a folder that exists, there is none"
        raise FileNotFoundError(errno.ENOENT, what, os.fspath(path.parent))
    if path.is_dir():
        what = "checkpoint must be a file, this is a folder"
        raise IsADirectoryError(errno.EISDIR, what, os.fspath(path))
    facts = task._asdict()
    arrays = ("X_train", "y_train", "sample_weight", "X_val", "y_val")
    data = {name: fingerprint(facts.pop(name)) for name in arrays}
    settings = {name: as_json(value) for name, value in facts.items()}
    return CheckpointFile(path, settings=settings, data=data)


def backend_to_take(
    backend: object, checkpoint: str | os.PathLike[str] | None, *, resume: bool
) -> str:
    """Choose what computes: what is asked for or, for "auto", what computed the checkpoint.

    If that cannot compute here, or there is no checkpoint to resume from, "auto" is what it is
    everywhere.

    Raises:
        TypeError, ValueError, ModuleNotFoundError: as for `as_backend`.
    """
    if backend == "auto" and resume and checkpoint is not None:
        saved = backend_of(checkpoint)
        if saved in BACKENDS and (saved != "numba" or obstacle_to_compiling() is None):
            return as_backend(saved)
    return as_backend(backend)


def _for_loss(backend: str, loss: str) -> str:
    """Take NumPy for a loss that has no compiled pass."""
    return backend if loss == "softmax_cross_entropy" else "numpy"


def _as_max_grad_norm(value: object) -> float | None:
    if value is None:
        return None
    return as_number(value, name="max_grad_norm", minimum=0, strict=True)


def _bar(batches: int, description: str | None) -> contextlib.AbstractContextManager[Any]:
    """Show a progress bar of so many batches, if there is a description for it."""
    if description is None:
        return contextlib.nullcontext()
    from tqdm.auto import tqdm  # noqa: PLC0415, the core needs NumPy alone

    return tqdm(total=batches, desc=description, unit="batch", leave=False)
