"""Tables: each column is what it is said to be, and what cannot be read is named."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from manual_nn.files.tables import Columns, column_names, only_column, read_table
from tests.support.cases import each

FLOWERS = "length,width,kind\n5.1,3,oak\n4.9,2,ash\n6,1e3,oak\n"
X = [[5.1, 3.0], [4.9, 2.0], [6.0, 1e3]]
LABELS = ["oak", "ash", "oak"]


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
        path.write_bytes(text.encode() if kind == "csv" else gzip.compress(text.encode()))
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


def test_booleans_are_numbers_and_classes_may_be_numbers(path: Path) -> None:
    path.write_text("a,b,c\n1,True,7\n2,False,9\n")
    table = read_table(path, "csv", Columns("c"))
    assert table.X.tolist() == [[1, 1], [2, 0]]
    assert table.labels is not None
    assert table.labels.tolist() == [7, 9]


@each(
    ("text", "columns", "reason"),
    [
        (FLOWERS, Columns("knd"), "no column 'knd' among length, width, kind"),
        (FLOWERS, Columns("3"), "no column '3' among length, width, kind"),
        (FLOWERS, Columns("width"), "column 'kind' holds 'oak' in row 0, inputs must be numbers"),
        (FLOWERS, Columns("kind", ("length", "width")), "a table of rows and inputs is needed"),
        ("a,b\n", Columns("b"), "a table of rows and inputs is needed, this has 0 rows"),
        ("a,b\n1,x\n,y\n", Columns("b"), "column 'a' is empty in row 1"),
        ("a,b\n1,x\ninf,y\n", Columns("b"), "column 'a' is inf in row 1"),
        ("a,b\n1,x\n2,\n", Columns("b"), "row 1 has no class in column 'b'"),
        ("a,b\n1,x\n2 m,y\n", Columns("b"), "column 'a' holds '2 m' in row 1.*--drop 'a'"),
        (",a,b\n0,1,x\n1,2,y\n", Columns("b"), "column 0 has no name.*--drop 'Unnamed: 0'"),
        ("a,b\n1,x\n2,y,3,4\n", Columns("b"), "Expected 2 fields"),
    ],
)
def test_what_a_table_lacks_is_named(path: Path, text: str, columns: Columns, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_table(path, "csv", columns)


def test_what_is_no_text_is_no_table(path: Path) -> None:
    path.write_bytes(b"\x93\xff")
    with pytest.raises(ValueError, match="not a table, nor any other file of rows"):
        read_table(path, "csv", Columns("a"))


def test_a_nameless_column_can_be_left_out(path: Path) -> None:
    path.write_text(",a,b\n0,1,x\n1,2,y\n")
    table = read_table(path, "csv", Columns("b", ("Unnamed: 0",)))
    assert (table.X.tolist(), table.features) == ([[1], [2]], ("a",))


@each(
    ("text", "columns", "want"),
    [
        ("b,c,a\n1,x,2\n3,y,4\n", Columns(inputs=("a", "b")), [[2, 1], [4, 3]]),  # by name
        ("b,c,a\n1,x,2\n3,y,4\n", Columns("c", ("id",), inputs=("a", "b")), [[2, 1], [4, 3]]),
        (",a,b\n0,1,2\n1,3,4\n", Columns(inputs=("a", "b")), [[1, 2], [3, 4]]),
        ("1,2\n3,4\n", Columns(inputs=("a", "b")), [[1, 2], [3, 4]]),  # there are no names
        ("1,2\n1,2\n3,4\n", Columns(header=True), [[1, 2], [3, 4]]),
        ("u,v\n1,2\n", Columns(inputs=("a", "b")), "the model's 2 inputs, a, b not among u, v"),
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
        only_column(path, "csv", header=None)
    path.write_text("kind\noak\nash\n")
    assert only_column(path, "csv", header=None).tolist() == ["oak", "ash"]
    path.write_text("3\n1\n")
    assert only_column(path, "csv", header=None).tolist() == [3, 1]
    path.write_text("oak\nash\n")
    assert only_column(path, "csv", header=False).tolist() == ["oak", "ash"]


def test_of_many_names_the_first_are_said(path: Path) -> None:
    path.write_text(",".join(f"c{n}" for n in range(20)) + "\n" + ",".join("1" * 20) + "\n")
    with pytest.raises(ValueError, match=r"among c0, .*, c11 and 8 more$"):
        read_table(path, "csv", Columns("kind"))
