"""The functions that Numba compiles, run by Python as they are written."""

import importlib.util
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numba
import pytest

import manual_nn
from manual_nn.compiled import (
    copies,
    curvature,
    exponential,
    in_place,
    mlp,
    reductions,
    steps,
    tiled_product,
)

MODULES = (copies, exponential, in_place, mlp, curvature, reductions, steps, tiled_product)
WAYS = ("compiled", "in Python")


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Python run what is compiled, and all that it calls, or leave it as it is."""
    assert way in WAYS
    if way == "in Python":
        for module in MODULES:
            for name, function in list(vars(module).items()):
                monkeypatch.setattr(module, name, getattr(function, "py_func", function))


def implementations(layer: ModuleType) -> list[ModuleType]:
    """List a layer's NumPy and, where Numba compiles it too, that."""
    name = layer.__name__.replace("manual_nn.layers", "manual_nn.compiled.layers")
    if name == layer.__name__ or importlib.util.find_spec(name) is None:
        return [layer]
    return [layer, importlib.import_module(name)]


def in_python(module: ModuleType) -> ModuleType:
    """Give a copy of a module in which Python runs the functions as they are written."""
    spec: Any = importlib.util.find_spec(module.__name__)
    copy = importlib.util.module_from_spec(spec)
    with mock.patch.object(numba.config, "DISABLE_JIT", 1):
        spec.loader.exec_module(copy)
    return copy


def of_each_implementation(layer: ModuleType) -> pytest.MarkDecorator:
    """Run a test, which takes `layer`, with NumPy, with what is compiled, and with that as Python.

    It must be one that is compiled.
    """
    by_numpy, by_numba = implementations(layer)
    found = [by_numpy, by_numba, in_python(by_numba)]
    return pytest.mark.parametrize("layer", found, ids=["NumPy", "compiled", "in Python"])


def _in_a_workspace(name: str) -> Any:
    function = getattr(manual_nn, name)

    def computed(params: Any, tangents: Any, X: Any, y: Any, **options: Any) -> Any:
        workspace = manual_nn.Workspace(params, len(X), backend="numba")
        return function(params, tangents, X, y, **options, workspace=workspace)

    return computed


# `manual_nn` where what is compiled computes the products with a direction.
PRODUCTS = SimpleNamespace(
    loss=manual_nn.loss, **{name: _in_a_workspace(name) for name in ("jvp", "hvp", "ggnvp")}
)
