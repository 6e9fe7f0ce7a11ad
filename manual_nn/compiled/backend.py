"""Which of the two computes, NumPy or the loops that Numba compiles: here alone it is chosen."""

import functools
import importlib
from collections.abc import Sequence
from typing import Literal

BACKENDS = ("auto", "numpy", "numba")
AUTOMATIC: Sequence[str] = ("numba", "numpy")  # what "auto" tries, in this order


def as_backend(backend: object) -> Literal["numpy", "numba"]:
    """Choose what computes: what is asked for or, for "auto", the first of AUTOMATIC that can.

    The results are the same up to rounding.

    Raises:
        TypeError: it is not a string.
        ValueError: it is none of BACKENDS.
        ModuleNotFoundError: it is "numba", which cannot compile here.
    """
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a string, got {type(backend).__name__}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be 'auto', 'numpy' or 'numba', got {backend!r}")
    for choice in AUTOMATIC if backend == "auto" else (backend,):
        if choice == "numpy":
            return "numpy"
        obstacle = obstacle_to_compiling()
        if obstacle is None and not (backend == "auto" and _is_switched_off()):
            return "numba"
    raise ModuleNotFoundError(
        f"backend 'numba' needs Numba, on a version of Python that it supports ({obstacle}): "
        "pip install 'manual-nn[fast]', or take 'numpy' or 'auto'"
    )


@functools.cache
def obstacle_to_compiling() -> str | None:
    """Say why nothing can be compiled, or None if it can: an import tells.

    It may also fail at the libraries that are loaded, with any error.
    """
    try:
        importlib.import_module("manual_nn.compiled.mlp")
    except ImportError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _is_switched_off() -> bool:
    """Say whether NUMBA_DISABLE_JIT has Python run what would be compiled, which is slow."""
    return bool(importlib.import_module("numba").config.DISABLE_JIT)
