"""The checks of handwritten derivatives, which the package `reference` holds, and JAX makes.

Many a project has a file `reference.py` of its own, beside the kernel that it is the reference of.
Then `import reference` takes that file. What is asked for here is the package that was installed
with this one, and the file of that name stays importable.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

NAME = "reference"
HOME = Path(__file__).resolve().parents[2] / NAME / "__init__.py"

_kept: dict[str, ModuleType] = {}  # our modules, where another package has their names


def package() -> ModuleType:
    """Give the package `reference` that belongs to this one, whatever else has its name.

    Raises:
        ImportError: it is not installed, or needs something that is not.
    """
    if NAME in _kept:
        return _kept[NAME]
    others = _loaded()
    if others and _is_ours(others.get(NAME)):
        return others[NAME]
    for name in others:
        del sys.modules[name]
    try:
        ours = _load()
        if others or _is_shadowed():
            _kept.update(_loaded())
            for name in _kept:
                del sys.modules[name]
    finally:
        sys.modules.update(others)
    return ours


def main() -> int:
    """Run the command `check-gradient`."""
    sys.path.insert(0, "")  # where the functions are that are checked
    package()
    command = _kept.get(f"{NAME}.check_command") or sys.modules[f"{NAME}.check_command"]
    status: int = command.main()
    return status


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location(NAME, HOME)
    if spec is None or spec.loader is None or not HOME.exists():
        raise ImportError(f"the package {NAME} is not installed beside manual_nn, at {HOME.parent}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    try:
        spec.loader.exec_module(module)
        importlib.import_module(f"{NAME}.check_command")
    except BaseException:
        for name in _loaded():
            del sys.modules[name]
        raise
    return module


def _loaded() -> dict[str, ModuleType]:
    """Give the modules that have been imported under the package's name."""
    return {
        name: module
        for name, module in sys.modules.items()
        if name == NAME or name.startswith(f"{NAME}.")
    }


def _is_ours(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == HOME


def _is_shadowed() -> bool:
    """Say whether an import of this name would find something else than the package."""
    spec = PathFinder.find_spec(NAME)
    return spec is not None and (spec.origin is None or Path(spec.origin).resolve() != HOME)
