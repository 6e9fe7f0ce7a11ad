"""Sparse rows are trained on as dense ones are, and never all dense at a time.

Axes: N rows, D inputs, K classes.
"""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import manual_nn
from manual_nn import TrainingResult
from manual_nn.training import rows
from manual_nn.training.checkpoint import fingerprint
from manual_nn.training.evaluation import evaluate
from manual_nn.training.rows import as_rows_to_train, logits, take
from tests.support.bits import same_bits
from tests.support.cases import each

N, D, K = 40, 6, 3
RNG = np.random.default_rng(0)
DENSE = RNG.normal(size=(N, D)) * (RNG.random((N, D)) < 0.3)
Y = RNG.integers(K, size=N)
PARAMS = manual_nn.init_params([D, 5, K], rng=RNG)
FORMATS: list[Any] = [
    sparse.csr_array,
    sparse.csr_matrix,
    sparse.csc_array,
    sparse.coo_matrix,
    sparse.lil_array,
]


def train(X: Any, X_val: Any, **options: Any) -> TrainingResult:
    """Train for a few epochs."""
    defaults: dict[str, Any] = {"batch_size": 8, "epochs": 3, "early_stopping": None}
    rng = np.random.default_rng(1)
    return manual_nn.train(PARAMS, X, Y, X_val, Y[:10], rng=rng, **(defaults | options))


@pytest.mark.parametrize("of", FORMATS, ids=lambda of: of.__name__)
def test_training_on_sparse_rows_is_that_on_dense_ones_to_the_bit(of: Any) -> None:
    weight = RNG.integers(3, size=N).astype(float)  # some of them 0
    got = train(of(DENSE), of(DENSE[:10]), sample_weight=weight)
    want = train(DENSE, DENSE[:10], sample_weight=weight)
    assert same_bits(got.params, want.params)
    assert got.history == want.history


def test_sparse_rows_get_the_dtype_of_the_parameters() -> None:
    single = tuple(type(layer)(*(a.astype(np.float32) for a in layer)) for layer in PARAMS)
    for dtype in (np.float64, np.float32, np.int8, np.bool):
        got = as_rows_to_train(single, sparse.csr_array(DENSE.astype(dtype)), name="X")
        want = as_rows_to_train(single, DENSE.astype(dtype), name="X")
        assert got.dtype == want.dtype == np.float32
        assert (got.toarray() == want).all()


def test_a_batch_is_taken_into_the_array_that_is_there() -> None:
    chosen = np.array([7, 3, 3, 0])
    for X in (DENSE, sparse.csr_array(DENSE)):
        out = np.full((5, D), 9.0)
        batch = take(X, chosen, out)
        assert (batch == DENSE[chosen]).all()
        assert np.shares_memory(batch, out)
        assert (out[4] == 9).all()


def test_logits_of_many_sparse_rows_are_computed_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "BLOCK_SIZE", 16)
    X = sparse.csr_array(DENSE)
    for n in (N, 33):  # of which the last is alone in its block
        blocks = np.split(DENSE[:n], [16, 32])
        want = np.concatenate([manual_nn.logits(PARAMS, block) for block in blocks])
        assert logits(PARAMS, X[:n]).tobytes() == want.tobytes()
    assert logits(PARAMS, DENSE).tobytes() == manual_nn.logits(PARAMS, DENSE).tobytes()
    loss, accuracy = evaluate(PARAMS, X, Y, weight_decay=0.5)
    assert loss == pytest.approx(float(manual_nn.loss(PARAMS, DENSE, Y, weight_decay=0.5)), 1e-12)
    assert accuracy == np.mean(manual_nn.predict(PARAMS, DENSE) == Y)


def test_sparse_rows_are_never_all_dense() -> None:
    """In each of 20,000 rows one of 1,000 features is not 0: dense, they take 160 MB."""
    many, features = 20_000, 1000
    params = manual_nn.init_params([features, 2], rng=RNG)
    places = np.arange(many), np.arange(many) % features
    X = sparse.csr_array((np.ones(many), places), (many, features))
    options: dict[str, Any] = {"epochs": 1, "batch_size": 200, "early_stopping": None}
    tracemalloc.start()
    manual_nn.train(params, X, np.arange(many) % 2, rng=RNG, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < many * features * 8 / 4


def test_a_checkpoint_knows_sparse_rows(tmp_path: Path) -> None:
    X, path = sparse.csr_array(DENSE), tmp_path / "run.npz"
    whole = train(X, X[:10])
    train(X, X[:10], epochs=2, checkpoint=path)
    assert same_bits(train(X, X[:10], checkpoint=path, resume=True).params, whole.params)
    other = X.copy()
    other.data[3] += 1
    with pytest.raises(ValueError, match="written with another X_train"):
        train(other, X[:10], checkpoint=path, resume=True)


def test_the_fingerprint_of_sparse_rows_is_of_numbers_and_places() -> None:
    X = sparse.csr_array(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
    prints = [fingerprint(X), fingerprint(X.toarray())]
    for part, number in (("data", 7.0), ("indices", 1), ("indptr", 1)):
        other = X.copy()
        getattr(other, part)[1] = number
        prints.append(fingerprint(other))
    assert fingerprint(X.copy()) == prints[0]
    assert len({str(print_) for print_ in prints}) == 5


# The place of the third number that is not 0, in such rows; the first row is empty.
THIRD = "{}, {}".format(*np.argwhere(DENSE)[2])


def changed(number: float) -> Any:
    """Make rows one of whose numbers is this one."""
    X = sparse.csr_array(DENSE)
    X.data[2] = number
    return X


@each(
    ("X", "error", "said"),
    [
        (sparse.csr_array((N, D + 1)), ValueError, r"X must have shape \(N, 6\), .* got \(40, 7\)"),
        (sparse.csr_array((0, D)), ValueError, r"N at least 1, got \(0, 6\)"),
        (sparse.coo_array(np.ones(D)), ValueError, r"got \(6,\)"),
        (
            sparse.csr_array(DENSE * 1j),
            TypeError,
            "X must be an array of real numbers, got dtype c",
        ),
        (changed(np.nan), ValueError, rf"X must be finite, got nan at \[{THIRD}\]"),
        (changed(-np.inf), ValueError, rf"X must be finite, got -inf at \[{THIRD}\]"),
    ],
)
def test_what_is_wrong_with_sparse_rows_is_named(X: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        as_rows_to_train(PARAMS, X, name="X")


def test_sparse_numbers_too_large_for_the_network_are_named() -> None:
    single = manual_nn.init_params([D, K], rng=RNG, dtype=np.float32)
    with pytest.raises(ValueError, match=rf"X in float32 must be finite, got inf at \[{THIRD}\]"):
        as_rows_to_train(single, changed(1e60), name="X")


def test_dense_rows_are_checked_as_they_were() -> None:
    wrong = DENSE.copy()
    wrong[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"X must be finite, got nan at \[1, 2\]"):
        as_rows_to_train(PARAMS, wrong, name="X")
