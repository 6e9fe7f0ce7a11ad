"""What `python -m reference` prints becomes a page, with a sentence that sums it up."""

from pathlib import Path

import pytest

from benchmarks.soundness import agreement

CAMPAIGN = """\
quantity dtype
loss float32
loss float64

match: every element within its bound.

90 networks of 1 shapes in 1 blocks, 0 networks also by XLA; seed 0; begun 2026-11-24; Python 3.
1 seconds of work, 90 networks a second on a core.
"""


def test_it_prints_and_writes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agreement.main(["--cases", "1", "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.partition("\n\n1 networks, ")
    page = (tmp_path / "agreement.md").read_text(encoding="utf-8")
    assert f"```text\n{printed[0]}\n\n1 networks, " in page
    assert "\n- Command: `python -m benchmarks.soundness.agreement --cases 1`\n" in page
    assert "All agree." in page.split("\n\n")[1]


@pytest.mark.parametrize(
    ("end", "said"),
    [("None is wrong.", "none is wrong."), ("WRONG: 0:7, 0:9", "WRONG: 0:7, 0:9")],
)
def test_a_campaign_is_summed_up_by_its_size_and_its_verdict(end: str, said: str) -> None:
    summary = agreement.summary(CAMPAIGN + end)
    assert summary == f"90 networks, 2 quantities and precisions: {said}"


def test_a_case_that_is_shown_again_is_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "reference", lambda _: 0)
    agreement.main(["--campaign", "--replay", "0:1", "--results", str(tmp_path)])
    assert not list(tmp_path.iterdir())
