"""The types of what the package computes with."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]

# The factor of each row's loss in the mean over the rows: 1/N, a scalar, or with weights w on the
# rows w_n / sum_m w_m, (N, 1).
RowWeight: TypeAlias = np.floating[Any] | Array
