"""The arrays of a pass, made once for many calls.

Axes: N rows in the batch, L layers.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from manual_nn.arrays import Array
from manual_nn.checks.arguments import as_count, name_of_kind
from manual_nn.layers.dense import Dense, Params
from manual_nn.models.arguments import as_params


class Arrays(NamedTuple):
    """Where a pass over N rows writes its results."""

    z: Sequence[Array]  # z_1 to z_L, (N, fan_out) each; a_l takes the place of z_l
    d_z: Sequence[Array]  # d_z_1 to d_z_{L-1}
    gradient: Params
    decay: Sequence[Array]  # for 2 weight_decay W_1 to W_L, one after the other in the same memory

    def first_rows(self, N: int) -> "Arrays":
        """Take the parts that a batch of N rows needs; these arrays have at least as many rows."""
        if len(self.z[0]) == N:
            return self
        z, d_z = ([array[:N] for array in arrays] for arrays in (self.z, self.d_z))
        return self._replace(z=z, d_z=d_z)


def new_arrays(params: Params, N: int) -> Arrays:
    """Make the arrays of a pass over N rows through these layers, not yet filled."""
    dtype = params[0].weight.dtype
    shapes = [weight.shape for weight, _ in params]
    gradient = tuple(Dense(np.empty(shape, dtype), np.empty(shape[1], dtype)) for shape in shapes)
    z = [np.empty((N, fan_out), dtype) for _, fan_out in shapes]
    d_z = [np.empty_like(z_l) for z_l in z[:-1]]
    decay = np.empty(max(map(math.prod, shapes)), dtype)
    return Arrays(z, d_z, gradient, [decay[: math.prod(shape)].reshape(shape) for shape in shapes])


class Workspace:
    """The arrays that a pass over a batch writes to, used again by every call.

    `loss_and_grad(params, X, y, workspace=workspace)` returns its gradient in the workspace's own
    arrays, which the next such call overwrites: copy what you want to keep. Without a workspace a
    call allocates all its arrays anew, which takes longer than the arithmetic where a batch is
    small and a network large.

    Args:
        params: layers with the sizes and the dtype that the passes will have.
        rows: the largest number of rows that a batch will have.
        backend: what computes the passes: "numpy"; "numba", which compiles them once, and is up
            to many times as fast where a batch is small; or "auto", which is "numba" where the
            extra `fast` is installed.

    Raises:
        TypeError: params are not layers, rows is not a whole number, or backend is not a string.
        ValueError: the layers do not fit each other, rows is below 1, or there is no such backend.
        ModuleNotFoundError: the backend is "numba", which is not installed.

    >>> import manual_nn
    >>> params = (Dense(np.zeros((2, 4)), np.zeros(4)),)
    >>> workspace = Workspace(params, rows=32)
    >>> X, y = np.ones((3, 2)), [0, 1, 1]  # any number of rows up to 32
    >>> _, (d_layer,) = manual_nn.loss_and_grad(params, X, y, workspace=workspace)
    >>> d_layer.weight is workspace.gradient[0].weight
    True
    """

    def __init__(self, params: Params, rows: int, *, backend: str = "numpy") -> None:
        """Allocate the arrays."""
        params = as_params(params)
        self.backend = "numpy" if backend == "numpy" else _as_backend(backend)
        self.rows = as_count(rows, name="rows")
        self.dtype = params[0].weight.dtype
        self.shapes = [weight.shape for weight, _ in params]
        self._fitting = self._apart = params
        self._all = new_arrays(params, self.rows)
        self.gradient: Params = self._all.gradient
        self.ready: Any = None  # what mlp_compiled keeps for its next call

    def arrays(self, N: int) -> Arrays:
        """Give the part of the arrays that a batch of N rows needs."""
        return self._all.first_rows(N)

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

    def overwrites(self, params: Params) -> bool:
        """Say whether an array of params shares memory with the workspace's gradient."""
        if params is self._apart:  # whose arrays stay where they are
            return False
        own = [array for layer in self.gradient for array in layer]
        arrays = [array for layer in params for array in layer]
        if any(np.may_share_memory(array, mine) for array in arrays for mine in own):
            return True
        self._apart = params
        return False


def checked_params(params: object, workspace: object) -> Params:
    """Check that params are layers that fit each other, which a workspace that they fit knows."""
    if isinstance(workspace, Workspace) and workspace.fits(params):
        return params  # type: ignore[return-value] # as `fits` has seen
    return as_params(params)


def _as_backend(backend: str) -> str:
    from manual_nn.compiled.backend import as_backend  # noqa: PLC0415, not needed otherwise

    return as_backend(backend)


def arrays_of(workspace: object, params: Params, N: int) -> Arrays:
    """Take the arrays for N rows from the workspace, once it is checked, or make new ones."""
    if workspace is None:
        return new_arrays(params, N)
    if not isinstance(workspace, Workspace):
        got = name_of_kind(workspace, Workspace)
        raise TypeError(f"workspace must be a manual_nn.Workspace or None, got {got}")
    if not workspace.fits(params):
        shapes, dtype = [weight.shape for weight, _ in params], params[0].weight.dtype
        msg = (
            f"workspace must be made for weights of shapes {shapes} and {dtype}, like params, got "
            f"one for {workspace.shapes} and {workspace.dtype}"
        )
        raise ValueError(msg)
    if workspace.overwrites(params):
        raise ValueError("params must not be the workspace's own gradient, which is overwritten")
    if workspace.rows < N:
        raise ValueError(f"workspace must be made for at least {N} rows, got {workspace.rows}")
    return workspace.arrays(N)
