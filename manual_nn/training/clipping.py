"""Clipping a gradient: never longer than a given norm; derived in clipping.md."""

import math

import numpy as np

from manual_nn.layers.dense import Params


def clip_to_norm(gradient: Params, max_norm: float) -> None:
    """Shorten a gradient in place to the norm, if it is longer: times max_norm / ||g||; eq. (1).

    The norm is that of all weights and biases as one vector. A gradient that is infinite or NaN
    stays as it is.

    Args:
        gradient: layers, changed in place.
        max_norm: the largest norm that the gradient keeps, above 0.

    >>> from manual_nn.layers.dense import Dense
    >>> gradient = (Dense(np.array([[3.0]]), np.array([4.0])),)
    >>> clip_to_norm(gradient, 2.5)
    >>> gradient
    (Dense(weight=array([[1.5]]), bias=array([2.])),)
    """
    norm = norm_of(gradient)
    if max_norm < norm < math.inf:
        for layer in gradient:
            for array in layer:
                array *= max_norm / norm


def norm_of(gradient: Params) -> float:
    """Compute the norm of all weights and biases as one vector, even where squares overflow."""
    arrays = [array for layer in gradient for array in layer]
    held = np.finfo(arrays[0].dtype)
    least, most = float(held.tiny / held.eps), float(held.max)
    square = sum(float(np.vdot(array, array)) for array in arrays)
    if least < square < most:
        return math.sqrt(square)
    largest = max(float(abs(array).max()) for array in arrays)
    if not 0 < largest < math.inf:
        return largest
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)  # a power of two, which divides exactly
    return unit * math.sqrt(sum(float(np.sum((array / unit) ** 2)) for array in arrays))
