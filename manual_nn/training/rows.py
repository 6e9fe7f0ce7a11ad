"""Rows to train on: an array, or a sparse one of SciPy, of which some at a time are made dense.

Axes: N rows in all, n of them at a time; D inputs, K classes.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.finite import check_finite
from manual_nn.layers.dense import Params
from manual_nn.models import mlp
from manual_nn.models.arguments import as_inputs

Rows: TypeAlias = Any  # an Array, or a SciPy array or matrix in the format CSR, (N, D)

BLOCK_SIZE = 1024  # sparse rows that are dense at a time, where they are not a batch


def is_sparse(X: object) -> bool:
    """Say whether these are sparse rows of SciPy, which need not be installed."""
    return hasattr(X, "tocsr")


def as_rows_to_train(params: Params, X: Any, *, name: str) -> Rows:
    """Check that the rows are (N, D) and finite, and give them the dtype of the parameters."""
    if not is_sparse(X):
        array = as_inputs(params, X, name=name)
        check_finite(array, name=name)
        return array
    D = len(params[0].weight)
    dtype = params[0].weight.dtype
    if len(X.shape) != 2 or X.shape[1] != D or X.shape[0] == 0:
        raise ValueError(f"{name} must have shape (N, {D}), N at least 1, got {X.shape}")
    if X.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {X.dtype}")
    given = X.tocsr()
    _check_stored(given, name=name)
    with np.errstate(over="ignore"):  # refused below
        rows = given.astype(dtype)
    _check_stored(rows, name=f"{name} in {dtype}")
    return rows


def _check_stored(rows: Rows, *, name: str) -> None:
    """Check that every number that sparse rows store is finite, or say where one is not."""
    finite = np.isfinite(rows.data)
    if not finite.all():
        i = int(finite.argmin())
        n, d = int(np.searchsorted(rows.indptr, i, side="right")) - 1, int(rows.indices[i])
        raise ValueError(f"{name} must be finite, got {rows.data[i]} at {[n, d]}")


def take(X: Rows, rows: npt.NDArray[np.integer[Any]], out: Array) -> Array:
    """Copy some of the rows to the first of an array, and give these, (n, D)."""
    n = len(rows)
    if is_sparse(X):
        return X[rows].toarray(out=out[:n])
    # "clip" has NumPy write into place; no row number is out of range
    return np.take(X, rows, axis=0, out=out[:n], mode="clip")


def logits(params: Params, X: Rows) -> Array:
    """Go up, sparse rows in blocks; gives the logits, (N, K)."""
    if not is_sparse(X):
        return mlp.forward(params, X)[0]
    starts = range(0, X.shape[0], BLOCK_SIZE)
    blocks = (X[start : start + BLOCK_SIZE].toarray() for start in starts)
    return np.concatenate([mlp.forward(params, block)[0] for block in blocks])
