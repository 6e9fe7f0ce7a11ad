"""What the table says of a derivative, from a case that is made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.soundness import cases
from benchmarks.soundness.backward_passes import CASES, Case, Wrong


def square(x: Any) -> Any:
    """A loss."""
    return (x**2).sum()


def made_up() -> Case:
    """Derivatives that are right and wrong, and some that are not what they are said to be."""
    return Case(
        {"a twin": square},
        (np.array([1.0, -2.0, 0.5]),),
        {"": lambda x: 2 * x, "in truth tripled": lambda x: 3 * x},
        {
            "negated": Wrong(lambda x: -2 * x, ["that", "wrong sign"]),
            "doubled": Wrong(lambda x: 4 * x, ["wrong sign"]),
            "in truth right": Wrong(lambda x: 2 * x, ["multiple"]),
            "wrong in float32 alone": Wrong(
                lambda x: x.dtype.type(2 if x.dtype == np.float64 else 3) * x, ["multiple"]
            ),
        },
    )


def test_a_derivative_counts_by_what_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "CASES", {"a | case": made_up})
    assert cases.main(["--results", str(tmp_path)]) == 1
    page = (tmp_path / "cases.md").read_text(encoding="utf-8")
    assert (
        "Of 2 right derivatives 1 pass, of 4 wrong ones 2 are caught, and the first cause shows "
        "the author of 1 of them where the mistake is"
    ) in page
    rows = [row.split(" | ") for row in page.splitlines() if row.startswith("| a ")]
    assert [(row[1], row[3], row[4], row[6]) for row in rows] == [
        ("right", "match", "yes", ""),
        ("in truth tripled", "mismatch", "NO", ""),
        ("negated", "mismatch", "yes", "yes"),
        ("doubled", "mismatch", "yes", "no"),
        ("in truth right", "match", "NO", "no"),
        ("wrong in float32 alone", "match, mismatch", "NO", "no"),
    ]
    assert all(row[0] == r"| a \| case" and row[2] == "a twin" for row in rows)


def test_one_case_alone_makes_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "loss that is linear in its argument"
    assert cases.main(["--case", name, "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(f"\n| {name} | ") == 3
    assert not list(tmp_path.iterdir())


def test_each_case_has_its_mistakes_and_the_words_that_would_show_them() -> None:
    made = {name: make() for name, make in CASES.items()}
    assert sum(len(case.wrong) for case in made.values()) >= 36
    assert all(case.right and case.twins for case in made.values())
    assert all(wrong.planted for case in made.values() for wrong in case.wrong.values())
    assert all("" in case.twins or len(case.twins) > 1 for case in made.values())
