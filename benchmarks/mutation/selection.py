"""Which modules are mutated, where the mistakes of a backward pass belong, and which tests judge.

The tests mirror the packages, so that nearly all of this is read off the tree: about
manual_nn/a/b.py are the doctests that it holds and tests/manual_nn/a/test_b.py, or the folder of
tests of that name, or else what is about manual_nn/a. A layer is judged by what
holds of every layer, too, and by test_initial.py if it draws parameters. The tables here hold the
exceptions. Tests that are marked `long` are left out.
"""

import ast
from pathlib import Path

PACKAGES = ("manual_nn", "reference")

# What a picture looks like is for no test to say.
DRAWING = ("manual_nn/interfaces/pictures.py", "reference/picture.py")

# Where the operators that are for numerical code look for the mistakes of a backward pass.
NUMERICAL = (
    *("manual_nn/layers/", "manual_nn/models/", "manual_nn/derivatives/", "manual_nn/training/"),
    *("manual_nn/checks/", "manual_nn/compiled/", "manual_nn/interfaces/distributed.py"),
    *("reference/layers/", "reference/models/", "reference/derivatives/", "reference/bounds/"),
    "reference/compare.py",
)

_PASSES, _EXACTLY, _ROWS, _WITNESSES = (
    f"tests/manual_nn/models/test_{name}.py" for name in ("passes", "exactly", "rows", "witnesses")
)
_ARGUMENTS = "tests/manual_nn/models/test_arguments.py"
_COMPILED = "tests/manual_nn/models/test_mlp_compiled.py"
_COMPILER = "tests/manual_nn/compiled/test_compiler.py"
_TILED = "tests/manual_nn/compiled/test_tiled_product.py"
_PRODUCTS = "tests/manual_nn/derivatives/test_products.py"
_PER_EXAMPLE = "tests/manual_nn/derivatives/test_per_example.py"
_COMMAND_LINE = "tests/manual_nn/interfaces/test_command_line.py"
_CHECKPOINT = "tests/manual_nn/training/test_checkpoint.py"
_DESCENT = "tests/manual_nn/training/test_descent_compiled.py"
_TRAINING = ("tests/manual_nn/training/test_loop.py", _ARGUMENTS, _CHECKPOINT)
_OPTIMIZERS = "tests/manual_nn/training/test_optimizer.py"
_IN_PLACE = (
    "tests/manual_nn/training/test_descent.py"
    "::test_a_step_of_any_optimizer_makes_no_array_as_large_as_a_weight"
)
_INITIAL = "tests/manual_nn/test_initial.py"
_LAYERS = "tests/manual_nn/test_layers.py"
_SOFTMAX = "tests/manual_nn/layers/test_softmax.py"  # of more axes
_OPTIONS = "tests/reference/test_options.py"
_CASES = "tests/reference/campaign/test_cases.py"
_RUNNER = "tests/reference/campaign/test_runner.py"
_PROGRAMS = "tests/reference/bounds/test_programs.py"
_TWINS = "tests/meta/test_twins.py"
_NETWORK = (_PASSES, _EXACTLY, _ROWS, _PER_EXAMPLE, _WITNESSES)

# Tests that come first, for there a mutant fails at once that would else begin what has no end.
FIRST = {
    "reference/command_line.py": (f"{_OPTIONS}::test_an_option_of_something_else_is_refused",),
    "reference/campaign/runner.py": (
        f"{_RUNNER}::test_blocks_are_taken_in_turn_up_to_how_many_there_are_to_be",
        f"{_RUNNER}::test_an_interruption_waits_for_no_block_that_is_not_begun",
        f"{_RUNNER}::test_a_process_ends_with_its_parent_and_leaves_ctrl_c_to_it",
    ),
}

# What is seen of a function of compiled code that is not compiled
OF_COMPILED = (f"{_COMPILER}::test_what_loops_or_is_called_by_compiled_code_is_compiled",)

# Tests elsewhere that are about a module, too: of a layer those of the network that it is in, of
# what the public functions call those of their arguments, of a twin those of its twin, of an
# optimizer and a schedule those of what all settings have in common.
ALSO = {
    "manual_nn/checks/arguments.py": (_ARGUMENTS,),
    "manual_nn/compiled/blas.py": (_COMPILER, _TILED),
    "manual_nn/compiled/copies.py": (_COMPILER,),
    "manual_nn/compiled/curvature.py": (
        *("tests/manual_nn/derivatives/test_curvature_compiled.py", _PRODUCTS),
    ),
    "manual_nn/compiled/in_place.py": (_COMPILED, _COMPILER),
    "manual_nn/compiled/mlp.py": (_COMPILED,),
    "manual_nn/compiled/products.py": (_TILED,),
    "manual_nn/compiled/steps.py": (_DESCENT,),
    "manual_nn/compiled/tile.py": (_TILED,),
    "manual_nn/derivatives/per_example.py": (_PASSES, _ARGUMENTS),
    "manual_nn/layers/dense.py": _NETWORK,
    "manual_nn/layers/relu.py": _NETWORK,
    "manual_nn/layers/softmax_cross_entropy.py": (_SOFTMAX, *_NETWORK),
    "manual_nn/models/penalty.py": _NETWORK,
    "manual_nn/training/adam.py": (_OPTIMIZERS, _IN_PLACE),
    "manual_nn/training/checkpoint.py": (_DESCENT,),
    "manual_nn/training/early_stopping.py": _TRAINING,
    "manual_nn/training/schedule.py": (_OPTIMIZERS,),
    "manual_nn/training/sgd.py": (_OPTIMIZERS, _IN_PLACE),
    "reference/bounds/rounding.py": ("tests/reference/bounds/rules",),
    "reference/bounds/tracing.py": (_PROGRAMS, "tests/reference/bounds/rules"),
    "reference/compare.py": ("tests/reference/test_tolerance.py", _CASES),
    "reference/diagnosis/causes.py": ("tests/reference/diagnosis/test_hypotheses.py",),
    "reference/diagnosis/codes.py": ("tests/reference/test_check.py",),
    "reference/foreign.py": ("tests/reference/test_check_autograd_function.py",),
}

# Tests that take the place of those that the tree names: the fastest and most telling first.
INSTEAD = {
    "manual_nn/__init__.py": ("tests/meta/test_imports.py",),
    "manual_nn/__main__.py": (f"{_COMMAND_LINE}::test_the_package_is_run_as_the_command_line",),
    "manual_nn/checks/finite.py": (_PASSES, _ARGUMENTS),  # the passes call it
    "manual_nn/derivatives/curvature.py": (
        *(_PRODUCTS, "tests/manual_nn/derivatives/test_curvature.py", _EXACTLY, _ARGUMENTS),
    ),
    "manual_nn/interfaces/options.py": (_COMMAND_LINE,),
    "manual_nn/models/mlp.py": (_PASSES, _ROWS, _ARGUMENTS, _TWINS, _WITNESSES, _EXACTLY),
    "manual_nn/models/mlp_by_rows.py": (_PASSES, _EXACTLY, _ROWS, _WITNESSES),
    "manual_nn/models/workspace.py": (
        *(_PASSES, _ROWS, "tests/manual_nn/training/test_sgd.py", _ARGUMENTS),
    ),
    "manual_nn/training/evaluation.py": (*_TRAINING, _COMPILED),
    "manual_nn/training/history.py": _TRAINING,
    "manual_nn/training/loop.py": (*_TRAINING, _DESCENT),
    "reference/__main__.py": ("tests/reference/test_command_line.py",),
    "reference/along.py": ("tests/reference/test_check_layer.py",),
    "reference/arguments.py": ("tests/reference/test_check_layer.py",),
    "reference/calls.py": ("tests/reference/test_check.py",),  # which calls what is checked
    "reference/campaign/quantities.py": (_CASES,),
    "reference/command_line.py": (_OPTIONS,),  # where nothing is run
    "reference/derivatives/curvature.py": (_TWINS, _PRODUCTS),
    "reference/derivatives/per_example.py": (_TWINS, _PRODUCTS),
    "reference/digits.py": ("tests/reference/test_digits.py", "tests/reference/test_verdicts.py"),
    "reference/directions.py": ("tests/reference/test_check_layer.py",),
    "reference/models/mlp.py": (_TWINS, _PRODUCTS),
    "reference/walk.py": ("tests/reference/test_check.py", "tests/reference/test_check_layer.py"),
}


class NotReadyError(Exception):
    """Something must be put right before mutants can be judged."""


def modules(root: Path) -> list[str]:
    """List the modules that are mutated: those that hold more than a docstring and do not draw."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if name not in DRAWING and len(ast.parse(path.read_text(encoding="utf-8")).body) > 1:
                found.append(name)
    return found


def is_numerical(module: str) -> bool:
    """Say whether a module is where the mistakes of a backward pass are made."""
    return module.startswith(NUMERICAL)


def is_compiled(module: str) -> bool:
    """Say whether Numba compiles a module."""
    return module.startswith("manual_nn/compiled/")


def select(root: Path, module: str) -> list[str]:
    """List the tests that are about a module, for pytest.

    Raises:
        NotReadyError: there are none, or one that a table names is gone.
    """
    first, also = FIRST.get(module, ()), ALSO.get(module, ())
    text = (root / module).read_text(encoding="utf-8")
    own = (module,) if ">>>" in text else ()
    if module.startswith("manual_nn/layers/"):
        own = (*own, _INITIAL) if "def init(" in text else own
        also = (*also, _LAYERS)
    if is_compiled(module) and _COMPILER not in also:
        also = (*also, *OF_COMPILED)
    tests = [*first, *own, *(INSTEAD.get(module) or mirrored(root, module)), *also]
    for test in tests:
        if not (root / test.partition("::")[0]).exists():
            raise NotReadyError(f"{module}: there is no {test}, which selection.py names for it")
    return ["--keep-duplicates", *tests] if first else tests


def mirrored(root: Path, module: str) -> list[str]:
    """Find the tests that the tree names for a module, or for the nearest folder that it is in.

    A twin has no tests of its own, but those of what it is the twin of; a compiled layer has both.
    """
    path = Path(module).with_suffix("")
    if path.parts[1:3] == ("compiled", "layers"):
        of_numpy_s = mirrored(root, f"{PACKAGES[0]}/layers/{path.name}.py")
        return [*of_numpy_s, "tests/manual_nn/compiled/test_layers.py"]
    twin = Path(PACKAGES[0], *path.parts[1:])
    for place in (*_with_folders(path), *_with_folders(twin)):
        tests = Path("tests") / place
        for found in (tests.with_name(f"test_{place.name}.py"), tests):
            if (root / found).is_file() or any((root / found).glob("**/test_*.py")):
                return [found.as_posix()]
    raise NotReadyError(
        f"{module}: no tests are named for it; see benchmarks/mutation/selection.py"
    )


def _with_folders(path: Path) -> list[Path]:
    """List a path and the folders that it is in, but for the package as a whole."""
    return [place for place in (path, *path.parents) if len(place.parts) > 1]
