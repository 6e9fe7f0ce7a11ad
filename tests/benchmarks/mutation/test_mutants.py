"""A mutant is told by what it changes; the list of those that compute the same is up to date."""

import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.mutation import mutants, selection
from benchmarks.mutation.mutants import make_mutants, match_equivalents, read_equivalents
from benchmarks.mutation.selection import NotReadyError
from tests.benchmarks.mutation.tiny import MODULE, listed, tiny_mutants, write_tiny
from tests.support.project import ROOT


@pytest.fixture(autouse=True)
def few_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave two of Cosmic Ray's operators."""
    monkeypatch.setattr(mutants, "CORE", re.compile("ReplaceBinaryOperator_(Add_Sub|Mul_Div)"))


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, count: int
) -> None:
    monkeypatch.setattr(mutants, "CORE", re.compile("ReplaceTrueWithFalse"))
    write_tiny(tmp_path, code=f"f(lambda: {code})\n")
    assert len(tiny_mutants(tmp_path)) == count


def test_annotations_and_marks_among_the_parameters_are_no_mutants(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    made = {mutant.after: mutant.operator for mutant in tiny_mutants(tmp_path)}
    assert made == {
        "n += 2": "gradient/AugmentedReplaced",
        "return 3 / x": "core/ReplaceBinaryOperator_Mul_Div",
        "return x - 5": "core/ReplaceBinaryOperator_Add_Sub",
    }


def test_two_operators_that_make_the_same_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "CORE", re.compile("NumberReplacer"))
    module = "manual_nn/layers/tiny.py"
    write_tiny(tmp_path, module=module, code="def f(z):\n    return z.sum(axis=0)\n")
    made = Counter(mutant.after for mutant in make_mutants(tmp_path, module))
    assert made["return z.sum(axis=1)"] == 1
    assert made["return z.sum(axis=-1)"] + made["return z.sum(axis= -1)"] == 1


def test_what_reshape_reads_alike_is_no_mutant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "CORE", re.compile("NumberReplacer"))
    write_tiny(tmp_path, code="def f(x):\n    return x.reshape(3, -1), x.any(-1)\n")
    assert {mutant.after for mutant in tiny_mutants(tmp_path)} == {
        "return x.reshape( 4, -1), x.any(-1)",
        "return x.reshape( 2, -1), x.any(-1)",
        "return x.reshape(3, - 0), x.any(-1)",
        "return x.reshape(3, -1), x.any(- 2)",
        "return x.reshape(3, -1), x.any(- 0)",
    }


def test_a_mutant_is_told_by_what_it_changes(tmp_path: Path) -> None:
    code = (
        "class A:\n    @property\n    def f(self):\n        if self:\n            return 2 * self\n"
    )
    write_tiny(tmp_path, code=code)
    (mutant,) = tiny_mutants(tmp_path)
    operator = "core/ReplaceBinaryOperator_Mul_Div"
    assert mutant.key == (MODULE, "A.f", operator, "return 2 * self", "return 2 / self")
    described = code.replace("class A:", 'class A:\n    """Has f."""\n')
    for told in (f"# a comment\n\n{code}", described):
        write_tiny(tmp_path, code=told)
        (shifted,) = tiny_mutants(tmp_path)
        assert (shifted.key, shifted.identity) == (mutant.key, mutant.identity)
    for other in (f"N = 1\n{code}", f"{code}        return 1\n", f"{code}\n\n{code}"):
        write_tiny(tmp_path, code=other)
        found = tiny_mutants(tmp_path)
        assert {changed.key for changed in found} == {mutant.key}
        assert len({mutant.identity, *(changed.identity for changed in found)}) == 1 + len(found)


def test_the_mutants_of_some_functions_are_those_among_all(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    every = tiny_mutants(tmp_path)
    for names in ({"unseen"}, {"scaled", "down"}, {"gone"}):
        wanted = [mutant for mutant in every if mutant.function in names]
        assert make_mutants(tmp_path, MODULE, names) == wanted
    assert {mutant.function for mutant in every} == {"scaled", "unseen", "down"}


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
        match_equivalents(tiny_mutants(tmp_path), read_equivalents(tmp_path))


def test_every_equivalent_mutant_of_the_list_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    entries = read_equivalents(ROOT)
    wanted: dict[str, set[str]] = {}
    for entry in entries:
        wanted.setdefault(entry["module"], set()).add(entry["function"])
    assert set(wanted) <= set(selection.modules(ROOT))
    made = [m for module, names in wanted.items() for m in make_mutants(ROOT, module, names)]
    assert match_equivalents(made, entries)
