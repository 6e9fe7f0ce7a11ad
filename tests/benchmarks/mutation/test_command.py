"""What becomes of mutants is told rightly, written down at once, and gone on from."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutation import __main__ as command
from benchmarks.mutation import mutants, runner, selection, workers
from benchmarks.mutation.selection import NotReadyError
from benchmarks.mutation.workers import Result, Session
from tests.benchmarks.mutation.tiny import (
    ENDLESS,
    ENDLESS_LISTED,
    MODULE,
    TESTS,
    listed,
    tiny_mutants,
    write_tiny,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave two of Cosmic Ray's operators, and what the tests need."""
    monkeypatch.setattr(mutants, "CORE", re.compile("ReplaceBinaryOperator_(Add_Sub|Mul_Div)"))
    monkeypatch.setattr(runner, "IMPORTED", ("hypothesis", "pytest"))


def states(root: Path, session: Path) -> dict[str, str]:
    """Say what the session knows of each mutant, by its changed line."""
    results = Session(session).results
    return {mutant.after: command.state_of(mutant, results, {}) for mutant in tiny_mutants(root)}


def test_mutants_are_killed_survive_and_time_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MORE", 1.0)
    root, session = tmp_path / "root", tmp_path / "build" / "mutants.jsonl"
    write_tiny(root)
    assert command.run(root, session, workers=1) == 1
    wanted = {"n += 2": "timed out", "return 3 / x": "survived", "return x - 5": "survived"}
    assert states(root, session) == wanted | {"return 3 / x": "killed"}
    assert "| all | 3 | 1 | 1 | 1 | 0 | 0 |" in capsys.readouterr().out
    page = (root / "benchmarks" / "results" / "mutants.md").read_text(encoding="utf-8")
    assert "\n3 mutants: 1 killed, 1 timed out, 1 survived, 0 equivalent, 0 untested.\n" in page
    assert "| gradient/AugmentedReplaced | 1 | 0 | 1 | 0 | 0 | 0 |" in page
    survivors = session.with_name("survivors.toml").read_text(encoding="utf-8")
    assert listed("") in survivors
    assert listed("", **ENDLESS) in survivors

    def no_workers(*_: object) -> None:
        raise AssertionError("there was nothing left to test")

    with monkeypatch.context() as patch:  # the same command goes on from where it was
        patch.setattr(workers, "Workers", no_workers)
        assert command.run(root, session, workers=1) == 1
        write_tiny(root, listed=listed("it is never called"))
        assert command.run(root, session, workers=1) == 1  # for the other is over time
        assert "| all | 3 | 1 | 1 | 0 | 1 | 0 |" in capsys.readouterr().out
        write_tiny(root, listed=listed("it is never called") + ENDLESS_LISTED)
        assert command.run(root, session, workers=1) == 0
        assert "| all | 3 | 1 | 0 | 0 | 2 | 0 |" in capsys.readouterr().out
    elsewhere = tmp_path / "new" / "mutants.jsonl"  # where the listed ones are untested too
    assert command.run(root, elsewhere, workers=0) == 1
    assert "| all | 3 | 0 | 0 | 0 | 0 | 3 |" in capsys.readouterr().out
    page = elsewhere.with_name("mutants.md").read_text(encoding="utf-8")  # for it is not whole
    assert "| all | 3 | 0 | 0 | 0 | 0 | 3 |" in page

    better = TESTS + "\n\ndef test_unseen():\n    from manual_nn.tiny import unseen\n"
    write_tiny(root, tests=better + "    assert unseen(1) == 6\n", listed=ENDLESS_LISTED)
    assert command.run(root, session, workers=1, again="survived") == 0
    assert states(root, session) == wanted | {"return 3 / x": "killed", "return x - 5": "killed"}
    write_tiny(root, tests=better, listed=listed("it is never called"))
    capsys.readouterr()
    assert command.run(root, session, workers=0) == 2  # it is called, and a test saw it
    assert "listed as equivalent, but killed" in capsys.readouterr().err


COMPILED = "manual_nn/compiled/tiny.py"
OF_TWO_WAYS = """
import os

from manual_nn.compiled.tiny import unseen

def test_compiled():
    if os.environ["NUMBA_DISABLE_JIT"] == "0":
        assert unseen(0) == 5
"""


def test_a_survivor_in_what_numba_compiles_is_tested_compiled_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "OF_COMPILED", ())
    root, session = tmp_path / "root", tmp_path / "mutants.jsonl"
    write_tiny(root, module=COMPILED)
    (root / "manual_nn" / "compiled" / "__init__.py").touch()
    test = root / "tests" / "manual_nn" / "compiled" / "test_tiny.py"
    test.parent.mkdir()
    test.write_text(OF_TWO_WAYS, encoding="utf-8")
    command.run(root, session, workers=1, only=[COMPILED])
    (mutant,) = (m for m in tiny_mutants(root, COMPILED) if m.after == "return x - 5")
    result = Session(session).results[mutant.identity]
    assert (result.state, result.way) == ("killed", runner.COMPILED)
    survivor = result._replace(state="survived")
    assert not workers.is_to_be_compiled(mutant, survivor)  # once more
    assert workers.is_to_be_compiled(mutant, survivor._replace(way="fast"))
    assert not workers.is_to_be_compiled(mutant._replace(module=MODULE), survivor)
    assert not workers.is_to_be_compiled(mutant, None)


def test_a_run_of_the_numerical_modules_keeps_the_page_of_all(tmp_path: Path) -> None:
    session, layer = tmp_path / "build" / "mutants.jsonl", "manual_nn/layers/tiny.py"
    layers = tmp_path / "tests" / "manual_nn" / "layers"
    layers.mkdir(parents=True)
    for tests in (layers / "test_tiny.py", layers.with_name("test_layers.py")):  # and of all layers
        tests.write_text(TESTS, encoding="utf-8")
    write_tiny(tmp_path)
    write_tiny(tmp_path, module=layer)
    path = tmp_path / "benchmarks" / "results" / "mutants.md"

    def written(*, numerical: bool, status: int = 0) -> str:
        arguments = ["--numerical"] * numerical
        found = command.run(tmp_path, session, numerical=numerical, workers=0, arguments=arguments)
        assert found == status
        return path.read_text(encoding="utf-8")

    assert command.run(tmp_path, session, numerical=True, workers=0) == 1
    assert not path.exists()  # nothing is known yet
    for mutant in (*tiny_mutants(tmp_path), *tiny_mutants(tmp_path, layer)):
        Session(session).add(mutant, Result("killed", 1.5, "fast", "1 failed"))
        if mutant.module == layer and not path.exists():
            assert ": 1 killed, " in written(numerical=True, status=1)
    first = written(numerical=True)  # with no page of all before it
    assert "| manual_nn/layers/tiny.py: of gradients |" in first
    assert "manual_nn/tiny.py" not in first
    assert written(numerical=True) == first

    whole = written(numerical=False)
    assert "| manual_nn/tiny.py: of gradients |" in whole
    both = written(numerical=True)
    assert both.startswith(first.rstrip())
    earlier = whole.partition("\n\n")[2].replace("- Command:", "- Command of that run:")
    assert both.endswith(command.EARLIER + earlier)
    assert both.count("- Command:") == both.count("- Command of that run:") == 1
    assert written(numerical=True) == both


def test_tests_that_fail_without_a_mutant_judge_none(tmp_path: Path) -> None:
    write_tiny(tmp_path, tests="def test_nothing():\n    assert False\n")
    with pytest.raises(NotReadyError, match="its tests fail without a mutant"):
        command.run(tmp_path, tmp_path / "build" / "mutants.jsonl", workers=1)


def test_a_selection_that_selects_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several, too; a test that is marked as long is none."""
    long = "import pytest\n\n@pytest.mark.long\ndef test_long():\n    assert True\n"
    write_tiny(tmp_path)
    (tmp_path / "tests" / "test_long.py").write_text(long, encoding="utf-8")
    monkeypatch.setitem(selection.ALSO, MODULE, ("tests/test_long.py",))
    with pytest.raises(NotReadyError, match=r"tests/test_long\.py selects no test"):
        command.run(tmp_path, tmp_path / "build" / "mutants.jsonl", workers=1)


def test_a_session_that_was_killed_in_a_line_goes_on_without_it(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    first, second, _ = tiny_mutants(tmp_path)
    path = tmp_path / "build" / "mutants.jsonl"
    killed = Result("killed", 1.5, "fast", "1 failed")
    Session(path).add(first, killed)
    whole = path.read_text(encoding="utf-8")
    Session(path).add(second, killed)
    path.write_text(path.read_text(encoding="utf-8")[:-10], encoding="utf-8")
    assert Session(path).results == {first.identity: killed}
    assert path.read_text(encoding="utf-8") == whole
    Session(path).add(first, killed._replace(state="survived"))
    assert Session(path).results[first.identity].state == "survived"


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert command.main(["--session", "a.jsonl"]) == 130
    assert capsys.readouterr().err == "Interrupted; the same command resumes from a.jsonl.\n"


def test_what_is_not_mutated_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--report", "--module", "manual_nn/nothing.py"]) == 2
    with pytest.raises(SystemExit, match="2"):
        command.main(["--workers", "0"])
    assert "not mutated: manual_nn/nothing.py" in capsys.readouterr().err
