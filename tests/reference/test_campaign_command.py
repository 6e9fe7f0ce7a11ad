"""`python -m reference --campaign`: what it prints, and what it exits with."""

import os
from pathlib import Path
from typing import Any

import pytest

import manual_nn
from reference.campaign.cases import (
    Record,
    compare_block,
    plan_block,
)
from reference.command_line import main
from tests.support.broken import complaining, failing, scaled


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    one = [] if "--replay" in arguments else ["--workers", "1"]
    status = main(["--campaign", *one, *arguments])
    return status, capsys.readouterr().out


def test_the_command_prints_counts_that_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "a folder" / "in it" / "log.jsonl"
    status, out = command(capsys, "--cases", "20", "--block", "2", "--log", str(log))
    assert status == 0
    assert "20 networks of 10 shapes in 10 blocks, 2 networks also by XLA; seed 0" in out
    assert out.endswith("None is wrong.\n")
    rows = out[: out.index("\n\n")].splitlines()[1:]
    for row in rows:
        cells = row[31:].split()
        networks, *counts = map(int, cells[1:8])
        assert networks == sum(counts)
        assert int(cells[7]) == 0
    counted = sum(int(row[31:].split()[1]) for row in rows if row.startswith("logits"))
    assert counted == 8  # four blocks of ten are of this group


def test_a_wrong_case_is_named_with_status_1_and_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual_nn, "input_grad", scaled(manual_nn.input_grad))
    log = tmp_path / "log.jsonl"
    seed = next(seed for seed in range(100) if plan_block(seed, 0).shape.sizes[-1] > 1)
    options = ("--seed", str(seed))
    status, out = command(capsys, "--cases", "4", "--block", "4", "--log", str(log), *options)
    assert status == 1
    assert "WRONG: 0:" in out
    case = out[out.index("WRONG: ") + 7 :].split(",")[0].strip()
    status, out = command(capsys, "--replay", case, "--block", "4", *options)
    assert status == 1
    assert "input_grad: mismatch\n" in out
    assert "logits: match\n" in out
    assert "['input_grad']" in out


@pytest.mark.parametrize(
    ("faulty", "line"),
    [
        (failing, "IndexError: out of range"),
        (complaining, "ValueError: operands could not be broadcast together"),
    ],
)
def test_a_case_that_raises_is_shown_with_what_it_raised(
    faulty: Any, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual_nn, "logits", faulty)
    status, out = command(capsys, "--replay", "10:0")
    assert status == 1
    assert "logits: raised\n" in out
    assert line in out.splitlines()


def test_a_campaign_without_a_network_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = command(capsys, "--minutes", "1e-9", "--log", str(tmp_path / "log.jsonl"))
    assert status == 1
    assert out.endswith("No network was compared.\n")


def test_an_interruption_exits_with_130_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seed: int, block: int, networks: int) -> Record:
        if block == 1:
            raise KeyboardInterrupt
        return compare_block(seed, block, networks)

    monkeypatch.setattr("reference.campaign.runner.compare_block", interrupted)
    log = tmp_path / "log.jsonl"
    status, out = command(capsys, "--cases", "4", "--block", "2", "--log", str(log))
    assert status == 130
    assert "2 networks of 1 shapes" in out
    assert out.endswith(f"Interrupted; the same command resumes from {log}.\n")


def test_a_device_is_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--campaign", "--log", os.devnull])
    assert "error: --log /dev/null is not a file" in capsys.readouterr().err
