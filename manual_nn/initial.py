"""Values with which parameters begin. Axes: H units; `...` those of a weight."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, as_dtype, as_rng


def glorot(
    shape: Sequence[int],
    *,
    fan_in: int,
    fan_out: int,
    rng: "np.random.Generator",
    dtype: npt.DTypeLike,
) -> Array:
    """Draw normal numbers of mean 0 and variance 2 / (fan_in + fan_out), (...).

    With them the variance of what goes through a layer, up and down, stays about as it is.

    Source: Glorot and Bengio, Understanding the Difficulty of Training Deep Feedforward Neural
    Networks, 2010.
    """
    fan_in, fan_out = as_count(fan_in, name="fan_in"), as_count(fan_out, name="fan_out")
    lengths = [as_count(n, name=f"shape[{axis}]") for axis, n in enumerate(shape)]
    deviation = math.sqrt(2 / (fan_in + fan_out))
    return as_rng(rng).normal(scale=deviation, size=lengths).astype(as_dtype(dtype))


def orthogonal(H: int, *, rng: "np.random.Generator", dtype: npt.DTypeLike) -> Array:
    """Draw a matrix whose rows and columns are orthonormal, (H, H), each with equal likelihood.

    Powers of it neither grow nor vanish, whatever the number of steps.

    Source: Saxe, McClelland and Ganguli, Exact Solutions to the Nonlinear Dynamics of Learning in
    Deep Linear Neural Networks, 2013, arXiv:1312.6120.
    """
    H = as_count(H, name="H")
    q, r = np.linalg.qr(as_rng(rng).normal(size=(H, H)))
    signs = np.where(np.diag(r) < 0, -1.0, 1.0)  # else the first entries would have a sign
    return (q * signs).astype(as_dtype(dtype))


def scale_and_offset(C: int, *, dtype: npt.DTypeLike, name: str = "C") -> tuple[Array, Array]:
    """Give ones and zeros, (C,) each, with which a layer changes nothing at first."""
    C = as_count(C, name=name)
    return np.ones(C, as_dtype(dtype)), np.zeros(C, as_dtype(dtype))
