"""`python -m reference --campaign`: what it draws, finds, counts, keeps, and shows again."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import manual_nn
from reference import unattended
from reference.__main__ import main
from reference.campaign import (
    REFUSED,
    TURNS,
    XLA,
    XLA_EVERY,
    Record,
    compare_block,
    compare_case,
    draw_case,
    plan_block,
)
from reference.comparison import Comparer, worst_verdict
from reference.draws import LAYOUTS, MAGNITUDES, TRAITS
from reference.quantities import GROUPS
from reference.unattended import Campaign, Log

# The first block of each group that is not compiled
BLOCK_OF = {group: 10 + TURNS.index(group) for group in GROUPS}


def without_seconds(record: Record) -> Record:
    return dataclasses.replace(record, seconds=0)


# What is drawn


def test_a_case_is_drawn_again_from_its_numbers_alone() -> None:
    for block in BLOCK_OF.values():
        assert plan_block(3, block) == plan_block(3, block)
        one, again = draw_case(3, block, 5), draw_case(3, block, 5)
        assert one[0] == again[0]
        jax.tree.map(np.testing.assert_array_equal, one[1], again[1])
        assert not np.array_equal(one[1].X, draw_case(3, block, 6)[1].X)


def test_everything_is_drawn() -> None:
    plans = [plan_block(0, block) for block in range(400)]
    assert {plan.group for plan in plans} == set(GROUPS)
    assert {plan.dtype for plan in plans} == {"float32", "float64"}
    assert {plan.shape.soft for plan in plans} == {False, True}
    assert {len(plan.shape.sizes) for plan in plans} == {2, 3, 4, 5}
    assert {1, 12} <= {size for plan in plans for size in plan.shape.sizes}
    assert {1, 16} <= {plan.shape.N for plan in plans}
    kinds = [draw_case(0, 1, number)[0] for number in range(200)]
    assert {kind.trait for kind in kinds} == set(TRAITS)
    assert {kind.layout for kind in kinds} == set(LAYOUTS)
    assert {kind.magnitude for kind in kinds} == set(MAGNITUDES)
    decays = [draw_case(0, 1, number)[1].weight_decay for number in range(50)]
    assert min(decays) == 0 < max(decays)


def test_half_of_the_rows_are_longer_than_the_largest_norm() -> None:
    block, longer = BLOCK_OF["rows"], []
    for number in range(20):
        kind, case = draw_case(0, block, number)
        if kind.magnitude == "ordinary" and kind.trait == "plain":
            norms = manual_nn.per_example_grad_norms(case.params, case.X, case.y)
            longer.append(np.mean(norms > case.max_norm))
    assert 0 < np.mean(longer) < 1


def test_the_groups_have_all_that_is_public() -> None:
    names = {
        name.partition(",")[0]
        for group in ("gradient", "rows", "products", "matrices")
        for name in compare_block(0, BLOCK_OF[group], 1).verdicts
    }
    training = {"EarlyStopping", "History", "TrainingDiverged", "TrainingResult", "train"}
    assert set(manual_nn.__all__) - {"Dense", "Workspace", "init_params", *training} <= names


# What is found


@pytest.mark.parametrize("group", GROUPS)
def test_a_block_says_of_each_network_what_it_says_of_it_alone(group: str) -> None:
    block, networks = BLOCK_OF[group], 8
    record = compare_block(0, block, networks)
    assert not record.wrong
    assert not record.compiled
    functions = GROUPS[group]
    comparer = None
    found: dict[str, dict[str, int]] = {}
    for number in range(networks):
        case = draw_case(0, block, number)[1].arguments(functions)
        comparer = comparer or Comparer(functions.by_jax, *case)
        try:
            with np.errstate(all="ignore"):
                got = functions.by_hand(*case)
        except ValueError:
            verdicts = dict.fromkeys(record.verdicts, REFUSED)
        else:
            comparison = comparer(got, *case, dtype=record.dtype, compiled=False)
            verdicts = {name: worst_verdict(leaves) for name, leaves in comparison.by_key().items()}
        for name, verdict in verdicts.items():
            counts = found.setdefault(name, {})
            counts[str(verdict)] = counts.get(str(verdict), 0) + 1
    assert found == record.verdicts


def test_a_share_of_the_blocks_is_compiled_and_xla_is_held_to_the_bound_of_float64() -> None:
    record = compare_block(1, XLA_EVERY, 4)
    assert record.compiled
    assert sum(record.verdicts[XLA].values()) == 4
    assert not record.wrong


def scaled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make everything of the result 1 part in 1,000 too large."""

    def faulty(*args: Any, **options: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf * leaf.dtype.type(1.001), function(*args, **options))

    return faulty


@pytest.mark.parametrize(
    ("group", "name", "quantities"),
    [
        ("gradient", "input_grad", {"input_grad"}),
        ("rows", "per_example_grads", {"per_example_grads"}),
        ("products", "hvp", {"hvp"}),
        ("matrices", "fisher_diagonal", {"fisher_diagonal"}),
    ],
)
def test_a_fault_is_found_in_its_quantity_and_its_case_listed(
    group: str, name: str, quantities: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual_nn, name, scaled(getattr(manual_nn, name)))
    record = compare_block(0, BLOCK_OF[group], 20)
    wrong = {name for name, verdicts in record.verdicts.items() if "mismatch" in verdicts}
    assert wrong == quantities
    assert record.wrong == record.found["mismatch"]
    number = record.wrong[0]
    _, comparison = compare_case(0, record.block, number)
    assert comparison.verdict == "mismatch"


def changing_its_input(params: Any, X: Any, *_: Any, **__: Any) -> Any:
    result = INPUT_GRAD(params, X, *_, **__)
    if X.flags.writeable:
        X *= 2
    return result


def in_another_dtype(*args: Any, **options: Any) -> Any:
    return INPUT_GRAD(*args, **options).astype(np.float16)


def with_another_shape(*args: Any, **options: Any) -> Any:
    return INPUT_GRAD(*args, **options)[None]


def refusing(*_: Any, **__: Any) -> Any:
    raise ValueError("X must be something else")


INPUT_GRAD = manual_nn.input_grad


@pytest.mark.parametrize(
    ("faulty", "verdict"),
    [
        (changing_its_input, "mutated input"),
        (in_another_dtype, "wrong dtype"),
        (with_another_shape, "wrong shape"),
        (refusing, "mismatch"),
    ],
)
def test_what_is_wrong_whatever_the_numbers_is_found(
    faulty: Callable[..., Any], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    block, networks = BLOCK_OF["gradient"], 6
    healthy = compare_block(0, block, networks)
    monkeypatch.setattr(manual_nn, "input_grad", faulty)
    record = compare_block(0, block, networks)
    assert not healthy.wrong
    kinds = [draw_case(0, block, number)[0] for number in range(networks)]
    expected = [
        number
        for number, kind in enumerate(kinds)
        if number not in healthy.found.get(REFUSED, [])
        and not (verdict == "mutated input" and kind.layout == "read-only")
    ]
    assert record.found[verdict] == expected
    assert record.wrong == expected


def test_an_overflow_is_refused_rightly() -> None:
    blocks = (compare_block(2, block, 30) for block in range(11, 40, 10))
    assert any(record.found.get(REFUSED) for record in blocks)


# What is kept


@pytest.fixture
def campaign() -> Campaign:
    return Campaign.here(seed=0, networks=3)


def run(
    log: Log, campaign: Campaign, blocks: int | None, *, until: float = math.inf, workers: int = 1
) -> None:
    unattended.run(log, campaign, blocks, until=until, workers=workers)


def test_a_log_goes_on_where_it_stopped(tmp_path: Path, campaign: Campaign) -> None:
    whole = Log(tmp_path / "whole.jsonl", campaign)
    run(whole, campaign, 4)
    parts = Log(tmp_path / "parts.jsonl", campaign)
    run(parts, campaign, 2)
    data = parts.path.read_bytes()
    parts.path.write_bytes(data[:-20])  # as a kill in the midst of a write leaves it
    again = Log(parts.path, campaign)
    assert [record.block for record in again.records] == [0]
    run(again, campaign, 4)
    assert list(map(without_seconds, again.records)) == list(map(without_seconds, whole.records))
    read = Log(parts.path, campaign)
    assert unattended.table(read.records) == unattended.table(whole.records)


def test_processes_find_the_same(tmp_path: Path, campaign: Campaign) -> None:
    one, two = (Log(tmp_path / f"{name}.jsonl", campaign) for name in ("one", "two"))
    run(one, campaign, 3)
    run(two, campaign, 3, workers=2)
    assert sorted(map(without_seconds, two.records), key=lambda record: record.block) == list(
        map(without_seconds, one.records)
    )


def test_after_the_time_no_block_is_begun(tmp_path: Path, campaign: Campaign) -> None:
    log = Log(tmp_path / "log.jsonl", campaign)
    run(log, campaign, None, until=time.monotonic())
    assert not log.records


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"networks": 4}, {"code": "another"}, {"versions": {"JAX": "0.0"}}],
    ids=lambda change: next(iter(change)),
)
def test_the_log_of_another_campaign_is_refused(
    tmp_path: Path, campaign: Campaign, change: dict[str, Any]
) -> None:
    path = tmp_path / "log.jsonl"
    Log(path, dataclasses.replace(campaign, **change))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"--log .*log\.jsonl has .* {next(iter(change))} "):
        Log(path, campaign)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ["{}\n", "not JSON\n", "[1]\n", '{"campaign": {"seed": 0}}\n'])
def test_another_file_is_refused_and_left(tmp_path: Path, campaign: Campaign, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not the log of a campaign"):
        Log(path, campaign)
    assert path.read_text() == text


def test_a_killed_campaign_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    options = ["--campaign", "--block", "2", "--workers", "1", "--log", str(log)]
    command = [sys.executable, "-m", "reference", *options]
    process = subprocess.Popen([*command, "--cases", "1000000"])  # noqa: S603, this interpreter
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = log.read_text().count("\n") - 1
    assert reached >= 3
    cases = 2 * (reached + 2)
    finished = subprocess.run(  # noqa: S603, this interpreter
        [*command, "--cases", str(cases)], check=True, capture_output=True, text=True
    )
    assert f"{cases} networks of" in finished.stdout
    blocks = [json.loads(line)["block"] for line in log.read_text().splitlines()[1:]]
    assert blocks == list(range(reached + 2))


# What is printed


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(["--campaign", "--workers", "1", *arguments])
    return status, capsys.readouterr().out


def test_the_command_prints_counts_that_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "folder" / "log.jsonl"
    status, out = command(capsys, "--cases", "20", "--block", "2", "--log", str(log))
    assert status == 0
    assert "20 networks of 10 shapes in 10 blocks, 2 of them also compiled by XLA; seed 0" in out
    assert out.endswith("None is wrong.\n")
    rows = out[: out.index("\n\n")].splitlines()[1:]
    for row in rows:
        cells = row[31:].split()
        networks, *counts = map(int, cells[1:7])
        assert networks == sum(counts)
        assert int(cells[6]) == 0
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
    status, out = command(capsys, "--replay", case, *options)
    assert status == 1
    assert out.splitlines()[1].endswith("mismatch")
    assert "['input_grad']" in out


def test_a_refused_case_is_shown_with_the_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manual_nn, "logits", refusing)
    status, out = command(capsys, "--replay", "0:0")
    assert status == 0
    assert "refused: X must be something else" in out


def test_an_interruption_exits_with_130_and_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seed: int, block: int, networks: int) -> Record:
        if block == 1:
            raise KeyboardInterrupt
        return compare_block(seed, block, networks)

    monkeypatch.setattr("reference.unattended.compare_block", interrupted)
    log = tmp_path / "log.jsonl"
    status, out = command(capsys, "--cases", "4", "--block", "2", "--log", str(log))
    assert status == 130
    assert "2 networks of 1 shapes" in out
    assert out.endswith(f"Interrupted; the same command goes on from {log}.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cases", "0"), "--cases must be at least 1, got 0"),
        (("--seed", "-1"), "--seed must be at least 0, got -1"),
        (("--minutes", "0"), "--minutes must be a finite number above 0, got 0"),
        (("--workers", "0"), "--workers must be at least 1, got 0"),
        (("--block", "0"), "--block must be at least 1, got 0"),
        (("--replay", "12"), "--replay must be BLOCK:NUMBER, got '12'"),
        (("--replay", "1:-1"), "--replay must be BLOCK:NUMBER, got '1:-1'"),
        (("--log", os.devnull), "--log /dev/null is no file"),
    ],
)
def test_a_bad_option_exits_with_2_and_a_line_that_names_it(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--campaign", *arguments])
    assert exit_info.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err
