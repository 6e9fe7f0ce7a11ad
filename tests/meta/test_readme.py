"""The README says what is: its code runs and prints what it says, its table lists every code."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from manual_nn.interfaces.command_line import main as manual_nn_main
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """List the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def without_numbers(text: str) -> list[str]:
    """Split into words, and forget the digits, the last of which depend on the machine's BLAS."""
    return re.sub(r"-?[0-9][0-9.e+-]*", "0", text).split()


def test_the_library_example_prints_what_the_readme_says() -> None:
    code = next(block for block in blocks("python") if "loss_and_grad" in block)
    printed = next(block for block in blocks("text") if block.startswith("loss "))
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, {})  # noqa: S102, our own README
    got, said = output.getvalue(), printed
    assert got.splitlines()[:2] == said.splitlines()[:2]
    assert without_numbers(got) == without_numbers(said)


def test_the_layer_norm_fails_as_the_readme_says_and_passes_when_mended(tmp_path: Path) -> None:
    """In a process of its own: a user's JAX is not as strict as that of these tests."""
    code = next(block for block in blocks("python") if "d_normed" in block)
    said = next(block for block in blocks("text") if "last_row_only" in block)
    mended = code.replace("d_out[-1]", "d_out.sum(axis=0)")
    assert mended != code
    for text, status in ((code, 1), (mended, 0)):
        (tmp_path / "test_layer_norm.py").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "test_layer_norm.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        if status:
            printed = without_numbers(done.stdout)
            wanted = without_numbers(said)
            assert any(printed[i : i + len(wanted)] == wanted for i in range(len(printed)))


def test_the_scikit_learn_example_finds_a_good_network() -> None:
    code = next(block for block in blocks("python") if "GridSearchCV" in block)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102, our own README
    assert names["search"].best_score_ > 0.9


def test_the_dask_example_prints_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the three digits there are: the sums over blocks may be rounded in another order."""
    code = next(block for block in blocks("python") if "dask" in block)
    start = README.index(code)
    said = next(block for block in blocks("text") if README.index(block) > start)
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, {})  # noqa: S102, our own README
    assert output.getvalue() == said


def test_the_digits_run_reaches_what_the_readme_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At least 0.95; the last digits hang on the order of additions."""
    assert manual_nn_main(["train", "--output", str(tmp_path)]) == 0
    said = next(block for block in blocks("text") if "In-sample" in block)
    printed = capsys.readouterr().out
    for text in (said, printed):
        (accuracy,) = re.findall(r"Test accuracy (\d\.\d+)", text)
        assert float(accuracy) >= 0.95


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!#)[^)]+)\)", README))
def test_what_the_readme_links_to_exists(path: str) -> None:
    assert (ROOT / path).exists()
