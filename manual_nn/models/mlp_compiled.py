"""The pass of the multilayer perceptron by the loops that Numba compiles.

Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.compiled import mlp as compiled
from manual_nn.compiled.arrays import in_order
from manual_nn.layers.dense import Params
from manual_nn.models import mlp
from manual_nn.models.workspace import Arrays

AT_LEAST = 4  # layers


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
        repeated(tuple(out.z)),
        repeated((*out.d_z, out.z[-1])),
        *map(repeated, zip(*out.gradient, strict=True)),
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


def repeated(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Repeat the last array, up to a multiple of AT_LEAST: for each number Numba compiles anew."""
    return arrays + arrays[-1:] * (-len(arrays) % AT_LEAST)
