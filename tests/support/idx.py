"""IDX files, right ones and ones that claim what they do not hold."""

import struct

import numpy as np
import numpy.typing as npt


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def idx_claiming(*shape: int, content: bytes = b"", element_type: int = 8) -> bytes:
    header = bytes([0, 0, element_type, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + content
