"""A mutant is tested the fast way where that tells the truth, and else the slow way."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutation import runner
from benchmarks.mutation.workers import Worker
from tests.benchmarks.mutation.tiny import MODULE, TESTS, TINY, write_tiny

WAYS = """
import functools
import sys

FACTOR = 3
RULES = {"lambda": lambda x: x + 11}


def function(x, *, y=13):
    return FACTOR * x + y


class Class:
    @functools.cached_property
    def method(self):
        return sum(x * 17 for x in [1])

    @staticmethod
    def unseen():
        return 19


def made(n):
    def rule(x):
        return x + n - 23

    return rule


RULES["closure"] = made(29)


@functools.cache
def decorated():
    return [31]


def hanging(n=4):
    while n > 0:
        n -= 1
    return n


def called():
    return 37


NUMBER = called()

if __name__ == "__main__":
    print(function(0))
"""
TESTS_OF_WAYS = """
import os
import subprocess
import sys

from manual_nn.tiny import NUMBER, RULES, Class, called, decorated, function, hanging

def test_closure():
    assert RULES["closure"](0) == 6

def test_lambda():
    assert RULES["lambda"](0) == 11

def test_method():
    assert Class().method == 17

def test_decorated():
    assert decorated() is decorated()

def test_hanging():
    assert hanging() == 0

def test_called():
    assert NUMBER == called()

def test_subprocess():
    command = [sys.executable, "-S", "-m", "manual_nn.tiny"]
    assert subprocess.check_output(command, text=True) == "13\\n"

def test_function():
    assert function(1) == 16
"""
TEST = "tests/manual_nn/test_tiny.py"


@pytest.fixture(autouse=True, scope="module")
def few_imports() -> Iterator[None]:
    """Have a worker import no more than its tests need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "IMPORTED", ("hypothesis", "pytest"))
        yield


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("ways")
    write_tiny(folder / "root", code=WAYS, tests=TESTS_OF_WAYS)
    (folder / "0").mkdir()
    with contextlib.closing(Worker(folder / "root", folder / "0")) as started:
        yield started


def ask(worker: Worker, before: str, after: str, *, limit: float = 120.0) -> dict[str, Any]:
    assert WAYS.count(before) == 1
    text, tests = WAYS.replace(before, after), [TEST]
    return worker.ask(module=MODULE, text=text, tests=tests, limit=limit)


@pytest.mark.parametrize(
    ("before", "after", "failed"),
    [
        ("x * 17", "x * 18", "test_method"),
        ("x + 11", "x - 11", "test_lambda"),
        ("n - 23", "n + 23", "test_closure"),
        ("[31]", "[31][0:0]", ""),
        ("* x + y", "* x - y", "test_subprocess"),
    ],
)
def test_a_mutant_in_functions_alone_is_tested_the_fast_way(
    worker: Worker, before: str, after: str, failed: str
) -> None:
    found = ask(worker, before, after)
    assert found["way"] == ("fast" if failed else "slow, after the fast one"), found
    assert found["status"] == bool(failed)
    assert f"FAILED {TEST}::{failed} " in found["output"] or not failed


@pytest.mark.parametrize(
    ("before", "after", "why", "status"),
    [
        ("FACTOR = 3", "FACTOR = 4", "<module> is no function that could be changed", 1),
        ("y=13", "y=12", "<module> is no function that could be changed", 1),
        ("@functools.cache\n", "", "<module> is no function that could be changed", 1),
        ("@staticmethod", "@classmethod", "Class is no function that could be changed", 0),
        ("def unseen():", "def unseen(x=1):", "Class is no function that could be changed", 0),
        ("def unseen():", "def unseen(*x):", "Class.unseen looks different from outside", 0),
        # the test compares what it gave when it was imported with what it gives now
        ("return 37", "return 38", "called has run", 0),
    ],
)
def test_a_mutant_in_what_an_import_runs_is_tested_the_slow_way(
    worker: Worker, before: str, after: str, why: str, status: int
) -> None:
    found = ask(worker, before, after)
    assert (found["way"], found["status"]) == (f"slow: {why}", status), found


def test_a_survivor_of_the_fast_way_is_tested_the_slow_way_too(worker: Worker) -> None:
    found = ask(worker, "return 19", "return 18")
    assert (found["way"], found["status"]) == ("slow, after the fast one", 0), found


def test_after_a_mutant_that_hangs_the_next_is_tested_the_fast_way(worker: Worker) -> None:
    found = ask(worker, "n -= 1", "n += 1", limit=5.0)
    assert (found["way"], found["status"]) == ("fast", None), found
    assert found["seconds"] >= 5
    found = ask(worker, "x + 11", "x + 12")
    assert (found["way"], found["status"]) == ("fast", 1), found


def test_a_mutant_may_end_the_fork_with_the_collected_tests(worker: Worker) -> None:
    kill = "sys.modules['os'].kill(sys.modules['os'].getppid(), 9)"
    found = ask(worker, "x + 11", f"'warm' in sys.modules['os'].environ['TMPDIR'] and {kill}")
    ended = "the fork with the collected tests has ended"
    assert found["way"] == f"slow: {ended}", found


def test_tests_that_do_not_pass_the_fast_way_are_run_the_slow_way(tmp_path: Path) -> None:
    started = "\nimport threading, time\n\nthreading.Thread(target=time.sleep, args=[1]).start()\n"
    write_tiny(tmp_path / "root", tests=TESTS + started)
    (tmp_path / "0").mkdir()
    with contextlib.closing(Worker(tmp_path / "root", tmp_path / "0")) as started_worker:
        text, tests = TINY.replace("3 * x", "4 * x"), [TEST]
        found = started_worker.ask(module=MODULE, text=text, tests=tests, limit=60)
    assert found["status"] == 1
    assert found["way"] == "slow: collecting the tests has started threads"


def test_code_is_told_apart_by_more_than_equality() -> None:
    codes = [compile(text, "", "exec") for text in ("f(0.0)", "f(-0.0)", "f(0)", "f(False)")]
    wholes = [runner._whole(code) for code in codes]
    assert all(wholes.count(whole) == 1 for whole in wholes)
    moved = compile("\n\nf(0.0)", "", "exec")
    assert runner._whole(moved) == wholes[0]
