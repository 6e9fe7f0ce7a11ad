"""Products of whole numbers, which are exact, by tiles that do and do not fill their arrays.

Axes: I rows and J columns of the product, K what is summed over.
"""

import itertools
import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest

from manual_nn.compiled import blas, products, tiled_product
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.tile import NARROW, ROWS, WIDE

SIZES = [
    (I, K, J)
    for I, K, J in itertools.product(
        (1, ROWS, 2 * ROWS + 3),
        (1, tiled_product.DEPTH, tiled_product.DEPTH + 1),
        (1, 16 * WIDE, 16 * WIDE + 16 * NARROW + 5),
    )
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_in_tiles_are_those_of_numpy_and_write_nothing_else(
    dtype: type[np.floating],
) -> None:
    rng = np.random.default_rng(0)
    for (I, K, J), (factor, kept), order in zip(
        SIZES,
        itertools.cycle([(2, 0), (-1, 1), (2, 0.5), (3, -1)]),
        itertools.cycle("CF"),
        strict=False,
    ):
        a, b, other = (
            rng.integers(-3, 4, size=shape).astype(dtype) for shape in ((I, K), (K, J), (I, J))
        )
        memory = np.full((I + 1) * J, np.nan, dtype)  # with a row that is not the product's
        out = memory[:-J].reshape(I, J)
        if kept == 0:
            other = out
        elif kept == 1:
            out[:] = other
        want = factor * (a @ b) + (kept * other if kept else 0)
        squares = (other**2).sum() if kept else 0
        view = np.asarray(a, order=order)[:, :K]  # type: ignore[call-overload] # a letter
        got = tiled_product.tiled_product(
            view, b, dtype(factor), dtype(kept), out if kept == 1 else other, out
        )
        np.testing.assert_array_equal(out, want)
        assert got == squares
        assert np.isnan(memory[-J:]).all()


def test_tiles_are_taken_where_they_are_filled_and_no_thread_would_be_left_without_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suits: Any = getattr(products.suits_tiles, "py_func", products.suits_tiles)
    monkeypatch.setattr(products, "HAS_AVX512", True)
    monkeypatch.setattr(products, "threads", lambda: 1)
    J = products.LONG // 4
    assert suits(ROWS, 784, J, 4)
    assert suits(784, 1, J, 4)  # few to add up
    assert not suits(ROWS - 1, 784, J, 4)
    assert not suits(ROWS, 784, J - 1, 4)
    assert not suits(ROWS, 0, J, 4)  # nothing would be written
    assert suits(ROWS, 784, J - 1, 8)
    rows, terms = products.FEW_ROWS, products.FEW_TERMS
    assert suits(rows, terms + 1, J, 4)
    assert suits(rows + 1, terms, J, 4)
    assert not suits(rows + 1, terms + 1, J, 4)
    monkeypatch.setattr(products, "threads", lambda: 2)
    K = products.LITTLE // (ROWS * J)
    assert suits(ROWS, K, J, 4)
    assert not suits(ROWS, K + 1, J, 4)
    monkeypatch.setattr(products, "HAS_AVX512", False)
    assert not suits(ROWS, 784, J, 4)


@pytest.mark.parametrize("name", ["generic", "skylake-avx512"])
def test_tiles_are_for_the_processor_that_numba_compiles_for(name: str) -> None:
    code = "from manual_nn.compiled.tiled_product import HAS_AVX512; print(HAS_AVX512)"
    features = "+avx2,+avx512f" if name == "skylake-avx512" else ""
    chosen = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    done = subprocess.run(  # noqa: S603, this interpreter
        [sys.executable, "-c", code],
        env={**os.environ, **chosen},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(name != "generic")]


@compiled
def count_threads() -> int:
    return products.threads()


def test_the_threads_of_blas_are_counted() -> None:
    from threadpoolctl import threadpool_info, threadpool_limits  # noqa: PLC0415

    assert products.threads() == 2  # perhaps several: Python's own product is NumPy's
    if blas.address_of_count() is None or numba.config.DISABLE_JIT:
        return
    with threadpool_limits(1, user_api="blas"):
        assert count_threads() == 1
    numpy_s = [pool for pool in threadpool_info() if "numpy" in pool["filepath"]]
    assert count_threads() == numpy_s[0]["num_threads"]
