"""Data sets: what is read is what is there, and rows are held out as documented."""

import functools
import gzip
import http.client
import math
import socket
import sys
import urllib.error
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn.files.data_sets import load_digits, load_mnist, split_test, split_validation
from tests.support.cases import each
from tests.support.idx import idx_bytes

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10
STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def write_mnist(folder: Path, *, mark: str = "-", zipped: bool = False) -> None:
    for stem in STEMS:
        images = stem.endswith("images")
        content = idx_bytes(IMAGES if images else LABELS)
        name = f"{stem}{mark}idx{3 if images else 1}-ubyte"
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def test_digits_are_all_there() -> None:
    digits = load_digits()
    assert digits.X_train.shape == (1437, 64)
    assert digits.X_test.shape == (360, 64)
    everything = np.concatenate([digits.X_train, digits.X_test])
    assert (everything.min(), everything.max()) == (0, 16)
    assert np.array_equal(everything, np.rint(everything))
    assert (digits.image_shape, digits.classes) == ((8, 8), tuple("0123456789"))
    # scikit-learn documents how many there are of each class; the split keeps the proportion.
    counts = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    test_counts = np.bincount(digits.y_test)
    assert np.array_equal(np.bincount(digits.y_train) + test_counts, counts)
    assert np.abs(test_counts - counts * 360 / 1797).max() < 1


def test_digits_are_split_as_they_have_always_been() -> None:
    digits = load_digits()
    assert digits.y_train[:12].tolist() == [3, 9, 1, 3, 1, 9, 4, 4, 2, 8, 3, 5]
    assert digits.y_test[:12].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3, 2, 6]


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_from_a_folder(tmp_path: Path, mark: str, *, zipped: bool) -> None:
    write_mnist(tmp_path, mark=mark, zipped=zipped)
    mnist = load_mnist(tmp_path)
    assert (mnist.name, mnist.image_shape) == ("mnist", (28, 28))
    assert mnist.classes == tuple("0123456789")
    for X, y in ((mnist.X_train, mnist.y_train), (mnist.X_test, mnist.y_test)):
        assert X.dtype == np.uint8
        assert np.array_equal(X, IMAGES.reshape(12, 784))
        assert np.array_equal(y, LABELS)


@pytest.mark.parametrize(
    ("stem", "content", "reason"),
    [
        ("train-images", idx_bytes(LABELS), "images are expected, this holds labels"),
        ("t10k-images", idx_bytes(IMAGES[0]), r"images are expected.*shape \(28, 28\)"),
        ("train-labels", idx_bytes(IMAGES), "labels are expected, this holds images"),
        ("t10k-labels", idx_bytes(IMAGES[0]), r"labels are expected.*shape \(28, 28\)"),
        ("train-images", idx_bytes(IMAGES[:, :, 1:].copy()), "28 x 28.*got 28 x 27"),
        ("t10k-images", idx_bytes(IMAGES[:, ::2, ::2].copy()), "28 x 28.*got 14 x 14"),
        ("train-labels", idx_bytes(LABELS + np.uint8(1)), "labels are 0 to 9, label 9 is 10"),
        ("t10k-labels", idx_bytes(LABELS[1:]), "holds 12 images, but .*t10k-labels.* 11 labels"),
        ("train-images", idx_bytes(IMAGES[1:]), "holds 11 images, but .*train-labels.* 12 labels"),
        ("train-labels", idx_bytes(LABELS.astype(np.int32)), "unsigned bytes.*holds int32"),
        ("train-images", idx_bytes(IMAGES)[:-1], "truncated"),
        ("t10k-labels", b"text", "not an IDX file"),
    ],
)
def test_a_wrong_mnist_file_is_named(
    tmp_path: Path, stem: str, content: bytes, reason: str
) -> None:
    write_mnist(tmp_path)
    next(tmp_path.glob(f"{stem}*")).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        load_mnist(tmp_path)
    assert f"{stem}-idx" in str(caught.value)


@pytest.mark.parametrize("stem", STEMS)
def test_a_missing_mnist_file_is_named_with_its_folder(tmp_path: Path, stem: str) -> None:
    write_mnist(tmp_path)
    next(tmp_path.glob(f"{stem}*")).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path)
    kind = f"idx{3 if stem.endswith('images') else 1}-ubyte"
    names = f"{stem}-{kind}, {stem}-{kind}.gz, {stem}.{kind} or {stem}.{kind}.gz"
    assert str(caught.value) == f"{tmp_path}: there is no file {names}"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        load_mnist(tmp_path / "nowhere")


def openml_of(rows: int) -> Callable[..., tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """What fetch_openml gives, without the network: row n has pixels n % 256, class n % 10."""

    def fetch_openml(name: str, **options: object) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        assert name == "mnist_784"
        assert options == {"version": 1, "as_frame": False, "parser": "pandas", "return_X_y": True}
        numbers = np.arange(rows)
        pixels = np.broadcast_to((numbers % 256)[:, np.newaxis], (rows, 784))
        return pixels, (numbers % 10).astype(str).astype(object)

    return fetch_openml


def test_without_a_folder_mnist_comes_from_openml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sklearn.datasets.fetch_openml", openml_of(70_000))
    mnist = load_mnist()
    assert mnist.X_train.shape == (60_000, 784)
    assert mnist.X_test.shape == (10_000, 784)
    assert np.array_equal(mnist.X_train[:, 5], np.arange(60_000) % 256)
    assert np.array_equal(mnist.X_test[:, 783], np.arange(60_000, 70_000) % 256)
    assert np.array_equal(mnist.y_train, np.arange(60_000) % 10)
    assert np.array_equal(mnist.y_test, np.arange(60_000, 70_000) % 10)


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        socket.gaierror("no name"),
        TimeoutError("too slow"),
        ValueError("md5 checksum differs"),
        http.client.IncompleteRead(b""),
    ],
)
def test_a_failed_download_asks_for_a_folder(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fetch_openml(*_: object, **__: object) -> None:
        warnings.warn("retrying", stacklevel=1)  # as scikit-learn does; an error if let through
        raise failure

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    with pytest.raises(OSError, match=r"cannot be downloaded .*give a folder"):
        load_mnist()


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y = np.zeros((4, 2)), np.zeros(4, np.int64)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for call in (
        load_digits,
        load_mnist,
        lambda: split_validation(X, y, rng=rng),
        lambda: split_test(X, y, fraction=0.5),
    ):
        with pytest.raises(ImportError, match=r"scikit-learn.*pip install 'manual-nn\[train\]'"):
            call()


def test_the_split_keeps_rows_and_labels_together() -> None:
    X = np.arange(200.0).reshape(100, 2)
    y = np.arange(100)
    parts = split_validation(X, y, rng=np.random.default_rng(0))
    X_train, y_train, X_val, y_val = parts
    assert X_val is not None
    assert y_val is not None
    assert (len(X_train), len(X_val)) == (85, 15)
    assert np.array_equal(X[y_train], X_train)
    assert np.array_equal(X[y_val], X_val)
    assert np.array_equal(np.sort(np.concatenate([y_train, y_val])), y)


def test_the_split_of_mnist_holds_out_9000() -> None:
    X, y = np.zeros((60_000, 1)), np.zeros(60_000, np.int64)
    _, y_train, _, y_val = split_validation(X, y, rng=np.random.default_rng(0))
    assert y_val is not None
    assert (len(y_train), len(y_val)) == (51_000, 9_000)


def test_the_split_follows_the_generator() -> None:
    X, y = np.zeros((100, 1)), np.arange(100)
    rng = np.random.default_rng(0)
    first = split_validation(X, y, rng=rng)[1]
    second = split_validation(X, y, rng=rng)[1]
    again = split_validation(X, y, rng=np.random.default_rng(0))[1]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_the_split_may_be_any_that_scikit_learn_can_make(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def split(X: object, y: object, *, test_size: float, random_state: int) -> list[object]:
        assert test_size == 0.15
        seeds.append(random_state)
        return [X, X, y, y]

    monkeypatch.setattr("sklearn.model_selection.train_test_split", split)
    rng = np.random.default_rng(0)
    for _ in range(50):
        split_validation(np.zeros((2, 1)), np.zeros(2, np.int64), rng=rng)
    assert 2**31 < max(seeds) < 2**32  # which each is with a probability of 1/2


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_a_fraction_is_from_0_to_below_1(fraction: float) -> None:
    X, y = np.zeros((10, 1)), np.arange(10)
    with pytest.raises(ValueError, match="fraction must be"):
        split_validation(X, y, fraction=fraction, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="fraction must be"):
        split_test(X, y, fraction=fraction)


def test_one_row_cannot_be_split() -> None:
    X, y = np.zeros((1, 1)), np.arange(1)
    with pytest.raises(ValueError, match="validation_fraction must leave rows to train on"):
        split_validation(X, y, rng=np.random.default_rng(0))


def test_nothing_is_held_out_unless_it_is_asked_for() -> None:
    X, y = np.arange(6).reshape(3, 2), np.arange(3)
    rng = np.random.default_rng(0)
    kept_X, kept_y, *none = split_validation(X, y, fraction=0, rng=rng)
    assert (kept_X is X, kept_y is y, none) == (True, True, [None, None])
    assert rng.random() == np.random.default_rng(0).random()
    X_train, y_train, X_test, y_test = split_test(X, y, fraction=0)
    assert (X_train is X, y_train is y) == (True, True)
    assert (X_test.shape, y_test.shape) == ((0, 2), (0,))


@each(
    ("counts", "fraction", "held_out"),
    [
        ([40, 20, 60], 0.25, [10, 5, 15]),
        ([3, 3], 0.3, [1, 1]),
        ([2, 2], 0.5, [1, 1]),  # as few as can be divided
        ([1, 9], 0.2, None),  # a single row of a class
        ([3, 3], 0.1, None),  # one row for two classes
        ([3, 3], 0.8, None),  # one left for two classes
    ],
)
def test_rows_to_test_with_are_always_the_same_and_of_each_class_in_proportion_where_they_can_be(
    counts: list[int], fraction: float, held_out: list[int] | None
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    X = np.arange(len(y))[:, np.newaxis]
    X_train, y_train, X_test, y_test = split_test(X, y, fraction=fraction)
    assert len(y_test) == math.ceil(fraction * len(y))
    assert np.array_equal(np.sort(np.concatenate([X_train, X_test])[:, 0]), np.arange(len(y)))
    assert np.array_equal(y[X_test[:, 0]], y_test)
    assert np.array_equal(y[X_train[:, 0]], y_train)
    assert np.array_equal(split_test(X, y, fraction=fraction)[2], X_test)
    if held_out is not None:
        assert np.bincount(y_test).tolist() == held_out


def test_rows_to_train_on_must_remain() -> None:
    X, y = np.zeros((9, 2)), np.arange(9) % 2
    for split, name in (
        (functools.partial(split_test, X, y), "test_fraction"),
        (
            functools.partial(split_validation, X, y, rng=np.random.default_rng(0)),
            "validation_fraction",
        ),
    ):
        reason = f"{name} must leave rows to train on, got 0.9, rounded up to 9 of 9 rows"
        with pytest.raises(ValueError, match=reason):
            split(fraction=0.9)
        assert len(split(fraction=0.85)[0]) == 1
