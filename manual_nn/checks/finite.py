"""The refusal of infinities and NaNs, at next to no cost.

An infinity or a NaN in the inputs or in a layer's parameters makes some pre-activation z of that
layer infinite or NaN, and z is small beside the weights: so z alone is examined, by one inner
product. Axes: N rows in the batch, D inputs, H hidden units.
"""

import math
from collections.abc import Sequence

import numpy as np

from manual_nn.arrays import Array


def check_pre_activations(
    z: Array, l: int, params: Sequence[tuple[Array, Array]], X: Array
) -> None:
    """Check that z_l is finite, (N, H), or name the argument that is to blame."""
    if math.isfinite(np.vdot(z, z)):
        return
    check_finite(X, name="X")
    check_finite_params(params)
    if not np.isfinite(z).all():  # z may be finite where its square is not
        msg = (
            f"X and params must give finite pre-activations, but those of layer {l} exceed the "
            f"largest {z.dtype}, {np.finfo(z.dtype).max:.3g}"
        )
        raise ValueError(msg)


def check_finite_params(params: Sequence[tuple[Array, Array]], *, name: str = "params") -> None:
    """Check that every weight and bias is finite."""
    for l, (weight, bias) in enumerate(params):
        check_finite(weight, name=f"{name}[{l}].weight")
        check_finite(bias, name=f"{name}[{l}].bias")


def check_finite(array: Array, *, name: str) -> None:
    """Check that every number in the array is finite."""
    if math.isfinite(np.vdot(array, array)):
        return
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at {list(index)}")
