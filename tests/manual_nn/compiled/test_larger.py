"""The larger of two numbers."""

from typing import Any

import numba
import numpy as np
import pytest

from manual_nn.compiled.larger import larger

NUMBERS = (-np.inf, -1.5, 0.0, 2.0, np.inf, np.nan)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_it_is_numpy_s_maximum(dtype: type[np.floating]) -> None:
    compiled: Any = numba.njit(lambda a, b: larger(a, b))  # noqa: PLW0108, Numba wants Python's
    for a in map(dtype, NUMBERS):
        for b in map(dtype, NUMBERS):
            want = np.maximum(a, b)
            for got in (larger(a, b), dtype(compiled(a, b))):
                assert got == want or np.isnan([got, want]).all()
