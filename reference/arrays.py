"""The type of the arrays that the package computes with: NumPy's."""

from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
