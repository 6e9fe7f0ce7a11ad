"""What Numba is told: how it may round, and where the compiled code is kept.

Numba compiles a function when it is first called with arguments of new types, for seconds, and
keeps the result on disk beside the function's file, or in the user's cache if it may not write
there. A line to the logger `manual_nn` says so, at the level INFO.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import event
from numba.core.caching import FunctionCache

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


def _compiled(function: Function, *, fastmath: Any) -> Any:
    dispatcher = numba.njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    if numba.config.DISABLE_JIT:  # then it is the function
        return dispatcher
    try:
        dispatcher._cache = _Cache(function)
    except RuntimeError as error:  # nowhere to write
        logger.info("The compiled code will not be kept: %s", error)
    return dispatcher


def _digest() -> str:
    """Identify what is compiled: all of it, for the code of a function holds those it calls."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


class _Cache(FunctionCache):  # type: ignore[misc] # it is Any to mypy
    """Numba's own cache, which looks at a function's file alone, told of the other files."""

    _DIGEST = _digest()

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self._DIGEST)


class _Announcement(event.Listener):  # type: ignore[misc] # likewise
    """Says once that something of ours is being compiled, which is not said of what is kept."""

    said = False

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if not self.said and function.__module__.startswith("manual_nn."):
            self.said = True
            logger.info("Compiling with Numba: this takes some seconds, once on this machine")

    def on_end(self, event: Any) -> None:
        """Say nothing."""


event.register("numba:compile", _Announcement())
