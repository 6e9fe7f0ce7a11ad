"""Each module has its tests, which are read off the tree, and no exception is out of date."""

from pathlib import Path

import pytest

from benchmarks.mutation import selection
from benchmarks.mutation.mutants import make_mutants
from benchmarks.mutation.selection import NotReadyError, is_numerical, mirrored, modules, select
from tests.support.project import ROOT


def test_every_module_of_which_there_are_mutants_has_tests() -> None:
    for module in modules(ROOT):
        try:
            assert select(ROOT, module)
        except NotReadyError:
            assert not make_mutants(ROOT, module), module


def test_every_exception_is_of_a_module_that_is_mutated() -> None:
    mutated = modules(ROOT)
    named = {*selection.FIRST, *selection.ALSO, *selection.INSTEAD}
    assert named <= set(mutated)
    assert all((ROOT / drawing).is_file() for drawing in selection.DRAWING)
    for room in selection.NUMERICAL:
        assert any(module.startswith(room) for module in mutated), room


def test_what_the_tree_names_is_not_named_again() -> None:
    for module in selection.INSTEAD:
        try:
            found = mirrored(ROOT, module)
        except NotReadyError:
            continue
        assert selection.INSTEAD[module] != tuple(found), module


@pytest.mark.parametrize(
    ("tests", "found"),
    [
        (["a/test_b.py", "a/test_c.py"], "tests/manual_nn/a/test_b.py"),
        (["a/b/test_c.py", "a/test_c.py"], "tests/manual_nn/a/b"),
        (["test_a.py", "a/test_c.py"], "tests/manual_nn/test_a.py"),
        (["a/test_c.py"], "tests/manual_nn/a"),
    ],
)
def test_the_nearest_tests_are_those_about_a_module(
    tmp_path: Path, tests: list[str], found: str
) -> None:
    for test in tests:
        path = tmp_path / "tests" / "manual_nn" / test
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert mirrored(tmp_path, "manual_nn/a/b.py") == [found]


def test_a_compiled_layer_is_judged_by_the_tests_of_numpy_s_too() -> None:
    """Those run on both."""
    tests = [f"tests/manual_nn/{name}.py" for name in ("layers/test_relu", "compiled/test_layers")]
    assert mirrored(ROOT, "manual_nn/compiled/layers/relu.py") == tests


def test_a_layer_is_judged_by_what_it_draws_and_by_what_holds_of_all() -> None:
    drawn, of_all = (f"tests/manual_nn/test_{name}.py" for name in ("initial", "layers"))
    assert {drawn, of_all} <= set(select(ROOT, "manual_nn/layers/lstm.py"))
    assert drawn not in select(ROOT, "manual_nn/layers/softmax.py")
    assert of_all in select(ROOT, "manual_nn/layers/softmax.py")
    assert of_all not in select(ROOT, "manual_nn/compiled/layers/softmax.py")


def test_a_module_without_tests_and_a_test_that_is_gone_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "manual_nn/a/b.py"
    (tmp_path / module).parent.mkdir(parents=True)
    (tmp_path / module).touch()
    with pytest.raises(NotReadyError, match=r"manual_nn/a/b\.py: no tests are named for it"):
        select(tmp_path, module)
    monkeypatch.setitem(selection.INSTEAD, module, ("tests/test_gone.py",))
    with pytest.raises(NotReadyError, match=r"there is no tests/test_gone\.py"):
        select(tmp_path, module)


def test_backward_passes_are_numerical_and_files_are_not() -> None:
    assert is_numerical("manual_nn/layers/dense.py")
    assert is_numerical("reference/bounds/rounding.py")
    assert not is_numerical("manual_nn/files/parameters.py")
    assert not is_numerical("reference/report.py")
