"""Products of whole numbers, which are exact, in every order of memory that is compiled for."""

import itertools
from typing import Any

import numba
import numpy as np
import pytest

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.products import product


@compiled
def compiled_product(a: Array, b: Array, factor: float, kept: float, out: Array) -> None:
    product(a, b, factor, kept, out)


@pytest.mark.parametrize("function", [product, compiled_product])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_are_those_of_numpy(function: object, dtype: type[np.floating]) -> None:
    """With sizes of 1, which both orders have the same memory for, and others."""
    assert callable(function)
    rng = np.random.default_rng(0)
    for sizes, transposed, (factor, kept) in itertools.product(
        [(2, 3, 4), (1, 3, 4), (2, 1, 4), (2, 3, 1), (1, 1, 1), (33, 17, 20), (65, 130, 128)],
        itertools.product([False, True], repeat=2),
        [(1.0, 0.0), (-2.0, 1.0), (0.5, 4.0)],
    ):
        I, K, J = sizes
        a, b, out = (
            rng.integers(-4, 5, size=shape).astype(dtype) for shape in ((I, K), (K, J), (I, J))
        )
        want = factor * (a @ b) + kept * out
        a, b = (
            array.T.copy().T if turned else array
            for array, turned in zip((a, b), transposed, strict=True)
        )
        if kept == 0:
            out.fill(np.nan)
        function(a, b, factor, kept, out)
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("function", [product, compiled_product])
@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((2, 3), (3, 4)), ((1, 3), (3, 5))])
def test_shapes_that_do_not_fit_are_refused(function: Any, shapes: Any) -> None:
    """Before anything is written, where one size of the three is another than out, (2, 5), has."""
    a, b = map(np.ones, shapes)
    out = np.zeros((2, 5))
    with pytest.raises(ValueError, match="must have the shapes"):
        function(a, b, 1.0, 0.0, out)
    assert not out.any()


def test_what_is_tested_is_compiled() -> None:
    assert numba.config.DISABLE_JIT or hasattr(compiled_product, "py_func")
