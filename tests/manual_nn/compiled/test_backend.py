"""Which backend is chosen where Numba is there, and where it is not."""

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numba
import pytest

from manual_nn.compiled import backend
from manual_nn.compiled.backend import BACKENDS, as_backend, obstacle_to_compiling


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in sys.modules if name.startswith("manual_nn.compiled.")]:
        if name != "manual_nn.compiled.backend":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)  # an import of it fails
    obstacle_to_compiling.cache_clear()
    yield
    obstacle_to_compiling.cache_clear()


@pytest.fixture(autouse=True)
def as_it_is_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests choose NumPy, and those of mutants have nothing compiled."""
    monkeypatch.setattr(backend, "AUTOMATIC", ("numba", "numpy"))
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)


def test_where_numba_is_there_it_is_chosen_unless_numpy_is_asked_for() -> None:
    assert [*map(as_backend, BACKENDS)] == ["numba", "numpy", "numba"]


@pytest.mark.usefixtures("without_numba")
def test_where_numba_is_not_there_numpy_takes_its_place_unless_it_is_asked_for() -> None:
    assert as_backend("auto") == as_backend("numpy") == "numpy"
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'manual-nn\[fast\]'") as raised:
        as_backend("numba")
    assert "version of Python that it supports (" in str(raised.value)
    said = obstacle_to_compiling()  # by the import, without the error's type
    assert said is not None
    assert said.startswith("import of numba halted")
    assert f"({said})" in str(raised.value)


@pytest.mark.parametrize("error", [OSError("no such file"), AttributeError("no such name")])
def test_whatever_fails_as_numba_is_set_up_leaves_it_to_numpy(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(backend, "obstacle_to_compiling", obstacle_to_compiling.__wrapped__)
    assert as_backend("auto") == "numpy"
    with pytest.raises(ModuleNotFoundError, match=rf"\({type(error).__name__}: {error}\)"):
        as_backend("numba")


def test_where_compiling_is_switched_off_numba_must_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert [*map(as_backend, BACKENDS)] == ["numpy", "numpy", "numba"]


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (None, TypeError, "backend must be a string, got NoneType"),
        (1, TypeError, "backend must be a string, got int"),
        ("jax", ValueError, "backend must be 'auto', 'numpy' or 'numba', got 'jax'"),
    ],
)
def test_there_is_no_other_backend(value: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        as_backend(value)


@pytest.mark.usefixtures("without_numba")
def test_compiled_layers_say_what_to_install() -> None:
    said = r"manual_nn\.compiled\.layers needs Numba: pip install 'manual-nn\[fast\]'"
    with pytest.raises(ModuleNotFoundError, match=said):
        importlib.import_module("manual_nn.compiled.layers")
