"""Which product of matrices is called, and that one which does not multiply is not."""

import ctypes
from typing import Any

import numpy as np
import pytest
from numpy._core import _multiarray_umath  # type: ignore[attr-defined] # it is linked with BLAS

from manual_nn.compiled import blas
from tests.support.cases import each


@each("dtype", blas.LETTERS)
def test_a_product_is_found_and_multiplies(dtype: str) -> None:
    function = ctypes.CFUNCTYPE(None)(blas.address_of_gemm(dtype))
    assert blas.multiplies(function, dtype)


@pytest.mark.parametrize("dtype", blas.LETTERS)
def test_without_numpy_s_own_it_is_scipy_s(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = blas.address_of_gemm(dtype)
    monkeypatch.setattr(blas, "FORMS", ())
    other = blas.address_of_gemm(dtype)
    assert other != own
    assert blas.multiplies(ctypes.CFUNCTYPE(None)(other), dtype)


def test_numpy_s_own_is_found_in_whichever_form_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    own = blas.address_of_gemm("float32")
    library = ctypes.CDLL(_multiarray_umath.__file__)
    forms = [form for form in blas.FORMS if hasattr(library, form.format("s"))]
    monkeypatch.setattr(blas, "FORMS", ("no_such_{}gemm", *forms))
    assert blas.address_of_gemm("float32") == own


def test_a_function_that_does_not_multiply_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = ctypes.CFUNCTYPE(None)(lambda: None)
    assert not blas.multiplies(nothing, "float64")
    other_precision = ctypes.CFUNCTYPE(None)(blas.address_of_gemm("float32"))
    assert not blas.multiplies(other_precision, "float64")
    monkeypatch.setattr(blas, "multiplies", lambda *_: False)
    with pytest.raises(ImportError, match="neither NumPy's BLAS nor SciPy's can be called"):
        blas.register()


def test_the_names_that_compiled_code_knows_differ() -> None:
    assert [*map(blas.name_of, blas.LETTERS)] == ["manual_nn_sgemm", "manual_nn_dgemm"]
    assert np.dtype(np.float32).name in blas.LETTERS


def test_what_counts_the_threads_is_found_where_numpy_brings_its_own_blas() -> None:
    brought = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    address = blas.address_of_count()
    assert (address is not None) == (brought == "scipy-openblas")
    if address is not None:
        assert 1 <= ctypes.CFUNCTYPE(ctypes.c_int)(address)() <= 1024
