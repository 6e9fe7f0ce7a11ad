"""The count of the planted faults becomes a page; without one there is none."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.soundness import diagnosis
from tests.support.project import ROOT

COUNTED = "1 planted faults, 1 caught"


@pytest.mark.parametrize(("printed", "status"), [(f"\ndiagnosis: {COUNTED}\n", 0), ("no tests", 5)])
def test_the_line_that_the_tests_print_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, status: int
) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        profile = "--hypothesis-profile=deep"
        assert command == [sys.executable, "-m", "pytest", "-q", profile, diagnosis.TESTS]
        return subprocess.CompletedProcess(command, status, printed)

    monkeypatch.setattr(subprocess, "run", run)
    assert diagnosis.main(["--results", str(tmp_path)]) == status
    pages = [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()]
    assert [f"\n{COUNTED}.\n" in page for page in pages] == [True] * (status == 0)


def test_the_tests_that_it_runs_are_there() -> None:
    assert (ROOT / diagnosis.TESTS).is_file()
