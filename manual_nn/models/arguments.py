"""What the public functions accept as parameters, inputs and targets of a network.

Each check names the argument, what it was and what was expected. Axes: N rows in the batch,
D inputs, K classes.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import DTYPES, as_array, as_number, as_sample_weight, name_of_kind
from manual_nn.layers.dense import Dense, Params


def as_params(params: object, *, name: str = "params") -> Params:
    """Check that the layers are float arrays of one dtype that fit each other."""
    if not isinstance(params, Sequence) or isinstance(params, Dense):
        msg = f"{name} must be a sequence of (weight, bias) pairs, got {name_of_kind(params)}"
        raise TypeError(msg)
    if not params:
        raise ValueError(f"{name} must have at least one layer, got none")
    layers = []
    for l, pair in enumerate(params):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            size = f" of {len(pair)}" if isinstance(pair, Sequence) else ""
            msg = f"{name}[{l}] must be a pair (weight, bias), got {type(pair).__name__}{size}"
            raise TypeError(msg)
        weight, bias = pair
        layers.append(
            Dense(
                as_array(weight, name=f"{name}[{l}].weight"),
                as_array(bias, name=f"{name}[{l}].bias"),
            )
        )
    dtype = layers[0].weight.dtype
    if dtype not in DTYPES:
        raise TypeError(f"{name}[0].weight must be float32 or float64, got {dtype}")
    fan_in = None
    for l, (weight, bias) in enumerate(layers):
        for part, array, ndim in (("weight", weight, 2), ("bias", bias, 1)):
            if array.ndim != ndim:
                msg = f"{name}[{l}].{part} must have {ndim} axes, got shape {array.shape}"
                raise ValueError(msg)
            if array.dtype != dtype:
                msg = f"{name}[{l}].{part} must be {dtype} like {name}[0].weight, got {array.dtype}"
                raise TypeError(msg)
        if fan_in is not None and weight.shape[0] != fan_in:
            msg = (
                f"{name}[{l}].weight must have {fan_in} rows, one for each column of "
                f"{name}[{l - 1}].weight, got shape {weight.shape}"
            )
            raise ValueError(msg)
        fan_in = weight.shape[1]
        if bias.shape != (fan_in,):
            msg = f"{name}[{l}].bias must have shape ({fan_in},), got {bias.shape}"
            raise ValueError(msg)
        if 0 in weight.shape:
            raise ValueError(f"{name}[{l}].weight must not be empty, got shape {weight.shape}")
    return tuple(layers)


def as_tangents(params: Params, tangents: object, *, name: str = "tangents") -> Params:
    """Check that the tangents have the layers, shapes and dtype of the parameters."""
    checked = as_params(tangents, name=name)
    if len(checked) != len(params):
        msg = f"{name} must have {len(params)} layers like params, got {len(checked)}"
        raise ValueError(msg)
    for l, (layer, R_layer) in enumerate(zip(params, checked, strict=True)):
        if R_layer.weight.shape != layer.weight.shape:
            msg = (
                f"{name}[{l}].weight must have shape {layer.weight.shape} like "
                f"params[{l}].weight, got {R_layer.weight.shape}"
            )
            raise ValueError(msg)
        if R_layer.weight.dtype != layer.weight.dtype:
            msg = f"{name} must be {layer.weight.dtype} like params, got {R_layer.weight.dtype}"
            raise TypeError(msg)
    return checked


def as_batch(
    params: object, X: npt.ArrayLike, y: npt.ArrayLike, weight_decay: object = 0.0
) -> tuple[Params, Array, Array, float]:
    """Check what every function of a batch takes; returns params, X, target and weight_decay."""
    params = as_params(params)
    X, weight_decay = as_inputs(params, X), as_number(weight_decay, name="weight_decay", minimum=0)
    return params, X, as_targets(params, len(X), y), weight_decay


def as_inputs(params: Params, X: npt.ArrayLike, *, name: str = "X") -> Array:
    """Check that X is (N, D) with N at least 1, and give it the dtype of the parameters."""
    rows, dtype = as_rows(params, X, name=name), params[0].weight.dtype
    if rows.dtype == dtype:
        return rows
    with np.errstate(over="ignore"):
        array = rows.astype(dtype)
    if np.finfo(dtype).bits < 8 * rows.dtype.itemsize:
        overflown = np.isinf(array) & np.isfinite(rows)
        if overflown.any():
            index = tuple(int(i) for i in np.argwhere(overflown)[0])
            msg = f"{name} must be within {dtype} like params, got {rows[index]} at {list(index)}"
            raise ValueError(msg)
    return array


def as_rows(params: Params, X: npt.ArrayLike, *, name: str = "X") -> npt.NDArray[Any]:
    """Check that X is (N, D) with N at least 1, and leave it as it is, perhaps on disk."""
    weight = params[0].weight
    array = as_array(X, name=name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] != len(weight) or len(array) == 0:
        msg = (
            f"{name} must have shape (N, {len(weight)}), N at least 1, because params[0].weight "
            f"has shape {weight.shape}; got {array.shape}"
        )
        raise ValueError(msg)
    return array


def as_targets(params: Params, N: int, y: npt.ArrayLike, *, name: str = "y") -> Array:
    """Check y, class numbers (N,) or target probabilities (N, K), and make it the latter."""
    K, dtype = params[-1].bias.size, params[-1].bias.dtype
    array = as_labels(params, N, y, name=name)
    if array.ndim == 2:
        _check_probabilities(array, name)
        return array.astype(dtype, copy=False)
    if array.dtype.kind not in "iu":
        msg = f"{name} of one axis must hold integer class numbers, got dtype {array.dtype}"
        raise TypeError(msg)
    is_class = array[:, np.newaxis] == _classes(K)  # (N, K)
    if np.count_nonzero(is_class) < N:  # a class number out of range is equal to none
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} must hold class numbers from 0 to {K - 1}, got {wrong}")
    return is_class.astype(dtype)


@functools.cache
def _classes(K: int) -> npt.NDArray[np.intp]:
    """Number the classes, (K,); made once, because a small batch takes no longer than this."""
    return np.arange(K)


def as_labels(params: Params, N: int, y: npt.ArrayLike, *, name: str = "y") -> npt.NDArray[Any]:
    """Check the shape of y, (N,) or (N, K), and leave it as it is, perhaps on disk."""
    K = params[-1].bias.size
    array = as_array(y, name=name)
    if array.shape not in ((N,), (N, K)):
        raise ValueError(f"{name} must have shape ({N},) or ({N}, {K}), got {array.shape}")
    return array


def _check_probabilities(array: npt.NDArray[Any], name: str) -> None:
    """Check that rows sum to 1 as far as a normalised row can.

    A row normalised in its own precision, p_k = e_k / sum(e), has a relative error of at most
    gamma_K in each entry (K - 1 additions, one division), and so has its sum, to which adding it
    up here adds as much: 2 gamma_K = K eps to first order, for each entry rounded once (Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 4.2).
    """
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold probabilities, got dtype {array.dtype}")
    if not (array >= 0).all():
        msg = f"{name} must hold probabilities, none of them negative or NaN, got {array.min()}"
        raise ValueError(msg)
    sums = array.sum(axis=1, dtype=np.float64)
    eps = float(np.finfo(str(array.dtype)).eps) if array.dtype.kind == "f" else 0.0
    off = abs(sums - 1)
    if (off > (array.shape[1] + 1) * eps).any():
        row = int(off.argmax())
        raise ValueError(f"{name} must have rows that sum to 1, but row {row} sums to {sums[row]}")


def as_row_weight(params: Params, N: int, sample_weight: npt.ArrayLike | None) -> RowWeight:
    """Make the factor of each row in the mean: 1/N, or w_n / sum_m w_m, (N, 1)."""
    dtype = params[0].weight.dtype
    weights = as_sample_weight(N, sample_weight)
    if weights is None:
        return dtype.type(1 / N)
    weights = weights / weights.max()  # whose sum cannot overflow
    return (weights / weights.sum()).astype(dtype)[:, None]
