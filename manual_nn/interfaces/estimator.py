"""A classifier for scikit-learn: `train` behind its estimator protocol.

Axes: N rows, D inputs, K classes.
"""

import contextlib
import copy
import math
import operator
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import DTYPES, as_bool, as_count, as_number, as_sample_weight
from manual_nn.checks.extras import train_extra
from manual_nn.interfaces.advice import of_accuracy, of_dead_units, of_loss, of_sizes
from manual_nn.interfaces.namespaces import as_numpy, as_those_of, is_dispatched, name_of
from manual_nn.layers.dense import Params
from manual_nn.layers.sigmoid import sigmoid
from manual_nn.layers.softmax_cross_entropy import log_softmax, softmax
from manual_nn.models import mlp
from manual_nn.training.adam import Adam, AdamW
from manual_nn.training.early_stopping import Convergence, Patience, kept_epoch
from manual_nn.training.history import (
    History,
    TrainingDiverged,
    TrainingInterrupted,
    TrainingResult,
)
from manual_nn.training.loop import train_epochs
from manual_nn.training.optimizer import Optimizer, OptimizerState
from manual_nn.training.rows import Rows, is_sparse
from manual_nn.training.schedule import CosineSchedule
from manual_nn.training.sgd import SGD

with train_extra("scikit-learn"):
    from sklearn import get_config
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import LabelEncoder, MaxAbsScaler, StandardScaler
    from sklearn.utils import Tags, check_random_state, gen_batches
    from sklearn.utils.class_weight import compute_class_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data

AUTO_BATCH_SIZE = 64  # of 150 rows, 200 epochs of a step each learn less
FEW_ROWS = 10  # whose standard deviation is off by a quarter, 1 / sqrt(2 (n - 1)), or more


class _Rows(NamedTuple):
    """What a network is trained on, as it takes it."""

    X: Rows  # (N, D)
    y: npt.NDArray[np.int64]  # (N,), class numbers, or (N, K), 0 and 1
    weight: Array | None  # (N,), all above 0
    X_val: Rows | None  # the rows held out, likewise
    y_val: npt.NDArray[np.int64] | None


class BackpropClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # untyped base
    """A classifier for scikit-learn: a dense ReLU network, trained by `train`.

    It minimises the loss of `loss` on minibatches. Parameters that mean the same have the names and
    the defaults of scikit-learn's `MLPClassifier`, except that

    - `weight_decay` takes the place of its `alpha`: its penalty of a batch of n rows is
      0.5 * alpha * sum ||W_l||^2 / n, so `alpha = 2 * weight_decay * n`;
    - "auto" is a batch of 64 rows, there of 200;
    - `activation`, `shuffle`, `power_t` and `max_fun` are absent: the activation is the ReLU, rows
      are shuffled in each epoch, and there is neither `learning_rate="invscaling"` or "adaptive"
      nor `solver="lbfgs"`;
    - `params_` holds what `coefs_` and `intercepts_` do, layer by layer.

    A network computes in float32 if its first X was float32, otherwise in float64.

    Where scikit-learn is told to dispatch arrays (`array_api_dispatch=True`), those of other
    libraries are taken, too: NumPy computes, and results are given in the library and on the device
    of X, except for labels that are strings.

    Args:
        hidden_layer_sizes: the hidden widths, or one as a number; () is softmax regression.
        solver: how a gradient becomes a step: "adam", "adamw" or "sgd".
        weight_decay: the factor of the penalty, weight_decay * sum ||W_l||^2; with "adamw" it
            decays the weights apart from Adam, adam.md (4).
        batch_size: rows in a step; "auto" is 64, or all rows if they are fewer.
        learning_rate: "constant", or "cosine": it falls to 0 within `max_iter` epochs.
        learning_rate_init: the factor of a step, or of the first one.
        max_iter: how many epochs `fit` runs at most.
        tol: by how much the training loss has to fall, or with `early_stopping` the accuracy on the
            rows held out to rise, for an epoch of `fit` to count as one that improves it.
        n_iter_no_change: how many epochs in a row may fail to; `fit` ends with the next one.
        momentum: what remains of the velocity after a step of "sgd", from 0 to below 1.
        nesterovs_momentum: whether "sgd" takes its gradient's step from where the velocity leads.
        beta_1: what remains of the mean of gradients after a step of "adam" or "adamw", likewise.
        beta_2: what remains of the mean of their squares, likewise.
        epsilon: what is added to the root of the latter, above 0.
        standardize: whether each feature is shifted and scaled to mean 0 and variance 1, as in the
            rows that the network is first trained on, with their weights, or scaled only, if these
            are sparse; "auto": only if features are of very unequal size, or all of them are huge
            or tiny, by a factor of 1,000.
        class_weight: a factor for the weights of each class's rows, {label: factor}, or "balanced"
            for those that give all classes the same weight, or None.
        early_stopping: whether `fit` holds rows out, ends by the accuracy on them, and keeps the
            network of the epoch with the highest.
        validation_fraction: the fraction of each class's rows held out for that.
        warm_start: whether `fit` continues with the present network, and its random order of the
            rows, instead of a new one.
        random_state: a seed, or a generator to draw it from; None for NumPy's global one.
        verbose: print the loss without the penalty, the accuracy and the penalty after each epoch;
            on a terminal, show a progress bar on the standard error stream, too.
        backend: what computes the steps: "numpy"; "numba", which compiles them when it is first
            used on a machine, for seconds; or "auto", which is "numba" where it is installed.

    Attributes:
        classes_: the labels, sorted, (K,); where a row may have several, those of the columns of y
            in their order: what `partial_fit` was given as classes, or else the numbers from 0.
        params_: the layers of the network.
        scaler_: what standardises the rows that the network takes, or None.
        history_: loss and accuracy after each epoch of this network.
        loss_curve_: the training loss, with the penalty, after each of them.
        validation_scores_: the accuracy on the rows held out after each epoch that had such rows.
        n_iter_: the number of all epochs.
        n_features_in_: D.
        feature_names_in_: the names of the columns, (D,), if X had names and all are strings.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = BackpropClassifier(16, learning_rate_init=0.05, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X[:1]).round(1), classifier.score(X, y) > 0.95
    (array([[1., 0., 0.]]), True)
    """

    params_: Params
    scaler_: StandardScaler | None
    history_: History
    _several: bool  # whether a row may have several labels
    _namespace: str  # of the rows that it was last trained on
    _last_optimizer: Optimizer | None
    _start_loss: float | None
    _optimizer_state: OptimizerState | None
    classes_: npt.NDArray[Any]

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] | int = (100,),
        *,
        solver: Literal["adam", "adamw", "sgd"] = "adam",
        weight_decay: float = 1e-4,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "cosine"] = "constant",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        standardize: bool | Literal["auto"] = "auto",
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        backend: Literal["auto", "numpy", "numba"] = "auto",
    ) -> None:
        """Keep the parameters; `fit` checks them, as scikit-learn requires."""
        self.hidden_layer_sizes = hidden_layer_sizes
        self.solver = solver
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.standardize = standardize
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.backend = backend

    def fit(
        self,
        X: npt.ArrayLike | Rows,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Train a new network, or with `warm_start` the present one.

        Interrupted, as by Ctrl-C, it keeps the network of that moment, or with `early_stopping` the
        best.

        The loss is that of `train`, sum_n w_n L_n / sum_n w_n + penalty, w_n the weight of row n
        times that of its class. Where a batch is all rows, a row of weight 2 is the same as that
        row twice, up to rounding. Rows held out all count the same, except those of weight 0.

        Args:
            X: the inputs, (N, D), finite numbers: an array, a data frame, or a sparse array or
                matrix of SciPy, of which only a batch at a time is made dense.
            y: their labels, (N,), of any type; or where a row may have any number of them, of each
                label whether it is there, 0 or 1, (N, K), which may be sparse. The loss is then the
                binary cross-entropy, the mean over the labels.
            sample_weight: the weights of the rows, (N,), none negative, or None for equal ones.

        Returns:
            Itself.

        Raises:
            TrainingDiverged: the network has reached numbers that are not finite.
            TypeError: a parameter or an argument is of the wrong type.
            ValueError: shapes do not fit each other, or a number is out of range.

        Warns:
            ConvergenceWarning: training was interrupted, or had not converged after `max_iter`
                epochs; the loss has grown, or three quarters of the units of a hidden layer are 0
                for all rows; with `early_stopping`, the network is no more accurate on the rows
                held out than the most frequent class.
            UserWarning: features are of very unequal size, or all of them are huge or tiny, and
                `standardize` is False.
        """
        fresh = not (self.warm_start and hasattr(self, "params_"))
        settings = self._settings(as_count(self.max_iter, name="max_iter"))
        if not fresh and self.learning_rate == "cosine":
            msg = "learning_rate must be 'constant' to go on with a network, got 'cosine'"
            raise ValueError(f"{msg}, which has ended with the first fit")
        hold_out = as_bool(self.early_stopping, name="early_stopping")
        rule = (Patience if hold_out else Convergence)(
            as_count(self.n_iter_no_change, name="n_iter_no_change"),
            as_number(self.tol, name="tol", minimum=0),
        )
        with _unchanged_on_failure(self):
            rows = self._prepare(X, y, sample_weight, fresh=fresh, hold_out=hold_out)
            unfinished = (
                f"training has not converged in max_iter={self.max_iter} epochs: choose a larger "
                "max_iter or learning_rate_init"
            )
            try:
                result = self._train(rows, settings, rule)
            except TrainingInterrupted as error:
                result, unfinished = error.result, str(error)
        said = [None if result.stopped_early else unfinished]
        said += self._advice(rows, result.history, rule, fresh=fresh)
        for text in filter(None, said):
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
        return self

    def partial_fit(
        self,
        X: npt.ArrayLike | Rows,
        y: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Train the network for one epoch on these rows; the first call makes it.

        No row is held out. Features are standardised, if at all, by the rows of the first call,
        which should be many. From a new network, k calls with the same rows are one `fit` of k
        epochs without early stopping, bit for bit.

        Args:
            X: the inputs, (N, D), as for `fit`.
            y: their labels, (N,).
            classes: all labels there are, (K,), in any order, or where a row may have several, in
                that of the columns of y; needed in the first call.
            sample_weight: the weights of the rows, (N,), as for `fit`.

        Returns:
            Itself.

        Raises:
            TrainingDiverged, TypeError: as for `fit`.
            ValueError: likewise; or the classes are missing in the first call, or differ from those
                before, or `class_weight` is "balanced", which only all rows together determine.

        Warns:
            UserWarning: features are standardised by a first call of fewer than ten rows.
        """
        if self.class_weight == "balanced":
            msg = (
                "class_weight must be a dict or None for partial_fit, which does not see all rows "
                "at once, got 'balanced'"
            )
            raise ValueError(msg)
        if self.learning_rate == "cosine":
            msg = "learning_rate must be 'constant' for partial_fit, got 'cosine', which falls "
            raise ValueError(f"{msg}within the epochs of one fit")
        settings, fresh = self._settings(epochs=1), not hasattr(self, "params_")
        classes = as_numpy(classes)
        if fresh and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit, got None")
        if classes is not None and np.ndim(classes) != 1:
            raise ValueError(f"classes must be a sequence of labels, (K,), got {classes!r}")
        classes = None if classes is None else np.asarray(classes)
        if not (fresh or classes is None):
            found = classes if self._several else np.unique(classes)
            if not np.array_equal(found, self.classes_):
                msg = f"classes must be those of the first call, {self.classes_}, got {classes}"
                raise ValueError(msg)
        with _unchanged_on_failure(self):
            rows = self._prepare(X, y, sample_weight, fresh=fresh, classes=classes)
            self._train(rows, settings)
        if fresh and self.scaler_ is not None and len(rows.y) < FEW_ROWS:
            text = (
                f"features are standardised for good by the {len(rows.y)} rows of this first call"
            )
            warnings.warn(f"{text}: begin with more, or set standardize=False", stacklevel=2)
        return self

    def predict(self, X: npt.ArrayLike | Rows) -> npt.NDArray[Any]:
        """Compute the label of the most probable class of each row, or all that are probable.

        Args:
            X: the inputs, (N, D), as for `fit`.

        Returns:
            The labels, (N,), of the type of `classes_`; or of each class whether it is there, 0 or
            1, (N, K), if the network was trained on such.

        Raises:
            NotFittedError: there is no network yet.
            ValueError: X does not fit the network, or is not finite.
        """
        z = self._logits(X, "predict")
        labels = (z > 0).astype(np.int64) if self._several else self.classes_[z.argmax(axis=1)]
        return as_those_of(X, labels)

    def predict_proba(self, X: npt.ArrayLike | Rows) -> Array:
        """Compute the probabilities of the classes, as `manual_nn.predict_proba` does.

        Where a row may have several labels, they are those of each by itself, sigmoid(logits).

        Args:
            X: the inputs, (N, D), as for `fit`.

        Returns:
            The probabilities, (N, K), in the order of `classes_` and the dtype of the network.

        Raises:
            NotFittedError, ValueError: as for `predict`.
        """
        z = self._logits(X, "predict_proba")
        return as_those_of(X, sigmoid(z) if self._several else softmax(z))

    def predict_log_proba(self, X: npt.ArrayLike | Rows) -> Array:
        """Compute the logarithms of the probabilities, which are finite even where these are 0.

        Args:
            X: the inputs, (N, D), as for `fit`.

        Returns:
            The logarithms, (N, K), in the order of `classes_` and the dtype of the network.

        Raises:
            NotFittedError, ValueError: as for `predict`.
        """
        z = self._logits(X, "predict_log_proba")
        if not self._several:
            return as_those_of(X, log_softmax(z))
        return as_those_of(X, np.minimum(z, 0) - np.log1p(np.exp(-abs(z))))  # ln sigmoid(z)

    def decision_function(self, X: npt.ArrayLike | Rows) -> Array:
        """Compute the logits, or of two classes by how much that of the second is larger.

        Args:
            X: the inputs, (N, D), as for `fit`.

        Returns:
            The logits, (N, K), in the order of `classes_` and the dtype of the network; of two
            classes, one of which each row has, the differences, (N,).

        Raises:
            NotFittedError, ValueError: as for `predict`.
        """
        z = self._logits(X, "decision_function")
        return as_those_of(X, z if self._several or z.shape[1] != 2 else z[:, 1] - z[:, 0])

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss, with the penalty, after each epoch."""
        return self.history_.train_loss

    @property
    def validation_scores_(self) -> list[float]:
        """The accuracy on the rows held out after each epoch that had such rows."""
        return self.history_.val_acc

    @property
    def n_iter_(self) -> int:
        """How many epochs the network has been trained for."""
        return len(self.history_)

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: npt.ArrayLike | None,
        *,
        fresh: bool,
        classes: npt.NDArray[Any] | None = None,
        hold_out: bool = False,
    ) -> _Rows:
        """Check everything, make a network if it is to be new, and the rows as it takes them."""
        self._namespace = name_of(X)
        X, y, sample_weight = map(as_numpy, (X, y, sample_weight))
        shape = y.shape if is_sparse(y) else np.asarray(y).shape
        several = len(shape) == 2 and shape[1] > 1
        X, y = validate_data(self, X, y, accept_sparse="csr", multi_output=several, reset=fresh)
        check_classification_targets(y)
        hidden_sizes = _as_hidden_sizes(self.hidden_layer_sizes)
        X = _as_float(X)
        if fresh:
            self._several = several
            labels = np.arange(shape[1]) if several else y
            self._begin(X, labels if classes is None else classes, hidden_sizes)
        elif hidden_sizes != (those := [bias.size for _, bias in self.params_[:-1]]):
            msg = f"hidden_layer_sizes must be those of the network, {those}, got {hidden_sizes}"
            raise ValueError(msg)
        elif self.standardize != self._standardize:
            msg = f"standardize must be that of the first fit, {self._standardize!r}, to go on with"
            raise ValueError(f"{msg} the network, got {self.standardize!r}")
        target = self._indicators(y) if self._several else self._class_numbers(y)
        X, y, weight = self._weigh(X, target, sample_weight)
        X_val = y_val = None
        if hold_out:
            kept, held_out = self._split(y)
            X, X_val, y, y_val = X[kept], X[held_out], y[kept], y[held_out]
            weight = None if weight is None else weight[kept]
        if fresh:
            self.scaler_ = self._new_scaler(X, weight)
        if self.scaler_ is not None:
            if self.scaler_.with_mean and is_sparse(X):
                raise ValueError("X must be dense, as those rows were by which it is standardised")
            X = self.scaler_.transform(X)
            X_val = None if X_val is None else self.scaler_.transform(X_val)
        return _Rows(X, y, weight, X_val, y_val)

    def _advice(
        self, rows: _Rows, history: History, rule: Patience | Convergence, *, fresh: bool
    ) -> list[str | None]:
        """Say what went wrong in a training without an error, each with its remedy."""
        remedy = "choose a smaller learning_rate_init"
        if fresh and self.scaler_ is None:
            remedy += " or set standardize=True"
        advice = [of_dead_units(self.params_, self._blocks(rows.X))]
        epoch = kept_epoch(rule, history)
        if epoch > 0 and self._start_loss is not None:
            advice.append(of_loss(self._start_loss, history.train_loss[epoch - 1]))
        said = [text and f"{text}: {remedy}" for text in advice]
        if rows.y_val is not None and history.val_acc and not self._several:
            share = np.unique(rows.y_val, return_counts=True)[1].max() / len(rows.y_val)
            text = of_accuracy(history.val_acc[epoch - 1], float(share))
            said.append(text and f"{text}: choose another learning_rate_init or set standardize")
        return said

    def _train(
        self, rows: _Rows, settings: dict[str, Any], rule: Patience | Convergence | None = None
    ) -> TrainingResult:
        """Train for some epochs, and keep what is reached after each, or when interrupted."""
        loss = "binary_cross_entropy" if self._several else "softmax_cross_entropy"
        before, optimizer = self.history_, settings["optimizer"]

        def keep(result: TrainingResult) -> None:
            self.params_ = result.params
            if self._start_loss is None:
                self._start_loss = result.start_loss
            self._last_optimizer, self._optimizer_state = optimizer, result.optimizer_state
            self.history_ = History(*map(operator.add, astuple(before), astuple(result.history)))

        try:
            for result in train_epochs(
                self.params_,
                rows.X,
                rows.y,
                rows.X_val,
                rows.y_val,
                loss=loss,
                early_stopping=rule,
                sample_weight=rows.weight,
                rng=self._rng,
                optimizer_state=self._state_for(optimizer),
                **settings,
            ):
                keep(result)
                if self.verbose:
                    print(_epoch_in_words(self.history_), flush=True)
        except TrainingInterrupted as error:
            keep(error.result)
            raise
        except TrainingDiverged as error:
            advice = error.advice.replace("X_train", "X")
            error.advice = advice.replace("learning_rate", "learning_rate_init")
            if self.scaler_ is None and "scale" not in advice:
                error.advice += ", or scale X, for example by standardize=True"
            raise
        return result

    def _settings(self, epochs: int) -> dict[str, Any]:
        """Give the parameters that `train` takes; check those that have another name there."""
        auto = isinstance(self.batch_size, str) and self.batch_size == "auto"
        rate = as_number(self.learning_rate_init, name="learning_rate_init", minimum=0, strict=True)
        form = _as_choice(self.learning_rate, ("constant", "cosine"), name="learning_rate")
        return {
            "epochs": epochs,
            "batch_size": AUTO_BATCH_SIZE if auto else as_count(self.batch_size, name="batch_size"),
            "optimizer": self._optimizer(),
            "learning_rate": rate if form == "constant" else CosineSchedule(rate, epochs),
            "weight_decay": as_number(self.weight_decay, name="weight_decay", minimum=0),
            "progress": bool(self.verbose) and sys.stderr.isatty(),
            "backend": self.backend,
        }

    def _optimizer(self) -> Optimizer:
        """Make the optimizer of `train`; check what has another name there."""
        solver = _as_choice(self.solver, ("adam", "adamw", "sgd"), name="solver")
        momentum = _as_fraction(self.momentum, name="momentum")
        beta_1 = _as_fraction(self.beta_1, name="beta_1")
        beta_2 = _as_fraction(self.beta_2, name="beta_2")
        epsilon = as_number(self.epsilon, name="epsilon", minimum=0, strict=True)
        if solver == "sgd":
            return SGD(momentum, nesterov=bool(self.nesterovs_momentum) and momentum > 0)
        return (Adam if solver == "adam" else AdamW)(beta_1, beta_2, epsilon)

    def _state_for(self, optimizer: Optimizer) -> OptimizerState | None:
        """Give what the last optimizer remembers, if this one can go on with it."""
        last = self._last_optimizer
        if last is None:
            return None
        alike = type(last) is type(optimizer) and last.moments == optimizer.moments
        return self._optimizer_state if alike else None

    def _begin(self, X: Rows, labels: npt.NDArray[Any], hidden_sizes: list[int]) -> None:
        """Draw a new network for these inputs and the classes among the labels."""
        random = check_random_state(self.random_state)
        seed, self._split_seed = random.randint(np.iinfo(np.int32).max, size=2)
        self._rng = np.random.default_rng(seed)
        self._encoder = LabelEncoder().fit(labels)
        self.classes_ = self._encoder.classes_
        if self._several:  # sorted, they would not be those of the columns
            if len(self.classes_) != len(labels):
                raise ValueError(f"classes must differ from each other, got {labels}")
            self.classes_ = labels
        sizes = [X.shape[1], *hidden_sizes, len(self.classes_)]
        self.params_ = mlp.init_params(sizes, rng=self._rng, dtype=X.dtype)
        self.history_ = History()
        self._last_optimizer = self._optimizer_state = None
        self._start_loss = None  # before the first step of all
        self._standardize = self.standardize

    def _weigh(
        self, X: Rows, y: npt.NDArray[np.int64], sample_weight: npt.ArrayLike | None
    ) -> tuple[Rows, npt.NDArray[np.int64], Array | None]:
        """Drop the rows of weight 0, and multiply the others' weights by those of their classes."""
        weight = as_sample_weight(len(y), sample_weight)
        if weight is not None:
            kept = weight > 0
            X, y, weight = X[kept], y[kept], weight[kept]
        if self.class_weight is None:
            return X, y, weight
        if self._several:
            msg = "class_weight must be None where a row may have several labels"
            raise ValueError(f"{msg}, got {self.class_weight!r}")
        balanced = self.class_weight == "balanced"  # among the classes that occur
        weighted = np.unique(y) if balanced else np.arange(len(self.classes_))
        labels = self.classes_[weighted]
        factors = compute_class_weight(
            self.class_weight, classes=labels, y=self.classes_[y], sample_weight=weight
        )
        for label, value in zip(labels, factors, strict=True):
            as_number(value, name=f"class_weight[{label}]", minimum=0)
        factor = factors[np.searchsorted(weighted, y)]
        if not factor.any():
            raise ValueError(f"class_weight must not be 0 for all rows, got {self.class_weight}")
        return X, y, factor if weight is None else factor * weight

    def _new_scaler(self, X: Rows, weight: Array | None) -> StandardScaler | None:
        """Learn how to standardise the rows, or warn that this may be needed, or do neither."""
        wanted = self.standardize
        if not isinstance(wanted, bool | np.bool) and str(wanted) != "auto":
            raise ValueError(f"standardize must be True, False or 'auto', got {wanted!r}")
        largest = MaxAbsScaler().fit(X).max_abs_
        advice = of_sizes(largest, getattr(self, "feature_names_in_", None))
        if advice is None and wanted == "auto":
            return None
        if not wanted:
            if advice is not None:
                warnings.warn(f"{advice}: set standardize='auto' or True", stacklevel=4)
            return None
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            scaler = StandardScaler(with_mean=not is_sparse(X))  # shifted, they would be dense
            scaler.set_output(transform="default").fit(X, sample_weight=weight)
        if not np.isfinite(scaler.var_).all():
            j = int(np.isfinite(scaler.var_).argmin())
            msg = f"X must have finite variances to be standardised, but [{j}] reaches {largest[j]}"
            raise ValueError(msg)
        return scaler

    def _split(self, y: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
        """Draw the rows to train on and those held out: the same ones after a warm start."""
        fraction = _as_fraction(self.validation_fraction, name="validation_fraction", strict=True)
        stratify = None if self._several else y
        self._check_divisible(y, fraction)
        kept, held_out = train_test_split(
            np.arange(len(y)), test_size=fraction, stratify=stratify, random_state=self._split_seed
        )
        return kept, held_out

    def _check_divisible(self, y: npt.NDArray[np.int64], fraction: float) -> None:
        """Check that rows can be held out, of each class alike, and others left."""
        N, K, of_each = len(y), 1, ""
        if not self._several:
            classes, counts = np.unique(y, return_counts=True)
            K, of_each = len(classes), f", one of each of {len(classes)} classes"
            if counts.min() < 2:
                label = self.classes_[classes[counts.argmin()]]
                msg = "y must have two rows of each class or more for early_stopping, got one of "
                raise ValueError(f"{msg}{label!s}")
        held_out = math.ceil(fraction * N)
        if not K <= held_out <= N - K:
            msg = f"validation_fraction must hold out rows and leave others{of_each}"
            raise ValueError(f"{msg}, got {fraction:g}, which is {held_out} of {N} rows")

    def _indicators(self, y: Any) -> npt.NDArray[Any]:
        """Check that y says of each class by 0 or 1 whether it is there, (N, K)."""
        y = y.toarray() if is_sparse(y) else y
        K = len(self.classes_)
        if y.shape[1:] != (K,):
            raise ValueError(
                f"y must have shape (N, {K}), one column for each class, got {y.shape}"
            )
        if y.dtype.kind not in "fiub" or not np.isin(y, (0, 1)).all():
            msg = "y must hold 0 and 1 where it has several columns, each for a label"
            raise ValueError(f"{msg}; for columns of more classes there is MultiOutputClassifier")
        return y.astype(np.int64)

    def _class_numbers(self, y: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Give each label its place in `classes_`."""
        if y.ndim != 1:
            raise ValueError(f"y must have shape (N,), as in the first call, got {y.shape}")
        unseen = np.setdiff1d(y, self.classes_)
        if len(unseen) > 0:
            known, new = (labels.tolist() for labels in (self.classes_, unseen))
            msg = f"y must hold labels that the network was made for, {known}, got {new} too"
            raise ValueError(f"{msg}; partial_fit takes all that there will be as classes")
        return self._encoder.transform(y)

    def _logits(self, X: npt.ArrayLike | Rows, method: str) -> Array:
        """Check the rows that a method is given, and compute their logits, (N, K), in blocks."""
        check_is_fitted(self, "params_")
        if is_dispatched() and name_of(X) != self._namespace:
            msg = (
                f"the X of {type(self).__name__}.{method}() must use the same namespace and device"
            )
            msg += f" as that of fit(), {self._namespace}, got {name_of(X)}; move X there, or the"
            raise ValueError(f"{msg} estimator by move_estimator_to of sklearn.utils._array_api")
        inputs = self._inputs(as_numpy(X))
        return np.concatenate([mlp.logits(self.params_, rows) for rows in inputs])

    def _inputs(self, X: npt.ArrayLike | Rows) -> Iterator[Array]:
        """Check the rows, and give them as the network takes them, in blocks."""
        for rows in self._blocks(validate_data(self, X, accept_sparse="csr", reset=False)):
            yield _as_float(rows) if self.scaler_ is None else self.scaler_.transform(rows)

    def _blocks(self, X: Rows) -> Iterator[Array]:
        """Give as many rows at a time, dense, as pass within scikit-learn's working memory."""
        N, D = X.shape
        numbers = D + sum(bias.size for _, bias in self.params_)  # of each row
        memory = get_config()["working_memory"] * 2**20  # which is in MiB
        block_size = max(1, int(memory / (numbers * self.params_[0].bias.itemsize)))
        for rows in gen_batches(N, block_size):
            yield X[rows].toarray() if is_sparse(X) else X[rows]

    def __sklearn_array_api_convert__(self, move: Callable[[Array], Any]) -> Self:
        """Copy it for rows of the library and on the device to which an array is moved."""
        moved = copy.deepcopy(self)
        moved._namespace = name_of(move(np.zeros(1)))
        return moved

    def __sklearn_tags__(self) -> Tags:
        """Say what it takes."""
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags


@contextlib.contextmanager
def _unchanged_on_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Restore everything on failure: the network that there was, or none."""
    before = vars(estimator).copy()
    if "_rng" in before:  # which training advances in place
        before["_rng"] = copy.deepcopy(before["_rng"])
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def _as_float(X: Rows) -> Rows:
    """Keep float32, which scikit-learn's own conversion turns into float64 in a Polars frame."""
    return X if X.dtype in DTYPES else X.astype(np.float64)


def _as_hidden_sizes(sizes: object) -> list[int]:
    if isinstance(sizes, int | np.integer):
        return [as_count(sizes, name="hidden_layer_sizes")]
    if not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str):
        got = type(sizes).__name__
        raise TypeError(f"hidden_layer_sizes must be whole numbers, one or several, got {got}")
    return [as_count(size, name=f"hidden_layer_sizes[{l}]") for l, size in enumerate(sizes)]


def _as_fraction(value: object, *, name: str, strict: bool = False) -> float:
    """Check that value is from 0, or above 0, to below 1."""
    fraction = as_number(value, name=name, minimum=0, strict=strict)
    if fraction >= 1:
        raise ValueError(f"{name} must be below 1, got {value}")
    return fraction


def _as_choice(value: object, choices: tuple[str, ...], *, name: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def _epoch_in_words(history: History) -> str:
    """Write the last values of the curves; both losses are without the penalty, to be compared."""
    curves = {"loss": history.loss_of_rows, "accuracy": history.train_acc}
    if history.val_loss:
        curves |= {"validation loss": history.val_loss, "validation accuracy": history.val_acc}
    if any(history.penalty):
        curves["penalty"] = history.penalty
    values = (f"{name} {curve[-1]:.4f}" for name, curve in curves.items())
    return f"Epoch {len(history)}: {', '.join(values)}"
