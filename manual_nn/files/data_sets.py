"""Handwritten digits to train on: the scans inside scikit-learn, and MNIST.

Axes: N rows, D pixels of a row.
"""

import contextlib
import gzip
import http.client
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import DTYPES, as_number, as_rng

Pixels: TypeAlias = npt.NDArray[np.uint8]
Labels: TypeAlias = npt.NDArray[np.int64]

MNIST_SHAPE = (28, 28)
MNIST_TRAIN_ROWS = 60_000
CLASSES = 10

# The third byte of an IDX file says what its elements are.
IDX_UNSIGNED_BYTE = 0x08
IDX_OTHER_TYPES = {
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
NUMPY_MAX_AXES = 64
GZIP_MAGIC = b"\x1f\x8b"
# No byte unzips to more: 258 bytes may be coded in 2 bits (RFC 1951, sections 3.2.5 and 3.2.7).
GZIP_MOST = 258 * 8 // 2
CHUNK = 1 << 20


class Dataset(NamedTuple):
    """Rows of pixels and their class numbers, to train on and to test with."""

    name: str
    X_train: Array  # (N, D), raw pixels divided by pixel_scale
    y_train: Labels  # (N,)
    X_test: Array  # (N_test, D)
    y_test: Labels  # (N_test,)
    pixel_scale: float
    image_shape: tuple[int, int]  # its product is D


def load_digits(*, dtype: npt.DTypeLike) -> Dataset:
    """Load the 1,797 scans of 8 x 8 pixels that ship inside scikit-learn.

    A fifth of them, always the same and with each digit in proportion, is the test set. Pixels
    from 0 to 16 are divided by 16.

    Args:
        dtype: float32 or float64.

    Returns:
        1,437 rows to train on and 360 to test with, 64 pixels each.

    Raises:
        ImportError: scikit-learn is not installed.
        TypeError: the dtype is neither float32 nor float64.
    """
    with train_extra("scikit-learn"):
        from sklearn import datasets, model_selection  # noqa: PLC0415, the core needs NumPy alone
    pixels, labels = datasets.load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = model_selection.train_test_split(
        _scaled(pixels, 16, dtype),
        labels.astype(np.int64),
        test_size=0.2,
        stratify=labels,
        random_state=0,
    )
    return Dataset("digits", X_train, y_train, X_test, y_test, 16, (8, 8))


def load_mnist(folder: str | os.PathLike[str] | None = None, *, dtype: npt.DTypeLike) -> Dataset:
    """Load MNIST, 60,000 training and 10,000 test images of 28 x 28 pixels.

    From a folder, the four IDX files are read, gzipped or not, named train-images-idx3-ubyte or
    train-images.idx3-ubyte, and so on. Without one, scikit-learn downloads the data set from OpenML
    and keeps it for the next time. Pixels from 0 to 255 are divided by 256.

    Args:
        folder: where the IDX files are, or None for the download.
        dtype: float32 or float64.

    Returns:
        The data set, 784 pixels a row.

    Raises:
        FileNotFoundError: the folder or a file in it is missing.
        ImportError: there is no folder, and scikit-learn or pandas is not installed.
        OSError: the data set cannot be downloaded, or a file cannot be read.
        TypeError: the dtype is neither float32 nor float64.
        ValueError: a file is damaged, or is not what its name says.
    """
    parts = _download_mnist() if folder is None else _read_mnist(Path(folder))
    X_train, y_train, X_test, y_test = parts
    return Dataset(
        "mnist",
        _scaled(X_train, 256, dtype),
        y_train.astype(np.int64),
        _scaled(X_test, 256, dtype),
        y_test.astype(np.int64),
        256,
        MNIST_SHAPE,
    )


def split_validation(
    X: Array, y: Labels, *, fraction: float = 0.15, rng: np.random.Generator
) -> tuple[Array, Labels, Array, Labels]:
    """Hold out a random part of the rows for validation.

    Args:
        X: the inputs, (N, D).
        y: their class numbers, (N,).
        fraction: the fraction of the rows to hold out, rounded up to a whole row.
        rng: the random generator to draw from.

    Returns:
        X_train, y_train, X_val, y_val.

    Raises:
        ImportError: scikit-learn is not installed.
        TypeError: an argument is of the wrong type.
        ValueError: the fraction is not between 0 and 1, or there are too few rows.
    """
    with train_extra("scikit-learn"):
        from sklearn import model_selection  # noqa: PLC0415, the core needs NumPy alone
    fraction = as_number(fraction, name="fraction", minimum=0, strict=True)
    if fraction >= 1:
        raise ValueError(f"fraction must be below 1, got {fraction}")
    seed = int(as_rng(rng).integers(2**32))  # scikit-learn takes no Generator
    X_train, X_val, y_train, y_val = model_selection.train_test_split(
        X, y, test_size=fraction, random_state=seed
    )
    return X_train, y_train, X_val, y_val


def read_idx(path: str | os.PathLike[str]) -> Pixels:
    """Read an IDX file of unsigned bytes, gzipped or not: its content decides, not its name.

    An IDX file is two zero bytes, the type of the elements, the number of axes, the length of each
    axis (4 bytes, big-endian) and the elements. A header that announces more than a file of this
    size can hold is refused before any element is read. At most one byte more than it announces is
    ever read, and memory is taken only for bytes that the file has shown to be there.

    Args:
        path: the file.

    Returns:
        The elements, in the shape that the file announces.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged, or not an IDX file of unsigned bytes.
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return _read_idx(file, path, size)
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _read_idx(cast("BinaryIO", unzipped), path, GZIP_MOST * size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged: {error}") from error


@contextlib.contextmanager
def train_extra(package: str) -> Iterator[None]:
    """Where an import fails, say how to install what it needs."""
    try:
        yield
    except ImportError as error:
        msg = f"this needs {package} ({error}): pip install 'manual-nn[train]'"
        raise ImportError(msg) from error


def _read_idx(file: BinaryIO, path: Path, most: int) -> Pixels:
    """Read from a file, perhaps being unzipped, that holds so many bytes at most."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        msg = f"{path}: not an IDX file, it begins with {magic!r} instead of two zero bytes"
        raise ValueError(msg)
    element_type, ndim = magic[2:]
    if element_type != IDX_UNSIGNED_BYTE:
        what = IDX_OTHER_TYPES.get(element_type, f"elements of the unknown type {element_type:#x}")
        raise ValueError(f"{path}: an IDX file of unsigned bytes is needed, this one has {what}")
    if not 1 <= ndim <= NUMPY_MAX_AXES:
        raise ValueError(f"{path}: the IDX header announces {ndim} axes")
    axes = file.read(4 * ndim)
    if len(axes) < 4 * ndim:
        raise ValueError(f"{path}: truncated within the IDX header")
    shape = struct.unpack(f">{ndim}I", axes)
    size = math.prod(shape)
    if size == 0:
        raise ValueError(f"{path}: holds no elements, the IDX header announces shape {shape}")
    announced = f"{path}: the IDX header announces {size} bytes, shape {shape}"
    if size > most:
        raise ValueError(f"{announced}; truncated, for a file of this size holds at most {most}")
    content = _read_up_to(file, size + 1)
    if len(content) != size:
        found = "more" if len(content) > size else f"truncated after {len(content)}"
        raise ValueError(f"{announced}; {found}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_up_to(file: BinaryIO, size: int) -> bytearray:
    """Read size bytes, or what there is, in chunks: a false size takes no memory."""
    content = bytearray()
    while chunk := file.read(min(CHUNK, size - len(content))):
        content += chunk
    return content


def _read_mnist(folder: Path) -> tuple[Pixels, Pixels, Pixels, Pixels]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder")
    return *_read_images_and_labels(folder, "train"), *_read_images_and_labels(folder, "t10k")


def _read_images_and_labels(folder: Path, part: str) -> tuple[Pixels, Pixels]:
    images_path = _find(folder, f"{part}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels", "idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3:
        what = "labels" if images.ndim == 1 else f"an array of shape {images.shape}"
        raise ValueError(f"{images_path}: images are expected, this holds {what}")
    if images.shape[1:] != MNIST_SHAPE:
        size = "{} x {}".format(*images.shape[1:])
        raise ValueError(f"{images_path}: images of 28 x 28 pixels are expected, got {size}")
    if labels.ndim != 1:
        what = "images" if labels.ndim == 3 else f"an array of shape {labels.shape}"
        raise ValueError(f"{labels_path}: labels are expected, this holds {what}")
    if labels.max() >= CLASSES:
        row = int(np.argmax(labels >= CLASSES))
        raise ValueError(f"{labels_path}: labels are 0 to 9, label {row} is {labels[row]}")
    if len(images) != len(labels):
        msg = f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels"
        raise ValueError(msg)
    return images.reshape(len(images), -1), labels


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


def _scaled(pixels: npt.NDArray[np.number], scale: int, dtype: npt.DTypeLike) -> Array:
    if np.dtype(dtype) not in DTYPES:
        raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    X = pixels.astype(dtype)
    X /= scale
    return X
