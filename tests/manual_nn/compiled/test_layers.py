"""Each compiled layer is the twin of NumPy's; what it computes is tested with that one.

tests/manual_nn/layers/test_NAME.py proves both at the same draws, and tests where they are exact,
and what they refuse, on the compiled functions and on those that Python runs.
"""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import pytest

from manual_nn import layers as by_numpy
from manual_nn.compiled import layers as by_numba

FOR_USERS = ("init", "updated", "draw_mask")
NAMES = [module.name for module in pkgutil.iter_modules(by_numba.__path__)]


def both(name: str) -> tuple[ModuleType, ModuleType]:
    numpy_s, numba_s = (
        importlib.import_module(f"{room.__name__}.{name}") for room in (by_numpy, by_numba)
    )
    return numpy_s, numba_s


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


@pytest.mark.parametrize("name", NAMES)
def test_both_passes_are_its_own_and_take_what_numpy_s_take(name: str) -> None:
    numpy_s, numba_s = both(name)
    for function in ("forward", "backward"):
        assert parameters(getattr(numba_s, function)) == parameters(getattr(numpy_s, function))
        assert getattr(numba_s, function).__module__ == numba_s.__name__


@pytest.mark.parametrize("name", NAMES)
def test_what_else_a_user_takes_from_numpy_s_is_there_too(name: str) -> None:
    numpy_s, numba_s = both(name)
    own = {
        name
        for name, value in vars(numpy_s).items()
        if getattr(value, "__module__", "") == numpy_s.__name__
        and (inspect.isclass(value) or name in FOR_USERS)
    }
    assert own <= set(numba_s.__all__)
