"""NumPy's own BLAS, under names by which compiled code calls it.

Numba's `np.dot` calls SciPy's: another library, perhaps older, whose threads would spin beside
those of NumPy's. It is taken only where NumPy's does not show its functions.

They are called as from Fortran, each argument by its address. Whole numbers are given 64 bits, of
which a library with whole numbers of 32 bits reads the lower half, on a machine that stores it
first; whether that works is tried before it is used.
"""

import ctypes
from typing import Any

import llvmlite.binding
import numpy as np
from numba.extending import get_cython_function_address
from numpy._core import _multiarray_umath  # type: ignore[attr-defined] # it is linked with BLAS

LETTERS = {"float32": "s", "float64": "d"}
FORMS = ("scipy_{}gemm_64_", "{}gemm_64_", "{}gemm_")  # of NumPy's wheels, and of other builds
COUNT = "scipy_openblas_get_num_threads64_"  # of the first form's library
NAME_OF_COUNT = "manual_nn_blas_threads"


def name_of(dtype: str) -> str:
    """Give the name that compiled code knows the product of this precision by."""
    return f"manual_nn_{LETTERS[dtype]}gemm"


def register() -> None:
    """Tell LLVM where the products are, and what counts the threads that they use.

    Raises:
        ImportError: there is no BLAS that works.
    """
    for dtype in LETTERS:
        llvmlite.binding.add_symbol(name_of(dtype), address_of_gemm(dtype))
    if (address := address_of_count()) is not None:
        llvmlite.binding.add_symbol(NAME_OF_COUNT, address)


def address_of_count() -> int | None:
    """Find what says how many threads NumPy's BLAS uses, or None in another build."""
    library = ctypes.CDLL(_multiarray_umath.__file__)
    function = getattr(library, COUNT, None)
    return None if function is None else ctypes.cast(function, ctypes.c_void_p).value


def address_of_gemm(dtype: str) -> int:
    """Find the product of matrices in NumPy's BLAS, or else in SciPy's."""
    library = ctypes.CDLL(_multiarray_umath.__file__)
    for form in FORMS:
        function = getattr(library, form.format(LETTERS[dtype]), None)
        if function is not None and multiplies(function, dtype):
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    address: int = get_cython_function_address("scipy.linalg.cython_blas", f"{LETTERS[dtype]}gemm")
    if not multiplies(ctypes.CFUNCTYPE(None)(address), dtype):
        raise ImportError("neither NumPy's BLAS nor SciPy's can be called")
    return address


def multiplies(function: Any, dtype: str) -> bool:
    """Say whether this is the product of matrices: of whole ones, which is exact."""
    a, b = (np.arange(1, 7, dtype=dtype).reshape(shape, order="F") for shape in ((2, 3), (3, 2)))
    out = np.full((2, 2), np.nan, dtype, order="F")
    sizes = [ctypes.c_int64(size) for size in (2, 2, 3)]
    one, zero, two, three = np.ones(1, dtype), np.zeros(1, dtype), *sizes[1:]
    pointers = [ctypes.byref(what) for what in (ctypes.c_char(b"n"),) * 2]
    pointers += map(ctypes.byref, sizes)
    a_, b_, out_, one_, zero_ = (
        array.ctypes.data_as(ctypes.c_void_p) for array in (a, b, out, one, zero)
    )
    function.restype = None
    function(
        *pointers,
        one_,
        a_,
        ctypes.byref(two),
        b_,
        ctypes.byref(three),
        zero_,
        out_,
        ctypes.byref(two),
    )
    return np.array_equal(out, a @ b)
