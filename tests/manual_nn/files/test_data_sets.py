"""Data sets: what is read is what is there, and every damage is named."""

import gzip
import http.client
import io
import socket
import struct
import sys
import tracemalloc
import urllib.error
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_nn.files import data_sets
from manual_nn.files.data_sets import GZIP_MOST, load_digits, load_mnist, read_idx, split_validation
from tests.support.cases import each

Bytes = npt.NDArray[np.uint8]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10
STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def idx_bytes(array: Bytes) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def idx_claiming(*shape: int, content: bytes = b"", element_type: int = 8) -> bytes:
    header = bytes([0, 0, element_type, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + content


def write_mnist(folder: Path, *, mark: str = "-", zipped: bool = False) -> None:
    for stem in STEMS:
        images = stem.endswith("images")
        content = idx_bytes(IMAGES if images else LABELS)
        name = f"{stem}{mark}idx{3 if images else 1}-ubyte"
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


arrays_of_bytes = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))


@given(array=arrays_of_bytes, zipped=st.booleans(), named_gz=st.booleans())
@example(array=np.zeros(1, np.uint8), zipped=False, named_gz=True)
@example(array=np.zeros((1,) * 64, np.uint8), zipped=False, named_gz=False)
def test_what_is_written_is_read_whatever_the_name(
    tmp_path_factory: pytest.TempPathFactory,
    array: Bytes,
    *,
    zipped: bool,
    named_gz: bool,
) -> None:
    path = tmp_path_factory.mktemp("idx") / ("digits.gz" if named_gz else "digits")
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    assert np.array_equal(read, array)


def test_an_array_of_several_chunks_is_read(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 1 << 19), dtype=np.uint8)
    (tmp_path / "large").write_bytes(idx_bytes(array))
    assert np.array_equal(read_idx(tmp_path / "large"), array)


@given(array=arrays_of_bytes, data=st.data())
def test_a_changed_plain_file_is_refused_or_read_as_it_stands(
    tmp_path_factory: pytest.TempPathFactory, array: Bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("idx") / "digits"
    content = bytearray(idx_bytes(array))
    for _ in range(data.draw(st.integers(1, 3), label="changes")):
        content[data.draw(st.integers(0, len(content) - 1), label="place")] = data.draw(
            st.integers(0, 255), label="byte"
        )
    path.write_bytes(content)
    try:
        read = read_idx(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017, it may also be harmless
    else:
        assert idx_bytes(read) == content


@given(array=arrays_of_bytes, data=st.data())
def test_a_changed_gzip_file_is_refused_or_read_right(
    tmp_path_factory: pytest.TempPathFactory, array: Bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("idx") / "digits.gz"
    content = bytearray(gzip.compress(idx_bytes(array)))
    place = data.draw(st.integers(0, len(content) - 1), label="place")
    content[place] ^= data.draw(st.integers(1, 255), label="change")
    path.write_bytes(content)
    try:
        read = read_idx(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017, it may also be harmless
    else:
        assert np.array_equal(read, array)


@pytest.mark.parametrize("zipped", [False, True])
def test_every_truncation_is_found(tmp_path: Path, *, zipped: bool) -> None:
    content = idx_bytes(IMAGES[:2, :5, :3].copy())
    content = gzip.compress(content) if zipped else content
    path = tmp_path / "digits"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="digits: "):
            read_idx(path)


@each(
    ("content", "reason"),
    [
        (b"", "not an IDX file, it begins with b''"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\x89PNG\r\n\x1a\n", "not an IDX file, it begins with b'.x89PNG'"),
        (idx_bytes(LABELS)[::-1], "not an IDX file"),
        (struct.pack("<I", 0x803) + idx_bytes(IMAGES)[4:], "not an IDX file"),
        (idx_claiming(1, content=b"1", element_type=0x07), "unknown type 0x7"),
        (idx_claiming(1, content=b"1", element_type=0x09), "has signed bytes"),
        (idx_claiming(1, content=b"12", element_type=0x0B), "16-bit integers"),
        (idx_claiming(1, content=b"1234", element_type=0x0C), "32-bit integers"),
        (idx_claiming(1, content=b"1234", element_type=0x0D), "32-bit floats"),
        (idx_claiming(1, content=bytes(8), element_type=0x0E), "64-bit floats"),
        (idx_claiming(content=b"1"), "announces 0 axes"),
        (idx_claiming(*(1,) * 65, content=b"1"), "announces 65 axes"),
        (idx_claiming(2, 3)[:-1], "truncated within the IDX header"),
        (idx_claiming(2, 0, 3), "no elements"),
        (idx_claiming(2, 3, content=bytes(5)), "announces 6 bytes.*truncated after 5"),
        (idx_claiming(2, 3, content=bytes(7)), "announces 6 bytes.*more"),
        (gzip.compress(idx_claiming(2, 3, content=bytes(5))), "truncated after 5"),
        (gzip.compress(idx_claiming(2, 3, content=bytes(7))), "more"),
        (gzip.compress(b"text"), "not an IDX file"),
        (gzip.compress(gzip.compress(idx_bytes(LABELS))), "not an IDX file"),
        (b"\x1f\x8bnothing that is gzipped", "gzip file is damaged"),
        (gzip.compress(idx_bytes(LABELS))[:-9], "gzip file is damaged"),
        (gzip.compress(b"")[:10] + bytes([0x07]), "gzip file is damaged: .*invalid block type"),
        (gzip.compress(idx_bytes(LABELS))[:-8] + bytes(8), "gzip file is damaged: CRC"),
        (gzip.compress(idx_bytes(LABELS)) + b"trailing", "gzip file is damaged"),
    ],
)
def test_a_damaged_file_is_named_with_its_damage(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "digits.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"digits\.gz: .*{reason}"):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(2**32 - 1,), (2**31, 2**31, 2**31), (60_000, 28, 28)])
def test_a_false_header_takes_no_memory(
    tmp_path: Path, shape: tuple[int, ...], *, zipped: bool
) -> None:
    content = idx_claiming(*shape, content=bytes(100))
    path = tmp_path / "digits"
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"announces .*; truncated, for a file of this size holds"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20  # not even a chunk, where the least of the headers announces 45 MiB


def test_a_plain_file_may_hold_no_more_than_its_size(tmp_path: Path) -> None:
    path = tmp_path / "digits"
    path.write_bytes(idx_claiming(20, content=bytes(12)))  # 20 bytes with its header
    with pytest.raises(ValueError, match=r"announces 20 bytes.*; truncated after 12"):
        read_idx(path)
    path.write_bytes(idx_claiming(21, content=bytes(12)))
    with pytest.raises(
        ValueError, match=r"announces 21 bytes.*a file of this size holds at most 20"
    ):
        read_idx(path)


@pytest.mark.parametrize("more", [0, 1])
def test_a_byte_unzips_to_1032_at_most(tmp_path: Path, more: int) -> None:
    # Deflate's longest match, 258 bytes, with codes of one bit for its length and its distance.
    path, size = tmp_path / "digits.gz", 100
    content = gzip.compress(idx_claiming(258 * 4 * size + more))
    path.write_bytes(content + gzip.compress(b"")[: size - len(content)])
    assert path.stat().st_size <= size
    path.write_bytes(content.ljust(size, b"\0"))  # zeros may follow a gzip file
    found = "truncated, for a file of this size" if more else "truncated after 0"
    with pytest.raises(ValueError, match=f"announces {103200 + more} bytes.*; {found}"):
        read_idx(path)


def test_a_byte_more_than_is_announced_is_read_and_no_more() -> None:
    file = io.BytesIO(idx_claiming(3, content=bytes(10)))
    with pytest.raises(ValueError, match=r"announces 3 bytes.*; more"):
        data_sets._read_idx(file, Path("digits"), 1000)
    assert file.tell() == 8 + 3 + 1


def test_what_is_zipped_as_far_as_it_can_be_is_read(tmp_path: Path) -> None:
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(idx_claiming(16 << 20, content=bytes(16 << 20))))
    assert 1000 < (16 << 20) / path.stat().st_size < GZIP_MOST
    assert not read_idx(path).any()


def test_a_zipped_flood_is_cut_off_at_what_the_header_announces(tmp_path: Path) -> None:
    path = tmp_path / "digits.gz"
    path.write_bytes(gzip.compress(idx_claiming(10, content=bytes(64 << 20))))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more"):
        read_idx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_are_all_there(dtype: npt.DTypeLike) -> None:
    digits = load_digits(dtype=dtype)
    assert digits.X_train.shape == (1437, 64)
    assert digits.X_test.shape == (360, 64)
    assert digits.X_train.dtype == digits.X_test.dtype == dtype
    everything = np.concatenate([digits.X_train, digits.X_test])
    assert (everything.min(), everything.max()) == (0, 1)
    assert np.array_equal(everything * digits.pixel_scale, np.rint(everything * 16))
    assert np.prod(digits.image_shape) == 64
    # scikit-learn documents how many there are of each class; the split keeps the proportion.
    counts = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    test_counts = np.bincount(digits.y_test)
    assert np.array_equal(np.bincount(digits.y_train) + test_counts, counts)
    assert np.abs(test_counts - counts * 360 / 1797).max() < 1


def test_digits_are_split_as_they_have_always_been() -> None:
    digits = load_digits(dtype=np.float32)
    assert digits.y_train[:12].tolist() == [3, 9, 1, 3, 1, 9, 4, 4, 2, 8, 3, 5]
    assert digits.y_test[:12].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3, 2, 6]


def test_digits_are_split_the_same_way_each_time() -> None:
    one, other = load_digits(dtype=np.float32), load_digits(dtype=np.float64)
    assert np.array_equal(one.X_test, other.X_test)
    assert np.array_equal(one.y_train, other.y_train)


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mnist_is_read_from_a_folder(
    tmp_path: Path, mark: str, dtype: npt.DTypeLike, *, zipped: bool
) -> None:
    write_mnist(tmp_path, mark=mark, zipped=zipped)
    mnist = load_mnist(tmp_path, dtype=dtype)
    assert (mnist.name, mnist.pixel_scale, mnist.image_shape) == ("mnist", 256, (28, 28))
    for X, y in ((mnist.X_train, mnist.y_train), (mnist.X_test, mnist.y_test)):
        assert X.dtype == dtype
        assert np.array_equal(X * 256, IMAGES.reshape(12, 784))
        assert np.array_equal(y, LABELS)


@pytest.mark.parametrize(
    ("stem", "content", "reason"),
    [
        ("train-images", idx_bytes(LABELS), "images are expected, this holds labels"),
        ("t10k-images", idx_bytes(IMAGES[0]), r"images are expected.*shape \(28, 28\)"),
        ("train-labels", idx_bytes(IMAGES), "labels are expected, this holds images"),
        ("t10k-labels", idx_bytes(IMAGES[0]), r"labels are expected.*shape \(28, 28\)"),
        ("train-images", idx_bytes(IMAGES[:, :, 1:].copy()), "28 x 28.*got 28 x 27"),
        ("t10k-images", idx_bytes(IMAGES[:, ::2, ::2].copy()), "28 x 28.*got 14 x 14"),
        ("train-labels", idx_bytes(LABELS + np.uint8(1)), "labels are 0 to 9, label 9 is 10"),
        ("t10k-labels", idx_bytes(LABELS[1:]), "holds 12 images, but .*t10k-labels.* 11 labels"),
        ("train-images", idx_bytes(IMAGES[1:]), "holds 11 images, but .*train-labels.* 12 labels"),
        ("train-images", idx_bytes(IMAGES)[:-1], "truncated"),
        ("t10k-labels", b"text", "not an IDX file"),
    ],
)
def test_a_wrong_mnist_file_is_named(
    tmp_path: Path, stem: str, content: bytes, reason: str
) -> None:
    write_mnist(tmp_path)
    next(tmp_path.glob(f"{stem}*")).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        load_mnist(tmp_path, dtype=np.float32)
    assert f"{stem}-idx" in str(caught.value)


@pytest.mark.parametrize("stem", STEMS)
def test_a_missing_mnist_file_is_named_with_its_folder(tmp_path: Path, stem: str) -> None:
    write_mnist(tmp_path)
    next(tmp_path.glob(f"{stem}*")).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(tmp_path, dtype=np.float32)
    kind = f"idx{3 if stem.endswith('images') else 1}-ubyte"
    names = f"{stem}-{kind}, {stem}-{kind}.gz, {stem}.{kind} or {stem}.{kind}.gz"
    assert str(caught.value) == f"{tmp_path}: there is no file {names}"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        load_mnist(tmp_path / "nowhere", dtype=np.float32)


@pytest.mark.parametrize("load", [load_digits, load_mnist])
def test_whole_numbers_are_no_dtype_for_pixels(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., object]
) -> None:
    monkeypatch.setattr("sklearn.datasets.fetch_openml", openml_of(70_000))
    with pytest.raises(TypeError, match="dtype must be float32 or float64, got int64"):
        load(dtype=np.int64)


def openml_of(rows: int) -> Callable[..., tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """What fetch_openml gives, without the network: row n has pixels n % 256, class n % 10."""

    def fetch_openml(name: str, **options: object) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        assert name == "mnist_784"
        assert options == {"version": 1, "as_frame": False, "parser": "pandas", "return_X_y": True}
        numbers = np.arange(rows)
        pixels = np.broadcast_to((numbers % 256)[:, np.newaxis], (rows, 784))
        return pixels, (numbers % 10).astype(str).astype(object)

    return fetch_openml


def test_without_a_folder_mnist_comes_from_openml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sklearn.datasets.fetch_openml", openml_of(70_000))
    mnist = load_mnist(dtype=np.float32)
    assert mnist.X_train.shape == (60_000, 784)
    assert mnist.X_test.shape == (10_000, 784)
    assert np.array_equal(mnist.X_train[:, 5], np.arange(60_000) % 256 / 256)
    assert np.array_equal(mnist.X_test[:, 783], np.arange(60_000, 70_000) % 256 / 256)
    assert np.array_equal(mnist.y_train, np.arange(60_000) % 10)
    assert np.array_equal(mnist.y_test, np.arange(60_000, 70_000) % 10)


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        socket.gaierror("no name"),
        TimeoutError("too slow"),
        ValueError("md5 checksum differs"),
        http.client.IncompleteRead(b""),
    ],
)
def test_a_failed_download_asks_for_a_folder(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fetch_openml(*_: object, **__: object) -> None:
        warnings.warn("retrying", stacklevel=1)  # as scikit-learn does; an error if let through
        raise failure

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    with pytest.raises(OSError, match=r"cannot be downloaded .*give a folder"):
        load_mnist(dtype=np.float32)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y = np.zeros((4, 2)), np.zeros(4, np.int64)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for call in (
        lambda: load_digits(dtype=np.float32),
        lambda: load_mnist(dtype=np.float32),
        lambda: split_validation(X, y, rng=rng),
    ):
        with pytest.raises(ImportError, match=r"scikit-learn.*pip install 'manual-nn\[train\]'"):
            call()


def test_the_split_keeps_rows_and_labels_together() -> None:
    X = np.arange(200.0).reshape(100, 2)
    y = np.arange(100)
    parts = split_validation(X, y, rng=np.random.default_rng(0))
    X_train, y_train, X_val, y_val = parts
    assert (len(X_train), len(X_val)) == (85, 15)
    assert np.array_equal(X[y_train], X_train)
    assert np.array_equal(X[y_val], X_val)
    assert np.array_equal(np.sort(np.concatenate([y_train, y_val])), y)


def test_the_split_of_mnist_holds_out_9000() -> None:
    X, y = np.zeros((60_000, 1)), np.zeros(60_000, np.int64)
    _, y_train, _, y_val = split_validation(X, y, rng=np.random.default_rng(0))
    assert (len(y_train), len(y_val)) == (51_000, 9_000)


def test_the_split_follows_the_generator() -> None:
    X, y = np.zeros((100, 1)), np.arange(100)
    rng = np.random.default_rng(0)
    first = split_validation(X, y, rng=rng)[3]
    second = split_validation(X, y, rng=rng)[3]
    again = split_validation(X, y, rng=np.random.default_rng(0))[3]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_the_split_may_be_any_that_scikit_learn_can_make(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []

    def split(X: object, y: object, *, test_size: float, random_state: int) -> list[object]:
        assert test_size == 0.15
        seeds.append(random_state)
        return [X, X, y, y]

    monkeypatch.setattr("sklearn.model_selection.train_test_split", split)
    rng = np.random.default_rng(0)
    for _ in range(50):
        split_validation(np.zeros((2, 1)), np.zeros(2, np.int64), rng=rng)
    assert 2**31 < max(seeds) < 2**32  # which each is with a probability of 1/2


@pytest.mark.parametrize("fraction", [0, -0.1, 1, 1.5, float("nan")])
def test_a_fraction_is_between_0_and_1(fraction: float) -> None:
    X, y = np.zeros((10, 1)), np.arange(10)
    with pytest.raises(ValueError, match="fraction must be"):
        split_validation(X, y, fraction=fraction, rng=np.random.default_rng(0))


def test_one_row_cannot_be_split() -> None:
    X, y = np.zeros((1, 1)), np.arange(1)
    with pytest.raises(ValueError, match="n_samples=1"):
        split_validation(X, y, rng=np.random.default_rng(0))
