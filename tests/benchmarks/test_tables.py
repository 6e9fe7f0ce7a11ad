"""A page holds what was printed, under what it depends on."""

import datetime as dt
import platform
from pathlib import Path

import numpy as np
import pytest

from benchmarks.tables import Page, page, parser_of


def test_a_page_says_what_was_found_how_and_when_and_then_all_that_was_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    it = Page("Cats", "How many there are.")
    it.heading(["colour", "cats"])
    it.row(["grey", "3"])
    it.block("  grey: 3")
    printed = capsys.readouterr().out
    assert printed == "| colour | cats |\n| --- | ---: |\n| grey | 3 |\n"
    it.write(
        tmp_path / "new" / "cats.md", "3 cats.", "python -m cats", ["--of", "a b"], {"At": "x"}
    )
    assert capsys.readouterr().out == f"\n3 cats.\nWrote {tmp_path / 'new' / 'cats.md'}\n"
    title, summary, about, facts, *body = (
        (tmp_path / "new" / "cats.md").read_text(encoding="utf-8").split("\n\n")
    )
    assert (title, summary, about) == ("# Cats", "3 cats.", "How many there are.")
    command, date, versions, at = facts.splitlines()
    assert command == "- Command: `python -m cats --of 'a b'`"
    assert dt.date.fromisoformat(date.removeprefix("- Date: ")).year >= 2026
    assert f"Python {platform.python_version()}, NumPy {np.__version__}" in versions
    assert at == "- At: x"
    assert "\n\n".join(body) == f"{printed}```text\n  grey: 3\n```\n"


def test_facts_may_say_other_versions(tmp_path: Path) -> None:
    Page("", "").write(tmp_path / "a.md", "", "python -m a", [], {"Versions": "none"})
    assert "\n- Versions: none\n" in (tmp_path / "a.md").read_text(encoding="utf-8")


def test_a_page_has_one_line_between_its_parts() -> None:
    assert page("A", "b.", "c.", {"D": "e"}, "\n\nf\n\n") == "# A\n\nb.\n\nc.\n\n- D: e\n\nf\n"


def test_a_command_is_described_by_the_first_line_of_its_module() -> None:
    parser = parser_of("python -m a", "Do this.\n\nAnd that.")
    assert "Do this." in parser.format_help()
    assert "And that." not in parser.format_help()
    assert parser.parse_args([]).results.name == "results"
