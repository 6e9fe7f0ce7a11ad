"""The larger of two numbers, as an operation that a processor has, for several lanes at once."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic, overload


def larger(a: Any, b: Any) -> Any:
    """Give the larger of two numbers of one precision, or NaN if one of them is."""
    return np.maximum(a, b)


@intrinsic  # type: ignore[untyped-decorator] # it is Any to mypy
def _maximum(context: Any, a: Any, b: Any) -> Any:
    """Call LLVM's own: in whatever order numbers are compared, it gives the same of them."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = arguments[0].type
        function = builder.module.declare_intrinsic(
            "llvm.maximum", [number], ir.FunctionType(number, [number, number])
        )
        return builder.call(function, arguments)

    return a(a, a), generate


@overload(larger)  # type: ignore[untyped-decorator] # likewise
def _larger_by_llvm(a: Any, b: Any) -> Any:
    def by_llvm(a: Any, b: Any) -> Any:
        return _maximum(a, b)

    return by_llvm
