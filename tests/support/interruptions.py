"""Processes that are killed while they train and write checkpoints, and what they leave.

A program of its own, for it forks, which a process with JAX in it must not:
python -m tests.support.interruptions random FOLDER KILLS, or calls FOLDER STRIDE, or bytes FOLDER
"""

import itertools
import json
import multiprocessing
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import manual_nn
from manual_nn import OptimizerState, TrainingResult
from manual_nn.files import parameters
from manual_nn.layers.dense import Params
from manual_nn.training import checkpoint, loop
from manual_nn.training.history import Reached

LONGEST = 0.06  # seconds until a kill, of a training that takes some ten times that
EPOCHS = 100

processes = multiprocessing.get_context("fork")


def start_training(**options: Any) -> Any:
    """Train on a small problem, always the same; gives an iterator over the epochs."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), rng.integers(4, size=12)
    return loop.train_epochs(
        manual_nn.init_params([3, 5, 4], rng=rng),
        *(X[:8], y[:8], X[8:], y[8:]),
        batch_size=3,
        learning_rate=0.1,
        weight_decay=1e-4,
        epochs=EPOCHS,
        early_stopping=None,
        rng=rng,
        **options,
    )


def train(path: Path) -> TrainingResult:
    """Train to the end, from the checkpoint if there is one."""
    *_, last = start_training(checkpoint=path, resume=True)
    assert isinstance(last, TrainingResult)
    return last


def in_bytes(params: Params) -> list[bytes]:
    """Give what must be equal."""
    return [leaf.tobytes() for layer in params for leaf in layer]


def drafts_in(folder: Path) -> int:
    """Count the files that a killed process has not finished."""
    return len(list(folder.glob(".*.tmp")))


def run_until_killed(
    action: Callable[..., object],
    *args: object,
    seconds: float | None,
    after: Callable[[], bool] = lambda: True,
) -> bool:
    """Run the action in a process and kill it; says whether it was in time.

    Args:
        action: what to run.
        args: its arguments.
        seconds: how long to wait before the kill, or None for no kill.
        after: what must have come about before that, if the process gets so far.
    """
    process = processes.Process(target=action, args=args)
    process.start()
    if seconds is not None:
        while process.is_alive() and not after():
            time.sleep(LONGEST / 100)
        time.sleep(seconds)
        process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL, -signal.SIGXFSZ), process.exitcode
    return process.exitcode != 0


def kill_at_random(folder: Path, kills: str) -> dict[str, Any]:
    """Kill a training at random moments, and go on with what each has left, to the end.

    A copy of it goes to the end undisturbed; the training itself goes on to be killed again, or
    begins anew once it is through.
    """
    whole = list(start_training())
    path, copy = folder / "checkpoint.npz", folder / "copy.npz"
    chance = random.Random(0)  # noqa: S311, any moment will do
    killed, in_a_write, epochs = 0, 0, []
    while killed < int(kills):
        before = _stamp(path)
        early = chance.random() < 0.2  # perhaps before it has written anything

        def has_written(before: object = before, *, early: bool = early) -> bool:
            return early or _stamp(path) != before

        seconds = chance.uniform(0, LONGEST)
        if not run_until_killed(train, path, seconds=seconds, after=has_written):
            path.unlink()
            continue
        killed += 1
        in_a_write += drafts_in(folder) > 0
        epochs.append(0)
        if path.exists():  # else it was killed before it had begun
            shutil.copy(path, copy)
            params, metadata = parameters.load_params(path)
            epochs[-1] = len(metadata["checkpoint"]["curves"]["train_loss"])
            assert epochs[-1] == 0 or in_bytes(params) == in_bytes(whole[epochs[-1] - 1].params)
        last = train(copy)
        copy.unlink()
        assert in_bytes(last.params) == in_bytes(whole[-1].params)
        assert last.history == whole[-1].history
    return {"killed": killed, "in the middle of a write": in_a_write, "after epochs": epochs}


def _stamp(path: Path) -> object:
    """Tell one file at this path from the next."""
    return path.stat().st_ino if path.exists() else None


class Save:
    """A checkpoint, old, and how to replace it by another, new."""

    def __init__(self, folder: Path) -> None:
        """Write the old one."""
        self.folder, self.path = folder, folder / "checkpoint.npz"
        self.start, *_, self.end = itertools.islice(start_training(), 3)
        self.file = checkpoint.CheckpointFile(self.path, {}, {"X_val": None})
        self.save(self.start)
        self.old = self.path.read_bytes()
        self.save(self.end)
        self.new = self.path.read_bytes()

    def save(self, result: TrainingResult) -> None:
        """Write a checkpoint."""
        reached = Reached(result.params, None, OptimizerState(0, ()), result.history, 0.5)
        self.file.save(reached, np.random.default_rng(0))

    def outcome_of(self, action: Callable[..., object], *args: object) -> tuple[str, bool]:
        """Let the action replace the old one; says what is there then, and if it was killed."""
        self.path.write_bytes(self.old)
        killed = run_until_killed(action, *args, seconds=None)
        outcome = {self.old: "old", self.new: "new"}[self.path.read_bytes()]
        self.file.remove_drafts()
        assert list(self.folder.iterdir()) == [self.path]
        return outcome, killed


def kill_before_each_call(folder: Path, stride: str) -> dict[str, Any]:
    """Kill a write before its first call of a function in C, and before every so many-th after."""
    save = Save(folder)

    def save_until(call: int) -> None:
        calls = itertools.count(1)

        def kill_at_call(_frame: Any, event: str, _function: Any) -> None:
            if event == "c_call" and next(calls) == call:
                signal.raise_signal(signal.SIGKILL)

        sys.setprofile(kill_at_call)
        save.save(save.end)
        sys.setprofile(None)

    outcomes: list[str] = []
    killed = True
    while killed:
        outcome, killed = save.outcome_of(save_until, 1 + int(stride) * len(outcomes))
        outcomes.append(outcome)
    return {"outcomes": outcomes[:-1], "at last": outcomes[-1]}


def kill_at_bytes(folder: Path) -> dict[str, Any]:
    """Have a write killed by the kernel when it has written so many bytes, the rest refused."""
    save = Save(folder)

    def save_within(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
        save.save(save.end)

    sizes = [*range(0, len(save.new), 97), len(save.new) - 1]
    outcomes = [save.outcome_of(save_within, size) for size in sizes]
    assert all(killed for _, killed in outcomes)
    at_last, killed = save.outcome_of(save_within, len(save.new))
    assert not killed
    return {"outcomes": [outcome for outcome, _ in outcomes], "at last": at_last}


if __name__ == "__main__":
    when: dict[str, Callable[..., dict[str, Any]]] = {
        "random": kill_at_random,
        "calls": kill_before_each_call,
        "bytes": kill_at_bytes,
    }
    print(json.dumps(when[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])))
