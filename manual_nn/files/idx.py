"""IDX, the format of MNIST's files: the elements of an array behind a short header."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.integer[Any] | np.floating[Any]]

# The third byte of an IDX file says what its elements are; those of several bytes are big-endian.
ELEMENTS: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
NUMPY_MAX_AXES = 64
GZIP_MAGIC = b"\x1f\x8b"
# No byte unzips to more: 258 bytes may be coded in 2 bits (RFC 1951, sections 3.2.5 and 3.2.7).
GZIP_MOST = 258 * 8 // 2
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> Numbers:
    """Read an IDX file, gzipped or not: its content decides, not its name.

    An IDX file is two zero bytes, the type of the elements, the number of axes, the length of each
    axis (4 bytes, big-endian) and the elements. A header that announces more than a file of this
    size can hold is refused before any element is read. At most one byte more than it announces is
    ever read, and memory is taken only for bytes that the file has shown to be there.

    Args:
        path: the file.

    Returns:
        The elements, in the shape and of the type that the file announces: uint8, int8, int16,
        int32, float32 or float64.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged, or not an IDX file.
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if not zipped:
            return _read_idx(file, path, size)
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                return _read_idx(cast("BinaryIO", unzipped), path, GZIP_MOST * size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: the gzip file is damaged: {error}") from error


def _read_idx(file: BinaryIO, path: Path, most: int) -> Numbers:
    """Read from a file, perhaps being unzipped, that holds so many bytes at most."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        msg = f"{path}: not an IDX file, it begins with {magic!r} instead of two zero bytes"
        raise ValueError(msg)
    element_type, ndim = magic[2:]
    if element_type not in ELEMENTS:
        raise ValueError(f"{path}: the IDX header announces the unknown type {element_type:#x}")
    dtype = ELEMENTS[element_type]
    if not 1 <= ndim <= NUMPY_MAX_AXES:
        raise ValueError(f"{path}: the IDX header announces {ndim} axes")
    axes = file.read(4 * ndim)
    if len(axes) < 4 * ndim:
        raise ValueError(f"{path}: truncated within the IDX header")
    shape = struct.unpack(f">{ndim}I", axes)
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        raise ValueError(f"{path}: holds no elements, the IDX header announces shape {shape}")
    announced = f"{path}: the IDX header announces {size} bytes, shape {shape}"
    if size > most:
        raise ValueError(f"{announced}; truncated, for a file of this size holds at most {most}")
    content = _read_up_to(file, size + 1)
    if len(content) != size:
        found = "more" if len(content) > size else f"truncated after {len(content)}"
        raise ValueError(f"{announced}; {found}")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder())


def _read_up_to(file: BinaryIO, size: int) -> bytearray:
    """Read size bytes, or what there is, in chunks: a false size takes no memory."""
    content = bytearray()
    while chunk := file.read(min(CHUNK, size - len(content))):
        content += chunk
    return content
