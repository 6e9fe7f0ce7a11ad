"""The pass of the multilayer perceptron by the loops that Numba compiles.

Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import math
from typing import Any

import numpy as np

from manual_nn.arrays import Array, RowWeight
from manual_nn.compiled import mlp as compiled
from manual_nn.compiled.arrays import in_order
from manual_nn.layers.dense import Params
from manual_nn.models import mlp
from manual_nn.models.workspace import Arrays


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
    weights, biases = zip(*params, strict=True)
    d_weights, d_biases = zip(*out.gradient, strict=True)
    loss, finite = compiled.loss_and_grad(
        tuple(map(in_order, weights)),
        tuple(map(in_order, biases)),
        in_order(X),
        in_order(target),
        np.full(len(X), row_weight) if row_weight.ndim == 0 else row_weight.reshape(-1),
        weight_decay,
        tuple(out.z),
        (*out.d_z, out.z[-1]),
        d_weights,
        d_biases,
    )
    if finite and math.isfinite(loss):
        return X.dtype.type(loss), out.gradient
    return mlp.forward_and_backward(params, X, target, row_weight, weight_decay, out=out)
