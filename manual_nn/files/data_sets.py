"""Data to train on: the scans inside scikit-learn, MNIST, and how rows are held out of any.

Axes: N rows, D inputs, K classes.
"""

import http.client
import math
import os
import warnings
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.checks.arguments import as_number, as_rng
from manual_nn.checks.extras import train_extra
from manual_nn.files.classes import Labels
from manual_nn.files.idx import read_idx
from manual_nn.files.scaling import Numbers

Pixels: TypeAlias = npt.NDArray[np.uint8]

MNIST_SHAPE = (28, 28)
MNIST_TRAIN_ROWS = 60_000
DIGITS = tuple(map(str, range(10)))


class Dataset(NamedTuple):
    """Rows of inputs and their class numbers, to train on and to test with."""

    name: str
    X_train: Numbers  # (N, D), as they are in the files
    y_train: Labels  # (N,)
    X_test: Numbers  # (N_test, D)
    y_test: Labels  # (N_test,)
    classes: tuple[str, ...]  # the names of the K classes
    features: tuple[str, ...] | None = None  # the names of the D inputs, if they have any
    image_shape: tuple[int, ...] | None = None  # if a row is an image; its product is D
    test_rows: Labels | None = None  # (N_test,), their numbers in all the data they are a part of


def load_digits() -> Dataset:
    """Load the 1,797 scans of 8 x 8 pixels, from 0 to 16, that ship inside scikit-learn.

    A fifth of them, always the same and with each digit in proportion, is the test set.

    Returns:
        1,437 rows to train on and 360 to test with, 64 pixels each.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    with train_extra("scikit-learn"):
        from sklearn import datasets  # noqa: PLC0415, the core needs NumPy alone
    pixels, labels = datasets.load_digits(return_X_y=True)
    rows = np.arange(len(labels))
    train, y_train, test, y_test = split_test(rows, labels.astype(np.int64), fraction=0.2)
    return Dataset(
        "digits",
        pixels[train],
        y_train,
        pixels[test],
        y_test,
        classes=DIGITS,
        image_shape=(8, 8),
        test_rows=test,
    )


def load_mnist(folder: str | os.PathLike[str] | None = None) -> Dataset:
    """Load MNIST, 60,000 training and 10,000 test images of 28 x 28 pixels from 0 to 255.

    From a folder, the four IDX files are read, gzipped or not, named train-images-idx3-ubyte or
    train-images.idx3-ubyte, and so on. Without one, scikit-learn downloads the data set from OpenML
    and keeps it for the next time.

    Args:
        folder: where the IDX files are, or None for the download.

    Returns:
        The data set, 784 pixels a row.

    Raises:
        FileNotFoundError: the folder or a file in it is missing.
        ImportError: there is no folder, and scikit-learn or pandas is not installed.
        OSError: the data set cannot be downloaded, or a file cannot be read.
        ValueError: a file is damaged, or is not what its name says.
    """
    parts = _download_mnist() if folder is None else _read_mnist(Path(folder))
    X_train, y_train, X_test, y_test = parts
    return Dataset(
        "mnist",
        X_train,
        y_train.astype(np.int64),
        X_test,
        y_test.astype(np.int64),
        classes=DIGITS,
        image_shape=MNIST_SHAPE,
    )


def split_test(
    X: Numbers, y: Labels, *, fraction: float
) -> tuple[Numbers, Labels, Numbers, Labels]:
    """Hold out a part of the rows for the test: always the same, each class in proportion.

    Where there are too few rows of a class for that, the classes fall as they may.

    Args:
        X: the inputs, (N, D), or the numbers of the rows, (N,).
        y: their class numbers, (N,).
        fraction: the fraction of the rows to hold out, rounded up to a whole row, or 0 for none.

    Returns:
        X_train, y_train, X_test, y_test.

    Raises:
        ImportError: scikit-learn is not installed.
        TypeError: an argument is of the wrong type.
        ValueError: the fraction is not from 0 to below 1, or there are too few rows.
    """
    fraction = _as_fraction(fraction)
    if fraction == 0:
        return X, y, X[:0], y[:0]
    with train_extra("scikit-learn"):
        from sklearn import model_selection  # noqa: PLC0415, the core needs NumPy alone
    counts = np.unique(y, return_counts=True)[1]
    held_out = _held_out(fraction, len(y), name="test_fraction")
    enough = counts.min() >= 2 and min(held_out, len(y) - held_out) >= len(counts)
    X_train, X_test, y_train, y_test = model_selection.train_test_split(
        X, y, test_size=fraction, stratify=y if enough else None, random_state=0
    )
    return X_train, y_train, X_test, y_test


def split_validation(
    X: Numbers, y: Labels, *, fraction: float = 0.15, rng: np.random.Generator
) -> tuple[Numbers, Labels, Numbers | None, Labels | None]:
    """Hold out a random part of the rows for validation.

    Args:
        X: the inputs, (N, D).
        y: their class numbers, (N,).
        fraction: the fraction of the rows to hold out, rounded up to a whole row, or 0 for none.
        rng: the random generator to draw from.

    Returns:
        X_train, y_train, X_val, y_val; of these the last two are None if none are held out.

    Raises:
        ImportError: scikit-learn is not installed.
        TypeError: an argument is of the wrong type.
        ValueError: the fraction is not from 0 to below 1, or there are too few rows.
    """
    fraction = _as_fraction(fraction)
    if fraction == 0:
        return X, y, None, None
    _held_out(fraction, len(y), name="validation_fraction")
    with train_extra("scikit-learn"):
        from sklearn import model_selection  # noqa: PLC0415, the core needs NumPy alone
    seed = int(as_rng(rng).integers(2**32))  # scikit-learn takes no Generator
    X_train, X_val, y_train, y_val = model_selection.train_test_split(
        X, y, test_size=fraction, random_state=seed
    )
    return X_train, y_train, X_val, y_val


def _read_mnist(folder: Path) -> tuple[Pixels, Pixels, Pixels, Pixels]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    return *_read_images_and_labels(folder, "train"), *_read_images_and_labels(folder, "t10k")


def _read_images_and_labels(folder: Path, part: str) -> tuple[Pixels, Pixels]:
    images_path = _find(folder, f"{part}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels", "idx1-ubyte")
    images, labels = _bytes(images_path), _bytes(labels_path)
    if images.ndim != 3:
        what = "labels" if images.ndim == 1 else f"an array of shape {images.shape}"
        raise ValueError(f"{images_path}: images are expected, this holds {what}")
    if images.shape[1:] != MNIST_SHAPE:
        size = "{} x {}".format(*images.shape[1:])
        raise ValueError(f"{images_path}: images of 28 x 28 pixels are expected, got {size}")
    if labels.ndim != 1:
        what = "images" if labels.ndim == 3 else f"an array of shape {labels.shape}"
        raise ValueError(f"{labels_path}: labels are expected, this holds {what}")
    if labels.max() >= len(DIGITS):
        row = int(np.argmax(labels >= len(DIGITS)))
        raise ValueError(f"{labels_path}: labels are 0 to 9, label {row} is {labels[row]}")
    if len(images) != len(labels):
        msg = f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels"
        raise ValueError(msg)
    return images.reshape(len(images), -1), labels


def _bytes(path: Path) -> Pixels:
    array = read_idx(path)
    if array.dtype != np.uint8:
        raise ValueError(f"{path}: unsigned bytes are expected, this holds {array.dtype}")
    return array.astype(np.uint8, copy=False)


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{mark}{kind}{end}" for mark in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"{folder}: there is no file {', '.join(names[:-1])} or {names[-1]}")


def _download_mnist() -> tuple[Pixels, Pixels, Pixels, Pixels]:
    try:
        with train_extra("scikit-learn and pandas"), warnings.catch_warnings():
            from sklearn import datasets  # noqa: PLC0415, the core needs NumPy alone

            warnings.simplefilter("ignore", UserWarning)  # one for each attempt that fails
            found = datasets.fetch_openml(
                "mnist_784", version=1, as_frame=False, parser="pandas", return_X_y=True
            )
    except (OSError, ValueError, http.client.HTTPException) as error:
        msg = (
            f"MNIST cannot be downloaded from OpenML ({error}); "
            "give a folder that holds its four IDX files instead"
        )
        raise OSError(msg) from error
    pixels, labels = (part.astype(np.uint8) for part in found)
    n = MNIST_TRAIN_ROWS
    return pixels[:n], labels[:n], pixels[n:], labels[n:]


def _as_fraction(fraction: object) -> float:
    number = as_number(fraction, name="fraction", minimum=0)
    if number >= 1:
        raise ValueError(f"fraction must be below 1, got {fraction}")
    return number


def _held_out(fraction: float, rows: int, *, name: str) -> int:
    """Count the rows to hold out, and check that some remain."""
    held_out = math.ceil(fraction * rows)
    if held_out >= rows:
        msg = f"{name} must leave rows to train on, got {fraction:g}"
        raise ValueError(f"{msg}, rounded up to {held_out} of {rows} rows")
    return held_out
