"""A library of arrays on a device, as CuPy is: NumPy cannot see them, and DLPack copies them."""

import sys
from types import ModuleType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

CUDA, HOST = (2, 0), (1, 0)


class DeviceArray(NDArrayOperatorsMixin):
    """An array that computes with its own kind alone, and with numbers."""

    def __init__(self, data: npt.ArrayLike) -> None:
        """Copy the numbers to the device, which is not there."""
        self._data = np.array(data)

    def __array__(self, *_: Any, **__: Any) -> Any:
        """Refuse what would copy without being asked to, as CuPy does."""
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Self:
        """Compute with the numbers."""
        if any(isinstance(x, np.ndarray) for x in inputs):
            raise TypeError("Unsupported type numpy.ndarray")
        data = [x._data if isinstance(x, DeviceArray) else x for x in inputs]
        if "out" in options:
            options["out"] = tuple(x._data for x in options["out"])
        result = type(self)(getattr(ufunc, method)(*data, **options))
        return self if "out" in options else result

    def __array_namespace__(self, **_: Any) -> ModuleType:
        """Give the library."""
        return sys.modules[__name__]

    def __dlpack_device__(self) -> tuple[int, int]:
        """Say that it is on a device."""
        return CUDA

    def __dlpack__(
        self, *, max_version: Any = None, dl_device: Any = None, copy: Any = None, **_: Any
    ) -> Any:
        """Export a copy to the host."""
        if dl_device != HOST or copy is False:
            raise BufferError("CUDA memory is not the host's")
        return self._data.copy().__dlpack__(max_version=max_version)

    @property
    def T(self) -> Self:  # noqa: N802, as NumPy calls it
        """The transposed array."""
        return type(self)(self._data.T)

    def sum(self, axis: int) -> Self:
        """Add up along an axis."""
        return type(self)(self._data.sum(axis=axis))


def asarray(data: npt.ArrayLike) -> DeviceArray:
    """Copy an array to the device."""
    return DeviceArray(data)


def tanh(x: DeviceArray) -> Any:
    """The hyperbolic tangent."""
    return np.tanh(x)
