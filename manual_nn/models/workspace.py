"""The arrays of a pass, made once for many calls.

Axes: N rows in the batch.
"""

import math
from typing import Any

import numpy as np

from manual_nn.checks.arguments import as_count, as_params
from manual_nn.models.backprop import Arrays, Dense, Params


class Workspace:
    """The arrays that a pass over a batch writes to, used again by every call.

    `loss_and_grad(params, X, y, workspace=workspace)` gives its gradient in the workspace's arrays,
    which the next such call overwrites: copy what is to be kept. Without a workspace a call makes
    all its arrays anew, which takes longer than the work in them where a batch is small and a
    network large.

    Args:
        params: layers with the sizes and the dtype that the passes will have.
        rows: the most rows that a batch will have.

    Raises:
        TypeError: params are not layers, or rows is not a whole number.
        ValueError: the layers do not fit each other, or rows is below 1.

    >>> import manual_nn
    >>> params = (Dense(np.zeros((2, 4)), np.zeros(4)),)
    >>> workspace = Workspace(params, rows=32)
    >>> X, y = np.ones((3, 2)), [0, 1, 1]  # any number of rows up to 32
    >>> _, (d_layer,) = manual_nn.loss_and_grad(params, X, y, workspace=workspace)
    >>> d_layer.weight is workspace.gradient[0].weight
    True
    """

    def __init__(self, params: Params, rows: int) -> None:
        """Make the arrays."""
        params = as_params(params)
        self.rows = as_count(rows, name="rows")
        self.dtype = params[0].weight.dtype
        self.shapes = [weight.shape for weight, _ in params]
        self._fitting = params
        self.gradient: Params = tuple(
            Dense(np.empty(shape, self.dtype), np.empty(shape[1], self.dtype))
            for shape in self.shapes
        )
        self._z = [np.empty((rows, fan_out), self.dtype) for _, fan_out in self.shapes]
        self._d_z = [np.empty_like(z) for z in self._z[:-1]]
        decay = np.empty(max(fan_in * fan_out for fan_in, fan_out in self.shapes), self.dtype)
        self._decay = [decay[: math.prod(shape)].reshape(shape) for shape in self.shapes]
        self._all = Arrays(self._z, self._d_z, self.gradient, self._decay)

    def arrays(self, N: int) -> Arrays:
        """Give the part of the arrays that a batch of N rows needs."""
        if self.rows == N:
            return self._all
        z, d_z = ([array[:N] for array in arrays] for arrays in (self._z, self._d_z))
        return Arrays(z, d_z, self.gradient, self._decay)

    def fits(self, params: Any) -> bool:
        """Say whether params are layers with the sizes and the dtype of this workspace."""
        if params is self._fitting:  # a tuple of tuples, which stays what it was
            return True
        fitting = (
            type(params) is tuple
            and len(params) == len(self.shapes)
            and all(
                type(layer) is Dense
                and type(layer.weight) is type(layer.bias) is np.ndarray
                and layer.weight.shape == shape
                and layer.bias.shape == shape[1:]
                and layer.weight.dtype == layer.bias.dtype == self.dtype
                for layer, shape in zip(params, self.shapes, strict=True)
            )
        )
        if fitting:
            self._fitting = params
        return fitting


def as_workspace(workspace: object, params: Params, N: int) -> Workspace:
    """Check that the workspace serves N rows and these layers, or make one."""
    if workspace is None:
        return Workspace(params, N)
    if not isinstance(workspace, Workspace):
        got = type(workspace).__name__
        raise TypeError(f"workspace must be a manual_nn.Workspace or None, got {got}")
    if not workspace.fits(params):
        shapes, dtype = [weight.shape for weight, _ in params], params[0].weight.dtype
        msg = (
            f"workspace must be made for weights of shapes {shapes} and {dtype}, like params, got "
            f"one for {workspace.shapes} and {workspace.dtype}"
        )
        raise ValueError(msg)
    if params[0].weight is workspace.gradient[0].weight:
        raise ValueError("params must not be the workspace's own gradient, which is overwritten")
    if workspace.rows < N:
        raise ValueError(f"workspace must be made for at least {N} rows, got {workspace.rows}")
    return workspace
