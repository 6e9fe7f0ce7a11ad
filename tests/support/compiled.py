"""The functions that Numba compiles, run by Python as they are written."""

import pytest

from manual_nn.compiled import in_place, mlp, steps

MODULES = (in_place, mlp, steps)
WAYS = ("compiled", "in Python")


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Python run what is compiled, and all that it calls, or leave it as it is."""
    assert way in WAYS
    if way == "in Python":
        for module in MODULES:
            for name, function in list(vars(module).items()):
                monkeypatch.setattr(module, name, getattr(function, "py_func", function))
