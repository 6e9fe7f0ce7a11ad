"""The README is true: its code prints what it says, and its figures are those measured."""

import contextlib
import io
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from manual_nn.interfaces.command_line import main as manual_nn_main
from tests.support.commands import without_numbers
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MOST_BYTES = 12_288
SCREEN_AND_A_HALF = 60  # lines

# Python whose output follows it at once; the example for pytest is followed by prose first.
EXAMPLES = re.findall(r"```python\n([^`]*)```\n\n```text\n([^`]*)```", README)
# A line of a page of results, word for word, with a link to the page.
QUOTES = re.findall(r"“([^”]+)”\s+\(\[[^]]+\]\((benchmarks/results/\S+\.md)\)", README)
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.md"))


def blocks(language: str) -> list[str]:
    """List the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def in_one_line(text: str) -> str:
    """Join the lines: a quotation is wrapped where the page that it is from is not."""
    return " ".join(text.split())


def anchor(heading: str) -> str:
    """Name a heading as a code host does in the address of its section."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def runs(module: str) -> bool:
    """Say whether `python -m` runs a module: by its `__main__` or its last lines."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return False
    if spec.submodule_search_locations:
        return find_spec(f"{module}.__main__") is not None
    return '__name__ == "__main__"' in Path(spec.origin).read_text(encoding="utf-8")


def test_it_is_short_and_its_first_python_stands_near_the_top() -> None:
    assert len(README.encode()) <= MOST_BYTES
    before = README[: README.index("```python\n")]
    assert before.count("\n") < SCREEN_AND_A_HALF


def test_the_layer_fails_as_the_readme_says_and_passes_when_mended(tmp_path: Path) -> None:
    """In a process of its own: a user's JAX is not as strict as that of these tests."""
    code = next(block for block in blocks("python") if "check_gradient" in block)
    said = next(block for block in blocks("text") if "last_row_only" in block)
    mended = code.replace("d_z[-1]", "d_z.sum(axis=0)")
    assert mended != code
    files = {"test_tanh_layer.py": code, "test_mended_layer.py": mended}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(  # noqa: S603, our own README
        [sys.executable, "-m", "pytest", *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "\nFAILED test_tanh_layer.py::test_my_gradient" in done.stdout
    assert "= 1 failed, 1 passed in " in done.stdout
    printed = without_numbers(done.stdout)
    wanted = without_numbers(said.removesuffix("...\n"))
    assert any(printed[i : i + len(wanted)] == wanted for i in range(len(printed)))


def test_the_other_python_is_followed_by_what_it_prints() -> None:
    assert len(EXAMPLES) == len(blocks("python")) - 1


@pytest.mark.parametrize(("code", "said"), EXAMPLES, ids=["library", "classifier"])
def test_an_example_prints_what_the_readme_says(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the digits there are, few enough that the order of additions does not show."""
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, {})  # noqa: S102, our own README
    assert output.getvalue() == said


def test_training_on_digits_ends_as_the_readme_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an accuracy of at least 0.95; its last digits depend on the order of additions."""
    assert manual_nn_main(["train", "--output", str(tmp_path / "output")]) == 0
    said = next(block for block in blocks("text") if "In-sample" in block)
    printed = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    wanted = without_numbers(said)
    assert without_numbers(printed)[-len(wanted) :] == wanted
    for text in (said, printed):
        (accuracy,) = re.findall(r"Test accuracy (\d\.\d+)", text)
        assert float(accuracy) >= 0.95


@pytest.mark.parametrize(("quote", "page"), QUOTES)
def test_a_quotation_stands_in_the_page_that_it_links(quote: str, page: str) -> None:
    assert in_one_line(quote) in in_one_line((ROOT / page).read_text(encoding="utf-8"))


def test_every_page_of_results_is_quoted_and_nothing_else_is() -> None:
    assert {page for _, page in QUOTES} == {str(page.relative_to(ROOT)) for page in RESULTS}
    linked = re.findall(r"\]\((benchmarks/results/\S+\.md)\)", README)
    assert len(QUOTES) == len(linked) == README.count("“") == README.count("”")


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.stem)
def test_every_page_of_results_names_a_command_that_there_is(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (module,) = re.findall(r"^- Command: `python -m ([\w.]+)[^`]*`$", text, flags=re.MULTILINE)
    assert runs(module)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_what_the_readme_links_to_exists(target: str) -> None:
    """Addresses elsewhere are only looked at: tests use no network."""
    path, _, section = target.partition("#")
    if path.startswith("https://"):
        return
    assert (ROOT / path).exists()
    if section:
        assert section in map(anchor, re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE))


def test_the_commands_name_what_there_is() -> None:
    extras = set(re.findall(r"'\S*\[(\w+)\]'", README))
    assert extras
    assert extras <= set(PROJECT["optional-dependencies"])
    modules = set(re.findall(r"python -m ([\w.]+)", README)) - {"venv"}
    assert modules
    assert all(map(runs, modules))


def test_the_citation_is_of_this_version() -> None:
    (citation,) = blocks("bibtex")
    assert f"version = {{{PROJECT['version']}}}" in citation
