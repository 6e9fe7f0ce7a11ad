"""The mutants are those that the operators promise, and what becomes of them is told rightly."""

import ast
import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

cosmic_ray = pytest.importorskip("cosmic_ray")

from cosmic_ray.work_db import use_db  # noqa: E402

from benchmarks.mutation import mutants, runner  # noqa: E402
from benchmarks.mutation.gradient_operators import OPERATORS, Code  # noqa: E402
from benchmarks.mutation.mutants import Mutant, NotReadyError, Worker  # noqa: E402

CONFIG = mutants.read_config(mutants.ROOT)
PACKAGES = ("manual_nn", "reference")
SAMPLES = [
    pytest.param(name, before, after, id=f"{name}-{number}")
    for name, operator in OPERATORS.items()
    for number, (before, after) in enumerate(operator.samples)
]

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
import hypothesis

hypothesis.settings.register_profile("mutation")
"""
PYPROJECT = """
[tool.pytest.ini_options]
addopts = ["--import-mode=importlib"]

[tool.cosmic-ray]
operators = ["ReplaceBinaryOperator_(Add_Sub|Mul_Div)"]
numerical = []

[tool.cosmic-ray.tests]
"manual_nn/tiny.py" = ["tests/test_tiny.py"]
"""
WAYS = """
import functools
import sys

FACTOR = 3
RULES = {"lambda": lambda x: x + 11}


def function(x, *, y=13):
    return FACTOR * x + y


class Class:
    @functools.cached_property
    def method(self):
        return sum(x * 17 for x in [1])

    @staticmethod
    def unseen():
        return 19


def made(n):
    def rule(x):
        return x + n - 23

    return rule


RULES["closure"] = made(29)


@functools.cache
def decorated():
    return [31]


def hanging(n=4):
    while n > 0:
        n -= 1
    return n


def called():
    return 37


NUMBER = called()

if __name__ == "__main__":
    print(function(0))
"""
TESTS_OF_WAYS = """
import os
import subprocess
import sys

from manual_nn.tiny import NUMBER, RULES, Class, called, decorated, function, hanging

def test_closure():
    assert RULES["closure"](0) == 6

def test_lambda():
    assert RULES["lambda"](0) == 11

def test_method():
    assert Class().method == 17

def test_decorated():
    assert decorated() is decorated()

def test_hanging():
    assert hanging() == 0

def test_called():
    assert NUMBER == called()

def test_subprocess():
    command = [sys.executable, "-S", "-m", "manual_nn.tiny"]
    assert subprocess.check_output(command, text=True) == "13\\n"

def test_function():
    assert function(1) == 16
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


@functools.cache
def our_code() -> list[Code]:
    return [Code((mutants.ROOT / module).read_text(encoding="utf-8")) for module in CONFIG.tests]


def same_code(got: str, wanted: str) -> bool:
    return ast.dump(ast.parse(got)) == ast.dump(ast.parse(wanted))


def mutated(name: str, text: str, number: int = 0) -> str:
    """Make one of the changes that an operator proposes."""
    start, end, new = OPERATORS[name]().changes(Code(text))[number]
    return text[:start] + new + text[end:]


@pytest.mark.parametrize(("name", "before", "after"), SAMPLES)
def test_an_operator_makes_its_samples(name: str, before: str, after: str) -> None:
    got = mutated(name, before)
    assert same_code(got, after), got


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_says_what_it_does_and_shows_it(name: str) -> None:
    assert OPERATORS[name].__doc__
    assert OPERATORS[name].samples


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_finds_something_in_our_code(name: str) -> None:
    assert any(OPERATORS[name]().changes(code) for code in our_code())


def test_a_changed_operand_keeps_its_brackets() -> None:
    texts = [mutated("TermDropped", "y = (a + b * c) * d.T", number) for number in range(2)]
    assert texts == ["y = (a) * d.T", "y = (b * c) * d.T"]
    flipped = mutated("SignFlipped", "y = -(a + b) ** 2", 1)
    assert same_code(flipped, "y = -(a - b) ** 2")


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("zip(a, b, strict=True)", 0),
        ("as_number(a, strict=True)", 1),
        ("functools.lru_cache(maxsize=True)", 0),
        ("Cache(maxsize=True)", 1),
    ],
)
def test_what_is_left_out_is_a_keyword_of_the_call_that_asserts_by_it(
    tmp_path: Path, code: str, count: int
) -> None:
    write_tiny(tmp_path, code=f"f(lambda: {code})\n")
    config = mutants.read_config(tmp_path)._replace(operators=["ReplaceTrueWithFalse"])
    assert len(mutants.make_mutants(tmp_path, "manual_nn/tiny.py", config)) == count


def write_tiny(root: Path, *, code: str = TINY, tests: str = TESTS, listed: str = "") -> None:
    files = {
        "manual_nn/__init__.py": "",
        "manual_nn/tiny.py": code,
        "tests/conftest.py": CONFTEST,
        "tests/test_tiny.py": tests,
        "pyproject.toml": PYPROJECT,
        "benchmarks/equivalent_mutants.toml": listed,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def tiny_mutants(root: Path) -> list[Mutant]:
    return mutants.make_mutants(root, "manual_nn/tiny.py", mutants.read_config(root))


def states(root: Path, session: Path) -> dict[str, str]:
    """Say what the session knows of each mutant, by its changed line."""
    with use_db(session) as database:
        results = dict(database.results)
    return {mutant.after: mutants.state_of(mutant, results, {}) for mutant in tiny_mutants(root)}


def listed(reason: str, **changes: str) -> str:
    return mutants.entry_text(*(SURVIVOR | changes).values(), reason)


ENDLESS_LISTED = listed("it never ends", **ENDLESS)


def test_annotations_and_marks_among_the_parameters_are_no_mutants(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    made = {mutant.after: mutant.operator for mutant in tiny_mutants(tmp_path)}
    assert made == {
        "n += 2": "gradient/AugmentedReplaced",
        "return 3 / x": "core/ReplaceBinaryOperator_Mul_Div",
        "return x - 5": "core/ReplaceBinaryOperator_Add_Sub",
    }


def test_two_operators_that_make_the_same_count_once(tmp_path: Path) -> None:
    write_tiny(tmp_path, code="def f(z):\n    return z.sum(axis=0)\n")
    config = mutants.read_config(tmp_path)._replace(
        operators=["NumberReplacer"], numerical=["manual_nn/tiny.py"]
    )
    made = Counter(m.after for m in mutants.make_mutants(tmp_path, "manual_nn/tiny.py", config))
    assert made["return z.sum(axis=1)"] == 1
    assert made["return z.sum(axis=-1)"] + made["return z.sum(axis= -1)"] == 1


def test_a_mutant_is_told_by_what_it_changes(tmp_path: Path) -> None:
    code = (
        "class A:\n    @property\n    def f(self):\n        if self:\n            return 2 * self\n"
    )
    write_tiny(tmp_path, code=code)
    (mutant,) = tiny_mutants(tmp_path)
    operator = "core/ReplaceBinaryOperator_Mul_Div"
    assert mutant.function == "A.f"
    assert mutant.key[1:] == ("A.f", operator, "return 2 * self", "return 2 / self")
    write_tiny(tmp_path, code=f"\n\n{code}")
    (shifted,) = tiny_mutants(tmp_path)
    assert shifted.key == mutant.key
    assert shifted.item.job_id != mutant.item.job_id  # the module has changed


def test_mutants_are_killed_survive_and_time_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "MORE", 1.0)
    root, session = tmp_path / "root", tmp_path / "build" / "mutants.sqlite"
    write_tiny(root)
    assert mutants.run(root, session, workers=1) == 1
    wanted = {"n += 2": "timed out", "return 3 / x": "survived", "return x - 5": "survived"}
    assert states(root, session) == wanted | {"return 3 / x": "killed"}
    assert "| all | 3 | 1 | 1 | 1 | 0 | 0 |" in capsys.readouterr().out
    survivors = session.with_name("survivors.toml").read_text(encoding="utf-8")
    assert listed("") in survivors
    assert listed("", **ENDLESS) in survivors

    def no_workers(*_: object) -> None:
        raise AssertionError("there was nothing left to test")

    with monkeypatch.context() as patch:  # the same command goes on from where it was
        patch.setattr(mutants, "Workers", no_workers)
        assert mutants.run(root, session, workers=1) == 1
        write_tiny(root, listed=listed("it is never called"))
        assert mutants.run(root, session, workers=1) == 1  # for the other is over time
        printed = capsys.readouterr().out
        assert "| all | 3 | 1 | 1 | 0 | 1 | 0 |" in printed
        assert "| it is never called |" in printed
        write_tiny(root, listed=listed("it is never called") + ENDLESS_LISTED)
        assert mutants.run(root, session, workers=1) == 0
        assert "| all | 3 | 1 | 0 | 0 | 2 | 0 |" in capsys.readouterr().out
    elsewhere = tmp_path / "new" / "mutants.sqlite"  # where the listed ones are untested too
    assert mutants.run(root, elsewhere, workers=0) == 1
    assert "| all | 3 | 0 | 0 | 0 | 0 | 3 |" in capsys.readouterr().out

    better = TESTS + "\n\ndef test_unseen():\n    from manual_nn.tiny import unseen\n"
    write_tiny(root, tests=better + "    assert unseen(1) == 6\n", listed=ENDLESS_LISTED)
    assert mutants.run(root, session, workers=1, again="survivors") == 0
    assert states(root, session) == wanted | {"return 3 / x": "killed", "return x - 5": "killed"}
    write_tiny(root, tests=better, listed=listed("it is never called"))
    capsys.readouterr()
    assert mutants.run(root, session, workers=0) == 2  # it is called, and a test saw it
    assert "listed as equivalent, but killed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("ways")
    write_tiny(folder / "root", code=WAYS, tests=TESTS_OF_WAYS)
    (folder / "0").mkdir()
    with contextlib.closing(Worker(folder / "root", folder / "0")) as started:
        yield started


def ask(worker: Worker, before: str, after: str, *, limit: float = 120.0) -> dict[str, Any]:
    assert WAYS.count(before) == 1
    text, tests = WAYS.replace(before, after), ["tests/test_tiny.py"]
    return worker.ask(module="manual_nn/tiny.py", text=text, tests=tests, limit=limit)


@pytest.mark.parametrize(
    ("before", "after", "failed"),
    [
        ("x * 17", "x * 18", "test_method"),
        ("x + 11", "x - 11", "test_lambda"),
        ("n - 23", "n + 23", "test_closure"),
        ("[31]", "[31][0:0]", ""),
        ("* x + y", "* x - y", "test_subprocess"),
    ],
)
def test_a_mutant_in_functions_alone_is_tested_the_fast_way(
    worker: Worker, before: str, after: str, failed: str
) -> None:
    found = ask(worker, before, after)
    assert found["way"] == ("fast" if failed else "slow, after the fast one"), found
    assert found["status"] == bool(failed)
    assert f"FAILED tests/test_tiny.py::{failed} " in found["output"] or not failed


@pytest.mark.parametrize(
    ("before", "after", "why", "status"),
    [
        ("FACTOR = 3", "FACTOR = 4", "<module> is no function that could be changed", 1),
        ("y=13", "y=12", "<module> is no function that could be changed", 1),
        ("@functools.cache\n", "", "<module> is no function that could be changed", 1),
        ("@staticmethod", "@classmethod", "Class is no function that could be changed", 0),
        ("def unseen():", "def unseen(x=1):", "Class is no function that could be changed", 0),
        ("def unseen():", "def unseen(*x):", "Class.unseen looks different from outside", 0),
        # the test compares what it gave when it was imported with what it gives now
        ("return 37", "return 38", "called has run", 0),
    ],
)
def test_a_mutant_in_what_an_import_runs_is_tested_the_slow_way(
    worker: Worker, before: str, after: str, why: str, status: int
) -> None:
    found = ask(worker, before, after)
    assert (found["way"], found["status"]) == (f"slow: {why}", status), found


def test_a_survivor_of_the_fast_way_is_tested_the_slow_way_too(worker: Worker) -> None:
    found = ask(worker, "return 19", "return 18")
    assert (found["way"], found["status"]) == ("slow, after the fast one", 0), found


def test_after_a_mutant_that_hangs_the_next_is_tested_the_fast_way(worker: Worker) -> None:
    found = ask(worker, "n -= 1", "n += 1", limit=5.0)
    assert (found["way"], found["status"]) == ("fast", None), found
    assert found["seconds"] >= 5
    found = ask(worker, "x + 11", "x + 12")
    assert (found["way"], found["status"]) == ("fast", 1), found


def test_a_mutant_may_end_the_fork_with_the_collected_tests(worker: Worker) -> None:
    kill = "sys.modules['os'].kill(sys.modules['os'].getppid(), 9)"
    found = ask(worker, "x + 11", f"'warm' in sys.modules['os'].environ['TMPDIR'] and {kill}")
    ended = "the fork with the collected tests has ended"
    assert found["way"] == f"slow: {ended}", found


def test_tests_that_do_not_pass_the_fast_way_are_run_the_slow_way(tmp_path: Path) -> None:
    started = "\nimport threading, time\n\nthreading.Thread(target=time.sleep, args=[1]).start()\n"
    write_tiny(tmp_path / "root", tests=TESTS + started)
    (tmp_path / "0").mkdir()
    with contextlib.closing(Worker(tmp_path / "root", tmp_path / "0")) as started_worker:
        text, tests = TINY.replace("3 * x", "4 * x"), ["tests/test_tiny.py"]
        found = started_worker.ask(module="manual_nn/tiny.py", text=text, tests=tests, limit=60)
    assert found["status"] == 1
    assert found["way"] == "slow: collecting the tests has started threads"


def test_code_is_told_apart_by_more_than_equality() -> None:
    codes = [compile(text, "", "exec") for text in ("f(0.0)", "f(-0.0)", "f(0)", "f(False)")]
    wholes = [runner._whole(code) for code in codes]
    assert all(wholes.count(whole) == 1 for whole in wholes)
    moved = compile("\n\nf(0.0)", "", "exec")
    assert runner._whole(moved) == wholes[0]


def test_tests_that_fail_without_a_mutant_judge_none(tmp_path: Path) -> None:
    write_tiny(tmp_path, tests="def test_nothing():\n    assert False\n")
    with pytest.raises(NotReadyError, match="its tests fail without a mutant"):
        mutants.run(tmp_path, tmp_path / "build" / "mutants.sqlite", workers=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (listed("it is so", before="return x + 6"), "no mutant is"),
        (listed("it is so", function="scaled"), "no mutant is"),
        (listed("it is so", module="manual_nn/gone.py"), "no mutant is"),
        (listed("it is so") * 2, "twice"),
        (listed(" "), "reason is missing"),
        ('[[equivalent]]\nmodule = "manual_nn/tiny.py"\n', "after, before, function"),
    ],
)
def test_a_wrong_entry_of_the_list_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    write_tiny(tmp_path, listed=text)
    with pytest.raises(NotReadyError, match=message):
        mutants.run(tmp_path, tmp_path / "build" / "mutants.sqlite", workers=0)


def test_every_module_has_tests_that_exist() -> None:
    modules = {
        path.relative_to(mutants.ROOT).as_posix()
        for package in PACKAGES
        for path in (mutants.ROOT / package).rglob("*.py")
    }
    assert set(CONFIG.tests) == modules
    assert set(CONFIG.numerical) <= modules
    for tests in CONFIG.tests.values():
        files = [test.partition("::")[0] for test in tests if test.endswith(".py") or "::" in test]
        assert files
        assert all((mutants.ROOT / file).is_file() for file in files), tests


def test_the_list_of_equivalent_mutants_has_no_stale_entry() -> None:
    entries = mutants.read_equivalents(mutants.ROOT)
    modules = dict.fromkeys(entry["module"] for entry in entries)
    made = [m for module in modules for m in mutants.make_mutants(mutants.ROOT, module, CONFIG)]
    mutants.match_equivalents(made, entries)


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(mutants, "run", interrupted)
    assert mutants.main(["--session", "a.sqlite"]) == 130
    assert capsys.readouterr().err == "Interrupted; the same command goes on from a.sqlite.\n"


def test_an_unknown_module_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.main(["--report", "--module", "manual_nn/nothing.py"]) == 2
    with pytest.raises(SystemExit, match="2"):
        mutants.main(["--workers", "0"])
    assert "no tests are named for manual_nn/nothing.py" in capsys.readouterr().err
