"""`python -m reference --campaign`: what it draws, finds, counts, keeps, and shows again."""

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
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import jax
import numpy as np
import pytest

import manual_nn
import reference
from reference.campaign import runner
from reference.campaign.cases import (
    RAISED,
    REFUSED,
    TURNS,
    XLA,
    XLA_EVERY,
    Compared,
    Record,
    compare_block,
    compare_cases,
    draw_case,
    plan_block,
)
from reference.campaign.draws import LAYOUTS, MAGNITUDES, TRAITS, Shape, make_network
from reference.campaign.quantities import GROUPS
from reference.campaign.runner import Campaign, Log
from reference.command_line import main
from reference.compare import Comparer, worst_verdict

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


@pytest.mark.parametrize(
    ("block", "number", "plan", "kind", "values", "weights"),
    [
        (
            1,
            7,
            "rows: 10-10, 8 rows, class numbers, float64",
            "zero parameters, offset view, ordinary",
            "0 0.03125 -0.1972 -0.3306",
            "0.338 0 1.05 0 1 0 0.749 0.271",
        ),
        (
            5,
            11,
            "gradient: 9-11-11-11, 10 rows, class numbers, float64",
            "equal logits, read-only, balanced",
            "9.71 0.25 3.11e+05 -0.4753",
            "0 0 1.37 0 0 0.0186 1.24 0.638 1 0",
        ),
        (
            9,
            4,
            "matrices: 3-4-4-4, 3 rows, class numbers, float32",
            "plain, read-only, balanced",
            "0.007812 2 0.08882 -1.521",
            "0.258 1 0.917",
        ),
        (
            14,
            5,
            "weighted: 10-1-9, 8 rows, probabilities, float32",
            "equal logits, C order, balanced",
            "3.303e-06 0.5 0.9943 -0.4905",
            "0 0 0 1 0.272 0 0.0473 0",
        ),
    ],
)
def test_a_case_is_the_same_on_every_machine(
    block: int, number: int, plan: str, kind: str, values: str, weights: str
) -> None:
    """The number of a case stands in a log and in the README."""
    group, shape, dtype = plan_block(5, block)
    assert f"{group}: {shape}, {dtype}" == plan
    drawn, case = draw_case(5, block, number)
    assert ", ".join(drawn) == kind
    numbers = (case.weight_decay, case.max_norm, case.X[0, 0], case.tangents[-1].bias[0])
    assert " ".join(f"{number:.4g}" for number in numbers) == values
    assert " ".join(f"{weight:.3g}" for weight in case.sample_weight) == weights


def test_everything_is_drawn() -> None:
    plans = [plan_block(0, block) for block in range(400)]
    assert {plan.group for plan in plans} == set(GROUPS)
    assert {plan.dtype for plan in plans} == {"float32", "float64"}
    assert {plan.shape.soft for plan in plans} == {False, True}
    for matrices, layers, width, rows in ((False, 4, 12, 16), (True, 3, 4, 5)):
        shapes = [plan.shape for plan in plans if (plan.group == "matrices") == matrices]
        assert {len(shape.sizes) - 1 for shape in shapes} == set(range(1, layers + 1))
        assert {size for shape in shapes for size in shape.sizes} == set(range(1, width + 1))
        assert {shape.N for shape in shapes} == set(range(1, rows + 1))
    kinds = [draw_case(0, 1, number)[0] for number in range(200)]
    assert {kind.trait for kind in kinds} == set(TRAITS)
    assert {kind.layout for kind in kinds} == set(LAYOUTS)
    assert {kind.magnitude for kind in kinds} == set(MAGNITUDES)
    decays = {draw_case(0, 1, number)[1].weight_decay for number in range(50)}
    assert {0, 2.0**-7} < decays
    assert len(decays) > 10
    assert max(decays) <= 10


def test_one_row_or_another_counts_1_and_some_count_nothing() -> None:
    block = next(block for block in range(100) if plan_block(0, block).shape.N == 8)
    weights = [draw_case(0, block, number)[1].sample_weight for number in range(100)]
    assert all((weight == 1).sum() == 1 for weight in weights)
    assert {int(weight.argmax()) for weight in np.stack(weights) == 1} == set(range(8))
    assert {int((weight == 0).sum()) for weight in weights} > set(range(2, 6))


def test_some_rows_are_longer_than_the_largest_norm_and_some_are_not() -> None:
    block, longer = BLOCK_OF["rows"], set()
    for number in range(20):
        kind, case = draw_case(0, block, number)
        if kind.magnitude == "ordinary" and kind.trait == "plain":
            norms = manual_nn.per_example_grad_norms(case.params, case.X, case.y)
            longer |= set((norms > case.max_norm).tolist())
    assert longer == {False, True}


def test_the_first_case_of_a_block_hangs_on_its_plan_no_more_than_the_others() -> None:
    """A seed of zeros at the end is the same seed: the case would begin as the plan does."""
    for number in (0, 1):
        pairs = {
            (len(plan_block(0, block).shape.sizes), draw_case(0, block, number)[0].trait)
            for block in range(1, 400, 10)
        }
        assert len(pairs) > 20


def test_the_groups_have_all_that_is_public() -> None:
    names = {
        name.partition(",")[0]
        for group in ("gradient", "rows", "products", "matrices")
        for name in compare_block(0, BLOCK_OF[group], 1).verdicts
    }
    training = {"EarlyStopping", "History", "TrainingDiverged", "TrainingResult", "train"}
    assert set(manual_nn.__all__) - {"Dense", "Workspace", "init_params", *training} <= names


@pytest.mark.parametrize("N", [1, 4, 5])
def test_what_is_weighted_goes_in_two_blocks_and_into_a_workspace_with_room(
    N: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def spied(function: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **options: Any) -> Any:
            asked.append(options)
            return function(*args, **options)

        return spy

    for name in ("loss", "loss_and_grad"):
        monkeypatch.setattr(manual_nn, name, spied(getattr(manual_nn, name)))
    params, X, y, _ = make_network(Shape((2, 3), N, soft=False), np.float64, seed=0)
    GROUPS["weighted"].by_hand(params, X, y, 0.0, np.ones(N))
    chunks = [options["chunk_size"] for options in asked if "chunk_size" in options]
    assert [math.ceil(N / chunk) for chunk in chunks] == [min(N, 2)] * 2
    (workspace,) = (options["workspace"] for options in asked if "workspace" in options)
    assert workspace.rows > N


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


def test_blocks_of_every_group_are_compiled() -> None:
    compiled = range(0, 10 * XLA_EVERY, XLA_EVERY)
    assert {plan_block(0, block).group for block in compiled} == set(GROUPS)


def test_some_of_the_blocks_are_compiled_and_xla_is_held_to_the_bound_of_float64() -> None:
    record = compare_block(1, XLA_EVERY, 4)
    assert record.compiled
    assert sum(record.verdicts[XLA].values()) == 4
    assert not record.wrong
    assert record.worst[XLA][0] > 0  # XLA and NumPy do not round alike


def test_the_worst_match_of_each_quantity_is_kept_with_its_number() -> None:
    before, without = time.perf_counter(), set()
    for networks, block in ((8, 10), (8, 20), (1, 130)):
        record = compare_block(0, block, networks)
        again = compare_cases(0, block, range(networks), compiled=False)
        assert 0 <= record.seconds <= time.perf_counter() - before + 0.001  # which are rounded
        assert record.worst == again.record.worst
        for quantity, leaves in again.comparison.by_key().items():
            ratios = {
                number: max(float(leaf.of_row(number).ratio.max()) for leaf in leaves)
                for number, verdict in enumerate(again.verdicts[quantity])
                if verdict == "match"
            }
            if ratios:
                number = max(ratios, key=lambda number: ratios[number])
                assert record.worst[quantity] == (ratios[number], number)
            else:
                assert quantity not in record.worst
            without.add(quantity not in record.worst)
    assert without == {False, True}


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
    again = compare_cases(0, record.block, [number], compiled=True)
    assert again.record.found["mismatch"] == again.record.wrong == [0]
    assert {name for name, (verdict,) in again.verdicts.items() if verdict == "mismatch"} == wrong


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


def changing_its_input(params: Any, X: Any, *_: Any, **__: Any) -> Any:
    result = INPUT_GRAD(params, X, *_, **__)
    if X.flags.writeable:
        X *= 2
    return result


def in_another_dtype(*args: Any, **options: Any) -> Any:
    return INPUT_GRAD(*args, **options).astype(np.float16)


def with_another_shape(*args: Any, **options: Any) -> Any:
    return INPUT_GRAD(*args, **options)[None]


def in_a_list(*args: Any, **options: Any) -> Any:
    return [INPUT_GRAD(*args, **options)]


def failing(*_: Any, **__: Any) -> Any:
    raise IndexError("out of range")


def complaining(*_: Any, **__: Any) -> Any:
    raise ValueError("operands could not be broadcast together")


def refusing(*_: Any, **__: Any) -> Any:
    raise ValueError("X must give something that does not exceed the largest float32")


INPUT_GRAD = manual_nn.input_grad


@pytest.mark.parametrize(
    ("faulty", "verdict"),
    [
        (changing_its_input, "mutated input"),
        (in_another_dtype, "wrong dtype"),
        (with_another_shape, "wrong shape"),
        (in_a_list, "wrong structure"),
        (failing, RAISED),
        (complaining, RAISED),
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
        and not (verdict == "mismatch" and number in healthy.found.get("not comparable", []))
        and not (verdict == "mutated input" and kind.layout == "read-only")
    ]
    assert record.found[verdict] == expected
    assert record.wrong == expected


def test_a_fault_is_not_hidden_by_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing_and_refusing(_: Any, X: Any) -> Any:
        X *= 2
        refusing()

    monkeypatch.setattr(manual_nn, "logits", changing_and_refusing)
    record = compare_block(0, BLOCK_OF["gradient"], 6)
    kinds = [draw_case(0, record.block, number)[0] for number in range(6)]
    changed = [number for number, kind in enumerate(kinds) if kind.layout != "read-only"]
    assert record.found["mutated input"] == changed


def test_an_overflow_is_refused_rightly() -> None:
    blocks = (compare_block(2, block, 30) for block in range(11, 40, 10))
    assert any(record.found.get(REFUSED) for record in blocks)


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
def test_a_killed_campaign_goes_on_and_leaves_no_process(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log.jsonl"
    options = ["--campaign", "--block", "2", "--workers", str(workers), "--log", str(log)]
    command = [sys.executable, "-m", "reference", *options]
    process = subprocess.Popen(  # noqa: S603, this interpreter
        [*command, "--cases", "1000000"], env={**os.environ, "TEST_LOG": str(log)}
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
    finished = subprocess.run(  # noqa: S603, this interpreter
        [*command, "--cases", str(cases)], check=True, capture_output=True, text=True
    )
    assert f"{cases} networks of" in finished.stdout
    blocks = [json.loads(line)["block"] for line in log.read_text().splitlines()[1:]]
    assert sorted(blocks) == list(range(reached + 4))


# What is printed


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
                "not comparable": 3,
                "refused": 2,
                "mismatch": 1,
            },
            XLA: {"match": 999, "wrong shape": 1},
        },
        worst={"loss": (0.25, 20), XLA: (0.125, 5)},
        found={"mismatch": [17], "refused": [1, 2], "ambiguous": [3], "wrong shape": [8]},
        seconds=1.5,
        compiled=True,
    ),
    record_of(
        9,
        "float64",
        networks=200,
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
        ["hvp", "float64", "200", "0", "0", "0", "200", "0", "0.000"],
        ["loss", "float32", "24", "24", "0", "0", "0", "0", "0.500", "11:0"],
        ["loss", "float64", "1,201", "1,191", "4", "3", "2", "1", "0.500", "12:0"],
        [*XLA.split(), "float64", "1,000", "999", "0", "0", "0", "1", "0.125", "7:5"],
    ]


def test_the_summary_says_how_much_there_was_and_what_is_wrong(
    tmp_path: Path, campaign: Campaign
) -> None:
    campaign = dataclasses.replace(campaign, seed=3, versions={"Python": "3.9", "JAX": "0.8"})
    with Log(tmp_path / "log.jsonl", campaign) as log:
        log.started = "2026-01-02"
        log.records = [*RECORDS, record_of(13, "float64", sizes=[2, 4])]
        what, speed, wrong = runner.summary(log, campaign).splitlines()
    assert what == (
        "1,225 networks of 2 shapes in 5 blocks, 1,000 networks also by XLA; seed 3; "
        "begun 2026-01-02; Python 3.9, JAX 0.8."
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
        _, speed, last = runner.summary(log, campaign).splitlines()
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
