"""The floor: the bare products of matrices that a derivative takes, by the same BLAS.

NumPy's and PyTorch's products are written into arrays made before. XLA's are written into new ones
in every call, like everything that XLA computes.

For batches of one row it is none: NumPy's matmul is slow at a product of a column and a row, which
may as well be made by its multiply.

Axes: N rows in the batch.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Counts: TypeAlias = tuple[int, int, int]  # of products of a layer: up, down, of its weights
GRADIENT: tuple[Counts, ...] = ((1, 0, 1), (1, 1, 1))


def _of_layer(l: int, counts: Sequence[Counts]) -> Counts:
    counts = counts or GRADIENT
    return counts[min(l, len(counts) - 1)]


def xla_floor(
    sizes: tuple[int, ...],
    N: int,
    dtype: str,
    *counts: Counts,
) -> Callable[[], object]:
    """Make the same products as `floor` by XLA, in one jitted function, as JAX's own pass has them.

    No two are of the same matrices: XLA would make one of them.

    Args:
        sizes: D, the hidden widths, K.
        N: rows in the batch.
        dtype: of the matrices.
        counts: as of `floor`.
    """
    import jax  # noqa: PLC0415, it may be missing

    up: list[Any] = []
    down: list[Any] = []
    of_weights: list[Any] = []
    for l, (a, W, d_z) in enumerate(_matrices(sizes, N, dtype)):
        ups, downs, weights = _of_layer(l, counts)
        up += [(a + i, W) for i in range(ups)]
        down += [(d_z + i, W) for i in range(downs)]
        of_weights += [(a, d_z - i) for i in range(weights)]

    def products(up: Any, down: Any, of_weights: Any) -> Any:
        return (
            [a @ W for a, W in up],
            [d_z @ W.T for d_z, W in down],
            [a.T @ d_z for a, d_z in of_weights],
        )

    compiled: Any = jax.jit(products)
    on_device = jax.device_put((up, down, of_weights))
    return lambda: jax.block_until_ready(compiled(*on_device))


def torch_floor(sizes: tuple[int, ...], N: int, dtype: str) -> Callable[[], object]:
    """Make the same by PyTorch, into tensors made before."""
    import torch  # noqa: PLC0415, it may be missing

    products = []
    for l, (a, W, d_z) in enumerate(_matrices(sizes, N, dtype)):
        a_, W_, d_z_ = map(torch.from_numpy, (a, W, d_z))
        pairs = [(a_, W_, d_z), (a_.T, d_z_, W), *([(d_z_, W_.T, a)] if l else [])]
        products += [
            (left, right, torch.from_numpy(np.empty_like(out))) for left, right, out in pairs
        ]

    def run() -> list[Any]:
        return [torch.mm(left, right, out=out) for left, right, out in products]

    return run


def _matrices(
    sizes: tuple[int, ...], N: int, dtype: str
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]]:
    """Draw a, W and d_z of each layer."""
    rng = np.random.default_rng(0)
    return [
        (
            rng.normal(size=(N, fan_in)).astype(dtype),
            rng.normal(size=(fan_in, fan_out)).astype(dtype),
            rng.normal(size=(N, fan_out)).astype(dtype),
        )
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]


def floor(
    sizes: tuple[int, ...],
    N: int,
    dtype: str,
    *counts: Counts,
) -> Callable[[], None]:
    """Make the bare products of matrices, into arrays made before: what BLAS takes at least.

    Args:
        sizes: D, the hidden widths, K.
        N: rows in the batch.
        dtype: of the matrices.
        counts: how many products the first layer takes, the next, and so on: up, a W; down,
            d_z W^T; weights, a^T d_z. What is said last is for all other layers. None are those of
            a gradient.
    """
    up, down = [], []
    for l, (a, W, d_z) in enumerate(_matrices(sizes, N, dtype)):
        ups, downs, weights = _of_layer(l, counts)
        up += [(a, W, np.empty_like(d_z))] * ups
        down += [(d_z, W.T, np.empty_like(a))] * downs
        down += [(a.T, d_z, np.empty_like(W))] * weights

    def run() -> None:
        for left, right, out in up + down[::-1]:
            np.matmul(left, right, out=out)

    return run
