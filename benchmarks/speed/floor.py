"""The floor: the bare products of matrices that a derivative takes, by the same BLAS.

For batches of one row it is none: NumPy's matmul is slow at a product of a column and a row, which
may as well be made by its multiply.

Axes: N rows in the batch.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


def xla_floor(sizes: tuple[int, ...], N: int, dtype: str) -> Callable[[], object]:
    """Make the products of a gradient by XLA, in one jitted function, as JAX's own pass has them.

    Args:
        sizes: D, the hidden widths, K.
        N: rows in the batch.
        dtype: of the matrices.
    """
    import jax  # noqa: PLC0415, it may be missing

    rng = np.random.default_rng(0)
    layers = [
        tuple(
            jax.device_put(rng.normal(size=shape).astype(dtype))
            for shape in ((N, fan_in), (fan_in, fan_out), (N, fan_out))
        )
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]

    def products(layers: Any) -> Any:
        return [
            (a @ W, a.T @ d_z, d_z @ W.T if l else None) for l, (a, W, d_z) in enumerate(layers)
        ]

    compiled: Any = jax.jit(products)
    return lambda: jax.block_until_ready(compiled(layers))


def floor(
    sizes: tuple[int, ...],
    N: int,
    dtype: str,
    first: tuple[int, int, int] = (1, 0, 1),
    others: tuple[int, int, int] = (1, 1, 1),
) -> Callable[[], None]:
    """Make the bare products of matrices, into arrays made before: what BLAS takes at least.

    Args:
        sizes: D, the hidden widths, K.
        N: rows in the batch.
        dtype: of the matrices.
        first: how many products the first layer takes: up, a W; down, d_z W^T; weights, a^T d_z.
            A gradient takes one up and one for the weights.
        others: how many every other layer takes. A gradient takes one of each.
    """
    rng = np.random.default_rng(0)
    up, down = [], []
    for l, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        a, W, d_z = (
            rng.normal(size=shape).astype(dtype)
            for shape in ((N, fan_in), (fan_in, fan_out), (N, fan_out))
        )
        ups, downs, weights = others if l else first
        up += [(a, W, np.empty_like(d_z))] * ups
        down += [(d_z, W.T, np.empty_like(a))] * downs
        down += [(a.T, d_z, np.empty_like(W))] * weights

    def run() -> None:
        for left, right, out in up + down[::-1]:
            np.matmul(left, right, out=out)

    return run
