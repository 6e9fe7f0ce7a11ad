"""What the packages import: `manual_nn` needs NumPy alone, and the twins share no code."""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hatchling.builders.wheel import WheelBuilder

import manual_nn
import reference
from tests.support.project import ROOT

OPTIONAL = {
    "dask",
    "distributed",
    "jax",
    "jaxlib",
    "jinja2",
    "matplotlib",
    "llvmlite",
    "ml_dtypes",
    "numba",
    "pandas",
    "reference",
    "scipy",
    "sklearn",
    "tqdm",
}

# These compare the twins, or are commands, so they know both; the twin itself knows the type of a
# layer alone.
COMPARISON = {
    "reference/check_command.py",
    "reference/command_line.py",
    *(f"reference/campaign/{name}.py" for name in ("agreement", "quantities", "runner")),
}


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


def modules_after(statement: str) -> set[str]:
    """List what a fresh interpreter has imported after the statement."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    finished = subprocess.run(  # noqa: S603, the interpreter of this test
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(json.loads(finished.stdout))


def test_importing_manual_nn_imports_no_optional_dependency() -> None:
    imported = {name.partition(".")[0] for name in modules_after("import manual_nn")}
    assert {"manual_nn", "numpy"} <= imported
    assert not imported & OPTIONAL


def test_importing_manual_nn_imports_its_core_and_hardly_more_than_numpy_does() -> None:
    """What costs time, such as the random generators or the file formats, waits for its use."""
    more = modules_after("import manual_nn") - modules_after("import numpy")
    core = (
        "arrays",
        "checks",
        "checks.arguments",
        "checks.arrays",
        "checks.finite",
        "initial",
        "layers",
        "layers.dense",
        "layers.relu",
        "layers.softmax_cross_entropy",
        "models",
        "models.arguments",
        "models.mlp",
        "models.penalty",
        "models.workspace",
        "sums",
    )
    assert {name for name in more if name.startswith("manual_nn")} == {
        "manual_nn",
        *(f"manual_nn.{module}" for module in core),
    }
    others = {name for name in more if not name.startswith("manual_nn")}
    assert others <= modules_after("import importlib, numpy.typing")


@pytest.mark.parametrize("name", manual_nn.__all__)
def test_what_waits_for_its_use_is_there_when_it_is_asked_for(name: str) -> None:
    assert getattr(manual_nn, name) is getattr(manual_nn, name)
    assert name in dir(manual_nn)


def test_the_estimator_is_listed_though_no_star_import_waits_for_it() -> None:
    assert "BackpropClassifier" in dir(manual_nn)
    assert "BackpropClassifier" not in manual_nn.__all__
    assert dir(manual_nn) == sorted(set(dir(manual_nn)))


@pytest.mark.parametrize("name", [*manual_nn._MODULE_OF, *manual_nn._MODULES])
def test_every_name_that_waits_is_where_it_is_said_to_be(name: str) -> None:
    if name in manual_nn._MODULES:
        assert getattr(manual_nn, name) is importlib.import_module(manual_nn._MODULES[name])
    else:
        module = importlib.import_module(manual_nn._MODULE_OF[name])
        assert getattr(manual_nn, name) is getattr(module, name)
        assert getattr(module, name).__module__ == module.__name__


def test_what_there_is_not_is_no_attribute_and_a_submodule_is_itself() -> None:
    with pytest.raises(AttributeError, match="'manual_nn' has no attribute 'los'"):
        manual_nn.__getattr__("los")
    assert manual_nn.__getattr__("rowwise") is sys.modules["manual_nn.models.mlp_by_rows"]


@pytest.mark.parametrize("source", sources_of(manual_nn), ids=lambda source: source.name)
def test_manual_nn_never_imports_jax_or_the_reference(source: Path) -> None:
    modules = {module.partition(".")[0] for module, _ in imports_of(source, "manual_nn")}
    assert not modules & {"jax", "jaxlib", "reference"}


# Each room of a package, and each module beside them, imports from itself and from those after it.
ORDER = {
    "manual_nn": [
        *("__main__", "__init__", "interfaces", "training", "derivatives", "files"),
        *("models", "compiled", "layers", "initial", "sums", "checks", "arrays"),
    ],
    "reference": [
        *("__main__", "command_line", "campaign", "check_command", "__init__"),
        *("check", "check_autograd_function", "check_custom_rule", "check_jvp", "check_layer"),
        *("along", "walk"),
        *(
            "report",
            "structures",
            "directions",
            "calls",
            "picture",
            "source",
            "sensitivity",
            "diagnosis",
            "digits",
            "arguments",
            "custom_rules",
            "limit",
        ),
        *("compare", "noise", "bounds", "derivatives", "models", "layers", "jaxprs"),
        *("foreign", "arrays"),
    ],
}


def room_of(module: str, name: str | None) -> str:
    """Give the room that an import is from: `from package import room` or `from package.room`."""
    package, _, inner = module.partition(".")
    if inner:
        return inner.partition(".")[0]
    return name if name in ORDER[package] and name is not None else "__init__"


@pytest.mark.parametrize("package", [manual_nn, reference], ids=lambda package: package.__name__)
def test_imports_go_one_way_through_the_rooms(package: ModuleType) -> None:
    (folder,) = package.__path__
    order = ORDER[package.__name__]
    upward = []
    for source in sources_of(package):
        room = source.relative_to(folder).parts[0].removesuffix(".py")
        assert room in order, f"{room} has no place in the order of {package.__name__}"
        for module, name in imports_of(source, package.__name__):
            if module.partition(".")[0] == package.__name__:
                target = room_of(module, name)
                if order.index(target) < order.index(room):
                    upward.append(f"{source.relative_to(folder)} imports {module}, {name}")
    assert not upward


def test_the_room_of_an_import_is_told() -> None:
    assert room_of("manual_nn.models.mlp", "loss") == "models"
    assert room_of("manual_nn.models", "mlp") == "models"
    assert room_of("manual_nn", "models") == "models"
    assert room_of("manual_nn", "loss") == room_of("manual_nn", None) == "__init__"


def test_the_wheel_holds_both_packages_whole() -> None:
    """As the project's build backend chooses the files: nothing is built, or downloaded."""
    builder = WheelBuilder(str(ROOT))
    config = builder.config
    with config.set_build_data({"artifacts": [], "force_include": {}, "build_hooks": ()}):
        held = {Path(file.distribution_path) for file in builder.recurse_included_files()}
    kept = {
        path.relative_to(ROOT)
        for package in (manual_nn, reference)
        for folder in package.__path__
        for path in Path(folder).rglob("*")
        if path.suffix in {".py", ".md", ".typed", ".jinja"}
    }
    assert held == kept


@pytest.mark.parametrize("source", sources_of(reference), ids=lambda source: source.name)
def test_the_reference_takes_nothing_but_dense_from_manual_nn(source: Path) -> None:
    taken = {
        (module, name)
        for module, name in imports_of(source, "reference")
        if module.partition(".")[0] == "manual_nn"
    }
    knows_both = source.relative_to(ROOT).as_posix() in COMPARISON
    assert knows_both == (not taken <= {("manual_nn", "Dense")})


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
