"""Tables, CSV or Parquet, read by pandas: a column for each input, perhaps one for the classes."""

import codecs
import csv
import difflib
import gzip
import io
import itertools
import logging
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.checks.extras import train_extra

if TYPE_CHECKING:
    from _csv import Reader

    import pandas as pd

Place: TypeAlias = Callable[[int], str]  # says where a row stands

SEPARATORS = ",;\t"
OTHER_SEPARATORS = "|: "  # that are recognised only to say that they are not taken
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # or three decimals
GROUPED = re.compile(r"[+-]?\d{1,3}([,.' ]\d{3})+([,.]\d+)?")
SHOWN = 12  # names of columns in a message
LINES = 50  # that are looked at to guess what separates cells and whether the first holds names
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # how such text begins
MISSING = ("", "?", "-", ".", "na", "n/a", "#n/a", "nan", "null", "none")  # in lower case

NO_ROWS = "the table has no rows"
NO_COMMAS = "write decimals with a point, and thousands without a comma"

LOGGER = logging.getLogger(__name__)


class Columns(NamedTuple):
    """What the columns of a table are.

    Attributes:
        target: the column of the classes, by its name or number, or None if there is none.
        drop: those that are neither inputs nor classes, by name or number.
        header: whether the first line names the columns, or None to guess from the lines below it.
            A guess that may be wrong is logged.
        inputs: the names of those that are inputs, in their order, whatever else there is; or
            None for all that remain. A table whose columns have no names is taken as it is.
        drop_is_remembered: whether `drop` was said of the table trained on. Where the names of the
            inputs choose, this one need not have such columns.
    """

    target: str | None = None
    drop: tuple[str, ...] = ()
    header: bool | None = None
    inputs: tuple[str, ...] | None = None
    drop_is_remembered: bool = False


class Table(NamedTuple):
    """A table of numbers, and perhaps the class of each row."""

    X: npt.NDArray[np.float64]  # (N, D)
    features: tuple[str, ...] | None  # (D,), or None if the columns have no names
    labels: npt.NDArray[Any] | None  # (N,)


class _Read(NamedTuple):
    """A table as pandas reads it."""

    frame: "pd.DataFrame"
    has_names: bool  # or else its columns are named by their numbers
    separator: str | None  # of its cells, if it is CSV
    text: str | None  # likewise
    lines_are_cells: bool = False

    def place(self, row: int) -> str:
        """Say where a row stands: in which line of the file, as an editor counts them.

        Of Parquet its number is said, and so it is if csv and pandas do not find equally many rows.
        """
        rows = []
        if self.text is not None and self.separator is not None:
            rows = [
                line
                for line, cells in _rows_by_line(self.text, self.separator)
                if self.lines_are_cells or cells is None or _is_filled(cells)
            ]
        if len(rows) != len(self.frame) + self.has_names:
            return f"row {row} (counted from 0)"
        return f"line {rows[row + self.has_names]}"


class _Cell(NamedTuple):
    """A cell of a table."""

    column: str
    row: int
    text: str


def read_table(path: Path, kind: str, columns: Columns) -> Table:
    """Read a table whose inputs are numbers.

    Args:
        path: the file.
        kind: parquet; or csv, whose cells are separated by commas, semicolons or tabs, or csv.gz,
            in UTF-8, or in UTF-16 that says so in its first two bytes. Its numbers have decimal
            points or, all of them, decimal commas, not each of which may be one of thousands.
        columns: what the columns are.

    Returns:
        The inputs, their names, and the classes if the target is given.

    Raises:
        ImportError: pandas, or what it reads Parquet with, is not installed.
        OSError: the file cannot be read.
        ValueError: the file is damaged, a column is missing, an input is dropped or is no finite
            number, or commas may be those of decimals or of thousands. The message names the line
            of CSV, but not the file.
    """
    read = _read(path, kind, columns)
    frame, has_names = read.frame, read.has_names
    names = list(frame.columns)
    target = None if columns.target is None else _find(names, columns.target)
    by_names = has_names and columns.inputs is not None
    drop = () if by_names and columns.drop_is_remembered else columns.drop
    dropped = {_find(names, column) for column in drop}
    if target in dropped:
        raise ValueError(f"column {target!r} is that of the classes and cannot be dropped")
    if by_names:
        inputs = [names[place] for place in places_of(columns.inputs or (), names)]
        if used := [name for name in inputs if name in dropped]:
            raise ValueError(f"column {used[0]!r} is an input of the model and cannot be dropped")
    else:
        inputs = [name for name in names if name not in {target, *dropped}]
        _check_named(inputs)
    labels = None if target is None else _labels(frame[target], target, read.place)
    if read.separator is not None and (commas := _decimal_commas(frame[inputs])):
        told = columns._replace(header=has_names)
        again = _read(path, kind, told, decimal=",").frame[inputs]
        decimal = _decimal(frame[inputs], again)
        numbers = again if decimal == "," else frame
        X = _numbers(numbers, inputs, decimal, read.place, of_model=by_names)
        if all(THOUSANDS.fullmatch(cell.text) for cell in commas):  # and nothing else tells
            raise ValueError(f"{_either(commas[0], read.place)}: {NO_COMMAS}")
    else:
        X = _numbers(frame, inputs, ".", read.place, of_model=by_names)
    return Table(X, tuple(inputs) if has_names else None, labels)


def places_of(features: Sequence[str], names: Sequence[str]) -> list[int]:
    """Say where the inputs of a network stand among the columns of a table.

    Raises:
        ValueError: one is not there.
    """
    missing = [name for name in features if name not in names]
    if missing:
        msg = f"of the model's {len(features)} inputs the table lacks {in_words(missing)}"
        raise ValueError(f"{msg}; it has {in_words(names)}")
    return [names.index(name) for name in features]


def column_names(path: Path, kind: str, columns: Columns) -> list[str]:
    """List the columns of a table."""
    return list(_read(path, kind, columns).frame.columns)


def only_column(path: Path, kind: str, *, header: bool | None, rows: int) -> npt.NDArray[Any]:
    """Read the classes from a table of one column.

    Args:
        path: the file.
        kind: as for `read_table`.
        header: whether the first line names the column, or None: if there is one more than rows.
        rows: how many rows have a class.

    Returns:
        The classes.

    Raises:
        ValueError: there are several columns, a row has no class, or the first of one line more
            than rows is a class rather than a name: it stands below again.
    """
    if kind == "parquet":
        read = _read(path, kind, Columns())
    else:
        read = _read(path, kind, Columns("0", header=False), lines_are_cells=True)
    frame, first_row = read.frame, 0
    if len(frame.columns) != 1:
        names = frame.columns if kind == "parquet" else frame.iloc[0]
        raise ValueError(f"a table of one column is needed, got {in_words(names)}")
    column = frame.iloc[:, 0]
    if kind != "parquet" and (header or (header is None and len(column) == rows + 1)):
        first, column, first_row = column.iloc[0], column.iloc[1:], 1
        if header is None and (column == first).any():
            msg = f"{rows + 1} lines for {rows} rows, and the first, {first!s}, stands below again"
            raise ValueError(f"{msg}: say with --header that it names the column, if it does")
    return _labels(column, str(column.name), lambda row: read.place(row + first_row))


def in_words(names: Iterable[object]) -> str:
    """List names, or of many the first and the last, which is often that of the classes."""
    words = [str(name) for name in names]
    if len(words) > SHOWN:
        words = [*words[: SHOWN - 1], f"{len(words) - SHOWN} more and {words[-1]}"]
    return ", ".join(words)


def _read(
    path: Path, kind: str, columns: Columns, *, decimal: str = ".", lines_are_cells: bool = False
) -> _Read:
    """Read a table, and see to it that its columns have different names.

    Where lines are cells, an empty line is an empty cell, and a blank separates nothing.
    """
    with train_extra("pandas"):
        import pandas as pd  # noqa: PLC0415, the core needs NumPy alone
    header, separator, text = True, None, None
    if kind == "parquet":
        try:
            with train_extra("pyarrow"):
                frame = pd.read_parquet(path)
        except ImportError:
            raise
        except Exception as error:  # pandas lets through what a damaged description brings about
            raise ValueError(f"a damaged Parquet file: {error}") from error
    else:
        text = _text(path, zipped=kind == "csv.gz")
        separator, lines = _first_lines(text)
        if not lines_are_cells:
            _check_separated(lines)
        header = _has_names(path, lines, columns)
        if header:
            _check_different([name for name in lines[0] if name] if lines else [])
        how: dict[str, Any] = {"sep": separator, "skip_blank_lines": not lines_are_cells}
        frame = _parse(text, lines, columns, header=header, decimal=decimal, **how)
    frame.columns = [str(name) for name in frame.columns]
    _check_different(list(frame.columns))
    return _Read(frame, header, separator, text, lines_are_cells)


def _check_different(names: list[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{count} columns are called {name!r}: give each a name of its own")


def _text(path: Path, *, zipped: bool) -> str:
    try:
        content = gzip.decompress(path.read_bytes()) if zipped else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"the gzip file is damaged: {error}") from error
    encoding = "utf-16" if content.startswith(UTF_16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        msg = f"neither a table in UTF-8 nor another file of rows: byte {error.start} is "
        raise ValueError(f"{msg}{content[error.start]:#04x}; save a table in UTF-8") from error
    place = text.find("\0")  # which NumPy cuts off the end of a name
    if place >= 0:
        raise ValueError(f"not a table: character {place} of its text is NUL")
    # Where an empty line ends in \r alone, pandas loses a separator that follows.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _first_lines(text: str) -> tuple[str, list[list[str]]]:
    """Find the separator, by which the most lines have equally many cells, and split by it.

    The comma is none where another separator leaves numbers with decimal commas in every line.
    """
    found = {separator: _split(text, separator) for separator in SEPARATORS}
    for separator, lines in found.items():
        even = len({len(line) for line in lines}) == 1 and len(lines[0]) > 1
        if separator != "," and even and any(map(_has_decimal_comma, itertools.chain(*lines))):
            return separator, lines
    separator = max(found, key=lambda separator: _evenness(found[separator]))
    return separator, found[separator]


def _reader(text: str, separator: str) -> "Reader":
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)


def _rows_by_line(text: str, separator: str) -> Iterator[tuple[int, list[str] | None]]:
    """List the cells of each row, blank ones too, with the line in which it begins, from 1 on.

    At a cell that csv finds too long, though pandas takes it, the cells are None, and nothing
    follows.
    """
    lines, before = _reader(text, separator), 0
    try:
        for cells in lines:
            yield before + 1, cells
            before = lines.line_num
    except csv.Error:
        yield before + 1, None


def _split(text: str, separator: str) -> list[list[str]]:
    lines = _reader(text, separator)
    try:
        return [*itertools.islice(filter(_is_filled, lines), LINES)]
    except csv.Error as error:
        raise ValueError(f"not a table: {error}") from error


def _is_filled(line: list[str]) -> bool:
    """Say whether there is a cell, or a separator of cells, in a line."""
    return len(line) > 1 or any(cell.strip(" \t") for cell in line)


def _check_separated(lines: list[list[str]]) -> None:
    """Refuse lines of one cell that fall into equally many by what is taken for no separator."""
    if any(len(line) > 1 for line in lines):
        return
    for separator in OTHER_SEPARATORS:
        parts = {len(cell.strip().split(separator)) for (cell,) in lines}
        if len(parts) == 1 and min(parts) > 1:
            what = "blanks" if separator == " " else repr(separator)
            msg = f"cells must be separated by commas, semicolons or tabs, not by {what}"
            raise ValueError(f"{msg}: the first line is {lines[0][0]!r}")


def _evenness(lines: list[list[str]]) -> tuple[bool, int, int]:
    """Rate a separator by whether it divides lines at all, how many alike, and how finely."""
    ((cells, count),) = Counter(map(len, lines)).most_common(1) or [(0, 0)]
    return cells > 1, count, cells


def _parse(
    text: str, lines: list[list[str]], columns: Columns, *, header: bool, **how: Any
) -> "pd.DataFrame":
    """Parse CSV: classes as the texts that they are, and no word as a missing number."""
    import pandas as pd  # noqa: PLC0415, the core needs NumPy alone

    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        how |= {"float_precision": "round_trip"}  # without which they are not read to the last bit

    def parse(**options: Any) -> "pd.DataFrame":
        try:
            with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
                return pd.read_csv(
                    io.StringIO(text),
                    header=0 if header else None,
                    skipinitialspace=True,
                    index_col=False,  # cells below no name must be empty, as ends of lines are
                    keep_default_na=False,
                    na_values=[""],
                    low_memory=False,
                    **how,
                    **options,
                )
        except pd.errors.ParserError as error:
            reason = _why_not_parsed(str(error), text, how["sep"])
            raise ValueError(reason) from error
        except pd.errors.EmptyDataError as error:
            raise ValueError(NO_ROWS) from error
        except pd.errors.ParserWarning as error:
            msg = "rows have more cells than the first line has names"
            raise ValueError(f"{msg}, {in_words(lines[0])}: name them all") from error

    found = list(parse(nrows=0).columns) if header else list(range(len(lines[0]) if lines else 0))
    texts = {}
    if columns.target is not None:
        names = [str(name) for name in found]
        texts[found[names.index(_find(names, columns.target))]] = str
    return parse(dtype=texts)


def _why_not_parsed(reason: str, text: str, separator: str) -> str:
    """Put what pandas says of a row in our words, and in lines of the file."""
    expected = re.search(r"Expected (\d+) fields in line", reason)
    if expected is not None:
        for line, cells in _rows_by_line(text, separator):
            if cells is not None and len(cells) > int(expected[1]):
                return f"line {line} has {len(cells)} cells, {expected[1]} are expected"
    opened = re.search(r"EOF inside string starting at row (\d+)", reason)
    if opened is not None:  # pandas counts rows from 0, blank ones too
        lines = [line for line, _ in _rows_by_line(text, separator)]
        line = lines[min(int(opened[1]), len(lines) - 1)]
        return f"a quotation mark in the row that begins in line {line} is never closed"
    return f"not a table: {' '.join(reason.split())}"


def _has_names(path: Path, lines: list[list[str]], columns: Columns) -> bool:
    """Say whether the first line names the columns, and log a guess that may be wrong."""
    if columns.header is not None:
        return columns.header
    if _are_named(lines, columns):
        return True
    names, sure = _are_names(lines)
    if not sure:
        what, option = ("names", "--no-header") if names else ("data", "--header")
        LOGGER.info("%s: the first line is taken for %s, unless told %s", path, what, option)
    return names


def _are_named(lines: list[list[str]], columns: Columns) -> bool:
    """Say whether the first line has all inputs, or a column that is given by its name."""
    first = [cell.strip() for cell in (lines or [[]])[0]]
    if columns.inputs and set(columns.inputs) <= set(first):
        return True
    given = [column for column in (columns.target, *columns.drop) if column is not None]
    return any(column in first and not _is_place(column, len(first)) for column in given)


def _are_names(lines: list[list[str]]) -> tuple[bool, bool]:
    """Guess whether the first line names the columns, and say whether that is sure.

    Names stand above numbers: words, at least as many as numbers, or beside numbers that count.
    Without such words they are all words, or count from 0 as in a table that was given no names, or
    there is a word that does not stand below again, where each stands twice at least, as classes
    do. A cell that says that something is missing is no name; but a number above words alone is
    one. Before all this, a word that stands below again makes the line data, and so does a number
    that stands in it twice, or all that is in it if it stands below again.
    """
    first = [cell.strip() for cell in (lines or [[]])[0]]
    below = [[line[d].strip() for line in lines[1:] if d < len(line)] for d in range(len(first))]
    present = [[cell for cell in cells if not _is_missing(cell)] for cells in below]
    above_numbers = [bool(cells) and all(map(_looks_like_number, cells)) for cells in present]
    filled = [d for d, cell in enumerate(first) if not _is_missing(cell)]
    words = [d for d in filled if not _looks_like_number(first[d])]
    numbers = [d for d in filled if _looks_like_number(first[d])]
    texts = [first[d] for d in numbers]
    if len(lines) <= 1:
        return not numbers, True
    twice = len(set(texts)) < len(texts)
    if twice or (filled and all(first[d] in below[d] for d in filled)):
        return False, True
    names = [d for d in words if above_numbers[d]]
    if any(first[d] in below[d] for d in words):
        return False, not names
    if names:
        values = sum(above_numbers[d] for d in numbers)
        return len(names) >= values or _count(texts), not numbers
    above_words = any(present[d] and not any(map(_looks_like_number, present[d])) for d in numbers)
    if above_words or not numbers:
        return above_words or len(filled) == len(first), False
    classes = bool(words) and all(min(Counter(present[d]).values(), default=0) > 1 for d in words)
    return classes or (texts[0] == "0" and _count(texts)), False


def _count(texts: list[str]) -> bool:
    """Say whether there are two whole numbers or more, each one more than that before it."""
    if len(texts) < 2 or not all(text.isdecimal() for text in texts):
        return False
    return texts == [str(int(texts[0]) + n) for n in range(len(texts))]


def _is_place(column: str, count: int) -> bool:
    """Say whether this is the number of one of so many columns, from either end."""
    return column.removeprefix("-").isdecimal() and -count <= int(column) < count


def _is_missing(cell: str) -> bool:
    return cell.lower() in MISSING


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # which Python takes between digits


def _has_decimal_comma(cell: str) -> bool:
    return DECIMAL_COMMA.fullmatch(cell.strip()) is not None


def _looks_like_number(cell: str) -> bool:
    return _is_number(cell) or _has_decimal_comma(cell)


def _decimal_commas(inputs: "pd.DataFrame") -> list[_Cell]:
    """List the numbers with a decimal comma, which were read as texts."""
    return [
        _Cell(str(name), row, str(value).strip())
        for name, column in inputs.items()
        if _is_text(column)
        for row, value in enumerate(column)
        if _has_decimal_comma(str(value))
    ]


def _decimal(by_points: "pd.DataFrame", by_commas: "pd.DataFrame") -> str:
    """Say that numbers have decimal commas, unless some have decimal points."""
    text, still = (
        {name: _is_text(frame[name]) for name in frame} for frame in (by_points, by_commas)
    )
    points = [name for name in text if still[name] and not text[name]]
    commas = [name for name in text if text[name] and not still[name]]
    if points and commas:
        msg = f"there are commas in column {commas[0]!r}, but points in {points[0]!r}"
        raise ValueError(f"{msg}: {NO_COMMAS}")
    return "." if points else ","


def _either(cell: _Cell, place: Place) -> str:
    column, row, text = cell
    either = f"may have three decimals, or be {text.replace(',', '')}"
    return f"column {column!r} holds {text!r} in {place(row)}, which {either}"


def _is_text(column: "pd.Series[Any]") -> bool:
    """Say whether not all of a column was read as numbers, or as words for true and false."""
    return column.dtype.kind not in "fiub"


def _check_named(inputs: list[str]) -> None:
    """Refuse what pandas writes before the rows, and is no input: their numbers."""
    for name in inputs:
        if name.startswith("Unnamed: "):  # as pandas calls a column that has no name
            number = name.removeprefix("Unnamed: ")
            msg = f"column {number} has no name in the first line"
            raise ValueError(f"{msg}: name it, or leave it out with --drop {name!r}")


def _find(names: list[str], column: str) -> str:
    """Give the name of a column that is given by its name or its number, from either end."""
    if column not in names:
        try:
            return str(names[int(column)])
        except (ValueError, IndexError):
            alike = {name.casefold(): name for name in names}
            meant = difflib.get_close_matches(column.casefold(), alike, n=1)
            hint = f"; did you mean {alike[meant[0]]!r}?" if meant else ""
            msg = f"there is no column {column!r} among {in_words(names)}{hint}"
            raise ValueError(msg) from None
    return column


def _labels(column: "pd.Series[Any]", name: str, place: Place) -> npt.NDArray[Any]:
    missing = column.isna().to_numpy()
    if missing.any():
        raise ValueError(f"{place(int(missing.argmax()))} has no class in column {name!r}")
    try:
        values = column.to_numpy()
    except Exception as error:  # Arrow's own, which is not a ValueError
        raise ValueError(f"column {name!r} cannot be read: {error}") from error
    if values.dtype.kind in "fiub":
        return values
    for row, value in enumerate(values):
        if isinstance(value, Sized) and not isinstance(value, str | bytes):
            msg = f"column {name!r} holds more than one value in {place(row)}"
            raise ValueError(f"{msg}, classes must be numbers or strings")  # noqa: TRY004, the file is wrong
    return values.astype(str)


def _numbers(
    frame: "pd.DataFrame", names: list[str], decimal: str, place: Place, *, of_model: bool
) -> npt.NDArray[np.float64]:
    """Read the inputs, which are those of a model or all that there are."""
    if frame.empty:
        raise ValueError(NO_ROWS)
    if not names:
        raise ValueError(f"there is no column of inputs among {in_words(frame.columns)}")
    inputs = [_input(frame[name], name, decimal, place, of_model=of_model) for name in names]
    return np.stack(inputs, axis=1)


def _input(
    column: "pd.Series[Any]", name: str, decimal: str, place: Place, *, of_model: bool
) -> npt.NDArray[np.float64]:
    empty = column.isna().to_numpy()
    if not _is_text(column):
        values = column.to_numpy(np.float64, na_value=math.nan)
    else:  # words, or numbers of another type, such as decimals
        texts = ["nan" if none else str(value) for none, value in zip(empty, column, strict=True)]
        wrong = _first_wrong(texts, decimal)
        if wrong is not None:
            text = texts[wrong]
            msg = f"column {name!r} holds {text!r} in {place(wrong)}, inputs must be numbers"
            if THOUSANDS.fullmatch(text):
                raise ValueError(f"{msg}: {NO_COMMAS}")
            if _has_decimal_comma(text):
                raise ValueError(f"{msg}: write it with a decimal point")
            if GROUPED.fullmatch(text):
                raise ValueError(f"{msg}: write thousands without a separator")
            if of_model:
                raise ValueError(f"{msg}; the model needs this column: correct or remove the row")
            raise ValueError(f"{msg}; if it holds no input, leave it out with --drop {name!r}")
        values = np.array([float(text.replace(",", ".")) for text in texts])
    finite = np.isfinite(values)
    if not finite.all():
        row = int((~finite).argmax())
        found = "is empty" if empty[row] else f"is {values[row]}"
        raise ValueError(f"column {name!r} {found} in {place(row)}, inputs must be finite numbers")
    return values


def _first_wrong(texts: list[str], decimal: str) -> int | None:
    """Find the first text that is no number with such decimals; of points and commas, a comma."""
    takes = _is_number if decimal == "." else _looks_like_number
    wrong = [row for row, text in enumerate(texts) if not takes(text)]
    if not wrong and any("." in text for text in texts):  # beside which no commas are taken
        wrong = [row for row, text in enumerate(texts) if _has_decimal_comma(text)]
    return min(wrong, default=None)
