"""The operators make the mutants that they promise."""

import ast

import pytest

from benchmarks.mutation import selection
from benchmarks.mutation.code import Code
from benchmarks.mutation.operators import OPERATORS
from tests.support.project import ROOT


def same_code(got: str, wanted: str) -> bool:
    return ast.dump(ast.parse(got)) == ast.dump(ast.parse(wanted))


def mutated(name: str, text: str, number: int = 0) -> str:
    """Make one of the changes that an operator proposes."""
    start, end, new = OPERATORS[name].changes(Code(text))[number]
    return text[:start] + new + text[end:]


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_says_what_it_does_and_makes_its_samples(name: str) -> None:
    assert OPERATORS[name].changes_at.__doc__
    assert OPERATORS[name].samples
    for before, after in OPERATORS[name].samples:
        assert same_code(got := mutated(name, before), after), got


def test_every_operator_finds_something_in_our_code() -> None:
    left = set(OPERATORS)
    for module in selection.modules(ROOT):
        code = Code((ROOT / module).read_text(encoding="utf-8"))
        left -= {name for name in left if OPERATORS[name].changes(code)}
    assert not left


def test_a_changed_operand_keeps_its_brackets() -> None:
    texts = [mutated("TermDropped", "y = (a + b * c) * d.T", number) for number in range(2)]
    assert texts == ["y = (a) * d.T", "y = (b * c) * d.T"]
    flipped = mutated("SignFlipped", "y = -(a + b) ** 2", 1)
    assert same_code(flipped, "y = -(a - b) ** 2")
