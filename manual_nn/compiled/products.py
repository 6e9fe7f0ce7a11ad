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

# Rows and terms at most for tiles: of more BLAS's copies take a small part of its time.
FEW_ROWS, FEW_TERMS = 64, 32
LONG = 7 * BYTES  # bytes of a row of the product at least: below it BLAS is level or ahead
LITTLE = 2**18  # multiplications, of which OpenBLAS gives no part to another thread

# Multiplications up to which OpenBLAS, with AVX-512, makes no copy of what it multiplies, unless b
# is a transpose: no other way is faster then, and it is worth cutting larger products into such
# parts.
SMALL = 10**6
LEAST = 64  # rows, or terms, that a part of SMALL multiplications must have room for

blas.register()


def product(a: Array, b: Array, factor: Any, kept: Any, out: Array) -> None:
    """Write factor a b + kept out to out, (I, J), for a, (I, K), and b, (K, J).

    Each array is in C order, or the transpose of one that is; `out` is in C order. Where `kept` is
    0, it does not matter what `out` held.

    Raises:
        ValueError: the shapes do not fit.
    """
    check_shapes(a, b, out)
    gemm(a, b, factor, kept, out)


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
        and K > 0
        and I >= ROWS
        and (I <= FEW_ROWS or K <= FEW_TERMS)
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


@compiled
def part_of(length: int, times: int) -> int:
    """Give how many of a product's rows, or terms, BLAS is to take at a time.

    They are in equal parts that it copies nothing for, at so many multiplications for each of them;
    but all at once if a part has room for less than LEAST, or BLAS may have several threads.
    """
    most = SMALL // max(times, 1)
    if not HAS_AVX512 or most < LEAST or threads() > 1:
        return max(length, 1)
    parts = max(-(-length // most), 1)
    return max(-(-length // parts), 1)


@compiled
def by_rows(a: Array, b: Array, factor: Any, kept: Any, out: Array) -> None:
    """Do what `product` does, for matrices in C order: in tiles, or part of the rows at a time."""
    check_shapes(a, b, out)
    if done_in_tiles(a, b, factor, kept, out):
        return
    rows = part_of(len(a), b.size)
    for i in range(0, len(a), rows):
        gemm(a[i : i + rows], b, factor, kept, out[i : i + rows])


@compiled
def by_terms(a: Array, b: Array, factor: Any, kept: Any, out: Array) -> None:
    """Do what `product` does, if a^T and b are in C order: in tiles, or part of the sums at a time.

    A part of the terms is a part of the memory; one of the rows is spread over all of a^T.
    """
    check_shapes(a, b, out)
    if done_in_tiles(a, b, factor, kept, out):
        return
    terms = part_of(len(b), out.size)
    gemm(a[..., :terms], b[:terms], factor, kept, out)
    for k in range(terms, len(b), terms):
        gemm(a[..., k : k + terms], b[k : k + terms], factor, 1.0, out)


@compiled
def done_in_tiles(a: Array, b: Array, factor: Any, kept: Any, out: Array) -> bool:
    """Do what `product` does in tiles, if that is faster, and say whether it is done."""
    (I, K), J = a.shape, b.shape[1]
    if I * K * J <= SMALL or not suits_tiles(I, K, J, out.itemsize):
        return False
    number, view = out.dtype.type, a[:, :K]  # of one type, whatever the order: compiled once
    tiled_product(view, b, number(factor), number(kept), out, out)
    return True


whole = compiled(product)  # as it is written


@overload(product)  # type: ignore[untyped-decorator] # likewise
def _product_by_order(a: Any, b: Any, factor: Any, kept: Any, out: Any) -> Any:
    way = whole if b.layout != "C" else by_rows if a.layout == "C" else by_terms

    def call(a: Any, b: Any, factor: Any, kept: Any, out: Any) -> None:
        way(a, b, factor, kept, out)

    return call


def gemm(a: Array, b: Array, factor: Any, kept: Any, out: Array) -> None:
    """Do what `product` does by BLAS, whose function has this name, without a check."""
    out[...] = factor * (a @ b) + (kept * out if kept else 0)


@overload(gemm)  # type: ignore[untyped-decorator] # likewise
def _gemm_of_blas(a: Any, b: Any, factor: Any, kept: Any, out: Any) -> Any:
    """Call ?gemm, which has matrices in Fortran order: out^T = b^T a^T."""
    number, integer, character = map(types.CPointer, (out.dtype, types.int64, types.uint8))
    sizes = (integer,) * 3
    of_blas = types.ExternalFunction(
        blas.name_of(out.dtype.name),
        types.void(
            *(character, character, *sizes, number, number, integer, number, integer),
            *(number, number, integer),
        ),
    )
    b_in_C, a_in_C = b.layout == "C", a.layout == "C"
    no, yes = ord("n"), ord("t")
    b_transposed, a_transposed = (no if b_in_C else yes), (no if a_in_C else yes)
    dtype = out.dtype

    def call(a: Any, b: Any, factor: Any, kept: Any, out: Any) -> None:
        of_blas(
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

    return call
