"""CHECK_ANYTHING.md is true: its recipes fail as it says, and pass when they are mended."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from manual_nn.interfaces import pytest_plugin
from tests.support import device_arrays
from tests.support.commands import without_numbers
from tests.support.project import ROOT

pytest_plugins = ["pytester"]

PAGE = (ROOT / "reference" / "CHECK_ANYTHING.md").read_text(encoding="utf-8")
# By the name of its first file, the text of each recipe: it ends with what the report says.
RECIPES = {
    re.findall(r"`(test_\w+)\.py`", recipe)[0]: recipe
    for recipe in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    if "```python" in recipe
}
# What is wrong in each; the comment behind it says what is right.
PLANTED = {
    "test_batch_norm": "d_centred / std",
    "test_convolution": "i < n - k",
    "test_rms_norm": ".sum(1, keepdim=True)",
    "test_softplus": "(jax.nn.sigmoid(x),)",
    "test_dense": "d_out",
}


def mended(code: str, wrong: str) -> str:
    """Do what the comment behind the bug says."""
    for line in code.splitlines():
        if "should be " in line:
            before, right = re.split(r" +(?:#|/\*) should be | \*/", line)[:2]
            assert before.count(wrong) == 1, line
            return code.replace(before, before.replace(wrong, right))
    return code


def write(recipe: str, folder: Path, wrong: str = "") -> None:
    """Write the files of a recipe, mended if it is said what is wrong, and compile what is in C."""
    folder.mkdir()
    for language, code in re.findall(r"```(python|c)\n(.*?)```", recipe, re.DOTALL):
        ending = {"python": "py", "c": "c"}[language]
        (name,) = re.findall(rf"`(\w+\.{ending})`", recipe)
        (folder / name).write_text(mended(code, wrong) if wrong else code, encoding="utf-8")
    for command in re.findall(r"`(cc [^`]*)`", recipe):
        subprocess.run(command.split(), cwd=folder, check=True)  # noqa: S603, our own page


@pytest.mark.parametrize("name", PLANTED)
def test_a_recipe_fails_as_the_page_says_and_passes_when_mended(
    name: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    if "import torch" in recipe:  # an extra, which must stay imported when the inner pytest ends
        pytest.importorskip("torch")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setitem(sys.modules, "cupy", device_arrays)
    options = ("-p", pytest_plugin.__name__, "-p", "no:cacheprovider", f"{name}.py")

    def run() -> pytest.RunResult:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return pytester.runpytest_inprocess(*options)

    folder = pytester.path / "planted"
    write(recipe, folder)
    monkeypatch.chdir(folder)
    done = run()
    done.assert_outcomes(failed=1)
    printed = without_numbers(done.stdout.str())
    (said,) = re.findall(r"```text\n(.*?)```", recipe, re.DOTALL)
    for part in said.split("...\n"):
        wanted = without_numbers(part)
        places = [i for i in range(len(printed)) if printed[i : i + len(wanted)] == wanted]
        assert places, part
        del printed[: places[0]]
    folder = pytester.path / "mended"
    write(recipe, folder, PLANTED[name])
    monkeypatch.chdir(folder)
    run().assert_outcomes(passed=1)


def test_every_recipe_is_run() -> None:
    assert set(RECIPES) == set(PLANTED)
    assert PAGE.count("```python") == len(PLANTED)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", PAGE))
def test_what_the_page_links_to_exists(target: str) -> None:
    assert (ROOT / "reference" / target).exists()
