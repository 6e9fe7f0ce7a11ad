"""Every code says what is wrong, gives an example, and stands on the page of the codes."""

import re
from pathlib import Path

import pytest

from reference import Code, Verdict
from reference.diagnosis import codes

PAGE = Path(codes.__file__).with_name("CODES.md").read_text(encoding="utf-8")
OBSERVED = (
    (Code.MUTATED_INPUT, Verdict.MUTATED_INPUT),
    (Code.NONDETERMINISTIC, Verdict.NONDETERMINISTIC),
    (Code.ALIASED_OUTPUT, Verdict.ALIASED_OUTPUT),
    (Code.NON_FINITE, Verdict.NON_FINITE),
    (Code.WRONG_STRUCTURE, Verdict.WRONG_STRUCTURE),
    (Code.WRONG_SHAPE, Verdict.WRONG_SHAPE),
    (Code.WRONG_DTYPE, Verdict.WRONG_DTYPE),
    (Code.STALE, Verdict.STALE),
    (Code.WRONG_FORWARD, Verdict.WRONG_FORWARD),
    (Code.EXACT_TIE, Verdict.MATCH),
    (Code.LOST_DIGITS, Verdict.LOSES_DIGITS),
    (Code.BLIND, Verdict.BLIND),
    (Code.NOT_COMPARABLE, Verdict.NOT_COMPARABLE),
)


def row(code: Code) -> str:
    """Write the row of a code as the page has it."""
    example = f"`{code.example}`".replace("|", "\\|") if code.example else ""
    description = code.description.replace("|", "\\|")
    return f"| `{code.value}` | {description} | {example} |".replace("|  |", "| |")


def test_the_page_has_a_row_for_each_code_in_the_order_of_the_codes() -> None:
    rows = re.findall(r"^\| `.*\|$", PAGE, flags=re.MULTILINE)
    assert rows == [row(code) for code in Code]


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", PAGE))
def test_what_the_page_links_to_exists(path: str) -> None:
    assert (Path(codes.__file__).parent / path).exists()


def test_every_code_is_described_with_an_example() -> None:
    for code in Code:
        assert code == code.value == Code(code.value)
        assert code.description.endswith(".")
        assert code.example or code == Code.UNKNOWN


def test_what_is_observed_has_a_verdict_of_its_own_and_all_else_is_a_mismatch() -> None:
    observed = dict(OBSERVED)
    for code in Code:
        assert code.verdict == observed.get(code, Verdict.MISMATCH)
        undecided = code in {Code.UNKNOWN, Code.FEW_ROUNDINGS}
        assert code.inferred == (code not in observed and not undecided)
    assert len(set(observed.values())) == len(observed)
    right = {code for code, verdict in OBSERVED if verdict.ok}
    assert right == {Code.EXACT_TIE, Code.LOST_DIGITS}
