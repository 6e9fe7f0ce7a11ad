"""Derivatives along tangents and second derivatives by the loops that Numba compiles.

Each function gives None where something is not finite: then that of its name in `curvature` says
what it is, or finds that nothing of it is left in the result.
Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import math
from typing import Any

import numpy as np

from manual_nn.arrays import Array
from manual_nn.compiled import curvature as compiled
from manual_nn.compiled.arrays import in_order
from manual_nn.layers.dense import Params
from manual_nn.models.arguments import as_row_weight
from manual_nn.models.mlp_compiled import padded, repeated


def jvp(
    params: Params, tangents: Params, X: Array, target: Array, weight_decay: float
) -> tuple[np.floating[Any], np.floating[Any]] | None:
    """Compute the loss and its derivative along the tangents; curvature.md (5)."""
    row_weight = np.full(len(X), as_row_weight(params, len(X), None))
    loss, R_loss, finite = compiled.jvp(
        len(params),
        *padded(params),
        *padded(tangents),
        in_order(X),
        in_order(target),
        row_weight,
        weight_decay,
    )
    if not (finite and math.isfinite(loss) and math.isfinite(R_loss)):
        return None
    return X.dtype.type(loss), X.dtype.type(R_loss)


def hvp(
    params: Params, tangents: Params, X: Array, target: Array, weight_decay: float, *, out: Params
) -> Params | None:
    """Write the product of the Hessian with the tangents; curvature.md (8)."""
    finite = compiled.hvp(
        len(params),
        *padded(params),
        *padded(tangents),
        in_order(X),
        in_order(target),
        weight_decay,
        *map(repeated, zip(*out, strict=True)),
    )
    return out if finite else None


def ggnvp(
    params: Params, tangents: Params, X: Array, weight_decay: float, *, out: Params
) -> Params | None:
    """Write the product of the Gauss-Newton matrix with the tangents; curvature.md (10)."""
    finite = compiled.ggnvp(
        len(params),
        *padded(params),
        *padded(tangents),
        in_order(X),
        weight_decay,
        *map(repeated, zip(*out, strict=True)),
    )
    return out if finite else None
