"""Trained parameters in a file: NumPy's npz format, without pickle."""

import contextlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from manual_nn.files.idx import GZIP_MOST
from manual_nn.layers.dense import Dense, Params
from manual_nn.models.arguments import as_params, as_tangents

FORMAT_VERSION = 1


def save_params(path: str | os.PathLike[str], params: Params, **metadata: object) -> None:
    """Write the parameters and metadata about them, completely or not at all.

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
    save_params_and_beside(path, params, {}, **metadata)


def save_params_and_beside(
    path: str | os.PathLike[str],
    params: Params,
    beside: Mapping[str, Params],
    /,
    **metadata: object,
) -> None:
    """Write what `save_params` does and, beside the parameters, layers like them.

    Args:
        path: the file, which is replaced.
        params: the layers, float32 or float64.
        beside: layers of the same shapes, by name; the names are added to the metadata.
        **metadata: as for `save_params`.

    Raises:
        OSError, TypeError, ValueError: as for `save_params`.
    """
    params = as_params(params)
    description = {
        **metadata,
        **({"beside": list(beside)} if beside else {}),
        "format_version": FORMAT_VERSION,
        "sizes": [len(params[0].weight), *(layer.bias.size for layer in params)],
        "dtype": str(params[0].weight.dtype),
    }
    arrays: dict[str, npt.NDArray[Any]] = {"metadata": np.array(json.dumps(description))}
    names = _names(len(params))
    arrays |= zip(names, _flat(params), strict=True)
    for label, layers in beside.items():
        as_tangents(params, layers, name=label)
        arrays |= zip([f"{label}_{name}" for name in names], _flat(layers), strict=True)
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
    params, metadata, _ = load_params_and_beside(path)
    return params, metadata


def load_params_and_beside(
    path: str | os.PathLike[str],
) -> tuple[Params, dict[str, Any], dict[str, Params]]:
    """Read what `save_params_and_beside` has written.

    Args:
        path: the file.

    Returns:
        The parameters, the metadata, and what is beside the parameters, by name: layers of the same
        shapes and dtype.

    Raises:
        OSError, ValueError: as for `load_params`.
    """
    content = Path(path).read_bytes()
    try:
        arrays = read_npz(content)
        metadata = _read_metadata(arrays)
        names = _names(len(metadata["sizes"]) - 1)
        params = as_params(_layers([_take(arrays, name) for name in names]))
        _check_description(params, metadata)
        beside = {
            label: as_tangents(
                params, _layers([_take(arrays, f"{label}_{name}") for name in names]), name=label
            )
            for label in _labels_in(metadata)
        }
    except (ValueError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
    return params, metadata, beside


def read_npy(content: bytes) -> npt.NDArray[Any]:
    """Read an array from the bytes of an npy file.

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
        if dtype.subdtype is not None:  # which np.save never writes
            raise ValueError("its elements are arrays")  # noqa: TRY301, likewise
        if any(side < 0 for side in shape):  # -1 tells reshape to compute a size
            raise ValueError(f"it claims the shape {shape}")  # noqa: TRY301, likewise
        elements = content[file.tell() :]
        order: Any = "F" if fortran_order else "C"
        return np.frombuffer(elements, dtype).reshape(shape, order=order)
    except Exception as error:  # NumPy's header parser lets through what ast, struct, ... raise
        reason = str(error).partition("\n")[0]  # advice to np.load's callers may follow
        raise ValueError(f"not an npy array, or a damaged one: {reason}") from error


def read_npz(content: bytes, *, packed: bool = False) -> dict[str, npt.NDArray[Any]]:
    """Read every array from the bytes of an npz file; zipfile compares each with its checksum.

    Args:
        content: the whole file.
        packed: whether arrays may be compressed, as `np.savez_compressed` does it. They then take
            as much memory as the file can hold, which is up to 1,032 times its size.

    Returns:
        The arrays by their names, read-only.

    Raises:
        ValueError: the content is damaged, or not an npz file of arrays of plain elements.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_members(archive.infolist(), len(content), packed=packed)
            members = {member.filename: archive.read(member) for member in archive.infolist()}
    except Exception as error:  # zipfile lets through what struct, zlib, lzma, ... raise
        raise ValueError(f"not an npz file, or a damaged one: {error}") from error
    arrays = {}
    for name, member in members.items():
        try:
            arrays[name.removesuffix(".npy")] = read_npy(member)
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from error
    return arrays


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of path once it is complete.

    The content reaches the disk before the name does, and the name before this returns, so that
    even a crash of the machine leaves either the old file or the new one (Pillai et al., All file
    systems are not created equal, OSDI 2014).

    Args:
        path: the file to replace; unchanged if the writing fails or is interrupted.

    Yields:
        The file to write to.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    path = Path(path)
    draft = draft_of(path, os.getpid())
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(draft)):
            raise type(error)(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):  # an error before this one matters more
            draft.unlink()


def draft_of(path: Path, process: int) -> Path:
    """Name the file that `replacing` writes; in the same folder, replacing path is atomic."""
    return path.with_name(f".{path.name}.{process}.tmp")


def remove_drafts(path: Path) -> None:
    """Remove the drafts of processes that were killed while replacing path."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")  # as draft_of names them
    for draft in list(path.parent.iterdir()):
        if pattern.fullmatch(draft.name):
            draft.unlink(missing_ok=True)


def check_version(version: object, known: int) -> None:
    """Check that a file was written in a format that this program knows."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"the format version must be a number from 1 on, got {version!r}")
    if version > known:
        msg = f"its format version is {version}; this program knows {known}, update it"
        raise ValueError(msg)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # as on Windows, which opens no folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _names(layers: int) -> list[str]:
    return [f"{leaf}_{l}" for l in range(1, layers + 1) for leaf in ("weight", "bias")]


def _layers(flat: list[npt.NDArray[Any]]) -> list[Dense]:
    return [Dense(*flat[i : i + 2]) for i in range(0, len(flat), 2)]


def _flat(params: Params) -> list[npt.NDArray[Any]]:
    return [leaf for layer in params for leaf in layer]


def _check_members(members: list[zipfile.ZipInfo], size: int, *, packed: bool) -> None:
    """Check that reading the members takes no more memory than what the file can hold.

    What is compressed in another way, or lies where another member does, may take many times that.
    """
    most = {zipfile.ZIP_STORED: 1} | ({zipfile.ZIP_DEFLATED: GZIP_MOST} if packed else {})
    if not {member.compress_type for member in members} <= most.keys():
        raise ValueError("an array is compressed" + " other than by deflate" * packed)
    if sum(member.file_size / most[member.compress_type] for member in members) > size:
        raise ValueError("the arrays claim to be larger than the file")


def _take(arrays: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"there is no array {name!r}")
    return arrays[name]


def _read_metadata(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    text = _take(arrays, "metadata")
    if text.dtype.kind != "U" or text.ndim != 0:
        raise ValueError("the metadata is not a string")
    # Numbers that are not characters give a SystemError in NumPy, a ValueError in the decoder.
    encoded = text.astype(text.dtype.newbyteorder("<")).tobytes()
    try:
        metadata = json.loads(encoded.decode("utf-32-le").rstrip("\0"))
    except RecursionError as error:
        raise ValueError("the metadata is nested too deep") from error
    if not isinstance(metadata, dict):
        raise ValueError("the metadata is not a JSON object")  # noqa: TRY004, the file is wrong
    version, sizes = metadata.get("format_version"), metadata.get("sizes")
    check_version(version, FORMAT_VERSION)
    if not isinstance(sizes, list) or len(sizes) < 2:
        raise ValueError(f"the sizes must be a list of two or more, got {sizes!r}")
    return metadata


def _labels_in(metadata: dict[str, Any]) -> list[str]:
    labels = metadata.get("beside", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(f"what is beside the parameters must be a list of names, got {labels!r}")
    return labels


def _check_description(params: Params, metadata: dict[str, Any]) -> None:
    sizes = [len(params[0].weight), *(layer.bias.size for layer in params)]
    if sizes != metadata["sizes"]:
        raise ValueError(f"the metadata says sizes {metadata['sizes']}, the layers have {sizes}")
    dtype = str(params[0].weight.dtype)
    if dtype != metadata.get("dtype"):
        raise ValueError(f"the metadata says dtype {metadata.get('dtype')}, the layers are {dtype}")
