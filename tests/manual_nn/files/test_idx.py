"""IDX files: what is read is what is there, and every damage is named."""

import gzip
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_nn.files import idx
from manual_nn.files.idx import GZIP_MOST, read_idx
from tests.support.cases import each
from tests.support.idx import idx_bytes, idx_claiming

Bytes = npt.NDArray[np.uint8]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10

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


@each("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_elements_of_every_type_are_read(tmp_path: Path, dtype: str) -> None:
    array = np.array([[-3, 0, 100], [7, -128, 127]], dtype)
    (tmp_path / "numbers").write_bytes(idx_bytes(array))
    read = read_idx(tmp_path / "numbers")
    assert read.dtype == np.dtype(dtype)  # in the machine's order of bytes
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
        (idx_claiming(1, content=b"123", element_type=0x0C), "4 bytes.*truncated after 3"),
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
        idx._read_idx(file, Path("digits"), 1000)
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
