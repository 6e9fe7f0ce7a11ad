"""What Numba is told: how it may round, and where the compiled code is kept.

Numba compiles a function when it is first called with arguments of new types, for seconds, and
keeps the result on disk beside the function's file, or in the user's cache if it may not write
there. A line to the logger `manual_nn` says so, as a warning, which Python writes to the standard
error stream unless logging is set up otherwise.
"""

import functools
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import event
from numba.core.caching import FunctionCache

from manual_nn.compiled import blas
from manual_nn.compiled.vectors import Compiler

Function = TypeVar("Function", bound=Callable[..., Any])

# Sums may be added up in any order, and a product be added without being rounded first: the bounds
# of a gradient allow both. That nothing is NaN or infinite may not be assumed: it is examined.
ANY_ORDER = frozenset({"reassoc", "contract"})

logger = logging.getLogger("manual_nn")


def compiled(function: Function) -> Function:
    """Mark a function for Numba, which is to round as the function is written."""
    return _compiled(function, fastmath=False)


def compiled_in_any_order(function: Function) -> Function:
    """Mark a function for Numba, which may take its sums and products in ANY_ORDER."""
    return _compiled(function, fastmath=set(ANY_ORDER))


def compiled_fused(function: Function) -> Function:
    """Mark a function for Numba, which may add a product without rounding it first, and no more."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Function, *, fastmath: Any) -> Any:
    jit = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath, pipeline_class=Compiler)
    dispatcher = jit(function)
    if numba.config.DISABLE_JIT:  # then it is the function
        return dispatcher
    try:
        dispatcher._cache = _Cache(function)
    except RuntimeError:  # nowhere to write
        _say_that_it_is_not_kept("no folder can be written to")
    return dispatcher


@functools.cache  # once for each reason
def _say_that_it_is_not_kept(reason: str) -> None:
    logger.warning(
        "The compiled code is not kept, and the next process compiles it again: %s; "
        "NUMBA_CACHE_DIR can name another folder",
        reason,
    )


def _digest() -> str:
    """Identify what is compiled: all of it, for the code of a function holds those it calls.

    It holds the numbers of these files, too, some of which NumPy has computed, and asks NumPy's
    BLAS for its threads where that can be asked.
    """
    asks = blas.address_of_count() is not None
    digest = hashlib.sha256(f"{np.__version__} {asks}".encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):  # type: ignore[misc] # it is Any to mypy
    """Numba's own cache, which looks at a function's file alone, told of the other files."""

    _DIGEST = _digest()

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self._DIGEST)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled if there is room for it: it works without."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_that_it_is_not_kept(error.strerror or str(error))


class _Announcement(event.Listener):  # type: ignore[misc] # likewise
    """Says once that something of ours is being compiled, which is not said of what is kept."""

    said = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        # That of a function made by `exec` may be None: this hears of everybody's functions.
        if not self.said and (function.__module__ or "").startswith("manual_nn."):
            self.said = True
            logger.warning(
                "Compiling with Numba: this takes some seconds, once for each kind of input"
            )

    def on_end(self, event: Any) -> None:
        """Say nothing."""


event.register("numba:compile", _Announcement())
