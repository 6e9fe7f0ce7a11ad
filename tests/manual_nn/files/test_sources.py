"""Data are loaded from where they are said to be, and again from where a model says they were."""

import json
from pathlib import Path

import numpy as np
import pytest

from manual_nn.files.sources import (
    Source,
    files_fingerprint,
    fingerprint,
    load_data,
    load_rows,
    source_from_json,
)
from tests.support.cases import each

X = np.arange(60.0).reshape(20, 3)
Y = np.arange(20) % 2


@pytest.fixture(name="table")
def fixture_table(tmp_path: Path) -> Path:
    path = tmp_path / "flowers.csv"
    rows = [f"{a},{b},{c},{['ash', 'oak'][y]}" for (a, b, c), y in zip(X, Y, strict=True)]
    path.write_text("\n".join(["a,b,c,kind", *rows]))
    return path


def test_a_part_of_a_file_is_held_out_for_the_test(table: Path) -> None:
    dataset = load_data(Source(str(table), target="kind"))
    assert (dataset.name, dataset.classes) == ("flowers.csv", ("ash", "oak"))
    assert dataset.features == ("a", "b", "c")
    assert dataset.image_shape is None
    assert (dataset.X_train.shape, dataset.X_test.shape) == ((16, 3), (4, 3))
    for part, y in ((dataset.X_train, dataset.y_train), (dataset.X_test, dataset.y_test)):
        places = (part[:, 0] / 3).astype(int)
        if part is dataset.X_test:
            assert dataset.test_rows is not None
            assert np.array_equal(places, dataset.test_rows)
        assert np.array_equal(part, X[places])
        assert np.array_equal(y, Y[places])
    half = load_data(Source(str(table), target="kind", test_fraction=0.5))
    assert len(half.X_test) == 10
    assert len(load_data(Source(str(table), target="kind", test_fraction=0.0)).X_test) == 0


def test_rows_that_a_file_keeps_for_the_test_are_those(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, x_train=X[:15], y_train=Y[:15], x_test=X[15:], y_test=Y[15:])
    dataset = load_data(Source(str(path)))
    assert np.array_equal(dataset.X_train, X[:15])
    assert np.array_equal(dataset.X_test, X[15:])
    assert np.array_equal(dataset.y_train, Y[:15])
    assert np.array_equal(dataset.y_test, Y[15:])
    assert dataset.test_rows is None  # they are all that there are in their array
    with pytest.raises(ValueError, match=r"rows\.npz has rows to test with and takes no --test-fr"):
        load_data(Source(str(path), test_fraction=0.5))


def test_rows_may_be_said_to_be_images(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, X=np.zeros((4, 6)), y=Y[:4])
    assert load_data(Source(str(path), image_shape=(2, 3))).image_shape == (2, 3)
    for shape in ((2, 2), (-2, -3)):  # both sides of which are no sizes, though their product is
        sides = " ".join(map(str, shape))
        with pytest.raises(ValueError, match=f"npz: --image-shape {sides} does not fit the 6 inp"):
            load_data(Source(str(path), image_shape=shape))


@each(
    ("source", "option"),
    [
        (Source("digits", data_dir="x"), "--data-dir"),
        (Source("digits", test_fraction=0.0), "--test-fraction"),
        (Source("mnist", header=False), "--header"),
        (Source("mnist", image_shape=(28, 28)), "--image-shape"),
        (Source("digits", drop=("x",)), "--drop"),
        (Source("digits", labels="x"), "--labels"),
        (Source("digits", target="x"), "--target"),
    ],
)
def test_a_data_set_that_has_a_name_takes_no_options_of_files(source: Source, option: str) -> None:
    with pytest.raises(ValueError, match=f"the data set {source.data} .*takes no {option}"):
        load_data(source)


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{__name__}.py is a file and takes no --data-dir"):
        load_data(Source(__file__, data_dir="."))
    with pytest.raises(FileNotFoundError, match=r"--data cats: there is no .* \(digits, mnist"):
        load_data(Source("cats"))
    path = tmp_path / "flowers.csv"
    path.write_text("a,b\n1,0.5\n2,1\n")
    with pytest.raises(
        ValueError, match=r"flowers\.csv: classes must be whole numbers or words, got 0.5"
    ):
        load_data(Source(str(path), target="b"))


def test_all_rows_of_a_file_are_those_to_test_a_network_with(table: Path) -> None:
    source = Source(str(table), target="kind")
    classes = ("oak", "elm", "ash")
    dataset = load_rows(source, classes, features=("c", "a"), D=2)
    assert dataset.X_train.shape == (0, 2)
    assert np.array_equal(dataset.X_test, X[:, [2, 0]])
    assert np.array_equal(dataset.y_test, np.array([2, 0])[Y])
    assert (dataset.classes, dataset.features) == (classes, ("c", "a"))
    assert load_rows(source, classes, features=None, D=3).X_test.shape == (20, 3)
    for features, D, known, reason in (
        (None, 4, classes, "the model takes 4 inputs, got 3"),
        (("a", "d"), 2, classes, "of the model's 2 inputs the table lacks d; it has a, b, c"),
        (None, 3, ("ash", "elm"), r"row 1 \(counted from 0\) is of class 'oak'"),
    ):
        with pytest.raises(ValueError, match=rf"flowers\.csv: {reason}"):
            load_rows(source, known, features=features, D=D)


def test_a_fingerprint_is_that_of_the_rows_and_of_the_classes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("rows", "labels")]
    for path in paths:
        path.write_text("a")
    source = Source(str(paths[0]), labels=str(paths[1]))
    prints = [files_fingerprint(source), files_fingerprint(source._replace(target="x"))]
    for path in paths:
        path.write_text("b")
        prints.append(files_fingerprint(source))
    assert prints[0] == prints[1]
    assert len(set(prints[1:])) == 3
    digits = load_data(Source("digits"))
    assert fingerprint(source, digits) == prints[-1]


def test_what_has_a_name_is_known_by_its_rows_wherever_they_come_from() -> None:
    digits = load_data(Source("digits"))
    known = fingerprint(Source("digits"), digits)
    assert fingerprint(Source("mnist", data_dir="x"), digits._replace(name="x")) == known
    for name in ("X_train", "y_train", "X_test", "y_test"):
        changed = digits._replace(**{name: 1 - getattr(digits, name)})
        assert fingerprint(Source("digits"), changed) != known


def test_files_are_remembered_by_their_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = Source("rows", labels="labels", target="x").absolute()
    assert whole == Source(f"{tmp_path}/rows", labels=f"{tmp_path}/labels", target="x")
    assert Source("mnist", "folder").absolute() == Source("mnist", f"{tmp_path}/folder")
    assert Source("digits").absolute() == Source("digits")


def as_json(source: Source) -> dict[str, object]:
    facts: dict[str, object] = json.loads(json.dumps(source._asdict()))
    return facts


@pytest.mark.parametrize(
    "source",
    [
        Source("digits"),
        Source("a", "b", "c", "d", ("e", "f"), header=False, image_shape=(2, 3), test_fraction=0.5),
    ],
)
def test_json_holds_a_source(source: Source) -> None:
    assert source_from_json(as_json(source)) == source


@each(
    ("changes", "reason"),
    [
        ({"data": None}, "data of the source cannot be None"),
        ({"drop": None}, "drop of the source cannot be None"),
        ({"drop": "ab"}, "drop of the source cannot be 'ab'"),
        ({"drop": [1]}, r"drop of the source cannot be \[1\]"),
        ({"header": 1}, "header of the source cannot be 1"),
        ({"image_shape": [2, "3"]}, r"image_shape of the source cannot be \[2, '3'\]"),
        ({"test_fraction": "x"}, "test_fraction of the source cannot be 'x'"),
        ({"more": 1}, "source must have data, data_dir, labels"),
    ],
)
def test_json_that_holds_none_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        source_from_json(as_json(Source("digits")) | changes)
    with pytest.raises(ValueError, match="source must have"):
        source_from_json("digits")
