"""The checks as `manual_nn` has them, beside a file `reference.py` of the user's, too."""

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import manual_nn
import reference
from manual_nn.interfaces import checks
from tests.support.project import ROOT

THEIRS = """
def loss(x): return (x ** 3).sum()
"""
KERNEL = """
import numpy as np
import reference
def right(x): return 3 * x ** 2
def wrong(x): return 3 * x
loss = reference.loss
ARGS = (np.array([1.0, 2.0]),)
"""
SESSION = """
import sys
from manual_nn.interfaces import checks
def run(grad):
    sys.argv[1:] = [f"kernel:{grad}", "reference.py:loss", "--example", "kernel.py:ARGS"]
    return checks.main()
print(run("right"), run("wrong"))
import kernel, manual_nn, reference
print(reference.__file__)
print(manual_nn.check_gradient(kernel.right, reference.loss, *kernel.ARGS).ok)
print(manual_nn.check_layer.__module__, checks.package().__file__)
checks._kept.clear()  # as if theirs had been imported first
again = checks.package()
print(again.__file__, again is checks.package(), sys.modules["reference"] is reference)
"""


@pytest.mark.long
def test_a_file_reference_beside_the_kernel_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "reference.py").write_text(THEIRS, encoding="utf-8")
    (tmp_path / "kernel.py").write_text(KERNEL, encoding="utf-8")
    done = subprocess.run(  # noqa: S603, as an installed command is started: not from this folder
        [sys.executable, "-P", "-c", SESSION],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    ours = Path(reference.__file__).resolve()
    *reports, statuses, theirs, ok, layer, again = done.stdout.splitlines()
    assert reports[0].startswith("gradient check: match")
    assert any(line.startswith("gradient check: mismatch") for line in reports)
    assert statuses == "0 1"
    assert Path(theirs).resolve() == tmp_path / "reference.py"
    assert ok == "True"
    assert layer == f"reference.check_layer {ours}"
    assert again == f"{ours} True True"


def test_the_checks_are_those_of_the_package_and_wait_for_their_use() -> None:
    assert checks.package() is reference
    names = [name for name in reference.__all__ if name.startswith("check_")]
    assert sorted(manual_nn._CHECKS) == names
    for name in names:
        assert getattr(manual_nn, name) is getattr(reference, name)
        assert name in dir(manual_nn)
        assert name not in manual_nn.__all__


def test_the_commands_that_are_installed_exist() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"check-gradient", "manual-nn"}
    for place in scripts.values():
        module, _, name = place.partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_a_missing_package_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "HOME", tmp_path / "reference" / "__init__.py")
    before = dict(sys.modules)
    with pytest.raises(ImportError, match="the package reference is not installed beside"):
        checks.package()
    assert sys.modules == before
