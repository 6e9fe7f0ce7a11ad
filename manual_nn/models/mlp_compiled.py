"""The pass of the multilayer perceptron by the loops that Numba compiles.

Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.compiled import mlp as compiled
from manual_nn.compiled.arrays import in_order
from manual_nn.layers.dense import Params
from manual_nn.models import mlp
from manual_nn.models.workspace import Arrays, Workspace

AT_LEAST = 4  # layers
CLASSES = np.dtype(np.int64)


class Ready(NamedTuple):
    """What a pass takes beside the batch, in the one form that is compiled for.

    It is kept in the workspace for the next call, which may have the same parameters, for making it
    takes longer than the pass of a small network. They are the arrays themselves: their numbers may
    change in place.
    """

    params: Params
    shape: tuple[int, ...]  # of X, (N, D)
    arrays: tuple[Array, ...]  # of the parameters
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    target: Array  # (N, K)
    row_weight: Array  # (N,), each 1/N
    results: tuple[tuple[Array, ...], ...]  # z, d_z, d_weights and d_biases


def at_once(
    params: Params, X: object, y: object, weight_decay: float, workspace: Workspace
) -> tuple[np.floating[Any], Params] | None:
    """Do what `mlp.loss_and_grad` does, if nothing of what it is given has to be converted first.

    That is: arrays in the form that is compiled for, class numbers in y. Else, or where something
    is wrong or not finite, it gives None, and the general way converts it, or says what is wrong.
    """
    if not (
        type(X) is type(y) is np.ndarray
        and X.dtype == workspace.dtype
        and X.flags.carray
        and y.dtype == CLASSES
        and y.flags.carray
        and y.shape == X.shape[:1]
        and type(weight_decay) is float
        and 0 <= weight_decay < math.inf
    ):
        return None
    ready = workspace.ready
    if ready is None or ready.params is not params or ready.shape != X.shape:
        ready = workspace.ready = _made_ready(params, X.shape, workspace)
        if ready is None:
            return None
    for array in ready.arrays:
        if not array.flags.carray:  # of which a copy is taken, each time
            return None
    if not compiled.write_target(y, ready.target):
        return None
    loss, finite = compiled.loss_and_grad(
        len(params),
        ready.weights,
        ready.biases,
        X,
        ready.target,
        ready.row_weight,
        weight_decay,
        *ready.results,
    )
    if not (finite and math.isfinite(loss)):
        return None
    return X.dtype.type(loss), workspace.gradient


def _made_ready(params: Params, shape: tuple[int, ...], workspace: Workspace) -> Ready | None:
    """Make ready what a pass takes beside X, of this shape, or give None if they do not fit."""
    if len(shape) != 2 or not workspace.fits(params):
        return None
    N, D = shape
    if not 0 < N <= workspace.rows or len(params[0].weight) != D or workspace.overwrites(params):
        return None
    out, dtype = workspace.arrays(N), workspace.dtype
    weights, biases = zip(*params, strict=True)
    return Ready(
        params,
        shape,
        (*weights, *biases),
        repeated(weights),
        repeated(biases),
        np.empty((N, workspace.shapes[-1][1]), dtype),
        np.full(N, dtype.type(1 / N)),
        _results(out),
    )


def forward_and_backward(
    params: Params,
    X: Array,
    target: Array,
    row_weight: RowWeight,
    weight_decay: float,
    *,
    out: Arrays,
) -> tuple[np.floating[Any], Params]:
    """Do what `mlp.forward_and_backward` does; mlp.md (1) to (4).

    Where something is not finite, that one takes over: it refuses what is to be refused, by name,
    and knows how to avoid that an intermediate result overflows.
    """
    loss, finite = compiled.loss_and_grad(
        len(params),
        *padded(params),
        in_order(X),
        in_order(target),
        np.full(len(X), row_weight) if row_weight.ndim == 0 else row_weight.reshape(-1),
        weight_decay,
        *_results(out),
    )
    if finite and math.isfinite(loss):
        return X.dtype.type(loss), out.gradient
    return mlp.forward_and_backward(params, X, target, row_weight, weight_decay, out=out)


def loss_and_right(
    params: Params,
    X: Array,
    target: Array,
    row_weight: RowWeight,
    *,
    z: Sequence[Array],
    right: npt.NDArray[np.bool],
) -> float | None:
    """Go up alone: the loss without the penalty, or None where something is not finite.

    Args:
        params: the layers.
        X: the inputs, (N, D).
        target: probabilities of the classes, (N, K).
        row_weight: the factor of each row in the mean over the rows, a number or (N, 1).
        z: where to write z_1 to z_L, (N, fan_out).
        right: where to write of each row whether its largest logit is that of its most probable
            class, (N,).
    """
    loss, finite = compiled.loss_and_right(
        len(params),
        *padded(params),
        in_order(X),
        in_order(target),
        np.full(len(X), row_weight) if row_weight.ndim == 0 else row_weight.reshape(-1),
        repeated(tuple(z)),
        right,
    )
    return float(loss) if finite and math.isfinite(loss) else None


def padded(layers: Params) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Give the weights, and the biases, in the one form that is compiled for, `repeated`."""
    weights, biases = zip(*layers, strict=True)
    return repeated(tuple(map(in_order, weights))), repeated(tuple(map(in_order, biases)))


def _results(out: Arrays) -> tuple[tuple[Array, ...], ...]:
    """Give where to write z, d_z, d_weights and d_biases, each `repeated`."""
    d_weights, d_biases = zip(*out.gradient, strict=True)
    return tuple(map(repeated, (tuple(out.z), (*out.d_z, out.z[-1]), d_weights, d_biases)))


def repeated(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Repeat the last array, up to a multiple of AT_LEAST: for each number Numba compiles anew."""
    return arrays + arrays[-1:] * (-len(arrays) % AT_LEAST)
