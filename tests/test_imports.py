"""What the packages import: `manual_nn` needs NumPy alone, and the twins share no code."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import manual_nn
import reference

OPTIONAL = {
    "jax",
    "jaxlib",
    "matplotlib",
    "ml_dtypes",
    "pandas",
    "reference",
    "scipy",
    "sklearn",
    "tqdm",
}

# These compare the twins, so they know both; the twin itself knows the type of a layer alone.
COMPARISON = {"__main__.py", "agreement.py"}


def sources_of(package: ModuleType) -> list[Path]:
    (folder,) = package.__path__
    return sorted(Path(folder).rglob("*.py"))


def imports_of(source: Path, package: str) -> Iterator[tuple[str, str | None]]:
    """Find what is imported anywhere in a file: (module, name), or (module, None) for it all."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, [package if node.level else "", node.module]))
            yield from ((module, alias.name) for alias in node.names)


def test_importing_manual_nn_imports_no_optional_dependency() -> None:
    code = "import json, sys; import manual_nn; print(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run(  # noqa: S603, the interpreter of this test
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    imported = {name.partition(".")[0] for name in json.loads(finished.stdout)}
    assert {"manual_nn", "numpy"} <= imported
    assert not imported & OPTIONAL


@pytest.mark.parametrize("source", sources_of(manual_nn), ids=lambda source: source.name)
def test_manual_nn_never_imports_jax_or_the_reference(source: Path) -> None:
    modules = {module.partition(".")[0] for module, _ in imports_of(source, "manual_nn")}
    assert not modules & {"jax", "jaxlib", "reference"}


@pytest.mark.parametrize("source", sources_of(reference), ids=lambda source: source.name)
def test_the_reference_takes_nothing_but_dense_from_manual_nn(source: Path) -> None:
    taken = {
        (module, name)
        for module, name in imports_of(source, "reference")
        if module.partition(".")[0] == "manual_nn"
    }
    assert source.name in COMPARISON or taken <= {("manual_nn", "Dense")}


def test_the_scan_sees_every_form_of_import(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "import jax.numpy as jnp\n"
        "from manual_nn import Dense, loss\n"
        "from . import network\n"
        "def function():\n"
        "    from .rounding import Traced\n"
    )
    assert set(imports_of(source, "reference")) == {
        ("jax.numpy", None),
        ("manual_nn", "Dense"),
        ("manual_nn", "loss"),
        ("reference", "network"),
        ("reference.rounding", "Traced"),
    }
