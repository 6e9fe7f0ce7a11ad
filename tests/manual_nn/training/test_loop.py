"""Training: the steps, the history, the early stop, and the same training with JAX's gradients.

Axes: N rows in the batch, D inputs, K classes.
"""

import copy
import dataclasses
import itertools
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
import reference
from manual_nn import (
    SGD,
    Adam,
    AdamW,
    Convergence,
    CosineSchedule,
    Dense,
    EarlyStopping,
    History,
    Patience,
    TrainingResult,
)
from manual_nn.models import penalty
from manual_nn.training import loop
from manual_nn.training.descent import Descent
from manual_nn.training.evaluation import evaluate
from manual_nn.training.history import TrainingInterrupted
from reference.arrays import Array
from tests.support.bits import same_bits

Params = tuple[Dense, ...]


class Problem(NamedTuple):
    """The positional arguments of `train`."""

    params: Params
    X_train: Array
    y_train: Array
    X_val: Array
    y_val: Array


def draw_problem(
    sizes: Sequence[int] = (3, 5, 4),
    *,
    rows: int = 10,
    dtype: npt.DTypeLike = np.float64,
    soft: bool = False,
) -> Problem:
    rng = np.random.default_rng(1)
    D, K = sizes[0], sizes[-1]

    def draw_targets(N: int) -> Array:
        return rng.dirichlet(np.ones(K), size=N) if soft else rng.integers(K, size=N)

    X_train, X_val = rng.normal(size=(rows, D)), rng.normal(size=(7, D))
    return Problem(
        manual_nn.init_params(sizes, rng=rng, dtype=dtype),
        X_train,
        draw_targets(rows),
        X_val,
        draw_targets(7),
    )


def train(problem: Problem, *, seed: int = 0, **options: Any) -> TrainingResult:
    defaults = {"batch_size": 4, "epochs": 3, "early_stopping": None}
    return manual_nn.train(*problem, rng=np.random.default_rng(seed), **(defaults | options))


def draw_batches(N: int, batch_size: int, epochs: int, *, seed: int = 0) -> Iterator[Array]:
    """Draw the rows of each batch, as `train` promises to."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(N)
        yield from (order[start : start + batch_size] for start in range(0, N, batch_size))


def step_along(
    params: Params,
    X: Array,
    y: Array,
    *,
    learning_rate: float = 0.1,
    weight_decay: float = 0.01,
    sample_weight: Array | None = None,
) -> Params:
    """Take one step for a batch that is all there is."""
    dtype, K = params[-1].bias.dtype, params[-1].bias.size
    descent = Descent(
        params,
        X.astype(dtype),
        y.astype(dtype) if y.ndim == 2 else np.eye(K, dtype=dtype)[y],
        batch_size=len(X),
        optimizer=SGD(),
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        sample_weight=sample_weight,
    )
    descent.step(np.arange(len(X)))
    return descent.params


def test_there_are_as_many_results_as_epochs_and_each_is_an_epoch_longer() -> None:
    """It comes first: where the end is missed, all the other trainings have none."""
    results = loop.train_epochs(
        *draw_problem(),
        batch_size=4,
        learning_rate=0.1,
        weight_decay=0.0,
        epochs=2,
        early_stopping=None,
        rng=np.random.default_rng(0),
    )
    curves = [
        [len(curve) for curve in vars(result.history).values()]
        for result in itertools.islice(results, 3)
    ]
    assert curves == [[1] * 5, [2] * 5]


# The early stop


def test_training_stops_after_the_first_epoch_that_meets_the_rule() -> None:
    problem = draw_problem(rows=40)
    whole = train(problem, epochs=8, learning_rate=1.0).history
    accuracies = whole.val_acc
    changes = [abs(now - before) for before, now in itertools.pairwise(accuracies)]
    lengths = set()
    for min_accuracy, max_change in itertools.product({0.0, *accuracies}, {*changes, 2.0}):
        stops = (
            epoch
            for epoch, now, change in zip(itertools.count(2), accuracies[1:], changes, strict=False)
            if now > min_accuracy and change < max_change
        )
        expected = next(stops, None)
        result = train(
            problem,
            epochs=8,
            learning_rate=1.0,
            early_stopping=EarlyStopping(min_accuracy, max_change),
        )
        assert result.stopped_early == (expected is not None)
        length = expected or 8
        assert result.history == History(
            whole.train_loss[:length],
            whole.train_acc[:length],
            whole.val_loss[:length],
            whole.val_acc[:length],
            whole.penalty[:length],
        )
        lengths.add((length, result.stopped_early))
    assert {2, 8} < {length for length, _ in lengths}, "the borders were not all met"


def test_a_stop_in_the_last_epoch_is_an_early_stop() -> None:
    assert train(draw_problem(), epochs=2, early_stopping=EarlyStopping(0.0, 2.0)).stopped_early


def test_training_stops_early_by_default() -> None:
    X, y = np.array([[1.0], [-1.0]]), np.array([0, 1])
    zero = (Dense(np.zeros((1, 2)), np.zeros(2)),)
    result = manual_nn.train(zero, X, y, X, y, rng=np.random.default_rng(0))
    assert result.stopped_early
    assert result.history.val_acc == [1.0, 1.0]


@pytest.mark.parametrize("epochs", [1, 5])
def test_without_early_stopping_every_epoch_runs(epochs: int) -> None:
    result = train(draw_problem(), epochs=epochs)
    history = result.history
    assert not result.stopped_early
    assert len(history) == epochs
    assert [len(values) for values in vars(history).values()] == [epochs] * 5


# Reproducible, and the caller's arrays are left alone


def test_the_same_rng_state_gives_the_same_bits() -> None:
    first, second = train(draw_problem()), train(draw_problem())
    assert same_bits(first.params, second.params)
    assert first.history == second.history


def test_another_seed_gives_other_parameters() -> None:
    first, second = train(draw_problem(), seed=0), train(draw_problem(), seed=1)
    assert not same_bits(first.params, second.params)
    assert first.history != second.history


def test_rng_draws_one_permutation_per_epoch_and_nothing_else() -> None:
    used, expected = np.random.default_rng(7), np.random.default_rng(7)
    problem = draw_problem()
    manual_nn.train(*problem, epochs=3, batch_size=4, early_stopping=None, rng=used)
    for _ in range(3):
        expected.permutation(len(problem.X_train))
    assert used.bit_generator.state == expected.bit_generator.state


@pytest.mark.parametrize("soft", [False, True])
def test_the_arguments_keep_their_bits_even_read_only(*, soft: bool) -> None:
    problem = draw_problem(soft=soft)
    untouched = copy.deepcopy(problem)
    arrays = [*itertools.chain(*problem.params), *problem[1:]]
    train(problem)
    for array in arrays:
        array.setflags(write=False)
    train(problem)
    for array, before in zip(
        arrays, [*itertools.chain(*untouched.params), *untouched[1:]], strict=True
    ):
        assert array.tobytes() == before.tobytes()


def test_results_share_no_memory_with_the_arguments() -> None:
    problem = draw_problem(soft=True)
    trained = itertools.chain(*train(problem).params)
    given = [*itertools.chain(*problem.params), *problem[1:]]
    assert not any(np.shares_memory(a, b) for a, b in itertools.product(trained, given))


def epochs_of(problem: Problem, *, epochs: int) -> Iterator[TrainingResult]:
    return loop.train_epochs(
        *problem,
        batch_size=4,
        learning_rate=0.1,
        weight_decay=0.01,
        epochs=epochs,
        early_stopping=None,
        rng=np.random.default_rng(0),
        progress=False,
    )


def test_later_epochs_do_not_change_the_results_given_out() -> None:
    results, copies = [], []
    for result in epochs_of(draw_problem(), epochs=4):
        results.append(result)
        copies.append(copy.deepcopy(result))
    for length, (result, copied) in enumerate(zip(results, copies, strict=True), start=1):
        assert len(result.history) == length
        assert result.history == copied.history
        assert same_bits(result.params, copied.params)
    assert results[-1].history.val_loss[:3] == results[2].history.val_loss


def test_changing_a_history_given_out_does_not_change_later_ones() -> None:
    results = epochs_of(draw_problem(), epochs=2)
    next(results).history.val_acc.clear()
    assert len(next(results).history.val_acc) == 2


def test_changing_a_state_given_out_does_not_change_later_steps() -> None:
    options: dict[str, Any] = {"batch_size": 4, "learning_rate": 0.1, "weight_decay": 0.0}
    options |= {"epochs": 3, "early_stopping": None, "optimizer": SGD(0.5)}
    for result in loop.train_epochs(*draw_problem(), **options, rng=np.random.default_rng(0)):
        assert result.optimizer_state is not None
        for array in itertools.chain(*itertools.chain(*result.optimizer_state.moments)):
            array[:] = 7
        last = result.params
    whole = train(draw_problem(), optimizer=SGD(0.5), weight_decay=0.0)
    assert same_bits(last, whole.params)


def test_changing_parameters_given_out_does_not_change_later_ones() -> None:
    given_out = []
    for result in epochs_of(draw_problem(), epochs=3):
        given_out.append(copy.deepcopy(result.params))
        for array in itertools.chain(*result.params):
            array[:] = 7
    for params, result in zip(given_out, epochs_of(draw_problem(), epochs=3), strict=True):
        assert same_bits(params, result.params)


def test_training_is_its_last_epoch() -> None:
    *_, last = epochs_of(draw_problem(), epochs=3)
    whole = train(draw_problem(), weight_decay=0.01)
    assert same_bits(last.params, whole.params)
    assert last.history == whole.history


def test_a_progress_bar_changes_nothing_and_goes_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, shown = train(draw_problem()), train(draw_problem(), progress=True)
    out, err = capsys.readouterr()
    assert same_bits(plain.params, shown.params)
    assert out == ""
    assert "epoch 3" in err
    assert err.rpartition("\r")[2] == "", "the bar is still there"


@pytest.mark.parametrize("how", [manual_nn.train, loop.train_epochs])
def test_no_progress_bar_is_shown_unless_it_is_asked_for(
    how: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.0, "early_stopping": None}
    list(how(*draw_problem(), **options, batch_size=4, epochs=2, rng=np.random.default_rng(0)))
    assert capsys.readouterr() == ("", "")


def test_what_is_not_given_is_as_in_the_readme() -> None:
    problem, rng = draw_problem(rows=40), np.random.default_rng
    defaults = manual_nn.train(*problem, rng=rng(0), early_stopping=None)
    stated: dict[str, Any] = {
        "batch_size": 32,
        "learning_rate": 0.1,
        "weight_decay": 1e-4,
        "epochs": 30,
    }
    given = manual_nn.train(*problem, rng=rng(0), early_stopping=None, **stated)
    assert same_bits(defaults.params, given.params)
    assert defaults.history == given.history
    assert EarlyStopping() == EarlyStopping(min_accuracy=0.975, max_change=0.005)


# The steps


def test_one_epoch_of_one_batch_is_one_step_by_hand() -> None:
    # p = (1/2, 1/2) in each of the four rows, so d_logits = (-1/8, 1/8) in the rows of class 0 and
    # (1/8, -1/8) in that of class 1: everything is exact, in whatever order the rows are summed.
    X = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
    y = np.array([0, 1, 0, 0])
    zero = (Dense(np.zeros((2, 2)), np.zeros(2)),)
    d_weight = np.array([[-4 / 8, 4 / 8], [-2 / 8, 2 / 8]])
    d_bias = np.array([-2 / 8, 2 / 8])
    result = train(Problem(zero, X, y, X, y), epochs=1, batch_size=100, learning_rate=0.5)
    (layer,) = result.params
    assert np.array_equal(layer.weight, -0.5 * d_weight)
    assert np.array_equal(layer.bias, -0.5 * d_bias)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 10, 11])
def test_each_epoch_uses_each_row_once_in_an_order_drawn_from_rng(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    N, seen, step = 10, [], Descent.step

    def spy(descent: Descent, rows: Array) -> None:
        assert np.array_equal(descent.X[:, 0], descent.target.argmax(axis=1)), "rows came apart"
        seen.append(rows.copy())
        step(descent, rows)

    monkeypatch.setattr(Descent, "step", spy)
    X, y = np.arange(N, dtype=float)[:, None], np.arange(N)  # the row's number is its input
    zero = (Dense(np.zeros((1, N)), np.zeros(N)),)
    train(Problem(zero, X, y, X, y), epochs=2, batch_size=batch_size, learning_rate=2.0**-10)
    expected = list(draw_batches(N, batch_size, epochs=2))
    assert [rows.tolist() for rows in seen] == [rows.tolist() for rows in expected]
    for epoch in (seen[: len(seen) // 2], seen[len(seen) // 2 :]):
        assert sorted(np.concatenate(epoch)) == list(range(N))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("soft", [False, True])
def test_training_is_a_step_for_each_batch(dtype: npt.DTypeLike, *, soft: bool) -> None:
    problem = draw_problem(dtype=dtype, soft=soft)
    params = problem.params
    for rows in draw_batches(len(problem.X_train), 4, epochs=3):
        X, y = problem.X_train[rows], problem.y_train[rows]
        params = step_along(params, X, y, learning_rate=0.3)
    assert same_bits(train(problem, learning_rate=0.3, weight_decay=0.01).params, params)


def test_weight_decay_shrinks_the_weights_and_not_the_biases() -> None:
    # Equal logits and one row of each class: the cross-entropy pulls at the input's weights alone,
    # and the input is 0. The step is W - 1/4 * 2 * 1/2 * W = 3/4 W.
    layer = Dense(np.array([[8.0, 8.0]]), np.array([2.0, 2.0]))
    X, y = np.zeros((2, 1)), np.array([0, 1])
    problem = Problem((layer,), X, y, X, y)
    result = train(problem, epochs=1, batch_size=2, learning_rate=0.25, weight_decay=0.5)
    assert np.array_equal(result.params[0].weight, 0.75 * layer.weight)
    assert np.array_equal(result.params[0].bias, layer.bias)


# What the history holds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("soft", [False, True])
def test_train_loss_has_the_penalty_and_val_loss_has_not(
    dtype: npt.DTypeLike, *, soft: bool
) -> None:
    problem = draw_problem(dtype=dtype, soft=soft)
    params, history, *_ = train(problem, weight_decay=0.01)
    _, X_train, y_train, X_val, y_val = problem
    assert history.train_loss[-1] == manual_nn.loss(params, X_train, y_train, weight_decay=0.01)
    assert history.train_loss[-1] > manual_nn.loss(params, X_train, y_train)
    assert history.penalty[-1] == penalty.forward(params, 0.01)
    assert history.loss_of_rows[-1] == history.train_loss[-1] - history.penalty[-1]
    assert history.val_loss[-1] == manual_nn.loss(params, X_val, y_val)


@pytest.mark.parametrize("soft", [False, True])
def test_accuracies_are_the_shares_of_rows_predicted_right(*, soft: bool) -> None:
    problem = draw_problem(soft=soft)
    params, history, *_ = train(problem)
    _, X_train, y_train, X_val, y_val = problem
    if soft:
        y_train, y_val = y_train.argmax(axis=1), y_val.argmax(axis=1)
    assert history.train_acc[-1] == np.mean(manual_nn.predict(params, X_train) == y_train)
    assert history.val_acc[-1] == np.mean(manual_nn.predict(params, X_val) == y_val)


def test_the_history_holds_python_floats() -> None:
    history = train(draw_problem(dtype=np.float32)).history
    values = itertools.chain(*vars(history).values())
    assert {type(value) for value in values} == {float}


def test_float32_stays_float32() -> None:
    params, history, *_ = train(draw_problem(dtype=np.float32))
    assert {array.dtype for array in itertools.chain(*params)} == {np.dtype(np.float32)}
    for value in history.train_loss + history.val_loss:
        assert float(np.float32(value)) == value


def test_soft_targets_that_are_certain_are_class_numbers() -> None:
    problem = draw_problem()
    certain = problem._replace(y_train=np.eye(4)[problem.y_train], y_val=np.eye(4)[problem.y_val])
    assert same_bits(train(problem).params, train(certain).params)
    assert train(problem).history == train(certain).history


def test_training_lowers_the_loss() -> None:
    history = train(draw_problem(), epochs=20).history
    assert history.train_loss[-1] < history.train_loss[0]


# Without validation


def test_without_validation_the_steps_are_the_same_and_its_measures_stay_empty() -> None:
    problem = draw_problem()
    params, history, stopped_early, *_ = manual_nn.train(
        *problem[:3], batch_size=4, epochs=3, early_stopping=None, rng=np.random.default_rng(0)
    )
    whole = train(problem)
    assert same_bits(params, whole.params)
    assert history == dataclasses.replace(whole.history, val_loss=[], val_acc=[])
    assert len(history) == 3
    assert not stopped_early


def test_early_stopping_needs_validation() -> None:
    problem = draw_problem()
    with pytest.raises(
        ValueError, match="early_stopping must be None or a Convergence without X_val and y_val"
    ):
        manual_nn.train(*problem[:3], rng=np.random.default_rng(0))


# Weights on the rows


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_is_with_the_weights_of_its_own_rows(dtype: npt.DTypeLike, *, soft: bool) -> None:
    problem = draw_problem(dtype=dtype, soft=soft)
    weights = np.random.default_rng(2).uniform(0.5, 2, size=len(problem.X_train))
    params = problem.params
    for rows in draw_batches(len(weights), 4, epochs=3):
        X, y = problem.X_train[rows], problem.y_train[rows]
        params = step_along(params, X, y, sample_weight=weights[rows])
    result = train(problem, weight_decay=0.01, sample_weight=weights)
    assert same_bits(result.params, params)
    assert not same_bits(result.params, train(problem, weight_decay=0.01).params)


@pytest.mark.parametrize("weight", [1, 3.0, 0.125, 1e308, 5e-324])
def test_equal_weights_are_none(weight: float) -> None:
    plain, weighted = train(draw_problem()), train(draw_problem(), sample_weight=[weight] * 10)
    assert same_bits(plain.params, weighted.params)
    assert plain.history == weighted.history


def test_rows_of_weight_0_are_as_if_they_were_not_there() -> None:
    problem = draw_problem(rows=12)
    weights = np.array([1.0, 0, 2, 0, 0, 0, 3, 1, 0, 1, 2, 0])
    X, y = problem.X_train.copy(), problem.y_train
    X[weights == 0] *= 1e6
    kept = problem._replace(X_train=X[weights > 0], y_train=y[weights > 0])
    few = train(kept, sample_weight=weights[weights > 0], batch_size=2)
    all_ = train(problem._replace(X_train=X), sample_weight=weights, batch_size=2)
    assert same_bits(few.params, all_.params)
    assert few.history == all_.history


def test_a_weight_of_2_is_the_row_twice() -> None:
    # Dyadic numbers, p = 1/2 and 4 rows: all is exact.
    X, y = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([0, 1, 0])
    zero = (Dense(np.zeros((2, 2)), np.zeros(2)),)
    options: dict[str, Any] = {"epochs": 1, "batch_size": 4, "learning_rate": 0.5}
    twice = train(Problem(zero, X[[0, 1, 2, 2]], y[[0, 1, 2, 2]], X, y), **options)
    weighted = train(Problem(zero, X, y, X, y), sample_weight=[1, 1, 2], **options)
    assert same_bits(twice.params, weighted.params)
    assert twice.history.train_acc == weighted.history.train_acc


@pytest.mark.parametrize("soft", [False, True])
def test_the_measures_of_the_training_rows_have_the_weights_and_those_of_validation_not(
    *, soft: bool
) -> None:
    problem = draw_problem(soft=soft)
    weights = np.arange(1.0, 11.0)
    params, history, *_ = train(problem, sample_weight=weights, weight_decay=0.01)
    _, X, y, X_val, y_val = problem
    weighted_loss = manual_nn.loss(params, X, y, weight_decay=0.01, sample_weight=weights)
    assert history.train_loss[-1] == weighted_loss
    right = manual_nn.predict(params, X) == (y.argmax(axis=1) if soft else y)
    assert history.train_acc[-1] == weights[right].sum() / 55
    assert history.penalty[-1] == penalty.forward(params, 0.01)
    assert history.val_loss[-1] == manual_nn.loss(params, X_val, y_val)


# Other optimizers


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": SGD(0.5)},
        {"optimizer": Adam(), "max_grad_norm": 0.25},
        {"optimizer": AdamW(), "learning_rate": CosineSchedule(0.25, epochs=2)},
    ],
    ids=["momentum", "clipped Adam", "AdamW on a schedule"],
)
def test_a_training_is_steps_of_its_optimizer_which_another_may_go_on_with(
    options: dict[str, Any],
) -> None:
    problem = draw_problem()
    settings: dict[str, Any] = {"learning_rate": 0.1, "weight_decay": 0.01} | options
    descent = Descent(
        problem.params, problem.X_train, np.eye(4)[problem.y_train], batch_size=4, **settings
    )
    for rows in draw_batches(10, 4, epochs=3):
        descent.step(rows)
    whole = train(problem, **settings)
    assert same_bits(whole.params, descent.params)
    assert same_bits(whole.optimizer_state, descent.state)
    assert descent.steps == 9

    rng, reached = np.random.default_rng(0), None
    for epochs in (1, 2):
        start = problem if reached is None else problem._replace(params=reached.params)
        reached = manual_nn.train(
            *start,
            batch_size=4,
            epochs=epochs,
            early_stopping=None,
            rng=rng,
            optimizer_state=None if reached is None else reached.optimizer_state,
            **settings,
        )
    assert reached is not None
    assert same_bits(reached.params, whole.params)
    assert same_bits(reached.optimizer_state, whole.optimizer_state)


@pytest.mark.parametrize(("optimizer", "usual"), [(SGD(), 0.1), (Adam(), 1e-3), (AdamW(), 1e-3)])
def test_without_a_learning_rate_it_is_the_usual_one(optimizer: SGD | Adam, usual: float) -> None:
    got = train(draw_problem(), optimizer=optimizer)
    want = train(draw_problem(), optimizer=optimizer, learning_rate=usual)
    assert same_bits(got.params, want.params)


# The rules that keep the best, and find an end


def test_patience_keeps_the_best_parameters_and_stops_when_there_are_no_better() -> None:
    problem = draw_problem(rows=40)

    def results(rule: Patience | None) -> list[TrainingResult]:
        return list(
            loop.train_epochs(
                *problem,
                batch_size=4,
                learning_rate=2.0,
                weight_decay=0.0,
                epochs=12,
                early_stopping=rule,
                rng=np.random.default_rng(0),
            )
        )

    epochs = results(None)
    accuracies = epochs[-1].history.val_acc
    assert 0 < accuracies.index(max(accuracies)) < 8, "the best is not in the midst"
    for n_iter_no_change in (1, 2, 3, 20):
        rule = Patience(n_iter_no_change, tol=0.0)
        stop = next((n for n in range(1, 13) if rule.reached(accuracies[:n])), None)
        got = results(rule)
        assert len(got) == (stop or 12)
        assert [result.stopped_early for result in got] == [
            n == stop for n in range(1, 1 + len(got))
        ]
        for n, result in enumerate(got, start=1):
            best = accuracies.index(max(accuracies[:n]))
            assert same_bits(result.params, epochs[best].params)
            assert same_bits(result.optimizer_state, epochs[n - 1].optimizer_state)
            assert result.history == epochs[n - 1].history


def test_a_training_without_validation_ends_when_its_loss_has_converged() -> None:
    problem = draw_problem()
    rule = Convergence(n_iter_no_change=2, tol=0.05)
    options: dict[str, Any] = {"batch_size": 4, "epochs": 50, "rng": np.random.default_rng(0)}
    result = manual_nn.train(*problem[:3], early_stopping=rule, **options)
    losses = result.history.train_loss
    assert result.stopped_early
    assert 3 < len(losses) < 50
    assert rule.reached(losses)
    assert not rule.reached(losses[:-1])
    whole = train(problem, epochs=len(losses))
    assert same_bits(result.params, whole.params)


# Interruptions


def interrupt_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that is interrupted when it has been called so often."""
    counter = itertools.count()

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(counter) == calls:
            raise KeyboardInterrupt
        return function(*args, **options)

    return interrupted


@pytest.mark.parametrize("steps", [0, 1, 4, 6, 7])
def test_an_interrupted_training_gives_a_warning_and_the_parameters_of_the_moment(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, optimizer = draw_problem(), Adam()
    whole = train(problem, optimizer=optimizer)
    descent = Descent(
        problem.params,
        problem.X_train,
        np.eye(4)[problem.y_train],
        batch_size=4,
        optimizer=optimizer,
        learning_rate=1e-3,
        weight_decay=1e-4,
    )
    for rows in itertools.islice(draw_batches(10, 4, epochs=3), steps):
        descent.step(rows)
    monkeypatch.setattr(Descent, "step", interrupt_after(steps, Descent.step))
    epoch = 1 + steps // 3
    message = f"^training was interrupted in epoch {epoch}: its result is as far as it came$"
    with pytest.warns(UserWarning, match=message) as caught:
        result = train(problem, optimizer=optimizer)
    assert Path(caught[0].filename).name == "test_loop.py"
    assert same_bits(result.params, descent.params)
    assert same_bits(result.optimizer_state, descent.state)
    assert result.history.train_loss == whole.history.train_loss[: epoch - 1]
    assert not result.stopped_early


@pytest.mark.parametrize("name", ["evaluate", "_given_out"])
def test_an_interruption_between_the_steps_loses_none(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start is measured first; an epoch's training rows, then its validation rows."""
    problem = draw_problem()
    whole = train(problem, epochs=2)
    calls = 3 if name == "evaluate" else 1
    monkeypatch.setattr(loop, name, interrupt_after(calls, getattr(loop, name)))
    with pytest.warns(UserWarning, match="training was interrupted"):
        result = train(problem)
    assert same_bits(result.params, whole.params)


def test_an_interruption_where_the_steps_have_left_the_finite_gives_the_epoch_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def spoil(descent: Descent, _rows: Array) -> None:
        if len(spoilt) == 3:
            descent.params[0].weight[0, 0] = np.nan
            raise KeyboardInterrupt
        spoilt.append(True)

    spoilt: list[bool] = []
    monkeypatch.setattr(Descent, "step", spoil)
    with pytest.warns(UserWarning, match="interrupted in epoch 2"):
        result = train(draw_problem())
    assert same_bits(result.params, draw_problem().params)
    assert len(result.history) == 1


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_an_interrupted_training_with_patience_gives_the_best_epoch_if_there_is_one(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = draw_problem()
    monkeypatch.setattr(Descent, "step", interrupt_after(steps, Descent.step))
    results = loop.train_epochs(
        *problem,
        batch_size=4,
        learning_rate=0.1,
        weight_decay=0.0,
        epochs=9,
        early_stopping=Patience(),
        rng=np.random.default_rng(0),
    )
    whole: list[TrainingResult] = []
    with pytest.raises(KeyboardInterrupt) as caught:
        whole.extend(results)
    assert isinstance(caught.value, TrainingInterrupted)
    assert str(caught.value) == f"training was interrupted in epoch {1 + steps // 3}"
    interrupted = caught.value.result
    if steps > 3:
        assert same_bits(interrupted.params, whole[-1].params)
    else:
        monkeypatch.undo()
        (first,) = itertools.islice(draw_batches(10, 4, epochs=1), 1)
        step = step_along(
            problem.params, problem.X_train[first], problem.y_train[first], weight_decay=0.0
        )
        assert same_bits(interrupted.params, step)


@pytest.mark.parametrize("calls", [0, 1])
def test_an_interruption_before_the_first_step_of_an_epoch_gives_the_epoch_before(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = draw_problem()
    monkeypatch.setattr(loop, "_descent", interrupt_after(calls, loop._descent))
    with pytest.warns(UserWarning, match=f"interrupted in epoch {calls + 1}:") as caught:
        result = manual_nn.train(*problem, batch_size=4, rng=np.random.default_rng(0))
    assert Path(caught[0].filename).name == "test_loop.py", "the warning is not of the caller"
    assert len(result.history) == calls
    monkeypatch.undo()
    want = train(problem, epochs=1).params if calls else problem.params
    assert same_bits(result.params, want)


@pytest.mark.parametrize("by_name", [False, True])
def test_an_interruption_passes_from_process_to_process(*, by_name: bool) -> None:
    result = train(draw_problem())
    error = TrainingInterrupted(result=result) if by_name else TrainingInterrupted(result)
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301, what we have just made
    assert type(copied) is TrainingInterrupted
    assert str(copied) == "training was interrupted in epoch 4"
    assert same_bits(copied.result.params, result.params)


def test_an_interruption_before_the_training_begins_is_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "evaluate", interrupt_after(0, evaluate))
    with pytest.raises(KeyboardInterrupt) as caught:
        train(draw_problem())
    assert type(caught.value) is KeyboardInterrupt


# Divergence


DOUBLING: dict[str, Any] = {"learning_rate": 1.0, "weight_decay": 1.5, "epochs": 600}


def doubling(dtype: npt.DTypeLike, *, x: float = 0.0, weight: float = 1.0) -> Problem:
    """Make a problem in which `DOUBLING` takes the weights from W to W - 2 * 3/2 * W = -2 W.

    Two equal columns give p = 1/2, which the targets are: nothing pulls but the penalty.
    """
    layer = Dense(np.full((1, 2), weight, dtype), np.zeros(2, dtype))
    X, y = np.full((12, 1), x), np.full((12, 2), 0.5)
    return Problem((layer,), X, y, X, y)


@pytest.mark.parametrize("batch_size", [12, 5, 4, 1])
@pytest.mark.parametrize(("dtype", "exponent"), [(np.float32, 128), (np.float64, 1024)])
def test_divergence_is_found_in_the_first_step_that_cannot_be_computed(
    dtype: npt.DTypeLike, exponent: int, batch_size: int
) -> None:
    # The logits after t steps are 2^(exponent - 8 + t) but for the sign, too large a number from
    # t = 8 on. They are computed in step t + 1 or, if t was the last step of an epoch, after it.
    steps, weight = 8, 2.0 ** (exponent // 2 - 8)
    problem = doubling(dtype, x=2.0 ** (exponent // 2), weight=weight)
    options = DOUBLING | {"batch_size": batch_size}
    batches = math.ceil(12 / batch_size)
    whole, more = divmod(steps, batches)
    epoch, batch = (whole + 1, more + 1) if more else (whole, batches)
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(problem, **options)
    error = caught.value
    assert (error.epoch, error.batch) == (epoch, batch)
    assert f"training diverged in epoch {epoch}, batch {batch}: X and params" in str(error)
    result_weight, bias = error.result.params[0]
    want = np.full((1, 2), weight * (-2.0) ** (batches * (epoch - 1)), dtype)
    assert np.array_equal(result_weight, want)
    assert np.array_equal(bias, [0, 0])
    assert len(error.result.history) == epoch - 1
    if epoch > 1:
        good = train(problem, **options | {"epochs": epoch - 1})
        assert same_bits(error.result.params, good.params)
        assert error.result.history == good.history


@pytest.mark.parametrize("batch_size", [12, 5, 4, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_is_found_after_the_epoch_whose_loss_hides_that_at_the_start(
    dtype: npt.DTypeLike, batch_size: int
) -> None:
    # The loss after t steps is 3 * 4^t + ln 2: times 2^-52 above what it was first from t = 27 on.
    batches = math.ceil(12 / batch_size)
    epoch = math.ceil(27 / batches)
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(doubling(dtype), **DOUBLING, batch_size=batch_size)
    assert (caught.value.epoch, caught.value.batch) == (epoch, batches)
    assert str(caught.value) == (
        f"training diverged in epoch {epoch}, batch {batches}: the loss after it is "
        f"{3 * 4.0 ** (epoch * batches):.3g}, and was 3.69 at first; choose a smaller learning_rate"
    )
    assert len(caught.value.result.history) == epoch - 1


def steps_until_divergence(layer: Dense, classes: int) -> int:
    """Train with one step in each epoch, all rows of class 0; the weights grow as in `doubling`."""
    X, y = np.zeros((4, 1)), np.zeros(4, int)
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(Problem((layer,), X, y, X, y), **DOUBLING)
    assert len(layer.bias) == classes
    return caught.value.epoch


def test_a_loss_of_2_to_the_52_times_that_at_the_start_is_not_yet_divergence() -> None:
    """With one class the loss is the penalty, 3/2 W^2: after 26 steps 4^26 times as large."""
    assert steps_until_divergence(Dense(np.ones((1, 1)), np.zeros(1)), 1) == 27


@pytest.mark.parametrize(("classes", "steps"), [(2, 65), (3, 66)])
def test_beside_a_loss_that_began_near_zero_a_guess_counts(classes: int, steps: int) -> None:
    """Right from the start: the loss is 3 * 4^(t - 40), against 2^52 ln K."""
    weight, bias = np.zeros((1, classes)), np.full(classes, -500.0)
    weight[0, :2], bias[0] = 2.0**-40, 500.0
    assert steps_until_divergence(Dense(weight, bias), classes) == steps


def test_a_loss_that_overflows_is_divergence() -> None:
    with pytest.raises(manual_nn.TrainingDiverged, match=r"is inf, and was 1\.24e\+181 at first"):
        train(doubling(np.float64), **DOUBLING | {"weight_decay": 1.5 * 2.0**600}, batch_size=12)


@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
def test_where_the_square_of_an_input_overflows_the_advice_is_to_scale(
    optimizer: SGD | Adam,
) -> None:
    """In `Adam` nothing but the mean of squares is infinite, and no parameter would move again."""
    layer = Dense(np.zeros((1, 2), np.float32), np.zeros(2, np.float32))
    X, y = np.array([[1e20], [-1e20]]), np.array([0, 1])
    problem = Problem((layer,), X, y, X, y)
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(problem, optimizer=optimizer, learning_rate=1e-3 if optimizer == Adam() else 1.0)
    assert str(caught.value).endswith("; scale X_train, whose largest number is 1e+20")
    if optimizer == Adam():
        assert "optimizer_state.moments[1][0].weight must be finite, got inf" in str(caught.value)


def test_inputs_too_large_for_the_first_parameters_are_no_divergence() -> None:
    problem = doubling(np.float64, x=2.0**1000, weight=2.0**30)
    with pytest.raises(ValueError, match=r"^X_train does not go with params: X and params must"):
        train(problem, **DOUBLING)


def test_a_penalty_that_is_infinite_at_the_start_is_no_divergence() -> None:
    with pytest.raises(ValueError, match=r"^params must give a finite loss .*, got inf$"):
        train(doubling(np.float64, weight=2.0**600), **DOUBLING)


def test_the_loss_at_the_start_is_that_of_the_parameters() -> None:
    problem = draw_problem()
    weights = np.arange(1.0, 11.0)
    _, X, y, *_ = problem
    for sample_weight in (None, weights):
        options: dict[str, Any] = {"weight_decay": 0.01, "sample_weight": sample_weight}
        result = train(problem, **options)
        want = manual_nn.loss(problem.params, X, y, **options)
        assert result.start_loss == want


@pytest.mark.parametrize(("batch_size", "batch"), [(4, 2), (12, 1)])
def test_parameters_that_are_not_finite_are_divergence_though_no_loss_was_infinite(
    batch_size: int, batch: int
) -> None:
    # In float32 the learning rate is infinite; times the weights' gradient, which is 0, it is NaN.
    start = doubling(np.float32)
    problem = start._replace(y_train=np.zeros(12, int))
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(problem, learning_rate=1e39, weight_decay=0.0, batch_size=batch_size)
    assert (caught.value.epoch, caught.value.batch) == (1, batch)
    assert "params[0].weight must be finite, got nan" in str(caught.value)
    assert same_bits(caught.value.result.params, start.params)
    assert caught.value.result.history == History()


def test_divergence_is_told_in_the_same_way_where_overflow_is_an_error() -> None:
    with (
        np.errstate(over="raise", invalid="raise"),
        pytest.raises(manual_nn.TrainingDiverged, match="the loss after it is inf"),
    ):
        train(doubling(np.float64), **DOUBLING | {"weight_decay": 1.5 * 2.0**600}, batch_size=12)


def test_the_epochs_before_a_divergence_are_given_out() -> None:
    results = loop.train_epochs(
        *doubling(np.float32),
        **DOUBLING,
        batch_size=4,
        early_stopping=None,
        rng=np.random.default_rng(0),
    )
    given_out = [next(results) for _ in range(8)]
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        next(results)
    assert same_bits(caught.value.result.params, given_out[-1].params)
    assert caught.value.result.history == given_out[-1].history


def test_the_state_of_the_epoch_before_a_divergence_is_given_out() -> None:
    """The penalty's gradient is 3 W: with momentum, a learning rate of 1 would be too small."""
    options = {**DOUBLING, "optimizer": SGD(0.5), "learning_rate": 2.0}
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(doubling(np.float64), **options)
    reached = caught.value.result
    before = train(doubling(np.float64), **{**options, "epochs": len(reached.history)})
    assert same_bits(reached.optimizer_state, before.optimizer_state)
    assert same_bits(reached.params, before.params)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_divergence_passes_from_process_to_process(*, by_name: bool) -> None:
    with pytest.raises(manual_nn.TrainingDiverged) as caught:
        train(doubling(np.float32), **DOUBLING)
    error = caught.value
    if by_name:
        error = manual_nn.TrainingDiverged(**vars(error))
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301, what we have just made
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert (copied.epoch, copied.batch, copied.reason) == (error.epoch, error.batch, error.reason)
    assert same_bits(copied.result.params, error.result.params)


@pytest.mark.parametrize("name", ["X_train", "X_val"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_no_divergence(name: str, value: float) -> None:
    problem = draw_problem()
    X = getattr(problem, name).copy()
    X[3, 1] = value
    with pytest.raises(ValueError, match=rf"{name} must be finite, got {value} at \[3, 1\]"):
        train(problem._replace(**{name: X}))


def test_parameters_that_are_not_finite_at_the_start_are_no_divergence() -> None:
    problem = draw_problem()
    problem.params[1].bias[2] = np.nan
    with pytest.raises(ValueError, match=r"params\[1\]\.bias must be finite, got nan at \[2\]"):
        train(problem)


# The same training with JAX's gradients, in float64

EPOCHS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 3, 4, 0.1, 0.01
EPS = float(np.finfo(np.float64).eps)


def jax_step(params: Any, X: Any, y: Any) -> Any:
    _, gradient = reference.loss_and_grad(params, X, y, weight_decay=WEIGHT_DECAY)
    return jax.tree.map(lambda array, d_array: array - LEARNING_RATE * d_array, params, gradient)


def jax_training(params: Any, batches: list[tuple[Any, Any]]) -> Any:
    """Train with JAX: a function like any other, of the start and the batches."""
    for X, y in batches:
        params = jax_step(params, X, y)
    return params


def manual_step(params: Params, X: Array, y: Array) -> Params:
    return step_along(params, X, y, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)


def manual_training(problem: Problem, *, weight_decay: float = WEIGHT_DECAY) -> Params:
    return train(
        problem,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        weight_decay=weight_decay,
    ).params


def draw_training_batches(problem: Problem) -> list[tuple[Array, Array]]:
    """Draw the batches of `manual_training`."""
    batches = draw_batches(len(problem.X_train), BATCH_SIZE, EPOCHS)
    return [(problem.X_train[rows], problem.y_train[rows]) for rows in batches]


def compare_steps(
    problem: Problem, step: Callable[[Any, Any, Any], Any]
) -> tuple[Any, list[reference.Comparison], float]:
    """Train, and compare each step with JAX's from the same parameters.

    Returns:
        The parameters; the comparisons; and the drift, the sum over the steps of how far each may
        be off the exact step from where it starts: its bound, in the Euclidean norm of all
        parameters.
    """
    batches = draw_training_batches(problem)
    comparers = {len(X): reference.Comparer(jax_step, problem.params, X, y) for X, y in batches}
    params, comparisons, drift = problem.params, [], 0.0
    for X, y in batches:
        after = step(params, X, y)
        comparison = comparers[len(X)](after, params, X, y)
        comparisons.append(comparison)
        params = after
        drift += norm([leaf.bound for leaf in comparison.leaves])
    return params, comparisons, drift


def norm(tree: Any) -> float:
    """Take the Euclidean norm of all entries of all leaves, as one vector."""
    return float(np.sqrt(sum(float((np.asarray(a) ** 2).sum()) for a in jax.tree.leaves(tree))))


@pytest.mark.long
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4), (3, 5, 4), (2, 4, 5, 3)])
def test_each_step_of_a_training_agrees_with_jax(sizes: Sequence[int], *, soft: bool) -> None:
    problem = draw_problem(sizes, soft=soft)
    params, comparisons, _ = compare_steps(problem, manual_step)
    assert {comparison.verdict for comparison in comparisons} == {reference.Verdict.MATCH}
    assert same_bits(params, manual_training(problem)), "these are not the steps of the training"


@pytest.mark.long
@pytest.mark.parametrize("soft", [False, True])
def test_softmax_regression_trained_by_hand_and_with_jax_comes_to_the_same(*, soft: bool) -> None:
    r"""Both paths stay within their drift of the exact path, so within the sum of one another.

    Let f be the loss of a batch, and theta all parameters as one vector. The Hessian of one row's
    cross-entropy in its logits, diag(p) - p p^T, has norm 1/2 at most, and the logits x W + b
    change by at most sqrt(||x||^2 + 1) ||d theta||. So f is convex, with a Hessian of norm at most

        Lip = max_n (||x_n||^2 + 1) / 2 + 2 weight_decay.

    The gradient of such an f is co-coercive (Nesterov, Lectures on Convex Optimization, 2018,
    theorem 2.1.5), and so, for learning_rate <= 2 / Lip, the exact step
    theta - learning_rate grad f(theta) takes no two points further apart. Hence a path that takes
    inexact steps is off the exact path by at most the sum of what each of its steps is off.
    """
    problem = draw_problem((3, 4), soft=soft)
    largest = float((problem.X_train**2).sum(axis=1).max())
    Lip = (largest + 1) / 2 + 2 * WEIGHT_DECAY
    assert Lip * LEARNING_RATE <= 2, "the exact step may expand"

    by_hand, _, drift_by_hand = compare_steps(problem, manual_step)
    by_jax, _, drift_by_jax = compare_steps(problem, jax.jit(jax_step))
    bound = drift_by_hand + drift_by_jax

    def distance(params: Params) -> float:
        return norm(jax.tree.map(np.subtract, params, by_jax))

    assert same_bits(by_hand, manual_training(problem)), "these are not the steps of the training"
    assert distance(by_hand) <= bound
    assert bound < np.sqrt(EPS) * norm(by_hand), "the bound leaves less than half the digits"
    without_factor_2 = manual_training(problem, weight_decay=WEIGHT_DECAY / 2)
    assert distance(without_factor_2) > bound


@pytest.mark.long
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4), (3, 5, 4), (2, 4, 5, 3)])
def test_a_network_trained_by_hand_and_with_jax_comes_to_the_same(
    sizes: Sequence[int], *, soft: bool
) -> None:
    """The whole training is one function, so its rounding bound follows by the rules for any.

    The bound runs through every operation of every step and so grows from step to step by what
    these may do to an error at worst; after three epochs it leaves more than half the digits.
    """
    problem = draw_problem(sizes, soft=soft)
    batches = draw_training_batches(problem)
    comparer = reference.Comparer(jax_training, problem.params, batches)
    comparison = comparer(manual_training(problem), problem.params, batches)
    assert comparison.verdict is reference.Verdict.MATCH
    assert comparison.open_kinks == 0
    for leaf in comparison.leaves:
        assert leaf.bound.max() < np.sqrt(EPS) * abs(leaf.want).max(), "less than half the digits"

    without_factor_2 = manual_training(problem, weight_decay=WEIGHT_DECAY / 2)
    assert comparer(without_factor_2, problem.params, batches).verdict is reference.Verdict.MISMATCH
