"""Trained parameters in a file: what goes in comes out, and damage is named."""

import io
import itertools
import json
import os
import re
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
from manual_nn.files import parameters
from manual_nn.files.parameters import (
    draft_of,
    load_params,
    load_params_and_beside,
    read_npy,
    read_npz,
    remove_drafts,
    replacing,
    save_params,
    save_params_and_beside,
)
from manual_nn.layers.dense import Params

SIZES = (6, 5, 3)
METADATA = {"data": "digits", "pixel_scale": 16, "image_shape": [2, 3]}


def some_params(sizes: tuple[int, ...] = SIZES, dtype: npt.DTypeLike = np.float32) -> Params:
    return manual_nn.init_params(sizes, rng=np.random.default_rng(0), dtype=dtype)


def assert_same(params: Params, others: Params) -> None:
    for layer, other in zip(params, others, strict=True):
        for leaf, other_leaf in zip(layer, other, strict=True):
            assert leaf.dtype == other_leaf.dtype
            assert np.array_equal(leaf, other_leaf)


def saved_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.npz"
    save_params(path, some_params(), **METADATA)
    return path


@pytest.mark.parametrize("sizes", [(4, 3), (4, 5, 3), (4, 1, 7, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_saved_is_loaded(
    tmp_path: Path, sizes: tuple[int, ...], dtype: npt.DTypeLike
) -> None:
    params = some_params(sizes, dtype)
    save_params(tmp_path / "any name", params, **METADATA)
    loaded, metadata = load_params(tmp_path / "any name")
    assert_same(loaded, params)
    assert metadata == METADATA | {
        "format_version": 1,
        "sizes": list(sizes),
        "dtype": str(np.dtype(dtype)),
    }


def test_the_file_is_plain_npz_with_json(path: Path) -> None:
    arrays = saved_arrays(path)
    assert list(arrays) == ["metadata", "weight_1", "bias_1", "weight_2", "bias_2"]
    assert json.loads(str(arrays["metadata"]))["sizes"] == list(SIZES)


def test_loading_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        load_params(tmp_path / "nothing.npz")


def test_a_failed_write_leaves_the_old_file_and_no_draft(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half of i", None])  # type: ignore[list-item]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    path.mkdir()
    with pytest.raises(OSError, match=r"model\.npz") as error:
        save_params(path, some_params())
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_another_file_is_not_renamed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, replacing(tmp_path / "copy") as file:
        file.write((tmp_path / "source").read_bytes())
    assert error.value.filename == str(tmp_path / "source")


@pytest.mark.parametrize("error", [OSError("no number"), OSError()])
def test_an_error_without_a_number_is_passed_on_as_it_is(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError) as caught, replacing(tmp_path / "model.npz"):  # noqa: PT011, any
        raise error
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_the_content_and_then_the_name_are_on_the_disk_when_the_file_is_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def spy(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, path.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    old = path.read_bytes()
    with replacing(path) as file:
        file.write(b"new")
    assert synced == [(path.stat().st_ino, old), (path.parent.stat().st_ino, b"new")]


def test_of_drafts_only_those_of_the_path_are_removed(path: Path) -> None:
    others = [path, path.with_name("model.npz.tmp"), draft_of(path.with_name("other.npz"), 17)]
    for file in (*others[1:], draft_of(path, 1), draft_of(path, 12345)):
        file.write_bytes(b"half of i")
    remove_drafts(path)
    assert sorted(path.parent.iterdir()) == sorted(others)


def test_a_draft_that_its_process_has_just_removed_is_none_to_remove(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([draft_of(path, 1)]))
    remove_drafts(path)


def test_metadata_that_json_cannot_hold_is_refused_before_writing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_params(path, some_params(), data=object())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an npz file"),
        (b"not a zip file at all", "not an npz file"),
        (b"PK\x03\x04" + bytes(100), "not an npz file"),
        (b"\x80\x04\x95\x00.", "not an npz file"),  # a pickle
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "model.npz").write_bytes(content)
    with pytest.raises(ValueError, match=f"model.npz: {reason}"):
        load_params(tmp_path / "model.npz")


def described(**changes: object) -> npt.NDArray[Any]:
    description = METADATA | {"format_version": 1, "sizes": list(SIZES), "dtype": "float32"}
    return np.array(json.dumps(description | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metadata": None}, "there is no array 'metadata'"),
        ({"weight_2": None}, "there is no array 'weight_2'"),
        ({"bias_1": None}, "there is no array 'bias_1'"),
        ({"metadata": np.array("{")}, "Expecting"),
        ({"metadata": np.array("[1]")}, "not a JSON object"),
        ({"metadata": np.array(b"{}")}, "not a string"),
        ({"metadata": np.array(["{}"])}, "not a string"),
        ({"metadata": described(format_version=2)}, "format version is 2.*knows 1"),
        ({"metadata": described(format_version="1")}, "format version must be a number"),
        ({"metadata": described(format_version=0)}, "format version must be a number"),
        ({"metadata": described(format_version=True)}, "format version must be a number"),
        ({"metadata": described(sizes=None)}, "sizes must be a list"),
        ({"metadata": described(sizes=[6])}, "sizes must be a list"),
        ({"metadata": described(sizes=[6, 3])}, r"says sizes \[6, 3\], the layers have \[6, 5\]"),
        ({"metadata": described(sizes=[6, 4, 3])}, r"layers have \[6, 5, 3\]"),
        ({"metadata": described(dtype="float64")}, "says dtype float64, the layers are float32"),
        ({"weight_2": np.zeros((4, 3), np.float32)}, "must have 5 rows"),
        ({"bias_2": np.zeros(4, np.float32)}, r"must have shape \(3,\)"),
        ({"bias_2": np.zeros(3, np.float64)}, "must be float32"),
        ({"weight_1": np.zeros((6, 5), ">f4")}, "float32 or float64"),
        ({"weight_1": np.zeros(30, np.float32)}, "must have 2 axes"),
    ],
)
def test_content_that_does_not_fit_is_named(
    path: Path, changes: dict[str, npt.NDArray[Any] | None], reason: str
) -> None:
    changed = saved_arrays(path) | changes
    arrays: dict[str, Any] = {name: array for name, array in changed.items() if array is not None}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=f"model.npz: .*{reason}"):
        load_params(path)


def test_objects_are_never_unpickled(path: Path) -> None:
    arrays = saved_arrays(path) | {"weight_1": np.array([print], dtype=object)}
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=r"model.npz: array 'weight_1.npy': .*Python objects"):
        load_params(path)


def npy_claiming(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(8)


def test_a_false_shape_takes_no_memory(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.npy", npy_claiming((1 << 20, 1 << 12)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"model.npz: array 'metadata.npy': .*reshape"):
        load_params(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_compressed_is_refused_before_it_takes_memory(path: Path, compression: int) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.npy", bytes(1 << 24))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"model.npz: .*an array is compressed"):
        load_params(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    if compression != zipfile.ZIP_DEFLATED:
        with pytest.raises(ValueError, match="an array is compressed other than by deflate"):
            read_npz(path.read_bytes(), packed=True)


def test_arrays_that_lie_in_the_same_place_are_refused_before_they_take_memory(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.npy", bytes(1 << 20))
        archive.filelist *= 100
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"model.npz: .*claim to be larger than the file"):
        load_params(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 << 20


def test_arrays_of_no_more_bytes_than_the_file_are_read() -> None:
    members = [zipfile.ZipInfo("weight_1.npy"), zipfile.ZipInfo("bias_1.npy")]
    members[0].file_size, members[1].file_size = 700, 300
    parameters._check_members(members, 1000, packed=False)
    with pytest.raises(ValueError, match="claim to be larger than the file"):
        parameters._check_members(members, 999, packed=False)
    members[0].compress_type, members[0].file_size = zipfile.ZIP_DEFLATED, 1032 * 700
    parameters._check_members(members, 1000, packed=True)
    with pytest.raises(ValueError, match="claim to be larger than the file"):
        parameters._check_members(members, 999, packed=True)


def test_metadata_nested_too_deep_are_refused(path: Path) -> None:
    arrays = saved_arrays(path) | {"metadata": np.array("[" * 100_000)}
    np.savez(path, **arrays)  # type: ignore[arg-type] # NumPy's own stubs
    with pytest.raises(ValueError, match=r"model.npz: the metadata is nested too deep"):
        load_params(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_an_npy_file_is_read_in_either_order(shape: tuple[int, ...], order: Any) -> None:
    array = np.asarray(np.arange(float(np.prod(shape))).reshape(shape), order=order)
    file = io.BytesIO()
    np.save(file, array)
    read = read_npy(file.getvalue())
    assert read.shape == shape
    assert np.array_equal(read, array)


def test_an_npy_file_with_a_long_header_is_read() -> None:
    file, array = io.BytesIO(), np.arange(6.0).reshape(2, 3)
    header = {"descr": "<f8", "fortran_order": False, "shape": (2, 3)}
    np.lib.format.write_array_header_2_0(file, header)
    file.write(array.tobytes())
    assert np.array_equal(read_npy(file.getvalue()), array)


@pytest.mark.parametrize(
    "content",
    [b"", b"no npy file", npy_claiming((2,))[:20], b"\x93NUMPY\x03\x00" + npy_claiming((2,))[8:]],
    ids=["empty", "text", "cut off", "version 3"],
)
def test_what_is_no_npy_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an npy array, or a damaged one: "):
        read_npy(content)


@pytest.mark.parametrize("shape", [(-1, 2), (-2, -1), (2, -1)])
def test_an_npy_file_of_a_negative_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"it claims the shape {shape}")):
        read_npy(npy_claiming(shape))


def test_what_is_saved_beside_the_parameters_is_loaded_by_its_name(path: Path) -> None:
    params = some_params()
    beside = {
        name: tuple(layer._replace(weight=factor * layer.weight) for layer in params)
        for name, factor in (("b", 2), ("a", 3))
    }
    save_params_and_beside(path, params, beside, **METADATA)
    loaded, metadata, others = load_params_and_beside(path)
    assert_same(loaded, params)
    assert list(others) == metadata["beside"] == ["b", "a"]
    for name, layers in others.items():
        assert_same(layers, beside[name])
    assert {key: metadata[key] for key in METADATA} == METADATA
    assert_same(load_params(path)[0], params)


def test_without_anything_beside_the_file_says_nothing_of_it(path: Path) -> None:
    assert load_params_and_beside(path)[2] == {}
    assert "beside" not in load_params(path)[1]


@pytest.mark.parametrize("others", [some_params((6, 5)), some_params(dtype=np.float64)])
def test_what_is_not_like_the_parameters_is_not_saved_beside_them(
    path: Path, others: Params
) -> None:
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError), match=r"^moment\b.* must "):
        save_params_and_beside(path, some_params(), {"moment": others})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        ("a", "must be a list of names, got 'a'"),
        ([3], r"must be a list of names, got \[3\]"),
        (["a"], "there is no array 'a_weight_1'"),
    ],
)
def test_what_is_said_to_be_beside_the_parameters_must_be_there(
    path: Path, beside: object, reason: str
) -> None:
    save_params(path, some_params(), beside=beside)
    with pytest.raises(ValueError, match=rf"model\.npz: .*{reason}"):
        load_params(path)


@pytest.mark.long
def test_every_truncation_is_found(path: Path) -> None:
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.npz: "):
            load_params(path)


@given(data=st.data())
def test_a_changed_byte_is_found_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("changed") / "model.npz"
    params = some_params((2, 1, 2))
    save_params(path, params, **METADATA)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1), label="place")
    content[place] ^= data.draw(st.integers(1, 255), label="change")
    path.write_bytes(content)
    try:
        loaded, metadata = load_params(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017, it may also be harmless
    else:
        assert_same(loaded, params)
        assert {key: metadata[key] for key in METADATA} == METADATA


def test_flat_names_follow_the_layers(tmp_path: Path) -> None:
    sizes = (3, 2, 4, 2)
    save_params(tmp_path / "model.npz", some_params(sizes))
    arrays = saved_arrays(tmp_path / "model.npz")
    for l, shape in enumerate(itertools.pairwise(sizes), start=1):
        assert arrays[f"weight_{l}"].shape == shape
        assert arrays[f"bias_{l}"].shape == shape[1:]
