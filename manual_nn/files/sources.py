"""Where data come from, as a model remembers it, and how they are loaded from there."""

import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from manual_nn.files.classes import class_numbers, number_classes
from manual_nn.files.data_sets import Dataset, load_digits, load_mnist, split_test
from manual_nn.files.rows import Rows, naming, read_rows
from manual_nn.files.tables import Columns

DATA_SETS = ("digits", "mnist")
TEST_FRACTION = 0.2


class Source(NamedTuple):
    """A data set by its name, or files of rows and what has to be known about them.

    Attributes:
        data: digits, mnist, or the path of a file.
        data_dir: the folder of MNIST's files, or None for a download.
        labels: the file of the classes, if they are not in the same file as the rows.
        target: the column of the classes in a table, by its name or number.
        drop: columns that are not used.
        header: whether a table's first line names the columns, or None to find out.
        image_shape: height and width of the images, if the file does not say that rows are some.
        test_fraction: the fraction of a file's rows that is held out for the test.
    """

    data: str
    data_dir: str | None = None
    labels: str | None = None
    target: str | None = None
    drop: tuple[str, ...] = ()
    header: bool | None = None
    image_shape: tuple[int, ...] | None = None
    test_fraction: float | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a file, not a data set that has a name."""
        return self.data not in DATA_SETS

    @property
    def name(self) -> str:
        """What to call it in a line."""
        return Path(self.data).name

    def absolute(self) -> "Source":
        """Name the files by their whole paths, which hold in any folder."""
        files = self.data_dir, self.labels, self.data if self.is_file else None
        data_dir, labels, data = (None if file is None else _absolute(file) for file in files)
        return self._replace(data=data or self.data, data_dir=data_dir, labels=labels)

    @property
    def columns(self) -> Columns:
        """What the columns of a table are."""
        return Columns(self.target, self.drop, self.header)


def load_data(source: Source) -> Dataset:
    """Load data to train on and to test with.

    Raises:
        ImportError: what reads them is not installed.
        OSError: they cannot be read.
        ValueError: a file does not hold what it should, or something is said of it that cannot be.
    """
    if source.is_file:
        if not Path(source.data).exists():
            what = f"there is no such file, nor a data set of this name ({', '.join(DATA_SETS)})"
            raise FileNotFoundError(f"--data {source.data}: {what}")
        return _load_file(source)
    allowed = {"data", "data_dir"} if source.data == "mnist" else {"data"}
    for name, value in source._asdict().items():
        if name not in allowed and value != Source._field_defaults.get(name, value):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"the data set {source.data} takes no {option}: what it holds is known"
            )
    return load_mnist(source.data_dir) if source.data == "mnist" else load_digits()


def load_rows(
    source: Source,
    classes: tuple[str, ...],
    *,
    features: tuple[str, ...] | None,
    D: int,
    drop_is_remembered: bool = False,
) -> Dataset:
    """Load all rows of a file to test with, for a network that was trained on rows of their kind.

    Args:
        source: the file.
        classes: the names of the network's classes.
        features: the names of its inputs, or None if they have none; a table may hold others, too.
        D: how many inputs it has.
        drop_is_remembered: whether the columns that are not used are those of the table
            trained on, which this one need not have if names say which are the inputs.

    Returns:
        The rows to test with, and none to train on.

    Raises:
        ImportError, OSError, ValueError: as `load_data`, or the network takes other inputs, or a
            row is of a class that it does not know.
    """
    inputs, labels, _ = _read(source, features, drop_is_remembered=drop_is_remembered)
    X = inputs.X
    with naming(Path(source.data)):
        if X.shape[1] != D:
            raise ValueError(f"the model takes {D} inputs, got {X.shape[1]}")
        y = class_numbers(labels, classes)
    return Dataset(source.name, X[:0], y[:0], X, y, classes, features, inputs.image_shape)


def fingerprint(source: Source, dataset: Dataset) -> str:
    """Identify the data by their SHA-256: files by their content, what has a name by its rows."""
    return files_fingerprint(source) if source.is_file else _rows_fingerprint(dataset)


def files_fingerprint(source: Source) -> str:
    """Identify files by the SHA-256 of their content."""
    digest = hashlib.sha256()
    for path in filter(None, (source.data, source.labels)):
        with Path(path).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def source_from_json(facts: Any) -> Source:
    """Make a source of what JSON has made of one.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(facts, dict) or facts.keys() != set(Source._fields):
        raise ValueError(f"source must have {', '.join(Source._fields)}, got {facts!r}")
    kinds = {"header": bool, "test_fraction": float}
    of_items = {"drop": str, "image_shape": int}
    for name, value in facts.items():
        if value is None and name not in {"data", "drop"}:
            continue
        if name in of_items:
            right = isinstance(value, list) and all(type(item) is of_items[name] for item in value)
        else:
            right = type(value) is kinds.get(name, str)
        if not right:
            raise ValueError(f"{name} of the source cannot be {value!r}")
    tuples = {name: tuple(facts[name]) for name in of_items if facts[name] is not None}
    return Source(**facts | tuples)


def _rows_fingerprint(dataset: Dataset) -> str:
    """Identify the rows, whatever files they come from: MNIST's may be zipped or downloaded."""
    digest = hashlib.sha256()
    for array in (dataset.X_train, dataset.y_train, dataset.X_test, dataset.y_test):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _load_file(source: Source) -> Dataset:
    if source.data_dir is not None:
        raise ValueError(f"{source.data} is a file and takes no --data-dir")
    inputs, labels, for_test = _read(source)
    if for_test and source.test_fraction is not None:
        raise ValueError(f"{source.data} has rows to test with and takes no --test-fraction")
    with naming(Path(source.data)):
        classes, y = number_classes(labels)
        fraction = TEST_FRACTION if source.test_fraction is None else source.test_fraction
        n = len(y) - for_test
        rows = np.arange(len(y))
        train, y_train, test, y_test = (
            (rows[:n], y[:n], rows[n:], y[n:])
            if for_test
            else split_test(rows, y, fraction=fraction)
        )
    return Dataset(
        source.name,
        inputs.X[train],
        y_train,
        inputs.X[test],
        y_test,
        classes,
        features=inputs.features,
        image_shape=inputs.image_shape,
        test_rows=None if for_test else test,
    )


def _read(
    source: Source, features: tuple[str, ...] | None = None, *, drop_is_remembered: bool = False
) -> Rows:
    """Read a file, perhaps of inputs with these names; rows are images if the source says so."""
    labels = None if source.labels is None else Path(source.labels)
    columns = source.columns._replace(inputs=features, drop_is_remembered=drop_is_remembered)
    rows = read_rows(Path(source.data), labels, columns)
    if source.image_shape is None:
        return rows
    D = rows.inputs.X.shape[1]
    if min(source.image_shape) < 1 or math.prod(source.image_shape) != D:
        shape = " ".join(map(str, source.image_shape))
        raise ValueError(f"{source.data}: --image-shape {shape} does not fit the {D} inputs")
    return rows._replace(inputs=rows.inputs._replace(image_shape=source.image_shape))
