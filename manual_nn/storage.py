"""Trained parameters in a file: NumPy's npz format, without pickle."""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from manual_nn.backprop import Dense, Params
from manual_nn.validation import as_params

FORMAT_VERSION = 1


def save_params(path: str | os.PathLike[str], params: Params, **metadata: object) -> None:
    """Write the parameters and what is to be known about them, whole or not at all.

    Args:
        path: the file, which is replaced.
        params: the layers, float32 or float64.
        **metadata: anything that JSON can hold. `format_version`, `sizes` (D, the hidden widths
            and K) and `dtype` are added.

    Raises:
        OSError: the file cannot be written.
        TypeError: a value in the metadata cannot be held by JSON.
        ValueError: the parameters do not fit each other.
    """
    params = as_params(params)
    description = {
        **metadata,
        "format_version": FORMAT_VERSION,
        "sizes": [len(params[0].weight), *(layer.bias.size for layer in params)],
        "dtype": str(params[0].weight.dtype),
    }
    arrays: dict[str, npt.NDArray[Any]] = {"metadata": np.array(json.dumps(description))}
    for name, array in zip(_names(len(params)), _flat(params), strict=True):
        arrays[name] = array
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_params(path: str | os.PathLike[str]) -> tuple[Params, dict[str, Any]]:
    """Read what `save_params` has written.

    Args:
        path: the file.

    Returns:
        The parameters and the metadata.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file is damaged, or was not written by `save_params`.
    """
    content = Path(path).read_bytes()
    try:
        arrays = _read_npz(content)
        metadata = _read_metadata(arrays)
        names = _names(len(metadata["sizes"]) - 1)
        flat = [_take(arrays, name) for name in names]
        params = as_params([Dense(*flat[i : i + 2]) for i in range(0, len(flat), 2)])
        _check_description(params, metadata)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    return params, metadata


def read_npy(content: bytes) -> npt.NDArray[Any]:
    """Take an array out of the bytes of an npy file.

    Unlike `np.load`, this takes no memory before the bytes are seen to be there.

    Args:
        content: the whole file.

    Returns:
        The array, read-only.

    Raises:
        ValueError: the content is damaged, or not an array of plain elements.
    """
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran_order, dtype = readers[version](file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")  # noqa: TRY301, named like the others
        elements = content[file.tell() :]
        order: Any = "F" if fortran_order else "C"
        return np.frombuffer(elements, dtype).reshape(shape, order=order)
    except Exception as error:  # NumPy's header parser lets through what ast, struct, ... raise
        raise ValueError(f"not an npy array, or a damaged one: {error}") from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of path once it is complete.

    Args:
        path: the file to replace; unchanged if the writing fails or is interrupted.

    Yields:
        The file to write to.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # same folder: replace is atomic
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _names(layers: int) -> list[str]:
    return [f"{leaf}_{l}" for l in range(1, layers + 1) for leaf in ("weight", "bias")]


def _flat(params: Params) -> list[npt.NDArray[Any]]:
    return [leaf for layer in params for leaf in layer]


def _read_npz(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Read every array; zipfile compares each with its checksum."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception as error:  # zipfile lets through what struct, zlib, lzma, ... raise
        raise ValueError(f"not an npz file, or a damaged one: {error}") from error
    arrays = {}
    for name, member in members.items():
        try:
            arrays[name.removesuffix(".npy")] = read_npy(member)
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from error
    return arrays


def _take(arrays: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"there is no array {name!r}")
    return arrays[name]


def _read_metadata(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    text = _take(arrays, "metadata")
    if text.dtype.kind != "U" or text.ndim != 0:
        raise ValueError("the metadata is not a string")
    metadata = json.loads(str(text))
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is not a JSON object")  # noqa: TRY004, the file is wrong
    version, sizes = metadata.get("format_version"), metadata.get("sizes")
    if not isinstance(version, int) or version < 1:
        raise ValueError(f"the format version must be a number from 1 on, got {version!r}")
    if version > FORMAT_VERSION:
        msg = f"its format version is {version}; this program knows {FORMAT_VERSION}, update it"
        raise ValueError(msg)
    if not isinstance(sizes, list) or len(sizes) < 2:
        raise ValueError(f"the sizes must be a list of two or more, got {sizes!r}")
    return metadata


def _check_description(params: Params, metadata: dict[str, Any]) -> None:
    sizes = [len(params[0].weight), *(layer.bias.size for layer in params)]
    if sizes != metadata["sizes"]:
        raise ValueError(f"the metadata says sizes {metadata['sizes']}, the layers have {sizes}")
    dtype = str(params[0].weight.dtype)
    if dtype != metadata.get("dtype"):
        raise ValueError(f"the metadata says dtype {metadata.get('dtype')}, the layers are {dtype}")
