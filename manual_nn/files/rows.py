"""Rows to train on or to predict for, from a file of any format that is known.

The content of a file says what it is, not its name: IDX or CSV, gzipped or not, npy, npz, Parquet.
Axes: N rows, D inputs.
"""

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.files.idx import GZIP_MAGIC, read_idx
from manual_nn.files.parameters import read_npy, read_npz
from manual_nn.files.scaling import Numbers
from manual_nn.files.tables import (
    UTF_16,
    Columns,
    column_names,
    in_words,
    only_column,
    read_table,
)

TABLES = ("csv", "csv.gz", "parquet")
MAGIC = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PAR1": "parquet", b"\0\0": "idx"}
MAGIC |= dict.fromkeys(UTF_16, "csv")
HEAD = 4096
NO_COLUMNS = "--target and --drop choose columns of CSV or Parquet, and this file is {}"

# What arrays of inputs and of classes are called in npz files, whatever the case of the letters.
PAIRS = (("x", "y"), ("images", "labels"), ("data", "target"), ("features", "labels"))


class Inputs(NamedTuple):
    """Rows of numbers, as they are in a file."""

    X: Numbers  # (N, D), finite
    features: tuple[str, ...] | None = None  # the names of the inputs, if they have any
    image_shape: tuple[int, ...] | None = None  # if a row is an image; its product is D


class Rows(NamedTuple):
    """Rows and their classes. The last `for_test` of them are kept apart in the file, for tests."""

    inputs: Inputs
    labels: npt.NDArray[Any]  # (N,), numbers or strings
    for_test: int = 0


def read_rows(path: Path, labels: Path | None, columns: Columns) -> Rows:
    """Read rows with their classes.

    Args:
        path: a table whose target is named in `columns`; an npz file that holds a pair of arrays,
            named as in `PAIRS`, perhaps one with `_train` and one with `_test` behind the names;
            an npy or IDX file of rows or images.
        labels: an npy or IDX file of their classes, or a table of one column; given if and only if
            they are not in the same file.
        columns: what the columns of a table are.

    Returns:
        The rows.

    Raises:
        ImportError: what reads the format is not installed.
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged or does not hold rows of finite numbers, each with a class.
    """
    kind = format_of(path)
    with naming(path):
        if kind in TABLES:
            inputs, found = _columns(path, kind, columns, apart=labels is not None)
        elif columns.target is not None or columns.drop:
            raise ValueError(NO_COLUMNS.format(kind))
        elif labels is None and kind == "npz":
            return _pair(_npz(path))
        elif labels is None:
            raise ValueError("it holds no classes: give the file that does with --labels")
        else:
            inputs, found = _inputs(_array(path, kind)), None
    if labels is None:
        return _rows(inputs, found)
    with naming(labels):
        return _rows(inputs, _labels_file(labels, header=columns.header, rows=len(inputs.X)))


def read_inputs(
    path: Path,
    *,
    D: int,
    features: tuple[str, ...] | None = None,
    image_shape: tuple[int, ...] | None = None,
    drop: tuple[str, ...] = (),
    header: bool | None = None,
) -> Inputs:
    """Read rows to predict for, by a network that was trained on rows of the same kind.

    Args:
        path: a table, or an npy or IDX file, or an npz file of one array, or of rows and classes
            as for `read_rows`, of which the classes are left.
        D: how many inputs the network has.
        features: their names, or None if they have none. A table whose columns have names may hold
            others besides, in any order.
        image_shape: the shape of the images that it takes, or None if it takes none.
        drop: columns of a table that are no inputs; none of `features`.
        header: whether a table's first line names the columns, or None to find out.

    Returns:
        The rows.

    Raises:
        ImportError, OSError, ValueError: as `read_rows`.
    """
    kind = format_of(path)
    with naming(path):
        if kind in TABLES:
            table = read_table(path, kind, Columns(drop=drop, header=header, inputs=features))
            found = table.X.shape[1]
            if found != D:
                hint = "; leave out those that are no inputs with --drop" if found > D else ""
                raise ValueError(f"the model takes {D} columns, got {found}{hint}")
            return Inputs(table.X, table.features)
        if drop:
            raise ValueError(NO_COLUMNS.format(kind))
        arrays = _npz(path) if kind == "npz" else {}
        inputs = _pair(arrays).inputs if len(arrays) > 1 else _inputs(_array(path, kind))
        shape = inputs.image_shape or inputs.X.shape[1:]
        if shape not in {(D,), image_shape}:
            wanted = " or ".join(
                f"(N, {in_words(side)})" for side in filter(None, [(D,), image_shape])
            )
            got = (len(inputs.X), *shape)
            raise ValueError(f"the model takes an array of shape {wanted}, got {got}")
        return inputs


def format_of(path: Path) -> str:
    """Say what a file holds: npy, npz, parquet, idx, idx.gz, csv or csv.gz.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is none of these.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    zipped = ""
    if head.startswith(GZIP_MAGIC):
        zipped = ".gz"
        try:
            with gzip.open(path) as unzipped:
                head = unzipped.read(HEAD)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged: {error}") from error
    if not head:
        raise ValueError(f"{path}: the file is empty")
    unmarked = "csv" if b"\0" not in head else None
    kind = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), unmarked)
    if kind is None or (zipped and kind not in {"idx", "csv"}):
        raise ValueError(
            f"{path}: neither IDX, npy, npz, CSV nor Parquet, it begins with {head[:8]!r}"
        )
    return kind + zipped


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in what is wrong with it, in one line: names in a file may hold several."""
    try:
        yield
    except ValueError as error:
        text = " ".join(str(error).splitlines())
        raise ValueError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from error


def _columns(
    path: Path, kind: str, columns: Columns, *, apart: bool
) -> tuple[Inputs, npt.NDArray[Any] | None]:
    if apart == (columns.target is not None):
        names = in_words(column_names(path, kind, columns))
        inside = "choose the column of the classes with --target"
        what = "the classes are in another file, so give no --target" if apart else inside
        raise ValueError(f"{what}; the columns are {names}")
    table = read_table(path, kind, columns)
    return Inputs(table.X, table.features), table.labels


def _pair(arrays: Mapping[str, npt.NDArray[Any]]) -> Rows:
    """Find the arrays of inputs and of classes, by their names."""
    found = {name.lower(): array for name, array in arrays.items()}
    for x, y in PAIRS:
        if x in found and y in found:
            return _rows(_inputs(found[x]), found[y])
        parts = [(f"{x}_{part}", f"{y}_{part}") for part in ("train", "test")]
        if all(name in found for pair in parts for name in pair):
            train, test = (_rows(_inputs(found[X]), found[labels]) for X, labels in parts)
            X = np.concatenate([train.inputs.X, test.inputs.X])
            labels = np.concatenate([train.labels, test.labels])
            return Rows(train.inputs._replace(X=X), labels, for_test=len(test.labels))
    wanted = ", ".join(f"{x} and {y}" for x, y in PAIRS)
    raise ValueError(f"it holds {in_words(arrays)}; rows and classes are called {wanted}")


def _rows(inputs: Inputs, labels: npt.NDArray[Any] | None) -> Rows:
    """Check that there is a class for each row."""
    assert labels is not None  # noqa: S101, read_rows has refused that
    if labels.dtype.kind not in "fiubUS":
        raise ValueError(f"classes must be numbers or strings, got dtype {labels.dtype}")
    N = len(inputs.X)
    if labels.shape != (N,):
        raise ValueError(f"classes must have shape ({N},), one for each row, got {labels.shape}")
    return Rows(inputs, labels.astype(str) if labels.dtype.kind == "S" else labels)


def _inputs(array: npt.NDArray[Any]) -> Inputs:
    """Check that an array holds rows or images of finite numbers, and make rows of images."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"inputs must be real numbers, got dtype {array.dtype}")
    if array.ndim < 2 or 0 in array.shape:
        wanted = "an array of shape (N, D), or of images, (N, height, width)"
        raise ValueError(f"{wanted}, is needed, got {array.shape}")
    image_shape = array.shape[1:] if array.ndim > 2 else None
    X = array.reshape(len(array), math.prod(array.shape[1:]))
    finite = np.isfinite(X).all(axis=1)
    if not finite.all():
        raise ValueError(f"inputs must be finite numbers, one in row {int(finite.argmin())} is not")
    return Inputs(X, image_shape=image_shape)


def _labels_file(path: Path, *, header: bool | None, rows: int) -> npt.NDArray[Any]:
    kind = format_of(path)
    if kind in TABLES:
        return only_column(path, kind, header=header, rows=rows)
    return _array(path, kind)


def _array(path: Path, kind: str) -> npt.NDArray[Any]:
    """Read a file of one array."""
    if kind.startswith("idx"):
        return read_idx(path)
    if kind == "npy":
        return read_npy(path.read_bytes())
    arrays = _npz(path)
    if len(arrays) != 1:
        raise ValueError(f"it must hold one array, it holds {in_words(arrays)}")
    return next(iter(arrays.values()))


def _npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    arrays = read_npz(path.read_bytes(), packed=True)
    if "metadata" in arrays and "weight_1" in arrays:
        raise ValueError("it holds a network, not rows")
    return arrays
