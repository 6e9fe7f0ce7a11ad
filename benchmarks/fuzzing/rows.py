"""Files of rows and their classes, damaged: npz, CSV and Parquet; and what another reader finds."""

import contextlib
import csv
import gzip
import io
import itertools
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: F401, its modules are not what a file makes a reader take
import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow import parquet

from benchmarks.fuzzing.damage import (
    COPIES,
    GZIP_MOST,
    SPARE,
    Rng,
    damaged,
    damaged_member,
    either,
    npy_bytes,
    other_members,
    put_odd,
    zipped,
)
from manual_nn.files import tables
from manual_nn.files.rows import Rows, read_rows

D, IMAGE_SHAPE = 6, (2, 3)
CLASSES = ["ash", "elm", "oak tree", "7", "007", "1.0", "NA", "None", "True", "-1", "é"]
CELLS = [
    *("", " ", "NA", "nan", "inf", "-Infinity", "1e999", "1e-400", "-", "1,5", "1_0", "0x10"),
    *("True", "false", " 1", "1 ", "+1", ".5", "1.", "1e5", "1d5", '"', '""', "'1'", "9" * 400),
    *("12345678901234567890", "0.1234567890123456789", "\0", "\x1a", "\n", "\r", "١", "1\u00a0"),
]
NAMES = [
    "a",
    "b",
    "a",
    "",
    " ",
    "0",
    "1",
    "2",
    "2020",
    "a.1",
    "Unnamed: 0",
    "class",
    "inf",
    "\u2028",
]
TEXT_BOMB = 1 << 18  # bytes of text, which are zipped to a thousandth
MANY_ROWS = 3000
MEMORY = 200  # bytes of Python objects at most that a cell of a table takes, beside what it holds


def npz_of_rows(rng: Rng) -> bytes:
    """Make an npz file of rows and their classes, perhaps compressed, and damage it."""
    N = int(rng.integers(1, 5))
    shape = either(rng, (N, D), (N, *IMAGE_SHAPE))
    X = rng.integers(17, size=shape).astype(either(rng, "f4", "f8", "u1", "i8", "?"))
    y = either(rng, rng.integers(3, size=N), np.array(CLASSES)[rng.integers(len(CLASSES), size=N)])
    parts = either(rng, [""], [""], ["_train", "_test"])
    x_name, y_name = either(rng, ("X", "y"), ("images", "labels"), ("data", "target"), ("u", "v"))
    members = [
        (f"{name}{part}.npy", npy_bytes(array))
        for part in parts
        for name, array in ((x_name, X), (y_name, y))
    ]
    if rng.random() < 0.5:
        i = int(rng.integers(len(members)))
        members[i] = members[i][0], damaged_member(members[i][1], rng)
    if rng.random() < 0.2:
        members = other_members(members, rng)
    return zipped(members, rng, kinds=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED] * 10)


def read_npz_of_rows(path: Path) -> Rows:
    """Read rows and classes from one file."""
    return read_rows(path, None, tables.Columns())


def check_npz_of_rows(rows: Rows, content: bytes) -> None:
    """Compare with what NumPy reads."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        found = {name.lower(): arrays[name] for name in arrays.files}
    parts = ["_train", "_test"] if rows.for_test else [""]
    pairs = [("x", "y"), ("images", "labels"), ("data", "target")]
    x, y = next(
        pair for pair in pairs if all(name + part in found for name in pair for part in parts)
    )
    X = np.concatenate([found[x + part].reshape(-1, D) for part in parts])
    assert np.array_equal(rows.inputs.X, X)
    assert (
        rows.labels.tolist()
        == np.concatenate([found[y + part] for part in parts]).astype(rows.labels.dtype).tolist()
    )
    assert np.isfinite(X).all()


def allowed_for_npz(content: bytes) -> int:
    """Allow some copies of what its members hold."""
    held = len(content)
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
        held += sum(min(member.file_size, GZIP_MOST * len(content)) for member in archive.filelist)
    return SPARE + COPIES * held


def csv_file(rng: Rng) -> bytes:
    """Make a table with classes in its last column, and let cells be odd, or damage its bytes."""
    width, odd = int(rng.integers(1, 4)), rng.random() < 0.5
    table = [
        [*(_number_cell(rng) for _ in range(width)), CLASSES[rng.integers(either(rng, 2, 11))]]
        for _ in range(rng.integers(1, 9))
    ]
    if rng.random() < 0.6:
        names = either(rng, NAMES[:2] + NAMES[-3:], NAMES, NAMES)
        table.insert(0, [str(name) for name in rng.choice(names, size=width + 1)])
    for _ in range(rng.integers(1, 4) if odd else 0):
        line = table[rng.integers(len(table))]
        if line:
            line[rng.integers(len(line))] = CELLS[rng.integers(len(CELLS))]
    if rng.random() < 0.1:
        line = table[rng.integers(len(table))]
        either(rng, lambda: line.append("1"), lambda: line and line.pop(), line.clear)()
    if rng.random() < 0.1:
        table = [[*line, ""] for line in table]
    if rng.random() < 0.1:
        table = [[cell.replace(".", ",") for cell in line] for line in table]
    text = io.StringIO(newline="")
    quoting = either(rng, csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    end = either(rng, "\n", "\r\n", "\r", "\n\n", " \n")
    csv.writer(
        text, delimiter=either(rng, *tables.SEPARATORS), lineterminator=end, quoting=quoting
    ).writerows(table)
    encoding = either(rng, *["utf-8"] * 8, "utf-8-sig", "utf-16", "utf-16-be", "latin-1")
    content = text.getvalue().encode(encoding, errors="replace")
    return damaged(content, rng) if rng.random() < 0.5 else content


def _number_cell(rng: Rng) -> str:
    number = float(rng.normal()) * 10.0 ** int(rng.integers(-12, 13))
    return either(rng, repr(number), f"{number:.3g}", str(int(rng.integers(99))))


def gzipped_csv_file(rng: Rng) -> bytes:
    """Zip a table that may be damaged, and damage the outcome; some hold a flood of text."""
    if rng.random() < 0.01:
        return gzip.compress(b"a,b\n1,2\n" + either(rng, b"1", b"\n", b'"', b"1,1\n") * TEXT_BOMB)
    zipped = gzip.compress(csv_file(rng), mtime=0)
    return damaged(zipped, rng) if rng.random() < 0.4 else zipped


def read_csv(path: Path) -> tuple[Rows, bool | None]:
    """Read a table, told by its content or not whether it has a header."""
    header = (None, False, True)[zlib.crc32(path.read_bytes()) % 3]
    return read_rows(path, None, tables.Columns("-1", header=header)), header


def check_csv(result: tuple[Rows, bool | None], content: bytes) -> None:
    """Compare with what Python's own reader finds, by one of the separators."""
    (inputs, labels, _), header = result
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    text = content.decode("utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    assert header in {None, inputs.features is not None}
    found = [
        _table_of(text, separator, decimal, inputs.features)
        for separator in tables.SEPARATORS
        for decimal in ".,"
    ]
    assert (inputs.X.tolist(), labels.tolist()) in found
    assert np.isfinite(inputs.X).all()


def _table_of(
    text: str, separator: str, decimal: str, features: tuple[str, ...] | None
) -> tuple[list[list[float]], list[str]] | None:
    """Read numbers and classes, or None if that cannot be by these marks."""
    lines = [*csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)]
    lines = [line for line in lines if line and (len(line) > 1 or line[0].strip(" \t"))]
    if features is not None:
        width = len(features) + 1
        names, *lines = lines
        if len(names) != width or any(cell for line in lines for cell in line[width:]):
            return None
    else:
        width = len(lines[0])
        if {len(line) for line in lines} != {width}:
            return None
    columns = [*itertools.zip_longest(*(line[:width] for line in lines), fillvalue="")]
    numbers = [_as_numbers(column, decimal) for column in columns[:-1]]
    if None in numbers:
        return None
    return [[*row] for row in zip(*filter(None, numbers), strict=True)], [*columns[-1]]


def _as_numbers(cells: tuple[str, ...], decimal: str) -> list[float] | None:
    """Read a column of numbers, or of words for true and false."""
    words = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}
    if all(cell in words for cell in cells):
        return [words[cell] for cell in cells]
    if decimal == ",":
        cells = tuple(cell.translate({ord("."): "no", ord(","): "."}) for cell in cells)
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None


def allowed_for_csv(content: bytes) -> int:
    """Allow some objects for each byte of the text, which may be a cell or a line."""
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return SPARE + GZIP_MOST * len(content)
    return SPARE + MEMORY * len(content)


def parquet_file(rng: Rng) -> bytes:
    """Make a table of columns of many types, and damage its bytes or what pandas says of it."""
    N = int(either(rng, *range(1, 9), 0, MANY_ROWS))
    columns = {name: _parquet_column(N, rng) for name in ("a", "b", "a.1")[: rng.integers(4)]}
    names = np.array(CLASSES)[rng.integers(either(rng, 2, 11), size=N)]
    columns["class"] = either(
        rng,
        pa.array(names.tolist(), pa.string()),
        pa.array(names.tolist(), pa.string()).dictionary_encode(),
        pa.array(rng.integers(3, size=N)),
    )
    table = pa.table(columns)
    if rng.random() < 0.5:
        said = pa.Schema.from_pandas(table.to_pandas()).metadata[b"pandas"]
        facts = json.loads(said)
        put_odd(facts, rng)
        odd = either(rng, json.dumps(facts), json.dumps(facts), "{", "[1]", b"\xff")
        table = table.replace_schema_metadata({"pandas": odd})
    file = io.BytesIO()
    parquet.write_table(
        table,
        file,
        compression=either(rng, "none", "snappy", "gzip", "zstd"),
        use_dictionary=bool(rng.integers(2)),
        row_group_size=int(either(rng, 2, 1000)),
        write_page_checksum=bool(rng.integers(2)),
    )
    content = file.getvalue()
    return damaged(content, rng) if rng.random() < 0.6 else content


def _parquet_column(N: int, rng: Rng) -> Any:
    numbers = rng.integers(9, size=N)
    kind = either(rng, "f8", "f8", "f4", "i8", "u1", "?", "f2", "str", "bytes", "M8[s]", "null")
    if kind == "null":
        return pa.array([float(number) if number else None for number in numbers], pa.float64())
    if kind == "bytes":
        return pa.array([bytes([number]) for number in numbers], pa.binary())
    if kind == "str":
        return pa.array(list(map(str, numbers)), pa.string())
    return pa.array(numbers.astype(kind))


def read_parquet(path: Path) -> Rows:
    """Read a table, and see to it that what Arrow allocates is bounded, too."""
    pool = pa.default_memory_pool()
    before = pool.max_memory()  # which cannot be reset
    try:
        return read_rows(path, None, tables.Columns("class"))
    finally:
        most = pool.max_memory()
        assert most == before or most <= SPARE + COPIES * path.stat().st_size, f"Arrow took {most}"


def check_parquet(rows: Rows, content: bytes) -> None:
    """Compare with what Arrow finds by itself."""
    table = parquet.ParquetFile(io.BytesIO(content)).read()
    assert rows.inputs.features is not None
    for d, name in enumerate(rows.inputs.features):
        assert rows.inputs.X[:, d].tolist() == list(map(float, table[name].to_pylist()))
    assert rows.labels.tolist() == table["class"].to_pylist()
    assert np.isfinite(rows.inputs.X).all()
