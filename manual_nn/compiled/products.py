"""Products of matrices, by BLAS or, where that is faster, in tiles.

Axes: I rows and J columns of the product, K what is summed over.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from manual_nn.arrays import Array
from manual_nn.compiled import blas
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.tile import BYTES, ROWS
from manual_nn.compiled.tiled_product import HAS_AVX512, tiled_product

FEW = 64  # rows, or terms, at most: of more BLAS's copies take a small part of its time
LONG = 7 * BYTES  # of a row of the product, at least: in a shorter one too few tiles are wide
LITTLE = 2**18  # multiplications, of which OpenBLAS gives no part to another thread

# Multiplications up to which OpenBLAS, with AVX-512, makes no copy of what it multiplies: no other
# way is faster then, and larger products are worth cutting where nothing has to be copied for it.
SMALL = 10**6

blas.register()


def product(a: Array, b: Array, factor: Any, kept: Any, out: Array) -> None:
    """Write factor a b + kept out to out, (I, J), for a, (I, K), and b, (K, J).

    Each array is in C order, or the transpose of one that is; `out` is in C order. Where `kept` is
    0, it does not matter what `out` held.

    Raises:
        ValueError: the shapes do not fit.
    """
    check_shapes(a, b, out)
    out[...] = factor * (a @ b) + (kept * out if kept else 0)


def threads() -> int:
    """Count the threads that BLAS uses; where they cannot be counted there may be several."""
    return 2


@overload(threads)  # type: ignore[untyped-decorator] # it is Any to mypy
def _threads_of_blas() -> Any:
    count = types.ExternalFunction(blas.NAME_OF_COUNT, types.int32())
    known = blas.address_of_count() is not None

    def counted() -> Any:
        return count()

    return counted if known else threads


@compiled
def suits_tiles(I: int, K: int, J: int, itemsize: int) -> bool:
    """Say whether tiles are faster than BLAS here, at I K J multiplications.

    They are on one thread, if the product has few rows or few terms; and where they are filled.
    """
    return (
        HAS_AVX512
        and 0 < min(I, K) <= FEW
        and I >= ROWS
        and J * itemsize >= LONG
        and (I * J * K <= LITTLE or threads() == 1)
    )


@compiled
def check_shapes(a: Array, b: Array, out: Array) -> None:
    """Check what BLAS does not: it would read and write beside the arrays."""
    if a.shape[1] != b.shape[0] or out.shape[0] != a.shape[0] or out.shape[1] != b.shape[1]:
        raise ValueError("a, b and out must have the shapes (I, K), (K, J) and (I, J)")


@intrinsic  # type: ignore[untyped-decorator] # it is Any to mypy
def _in_memory(context: Any, value: Any) -> Any:
    """Give the address of a number, in the frame of the function that asks."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.alloca_once_value(builder, arguments[0])

    return types.CPointer(value)(value), generate


@overload(product)  # type: ignore[untyped-decorator] # likewise
def _product_by_blas(a: Any, b: Any, factor: Any, kept: Any, out: Any) -> Any:
    """Call ?gemm, which has matrices in Fortran order: out^T = b^T a^T."""
    number, whole, character = map(types.CPointer, (out.dtype, types.int64, types.uint8))
    sizes = (whole,) * 3
    gemm = types.ExternalFunction(
        blas.name_of(out.dtype.name),
        types.void(
            *(character, character, *sizes, number, number, whole, number, whole),
            *(number, number, whole),
        ),
    )
    b_in_C, a_in_C = b.layout == "C", a.layout == "C"
    no, yes = ord("n"), ord("t")
    b_transposed, a_transposed = (no if b_in_C else yes), (no if a_in_C else yes)
    dtype = out.dtype

    def by_blas(a: Any, b: Any, factor: Any, kept: Any, out: Any) -> None:
        check_shapes(a, b, out)
        large = a.shape[0] * a.shape[1] * b.shape[1] > SMALL
        if b_in_C and large and suits_tiles(a.shape[0], a.shape[1], b.shape[1], out.itemsize):
            view = a[:, : a.shape[1]]  # of one type, whatever the order of `a`: compiled once
            tiled_product(view, b, dtype(factor), dtype(kept), out, out)
            return
        gemm(
            _in_memory(types.uint8(b_transposed)),
            _in_memory(types.uint8(a_transposed)),
            _in_memory(types.int64(out.shape[1])),
            _in_memory(types.int64(out.shape[0])),
            _in_memory(types.int64(a.shape[1])),
            _in_memory(dtype(factor)),
            b.ctypes,
            _in_memory(types.int64(b.shape[1] if b_in_C else b.shape[0])),
            a.ctypes,
            _in_memory(types.int64(a.shape[1] if a_in_C else a.shape[0])),
            _in_memory(dtype(kept)),
            out.ctypes,
            _in_memory(types.int64(out.shape[1])),
        )

    return by_blas
