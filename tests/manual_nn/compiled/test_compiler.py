"""What Numba is told, where the code is kept, and what is said of it."""

import ast
import importlib
import inspect
import logging
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.caching import FunctionCache

from manual_nn import compiled as rooms
from manual_nn.compiled import blas, compiler, exponential
from tests.support.compiled import MODULES
from tests.support.project import ROOT

ALL = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(rooms.__path__, f"{rooms.__name__}.")
]
COMPILED = [value for module in ALL for value in vars(module).values() if hasattr(value, "py_func")]

DECORATORS = {"compiled", "compiled_fused", "compiled_in_any_order", "intrinsic"}
# What loops over files, names, axes or vectors, not over elements
RUN_BY_PYTHON = {
    *("_digest", "as_backend", "register", "address_of_gemm"),
    *("forward", "backward", "_for_compiled_code"),
}


def test_numba_may_not_assume_that_nothing_is_nan_or_infinite() -> None:
    assert COMPILED or numba.config.DISABLE_JIT
    for function in COMPILED:
        allowed = function.targetoptions["fastmath"]
        assert not allowed or set(allowed) <= {"reassoc", "contract"}
        assert function.targetoptions["nogil"], "other threads would wait"


def test_the_exponential_is_not_compiled_in_another_order_than_it_is_written_in() -> None:
    """It would take the two parts of ln 2 together; and who calls it may allow any order."""
    for name in ("exp", "reduced", "series"):
        function = getattr(exponential, name)
        assert numba.config.DISABLE_JIT or set(function.targetoptions["fastmath"]) == {"contract"}


def test_every_function_of_these_modules_is_compiled() -> None:
    """Those that are could not call one that is not, unless it stands for compiled ones."""
    for module in set(MODULES) - {exponential}:
        for statement in ast.parse(inspect.getsource(module)).body:
            if isinstance(statement, ast.FunctionDef):
                (decorator,) = map(ast.unparse, statement.decorator_list)
                assert decorator in {"compiled", "compiled_in_any_order"}


def test_what_loops_or_is_called_by_compiled_code_is_compiled() -> None:
    """A test of the function alone would pass where Python runs it, a hundred times slower."""
    functions = {
        (module.__name__, statement.name): statement
        for module in ALL
        for statement in ast.parse(inspect.getsource(module)).body
        if isinstance(statement, ast.FunctionDef)
    }
    compiled = {key for key, f in functions.items() if _decorators(f) & DECORATORS}
    overloads = {key for key, f in functions.items() if "overload" in _decorators(f)}
    stand_for_compiled = {
        (module.__name__, call.args[0].id)
        for module in ALL
        for call in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "overload"
        if isinstance(call.args[0], ast.Name)
    }
    called = {
        (function.__module__, function.__name__)
        for module, name in compiled | overloads
        for call in ast.walk(functions[module, name])
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if (found := vars(sys.modules[module]).get(call.func.id)) is not None
        if inspect.isfunction(function := getattr(found, "py_func", found))
    }
    looping = {
        key
        for key, f in functions.items()
        if any(isinstance(node, ast.For | ast.While) for node in ast.walk(f))
    }
    assert len(called & compiled) > 50
    assert called & functions.keys() - overloads <= compiled | stand_for_compiled
    assert {name for _, name in looping - compiled} == RUN_BY_PYTHON


def _decorators(function: ast.FunctionDef) -> set[str]:
    calls = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return set(map(ast.unparse, calls))


def test_what_is_kept_depends_on_every_file_that_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, ignored = Path(compiler.__file__).parent, shutil.ignore_patterns("__pycache__")
    shutil.copytree(here, tmp_path, dirs_exist_ok=True, ignore=ignored)
    monkeypatch.setattr(compiler, "__file__", str(tmp_path / "compiler.py"))
    before = compiler._digest()
    assert before == compiler._Cache._DIGEST
    sources = [*tmp_path.rglob("*.py")]
    assert tmp_path / "layers" / "__init__.py" in sources
    for source in sources:
        text = source.read_text(encoding="utf-8")
        source.write_text(text + "\n", encoding="utf-8")
        assert compiler._digest() != before
        source.write_text(text, encoding="utf-8")
    assert compiler._digest() == before


def test_what_is_compiled_holds_no_number_of_a_file_that_the_cache_does_not_look_at() -> None:
    """Numba puts a global into the code as a constant."""
    for module in ALL:
        elsewhere = {
            alias.asname or alias.name
            for statement in ast.parse(inspect.getsource(module)).body
            if isinstance(statement, ast.ImportFrom)
            and not (statement.module or "").startswith(rooms.__name__)
            for alias in statement.names
        }
        for function in vars(module).values():
            if hasattr(function, "py_func") and function.__module__ == module.__name__:
                code = function.py_func.__code__
                assert elsewhere.isdisjoint(code.co_names), function.__qualname__


def test_what_is_kept_depends_on_numpy_s_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It computes the coefficients of normal.py."""
    before = compiler._digest()
    monkeypatch.setattr(np, "__version__", "another")
    assert compiler._digest() != before


def test_what_is_kept_depends_on_whether_blas_counts_its_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compiled code calls what counts them, which is not there in each build of NumPy."""
    keys = []
    for address in (None, 1):
        monkeypatch.setattr(blas, "address_of_count", lambda address=address: address)
        keys.append(compiler._digest())
    assert keys[0] != keys[1]


def test_where_nothing_can_be_written_the_code_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("no place to write to")

    def twice(x: int) -> int:
        return 2 * x

    monkeypatch.setattr(numba.config, "DISABLE_JIT", 0)
    monkeypatch.setattr(compiler, "_Cache", refuse)
    compiler._say_that_it_is_not_kept.cache_clear()
    for _ in range(2):
        assert compiler.compiled(twice)(3) == 6
    (said,) = caplog.messages
    assert "is not kept, and the next process compiles it again: no folder can be" in said
    assert "NUMBA_CACHE_DIR" in said


def test_a_full_disk_is_said_once_and_does_not_end_the_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FunctionCache, "save_overload", no_room)
    compiler._say_that_it_is_not_kept.cache_clear()
    cache = compiler._Cache(compiler._digest)
    for _ in range(2):
        cache.save_overload(None, None)
    (said,) = caplog.messages
    assert "is not kept, and the next process compiles it again: No space left on device" in said


def test_it_is_said_once_that_something_of_ours_is_compiled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def start(module: str | None) -> None:
        function = SimpleNamespace(__module__=module)
        announcement.on_start(
            SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=function)})
        )

    announcement = compiler._Announcement()
    start("somebody.else")
    start(None)  # of a function that was made by exec
    assert not caplog.messages
    start("manual_nn.compiled.in_place")
    start("manual_nn.compiled.mlp")
    assert caplog.messages == [
        "Compiling with Numba: this takes some seconds, once for each kind of input"
    ]
    assert caplog.records[0].levelno == logging.WARNING  # which is shown without any handler


def test_what_says_so_hears_of_all_that_numba_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(compiler._Announcement, "on_start", lambda _, event: heard.append(event))
    event.start_event("numba:compile", data={"dispatcher": None})
    event.end_event("numba:compile")
    assert [one.data for one in heard] == [{"dispatcher": None}]


CODE = """
import numpy as np
from manual_nn.compiled import in_place
print(in_place.rectify(np.ones((1, 1)), np.ones(1)))
"""


@pytest.mark.long
def test_another_process_finds_the_code_and_says_nothing(tmp_path: Path) -> None:
    said = []
    for _ in range(2):
        finished = subprocess.run(  # noqa: S603, the interpreter of this test
            [sys.executable, "-c", CODE],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": "0"},
        )
        assert finished.stdout == "True\n"
        said.append("Compiling with Numba" in finished.stderr)
    assert said == [True, False]
