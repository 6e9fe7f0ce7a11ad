"""Arrays of other libraries than NumPy, such as PyTorch's and CuPy's, at the edge of an estimator.

They are taken where scikit-learn is told to (`array_api_dispatch=True`; without that, it makes
NumPy arrays of everything): computed with in NumPy, and the results given back in the library and
on the device of the inputs.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.checks.extras import train_extra

with train_extra("scikit-learn"):
    from sklearn import get_config
    from sklearn.utils._array_api import _convert_to_numpy, get_namespace_and_device

NUMPY = "numpy"


def as_numpy(array: Any) -> Any:
    """Make a NumPy array of that of another library; leave everything else as it is."""
    return _convert_to_numpy(array, _namespace_of(array)[0]) if _is_foreign(array) else array


def as_those_of(X: Any, results: npt.NDArray[Any]) -> Any:
    """Give results in the library and on the device of X, unless they are strings or objects."""
    if not _is_foreign(X) or results.dtype.kind not in "biuf":
        return results
    xp, device = _namespace_of(X)
    return xp.asarray(results, device=device)


def name_of(X: Any) -> str:
    """Name the library of an array and its device; lists, data frames and the like are NumPy's."""
    if not _is_foreign(X):
        return NUMPY
    xp, device = _namespace_of(X)
    return f"{xp.__name__} on {device}"


def is_dispatched() -> bool:
    """Say whether scikit-learn is told to take arrays of other libraries."""
    return bool(get_config()["array_api_dispatch"])


def _is_foreign(array: Any) -> bool:
    return is_dispatched() and hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray)


def _namespace_of(array: Any) -> tuple[Any, Any]:
    xp, _, device = get_namespace_and_device(array)
    return xp, device
