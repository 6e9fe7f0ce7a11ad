"""The mutants are those that the operators promise, and what becomes of them is told rightly."""

import ast
import functools
from collections import Counter
from pathlib import Path

import pytest

cosmic_ray = pytest.importorskip("cosmic_ray")

from cosmic_ray.mutating import mutate_code  # noqa: E402
from cosmic_ray.operators.operator import Example  # noqa: E402
from cosmic_ray.work_db import use_db  # noqa: E402

from benchmarks import mutants  # noqa: E402
from benchmarks.gradient_operators import OPERATORS, Code  # noqa: E402
from benchmarks.mutants import Mutant, NotReadyError  # noqa: E402

CONFIG = mutants.read_config(mutants.ROOT)
PACKAGES = ("manual_nn", "reference")
EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name, operator in OPERATORS.items()
    for number, example in enumerate(operator.examples())
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
SURVIVOR = {
    "module": "manual_nn/tiny.py",
    "function": "unseen",
    "operator": "core/ReplaceBinaryOperator_Add_Sub",
    "before": "return x + 5",
    "after": "return x - 5",
}


@functools.cache
def our_code() -> list[Code]:
    return [Code((mutants.ROOT / module).read_text(encoding="utf-8")) for module in CONFIG.tests]


def same_code(got: str, wanted: str) -> bool:
    return ast.dump(ast.parse(got)) == ast.dump(ast.parse(wanted))


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_operator_makes_its_examples(name: str, example: Example) -> None:
    got = mutate_code(example.pre_mutation_code, OPERATORS[name](), example.occurrence)
    assert got is not None
    assert same_code(got, example.post_mutation_code), got


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_says_what_it_does_and_shows_it(name: str) -> None:
    assert OPERATORS[name].__doc__
    assert OPERATORS[name].samples


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_finds_something_in_our_code(name: str) -> None:
    assert any(OPERATORS[name]().changes(code) for code in our_code())


def test_a_changed_operand_keeps_its_brackets() -> None:
    operator = OPERATORS["TermDropped"]()
    texts = [mutate_code("y = (a + b * c) * d.T", operator, n) for n in range(2)]
    assert texts == ["y = (a) * d.T", "y = (b * c) * d.T"]
    flipped = mutate_code("y = -(a + b) ** 2", OPERATORS["SignFlipped"](), 1)
    assert flipped is not None
    assert same_code(flipped, "y = -(a - b) ** 2")


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
    assert survivors.endswith(listed(""))

    def no_workers(*_: object) -> None:
        raise AssertionError("there was nothing left to test")

    with monkeypatch.context() as patch:  # the same command goes on from where it was
        patch.setattr(mutants, "Workers", no_workers)
        assert mutants.run(root, session, workers=1) == 1
        write_tiny(root, listed=listed("it is never called"))
        assert mutants.run(root, session, workers=1) == 0
        printed = capsys.readouterr().out
        assert "| all | 3 | 1 | 1 | 0 | 1 | 0 |" in printed
        assert "| it is never called |" in printed

    better = TESTS + "\n\ndef test_unseen():\n    from manual_nn.tiny import unseen\n"
    write_tiny(root, tests=better + "    assert unseen(1) == 6\n")
    assert mutants.run(root, session, workers=1, again="survivors") == 0
    assert states(root, session) == wanted | {"return 3 / x": "killed", "return x - 5": "killed"}
    write_tiny(root, tests=better, listed=listed("it is never called"))
    capsys.readouterr()
    assert mutants.run(root, session, workers=0) == 2  # it is called, and a test saw it
    assert "listed as equivalent, but killed" in capsys.readouterr().err


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


def test_an_unknown_module_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutants.main(["--report", "--module", "manual_nn/nothing.py"]) == 2
    assert "no tests are named for manual_nn/nothing.py" in capsys.readouterr().err
