"""A campaign that runs unattended: what it keeps, and what it prints at the end."""

import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import jax
import pytest

import manual_nn
import reference
from reference.campaign import runner
from reference.campaign.cases import (
    RAISED,
    XLA,
    Compared,
    Record,
    compare_block,
    compare_cases,
    plan_block,
)
from reference.campaign.runner import Campaign, Log
from reference.command_line import main
from tests.support.commands import run_here


def without_seconds(record: Record) -> Record:
    return dataclasses.replace(record, seconds=0)


# What is kept


@pytest.fixture
def campaign() -> Campaign:
    return Campaign.here(seed=0, networks=3)


def run(
    path: Path, campaign: Campaign, blocks: int | None, *, until: float = math.inf, workers: int = 1
) -> list[Record]:
    with Log(path, campaign) as log:
        runner.run(log, campaign, blocks, until=until, workers=workers)
        return log.records


def test_a_block_that_cannot_be_compared_is_wrong_and_does_not_end_the_campaign(
    campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_at_1(seed: int, block: int, numbers: Sequence[int], *, compiled: bool) -> Compared:
        if block == 1:
            raise NotImplementedError("no rule for it")
        return compare_cases(seed, block, numbers, compiled=compiled)

    monkeypatch.setattr("reference.campaign.cases.compare_cases", failing_at_1)
    path = tmp_path / "log.jsonl"
    for _ in range(2):  # the second time from the log
        records = run(path, campaign, 3)
        assert [record.block for record in records] == [0, 1, 2]
        assert [record.wrong for record in records] == [[], [0], []]
        failed = records[1]
        assert failed.error == "NotImplementedError: no rule for it"
        assert failed.found == {RAISED: [0]}
        plan = plan_block(0, 1)
        assert (failed.group, failed.rows, failed.dtype) == (
            plan.group,
            plan.shape.N,
            plan.dtype,
        )
        assert not failed.compiled
        assert failed.networks == campaign.networks
        assert failed.seconds >= 0


def test_a_log_goes_on_where_it_stopped(tmp_path: Path, campaign: Campaign) -> None:
    whole = run(tmp_path / "whole.jsonl", campaign, 4)
    path = tmp_path / "parts.jsonl"
    run(path, campaign, 2)
    path.write_bytes(path.read_bytes()[:-20])  # as a kill in the midst of a write leaves it
    with Log(path, campaign) as log:
        assert [record.block for record in log.records] == [0]
    again = run(path, campaign, 4)
    assert list(map(without_seconds, again)) == list(map(without_seconds, whole))
    with Log(path, campaign) as log:
        assert runner.table(log.records) == runner.table(whole)


def test_a_log_killed_in_its_first_line_begins_anew(tmp_path: Path, campaign: Campaign) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path, campaign):
        head = path.read_bytes()
    for length in range(0, len(head), 7):
        path.write_bytes(head[:length])
        with Log(path, campaign) as log:
            assert not log.records
        assert path.read_bytes() == head


def test_two_campaigns_do_not_write_to_one_log(tmp_path: Path, campaign: Campaign) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path, campaign), pytest.raises(ValueError, match="being written by another"):
        Log(path, campaign)
    with Log(path, campaign):
        pass


def test_where_no_file_can_be_locked_a_campaign_does_without(
    tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    path = tmp_path / "log.jsonl"
    with Log(path, campaign), Log(path, campaign) as other:
        assert not other.records


def test_a_campaign_is_of_the_code_of_both_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("manual_nn", "reference"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(manual_nn, "__path__", [str(tmp_path / "manual_nn")])
    monkeypatch.setattr(reference, "__path__", [str(tmp_path / "reference")])
    seen = set()
    for source in ("", "manual_nn/a.py", "reference/a.py", "reference/room/a.py"):
        if source:
            (tmp_path / source).parent.mkdir(exist_ok=True)
            (tmp_path / source).write_text("pass")
        seen.add(Campaign.here(0, 1).code)
        assert Campaign.here(1, 2).code in seen
    (tmp_path / "reference/room").rename(tmp_path / "reference/other")  # the same code elsewhere
    seen.add(Campaign.here(0, 1).code)
    assert len(seen) == 5


def test_a_campaign_cannot_be_changed(campaign: Campaign) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        campaign.seed = 1  # type: ignore[misc] # on purpose


def test_a_block_that_is_there_twice_is_refused(tmp_path: Path, campaign: Campaign) -> None:
    path = tmp_path / "log.jsonl"
    run(path, campaign, 1)
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[1])
    with pytest.raises(ValueError, match="lists a block twice"):
        Log(path, campaign)


def test_processes_find_the_same(tmp_path: Path, campaign: Campaign) -> None:
    one = run(tmp_path / "one.jsonl", campaign, 3)
    two = run(tmp_path / "two.jsonl", campaign, 3, workers=2)
    in_order = sorted(two, key=lambda record: record.block)
    assert list(map(without_seconds, in_order)) == list(map(without_seconds, one))


def test_one_process_forgets_now_and_then_what_jax_has_traced(
    tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, cleared = tmp_path / "log.jsonl", list[int]()
    monkeypatch.setattr(runner, "BLOCKS_OF_A_PROCESS", 2)
    monkeypatch.setattr(runner, "compare_block", lambda _, block, __: record_of(block, "float64"))
    monkeypatch.setattr(jax, "clear_caches", lambda: cleared.append(log.read_bytes().count(b"\n")))
    run(log, campaign, 5)
    assert cleared == [3, 5]  # lines, of which the first is the campaign's


class Pool:
    """A pool of which the third block is interrupted."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Note how it is made."""
        self.made, self.submitted, self.shut = (arguments, options), list[Any](), list[Any]()
        POOLS.append(self)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.shut.append("left")

    def submit(self, function: Any, *arguments: Any) -> Future[Record]:
        """Take a block, of which there is a result at once."""
        if len(self.submitted) == 2:
            raise KeyboardInterrupt
        self.submitted.append((function, *arguments))
        done: Future[Record] = Future()
        done.set_result(record_of(arguments[1], "float64"))
        return done

    def shutdown(self, **options: Any) -> None:
        """Note how it is ended."""
        self.shut.append(options)


POOLS: list[Pool] = []


def test_an_interruption_waits_for_no_block_that_is_not_begun(
    tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    POOLS.clear()
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(os, "environ", {"MKL_NUM_THREADS": "7"})
    with Log(tmp_path / "log.jsonl", campaign) as log, pytest.raises(KeyboardInterrupt):
        runner.run(log, campaign, 9, until=math.inf, workers=2)
    assert not log.records  # one more than there are processes may be under way
    (pool,) = POOLS
    assert pool.submitted == [(compare_block, 0, block, 3) for block in (0, 1)]
    assert pool.shut == [{"wait": False, "cancel_futures": True}, "left"]
    (workers,), options = pool.made
    assert workers == 2
    assert options.pop("mp_context").get_start_method() == "spawn"  # JAX's threads do not fork
    assert options.pop("max_tasks_per_child") == runner.BLOCKS_OF_A_PROCESS
    assert options == {"initializer": runner._begin, "initargs": (campaign.code,)}
    threads = [os.environ[f"{name}_NUM_THREADS"] for name in ("OPENBLAS", "OMP", "MKL")]
    assert threads == ["1", "1", "7"]


@pytest.mark.parametrize("parent", [SimpleNamespace(sentinel=7), None], ids=["parent", "none"])
def test_a_process_ends_with_its_parent_and_leaves_ctrl_c_to_it(
    parent: Any, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[Any] = []
    signals = SimpleNamespace(SIGINT=2, SIG_IGN=1, signal=lambda *what: noted.append(what))

    def thread(**options: Any) -> Any:
        noted.append(options)
        return SimpleNamespace(start=lambda: noted.append("started"))

    monkeypatch.setattr(runner, "signal", signals)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    monkeypatch.setattr(runner, "threading", SimpleNamespace(Thread=thread))
    runner._begin(campaign.code)
    watching = {"target": runner._end_with, "args": (7,), "daemon": True}
    assert noted == [(2, 1), *([watching, "started"] if parent else [])]


def test_processes_refuse_code_that_has_changed(tmp_path: Path, campaign: Campaign) -> None:
    other = dataclasses.replace(campaign, code="another")
    with pytest.raises(BrokenProcessPool):
        run(tmp_path / "log.jsonl", other, 1, workers=2)


def test_after_the_time_no_block_is_begun(tmp_path: Path, campaign: Campaign) -> None:
    assert not run(tmp_path / "log.jsonl", campaign, None, until=time.monotonic())


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"networks": 4}, {"code": "another"}, {"versions": {"JAX": "0.0"}}],
    ids=lambda change: next(iter(change)),
)
def test_the_log_of_another_campaign_is_refused(
    tmp_path: Path, campaign: Campaign, change: dict[str, Any]
) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path, dataclasses.replace(campaign, **change)):
        pass
    before = path.read_bytes()
    what = runner.OPTIONS[next(iter(change))]
    with pytest.raises(ValueError, match=rf"log\.jsonl is of a campaign with {what} .*: move it"):
        Log(path, campaign)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "{}\n",
        "not JSON\n",
        "no line",
        "[1]\n",
        '{"campaign": {"seed": 0}}\n',
        '{"campaign": {"seed": 0}\n',
        '{"campaign": {"seed": 0, "networks": 3, "code": "", "versions": {}}}\n',
    ],
)
def test_another_file_is_refused_and_left(tmp_path: Path, campaign: Campaign, text: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not the log of a campaign"):
        Log(path, campaign)
    assert path.read_text() == text


def processes_of(log: Path) -> list[int]:
    """List the processes whose environment names this log, where the system tells."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"TEST_LOG={log}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_campaign_goes_on_and_leaves_no_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    log = tmp_path / "log.jsonl"
    options = ["--campaign", "--block", "2", "--log", str(log), "--cases"]
    process = subprocess.Popen(  # noqa: S603, this interpreter
        [sys.executable, "-m", "reference", *options, "1000000", "--workers", str(workers)],
        env={**os.environ, "TEST_LOG": str(log)},
    )
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while processes_of(log) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of(log)
    reached = log.read_text().count("\n") - 1
    assert reached >= 3
    cases = 2 * (reached + 4)
    finished = run_here(main, capsys, *options, str(cases), "--workers", "1")
    assert finished.status == 0
    assert f"{cases} networks of" in finished.out
    blocks = [json.loads(line)["block"] for line in log.read_text().splitlines()[1:]]
    assert sorted(blocks) == list(range(reached + 4))


# What is printed


def test_a_bar_shows_the_networks_and_begins_with_those_of_the_log(
    tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    class Bar:
        def __init__(self, **options: Any) -> None:
            shown.append(options)

        def __enter__(self) -> Any:
            return SimpleNamespace(update=shown.append)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(runner, "tqdm", Bar)
    monkeypatch.setattr(
        runner,
        "compare_block",
        lambda _, block, networks: record_of(block, "float32", networks=networks),
    )
    options = {"unit": "network", "leave": False, "disable": None}
    run(tmp_path / "log.jsonl", campaign, 1)
    run(tmp_path / "log.jsonl", campaign, 3)
    assert shown == [
        options | {"total": 3, "initial": 0},
        3,
        options | {"total": 9, "initial": 3},
        3,
        3,
    ]


def record_of(block: int, dtype: str, **changes: Any) -> Record:
    return dataclasses.replace(
        Record(block, "gradient", [2, 3], 4, soft=False, dtype=dtype, networks=0, compiled=False),
        **changes,
    )


RECORDS = [
    record_of(
        7,
        "float64",
        networks=1000,
        verdicts={
            "loss": {
                "match": 990,
                "ambiguous": 4,
                "blind": 5,
                "not comparable": 3,
                "refused": 2,
                "mismatch": 1,
            },
            XLA: {"match": 999, "wrong shape": 1},
        },
        worst={"loss": (0.25, 20), XLA: (0.125, 5)},
        unbounded=19,
        measured=20,
        overflowing=2,
        uncertain=1,
        untried=4,
        found={
            "mismatch": [17],
            "refused": [1, 2],
            "ambiguous": [3],
            "wrong shape": [8],
            "blind": [4, 5, 6, 7, 9],
        },
        seconds=1.5,
        compiled=True,
    ),
    record_of(
        9,
        "float64",
        networks=200,
        unbounded=1001,
        measured=1001,
        verdicts={"loss": {"match": 200}, "hvp": {"refused": 200}},
        worst={"loss": (0.5, 30)},
        seconds=2.5,
    ),
    record_of(
        11, "float32", networks=24, verdicts={"loss": {"match": 24}}, worst={"loss": (0.5, 0)}
    ),
    record_of(12, "float64", networks=1, verdicts={"loss": {"match": 1}}, worst={"loss": (0.5, 0)}),
]


def test_the_table_adds_the_blocks_up_with_xla_last() -> None:
    _, *rows = runner.table(RECORDS).splitlines()
    assert [row.split() for row in rows] == [
        ["hvp", "float64", "200", "0", "0", "0", "0", "200", "0", "0.000"],
        ["loss", "float32", "24", "24", "0", "0", "0", "0", "0", "0.500", "11:0"],
        ["loss", "float64", "1,206", "1,191", "4", "5", "3", "2", "1", "0.500", "12:0"],
        [*XLA.split(), "float64", "1,000", "999", "0", "0", "0", "0", "1", "0.125", "7:5"],
    ]


def test_xla_is_compared_in_float64_whatever_the_precision_of_the_networks() -> None:
    verdicts = {XLA: {"match": 2}}
    records = [
        record_of(block, dtype, verdicts=verdicts)
        for block, dtype in enumerate(("float32", "float64"))
    ]
    assert [(key, total.verdicts.total()) for key, total in runner.totals(records).items()] == [
        ((XLA, "float64"), 4)
    ]


def test_the_summary_says_how_much_there_was_and_what_is_wrong(
    tmp_path: Path, campaign: Campaign
) -> None:
    campaign = dataclasses.replace(campaign, seed=3, versions={"Python": "3.9", "JAX": "0.8"})
    with Log(tmp_path / "log.jsonl", campaign) as log:
        log.started = "2026-01-02"
        log.records = [*RECORDS, record_of(13, "float64", sizes=[2, 4])]
        what, witness, speed, wrong = runner.summary(log, campaign).splitlines()
    assert what == (
        "1,225 networks of 2 shapes in 5 blocks, 1,000 networks also by XLA; seed 3; "
        "begun 2026-01-02; Python 3.9, JAX 0.8."
    )
    assert witness == (
        "Of 1,020 networks some bound is infinite. Rounding was measured for these and 1 more. "
        "What remains: 2 have a result that is not finite in JAX's float64, 1 may overflow in "
        "their own precision or have logits so large that rounding decides between classes, 4 hang "
        "on more kinks than can be tried together, and in 5 rounding strays as far as the result "
        "itself."
    )
    assert speed == "4 seconds of work, 306 networks a second on a core."
    assert wrong == "WRONG: 7:17, 7:8"


@pytest.mark.parametrize("count", [0, runner.SHOWN, runner.SHOWN + 1])
def test_of_many_wrong_cases_the_first_are_named(
    count: int, tmp_path: Path, campaign: Campaign
) -> None:
    found = {"mismatch": list(range(count))}
    with Log(tmp_path / "log.jsonl", campaign) as log:
        log.records = [record_of(0, "float64", networks=count, found=found, seconds=0.5)]
        _, _, speed, last = runner.summary(log, campaign).splitlines()
    assert speed.endswith(f"work, {2 * count} networks a second on a core.")
    cases = ", ".join(f"0:{number}" for number in range(min(count, 20)))
    more = ", ..." if count > 20 else ""
    assert last == (f"WRONG: {cases}{more}" if count else "None is wrong.")


def test_blocks_are_taken_in_turn_up_to_how_many_there_are_to_be(
    tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {1}

    def taken(seed: int, block: int, networks: int) -> Record:
        assert (seed, networks) == (campaign.seed, campaign.networks)
        assert block < 4
        assert block not in seen
        seen.add(block)
        return record_of(block, "float64")

    monkeypatch.setattr(runner, "compare_block", taken)
    path = tmp_path / "log.jsonl"
    with Log(path, campaign) as log:
        log.add(record_of(1, "float64"))
    for _ in range(2):
        assert [record.block for record in run(path, campaign, 4)] == [1, 0, 2, 3]
