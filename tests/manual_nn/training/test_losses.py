"""The losses of training: of one class a row, and of any number of them.

Axes: N rows, D inputs, K classes.
"""

import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn import SGD
from manual_nn.layers import binary_cross_entropy
from manual_nn.training.descent import Descent
from manual_nn.training.evaluation import evaluate
from manual_nn.training.loop import train_epochs
from manual_nn.training.losses import LOSSES, as_loss
from reference import Comparer, Verdict
from reference.models import mlp as reference_mlp
from tests.support.bits import same_bits
from tests.support.cases import each

N, D, H, K = 8, 3, 5, 4
LEARNING_RATE, WEIGHT_DECAY = 0.125, 0.25
BINARY = LOSSES["binary_cross_entropy"]
RNG = np.random.default_rng(0)
X, TARGET = RNG.normal(size=(N, D)), RNG.integers(2, size=(N, K)).astype(float)
PARAMS = manual_nn.init_params([D, H, K], rng=RNG)


def jax_loss(params: Any, X: Any, target: Any, weight: Any) -> Any:
    """Take the weighted mean of the rows' binary cross-entropies, each a mean over the classes."""
    z = reference_mlp.logits(params, X)
    losses = -target * jax.nn.log_sigmoid(z) - (1 - target) * jax.nn.log_sigmoid(-z)
    penalty = sum((layer.weight**2).sum() for layer in params)
    return (weight / weight.sum() * losses.mean(axis=1)).sum() + WEIGHT_DECAY * penalty


def jax_step(params: Any, X: Any, target: Any, weight: Any) -> Any:
    gradient = jax.grad(jax_loss)(params, X, target, weight)
    return jax.tree.map(lambda array, d_array: array - LEARNING_RATE * d_array, params, gradient)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_of_the_binary_loss_is_jax_s(dtype: npt.DTypeLike) -> None:
    """Targets need not be 0 or 1, nor weights equal."""
    comparer = None
    for seed in range(5):
        rng = np.random.default_rng(seed)
        params = manual_nn.init_params([D, H, K], rng=rng, dtype=dtype)
        rows, target = (3 * rng.normal(size=(N, D))).astype(dtype), rng.random((N, K)).astype(dtype)
        weight = rng.integers(1, 9, size=N).astype(dtype)
        descent = Descent(
            params,
            rows,
            target,
            batch_size=N,
            loss="binary_cross_entropy",
            optimizer=SGD(),
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            sample_weight=weight,
        )
        descent.step(np.arange(N))
        args = params, rows, target, weight
        comparer = comparer or Comparer(jax_step, *args)
        assert comparer(descent.params, *args).verdict is Verdict.MATCH


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_binary_loss_is_the_layer_s_to_the_bit(dtype: type[np.floating[Any]]) -> None:
    """Of 64 rows and 4 classes all factors are powers of two, and all roundings the same."""
    row_weight = dtype(1 / 64)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(64, K)).astype(dtype)
        target = rng.integers(2, size=(64, K)).astype(dtype)
        loss, kept = binary_cross_entropy.forward((), z, target=target)
        _, d_z = binary_cross_entropy.backward((), kept, d_out=0.5)
        assert BINARY.of(z, target, row_weight) == loss
        assert BINARY.backward(z, target, row_weight, 0.5).tobytes() == d_z.tobytes()


def test_the_binary_loss_is_finite_where_a_probability_is_0() -> None:
    z, target = np.array([[1000.0, -1000.0], [1000.0, -1000.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    row_weight = np.array([[0.25], [0.75]])
    assert BINARY.of(z, target, row_weight) == 250
    d_z = BINARY.backward(z, target, row_weight, 1.0)
    assert d_z.tolist() == [[0.125, -0.125], [0, 0]]
    assert np.signbit(BINARY.backward(-z, target, row_weight, 1.0)).tolist()[1] == [True, False]


def test_float32_logits_give_a_float32_gradient() -> None:
    z, target = np.ones((N, K), np.float32), np.ones((N, K), np.float32)
    for loss in LOSSES.values():
        d_z = loss.backward(z, target, np.float32(1 / N), 0.1)
        assert d_z.dtype == loss.of(z, target, np.float32(1 / N)).dtype == np.float32


def test_a_row_is_right_if_the_likeliest_class_or_all_classes_are() -> None:
    z = np.array([[2.0, 1.0, -1.0], [2.0, 3.0, -1.0], [0.0, 1.0, 2.0], [0.0, 0.5, -1.0]])
    target = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    assert LOSSES["softmax_cross_entropy"].right(z, target).tolist() == [True, False, False, True]
    assert BINARY.right(z, target).tolist() == [True, False, True, True]
    assert BINARY.right(z, np.where(target == 1, 0.75, 0.5)).tolist() == [True, False, True, True]


def test_a_guess_is_that_all_classes_are_equally_likely() -> None:
    zero = np.zeros((1, 5))
    for loss, target in zip(LOSSES.values(), (np.eye(5)[:1], np.ones((1, 5))), strict=True):
        assert loss.of_a_guess(5) == pytest.approx(float(loss.of(zero, target, np.float64(1))))
    assert BINARY.of_a_guess(5) == math.log(2)


def test_an_evaluation_counts_rows_all_of_whose_classes_are_right() -> None:
    weight = np.arange(1.0, N + 1)
    z = manual_nn.logits(PARAMS, X)
    target = (z > 0).astype(float)
    target[0, 1] = 1 - target[0, 1]
    options: dict[str, Any] = {"loss": "binary_cross_entropy", "weight_decay": WEIGHT_DECAY}
    loss, accuracy = evaluate(PARAMS, X, target, sample_weight=weight, **options)
    assert accuracy == pytest.approx(1 - weight[0] / weight.sum(), rel=1e-12)
    assert loss == pytest.approx(float(jax_loss(PARAMS, X, target, weight)), rel=1e-12)


def test_training_takes_the_loss_for_steps_and_measures() -> None:
    """Rows of weight 0 are left out, and those of validation judged likewise."""
    weight = np.where(np.arange(N) < 2, 0.0, 1.0)
    result = manual_nn.train(
        PARAMS,
        X,
        TARGET,
        X[:3],
        TARGET[:3],
        loss="binary_cross_entropy",
        batch_size=4,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        epochs=1,
        early_stopping=None,
        sample_weight=weight,
        rng=np.random.default_rng(1),
    )
    options: dict[str, Any] = {"loss": "binary_cross_entropy", "weight_decay": WEIGHT_DECAY}
    descent = Descent(
        PARAMS,
        X[2:],
        TARGET[2:],
        batch_size=4,
        optimizer=SGD(),
        learning_rate=LEARNING_RATE,
        sample_weight=np.ones(N - 2),
        **options,
    )
    order = np.random.default_rng(1).permutation(N - 2)
    descent.step(order[:4])
    descent.step(order[4:])
    assert same_bits(result.params, descent.params)
    params, history = result.params, result.history
    train = evaluate(params, X[2:], TARGET[2:], sample_weight=np.ones(N - 2), **options)
    assert (history.train_loss[0], history.train_acc[0]) == train
    val = evaluate(params, X[:3], TARGET[:3], loss="binary_cross_entropy")
    assert (history.val_loss[0], history.val_acc[0]) == val


def test_numpy_steps_down_the_binary_loss_whatever_the_backend_is(tmp_path: Path) -> None:
    """What is compiled knows the other loss alone, and the checkpoint says what computes."""
    results: list[Any] = []
    for epochs, backend in ((2, "numpy"), (1, "numba"), (2, "numpy")):
        file: Any = {"checkpoint": tmp_path / "run.npz", "resume": True} if results else {}
        *_, result = train_epochs(
            PARAMS,
            X,
            TARGET,
            loss="binary_cross_entropy",
            batch_size=4,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            epochs=epochs,
            early_stopping=None,
            rng=np.random.default_rng(1),
            backend=backend,
            **file,
        )
        results.append(result)
    assert same_bits(results[0].params, results[2].params)


@each(
    ("y", "error", "said"),
    [
        (np.full((N, K), "1"), TypeError, "y must hold numbers from 0 to 1, got dtype <U1"),
        (np.zeros(N), ValueError, r"y must have shape \(8, 4\), got \(8,\)"),
        (np.zeros((N, K + 1)), ValueError, r"y must have shape \(8, 4\), got \(8, 5\)"),
        (np.full((N, K), -0.5), ValueError, r"from 0 to 1, got -0\.5 at \[0, 0\]"),
        (np.full((N, K), 1.5), ValueError, r"from 0 to 1, got 1\.5 at \[0, 0\]"),
        (np.where(np.eye(N, K, -1), np.nan, 1), ValueError, r"0 to 1, got nan at \[1, 0\]"),
    ],
)
def test_targets_that_are_no_indicators_are_named(
    y: npt.NDArray[Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        BINARY.as_targets(PARAMS, N, y)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32, np.float64])
def test_targets_get_the_dtype_of_the_parameters(dtype: npt.DTypeLike) -> None:
    for params in (PARAMS, PARAMS[1:]):
        target = BINARY.as_targets(params, N, TARGET.astype(dtype))
        assert target.dtype == np.float64
        assert (target == TARGET).all()


@pytest.mark.parametrize("loss", ["hinge", None])
def test_a_loss_that_there_is_not_is_named(loss: object) -> None:
    said = f"loss must be one of softmax_cross_entropy, binary_cross_entropy, got {loss!r}"
    with pytest.raises(ValueError, match=said):
        as_loss(loss)
