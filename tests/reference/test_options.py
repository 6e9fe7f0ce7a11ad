"""What `python -m reference` makes of its options, and of what they run, which is not run here."""

import functools
import os
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reference import Leaf
from reference import command_line as command
from tests.support.commands import Output, run_here
from tests.support.leaves import leaf_of

run = functools.partial(run_here, command.main)

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def refusal(output: Output) -> str:
    """Give the line that says why the command was refused, after how it is used."""
    assert (output.status, output.out) == (2, "")
    usage, line = output.err.split("error: ")
    assert usage.startswith("usage: python -m reference")
    assert line.count("\n") == 1
    return line.rstrip()


# Agreement


class Agreement:
    """Takes seeds for cases, until the last."""

    kinks = 2
    complete = True
    last = 1_000_000

    def __init__(self) -> None:
        """Begin without a case."""
        self.cases = 0
        SEEDS.clear()

    def add(self, seed: int) -> None:
        """Note a seed."""
        if seed > self.last:
            raise KeyboardInterrupt
        SEEDS.append(seed)
        self.cases += 1

    def table(self) -> str:
        """Stand for the table."""
        return "the table"


SEEDS: list[int] = []


@pytest.fixture
def agreement(monkeypatch: Patch) -> type[Agreement]:
    """Have no case drawn or compared."""
    monkeypatch.setattr(command, "Agreement", Agreement)
    monkeypatch.setattr(command, "draw_example", lambda seed: seed)
    for name in ("complete", "last"):
        monkeypatch.setattr(Agreement, name, getattr(Agreement, name))
    return Agreement


@pytest.mark.usefixtures("agreement")
@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        ((), range(100)),
        (("--cases", "3"), range(3)),
        (("--cases", "2", "--seed", "5"), range(5, 7)),
        (("--seed", "7"), range(7, 107)),
    ],
)
def test_a_hundred_cases_are_taken_from_seed_0_on(
    arguments: tuple[str, ...], seeds: range, capsys: Capture
) -> None:
    output = run(capsys, *arguments)
    assert list(seeds) == SEEDS
    assert output.status == 0
    assert output.out.startswith(f"the table\n\n{command.LEGEND}\n\n")
    last = f"{len(seeds)} networks, 2 with a kink within rounding. All agree.\n"
    assert output.out.endswith(last)
    assert output.err == ""


def test_what_does_not_agree_is_status_1(agreement: type[Agreement], capsys: Capture) -> None:
    agreement.complete = False
    output = run(capsys, "--cases", "1")
    assert output.status == 1
    assert output.out.endswith("rounding. NOT all agree.\n")


def test_an_interruption_is_status_130_after_the_table_so_far(
    agreement: type[Agreement], capsys: Capture
) -> None:
    agreement.last = 1
    output = run(capsys)
    assert output.status == 130
    assert output.out.startswith("the table\n")
    assert output.out.endswith(
        "2 networks, 2 with a kink within rounding. All agree.\nInterrupted.\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "least"), [("--cases", "0", 1), ("--seed", "-1", 0), ("--seed", "-7", 0)]
)
def test_a_count_that_is_too_small_is_refused(
    option: str, value: str, least: int, capsys: Capture
) -> None:
    line = refusal(run(capsys, option, value))
    assert line == f"{option} must be at least {least}, got {value}"


# Campaigns


class Log:
    """A log that says what it was opened with."""

    records: tuple[Any, ...] = ()
    networks = 0

    def __init__(self, path: Path, campaign: Any) -> None:
        """Note both; a name may stand for what cannot be read or is another's."""
        if path.name == "unreadable":
            raise PermissionError(13, "Permission denied")
        if path.name == "other":
            raise ValueError("--log other is another campaign's")
        self.path = path
        RUNS.append({"path": path, "seed": campaign.seed, "networks": campaign.networks})

    def __enter__(self) -> None:
        """Lock nothing."""

    def __exit__(self, *_: object) -> None:
        """Note that it was closed."""
        RUNS[-1]["closed"] = True


RUNS: list[dict[str, Any]] = []


def noted_run(log: Any, campaign: Any, blocks: Any, *, until: float, workers: int) -> None:
    """Stand for the campaign's run."""
    assert log.path == RUNS[-1]["path"]
    assert campaign.seed == RUNS[-1]["seed"]
    RUNS[-1] |= {"blocks": blocks, "until": until, "workers": workers}


@pytest.fixture
def campaign(monkeypatch: Patch) -> Callable[..., None]:
    """Have no campaign run, at a time of 1000 seconds; call it to say what the run does."""
    RUNS.clear()
    monkeypatch.setattr(command, "Log", Log)
    monkeypatch.setattr(Log, "records", (SimpleNamespace(wrong=[]),))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(
        command,
        "Campaign",
        SimpleNamespace(here=lambda seed, networks: SimpleNamespace(seed=seed, networks=networks)),
    )
    runner = SimpleNamespace(
        run=noted_run,
        table=lambda records: f"{len(records)} records",
        summary=lambda log, campaign: f"{log.path} of {campaign.seed}",
    )
    monkeypatch.setattr(command, "runner", runner)
    return lambda run: setattr(runner, "run", run)


DEFAULT = {
    "path": Path("output/campaign.jsonl"),
    "seed": 0,
    "networks": 100,
    "blocks": 100,
    "until": float("inf"),
    "workers": os.cpu_count(),
    "closed": True,
}


@pytest.mark.usefixtures("campaign")
@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ((), {}),
        (
            ("--seed", "3", "--workers", "5", "--log", "a"),
            {"seed": 3, "workers": 5, "path": Path("a")},
        ),
        (("--block", "1"), {"networks": 1, "blocks": 10_000}),
        (("--cases", "250"), {"blocks": 3}),
        (("--cases", "1", "--block", "1"), {"networks": 1, "blocks": 1}),
        (("--minutes", "0.5"), {"until": 1030.0, "blocks": None}),
        (("--minutes", "2", "--cases", "100"), {"until": 1120.0, "blocks": 1}),
    ],
)
def test_a_campaign_takes_ten_thousand_cases_or_until_the_time(
    arguments: tuple[str, ...], changed: dict[str, Any], capsys: Capture
) -> None:
    output = run(capsys, "--campaign", *arguments)
    assert [DEFAULT | changed] == RUNS
    path, seed = (RUNS[0][name] for name in ("path", "seed"))
    assert output.status == 0
    assert output.out == f"1 records\n\n{command.CAMPAIGN_LEGEND}\n\n{path} of {seed}\n"


@pytest.mark.usefixtures("campaign")
def test_a_campaign_says_what_it_goes_on_from_and_that_it_takes_whole_blocks(
    capsys: Capture, monkeypatch: Patch
) -> None:
    for arguments, networks, said in (
        (("--cases", "200"), 0, ""),
        (("--minutes", "1"), 0, ""),
        (("--cases", "10"), 0, "--cases 10 takes 1 block of 100 networks, see --block\n"),
        (("--cases", "101"), 0, "--cases 101 takes 2 blocks of 100 networks, see --block\n"),
        (("--log", "a"), 1800, "Goes on from 1,800 networks in a\n"),
    ):
        monkeypatch.setattr(Log, "networks", networks)
        output = run(capsys, "--campaign", *arguments)
        assert (output.status, output.err) == (0, said)


@pytest.mark.usefixtures("campaign")
def test_a_campaign_is_one_process_where_nobody_knows_the_cores(
    capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert run(capsys, "--campaign").status == 0
    assert RUNS[-1]["workers"] == 1


@pytest.mark.usefixtures("campaign")
@pytest.mark.parametrize(("records", "status"), [([[], []], 0), ([[], ["0:7"]], 1), ([], 1)])
def test_a_campaign_without_a_case_or_with_a_wrong_one_is_status_1(
    records: list[list[str]], status: int, capsys: Capture, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(Log, "records", tuple(SimpleNamespace(wrong=wrong) for wrong in records))
    assert run(capsys, "--campaign").status == status


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        (KeyboardInterrupt, 130, "Interrupted"),
        (BrokenProcessPool, 1, "A process ended unexpectedly, for the reason given above"),
    ],
)
def test_a_campaign_that_is_cut_short_says_how_it_goes_on(
    error: type[BaseException],
    status: int,
    what: str,
    campaign: Callable[..., None],
    capsys: Capture,
) -> None:
    def cut_short(*_: Any, **__: Any) -> None:
        raise error

    campaign(cut_short)
    output = run(capsys, "--campaign", "--log", "a")
    assert output.status == status
    assert output.out.startswith("1 records\n")
    assert output.out.endswith(f"a of 0\n{what}; the same command resumes from a.\n")


@pytest.mark.usefixtures("campaign")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seed", "-1"), "--seed must be at least 0, got -1"),
        (("--cases", "0"), "--cases must be at least 1, got 0"),
        (("--block", "0"), "--block must be at least 1, got 0"),
        (("--workers", "0"), "--workers must be at least 1, got 0"),
        (("--minutes", "0"), "--minutes must be a finite number above 0, got 0.0"),
        (("--minutes", "-0.5"), "--minutes must be a finite number above 0, got -0.5"),
        (("--log", "unreadable"), "--log unreadable: Permission denied"),
        (("--log", "other"), "--log other is another campaign's"),
    ],
)
def test_what_a_campaign_cannot_do_is_refused(
    arguments: tuple[str, ...], message: str, capsys: Capture
) -> None:
    assert refusal(run(capsys, "--campaign", *arguments)) == message
    assert not any("until" in noted for noted in RUNS)


# One case again


def rows_off(*off: float) -> Leaf:
    """Make an array of so many rows, each off by so much."""
    want = np.ones((len(off), 2))
    return leaf_of(want, want + np.array(off)[:, None], 0.25, "['loss']")


PLACES: list[Any] = []


@pytest.fixture
def replay(monkeypatch: Patch) -> Callable[..., None]:
    """Have one case planned, drawn and compared; call it to say how it turns out."""
    PLACES.clear()

    def planned(*place: int) -> Any:
        PLACES.append(place)
        return SimpleNamespace(group="rows", shape="2-3, 4 rows", dtype="float32")

    def drawn(*place: int) -> Any:
        PLACES.append(place)
        return ("plain", "strided", "tiny"), None

    def set_compared(off: float, number: int, errors: dict[int, str]) -> None:
        def compared(seed: int, block: int, numbers: range, *, compiled: bool) -> Any:
            PLACES.append((seed, block, numbers, compiled))
            others = {number - 1: 100.0, number: off}
            leaf = rows_off(*(others.get(place, 0.0) for place in numbers))
            verdicts = [verdict.value for verdict in leaf.verdicts()]
            return SimpleNamespace(
                record=SimpleNamespace(
                    wrong=[place for place in numbers if verdicts[place] != "match"]
                ),
                leaves={"loss": [leaf]},
                verdicts={"loss": verdicts},
                errors=errors,
            )

        monkeypatch.setattr(command, "compare_cases", compared)

    monkeypatch.setattr(command, "plan_block", planned)
    monkeypatch.setattr(command, "draw_case", drawn)
    set_compared(0.0, 0, {})
    return set_compared


@pytest.mark.parametrize(("off", "status", "verdict"), [(0.125, 0, "match"), (0.5, 1, "mismatch")])
@pytest.mark.parametrize("place", [(0, 0, 0), (3, 12, 7), (0, 98, 99)])
def test_a_case_is_shown_again_by_its_block_and_number(
    off: float,
    status: int,
    verdict: str,
    place: tuple[int, int, int],
    replay: Callable[..., None],
    capsys: Capture,
) -> None:
    seed, block, number = place
    replay(off, number, {})
    output = run(capsys, "--campaign", "--replay", f"{block}:{number}", "--seed", str(seed))
    assert [(seed, block), place, (seed, block, range(100), block % 49 == 0)] == PLACES
    assert output.status == status
    lines = output.out.splitlines()
    assert lines[:2] == ["rows: 2-3, 4 rows, float32; plain, strided, tiny", f"loss: {verdict}"]
    assert lines[-1].split()[:3] == ["['loss']", "2", verdict]


def test_what_manual_nn_said_of_a_case_is_shown(
    replay: Callable[..., None], capsys: Capture
) -> None:
    replay(0.0, 1, {1: "X is too large", 0: "y is too large"})
    output = run(capsys, "--campaign", "--replay", "0:1")
    assert output.status == 0
    assert output.out.splitlines()[2:4] == ["X is too large", ""]
    assert "y is" not in output.out


def test_a_case_is_of_a_block_of_the_size_that_the_campaign_had(
    replay: Callable[..., None], capsys: Capture
) -> None:
    replay(0.0, 2, {})
    options = ("--campaign", "--replay", "5:2", "--block")
    assert run(capsys, *options, "3").status == 0
    assert PLACES[-1] == (0, 5, range(3), False)
    line = refusal(run(capsys, *options, "2"))
    assert line == "--replay 5:2: a block has 2 cases, see --block"
    assert refusal(run(capsys, *options, "0")) == "--block must be at least 1, got 0"


@pytest.mark.usefixtures("replay")
@pytest.mark.parametrize("place", ["-1:0", "0:-1", "1:-1", "7", "12", "1:2:3", "a:b", ":"])
def test_what_is_no_case_is_refused(place: str, capsys: Capture) -> None:
    line = refusal(run(capsys, "--campaign", f"--replay={place}"))
    assert line == f"--replay must be BLOCK:NUMBER, got '{place}'"
    assert PLACES == []


@pytest.mark.usefixtures("replay")
def test_a_seed_of_a_case_is_not_negative(capsys: Capture) -> None:
    refusal(run(capsys, "--campaign", "--replay", "0:0", "--seed", "-1"))
    assert PLACES == []


# What does not go together


CHECK = ("check", "mine:grad", "mine:loss", "--example")


@pytest.mark.usefixtures("agreement", "campaign", "replay")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--minutes", "1"), "--minutes requires --campaign"),
        (("--workers", "1"), "--workers requires --campaign"),
        (("--block", "1"), "--block requires --campaign"),
        (("--log", "1"), "--log requires --campaign"),
        (("--replay", "1"), "--replay requires --campaign"),
        (("--log", "a", "--workers", "1"), "--workers requires --campaign"),
        (("--replay", "0:0"), "--replay requires --campaign"),
        (("--workers", "2", *CHECK, "mine:ARGS"), "--workers requires --campaign"),
        (("--campaign", *CHECK, "mine:ARGS"), "--campaign cannot be combined with check"),
        (
            ("--campaign", "--replay", "0:0", "--cases", "3"),
            "--replay shows a single case and cannot be combined with --cases",
        ),
        (
            ("--campaign", "--replay", "1:1", "--log", "a"),
            "--replay shows a single case and cannot be combined with --log",
        ),
        (
            ("--campaign", "--replay", "0:0", "--log", "a", "--block", "3", "--workers", "1"),
            "--replay shows a single case and cannot be combined with --workers",
        ),
    ],
)
def test_an_option_of_something_else_is_refused(
    arguments: tuple[str, ...], message: str, capsys: Capture
) -> None:
    assert refusal(run(capsys, *arguments)) == message
