"""Tables: each column is what it is said to be, and what cannot be read is named."""

import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from manual_nn.files.tables import Columns, column_names, only_column, read_table
from tests.support.cases import each

FLOWERS = "length,width,kind\n5.1,3,oak\n4.9,2,ash\n6,1e3,oak\n"
X = [[5.1, 3.0], [4.9, 2.0], [6.0, 1e3]]
LABELS = ["oak", "ash", "oak"]
UNNAMED = "rows have more cells than the first line has names, a, b: name them all"
EITHER = "^column 'a' holds '1,234' in line {line}, which may have three decimals, or be 1234"
YEARS = ("2010", "2020")  # which are names where the column of the classes is given by its name


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    return tmp_path / "flowers"


@each(
    ("text", "columns", "features"),
    [
        (FLOWERS, Columns("kind"), ("length", "width")),
        (FLOWERS, Columns("2"), ("length", "width")),
        (FLOWERS, Columns("-1", header=True), ("length", "width")),
        (FLOWERS.replace(",", ";"), Columns("kind"), ("length", "width")),
        (FLOWERS.replace(",", "\t"), Columns("kind"), ("length", "width")),
        ("\ufeff" + FLOWERS, Columns("kind"), ("length", "width")),
        (
            FLOWERS.replace("length", "0").replace("width", "1"),
            Columns("kind", header=True),
            ("0", "1"),
        ),
        (FLOWERS.replace("width", "2020"), Columns("kind"), ("length", "2020")),
        (FLOWERS.replace("length", "2010").replace("width", "2020"), Columns("kind"), YEARS),
        (
            FLOWERS.replace("length", "2010").replace("width", "2020").replace("kind", "2030"),
            Columns("2030"),
            YEARS,
        ),
        (
            FLOWERS.replace("length", "2010,note")
            .replace("width", "2020")
            .replace(",3,", ",1,3,")
            .replace(",2,", ",2,2,")
            .replace(",1e3,", ",3,1e3,"),
            Columns("-1", ("note",)),
            YEARS,
        ),
        (FLOWERS.partition("\n")[2], Columns("2"), None),
        (FLOWERS.partition("\n")[2], Columns("-1", header=False), None),
        (
            "kind,a,2020\noak,5.1,3\nash,4.9,2\noak,6,1e3\n",
            Columns("kind"),
            ("a", "2020"),
        ),
        (
            "id,length,kind,width,note\n1,5.1,oak,3,a\n2,4.9,ash,2,b\n3,6,oak,1e3,c\n",
            Columns("kind", ("note", "0")),
            ("length", "width"),
        ),
        (
            "id,length,kind,width\n1,5.1,oak,3\n2,4.9,ash,2\n3,6,oak,1e3\n",
            Columns("2", ("0",)),  # numbers are those in the file
            ("length", "width"),
        ),
    ],
)
def test_inputs_and_classes_are_found_in_csv(
    path: Path, text: str, columns: Columns, features: tuple[str, ...] | None
) -> None:
    for kind in ("csv", "csv.gz"):
        encoded = text.encode() if kind == "csv" else text.strip("\ufeff").encode("utf-16")
        path.write_bytes(encoded if kind == "csv" else gzip.compress(encoded))
        table = read_table(path, kind, columns)
        assert table.X.tolist() == X
        assert table.X.dtype == np.float64
        assert table.labels is not None
        assert table.labels.tolist() == LABELS
        assert table.features == features


def test_parquet_is_read_as_csv_is(path: Path) -> None:
    frame = pd.DataFrame({"length": [5.1, 4.9, 6], "width": [3, 2, 1000], "kind": LABELS})
    frame.astype({"kind": "category"}).to_parquet(path)
    table = read_table(path, "parquet", Columns("kind"))
    assert (table.X.tolist(), table.features) == (X, ("length", "width"))
    assert table.labels is not None
    assert table.labels.tolist() == LABELS


def test_damaged_parquet_is_refused(path: Path) -> None:
    path.write_bytes(b"PAR1 and so on PAR1")
    with pytest.raises(ValueError, match="a damaged Parquet file: "):
        read_table(path, "parquet", Columns("kind"))


def test_text_in_parquet_that_is_not_utf_8_is_refused(path: Path) -> None:
    damaged = pa.array([b"oak", b"\xff\xfe"], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"a": [1, 2], "kind": damaged}), path)
    with pytest.raises(ValueError, match="column 'kind' cannot be read: "):
        read_table(path, "parquet", Columns("kind"))
    with pytest.raises(ValueError, match=r"codec|cannot be read"):
        read_table(path, "parquet", Columns("a"))


def test_booleans_are_numbers_and_classes_may_be_numbers(path: Path) -> None:
    path.write_text("a,b,c\n1,True,7\n2,False,9\n")
    table = read_table(path, "csv", Columns("c"))
    assert table.X.tolist() == [[1, 1], [2, 0]]
    assert table.labels is not None
    assert table.labels.tolist() == ["7", "9"]


@each(
    ("text", "columns", "reason"),
    [
        (FLOWERS, Columns("KIN"), r"column 'KIN' among length, width, kind; .* 'kind'\?$"),
        (FLOWERS, Columns("3"), "no column '3' among length, width, kind$"),
        (FLOWERS, Columns("kind", ("2",)), "column 'kind' is that of the classes and cannot be"),
        (FLOWERS.replace("width", "length"), Columns("kind"), "2 columns are called 'length'"),
        (
            FLOWERS.replace(",", "|"),
            Columns("kind"),
            r"tabs, not by '\|': .* 'length\|width\|kind'$",
        ),
        (FLOWERS.replace(",", "  "), Columns("kind"), "semicolons or tabs, not by blanks"),
        (FLOWERS, Columns("width"), "column 'kind' holds 'oak' in line 2, inputs must be numbers"),
        (FLOWERS, Columns("kind", ("length", "width")), "no column of inputs among length, width"),
        ("kind\noak\n", Columns("kind"), "there is no column of inputs among kind"),
        ("a,b\n", Columns("b"), "the table has no rows"),
        ("\n\n", Columns("b"), "the table has no rows"),
        ("a,b\n1,x\n,y\n", Columns("b"), "column 'a' is empty in line 3"),
        ("a,b\n1,x\ninf,y\n", Columns("b"), "column 'a' is inf in line 3"),
        ("a,b\n1,x\n2,\n", Columns("b"), "^line 3 has no class in column 'b'"),
        ("a,b\n1,x\n2 m,y\n", Columns("b"), "column 'a' holds '2 m' in line 3.*--drop 'a'"),
        ("a\n2 m\n", Columns(inputs=("a",)), r"'2 m' in line 2.* this column: correct or [\w ]+$"),
        (",a,b\n0,1,x\n1,2,y\n", Columns("b"), "column 0 has no name.*--drop 'Unnamed: 0'"),
        ("a,b\n1,x\n2,y,3,4\n", Columns("b"), "^line 3 has 4 cells, 2 are expected"),
        (
            "a,b\n" + '"1",x\n\n' * 70 + '"2\n",y,3\n' + "1,x,4,5\n",  # below what is looked at
            Columns("b"),
            "^line 142 has 3 cells, 2 are expected",
        ),
        ("1,x\n" * 70 + "2,y,3\n", Columns("1"), "^line 71 has 3 cells, 2 are expected"),
        (
            "1,x\n" * 70 + "2" * 140_000 + "\n2,y,3\n",
            Columns("1"),
            "not a table: .*Expected 2 fields",
        ),
        ('a,b\n1,x\n"2,y\n3,z\n', Columns("b"), "mark in the row that begins in line 3 is never c"),
        (  # where csv finds the last cell too long
            "a,b\n" + '"1\n",x\n\n' * 60 + '2,"y\n' + "3,z\n" * 35_000,
            Columns("b"),
            "mark in the row that begins in line 182 is never closed",
        ),
        # A row may take several lines, and blank ones are none.
        ('\na,b\n"\n1",x\n \t\n2 m,y\n', Columns("b"), "column 'a' holds '2 m' in line 6, "),
        # Where csv finds a cell too long, the row has its number alone.
        (
            "a,b\n" + "1,x\n" * 60 + "1" * 140_000 + ",x\n2 m,y\n",
            Columns("b"),
            r"'2 m' in row 61 \(counted from 0\), ",
        ),
        ("a,b\n1,2,x\n3,4,y\n", Columns("b"), UNNAMED),
        ("a,b\n0,1,2,x\n1,3,4,y\n", Columns("b"), UNNAMED),
        ("a,b\n1,x,\n2,y,3\n", Columns("b"), UNNAMED),
        ("\r,a,b\r0,1,x\r1,2,y\r", Columns("b"), "column 0 has no name"),
        ("a;b\n1,5;x\n2.5;y\n", Columns("b"), "holds '1,5' in line 2.*: write it with a decimal p"),
        ("a;b;c\n1,5;2.5;x\n", Columns("c"), "commas in column 'a', but points in 'b'"),
        ("a;b;c\n1,5;1.234,5;x\n", Columns("c"), "'b' holds '1.234,5' .*: write thousands without"),
        ("a\tb\n1,234\tx\n", Columns("b"), f"{EITHER.format(line=2)}: write decimals with a"),
        ("a;b\n0;x\n1,234;x\n12,345;y\n", Columns("b"), EITHER.format(line=3)),
        ("a;b;c\n1,234;2.5;x\n", Columns("c"), "but points in 'b': .* thousands without a comma"),
        # Where decimals are commas, it is something else that is no number.
        ("a;b\n1,5;x\n?;y\n", Columns("b"), r"^column 'a' holds '\?' in line 3.*--drop 'a'"),
        ("a;b\n1,5;x\nnan;y\n", Columns("b"), "^column 'a' is nan in line 3"),
        ("a;b\n1,234;x\n2,500,000;y\n", Columns("b"), "'2,500,000' in line 3.*: write thousands"),
        ("a;b\n2.5;x\n1,234;y\n", Columns("b"), "'1,234' in line 3.*: write .* thousands"),
        ("a,b\n1,x\n1_0,y\n", Columns("b"), "column 'a' holds '1_0' in line 3"),
        ("a,b\n1,x\nNA,y\n", Columns("b"), "column 'a' holds 'NA' in line 3"),
        ("a,b\n1,x\n2,y\0\n", Columns("b"), "not a table: character 11 of its text is NUL"),
    ],
)
def test_what_a_table_lacks_is_named(path: Path, text: str, columns: Columns, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_table(path, "csv", columns)


def test_what_is_no_text_is_no_table(path: Path) -> None:
    for content, place in (
        ("x,é".encode("latin1"), "byte 2 is 0xe9"),
        (b"\x93\xff", "byte 0 is 0x93"),
    ):
        path.write_bytes(content)
        said = f"neither a table in UTF-8 nor another file of rows: {place}; save a table in UTF-8"
        with pytest.raises(ValueError, match=said):
            read_table(path, "csv", Columns("a"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_text_in_utf_16_is_read_as_spreadsheets_write_it(path: Path, encoding: str) -> None:
    path.write_bytes(("\ufeff" + FLOWERS.replace(",", "\t").replace("oak", "Öl")).encode(encoding))
    labels = read_table(path, "csv", Columns("kind")).labels
    assert labels is not None
    assert labels.tolist() == ["Öl", "ash", "Öl"]


def test_numbers_are_those_that_python_reads_to_the_bit(path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=200).tolist()
    path.write_text("a,b\n" + "".join(f"{number!r},x\n" for number in numbers))
    assert read_table(path, "csv", Columns("b")).X[:, 0].tolist() == numbers


def test_a_nameless_column_can_be_left_out(path: Path) -> None:
    path.write_text(",a,b\n0,1,x\n1,2,y\n")
    table = read_table(path, "csv", Columns("b", ("Unnamed: 0",)))
    assert (table.X.tolist(), table.features) == ([[1], [2]], ("a",))


@each(
    ("text", "columns", "want"),
    [
        ("b,c,a\n1,x,2\n3,y,4\n", Columns(inputs=("a", "b")), [[2, 1], [4, 3]]),  # by name
        (
            "b,c,a\n1,x,2\n3,y,4\n",
            Columns("c", ("id", "a"), inputs=("a", "b"), drop_is_remembered=True),
            [[2, 1], [4, 3]],
        ),
        ("b,a,c\n1,2,x\n", Columns(drop=("c",), inputs=("a", "b")), [[2, 1]]),
        ("b,a,c\n1,2,x\n", Columns(drop=("id",), inputs=("a", "b")), "there is no column 'id'"),
        (
            "b,a,c\n1,2,x\n",
            Columns(drop=("c", "1"), inputs=("a", "b")),
            "^column 'a' is an input of the model and cannot be dropped",
        ),
        (",a,b\n0,1,2\n1,3,4\n", Columns(inputs=("a", "b")), [[1, 2], [3, 4]]),
        ("1,2\n3,4\n", Columns(inputs=("a", "b")), [[1, 2], [3, 4]]),  # there are no names
        ("1,2\n1,2\n3,4\n", Columns(header=True), [[1, 2], [3, 4]]),
        (
            "u,v\n1,2\n",
            Columns(inputs=("a", "b")),
            "the model's 2 inputs the table lacks a, b; it has u, v",
        ),
    ],
)
def test_a_network_takes_its_columns_by_their_names_if_there_are_names(
    path: Path, text: str, columns: Columns, want: list[list[float]] | str
) -> None:
    path.write_text(text)
    if isinstance(want, str):
        with pytest.raises(ValueError, match=want):
            read_table(path, "csv", columns)
    else:
        assert read_table(path, "csv", columns).X.tolist() == want


def test_the_columns_are_listed_and_one_may_be_all_there_is(path: Path) -> None:
    path.write_text(FLOWERS)
    assert column_names(path, "csv", Columns()) == ["length", "width", "kind"]
    with pytest.raises(ValueError, match="one column is needed, got length, width, kind"):
        only_column(path, "csv", header=None, rows=3)
    for text, header, rows, want in (
        ("kind\noak\nash\n", None, 2, ["oak", "ash"]),
        ("oak\nash\n", None, 2, ["oak", "ash"]),  # a name for each row
        ("0\n3\n1\n", None, 2, ["3", "1"]),
        ("3\n1\n", None, 2, ["3", "1"]),
        ("oak\nash\n", False, 1, ["oak", "ash"]),
        ("oak\nash\n", True, 2, ["ash"]),
        ("NA\nNone\n", None, 2, ["NA", "None"]),
        ("oak\nash\nelm\n", None, 1, ["oak", "ash", "elm"]),  # refused where rows are known
    ):
        path.write_text(text)
        assert only_column(path, "csv", header=header, rows=rows).tolist() == want
    path.write_text("oak\nash\noak\n")  # a class too many, no name
    with pytest.raises(ValueError, match="3 lines for 2 rows, and the first, oak, stands below"):
        only_column(path, "csv", header=None, rows=2)
    assert only_column(path, "csv", header=True, rows=2).tolist() == ["ash", "oak"]
    path.write_text("kind\noak\n\nash\n")
    with pytest.raises(ValueError, match=r"^line 3 has no class in column '0'"):
        only_column(path, "csv", header=None, rows=3)


IRIS = "6.1,2,4,1.3,ash\n6.7,5,5,1.8,oak\n6.5,3,4,1.5,ash\n"
SCANS = "0,1,1,a\n1,0,0,b\n0,1,0,a\n"


@each(
    ("text", "inputs", "names", "logged"),
    [
        ("a,b,c,d,kind\n" + IRIS, (), True, None),
        ("a,b,c,d,kind\n" + IRIS.replace("6.5", "?").replace("5", "NA"), (), True, None),
        (IRIS, (), False, None),
        ("0,0,1\n6,5,3\n7,4,3\n", (), False, None),
        (IRIS.replace("ash", "1").replace("oak", "0"), (), False, "data"),
        # As pandas writes a table whose columns were given no names.
        ("0,1,2,3,kind\n" + IRIS, (), True, "names"),
        ("0,1,2,3,4\n" + IRIS.replace("ash", "0").replace("oak", "1"), (), True, "names"),
        (
            ",0,1,2,3,kind\n"
            + "".join(f"{n},{row}" for n, row in enumerate(IRIS.splitlines(keepends=True))),
            (),
            True,
            "names",
        ),
        ("0,1\n6.1,2\n6.7,3\n", (), True, "names"),
        ("kind,a,2020,2021,2022\nash,6,2,3,4\noak,7,2,3,4\n", (), True, "names"),
        ("2020,2021,kind\n6,2,ash\n7,3,oak\n", (), False, "data"),
        ("1,2,3,4,5\n" + IRIS, (), True, "names"),
        ("2020,2030,kind\n6,2,ash\n7,3,oak\n8,1,oak\n9,1,ash\n", (), True, "names"),
        ("6,2,elm\n6,2,ash\n7,3,oak\n8,1,oak\n", (), False, "data"),
        ("2020,2021,kind\n6,2,ash\n7,3,oak\n", ("2021", "2020"), True, None),
        # Of data, what counts or is a word stands below again.
        (SCANS.replace("0,1,1,", "0,1,2,"), (), False, None),
        ("0,1,a\n1,1,b\n0,0,a\n", (), False, None),
        ("7,1.5,2.5,x\nNEW,1,2,y\nOLD,4,5,x\n", (), False, None),
        ("unknown,2,x\n1,1,y\n4,5,x\n", (), False, "data"),
        ("0,1\n1,0\n0,0\n1,1\n", (), False, None),
        # What is missing is no name.
        *(
            (IRIS.replace("6.1", missing), (), False, None)
            for missing in ("NA", "", "?", "nan", "None", "-", " ")
        ),
        (IRIS.replace("6.1", "unknown"), (), False, "data"),
        ("NA,,?,NA,elm\n" + IRIS, (), False, "data"),
    ],
)
def test_the_first_line_is_names_or_data_and_a_guess_is_logged(
    path: Path,
    text: str,
    inputs: tuple[str, ...],
    names: bool,
    logged: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.write_text(text)
    caplog.clear()
    with caplog.at_level("INFO", "manual_nn"):
        found = column_names(path, "csv", Columns(inputs=inputs or None))
    numbered = [str(n) for n in range(len(found))]
    lines = text.splitlines()
    line = lines[0].split(",")
    if names:
        assert [name.removeprefix("Unnamed: 0") for name in found] == line
    else:
        assert found == numbered
    said = [record.getMessage() for record in caplog.records]
    if logged is None:
        assert said == []
    else:
        option = {"names": "--no-header", "data": "--header"}[logged]
        assert said == [f"{path}: the first line is taken for {logged}, unless told {option}"]
    for header in (False, True) if len(set(line)) == len(line) else (False,):
        told = column_names(path, "csv", Columns(header=header))
        assert (told == numbered) == (not header or line == numbered)


@pytest.mark.parametrize("label", ["None", "NA", "null", "nan", "007", "1e3", "x "])
def test_classes_are_the_texts_that_stand_there(path: Path, label: str) -> None:
    path.write_text(f"a,b\n1,{label}\n2,12\n")
    labels = read_table(path, "csv", Columns("b")).labels
    assert labels is not None
    assert labels.tolist() == [label, "12"]


@each(
    ("text", "columns", "want"),
    [
        ("\n\na;kind\n\n1;x\n2;y\n", Columns("kind"), [[1], [2]]),
        ('"a;b;c;d","kind"\n"1","x"\n"2","y"\n', Columns("kind"), [[1], [2]]),
        ('"a\nb",kind\n1,x\n2,y\n', Columns("kind"), [[1], [2]]),
        ("a,b,kind\n1,2,x,\n3,4,y,\n", Columns("kind"), [[1, 2], [3, 4]]),  # ends of lines
        ("a\tkind\n1\tx, y; z\n2\ty\n", Columns("kind"), [[1], [2]]),
        ("a, kind\n1, x\n2, y\n", Columns("kind"), [[1], [2]]),
        # With decimal commas, which cut each line of one table into equally many cells.
        ("1,5;2,25;x\n-,5;1e-1;y\n", Columns("2"), [[1.5, 2.25], [-0.5, 0.1]]),
        ("a;b;kind\n1,5;2;x\n2,125;3;y\n", Columns("kind"), [[1.5, 2], [2.125, 3]]),
        ('a,kind\n"1,5",x\n2,y\n', Columns("kind"), [[1.5], [2]]),
        ("a;b\n2,125;x\n3,25;y\n", Columns("b"), [[2.125], [3.25]]),
        ("a;b;c\n2,125;0,250;x\n", Columns("c"), [[2.125, 0.25]]),
        ("a;kind;note\n1.5;x;3,5\n2;y;\n", Columns("kind", ("note",)), [[1.5], [2]]),
        ("1,2,x;y\n3,4,x;z\n", Columns("2"), [[1, 2], [3, 4]]),
        (
            "a,kind\r\n1,x\r\n123456789012345678901234567890,y\r\n",
            Columns("kind"),
            [[1], [123456789012345678901234567890.0]],
        ),
    ],
)
def test_cells_are_found_whatever_separates_and_quotes_them(
    path: Path, text: str, columns: Columns, want: list[list[float]]
) -> None:
    path.write_bytes(text.encode())
    assert read_table(path, "csv", columns).X.tolist() == want


def test_numbers_with_decimal_commas_are_read_to_the_bit(path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=200).tolist()
    path.write_text("".join(f"{number!r};x\n".replace(".", ",") for number in numbers))
    assert read_table(path, "csv", Columns("1")).X[:, 0].tolist() == numbers


def test_classes_must_be_scalars(path: Path) -> None:
    pd.DataFrame({"a": [1, 2], "b": [[1], [1, 2]]}).to_parquet(path)
    with pytest.raises(
        ValueError,
        match=r"column 'b' holds more than one value in row 0 \(counted from 0\), classes",
    ):
        read_table(path, "parquet", Columns("b"))


def test_decimals_of_parquet_are_numbers(path: Path) -> None:
    frame = pd.DataFrame({"a": [Decimal("1.5"), Decimal(2)], "b": ["x", "y"]})
    frame.to_parquet(path)
    assert read_table(path, "parquet", Columns("b")).X.tolist() == [[1.5], [2]]
    frame.loc[1, "a"] = None
    frame.to_parquet(path)
    with pytest.raises(ValueError, match=r"column 'a' is empty in row 1 \(counted from 0\)"):
        read_table(path, "parquet", Columns("b"))


def test_of_many_names_the_first_are_said(path: Path) -> None:
    path.write_text(",".join(f"c{n}" for n in range(20)) + "\n" + ",".join("1" * 20) + "\n")
    with pytest.raises(ValueError, match=r"among c0, .*, c10, 8 more and c19$"):
        read_table(path, "csv", Columns("kind"))
