"""The loss and its gradient over Dask arrays: rows on many machines, or more than memory holds.

The rows lie in blocks, as Dask keeps them. With w_all the sum of the weights w_n of all rows, or
their number N where there are none,

    L = sum_b L^(b) + weight_decay * sum_l ||W_l||^2,    L^(b) = sum_{n in b} w_n / w_all * L_n,

and its gradient likewise; eq. (1), (2). A task for each block computes L^(b) and its gradient by
`manual_nn.models.mlp`, laid out as one row of numbers; Dask adds these rows up as a tree; the
penalty is added once, in the process that asked. So parameters travel to the machines, and
gradients back: the data stay where they are. A block whose machine is lost is computed again on
another, to the same bits where processor, BLAS and number of threads are the same, anywhere within
the error bound.

Dask runs a task on every core at once: where it does so with threads, give BLAS one thread, as by
OPENBLAS_NUM_THREADS=1, or the tasks will get in each other's way. (Dask's own worker processes
do so.)

The result stays within the error bound of the local function, for any division into blocks: see
distributed.md.

Axes: N rows in all, D inputs, K classes, L layers, P numbers in all weights and biases.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array, RowWeight
from manual_nn.checks.arguments import as_number, as_sample_weight
from manual_nn.checks.finite import check_finite
from manual_nn.layers.dense import Dense, Params
from manual_nn.layers.softmax_cross_entropy import cross_entropy, log_softmax
from manual_nn.models import mlp, penalty
from manual_nn.models.arguments import as_inputs, as_labels, as_params, as_rows, as_targets
from manual_nn.models.workspace import new_arrays

try:
    import dask.array as da
    from dask.delayed import delayed
except ImportError as error:
    msg = "manual_nn.distributed needs Dask: install manual-nn[dask]"
    raise ImportError(msg) from error

# Of the params, X, target and row weights of one block's rows.
Quantity: TypeAlias = Callable[[Params, Array, Array, RowWeight], Array]


def loss(
    params: Params,
    X: da.Array,
    y: da.Array,
    *,
    weight_decay: float = 0.0,
    sample_weight: da.Array | None = None,
) -> np.floating[Any]:
    """Compute the loss of `manual_nn.loss` over the blocks of Dask arrays; eq. (1).

    Args:
        params: the layers, float32 or float64, in memory.
        X: the inputs, (N, D), in blocks of rows.
        y: class numbers, (N,), or target probabilities, (N, K); put into the blocks of X.
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: the weights of the rows, (N,), none negative, or None for equal ones;
            they are added up before X is read.

    Returns:
        The loss, a scalar of the dtype of the parameters, computed by Dask's present scheduler.

    Raises:
        TypeError: X, y or sample_weight is not a Dask array; or as for `manual_nn.loss`.
        ValueError: the sizes of blocks are unknown; or as for `manual_nn.loss`. Shapes and
            dtypes are checked before any task is run, what the arrays hold by the tasks.

    >>> zero = Dense(np.zeros((2, 4)), np.zeros(4))
    >>> X, y = da.ones((6, 2), chunks=(4, 2)), da.zeros(6, dtype=int, chunks=3)
    >>> loss((zero,), X, y) == np.log(4)  # four classes, equally likely
    np.True_
    """
    params = as_params(params)
    weight_decay = as_number(weight_decay, name="weight_decay", minimum=0)
    (data_loss,) = _sum_over_blocks(_block_loss, params, _as_rows(params, X, y, sample_weight))
    return data_loss + penalty.forward(params, weight_decay)


def loss_and_grad(
    params: Params,
    X: da.Array,
    y: da.Array,
    *,
    weight_decay: float = 0.0,
    sample_weight: da.Array | None = None,
) -> tuple[np.floating[Any], Params]:
    """Compute the loss and gradient of `manual_nn.loss_and_grad` over blocks; eq. (1), (2).

    Args:
        params: the layers, float32 or float64, in memory.
        X: the inputs, (N, D), in blocks of rows.
        y: class numbers, (N,), or target probabilities, (N, K); put into the blocks of X.
        weight_decay: the factor of the penalty; biases are not penalised.
        sample_weight: the weights of the rows, as for `loss`.

    Returns:
        The loss, as `loss` gives it, and the gradient, shaped like `params`.

    Raises:
        TypeError, ValueError: as for `loss`.

    A step down the gradient of all rows, then one for each block:

    >>> from manual_nn.training.sgd import sgd_step
    >>> from manual_nn import init_params
    >>> params = init_params([2, 3, 2], rng=np.random.default_rng(0))
    >>> X = da.random.default_rng(0).normal(size=(1000, 2), chunks=(250, 2))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> before, gradient = loss_and_grad(params, X, y)
    >>> params = sgd_step(params, gradient, 0.5)
    >>> for b in range(X.numblocks[0]):
    ...     _, gradient = loss_and_grad(params, X.blocks[b], y.blocks[b])
    ...     params = sgd_step(params, gradient, 0.5)
    >>> loss(params, X, y) < before
    np.True_
    """
    params = as_params(params)
    weight_decay = as_number(weight_decay, name="weight_decay", minimum=0)
    total = _sum_over_blocks(_block_gradient, params, _as_rows(params, X, y, sample_weight))
    return total[0] + penalty.forward(params, weight_decay), tuple(
        Dense(d_weight + 2 * weight_decay * layer.weight, d_bias)
        for layer, (d_weight, d_bias) in zip(params, _layers(params, total[1:]), strict=True)
    )


class _Rows(NamedTuple):
    """The data in blocks of the same rows, none of them empty, and w_all."""

    numbers: da.Array  # of the rows, for messages
    X: da.Array
    y: da.Array
    sample_weight: da.Array | None
    total: float


def _as_rows(params: Params, X: da.Array, y: da.Array, sample_weight: da.Array | None) -> _Rows:
    """Check the arrays, put them into the blocks of X, and add up the weights."""
    _check(params, X, y, sample_weight)
    blocks = {0: tuple(size for size in X.chunks[0] if size)}
    numbers = da.arange(len(X), chunks=(blocks[0],))
    X, y = X.rechunk(blocks), y.rechunk(blocks)
    if sample_weight is None:
        return _Rows(numbers, X, y, None, float(len(X)))
    sample_weight = da.map_blocks(
        _checked_weight, numbers, sample_weight.rechunk(blocks), dtype=np.float64
    ).persist()  # read once; they are few numbers beside X
    largest = float(sample_weight.max().compute())
    as_sample_weight(1, [largest])  # which refuses 0
    sample_weight = sample_weight / largest  # whose sum cannot overflow
    return _Rows(numbers, X, y, sample_weight, float(sample_weight.sum().compute()))


def _checked_weight(numbers: npt.NDArray[np.intp], sample_weight: Array) -> Array:
    """Check the weights of a block."""
    if sample_weight.any():  # in one block of several they may all be 0
        name = f"sample_weight{_place(numbers)}"
        as_sample_weight(len(sample_weight), sample_weight, name=name)
    return sample_weight.astype(np.float64)


def _sum_over_blocks(quantity: Quantity, params: Params, rows: _Rows) -> Array:
    """Add up the blocks' quantities, a task for each; eq. (1), (2)."""
    arrays = [(rows.numbers, "n"), (rows.X, "nd"), (rows.y, "nk"[: rows.y.ndim])]
    if rows.sample_weight is not None:
        arrays.append((rows.sample_weight, "n"))
    dtype = params[0].weight.dtype
    quantities = da.blockwise(
        _of_block,
        "np",  # one row for each block
        *itertools.chain(*arrays),
        new_axes={"p": math.nan},  # as many as the quantity has
        adjust_chunks={"n": lambda _: 1},
        concatenate=True,  # X may be in blocks of columns too
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
        quantity=quantity,
        params=delayed(params),  # sent to a machine once, not with each task
        total=rows.total,
    )
    return quantities.sum(axis=0).compute()


def _of_block(
    numbers: npt.NDArray[np.intp],
    X: Array,
    y: Array,
    sample_weight: Array | None = None,
    *,
    quantity: Quantity,
    params: Params,
    total: float,
) -> Array:
    """Compute a quantity of one block's rows, (1, size), after checking what they hold."""
    place = _place(numbers)
    X = as_inputs(params, X, name=f"X{place}")
    check_finite(X, name=f"X{place}")
    target = as_targets(params, len(X), y, name=f"y{place}")
    ones = np.float64(1) if sample_weight is None else sample_weight[:, np.newaxis]
    return quantity(params, X, target, (ones / total).astype(X.dtype))[np.newaxis]


def _place(numbers: npt.NDArray[np.intp]) -> str:
    """Say where in the whole data a block lies."""
    return f"[{numbers[0]}:{numbers[-1] + 1}]"


def _block_loss(params: Params, X: Array, target: Array, row_weight: RowWeight) -> Array:
    """L^(b), (1,), eq. (1)."""
    z, _ = mlp.forward(params, X)
    return np.array([cross_entropy(log_softmax(z), target, row_weight)])


def _block_gradient(params: Params, X: Array, target: Array, row_weight: RowWeight) -> Array:
    """L^(b) and its gradient in one row, (1 + P,), eq. (1), (2)."""
    out = new_arrays(params, len(X))
    value, gradient = mlp.forward_and_backward(params, X, target, row_weight, 0.0, out=out)
    return np.concatenate([[value], *(d_array.ravel() for layer in gradient for d_array in layer)])


def _layers(params: Params, flat: Array) -> Params:
    """Cut the numbers of a gradient into its arrays."""
    arrays = [array for layer in params for array in layer]
    ends = np.cumsum([array.size for array in arrays])[:-1]
    cut = [
        part.reshape(array.shape) for part, array in zip(np.split(flat, ends), arrays, strict=True)
    ]
    return tuple(map(Dense, cut[::2], cut[1::2]))


def _check(params: Params, X: da.Array, y: da.Array, sample_weight: da.Array | None) -> None:
    """Refuse what types, shapes and dtypes show to be wrong, as the local function does."""
    given = {"X": X, "y": y} | ({} if sample_weight is None else {"sample_weight": sample_weight})
    for name, array in given.items():
        if not isinstance(array, da.Array):
            raise TypeError(f"{name} must be a Dask array, got {type(array).__name__}")
        if any(map(math.isnan, array.shape)):
            msg = f"{name} must have blocks of known sizes: call its compute_chunk_sizes() first"
            raise ValueError(msg)
    N, K = len(as_rows(params, _stand_in(X, X.shape))), params[-1].bias.size
    as_labels(params, N, _stand_in(y, y.shape))
    as_targets(params, 1, np.eye(1, K, dtype=y.dtype) if y.ndim == 2 else _stand_in(y, (1,)))
    if sample_weight is not None:
        if sample_weight.shape != (N,):
            raise ValueError(f"sample_weight must have shape ({N},), got {sample_weight.shape}")
        as_sample_weight(1, np.ones(1, sample_weight.dtype))


def _stand_in(array: da.Array, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Make an array of this shape, and of the same dtype, that takes no memory."""
    return np.broadcast_to(np.zeros((), array.dtype), shape)
