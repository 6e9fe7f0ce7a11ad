"""Tables, CSV or Parquet, read by pandas: a column for each input, perhaps one for the classes."""

import csv
import gzip
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.checks.extras import train_extra

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t"
SHOWN = 12  # names of columns in a message


class Columns(NamedTuple):
    """What the columns of a table are.

    Attributes:
        target: the column of the classes, by its name or number, or None if there is none.
        drop: those that are neither inputs nor classes, by name or number.
        header: whether the first line names the columns, or None for: if it has no number, or has
            a word where the next line has a number.
        inputs: the names of those that are inputs, in their order, whatever else there is; or
            None for all that remain. A table whose columns have no names is taken as it is.
    """

    target: str | None = None
    drop: tuple[str, ...] = ()
    header: bool | None = None
    inputs: tuple[str, ...] | None = None


class Table(NamedTuple):
    """A table of numbers, and perhaps the class of each row."""

    X: npt.NDArray[np.float64]  # (N, D)
    features: tuple[str, ...] | None  # (D,), or None if the columns have no names
    labels: npt.NDArray[Any] | None  # (N,)


def read_table(path: Path, kind: str, columns: Columns) -> Table:
    """Read a table whose inputs are numbers.

    Args:
        path: the file.
        kind: parquet; or csv, whose cells are separated by commas, semicolons or tabs, or csv.gz.
        columns: what the columns are.

    Returns:
        The inputs, their names, and the classes if the target is given.

    Raises:
        ImportError: pandas, or what it reads Parquet with, is not installed.
        OSError: the file cannot be read.
        ValueError: the file is damaged, a column is missing, or an input is no finite number. The
            message does not name the file.
    """
    frame, has_names = _read(path, kind, columns)
    names = list(frame.columns)
    target = None if columns.target is None else _find(names, columns.target)
    if has_names and columns.inputs is not None:
        inputs = [names[place] for place in places_of(columns.inputs, names)]
    else:
        others = {target, *(_find(names, column) for column in columns.drop)}
        inputs = [name for name in names if name not in others]
        _check_named(inputs)
    labels = None if target is None else _labels(frame[target], target)
    return Table(_numbers(frame, inputs), tuple(inputs) if has_names else None, labels)


def places_of(features: Sequence[str], names: Sequence[str]) -> list[int]:
    """Say where the inputs of a network stand among the columns of a table.

    Raises:
        ValueError: one is not there.
    """
    missing = [name for name in features if name not in names]
    if missing:
        msg = f"of the model's {len(features)} inputs, {in_words(missing)} not among"
        raise ValueError(f"{msg} {in_words(names)}")
    return [names.index(name) for name in features]


def column_names(path: Path, kind: str, columns: Columns) -> list[str]:
    """List the columns of a table."""
    return list(_read(path, kind, columns)[0].columns)


def only_column(path: Path, kind: str, *, header: bool | None) -> npt.NDArray[Any]:
    """Read the classes from a table of one column."""
    frame, _ = _read(path, kind, Columns(header=header))
    if len(frame.columns) != 1:
        raise ValueError(f"a table of one column is needed, got {in_words(frame.columns)}")
    return _labels(frame.iloc[:, 0], frame.columns[0])


def in_words(names: Iterable[object]) -> str:
    """List names, or the first of many."""
    words = [str(name) for name in names]
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def _read(path: Path, kind: str, columns: Columns) -> tuple["pd.DataFrame", bool]:
    """Read a table, and say whether it names its columns; else they are named by their numbers."""
    header = True
    if kind != "parquet":
        separator, header = _first_line(path, header=columns.header, zipped=kind == "csv.gz")
    with train_extra("pandas"):
        import pandas as pd  # noqa: PLC0415, the core needs NumPy alone
    if kind == "parquet":
        try:
            with train_extra("pyarrow"):
                frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # both are damage: the file was opened before
            raise ValueError(f"a damaged Parquet file: {error}") from error
    else:
        frame = pd.read_csv(
            path,
            sep=separator,
            header=0 if header else None,
            compression="gzip" if kind == "csv.gz" else None,
            low_memory=False,
        )
    frame.columns = [str(name) for name in frame.columns]
    if not frame.columns.is_unique:
        raise ValueError(f"{frame.columns[frame.columns.duplicated()][0]!r} names two columns")
    return frame, header


def _first_line(path: Path, *, header: bool | None, zipped: bool) -> tuple[str, bool]:
    """Find the separator, and whether the line names the columns."""
    reader = gzip.open if zipped else open
    try:
        with reader(path, "rt", encoding="utf-8-sig") as file:
            lines = [file.readline(), file.readline()]
    except UnicodeDecodeError as error:
        raise ValueError(f"not a table, nor any other file of rows: {error}") from error
    separator = max(SEPARATORS, key=lines[0].count)
    if header is None:
        first, second = ([*csv.reader([line], delimiter=separator)] for line in lines)
        header = _are_names(first[0], second[0] if second else [])
    return separator, header


def _are_names(first: list[str], second: list[str]) -> bool:
    """Say whether a line names columns: it has no number, or a word where the next line has one."""
    numbers = list(map(_is_number, first))
    words_above_numbers = (
        not is_number and _is_number(below)
        for is_number, below in zip(numbers, second, strict=False)
    )
    return not any(numbers) or any(words_above_numbers)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_named(inputs: list[str]) -> None:
    """Refuse what pandas writes before the rows, and is no input: their numbers."""
    for name in inputs:
        if name.startswith("Unnamed: "):  # as pandas calls a column that has no name
            msg = (
                f"column {name.removeprefix('Unnamed: ')} has no name, as numbers of rows have none"
            )
            raise ValueError(f"{msg}: name it, or leave it out by --drop {name!r}")


def _find(names: list[str], column: str) -> str:
    """Give the name of a column that is given by its name or its number, from either end."""
    if column not in names:
        try:
            return str(names[int(column)])
        except (ValueError, IndexError):
            raise ValueError(f"there is no column {column!r} among {in_words(names)}") from None
    return column


def _labels(column: "pd.Series[Any]", name: str) -> npt.NDArray[Any]:
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(f"row {int(missing.argmax())} has no class in column {name!r}")
    values = column.to_numpy()
    return values if values.dtype.kind in "fiub" else values.astype(str)


def _numbers(frame: "pd.DataFrame", names: list[str]) -> npt.NDArray[np.float64]:
    if not names or frame.empty:
        raise ValueError(f"a table of rows and inputs is needed, this has {len(frame)} rows")
    return np.stack([_input(frame[name], name) for name in names], axis=1)


def _input(column: "pd.Series[Any]", name: str) -> npt.NDArray[np.float64]:
    if column.dtype.kind not in "fiub":
        words = ((n, value) for n, value in enumerate(column) if not _is_number(str(value)))
        row, value = next(words, (0, column.iloc[0]))
        msg = f"column {name!r} holds {value!r} in row {row}, inputs must be numbers"
        raise ValueError(f"{msg}; if it holds no input, leave it out by --drop {name!r}")
    values = column.to_numpy(np.float64, na_value=math.nan)
    finite = np.isfinite(values)
    if not finite.all():
        row = int((~finite).argmax())
        found = "is empty" if column.isna().iloc[row] else f"is {values[row]}"
        raise ValueError(f"column {name!r} {found} in row {row}, inputs must be finite numbers")
    return values
