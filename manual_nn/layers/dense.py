"""The dense layer: its equations are derived in dense.md.

Axes: `...` any number of axes of rows, N rows in one, fan_in inputs of the layer, fan_out outputs.
`d_name` is dL/d(name), the derivative of the loss with respect to `name`, and has its shape;
`d_out` is that of the layer's output. `out` is an array to write a result to, as in NumPy; without
it the result is a new array.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_fields, check_floats, check_like
from manual_nn.initial import glorot
from manual_nn.sums import sum_rows


class Dense(NamedTuple):
    """The parameters of a dense layer, z = x W + b."""

    weight: Array  # (fan_in, fan_out)
    bias: Array  # (fan_out,)


Params: TypeAlias = tuple[Dense, ...]  # of layers 1 to L, each on top of the one before


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    x: Array  # (..., fan_in)


def forward(params: Dense, x: Array, *, out: Array | None = None) -> tuple[Array, Kept]:
    """Compute z = x W + b; eq. (1).

    Args:
        params: weight, (fan_in, fan_out), and bias, (fan_out,).
        x: (..., fan_in), float32 or float64 as are the parameters.
        out: where to write z, (..., fan_out).

    Returns:
        z, (..., fan_out), and what `backward` needs.

    Raises:
        TypeError: an argument has another type or dtype than these.
        ValueError: the shapes do not fit.

    >>> z, kept = forward(Dense(np.array([[1.0], [2.0]]), np.array([0.5])), np.array([[3.0, 4.0]]))
    >>> z
    array([[11.5]])
    """
    check_fields(params, Dense)
    check_floats(x, name="x", ndim=1)
    check_floats(params.weight, name="params.weight", ndim=2)
    shape = (x.shape[-1], params.weight.shape[-1])
    check_like(params.weight, shape, x.dtype, name="params.weight", like="x")
    check_like(params.bias, shape[1:], x.dtype, name="params.bias", like="params.weight")
    return affine(params, x, out=out), Kept(x)


def backward(params: Dense, kept: Kept, d_out: Array) -> tuple[Dense, Array]:
    """Compute d_W, d_b and d_x from d_z = d_out; eq. (2), (3), (4).

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: (..., fan_out), the derivative of the loss with respect to out.

    Returns:
        d_params, shaped like params, and d_x, (..., fan_in).

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    fan_in, fan_out = params.weight.shape
    shape = (*kept.x.shape[:-1], fan_out)
    check_like(d_out, shape, kept.x.dtype, name="d_out", like="out")
    d_params = params_backward(kept.x.reshape(-1, fan_in), d_out.reshape(-1, fan_out))
    return d_params, input_backward(params, d_out)


def init(
    fan_in: int, fan_out: int, *, rng: "np.random.Generator", dtype: npt.DTypeLike = np.float64
) -> Dense:
    """Draw the weight, of variance 2 / (fan_in + fan_out), and set the bias of eq. (1) to 0.

    For the layers of a network `init_params` doubles the variance above a ReLU.

    Raises:
        TypeError: a size is not a whole number, the dtype is neither float32 nor float64, or rng is
            not a generator.
        ValueError: a size is below 1.
    """
    weight = glorot((fan_in, fan_out), fan_in=fan_in, fan_out=fan_out, rng=rng, dtype=dtype)
    return Dense(weight, np.zeros(fan_out, weight.dtype))


def affine(params: Dense, x: Array, *, out: Array | None = None) -> Array:
    """Compute z = x W + b alone, (..., fan_out); eq. (1)."""
    z = np.matmul(x, params.weight, out=out)
    z += params.bias
    return z


def params_backward(x: Array, d_out: Array, *, out: Dense | None = None) -> Dense:
    """Compute d_W = x^T d_z and d_b = column sums of d_z, without d_x; eq. (2), (3)."""
    weight_out, bias_out = out or (None, None)
    return Dense(weight_backward(x, d_out, out=weight_out), sum_rows(d_out, out=bias_out))


def weight_backward(x: Array, d_out: Array, *, out: Array | None = None) -> Array:
    """Compute d_W = x^T d_z, the sum over the rows of their outer products; eq. (2)."""
    if len(x) == 1:  # several times faster than as a product of matrices
        return np.einsum("i,j->ij", x[0], d_out[0], out=out)
    return np.matmul(x.T, d_out, out=out)


def input_backward(params: Dense, d_out: Array, *, out: Array | None = None) -> Array:
    """Compute d_x = d_z W^T, (..., fan_in); eq. (4)."""
    return np.matmul(d_out, params.weight.T, out=out)
