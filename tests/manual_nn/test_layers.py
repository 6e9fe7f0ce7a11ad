"""What every layer says of its parameters, and how much memory a pass takes at a time."""

import importlib
import inspect
import pkgutil
import tracemalloc
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from manual_nn import layers
from manual_nn.layers import attention, swiglu
from manual_nn.layers.batch_norm import BatchNorm
from manual_nn.layers.group_norm import GroupNorm
from manual_nn.layers.layer_norm import LayerNorm
from manual_nn.layers.rms_norm import RMSNorm
from tests.support.cases import each


def layer_of(name: str) -> ModuleType:
    return importlib.import_module(f"{layers.__name__}.{name}")


def test_each_layer_says_what_its_parameters_are_called() -> None:
    found = 0
    for module in pkgutil.iter_modules(layers.__path__):
        layer = layer_of(module.name)
        if hasattr(layer, "init"):
            found += 1
            options = {"groups", "top_k"} & set(inspect.signature(layer.forward).parameters)
            with pytest.raises(TypeError, match=r"^params must be \w+\(.*\), got tuple$"):
                layer.forward((1.0, 2.0), np.ones((2, 3, 4)), **dict.fromkeys(options, 1))
    assert found >= 11


ONES, X = np.ones(100), np.random.default_rng(0).normal(size=(10, 100, 100))
ROW, FLAT = X[0], X.reshape(1000, 100)
SEQUENCE = X.reshape(-1, 2)[:400]

# params, x and options, and how many arrays as large as x - of attention as the weights - forward
# and backward hold at a time at most, with what they give and keep.
HELD: dict[str, tuple[Any, Any, dict[str, Any], int, int]] = {
    "attention": ((), attention.Inputs(SEQUENCE, SEQUENCE, SEQUENCE), {}, 1, 1),
    "batch_norm": (BatchNorm(ONES, ONES), X, {}, 2, 2),
    "binary_cross_entropy": ((), X, {"target": (X > 0) / 2}, 5, 5),
    "dropout": ((), X, {"mask": X > 0, "rate": 0.5}, 1, 1),
    "gelu": ((), X, {}, 5, 5),
    "group_norm": (GroupNorm(ONES, ONES), X, {"groups": 4}, 2, 2),
    "huber": ((), X, {"target": X + 1}, 3, 1),
    "layer_norm": (LayerNorm(ONES, ONES), X, {}, 2, 2),
    "leaky_relu": ((), X, {}, 2, 2),
    "relu": ((), X, {}, 1, 1),
    "rms_norm": (RMSNorm(ONES), X, {}, 2, 2),
    "rope": ((), X, {}, 1, 1),
    "sigmoid": ((), X, {}, 2, 3),
    "silu": ((), X, {}, 2, 4),
    "softmax": ((), X, {}, 2, 1),
    "softmax_cross_entropy": ((), FLAT, {"target": np.arange(1000) % 100}, 2, 1),
    "squared_error": ((), X, {"target": X + 1}, 2, 1),
    "swiglu": ((), swiglu.Inputs(X, X), {}, 2, 4),
    "tanh": ((), X, {}, 1, 2),
}


def peak(compute: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, int]:
    """Compute something, and count the bytes that were held at a time at most."""
    tracemalloc.start()
    result = compute(*args, **options)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, most


@each("name", HELD)
def test_a_pass_writes_over_what_it_no_longer_needs(name: str) -> None:
    """Beside whole arrays there are masks and the blocks in which NumPy broadcasts."""
    params, x, options, forward, backward = HELD[name]
    layer, one = layer_of(name), 400 * 400 if name == "attention" else X.size
    (out, kept), most = peak(layer.forward, params, x, **options)
    assert forward - 0.1 < most / (8 * one) < forward + 0.3
    d_out = np.ones_like(out) if out.ndim else 1.0
    _, most = peak(layer.backward, params, kept, d_out)
    assert backward - 0.1 < most / (8 * one) < backward + 0.3
