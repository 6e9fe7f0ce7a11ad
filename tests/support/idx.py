"""IDX files, right ones and ones that claim what they do not hold."""

import struct
from typing import Any

import numpy.typing as npt

TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: npt.NDArray[Any]) -> bytes:
    element_type = TYPES[array.dtype.str[1:]]
    header = bytes([0, 0, element_type, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def idx_claiming(*shape: int, content: bytes = b"", element_type: int = 8) -> bytes:
    header = bytes([0, 0, element_type, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + content
