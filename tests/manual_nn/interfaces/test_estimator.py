"""The classifier for scikit-learn: its protocol, and that it is `train` and no more.

Axes: N rows, D inputs, K classes.
"""

import contextlib
import copy
import importlib.util
import itertools
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.estimator_checks import estimator_checks_generator
from threadpoolctl import threadpool_limits

import manual_nn
from manual_nn import BackpropClassifier, Dense, TrainingResult
from manual_nn.compiled import steps
from manual_nn.interfaces.experiment import Settings
from manual_nn.models import mlp
from manual_nn.training.adam import Adam, AdamW
from manual_nn.training.descent import Descent
from manual_nn.training.early_stopping import Convergence
from manual_nn.training.history import TrainingDiverged
from manual_nn.training.loop import train_epochs
from manual_nn.training.optimizer import Optimizer
from manual_nn.training.schedule import CosineSchedule
from manual_nn.training.sgd import SGD
from reference.arrays import Array
from tests.conftest import depth, half_of
from tests.support.bits import same_bits
from tests.support.cases import each

# Most networks here are trained for too short a time to learn anything.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

Params = tuple[Dense, ...]

N, D, K = 30, 4, 3
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, D)), np.arange(N) % K
WEIGHT = RNG.integers(4, size=N).astype(float)  # some of them 0
LABELS = np.array(["ash", "elm", "oak"])


def classifier(**parameters: Any) -> BackpropClassifier:
    """Make one of several batches an epoch, the last of them smaller."""
    few = BackpropClassifier((5,), batch_size=8, max_iter=4, random_state=7)
    return few.set_params(**parameters)


def seeds(random_state: int = 7) -> tuple[int, int]:
    """Draw the seed of the network and of the order of the rows, and that of the split."""
    network, split = np.random.RandomState(random_state).randint(2**31 - 1, size=2)
    return network, split


def train(X: Array, y: Array, *rest: Any, **options: Any) -> TrainingResult:
    """Train as `classifier()` is to."""
    rng = np.random.default_rng(seeds()[0])
    params = manual_nn.init_params([D, 5, K], rng=rng, dtype=X.dtype)
    defaults: dict[str, Any] = {"batch_size": 8, "epochs": 4, "early_stopping": None}
    defaults["optimizer"] = Adam()
    return manual_nn.train(params, X, y, *rest, rng=rng, **(defaults | options))


def checks() -> Iterator[Any]:
    """Give scikit-learn's checks of two networks, or each check of one of them."""
    softmax_regression = BackpropClassifier((), learning_rate_init=0.1)  # one layer moves less
    for turn, network in enumerate([BackpropClassifier(), softmax_regression]):
        yield from half_of([*filter(can_be_made, estimator_checks_generator(network))], turn)


def can_be_made(estimator_and_check: tuple[BackpropClassifier, Any]) -> bool:
    """Say whether the arrays that a check is about are of a library and on a device that we have.

    There is a check for each library that scikit-learn knows, and for some pairs of them.
    """
    _, check = estimator_and_check
    about = check.keywords
    places = [about[name] for name in ("X_ns_and_device", "other_ns_and_device") if name in about]
    if "array_namespace" in about:
        places.append((about["array_namespace"], about.get("device_name")))
    return all(
        importlib.util.find_spec(library) and device in {None, "cpu", "CPU_DEVICE", "device1"}
        for library, device in places
    )


def described(value: Any) -> str:
    """Name an estimator or a check, which may have some of its arguments already."""
    return getattr(getattr(value, "func", value), "__name__", str(value))


@pytest.mark.long
@pytest.mark.parametrize(("estimator", "check"), [*checks()], ids=described)
def test_every_check_of_scikit_learn_passes(
    estimator: BackpropClassifier,
    check: Callable[[BackpropClassifier], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # or else it skips one, with NumPy's arrays
    check(estimator)


# It is `train`.

# Parameters, and the optimizer that they mean.
SOLVERS: dict[str, tuple[dict[str, Any], Optimizer]] = {
    "adam": ({}, Adam()),
    "adam's": ({"beta_1": 0.5, "beta_2": 0.25, "epsilon": 0.125}, Adam(0.5, 0.25, 0.125)),
    "adamw": ({"solver": "adamw"}, AdamW()),
    "adamw's": ({"solver": "adamw", "beta_1": 0.5, "beta_2": 0.25}, AdamW(0.5, 0.25)),
    "sgd": ({"solver": "sgd"}, SGD(0.9, nesterov=True)),
    "momentum": ({"solver": "sgd", "momentum": 0.5, "nesterovs_momentum": False}, SGD(0.5)),
    "plain": ({"solver": "sgd", "momentum": 0.0}, SGD()),
}


@given(
    hidden_sizes=st.lists(st.integers(1, 5), max_size=2),
    rows=st.integers(1, 20),
    batch_size=st.integers(1, 25),
    epochs=st.integers(1, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    solver=st.sampled_from(list(SOLVERS)),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_train_to_the_bit(
    hidden_sizes: list[int],
    rows: int,
    batch_size: int,
    epochs: int,
    dtype: npt.DTypeLike,
    solver: str,
    weighted: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    inputs, labels = rng.normal(size=(rows, D)).astype(dtype), LABELS[rng.integers(K, size=rows)]
    weight = rng.integers(3, size=rows) + np.eye(rows)[0] if weighted else None
    fitted = BackpropClassifier(
        hidden_sizes,
        **SOLVERS[solver][0],
        batch_size=batch_size,
        weight_decay=0.01,
        learning_rate_init=0.05,
        max_iter=epochs,
        random_state=seed,
    )
    assert fitted.fit(inputs, labels, sample_weight=weight) is fitted
    classes, y = np.unique(labels, return_inverse=True)
    rng = np.random.default_rng(seeds(seed)[0])
    params = manual_nn.init_params([D, *hidden_sizes, len(classes)], rng=rng, dtype=dtype)
    result = manual_nn.train(
        params,
        inputs,
        y,
        batch_size=batch_size,
        optimizer=SOLVERS[solver][1],
        weight_decay=0.01,
        learning_rate=0.05,
        epochs=epochs,
        early_stopping=None,
        sample_weight=weight,
        rng=rng,
    )
    assert same_bits(fitted.params_, result.params)
    assert fitted.history_ == result.history
    assert fitted.loss_curve_ == result.history.train_loss
    assert fitted.n_iter_ == len(result.history) == epochs
    assert fitted.predict_proba(inputs).dtype == fitted.predict_log_proba(inputs).dtype == dtype


def test_its_predictions_are_those_of_the_network() -> None:
    fitted = classifier().fit(X, LABELS[Y])
    probabilities = manual_nn.predict_proba(fitted.params_, X)
    assert fitted.predict_proba(X).tobytes() == probabilities.tobytes()
    logits = manual_nn.logits(fitted.params_, X)
    assert fitted.decision_function(X).tobytes() == logits.tobytes()
    assert (fitted.predict(X) == LABELS[manual_nn.predict(fitted.params_, X)]).all()
    assert fitted.score(X, LABELS[Y]) == np.mean(fitted.predict(X) == LABELS[Y])


def test_a_probability_that_underflows_has_its_logarithm() -> None:
    fitted = classifier(hidden_layer_sizes=()).fit(X, Y)
    fitted.params_ = (Dense(np.zeros((D, K)), np.array([0.0, -2000.0, -1000.0])),)
    assert fitted.predict_proba(X[:1]).tolist() == [[1, 0, 0]]
    assert fitted.predict_log_proba(X[:1]).tolist() == [[0, -2000, -1000]]


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_predictions_need_no_more_than_the_working_memory(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 rows at a time, in each of which there are D + 5 + K numbers."""
    fitted = classifier().fit(X, LABELS[Y])
    # BLAS may add up another number of rows in another order: all sums are exact.
    fitted.params_ = tuple(Dense(*(np.round(4 * a) / 4 for a in layer)) for layer in fitted.params_)
    rows = RNG.integers(-9, 9, (10_000, D))
    whole = getattr(fitted, method)(rows)
    sizes: list[int] = []

    def noted(params: Params, X: Array) -> Array:
        sizes.append(len(X))
        return logits(params, X)

    logits = mlp.logits
    monkeypatch.setattr(mlp, "logits", noted)
    with config_context(working_memory=2_000 * (D + 5 + K) * 8 / 2**20):
        parts = getattr(fitted, method)(rows)
    assert sizes == [2_000] * 5
    assert (parts == whole).all()


def test_auto_is_64_rows_a_batch_or_all_of_them() -> None:
    many, labels = np.resize(X, (150, D)), np.resize(Y, 150)
    for inputs, y in ((X, Y), (many, labels)):
        fitted = classifier(batch_size="auto").fit(inputs, y)
        assert same_bits(fitted.params_, train(inputs, y, batch_size=min(64, len(y))).params)
    assert not same_bits(fitted.params_, train(many, labels, batch_size=150).params)


def test_the_defaults_are_those_of_scikit_learns_network_or_of_our_command_line() -> None:
    ours, theirs = BackpropClassifier().get_params(), MLPClassifier().get_params()
    own = {
        "class_weight": None,
        "backend": Settings().backend,
        "standardize": "auto",
        "weight_decay": Settings().weight_decay,
    }
    assert ours == {name: theirs[name] for name in ours if name not in own} | own
    for name in theirs.keys() - ours.keys():
        assert f"`{name}`" in (BackpropClassifier.__doc__ or ""), name


def test_a_cosine_falls_within_the_epochs_of_the_fit() -> None:
    fitted = classifier(learning_rate="cosine", learning_rate_init=0.5).fit(X, Y)
    schedule = CosineSchedule(0.5, epochs=4)
    assert same_bits(fitted.params_, train(X, Y, learning_rate=schedule).params)
    for go_on in (fitted.partial_fit, fitted.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match=r"learning_rate must be 'constant' (to go on|for)"):
            go_on(X, Y)


@pytest.mark.parametrize(
    ("now", "remembers"),
    [
        ({"beta_1": 0.5}, True),
        ({"solver": "sgd"}, False),
        ({"solver": "adamw"}, False),
    ],
    ids=str,
)
def test_another_solver_begins_without_what_the_last_one_remembers(
    now: dict[str, Any], remembers: bool
) -> None:
    fitted = classifier(max_iter=1).fit(X, Y)
    rng = np.random.default_rng(seeds()[0])
    first = manual_nn.init_params([D, 5, K], rng=rng)
    options: dict[str, Any] = {
        "batch_size": 8,
        "learning_rate": 0.001,
        "epochs": 1,
        "early_stopping": None,
        "rng": rng,
    }
    before = manual_nn.train(first, X, Y, optimizer=Adam(), **options)
    optimizer: Optimizer = SGD(0.9, nesterov=True) if now.get("solver") == "sgd" else Adam(0.5)
    if now.get("solver") == "adamw":
        optimizer = AdamW()
    state = before.optimizer_state if remembers else None
    after = manual_nn.train(
        before.params, X, Y, optimizer=optimizer, optimizer_state=state, **options
    )
    fitted.set_params(**now).partial_fit(X, Y)
    assert same_bits(fitted.params_, after.params)


def test_momentum_that_is_new_begins_without_a_velocity() -> None:
    fitted = classifier(solver="sgd", momentum=0.0).fit(X, Y).set_params(momentum=0.5)
    assert fitted.partial_fit(X, Y).n_iter_ == 5


@pytest.mark.parametrize("sizes", [(), (5,), (6, 3), np.array([6, 3]), 5, np.int64(5)], ids=str)
def test_the_hidden_widths_are_those_asked_for(sizes: Any) -> None:
    fitted = classifier(hidden_layer_sizes=sizes).fit(X, Y)
    assert [bias.size for _, bias in fitted.params_] == [*np.atleast_1d(sizes), K]


def test_whole_numbers_are_computed_with_in_float64() -> None:
    fitted = classifier().fit(X.round().astype(int), Y)
    assert fitted.predict_proba(X.round().astype(int)).dtype == np.float64


def test_a_float32_network_stays_one_with_float64_rows() -> None:
    fitted = classifier().fit(X.astype(np.float32), Y).partial_fit(X, Y)
    assert {array.dtype for array in itertools.chain(*fitted.params_)} == {np.dtype(np.float32)}
    assert fitted.predict_proba(X).dtype == np.float32


def test_verbose_prints_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = classifier().fit(X, Y)
    assert capsys.readouterr() == ("", "")
    fitted = classifier(verbose=True).fit(X, Y).partial_fit(X, Y)
    history = fitted.history_
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"Epoch {epoch}: loss {loss - part:.4f}, accuracy {accuracy:.4f}, penalty {part:.4f}"
        for epoch, (loss, accuracy, part) in enumerate(
            zip(history.train_loss, history.train_acc, history.penalty, strict=True), start=1
        )
    ]
    assert not said.err
    assert same_bits(quiet.partial_fit(X, Y).params_, fitted.params_)
    held_out = classifier(verbose=True, early_stopping=True, validation_fraction=0.2).fit(X, Y)
    loss, accuracy = held_out.history_.val_loss[-1], held_out.history_.val_acc[-1]
    line = f", validation loss {loss:.4f}, validation accuracy {accuracy:.4f}, penalty "
    assert line in capsys.readouterr().out.splitlines()[-1]
    classifier(verbose=True, weight_decay=0.0).fit(X, Y)
    assert "penalty" not in capsys.readouterr().out


def test_on_a_terminal_verbose_shows_a_bar_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    classifier(verbose=True).fit(X, Y)
    said = capsys.readouterr()
    assert "epoch 4" in said.err
    assert len(said.out.splitlines()) == 4


# Labels.


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(object),
        np.array([-3, 0, 12]),
        np.array([1.0, 2.0, 3.0]),
        np.array([2, 3, 250], np.uint8),
        pd.Series(["ash", "elm", "oak"]),
        pd.Series(["ash", "elm", "oak"], dtype="category"),
        pl.Series(["ash", "elm", "oak"]),
    ],
    ids=lambda labels: f"{type(labels).__module__.partition('.')[0]} {labels.dtype}",
)
def test_labels_may_be_of_any_type(labels: Any) -> None:
    fitted = classifier().fit(X, labels[Y])
    assert same_bits(fitted.params_, train(X, Y).params)
    assert fitted.classes_.tolist() == list(labels)
    assert fitted.predict(X).dtype == fitted.classes_.dtype
    assert set(fitted.predict(X)) <= set(labels)


def test_two_classes_may_be_false_and_true() -> None:
    fitted = classifier().fit(X, Y == 1)
    assert fitted.classes_.tolist() == [False, True]
    assert fitted.predict(X).dtype == bool
    assert fitted.predict_proba(X).shape == (N, 2)
    logits = manual_nn.logits(fitted.params_, X)
    assert fitted.decision_function(X).tolist() == (logits[:, 1] - logits[:, 0]).tolist()


# Several labels a row.

SEVERAL = np.stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > 1], axis=1).astype(int)


@pytest.mark.parametrize("of", [np.asarray, np.ndarray.tolist, pd.DataFrame, sparse.csr_array])
def test_several_labels_a_row_are_trained_on_by_the_binary_loss(of: Any) -> None:
    fitted = classifier(learning_rate_init=0.1).fit(X, of(SEVERAL), sample_weight=WEIGHT)
    rng = np.random.default_rng(seeds()[0])
    *_, want = train_epochs(
        manual_nn.init_params([D, 5, K], rng=rng),
        X,
        SEVERAL,
        loss="binary_cross_entropy",
        batch_size=8,
        optimizer=Adam(),
        learning_rate=0.1,
        weight_decay=1e-4,
        epochs=4,
        early_stopping=None,
        sample_weight=WEIGHT,
        rng=rng,
    )
    assert same_bits(fitted.params_, want.params)
    assert fitted.history_ == want.history
    assert fitted.classes_.tolist() == [0, 1, 2]
    z = manual_nn.logits(want.params, X)
    assert fitted.decision_function(X).tobytes() == z.tobytes()
    assert fitted.predict(X).tolist() == (z > 0).astype(int).tolist()
    # On either side exp and log1p are off by eps at most, two more roundings by half of it each.
    few: dict[str, Any] = {"rtol": 5 * np.finfo(float).eps, "atol": 0}
    np.testing.assert_allclose(fitted.predict_proba(X), 1 / (1 + np.exp(-z)), **few)
    np.testing.assert_allclose(fitted.predict_log_proba(X), -np.log1p(np.exp(-z)), **few)
    assert fitted.score(X, SEVERAL) == np.mean((fitted.predict(X) == SEVERAL).all(axis=1))


def test_several_labels_are_learnt_with_rows_held_out_and_in_parts() -> None:
    fitted = classifier(early_stopping=True, learning_rate_init=0.1, max_iter=100).fit(X, SEVERAL)
    assert len(fitted.validation_scores_) == fitted.n_iter_
    parts = classifier(learning_rate_init=0.1)
    for _ in range(50):
        parts.partial_fit(X, SEVERAL, classes=range(K))
    assert parts.score(X, SEVERAL) > 0.9
    whole = classifier(learning_rate_init=0.1, max_iter=50, n_iter_no_change=50).fit(X, SEVERAL)
    assert same_bits(parts.params_, whole.params_)


def test_the_names_of_several_labels_are_those_of_their_columns() -> None:
    names = ["zebra", "ant", "bee"]
    parts = classifier().partial_fit(X, SEVERAL, classes=names).partial_fit(X, SEVERAL, names)
    assert parts.classes_.tolist() == names
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        parts.partial_fit(X, SEVERAL, classes=sorted(names))
    with pytest.raises(ValueError, match="classes must differ from each other, got"):
        classifier().partial_fit(X, SEVERAL, classes=["ant", "bee", "ant"])


def test_the_logarithm_of_a_label_s_probability_is_finite_where_that_is_0() -> None:
    fitted = classifier(hidden_layer_sizes=()).fit(X, SEVERAL)
    fitted.params_ = (Dense(np.zeros((D, K)), np.array([0.0, -2000.0, 2000.0])),)
    assert fitted.predict_proba(X[:1]).tolist() == [[0.5, 0, 1]]
    assert fitted.predict_log_proba(X[:1]).tolist() == [[-np.log(2), -2000, 0]]


def test_of_two_labels_that_a_row_may_both_have_there_are_two_logits() -> None:
    fitted = classifier().fit(X, SEVERAL[:, :2])
    assert fitted.decision_function(X).shape == fitted.predict(X).shape == (N, 2)


def test_what_is_wrong_with_several_labels_is_named() -> None:
    with pytest.raises(ValueError, match=r"y must hold 0 and 1 where .* MultiOutputClassifier"):
        classifier().fit(X, SEVERAL * 2)
    with pytest.raises(ValueError, match="y must hold 0 and 1 where it has several columns"):
        classifier().fit(X, LABELS[SEVERAL])
    with pytest.raises(ValueError, match="class_weight must be None where a row may have several"):
        classifier(class_weight="balanced").fit(X, SEVERAL)
    with pytest.raises(
        ValueError, match=r"y must have shape \(N, 4\), one column for each class, got"
    ):
        classifier().partial_fit(X, SEVERAL, classes=range(4))
    several, one = (classifier(warm_start=True).fit(X, y) for y in (SEVERAL, Y))
    with pytest.raises(
        ValueError, match=r"y must have shape \(N, 3\), one column for each class, got"
    ):
        several.fit(X, Y)
    with pytest.raises(ValueError, match=r"y must have shape \(N,\), as in the first call, got"):
        one.fit(X, SEVERAL)


# Weights.


def test_a_row_of_weight_0_is_as_if_it_were_not_there() -> None:
    kept = WEIGHT > 0
    assert 0 < kept.sum() < N
    for parameters in ({}, {"class_weight": "balanced"}, {"early_stopping": True}):
        weighted = classifier(validation_fraction=0.3, **parameters)
        weighted.fit(X, Y, sample_weight=kept)
        removed = clone(weighted).fit(X[kept], Y[kept], sample_weight=np.ones(kept.sum()))
        assert same_bits(weighted.params_, removed.params_)
        assert weighted.history_ == removed.history_


def test_class_weights_multiply_the_weights_of_the_rows() -> None:
    factors = {"ash": 0.5, "oak": 3.0}
    of_row = np.array([0.5, 1.0, 3.0])[Y]
    for weight in (None, WEIGHT):
        weighted = classifier(class_weight=factors).fit(X, LABELS[Y], sample_weight=weight)
        product = of_row if weight is None else of_row * weight
        assert same_bits(weighted.params_, train(X, Y, sample_weight=product).params)


def test_balanced_weights_count_a_row_as_often_as_its_weight_says() -> None:
    y = np.repeat(np.arange(K), [5, 10, 15])
    repeated = y.repeat(WEIGHT.astype(int))
    factor = compute_class_weight("balanced", classes=np.arange(K), y=repeated)
    balanced = classifier(class_weight="balanced").fit(X, y, sample_weight=WEIGHT)
    assert same_bits(balanced.params_, train(X, y, sample_weight=factor[y] * WEIGHT).params)
    assert np.ptp(np.bincount(y, weights=factor[y] * WEIGHT)) < np.ptp(np.bincount(repeated))


# Features of unequal size.

SIZES = np.array([1e3, 1.0, 1e-3, 1.0])
FAR = X * SIZES + 100 * SIZES  # far from 0, too


def standardised(inputs: Any, weight: Array | None = None, **options: Any) -> Any:
    """Let scikit-learn scale rows, each of which counts as often as its weight says."""
    counted = slice(None) if weight is None else weight > 0
    scaler = StandardScaler(**options)
    scaler.fit(inputs[counted], sample_weight=None if weight is None else weight[counted])
    return scaler.transform(inputs)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("standardize", ["auto", True])
def test_rows_are_standardised(standardize: object, weight: Array | None) -> None:
    fitted = classifier(standardize=standardize).fit(FAR, Y, sample_weight=weight)
    want = train(standardised(FAR, weight), Y, sample_weight=weight)
    assert same_bits(fitted.params_, want.params)
    probabilities = manual_nn.predict_proba(fitted.params_, standardised(FAR, weight))
    assert (fitted.predict_proba(FAR) == probabilities).all()
    assert (fitted.predict(FAR) == probabilities.argmax(axis=1)).all()


def test_rows_held_out_have_no_part_in_the_standards() -> None:
    fitted = classifier(standardize=True, early_stopping=True, validation_fraction=0.2).fit(X, Y)
    kept, held_out = train_test_split(
        np.arange(N), test_size=0.2, stratify=Y, random_state=seeds()[1]
    )
    scaler = StandardScaler().fit(X[kept])
    rows = (scaler.transform(X[kept]), Y[kept], scaler.transform(X[held_out]), Y[held_out])
    result = train(*rows)
    assert fitted.history_ == result.history


def test_features_of_like_size_are_left_as_they_are_unless_asked_for() -> None:
    assert classifier().fit(X, Y).scaler_ is None
    assert classifier(standardize=True).fit(X, Y).scaler_ is not None


def test_standards_stay_what_they_were_in_the_first_fit() -> None:
    parts = classifier().partial_fit(FAR, Y, classes=range(K))
    first = parts.scaler_
    assert first is not None
    mean = first.mean_.copy()
    parts.partial_fit(X, Y)
    parts.set_params(warm_start=True).fit(X, Y)
    assert (first.mean_ == mean).all()
    assert parts.scaler_ is first
    assert parts.set_params(warm_start=False).fit(X, Y).scaler_ is None


def test_unequal_features_are_warned_of_where_they_are_not_to_be_standardised() -> None:
    plain = classifier(standardize=False, learning_rate_init=1e-6)
    with pytest.warns(UserWarning, match=r"unequal size: \[0\] reaches .* set standardize='auto'"):
        plain.fit(FAR, Y)
    assert plain.scaler_ is None
    frame = pd.DataFrame(FAR, columns=["a", "b", "c", "d"])
    with pytest.warns(UserWarning, match=r"size: a reaches .*, c no more than") as warned:
        plain.fit(frame, Y)
    assert warned[0].filename == __file__
    plain.fit(X, Y)  # and here nothing is said


def test_standards_take_float32_and_any_way_of_output() -> None:
    with config_context(transform_output="pandas"):
        fitted = classifier().fit(FAR.astype(np.float32), Y)
        assert fitted.predict_proba(FAR).dtype == np.float32
    assert fitted.scaler_ is not None


def test_rows_whose_variance_overflows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"finite variances to be standardised, but \[1\] reaches"):
        classifier().fit(X * [1.0, 1e200, 1.0, 1.0], Y)


@pytest.mark.filterwarnings("ignore:features of X")
def test_units_that_died_are_warned_of() -> None:
    """They do where no input is negative and the first loss is 100, and where all inputs are 0."""
    dead = classifier(solver="sgd", standardize=False, learning_rate_init=0.1)
    said = "^5 of 5 units of hidden layer 1 are 0 .*: choose a smaller learning_rate_init"
    with pytest.warns(ConvergenceWarning, match=f"{said} or set standardize=True$") as warned:
        dead.fit(*load_wine(return_X_y=True))
    assert warned[-1].filename == __file__
    with pytest.warns(ConvergenceWarning, match=f"{said}$"):
        dead.set_params(standardize=True).fit(np.ones((N, D)), Y)


# Sparse rows.

THIN = X * (RNG.random(X.shape) < 0.5)


@pytest.mark.parametrize("of", [sparse.csr_array, sparse.coo_matrix], ids=lambda of: of.__name__)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_rows_give_the_bits_of_dense_ones(of: Any, early_stopping: bool) -> None:
    settings = {"early_stopping": early_stopping, "validation_fraction": 0.2}
    got = classifier(**settings).fit(of(THIN), Y, sample_weight=WEIGHT + 1)
    want = classifier(**settings).fit(THIN, Y, sample_weight=WEIGHT + 1)
    for one, rows in ((got, of(THIN)), (want, THIN)):
        one.partial_fit(rows, Y)
    assert same_bits(got.params_, want.params_)
    assert got.history_ == want.history_
    for method in ("predict", "predict_proba", "predict_log_proba"):
        results = [getattr(one, method)(rows) for one in (got, want) for rows in (of(THIN), THIN)]
        assert len({result.tobytes() for result in results}) == 1


def test_sparse_rows_are_scaled_only_for_they_would_be_dense() -> None:
    far, weight = THIN * SIZES, WEIGHT + 1
    fitted = classifier().fit(sparse.csr_array(far), Y, sample_weight=weight)
    scaled = standardised(sparse.csr_array(far), weight, with_mean=False).toarray()
    assert same_bits(fitted.params_, train(scaled, Y, sample_weight=weight).params)
    assert (
        fitted.predict_proba(far).tobytes() == fitted.predict_proba(sparse.csr_array(far)).tobytes()
    )
    shifted = classifier().fit(far, Y)
    assert (shifted.predict(sparse.csr_array(far)) == shifted.predict(far)).all()
    with pytest.raises(ValueError, match="X must be dense, as those rows were"):
        shifted.partial_fit(sparse.csr_array(far), Y)


def test_sparse_rows_are_predicted_in_blocks() -> None:
    """Dense, 20,000 rows take 160 MB; two MiB hold some 260 of them."""
    many, features = 20_000, 1000
    places = np.arange(many), np.arange(many) % features
    rows = sparse.csr_array((np.ones(many), places), (many, features))
    fitted = BackpropClassifier((), max_iter=1, random_state=0).fit(rows[:100], np.arange(100) % 2)
    tracemalloc.start()
    with config_context(working_memory=2):
        fitted.predict(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < many * features * 8 / 10


def test_rows_on_disk_are_predicted_in_blocks(tmp_path: Path) -> None:
    """They are 20 MB, and none of what is made of them takes a tenth of that."""
    rows: Any = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(50_000, 100))
    fitted = BackpropClassifier((), max_iter=1, random_state=0).fit(rows[:10], np.arange(10) % 2)
    tracemalloc.start()
    with config_context(working_memory=1):
        fitted.predict(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < rows.nbytes / 10


# One epoch after the other.


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_k_partial_fits_are_a_fit_of_k_epochs_to_the_bit(weight: Array | None) -> None:
    whole = classifier(class_weight={0: 2.0}).fit(X, Y, sample_weight=weight)
    parts = clone(whole)
    for epoch in range(1, 5):
        returned = parts.partial_fit(X, Y, classes=range(K), sample_weight=weight)
        assert returned is parts
        assert parts.n_iter_ == epoch
    assert same_bits(parts.params_, whole.params_)
    assert parts.history_ == whole.history_


def test_rows_without_a_class_that_has_a_weight_can_be_learnt_from() -> None:
    rows = Y != 0
    parts = classifier(class_weight={"ash": 2.0}).partial_fit(X[rows], LABELS[Y[rows]], LABELS)
    assert same_bits(parts.params_, train(X[rows], Y[rows], epochs=1).params)


def test_partial_fit_goes_on_from_a_fit() -> None:
    parts = classifier(max_iter=3).fit(X, Y).partial_fit(X, Y)
    assert same_bits(parts.params_, classifier(max_iter=4).fit(X, Y).params_)


def test_partial_fit_knows_classes_that_it_has_not_seen() -> None:
    parts = classifier().partial_fit(X[Y == 1], LABELS[Y[Y == 1]], classes=LABELS[::-1])
    assert parts.classes_.tolist() == LABELS.tolist()
    assert parts.predict_proba(X).shape == (N, K)
    parts.partial_fit(X, LABELS[Y])
    assert parts.n_iter_ == 2


def test_partial_fit_holds_no_rows_out() -> None:
    parts = classifier(early_stopping=True).partial_fit(X, Y, classes=range(K))
    assert same_bits(parts.params_, train(X, Y, epochs=1).params)


def test_partial_fit_says_what_is_wrong_with_the_classes() -> None:
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        classifier().partial_fit(X, Y)
    parts = classifier().partial_fit(X, Y, classes=range(K))
    with pytest.raises(ValueError, match=r"classes must be those of the first call, \[0 1 2\]"):
        parts.partial_fit(X, Y, classes=range(K + 1))
    with pytest.raises(ValueError, match=r"y must hold labels .*, \[0, 1, 2\], got \[3\] too"):
        parts.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match=r"'oak'\] too; partial_fit takes all .* as classes"):
        classifier().partial_fit(X, LABELS[Y], classes=LABELS[:2])
    with pytest.raises(ValueError, match=r"classes must be a sequence of labels, \(K,\), got 3"):
        classifier().partial_fit(X, Y, classes=K)
    with pytest.raises(ValueError, match="class_weight must be a dict or None for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, Y, classes=range(K))


def test_a_warm_start_goes_on_as_if_it_had_not_stopped() -> None:
    whole = classifier(hidden_layer_sizes=(5, 4), max_iter=6)
    whole.fit(X, Y)
    parts = clone(whole).set_params(warm_start=True, max_iter=2)
    for _ in range(3):
        parts.fit(X, Y)
    assert same_bits(parts.params_, whole.params_)
    assert parts.history_ == whole.history_
    assert parts.n_iter_ == 6


def test_without_a_warm_start_a_fit_begins_anew() -> None:
    fitted = classifier().fit(X, Y)
    params = fitted.params_
    fitted.fit(X[:, :2], LABELS[Y])
    assert fitted.n_features_in_ == 2
    assert same_bits(fitted.fit(X, Y).params_, params)
    assert fitted.n_iter_ == 4


def test_a_warm_start_says_what_does_not_fit_the_network() -> None:
    fitted = classifier(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but BackpropClassifier is expecting 4"):
        fitted.fit(X[:, :3], Y)
    with pytest.raises(ValueError, match=r"y must hold labels .*, \[0, 1, 2\], got \[3\] too"):
        fitted.fit(X, Y + 1)
    fitted.set_params(hidden_layer_sizes=(6,))
    with pytest.raises(ValueError, match=r"must be those of the network, \[5\], got \[6\]"):
        fitted.fit(X, Y)


# The end of training.

HALVES = (X.sum(axis=1) > 0).astype(int)


def best_of(val_acc: list[float]) -> int:
    """Find the number of the epoch with the highest accuracy, the first of several."""
    return 1 + val_acc.index(max(val_acc))


def test_early_stopping_is_train_with_rows_held_out_of_each_class_alike() -> None:
    """It ends when ten epochs have passed without a gain, and keeps the network of the best."""
    kept, held_out = train_test_split(
        np.arange(N), test_size=0.2, stratify=Y, random_state=seeds()[1]
    )
    assert np.bincount(Y[held_out]).tolist() == [2, 2, 2]
    fitted = classifier(early_stopping=True, validation_fraction=0.2, max_iter=50)
    fitted.fit(X, LABELS[Y], sample_weight=WEIGHT + 1)
    rows = X[kept], Y[kept], X[held_out], Y[held_out]
    options: dict[str, Any] = {"sample_weight": WEIGHT[kept] + 1}
    result = train(*rows, epochs=fitted.n_iter_, **options)
    assert fitted.history_ == result.history
    assert fitted.validation_scores_ == result.history.val_acc
    best = best_of(fitted.validation_scores_)
    assert fitted.n_iter_ == best + 11 < 50
    assert same_bits(fitted.params_, train(*rows, epochs=best, **options).params)
    assert not same_bits(fitted.params_, result.params)


def test_after_a_warm_start_the_rows_held_out_are_the_same() -> None:
    """Or it would have trained on those that it judges by."""
    fitted = classifier(early_stopping=True, validation_fraction=0.2, max_iter=1).fit(X, Y)
    scores = []
    for _ in range(2):
        fitted.set_params(warm_start=True, learning_rate_init=1e-300).fit(X, Y)
        scores.append(fitted.validation_scores_[-1])
    assert scores == fitted.validation_scores_[:1] * 2


def test_training_ends_when_the_loss_no_longer_falls() -> None:
    """Of a loss that rises from the first epoch on, only that epoch improves it."""
    fitted = classifier(max_iter=500, tol=0.5, n_iter_no_change=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.fit(X, HALVES)
    assert fitted.n_iter_ == 5
    assert same_bits(fitted.params_, classifier(max_iter=5).fit(X, HALVES).params_)
    curve = classifier(max_iter=500, tol=1e-3, learning_rate_init=0.01).fit(X, HALVES).loss_curve_
    assert 20 < len(curve) < 500
    assert Convergence(10, 1e-3).reached(curve)
    assert not Convergence(10, 1e-3).reached(curve[:-1])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_it_is_said_that_max_iter_did_not_suffice(early_stopping: bool) -> None:
    short = classifier(early_stopping=early_stopping, validation_fraction=0.2)
    with pytest.warns(ConvergenceWarning, match="^training has not converged in max_iter=4 epochs"):
        short.fit(X, Y)


def test_a_loss_that_has_grown_is_warned_of() -> None:
    """A quarter of the units is alive at least: only the loss tells."""
    fast = classifier(learning_rate_init=2.0, n_iter_no_change=1, tol=9.0)
    with pytest.warns(ConvergenceWarning, match=r"^the loss has grown .*smaller learning_rate"):
        fast.fit(X, Y)


def test_after_a_warm_start_the_loss_is_compared_with_that_of_the_beginning() -> None:
    """It rises a little from one epoch to the next, in a training that goes well."""
    steps = classifier(warm_start=True, max_iter=1, learning_rate_init=0.3)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(40):
            steps.fit(X, Y)
    curve = steps.loss_curve_
    assert any(later > before for before, later in itertools.pairwise(curve))
    assert curve[-1] < curve[0]
    assert not any("grown" in str(warning.message) for warning in said)


def test_of_early_stopping_the_network_that_is_kept_counts() -> None:
    """One that is no better than the most frequent class is warned of."""
    with pytest.warns(ConvergenceWarning, match=r"^on the rows held out the network is right for"):
        classifier(early_stopping=True, learning_rate_init=1e-9).fit(X, Y)


def test_a_divergence_is_told_in_the_words_of_the_classifier() -> None:
    lost = classifier(solver="sgd", learning_rate_init=1e200)
    with pytest.raises(TrainingDiverged, match=r"smaller learning_rate_init, or scale X"):
        lost.fit(X, Y)
    with pytest.raises(TrainingDiverged, match=r"smaller learning_rate_init$"):
        lost.set_params(standardize=True).fit(X, Y)
    lost.set_params(solver="adam", standardize=False, learning_rate_init=1e-300)
    told = pytest.raises(TrainingDiverged, match=r"; scale X, whose largest number is \d.*e\+300$")
    with pytest.warns(UserWarning, match="features of X are huge"), told:
        lost.fit(X * 1e300, Y)


def test_a_network_goes_on_with_the_features_as_it_knows_them() -> None:
    fitted = classifier(standardize=False, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match=r"^standardize must be that of the first fit, False,"):
        fitted.set_params(standardize=True).fit(X, Y)


def test_a_stream_that_begins_with_few_rows_is_warned_of_its_scale() -> None:
    few = classifier(standardize=True)
    with pytest.warns(UserWarning, match="by the 9 rows of this first call: begin with more"):
        few.partial_fit(X[:9], Y[:9], classes=np.unique(Y))
    few.partial_fit(X[:9], Y[:9])
    classifier(standardize=True).partial_fit(X[:10], Y[:10], classes=np.unique(Y))
    classifier(standardize=False).partial_fit(X[:9], Y[:9], classes=np.unique(Y))


# Interruptions.


def interrupt(epochs: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Ctrl-C be pressed after so many epochs of four batches, and so many steps."""
    step, counter = Descent.step, itertools.count()

    def interrupted(self: Descent, rows: npt.NDArray[np.int64]) -> None:
        if next(counter) == 4 * epochs + steps:
            raise KeyboardInterrupt
        step(self, rows)

    monkeypatch.setattr(Descent, "step", interrupted)


@each("epochs", [0, 2])
def test_ctrl_c_keeps_the_network_of_the_moment(epochs: int) -> None:
    before = classifier(max_iter=max(epochs, 1)).fit(X, LABELS[Y])
    with pytest.MonkeyPatch.context() as patch:
        interrupt(epochs, 3, patch)
        said = f"^training was interrupted in epoch {epochs + 1}$"
        with pytest.warns(ConvergenceWarning, match=said) as warned:
            fitted = classifier().fit(X, LABELS[Y])
    assert warned[0].filename == __file__
    assert fitted.n_iter_ == epochs
    if epochs:
        assert fitted.history_ == before.history_
    rng = np.random.default_rng(seeds()[0])
    start = manual_nn.init_params([D, 5, K], rng=rng)
    options: dict[str, Any] = {"batch_size": 8, "optimizer": Adam(), "weight_decay": 1e-4}
    descent = Descent(start, X, np.eye(K)[Y], learning_rate=0.001, **options)
    for epoch in range(epochs + 1):
        order = rng.permutation(N)
        for batch in range(3 if epoch == epochs else 4):
            descent.step(order[8 * batch : 8 * batch + 8])
    assert same_bits(fitted.params_, descent.params)
    assert (fitted.predict(X) == LABELS[manual_nn.predict(descent.params, X)]).all()


def test_ctrl_c_keeps_the_compiled_steps_that_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call takes all three of an epoch, and is interrupted as it returns."""
    compiled = classifier(backend="numba", batch_size=10, max_iter=1)
    whole = clone(compiled).fit(X, Y)
    with_moments = steps.with_moments

    def interrupted(*arguments: Any) -> None:
        with_moments(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "with_moments", interrupted)
    with pytest.warns(ConvergenceWarning, match="^training was interrupted in epoch 1$"):
        fitted = clone(compiled).fit(X, Y)
    assert fitted.n_iter_ == 0
    assert same_bits(fitted.params_, whole.params_)


def test_ctrl_c_keeps_the_best_network_where_rows_are_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 24 rows that remain there are three batches an epoch: 28 steps are nine and a third."""
    held_out = classifier(early_stopping=True, validation_fraction=0.2, max_iter=9).fit(X, Y)
    assert best_of(held_out.validation_scores_) < 9
    interrupt(7, 0, monkeypatch)
    with pytest.warns(ConvergenceWarning, match="^training was interrupted in epoch 10"):
        fitted = clone(held_out).set_params(max_iter=20).fit(X, Y)
    assert same_bits(fitted.params_, held_out.params_)


def test_ctrl_c_in_a_partial_fit_ends_the_program_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted, twin = classifier().fit(X, Y), classifier().fit(X, Y)
    interrupt(0, 1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fitted.partial_fit(X, Y)
    assert same_bits(fitted.partial_fit(X, Y).params_, twin.partial_fit(X, Y).params_)


# Randomness.


def test_the_seed_decides() -> None:
    first, again, other = (classifier(random_state=seed).fit(X, Y) for seed in (7, 7, 8))
    assert same_bits(first.params_, again.params_)
    assert not same_bits(first.params_, other.params_)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)], ids=["None", "state"])
def test_without_a_seed_each_fit_draws_another_network(random_state: Any) -> None:
    fitted = BackpropClassifier((5,), max_iter=1, random_state=random_state)
    first = fitted.fit(X, Y).params_
    assert not same_bits(first, fitted.fit(X, Y).params_)


# What scikit-learn does with it.


def test_its_tags_say_what_it_is() -> None:
    tags = get_tags(classifier())
    assert tags.estimator_type == "classifier"
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_class
    assert tags.classifier_tags.multi_label
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert not tags.non_deterministic


def test_a_clone_has_the_parameters_and_no_network() -> None:
    fitted = classifier(early_stopping=True, class_weight={0: 2.0}).fit(X, Y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert copy.set_params(max_iter=9).max_iter == 9
    for method in (copy.predict, copy.predict_proba, copy.predict_log_proba):
        with pytest.raises(NotFittedError):
            method(X)
    assert not hasattr(copy, "n_iter_")
    assert not hasattr(copy, "loss_curve_")


def test_a_pickled_network_predicts_and_trains_on_as_the_first() -> None:
    first = classifier().fit(X, LABELS[Y])
    second = pickle.loads(pickle.dumps(first))  # noqa: S301, our own
    assert second.predict_proba(X).tobytes() == first.predict_proba(X).tobytes()
    for one in (first, second):
        one.partial_fit(X, LABELS[Y])
    assert same_bits(first.params_, second.params_)


@pytest.mark.parametrize("library", [pd, pl], ids=lambda library: library.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_data_frames_give_the_same_bits_and_their_names(library: Any, dtype: type) -> None:
    names = ["a", "b", "c", "d"]
    inputs: Array = X.astype(dtype)
    frame = library.DataFrame(dict(zip(names, inputs.T, strict=True)))
    labels, weight = library.Series(LABELS[Y].tolist()), library.Series(WEIGHT)
    fitted = classifier().fit(frame, labels, sample_weight=weight)
    assert fitted.feature_names_in_.tolist() == names
    assert same_bits(fitted.params_, train(inputs, Y, sample_weight=WEIGHT).params)
    plain = classifier().fit(inputs, LABELS[Y], sample_weight=WEIGHT)
    assert fitted.predict(frame).tolist() == plain.predict(inputs).tolist()
    assert fitted.predict_proba(frame).tobytes() == plain.predict_proba(inputs).tobytes()
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        fitted.predict(frame[names[::-1]])
    assert fitted.partial_fit(frame, labels).n_iter_ == 5


@pytest.mark.long
def test_sample_weights_are_routed_through_a_search() -> None:
    with config_context(enable_metadata_routing=True):
        requested = classifier().set_fit_request(sample_weight=True)
        requested.set_score_request(sample_weight=True)
        search = GridSearchCV(requested, {"batch_size": [8]}, cv=3)
        search.fit(X, Y, sample_weight=WEIGHT)
    want = train(X, Y, sample_weight=WEIGHT).params
    assert same_bits(search.best_estimator_.params_, want)


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Give 300 rows of handwritten digits, and their labels as words."""
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, np.char.add("digit ", y[:300].astype(str))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    """Start processes that Dask sends work to, two jobs at a time."""
    workers = depth().workers
    threads = 2 // workers
    with (
        LocalCluster(workers, threads_per_worker=threads, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def backend(name: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Have joblib run two jobs in this way, all with one thread of BLAS."""
    options: dict[str, Any] = {}
    if name == "dask":
        options["client"] = request.getfixturevalue("cluster")
    else:
        options["n_jobs"] = 2
    if name == "loky":
        options["inner_max_num_threads"] = 1
    with threadpool_limits(1), joblib.parallel_config(name, **options):
        yield


DIGITS = BackpropClassifier(
    (16,), learning_rate_init=0.01, batch_size=32, max_iter=10, random_state=0, backend="numpy"
)


@pytest.mark.long
@pytest.mark.parametrize("name", ["threading", "loky", "dask"])
def test_jobs_of_joblib_give_the_same_bits_in_every_way(
    name: str, digits: tuple[Array, Array], request: pytest.FixtureRequest
) -> None:
    pipeline = make_pipeline(StandardScaler(), DIGITS)

    def in_folds() -> list[tuple[float, bytes]]:
        found = cross_validate(pipeline, *digits, cv=3, return_estimator=True)
        networks = (fitted[-1].params_ for fitted in found["estimator"])
        leaves = (b"".join(a.tobytes() for a in itertools.chain(*params)) for params in networks)
        return list(zip(found["test_score"], leaves, strict=True))

    with threadpool_limits(1):
        alone = in_folds()
    with backend(name, request):
        together = in_folds()
    assert together == alone
    assert len({leaves for _, leaves in alone}) == 3
    assert min(score for score, _ in alone) > 0.8


@pytest.mark.long
@pytest.mark.parametrize("name", ["threading", "loky", "dask"])
def test_a_search_over_a_pipeline_finds_the_better_parameter(
    name: str, digits: tuple[Array, Array], request: pytest.FixtureRequest
) -> None:
    pipeline = make_pipeline(StandardScaler(), DIGITS)
    grid = {"backpropclassifier__learning_rate_init": [1e-6, 0.01]}
    with backend(name, request):
        search = GridSearchCV(pipeline, grid, cv=3).fit(*digits)
    assert search.best_params_ == {"backpropclassifier__learning_rate_init": 0.01}
    assert search.score(*digits) > 0.9


@pytest.mark.long
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_its_probabilities_can_be_calibrated(method: str, digits: tuple[Array, Array]) -> None:
    calibrated = CalibratedClassifierCV(DIGITS, method=method, cv=3).fit(*digits)
    assert calibrated.classes_.tolist() == sorted(set(digits[1]))
    assert calibrated.score(*digits) > 0.9


@pytest.mark.long
def test_cross_validation_scores_it(digits: tuple[Array, Array]) -> None:
    assert (cross_val_score(DIGITS, *digits, cv=3, scoring="neg_log_loss") > -1).all()


# What it does not accept.


@pytest.mark.parametrize(
    ("wrong", "said"), [(np.nan, "Input X contains NaN"), (np.inf, "Input X contains infinity")]
)
def test_nan_and_infinity_are_refused_in_the_words_of_scikit_learn(wrong: float, said: str) -> None:
    bad = X.copy()
    bad[3, 1] = wrong
    fitted = classifier().fit(X, Y)
    for method in (fitted.predict, fitted.predict_proba, fitted.predict_log_proba):
        with pytest.raises(ValueError, match=said):
            method(bad)
    for fit in (fitted.fit, fitted.partial_fit):
        with pytest.raises(ValueError, match=said):
            fit(bad, Y)


@each(
    ("name", "value", "error", "said"),
    [
        ("hidden_layer_sizes", 5.0, TypeError, "whole numbers, one or several, got float"),
        ("hidden_layer_sizes", "64", TypeError, "whole numbers, one or several, got str"),
        ("hidden_layer_sizes", 0, ValueError, "at least 1, got 0"),
        ("hidden_layer_sizes", True, TypeError, "a whole number, got True"),
        ("hidden_layer_sizes", (5, 2.5), TypeError, r"\[1\] must be a whole number, got 2.5"),
        ("hidden_layer_sizes", (0,), ValueError, r"\[0\] must be at least 1, got 0"),
        ("weight_decay", -1, ValueError, "a finite number of at least 0, got -1"),
        ("weight_decay", "1", TypeError, "a real number, got str"),
        ("batch_size", 0, ValueError, "at least 1, got 0"),
        ("batch_size", "all", TypeError, "a whole number, got 'all'"),
        ("solver", "lbfgs", ValueError, "one of 'adam', 'adamw', 'sgd', got 'lbfgs'"),
        ("solver", None, ValueError, "one of 'adam', 'adamw', 'sgd', got None"),
        ("learning_rate", "adaptive", ValueError, "one of 'constant', 'cosine', got 'adaptive'"),
        ("momentum", 1.0, ValueError, "below 1, got 1.0"),
        ("momentum", -0.1, ValueError, "a finite number of at least 0, got -0.1"),
        ("beta_1", 1, ValueError, "below 1, got 1"),
        ("beta_2", np.nan, ValueError, "a finite number of at least 0, got nan"),
        ("epsilon", 0.0, ValueError, "a finite number above 0, got 0.0"),
        ("learning_rate_init", 0, ValueError, "a finite number above 0, got 0"),
        ("learning_rate_init", np.nan, ValueError, "a finite number above 0, got nan"),
        ("max_iter", 0, ValueError, "at least 1, got 0"),
        ("max_iter", 1.0, TypeError, "a whole number, got 1.0"),
        ("class_weight", {0: -1.0}, ValueError, r"\[0\] must be a finite number of at least 0"),
        ("class_weight", {0: np.nan}, ValueError, r"\[0\] must be a finite number of at least 0"),
        ("class_weight", "even", ValueError, "'class_weight' parameter .* Got 'even' instead"),
        ("standardize", "yes", ValueError, "True, False or 'auto', got 'yes'"),
        ("standardize", 1, ValueError, "True, False or 'auto', got 1"),
        ("early_stopping", 0.9, TypeError, "a bool, got float"),
        ("tol", -1e-4, ValueError, "a finite number of at least 0, got -0.0001"),
        ("n_iter_no_change", 0, ValueError, "at least 1, got 0"),
        ("validation_fraction", 0, ValueError, "a finite number above 0, got 0"),
        ("validation_fraction", 1, ValueError, "below 1, got 1"),
        ("random_state", "seed", ValueError, "'seed' cannot be used to seed"),
    ],
)
def test_a_bad_parameter_is_named(
    name: str, value: object, error: type[Exception], said: str
) -> None:
    parameters: dict[str, Any] = {"early_stopping": name == "validation_fraction"} | {name: value}
    with pytest.raises(error, match=said) as caught:
        classifier(**parameters).fit(X, Y)
    assert name in str(caught.value) or name == "random_state"


@each(
    ("rows", "y", "said"),
    [
        (
            9,
            [0, 1, 2] * 3,
            "hold out rows .* one of each of 3 classes, got 0.1, which is 1 of 9 rows",
        ),
        (
            3,
            [0, 0, 1],
            "y must have two rows of each class or more for early_stopping, got one of 1",
        ),
        (1, [[0, 1]], "validation_fraction must hold out .* others, got 0.1, which is 1 of 1 rows"),
    ],
)
def test_too_few_rows_to_hold_some_out_are_named(rows: int, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classifier(early_stopping=True).fit(X[:rows], y)


@pytest.mark.parametrize(
    ("weight", "error", "said"),
    [
        (np.ones(N - 1), ValueError, r"have shape \(30,\), got \(29,\)"),
        (-np.ones(N), ValueError, "none negative, got -1"),
        (np.full(N, np.inf), ValueError, "finite numbers"),
        (np.zeros(N), ValueError, "zero in every row"),
        (["heavy"] * N, TypeError, "real numbers"),
    ],
    ids=["short", "negative", "infinite", "zero", "words"],
)
def test_bad_sample_weights_are_refused(weight: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"sample_weight must .*{said}"):
        classifier().fit(X, Y, sample_weight=weight)


def test_a_learning_rate_that_diverges_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainingDiverged, match=r"diverged in epoch 1, .* smaller learning_rate"):
        classifier(learning_rate_init=1e200).fit(X, Y)


def test_a_fit_that_was_refused_leaves_it_unfitted() -> None:
    refused = classifier(batch_size=0)
    with pytest.raises(ValueError, match="batch_size"):
        refused.fit(X, Y)
    with pytest.raises(NotFittedError):
        refused.predict(X)


# The lazy import.


def run_without_scikit_learn(code: str) -> str:
    code = f"import sys\nsys.modules['sklearn'] = None\n{code}"
    done = subprocess.run(  # noqa: S603, the interpreter of this test
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_the_package_gives_it_out_when_asked() -> None:
    assert "BackpropClassifier" in dir(manual_nn)
    code = (
        "import sys, manual_nn\n"
        "dir(manual_nn)\n"
        "print('sklearn' in sys.modules)\n"
        "print(manual_nn.BackpropClassifier.__name__)\n"
        "print('sklearn' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603, the interpreter of this test
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "BackpropClassifier", "True"]
    with pytest.raises(AttributeError, match="'manual_nn' has no attribute 'BackpropClassifer'"):
        manual_nn.BackpropClassifer  # type: ignore[attr-defined] # noqa: B018, on purpose


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = (
        "try:\n import manual_nn\n manual_nn.BackpropClassifier\nexcept ImportError as e: print(e)"
    )
    said = run_without_scikit_learn(code)
    assert "this needs scikit-learn" in said
    assert "pip install 'manual-nn[train]'" in said


def test_without_scikit_learn_the_package_can_be_imported_whole_and_described() -> None:
    code = (
        "import pydoc, manual_nn\n"
        "from manual_nn import *\n"
        "print('BackpropClassifier' in dir(manual_nn))\n"
        "print('loss_and_grad' in pydoc.render_doc(manual_nn))"
    )
    assert run_without_scikit_learn(code).split() == ["False", "True"]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("settings", "weight"),
    [({}, -1.0), ({"learning_rate_init": 1e300}, 1.0)],
    ids=["bad", "diverged"],
)
def test_what_fails_changes_nothing(method: str, settings: dict[str, float], weight: float) -> None:
    """A network that there was goes on to answer, and where there was none there is none."""
    X, y = load_iris(return_X_y=True)
    weights = np.full(len(X), weight)
    classes = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    new = BackpropClassifier((4,), max_iter=3, random_state=0)
    fitted = clone(new).fit(X, y)
    kept = copy.deepcopy(fitted)
    for classifier in (new, fitted):
        classifier.set_params(**settings)
        with pytest.raises((ValueError, TrainingDiverged)):
            getattr(classifier, method)(X, y, **classes, sample_weight=weights)
    with pytest.raises(NotFittedError):
        new.predict(X)
    assert np.array_equal(fitted.predict_proba(X), kept.predict_proba(X))
    fitted.set_params(learning_rate_init=0.001)
    assert np.array_equal(
        fitted.partial_fit(X, y).predict_proba(X), kept.partial_fit(X, y).predict_proba(X)
    )


def test_class_weights_of_0_are_named() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="class_weight must not be 0 for all rows"):
        BackpropClassifier(class_weight={0: 0.0, 1: 0.0, 2: 0.0}).fit(X, y)


def test_logarithms_of_probabilities_are_finite_where_the_probabilities_are_0() -> None:
    classifier = BackpropClassifier((), max_iter=1, random_state=0).fit([[0.0], [1.0]], [0, 1])
    classifier.params_ = (Dense(np.array([[1e308, -1e308]]), np.zeros(2)),)
    logarithms = classifier.predict_log_proba([[1.0]])
    assert np.array_equal(classifier.predict_proba([[1.0]]), [[1, 0]])
    assert np.array_equal(logarithms, [[0, -np.finfo(float).max]])
