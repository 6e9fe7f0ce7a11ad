"""A residual connection: what a branch of layers makes of x is added to x.

residual.md derives the equations. Axes: those of x, which the branch must give back.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arrays import check_floats, check_like


class Step(NamedTuple):
    """A layer of the branch, with the options of its forward pass."""

    layer: ModuleType  # with `forward` and `backward`, such as those of this folder
    options: Mapping[str, Any] = MappingProxyType({})


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass."""

    branch: tuple[Step, ...]
    inner: tuple[Any, ...]  # what each layer has kept
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def forward(params: tuple[Any, ...], x: Array, *, branch: Sequence[Step]) -> tuple[Array, Kept]:
    """Compute out = x + f(x), f the layers of the branch one after the other; eq. (1).

    Args:
        params: the parameters of each layer of the branch.
        x: float32 or float64, of a shape that the first layer accepts.
        branch: at least one layer; the last gives an array of the shape of x.

    Returns:
        out, of the shape of x, and what `backward` needs.

    Raises:
        TypeError: x is not a float32 or float64 array, or the branch gives another dtype.
        ValueError: the branch is empty, has not as many layers as there are parameters, or gives
            another shape.

    Source: He et al., Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385.

    >>> from manual_nn.layers import leaky_relu
    >>> halves = Step(leaky_relu, {"negative_slope": 0.5})
    >>> out, kept = forward(((),), np.array([-2.0, 3.0]), branch=[halves])
    >>> out
    array([-3.,  6.])
    """
    check_floats(x, name="x", ndim=1)
    if not branch or len(branch) != len(params):
        msg = f"branch must have at least one layer, and as many as params, {len(params)}, got "
        raise ValueError(f"{msg}{len(branch)}")
    f, inner = x, []
    for (layer, options), param in zip(branch, params, strict=True):
        f, kept = layer.forward(param, f, **options)
        inner.append(kept)
    check_like(f, x.shape, x.dtype, name="the branch's out", like="x")
    return x + f, Kept(tuple(branch), tuple(inner), x.shape, x.dtype)


def backward(params: tuple[Any, ...], kept: Kept, d_out: Array) -> tuple[tuple[Any, ...], Array]:
    """Compute d_x = d_out + what comes back through the branch, the last layer first; eq. (2), (3).

    Args:
        params: as in `forward`.
        kept: what `forward` has kept.
        d_out: the derivative of the loss with respect to out, of its shape.

    Returns:
        d_params, shaped like params, and d_x, of the shape of x.

    Raises:
        TypeError: d_out is not an array of the dtype of out.
        ValueError: d_out has another shape than out.
    """
    check_like(d_out, kept.shape, kept.dtype, name="d_out", like="out")
    d_params, d_f = [], d_out
    for step, param, inner in reversed([*zip(kept.branch, params, kept.inner, strict=True)]):
        d_param, d_f = step.layer.backward(param, inner, d_f)
        d_params.append(d_param)
    return tuple(reversed(d_params)), d_out + d_f
