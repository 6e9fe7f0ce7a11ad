"""The command `check-gradient`: what it takes, and what it refuses."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from reference import GradientReport, Leaf, Verdict, check_command, command_line
from reference.arrays import PRECISION
from reference.diagnosis.codes import Cause, Code, Line, Mark
from tests.support.cases import each
from tests.support.commands import Output, run_here
from tests.support.leaves import leaf_of

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

MINE = """
def loss(x, y, z): pass
def grad(*_): pass
ARGS = (1.0, 2.0, "HERE")
def make(): return ARGS
def draw(seed): return ARGS
LIST = [1.0]
NONE = ()
INTEGERS = (1, 2.0, "HERE")
"""


class Checked(NamedTuple):
    """What was checked, and how it turns out."""

    calls: list[Any]
    reports: list[GradientReport]


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: Patch) -> Checked:
    """Have a module in this folder, another of its name in another, and nothing checked."""
    here, other = tmp_path / "here", tmp_path / "other"
    for folder, name in ((here, "HERE"), (other, "THERE")):
        folder.mkdir()
        (folder / "mine.py").write_text(MINE.replace("HERE", name), encoding="utf-8")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(other), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "mine", sys)  # so that it is forgotten afterwards
    monkeypatch.delitem(sys.modules, "mine")
    found = Checked([], [])

    def check(grad: Any, loss: Any, *args: Any, **options: Any) -> GradientReport:
        assert (grad.__name__, loss.__name__) == ("grad", "loss")
        assert grad.__globals__ is loss.__globals__, "one file is one module"
        found.calls.append((args, options))
        return found.reports[0]

    monkeypatch.setattr(check_command, "check_gradient", check)
    return found


def report_of(verdict: Verdict, *leaves: Leaf) -> GradientReport:
    return GradientReport(verdict, leaves, (), (), "float64")


def command(capsys: Capture, *words: str, place: str = "mine", example: str = "ARGS") -> Output:
    """Run the command on what is at this place."""
    names = (f"{place}:grad", f"{place}:loss", "--example", f"{place}:{example}")
    return run_here(check_command.main, capsys, *names, *words)


@each(
    ("words", "argnums", "seconds"),
    [
        ((), 0, 30.0),
        (("--argnums", "1"), 1, 30.0),
        (("--argnums", "-2"), -2, 30.0),
        (("--argnums", "y"), "y", 30.0),
        (("--argnums", "x", "1"), ["x", 1], 30.0),
        (("--seconds", "0"), 0, 0.0),
        (("--seconds", "2.5"), 0, 2.5),
    ],
)
def test_the_arguments_of_the_gradient_are_numbered_or_named_and_the_search_limited(
    words: Sequence[str], argnums: Any, seconds: float, checked: Checked, capsys: Capture
) -> None:
    checked.reports[:], checked.calls[:] = [report_of(Verdict.MATCH)], []
    output = command(capsys, *words)
    assert (output.status, output.out) == (0, f"{checked.reports[0]}\n")
    options = {"argnums": argnums, "explain_seconds": seconds}
    assert checked.calls == [((1.0, 2.0, "HERE"), options)]


def test_the_loss_is_shown_line_by_line_if_it_is_asked_for(
    checked: Checked, capsys: Capture
) -> None:
    marked = Cause(Code.PATH_MISSING, "", "", marks=((Line("a.py", 3, ""), Mark.WRONG),))
    for verdict, causes, shown in (
        (Verdict.MISMATCH, (marked,), "\na.py\n     wrong     3\n"),
        (Verdict.MISMATCH, (), f"\n{check_command.UNMARKED}\n"),
        (Verdict.MATCH, (), f"\n{check_command.NOTHING_WRONG}\n"),
        (Verdict.WRONG_SHAPE, (), f"\n{check_command.NOT_EXPLAINED}\n"),
    ):
        report = GradientReport(verdict, (), causes, (), "float64")
        checked.reports[:] = [report]
        assert command(capsys, "--explain").out == f"{report}\n{shown}"
        assert command(capsys).out == f"{report}\n"


@pytest.mark.parametrize("verdict", [Verdict.MATCH, Verdict.WRONG_SHAPE])
def test_what_is_named_is_of_a_module_of_this_folder_or_of_a_file(
    verdict: Verdict, checked: Checked, tmp_path: Path, capsys: Capture
) -> None:
    checked.reports.append(report_of(verdict))
    for place, whose in (
        ("mine", "HERE"),
        ("mine.py", "HERE"),
        ("../other/mine.py", "THERE"),
        (str(tmp_path / "other" / "mine.py"), "THERE"),
    ):
        for example in ("ARGS", "make"):
            output = command(capsys, place=place, example=example)
            assert checked.calls.pop()[0][-1] == whose
            assert output.status == int(verdict != Verdict.MATCH)
    names = ["mine:grad", "mine:loss", "--example", "mine:ARGS"]
    output = run_here(command_line.main, capsys, "check", *names)
    assert output.status == int(verdict != Verdict.MATCH)


def test_a_picture_is_written_where_something_was_compared(
    checked: Checked, tmp_path: Path, capsys: Capture
) -> None:
    picture = tmp_path / "picture.png"
    checked.reports.append(report_of(Verdict.WRONG_SHAPE))
    assert "Wrote" not in command(capsys, "--plot", str(picture)).out
    want = np.ones((1, 2))
    checked.reports[0] = report_of(Verdict.MISMATCH, leaf_of(want, want + 0.5, 0.25))
    assert "Wrote" not in command(capsys).out
    assert not picture.exists()
    output = command(capsys, "--plot", str(picture))
    assert output.status == 1
    assert output.out.endswith(f"\nWrote {picture}\n")
    assert picture.stat().st_size > 0
    picture.unlink()
    picture.mkdir()
    finished = command(capsys, "--plot", str(picture))
    assert finished.status == 2
    assert finished.err.endswith(f"error: --plot {picture}: Is a directory\n")


@each(
    ("words", "message"),
    [
        (("mine", "mine:loss"), "expected MODULE:NAME or FILE.py:NAME, got 'mine'"),
        ((":grad", "mine:loss"), "expected MODULE:NAME or FILE.py:NAME, got ':grad'"),
        (("mine:", "mine:loss"), "expected MODULE:NAME or FILE.py:NAME, got 'mine:'"),
        (("mine:nothing", "mine:loss"), "mine:nothing: mine has no nothing"),
        (("mine:gard", "mine:loss"), "mine:gard: mine has no gard; it has grad"),
        (("mine.py:gard", "mine:loss"), "mine.py:gard: mine.py has no gard; it has grad"),
        (("no_such_module:grad", "mine:loss"), "no_such_module:grad: No module named"),
        (("no_such.py:grad", "mine:loss"), "no_such.py:grad: there is no file no_such.py"),
        (("mine:grad", "mine:LIST"), "mine:LIST must be the loss, a function, got list"),
        (("--argnums", "7"), "--argnums must be from 0 to 2 for 3 arguments, got 7"),
        (("--argnums", "w"), "--argnums names 'w', but the names of the arguments are: x, y, z"),
        (
            ("--argnums", "0.5"),
            "must be the number or the name of an argument, got '0.5'\n",
        ),
        (
            ("--argnums", "0,1"),
            "the name of an argument, got '0,1'; separate several by spaces\n",
        ),
        (("--plot", "nowhere/a.png"), "--plot: nowhere/a.png: there is no folder nowhere\n"),
        (("--plot", "a.xyz"), "--plot: a.xyz: a picture's name must end in one of ."),
        (("--plot", "png"), "--plot: png: a picture's name must end in one of ."),
        (("--explian",), "unrecognized arguments: --explian; did you mean --explain?\n"),
        (("--seconds", "-1"), "argument --seconds: must be a number of at least 0, got '-1'"),
        (("--seconds", "long"), "argument --seconds: must be a number of at least 0, got 'long'"),
        (
            ("--argnums", "z"),
            f"--example mine:ARGS: args[2] {PRECISION}, got <U4",
        ),
        (
            ("--example", "mine:INTEGERS"),
            f"mine:INTEGERS: args[0] {PRECISION}",
        ),
        (("--example", "mine:draw"), "--example mine:draw must take no arguments, it takes (seed)"),
        (("--example", "mine:LIST"), "mine:LIST must be a tuple of the arguments, got list"),
        (("--example", "mine:NONE"), "must be a tuple of the arguments, got an empty one"),
    ],
)
@pytest.mark.usefixtures("checked")
def test_a_wrong_command_is_answered_in_one_line(
    words: tuple[str, ...], message: str, capsys: Capture
) -> None:
    if words[0].startswith("--"):
        output = command(capsys, *words)
    else:
        output = run_here(check_command.main, capsys, *words, "--example", "mine:ARGS")
    assert (output.status, output.out) == (2, "")
    usage, line = output.err.split("error: ")
    assert usage.startswith("usage: check-gradient")
    assert line.count("\n") == 1
    assert message in line


@pytest.mark.usefixtures("checked")
def test_an_error_in_the_functions_that_are_checked_is_theirs(
    capsys: Capture, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import mine\ndef make(): return 1 / 0\nraise KeyError('theirs')\n")
    for _ in range(2):  # it is not taken for imported
        with pytest.raises(KeyError, match="theirs"):
            command(capsys, place=str(broken))
    broken.write_text("from mine import grad, loss\ndef make(): return 1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        command(capsys, place=str(broken), example="make")
