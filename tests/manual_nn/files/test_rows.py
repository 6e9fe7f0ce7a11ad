"""Rows are read from files of every format, by what is in the file and not by its name."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn.files.parameters import save_params
from manual_nn.files.rows import format_of, read_inputs, read_rows
from manual_nn.files.tables import Columns
from tests.support.cases import each
from tests.support.idx import idx_bytes

X = np.arange(24, dtype=np.uint8).reshape(4, 6)
IMAGES = X.reshape(4, 2, 3)
Y = np.array([0, 1, 0, 1], np.uint8)


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    return tmp_path / "rows"


def save(path: Path, array: npt.NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def save_npz(path: Path, *, compressed: bool = False, **arrays: Any) -> None:
    with path.open("wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)


def test_the_format_is_told_by_the_content(path: Path) -> None:
    contents = {
        "idx": idx_bytes(X),
        "idx.gz": gzip.compress(idx_bytes(X)),
        "csv": b"a,b\n1,2\n",
        "csv.gz": gzip.compress("a,b\n1,2\n".encode("utf-16")),
        "parquet": b"PAR1 and so on",
        "npz": b"PK\x03\x04 and so on",
        "npy": b"\x93NUMPY and so on",
    }
    for kind, content in contents.items():
        path.write_bytes(content)
        assert format_of(path) == kind


@each(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "neither IDX, npy, npz, CSV nor Parquet, it begins with b",
        ),
        (gzip.compress(b"PK\x03\x04"), "neither IDX"),
        (gzip.compress(b"a,b\n")[:-9], "the gzip file is damaged"),
        (b"\x1f\x8b", "the gzip file is damaged"),
    ],
)
def test_what_has_none_of_the_formats_is_named(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"rows: {reason}"):
        format_of(path)


@pytest.mark.parametrize("array", [X, IMAGES, X.astype(float)], ids=["rows", "images", "floats"])
@pytest.mark.parametrize("kind", ["npy", "npz", "idx"])
def test_rows_and_their_classes_may_be_in_two_files(
    path: Path, kind: str, array: npt.NDArray[Any]
) -> None:
    labels = path.with_name("labels")
    save(labels, Y)
    if kind == "npy":
        save(path, array)
    elif kind == "npz":
        save_npz(path, any_name=array)
    else:
        array = array.astype(np.uint8)
        path.write_bytes(idx_bytes(array))
        labels.write_bytes(idx_bytes(Y))
    inputs, found, for_test = read_rows(path, labels, Columns())
    assert inputs.X.dtype == array.dtype
    assert np.array_equal(inputs.X, X)
    assert inputs.image_shape == (array.shape[1:] if array.ndim > 2 else None)
    assert (found.tolist(), for_test) == (Y.tolist(), 0)


@pytest.mark.parametrize("names", [("X", "y"), ("images", "labels"), ("Data", "Target")])
@pytest.mark.parametrize("compressed", [False, True])
def test_both_may_be_in_one_npz_file(
    path: Path, names: tuple[str, str], *, compressed: bool
) -> None:
    save_npz(path, compressed=compressed, **dict(zip(names, (X, Y), strict=True)), more=X)
    inputs, found, for_test = read_rows(path, None, Columns())
    assert np.array_equal(inputs.X, X)
    assert (found.tolist(), for_test) == (Y.tolist(), 0)


def test_an_npz_file_may_keep_rows_apart_to_test_with(path: Path) -> None:
    save_npz(path, x_train=IMAGES[:3], y_train=Y[:3], x_test=IMAGES[3:], y_test=Y[3:])
    inputs, found, for_test = read_rows(path, None, Columns())
    assert np.array_equal(inputs.X, X)
    assert inputs.image_shape == (2, 3)
    assert (found.tolist(), for_test) == (Y.tolist(), 1)


def test_strings_may_be_classes(path: Path) -> None:
    for labels in (np.array(["a", "b", "a", "b"]), np.array([b"a", b"b", b"a", b"b"])):
        save_npz(path, X=X, y=labels)
        assert read_rows(path, None, Columns()).labels.tolist() == ["a", "b", "a", "b"]


def test_a_table_may_have_its_classes_inside_or_in_another_file(path: Path) -> None:
    labels = path.with_name("labels")
    path.write_text("a,b\n1,2\n3,4\n")
    labels.write_text("kind\noak\nash\n")
    rows = read_rows(path, labels, Columns())
    assert (rows.inputs.X.tolist(), rows.inputs.features) == ([[1, 2], [3, 4]], ("a", "b"))
    assert rows.labels.tolist() == ["oak", "ash"]
    rows = read_rows(path, None, Columns("b"))
    assert (rows.inputs.X.tolist(), rows.labels.tolist()) == ([[1], [3]], ["2", "4"])
    with pytest.raises(ValueError, match=r"rows: choose the column of the classes .* a, b"):
        read_rows(path, None, Columns())
    with pytest.raises(ValueError, match="rows: the classes are in another file"):
        read_rows(path, labels, Columns("b"))


@each(
    ("arrays", "reason"),
    [
        ({"u": X, "v": Y}, "it holds u, v; rows and classes are called x and y, images and labels"),
        ({"X": X, "y": Y[1:]}, r"classes must have shape \(4,\), one for each row, got \(3,\)"),
        ({"X": X, "y": np.eye(4)}, r"classes must have shape \(4,\), .* got \(4, 4\)"),
        ({"X": X, "y": Y * 1j}, "classes must be numbers or strings, got dtype complex128"),
        ({"X": X * 1j, "y": Y}, "inputs must be real numbers, got dtype complex128"),
        ({"X": X[:, 0], "y": Y}, r"an array of shape \(N, D\), or of images, .* got \(4,\)"),
        ({"X": X[:, :0], "y": Y}, r".* is needed, got \(4, 0\)"),
        (
            {"X": np.where(X == 13, np.nan, X), "y": Y},
            "inputs must be finite numbers, one in row 2 is not",
        ),
        ({"X": X, "y": Y.astype(object)}, "array 'y.npy': .* it holds Python objects"),
    ],
)
def test_what_an_npz_file_lacks_is_named(path: Path, arrays: dict[str, Any], reason: str) -> None:
    save_npz(path, **arrays)
    with pytest.raises(ValueError, match=f"rows: {reason}"):
        read_rows(path, None, Columns())


def test_what_cannot_be_read_as_rows_is_named(path: Path) -> None:
    save(path, X)
    with pytest.raises(ValueError, match="rows: it holds no classes: give the file that does"):
        read_rows(path, None, Columns())
    with pytest.raises(ValueError, match=r"rows: --target and --drop choose columns .* is npy"):
        read_rows(path, None, Columns("a"))
    with pytest.raises(ValueError, match=r"rows: --target and --drop choose columns .* is npy"):
        read_inputs(path, D=6, drop=("a",))
    save_npz(path, X=X, y=Y)
    with pytest.raises(ValueError, match="rows: it must hold one array, it holds X, y"):
        read_rows(path, path, Columns())
    params = manual_nn.init_params([2, 2], rng=np.random.default_rng(0))
    save_params(path, params)
    with pytest.raises(ValueError, match=r"rows: .*it holds a network, not rows"):
        read_rows(path, None, Columns())
    save_npz(path, X=X, y=Y)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99  # a version that zipfile does not know
    path.write_bytes(content)
    with pytest.raises(ValueError, match="rows: not an npz file, or a damaged one"):
        read_rows(path, None, Columns())
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match="rows: not an npz file, or a damaged one"):
        read_rows(path, None, Columns())
    labels = path.with_name("labels")
    save(path, X)
    save(labels, Y[1:])
    with pytest.raises(ValueError, match="labels: classes must have shape"):
        read_rows(path, labels, Columns())


def test_a_gzipped_file_that_ends_too_soon_is_named(path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 1000, (4000, 2))
    text = "\n".join(["a,b", *(f"{a},{b}" for a, b in numbers)])
    content = gzip.compress(text.encode())
    path.write_bytes(content[: len(content) // 2])  # of which the beginning can be read
    assert format_of(path) == "csv.gz"
    with pytest.raises(ValueError, match="rows: the gzip file is damaged: "):
        read_rows(path, None, Columns("b"))


def test_a_network_is_given_what_fits_it(path: Path) -> None:
    for array in (X, IMAGES):
        save(path, array)
        inputs = read_inputs(path, D=6, image_shape=(2, 3))
        assert np.array_equal(inputs.X, X)
    save_npz(path, X=IMAGES, y=Y)  # as it was trained on
    assert np.array_equal(read_inputs(path, D=6, image_shape=(2, 3)).X, X)
    save_npz(path, x_train=X[:3], y_train=Y[:3], x_test=X[3:], y_test=Y[3:])
    assert np.array_equal(read_inputs(path, D=6).X, X)
    save_npz(path, u=X, v=Y)
    with pytest.raises(ValueError, match="rows: it holds u, v; rows and classes are called x and"):
        read_inputs(path, D=6)
    save(path, IMAGES)
    with pytest.raises(ValueError, match=r"rows: .* of shape \(N, 6\), got \(4, 2, 3\)"):
        read_inputs(path, D=6)
    with pytest.raises(ValueError, match=r"of shape \(N, 6\) or \(N, 3, 2\), got \(4, 2, 3\)"):
        read_inputs(path, D=6, image_shape=(3, 2))
    path.write_text("a,c,b\n1,2,3\n")
    assert read_inputs(path, D=2, features=("b", "a")).X.tolist() == [[3, 1]]
    with pytest.raises(ValueError, match=r"rows: the model takes 2 columns, got 3; .* --drop"):
        read_inputs(path, D=2)
    with pytest.raises(ValueError, match=r"rows: the model takes 4 columns, got 3$"):
        read_inputs(path, D=4)
    assert read_inputs(path, D=2, drop=("c",)).X.tolist() == [[1, 3]]
    with pytest.raises(
        ValueError, match="rows: of the model's 2 inputs the table lacks x, y; it has a, c, b"
    ):
        read_inputs(path, D=2, features=("x", "y"))
