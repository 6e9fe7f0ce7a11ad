"""A tree of one small module and its tests, to mutate."""

from pathlib import Path

from benchmarks.mutation import mutants
from benchmarks.mutation.mutants import Mutant, entry_text, make_mutants

MODULE = "manual_nn/tiny.py"
TINY = """
def scaled(x: int | None) -> int:
    return 3 * x


def unseen(x, *, y=None):
    return x + 5


def down(n):
    while n > 0:
        n -= 2
    return n
"""
TESTS = """
from manual_nn.tiny import down, scaled

def test_scaled():
    assert scaled(7) == 21

def test_down():
    assert down(4) == 0
"""
CONFTEST = """
import gc
import hypothesis

hypothesis.settings.register_profile("mutation")


def pytest_collection_finish():
    gc.freeze()  # as ours does, to spare the garbage collector what stays
"""
PYPROJECT = """
[tool.pytest.ini_options]
addopts = ["--import-mode=importlib"]
"""
SURVIVOR = {
    "module": "manual_nn/tiny.py",
    "function": "unseen",
    "operator": "core/ReplaceBinaryOperator_Add_Sub",
    "before": "return x + 5",
    "after": "return x - 5",
}
ENDLESS = SURVIVOR | {
    "function": "down",
    "operator": "gradient/AugmentedReplaced",
    "before": "n -= 2",
    "after": "n += 2",
}


def write_tiny(
    root: Path, *, code: str = TINY, tests: str = TESTS, listed: str = "", module: str = MODULE
) -> None:
    files = {
        "manual_nn/__init__.py": "",
        module: code,
        "tests/conftest.py": CONFTEST,
        "tests/manual_nn/test_tiny.py": tests,
        "pyproject.toml": PYPROJECT,
        mutants.EQUIVALENT.as_posix(): listed,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def tiny_mutants(root: Path, module: str = MODULE) -> list[Mutant]:
    return make_mutants(root, module)


def listed(reason: str, **changes: str) -> str:
    return entry_text(*(SURVIVOR | changes).values(), reason)


ENDLESS_LISTED = listed("it never ends", **ENDLESS)
