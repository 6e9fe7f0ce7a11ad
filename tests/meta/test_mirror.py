"""The tests mirror the packages, so that who reads a file knows where its tests are."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cases import each
from tests.support.project import ROOT

PACKAGES = ["manual_nn", "reference"]
TWINS = ["layers", "models", "derivatives"]  # of reference, tested with what they are twins of

# Where the tests are of a module that has no file of tests by its name.
TESTED_IN = {
    "manual_nn/__init__.py": "tests/meta/test_imports.py",
    "manual_nn/compiled/curvature.py": "tests/manual_nn/derivatives/test_curvature_compiled.py",
    "manual_nn/compiled/mlp.py": "tests/manual_nn/models/test_mlp_compiled.py",
    "manual_nn/compiled/steps.py": "tests/manual_nn/training/test_descent_compiled.py",
    "manual_nn/checks/finite.py": "tests/manual_nn/checks/test_arguments.py",
    "manual_nn/interfaces/options.py": "tests/manual_nn/interfaces/test_command_line.py",
    "manual_nn/models/mlp.py": "tests/manual_nn/models/test_passes.py",
    "manual_nn/models/mlp_by_rows.py": "tests/manual_nn/models/test_passes.py",
    "manual_nn/models/workspace.py": "tests/manual_nn/models/test_passes.py",
    "manual_nn/training/evaluation.py": "tests/manual_nn/training/test_loop.py",
    "manual_nn/training/history.py": "tests/manual_nn/training/test_loop.py",
    "reference/bounds/registry.py": "tests/reference/bounds/test_tracing.py",
    "reference/along.py": "tests/reference/test_check_layer.py",
    "reference/arguments.py": "tests/reference/test_check_layer.py",
    "reference/calls.py": "tests/reference/test_check.py",
    "reference/campaign/quantities.py": "tests/reference/campaign/test_cases.py",
    "reference/diagnosis/difference.py": "tests/reference/diagnosis/test_hypotheses.py",
    "reference/diagnosis/found.py": "tests/reference/diagnosis/test_hypotheses.py",
    "reference/diagnosis/mlp/bounds.py": "tests/reference/diagnosis/mlp/test_explanation.py",
    "reference/diagnosis/mlp/passes.py": "tests/reference/diagnosis/mlp/test_faults.py",
    "reference/diagnosis/model.py": "tests/reference/diagnosis/mlp/test_model.py",
    "reference/diagnosis/models.py": "tests/reference/diagnosis/mlp/test_model.py",
    "reference/diagnosis/permutations.py": "tests/reference/diagnosis/test_hypotheses.py",
    "reference/directions.py": "tests/reference/test_check_layer.py",
    "reference/models/mlp.py": "tests/meta/test_twins.py",
    "reference/noise/evaluation.py": "tests/reference/noise/test_measure.py",
    "reference/noise/samples.py": "tests/reference/noise/test_measure.py",
    "reference/noise/statistics.py": "tests/reference/noise/test_measure.py",
    "reference/walk.py": "tests/reference/test_check.py",
}

# What a file of tests is about that is not named after a module or a folder.
SUBJECTS = {
    "tests/manual_nn/checks/test_fuzz.py": "the arguments of every public function, drawn",
    "tests/manual_nn/derivatives/test_products.py": "all derivatives, where they are exact",
    "tests/manual_nn/layers/test_by_torch.py": "all layers, and PyTorch's",
    "tests/manual_nn/models/test_against_jax.py": "the model's gradients and JAX's",
    "tests/manual_nn/models/test_exactly.py": "the model where its arithmetic is exact",
    "tests/manual_nn/models/test_foreign_witnesses.py": "the model and other libraries",
    "tests/manual_nn/models/test_invariants.py": "what holds of the model whatever the numbers",
    "tests/manual_nn/models/test_passes.py": "the passes of the model, and their precision",
    "tests/manual_nn/models/test_rows.py": "rows: their weights, blocks of them, workspaces",
    "tests/manual_nn/models/test_witnesses.py": "the model row by row, and finite differences",
    "tests/reference/diagnosis/mlp/test_operations.py": "faults that need no dictionary",
    "tests/reference/diagnosis/test_fault_dictionary.py": "every fault, planted in networks",
    "tests/reference/diagnosis/test_patterns.py": "mistakes of several operations at once",
    "tests/reference/test_campaign_command.py": "the command line of a campaign",
    "tests/reference/test_options.py": "the options of the command line, with nothing run",
    "tests/reference/test_tolerance.py": "what comparisons make of a measurement that is given",
    "tests/reference/test_verdicts.py": "what a check says of gradients of every kind",
}


def in_project(files: Iterator[Path]) -> list[Path]:
    """List files as they are named from the top of the project."""
    return sorted(file.relative_to(ROOT) for file in files)


def has_code(module: Path) -> bool:
    """Say whether something is defined there that can be wrong."""
    body = ast.parse((ROOT / module).read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)


MODULES = [
    module
    for package in PACKAGES
    for module in in_project((ROOT / package).rglob("*.py"))
    if has_code(module)
]
TEST_FILES = [
    file
    for package in PACKAGES
    for file in in_project((ROOT / "tests" / package).rglob("test_*.py"))
]


def homes_of(module: Path) -> list[Path]:
    """List where a reader looks for the tests of a module: its file, its folder, its room's file.

    Those of `__init__.py` are those of its folder, and those of `__main__.py` of the command line.
    """
    top, *rest = module.parts
    rest[-1] = {"__main__.py": "command_line.py"}.get(rest[-1], rest[-1])
    if top == "reference" and rest[0] in TWINS:
        top = "manual_nn"
    folder, name = Path("tests", top, *rest[:-1]), Path(rest[-1]).stem
    own = [] if name == "__init__" else [folder / f"test_{name}.py", folder / name]
    return [*own, folder.with_name(f"test_{folder.name}.py")]


def subjects_of(file: Path) -> list[Path]:
    """List what tests of this name may be of: a module, or a folder."""
    folder, name = file.relative_to("tests").parent, file.stem.removeprefix("test_")
    return [folder / f"{name}.py", folder / name]


def exists_one_of(places: list[Path]) -> bool:
    return any((ROOT / place).exists() for place in places)


@each("module", MODULES)
def test_every_module_has_its_tests_where_a_reader_looks_for_them(module: Path) -> None:
    elsewhere = TESTED_IN.get(module.as_posix())
    if elsewhere is None:
        assert exists_one_of(homes_of(module)), f"none of {[*map(str, homes_of(module))]} exists"
    else:
        assert (ROOT / elsewhere).exists()
        assert not exists_one_of(homes_of(module)), "it needs no entry of TESTED_IN"


@each("file", TEST_FILES)
def test_every_file_of_tests_has_its_subject(file: Path) -> None:
    assert exists_one_of(subjects_of(file)) != (file.as_posix() in SUBJECTS), subjects_of(file)


def test_the_tables_name_what_exists() -> None:
    assert set(TESTED_IN) <= {module.as_posix() for module in MODULES}
    assert set(SUBJECTS) <= {file.as_posix() for file in TEST_FILES}


LAYERS = [module for module in MODULES if module.parts[:2] == ("manual_nn", "layers")]


@each("module", LAYERS)
def test_a_layer_has_its_derivation_its_twin_and_its_tests_by_its_name(module: Path) -> None:
    for place in (
        module.with_suffix(".md"),
        Path("reference", *module.parts[1:]),
        Path("tests", *module.parts[:-1], f"test_{module.name}"),
    ):
        assert (ROOT / place).exists(), place


@each("module", LAYERS)
def test_in_a_layer_backward_stands_right_below_forward(module: Path) -> None:
    body = ast.parse((ROOT / module).read_text()).body
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assert functions[:2] == ["forward", "backward"]


def imported(source: str) -> set[str]:
    """List the packages that a source imports from, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names


@pytest.mark.parametrize(
    "source", ["import a, benchmarks.b", "from benchmarks import c", "def f(): import benchmarks"]
)
def test_an_import_is_seen_wherever_it_is(source: str) -> None:
    assert "benchmarks" in imported(source)
    assert "benchmarks" not in imported(source.replace("benchmarks", "tests"))


def test_tests_import_nothing_from_benchmarks_but_their_own() -> None:
    own = ROOT / "tests" / "benchmarks"
    files = set((ROOT / "tests").rglob("*.py"))
    of_benchmarks = {file for file in files if "benchmarks" in imported(file.read_text())}
    assert of_benchmarks, "the benchmarks' own tests import them"
    assert in_project(file for file in of_benchmarks if own not in file.parents) == []


def test_no_file_of_tests_takes_anything_from_another() -> None:
    """What several of them need has its place in tests/support or beside them."""
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tests."):
                parts = [*str(node.module).split("."), *(alias.name for alias in node.names)]
                modules = [part for part in parts if part.startswith("test_")]
                assert not modules, f"{file.relative_to(ROOT)} imports {modules}"
