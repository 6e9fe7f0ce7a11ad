"""Gradients of the network with one planted fault each: the mistakes that people make.

The pass is written out plainly, row by row of the batch at once, and shares no code with manual_nn;
without a fault it is right. Axes: N rows in the batch, D inputs, K classes, L layers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from manual_nn import Dense
from manual_nn.backprop import Params

Array = npt.NDArray[Any]

FAULTS = (
    "no factor 2 in the decay",
    "decay on biases",
    "decay once per row",
    "missing 1/N",
    "mask >= instead of >",
    "mask missing",
    "mask of another layer",
    "transposed weight",
    "label shifted by one",
    "softmax over the wrong axis",
    "bias gradient of the last row only",
    "sign",
)


def gradient_with(fault: str, params: Params, X: Array, y: Array, weight_decay: float) -> Params:
    """Compute the gradient with this fault, or with none for an empty string."""
    if fault not in ("", *FAULTS):
        raise ValueError(f"fault must be one of FAULTS, got {fault!r}")
    N, K, L = len(X), params[-1].bias.size, len(params)
    target = np.eye(K, dtype=X.dtype)[y] if y.ndim == 1 else y
    if fault == "label shifted by one":
        target = np.roll(target, 1, axis=1)

    a, z = [X], []
    for weight, bias in params:
        z.append(a[-1] @ weight + bias)
        a.append(np.where(z[-1] > 0, z[-1], 0))
    axis = 0 if fault == "softmax over the wrong axis" else 1
    e = np.exp(z[-1] - z[-1].max(axis=axis, keepdims=True))
    d_z = e / e.sum(axis=axis, keepdims=True) - target
    if fault != "missing 1/N":
        d_z /= N

    decay = weight_decay if fault == "no factor 2 in the decay" else 2 * weight_decay
    if fault == "decay once per row":
        decay *= N
    gradient = []
    for l in reversed(range(L)):
        weight, bias = params[l]
        d_bias = d_z[-1] if fault == "bias gradient of the last row only" else d_z.sum(axis=0)
        if fault == "decay on biases":
            d_bias = d_bias + decay * bias
        gradient.append(Dense(a[l].T @ d_z + decay * weight, d_bias))
        if l > 0:
            square = len(weight) == bias.size
            d_a = d_z @ (weight if fault == "transposed weight" and square else weight.T)
            other = l % (L - 1) if fault == "mask of another layer" else l - 1
            mask = z[other] >= 0 if fault == "mask >= instead of >" else z[other] > 0
            d_z = d_a if fault == "mask missing" else d_a * mask
    if fault == "sign":
        gradient = [Dense(-d_weight, -d_bias) for d_weight, d_bias in gradient]
    return tuple(gradient[::-1])
