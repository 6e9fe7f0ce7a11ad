"""Our functions are compiled for wide vectors, other people's as Numba does it."""

from typing import Any

import numba
import numpy as np
import pytest

from manual_nn.arrays import Array
from manual_nn.compiled import compiler
from manual_nn.compiled.vectors import ATTRIBUTE, Compiler


def doubled(a: Array) -> Array:
    return 2 * a


@pytest.fixture(autouse=True)
def _compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)


def llvm_of(function: Any) -> str:
    a = np.ones(3)
    np.testing.assert_array_equal(function(a), [2, 2, 2])
    return str(function.inspect_llvm(function.signatures[0]))


def test_a_function_of_ours_asks_for_wide_vectors() -> None:
    assert ATTRIBUTE in llvm_of(numba.njit(pipeline_class=Compiler)(doubled))


def test_a_function_of_somebody_else_does_not() -> None:
    assert "prefer-vector-width" not in llvm_of(numba.njit(doubled))


@pytest.mark.parametrize(
    "mark", [compiler.compiled, compiler.compiled_in_any_order, compiler.compiled_fused]
)
def test_whatever_is_marked_is_compiled_so(mark: Any) -> None:
    assert mark(doubled)._compiler.pipeline_class is Compiler
