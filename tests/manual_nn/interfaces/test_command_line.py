"""The command line, as its users meet it."""

import contextlib
import csv
import functools
import gzip
import io
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib import image

from manual_nn import SGD, Adam, AdamW, CosineSchedule, Patience
from manual_nn.compiled import steps
from manual_nn.files.data_sets import Dataset, load_digits
from manual_nn.files.models import Model, load_model, save_model
from manual_nn.files.parameters import load_params, save_params
from manual_nn.files.scaling import KINDS, fit_scaling
from manual_nn.files.sources import Source
from manual_nn.interfaces import command_line
from manual_nn.interfaces.experiment import Settings
from manual_nn.layers.dense import Params
from manual_nn.models.mlp import init_params, predict_proba
from manual_nn.training.history import (
    History,
    TrainingDiverged,
    TrainingInterrupted,
    TrainingResult,
)
from manual_nn.training.optimizer import OptimizerState
from tests.conftest import depth
from tests.support.commands import Output, run_apart, run_here
from tests.support.idx import idx_bytes
from tests.support.project import ROOT

run = functools.partial(run_here, command_line.main)

MANUAL_NN = [sys.executable, "-m", "manual_nn"]

EPOCH_LINE = re.compile(
    r"Epoch +(\d+)  Train_loss (\d+\.\d{4})  Train_acc ([01]\.\d{5})"
    r"  Val_loss (\d+\.\d{4})  Val_acc ([01]\.\d{5})  Penalty (\d+\.\d{4})"
)
SLOW = [
    "--backend",
    "numpy",
    "--hidden",
    "512",
    "512",
    "512",
    "--batch-size",
    "1",
]  # an epoch takes many seconds
ENDLESS = ["--backend", "numpy", "--no-early-stopping", "--epochs", "100000", "--hidden", "16"]

# With wide layers most of the time is spent in what is compiled, with those of other tests.
BACKENDS = {
    "numpy": (),
    "numba": ("--backend", "numba", "--hidden", "1024", "--dtype", "float64"),
}


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Trained(NamedTuple):
    """A finished run of `train` on the digits by NumPy, its output in a pipe.

    All else is the defaults; Numba would say that it compiles, if it had not yet.
    """

    folder: Path
    output: Output


@pytest.fixture(scope="module", name="trained")
def fixture_trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained") / "new" / "folder"
    options = ("--backend", "numpy", "--output", folder)
    return Trained(folder, run_apart("manual_nn", "train", *options))


@pytest.fixture(name="ctrl_c_works")
def fixture_ctrl_c_works() -> Iterator[None]:
    """A child of a background job inherits that SIGINT is ignored; not from us."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_training_prints_clean_lines_into_a_pipe(trained: Trained) -> None:
    status, out, err = trained.output
    assert (status, err) == (0, "")
    assert "\r" not in out
    first, *epochs, stopping, in_sample, test, picture, model = out.splitlines()
    assert first == "digits: 1437 training and 360 test rows, layers 64-256-10, float32"
    matches = [EPOCH_LINE.fullmatch(line) for line in epochs]
    assert [match and int(match[1]) for match in matches] == list(range(1, len(epochs) + 1))
    assert len({len(line) for line in epochs}) == 1
    assert stopping == "Stopping early"
    assert re.fullmatch(r"In-sample accuracy [01]\.\d{5} \(1437 rows\)", in_sample)
    assert re.fullmatch(r"Test accuracy [01]\.\d{5} \(360 rows\)", test)
    assert picture == f"Wrote {trained.folder / 'epoch_plots.png'}"
    assert model == f"Wrote {trained.folder / 'model.npz'}"
    assert files_in(trained.folder) == ["epoch_plots.png", "model.npz"]


def test_the_defaults_learn_the_digits_and_stop_early(trained: Trained) -> None:
    *_, last_epoch, stopping, _, test, _, _ = trained.output.out.splitlines()
    assert stopping == "Stopping early"
    match = EPOCH_LINE.fullmatch(last_epoch)
    assert match is not None
    assert float(match[5]) > 0.975
    assert float(test.split()[2]) >= 0.95


def test_evaluate_finds_the_accuracies_that_train_printed(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "evaluate", "--model", trained.folder / "model.npz")
    assert (status, err) == (0, "")
    found = re.findall(r"(\S+): +loss \d\.\d{4}  accuracy (\S+)  \((\d+) rows\)\n", out)
    printed = re.findall(r"(\S+) accuracy (\S+) \((\d+) rows\)\n", trained.output.out)
    assert found == printed
    assert [name for name, _, _ in found] == ["In-sample", "Test"]


def test_evaluate_draws_into_the_folder_it_is_given_in_place_of_the_pictures_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model.npz", network(64, 9, 10))
    model = ("--model", tmp_path / "model.npz")
    plain = run(capsys, "evaluate", *model)
    folder = tmp_path / "new" / "folder"
    first = run(capsys, "evaluate", *model, "--output", folder)
    pictures = [folder / f"{name}.png" for name in ("confusion_matrix", "mistakes", "first_layer")]
    assert first == (0, plain.out + "".join(f"Wrote {picture}\n" for picture in pictures), "")
    assert files_in(folder) == sorted(picture.name for picture in pictures)
    for picture in pictures:
        height, width, _ = image.imread(picture).shape
        assert min(height, width) > 300
    before = [picture.read_bytes() for picture in pictures]
    assert len(set(before)) == 3
    for picture in pictures:
        picture.write_bytes(b"old")
    assert run(capsys, "evaluate", *model, "--output", folder) == first
    assert [picture.read_bytes() for picture in pictures] == before


def test_evaluate_computes_probabilities_only_of_what_it_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model.npz", network(64, 10))
    computed: list[int] = []

    def noted(params: Params, X: npt.NDArray[Any]) -> npt.NDArray[Any]:
        computed.append(len(X))
        return predict_proba(params, X)

    monkeypatch.setattr(command_line, "predict_proba", noted)
    model = ("--model", tmp_path / "model.npz")
    run(capsys, "evaluate", *model)
    assert computed == []
    run(capsys, "evaluate", *model, "--output", tmp_path, "--report", tmp_path / "card.md")
    assert computed == [len(load_digits().X_test)]


def test_evaluate_draws_a_network_without_hidden_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "train", "--epochs", "1", "--output", tmp_path, "--hidden")
    model = ("--model", tmp_path / "model.npz")
    status, out, _ = run(capsys, "evaluate", *model, "--output", tmp_path / "pictures")
    assert status == 0
    assert len(files_in(tmp_path / "pictures")) == out.count("Wrote") == 3


@pytest.mark.parametrize("kind", ["npy", "npy of bytes", "npy of images", "idx", "idx.gz", "csv"])
@pytest.mark.parametrize("proba", [(), ("--proba",)])
def test_raw_pixels_are_predicted_like_the_test_rows_they_come_from(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    proba: tuple[str, ...],
) -> None:
    pixels = load_digits().X_test
    images = pixels.astype(np.uint8)
    path = tmp_path / "images"
    with path.open("wb") as file:
        if kind.startswith("npy"):
            arrays = {"npy": pixels, "npy of bytes": images}
            np.save(file, arrays.get(kind, images.reshape(-1, 8, 8)))
        elif kind == "csv":
            np.savetxt(file, images, fmt="%d", delimiter=",")
        else:
            content = idx_bytes(images.reshape(-1, 8, 8))
            file.write(gzip.compress(content) if kind == "idx.gz" else content)
    model = ("--model", trained.folder / "model.npz")
    from_file = run(capsys, "predict", *model, "--input", path, *proba)
    from_data = run(capsys, "predict", *model, *proba)
    assert (from_file.status, from_file.err) == (0, "")
    assert from_file == from_data


def test_predictions_are_as_accurate_as_evaluate_says(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", trained.folder / "model.npz")
    heading, *classes = run(capsys, "predict", *model).out.splitlines()
    assert heading == "class"
    accuracy = np.mean(np.array(classes, int) == load_digits().y_test)
    assert f"Test accuracy {accuracy:.5f}" in trained.output.out
    headings, *rows = csv.reader(run(capsys, "predict", *model, "--proba").out.splitlines())
    assert headings == ["class", *"0123456789"]
    assert [row[0] for row in rows] == classes
    proba = np.array([row[1:] for row in rows], float)
    assert proba.shape == (360, 10)
    assert np.array_equal(proba.argmax(axis=1), np.array(classes, int))
    assert np.abs(proba.sum(axis=1) - 1).max() < 10 * np.finfo(np.float32).eps


def test_the_same_seed_gives_the_same_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outs = [
        run(
            capsys,
            "train",
            "--epochs",
            "2",
            "--seed",
            seed,
            "--output",
            tmp_path,
        ).out
        for seed in ("3", "3", "4")
    ]
    assert outs[0] == outs[1] != outs[2]


@pytest.mark.parametrize(
    ("hidden", "sizes"),
    [(("--hidden",), [64, 10]), (("--hidden", "7", "5"), [64, 7, 5, 10])],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hidden_widths_and_dtype_are_those_asked_for(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    hidden: tuple[str, ...],
    sizes: list[int],
    dtype: str,
) -> None:
    options = ("--epochs", "1", "--dtype", dtype, "--output", tmp_path)
    _, out, _ = run(capsys, "train", *hidden, *options)
    _, metadata = load_params(tmp_path / "model.npz")
    assert (metadata["sizes"], metadata["dtype"]) == (sizes, dtype)
    assert f"layers {'-'.join(map(str, sizes))}, {dtype}\n" in out


def test_early_stopping_follows_its_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def epochs_with(*options: str) -> int:
        _, out, _ = run(capsys, "train", "--epochs", "4", *options, "--output", tmp_path)
        assert ("Stopping early" in out) == (out.count("Epoch") < 4)
        return out.count("Epoch")

    always = ("--min-accuracy", "0", "--max-change", "1.1")
    assert epochs_with(*always) == 2
    assert epochs_with("--no-early-stopping") == 4
    assert epochs_with("--min-accuracy", "1", "--max-change", "1.1") == 4
    assert epochs_with("--min-accuracy", "0", "--max-change", "0") == 4


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (["--optimizer", "adam"], {"optimizer": Adam(), "learning_rate": 0.001}),
        (["--optimizer", "adamw"], {"optimizer": AdamW(), "learning_rate": 0.001}),
        (
            ["--optimizer", "adam", "--learning-rate", "0.5"],
            {"optimizer": Adam(), "learning_rate": 0.5},
        ),
        (["--momentum", "0.5"], {"optimizer": SGD(0.5)}),
        (["--momentum", "0.5", "--nesterov"], {"optimizer": SGD(0.5, nesterov=True)}),
        (["--max-grad-norm", "0.5"], {"max_grad_norm": 0.5}),
        (
            ["--schedule", "cosine", "--epochs", "7"],
            {"learning_rate": CosineSchedule(0.1, 7), "epochs": 7},
        ),
        (["--patience", "3"], {"early_stopping": Patience(3)}),
        (["--early-stopping"], {}),
        (["--no-early-stopping"], {"early_stopping": None}),
    ],
)
def test_the_options_of_the_training_are_its_settings(
    options: list[str], changes: dict[str, Any]
) -> None:
    settings = command_line._settings(command_line.parser().parse_args(["train", *options]))
    assert vars(settings) == vars(Settings()) | {"hidden": [256]} | changes


def test_patience_says_whose_parameters_it_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--hidden", "8", "--learning-rate", "3", "--patience", "2", "--output", tmp_path)
    _, out, _ = run(capsys, "train", *options)
    accuracies = [float(found) for found in re.findall(r"Val_acc (\S+)", out)]
    best = accuracies.index(max(accuracies))
    assert best == len(accuracies) - 4, "three epochs in a row are no better"
    kept = f"Keeping the parameters of epoch {best + 1}, the best on the validation rows"
    assert f"\nStopping early\n{kept}\n" in out
    model = load_model(tmp_path / "model.npz")
    assert model.curves["val_acc"].index(max(model.curves["val_acc"])) == best


def test_a_model_remembers_the_settings_of_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--optimizer", "adam", "--schedule", "cosine", "--epochs", "2", "--patience", "1")
    status, *_ = run(capsys, "train", "--hidden", "4", *options, "--output", tmp_path)
    assert status == 0
    settings = load_model(tmp_path / "model.npz").settings
    adam = {"kind": "Adam", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    schedule = {"kind": "CosineSchedule", "initial": 0.001, "epochs": 2, "final": 0.0}
    rule = {"kind": "Patience", "n_iter_no_change": 1, "tol": 1e-4}
    assert settings["optimizer"] == adam
    assert settings["learning_rate"] == schedule
    assert settings["early_stopping"] == rule
    assert (settings["hidden"], settings["epochs"]) == ([4], 2)


def test_a_loss_that_ends_above_its_start_gets_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = ("--learning-rate", "20", "--epochs", "1", "--hidden", "8")
    status, _, err = run(capsys, "train", *rate, "--output", tmp_path)
    assert status == 0
    remedy = "choose a smaller --learning-rate or --scaling standardise"
    loss, *_ = err.splitlines()
    assert re.fullmatch(
        f"manual-nn: warning: the loss has grown in training, from .* to .*: {remedy}", loss
    )


def test_inputs_of_unequal_size_and_units_that_died_get_a_warning(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("train", "--data", own / FLOWERS, *OWN[3:], "--scaling", "none", "--output", tmp_path)
    status, _, err = run(capsys, *data, "--learning-rate", "0.001")
    assert status == 0
    sizes, *others = err.splitlines()
    wanted = r"features of X are of very unequal size: weight reaches 1e\+06, length no more than 2"
    assert re.fullmatch(f"manual-nn: warning: {wanted}.*: --scaling standardise .*", sizes)
    dead = r"manual-nn: warning: \d of 8 units of hidden layer 1 are 0 for all rows .*: choose a .*"
    assert re.fullmatch(dead, others[-1])


def start(*args: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603, our own code
        [*MANUAL_NN, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: "subprocess.Popen[str]", beginning: str) -> str:
    """Read lines up to the first with this beginning; each must come at once, unbuffered."""
    assert process.stdout is not None
    out = ""
    for line in process.stdout:
        out += line
        if line.startswith(beginning):
            return out
    raise AssertionError(f"no line begins with {beginning!r} in {out!r}")


@pytest.mark.long
@pytest.mark.usefixtures("ctrl_c_works")
@pytest.mark.parametrize("seed", range(min(3, depth().seeds)))
@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_keeps_the_epochs_that_are_complete_and_they_resume_to_the_same_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, seed: int
) -> None:
    folder, checkpoint = tmp_path / "output", tmp_path / "checkpoint.npz"
    endless = (*ENDLESS, *BACKENDS[backend])
    with start("train", *endless, "--checkpoint", checkpoint, "--output", folder) as process:
        out = read_until(process, "Epoch")
        time.sleep(random.Random(seed).uniform(0, 0.5))  # noqa: S311, any moment will do
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate()
    assert process.returncode == 130
    assert not [line for line in err.splitlines() if "Compiling with Numba" not in line]
    _, *epochs, interrupted, in_sample, _, picture, model = (out + rest).splitlines()
    assert all(EPOCH_LINE.fullmatch(line) for line in epochs)
    reached = re.fullmatch(
        r"Interrupted in epoch (\d+): continuing with what it has reached", interrupted
    )
    assert reached is not None
    assert int(reached[1]) - 1 in (len(epochs), len(epochs) + 1)  # complete, though not printed
    assert in_sample.startswith("In-sample accuracy")
    assert picture.endswith("epoch_plots.png")
    assert model.endswith("model.npz")
    assert files_in(folder) == ["epoch_plots.png", "model.npz"]
    load_params(folder / "model.npz")
    assert_resumed_to_the_same_end(checkpoint, capsys, *BACKENDS[backend])


@pytest.mark.long
@pytest.mark.usefixtures("ctrl_c_works")
def test_ctrl_c_in_the_first_epoch_keeps_the_steps_that_were_taken(tmp_path: Path) -> None:
    """It takes several times as long as is waited, on a fast machine too, and a busy one."""
    wide, began = ("--hidden", "1500", "1500", "1500"), time.monotonic()
    with start("train", *SLOW, *wide, "--output", tmp_path) as process:
        read_until(process, "digits")
        time.sleep(1 + time.monotonic() - began)
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate()
    assert (process.returncode, err) == (130, "")
    interrupted, in_sample, test, wrote = rest.splitlines()
    assert interrupted == "Interrupted in epoch 1: continuing with what it has reached"
    assert (in_sample.split()[0], test.split()[0]) == ("In-sample", "Test")
    assert wrote == f"Wrote {tmp_path / 'model.npz'}"
    assert files_in(tmp_path) == ["model.npz"]
    assert load_model(tmp_path / "model.npz").curves["train_loss"] == []


@pytest.mark.long
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_killed_resumes_to_the_same_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kill: signal.Signals
) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    options = ("--checkpoint", checkpoint, "--output", tmp_path / "killed")
    with start("train", *ENDLESS, *options) as process:
        read_until(process, "Epoch      3")
        process.send_signal(kill)
        process.communicate()
    assert_resumed_to_the_same_end(checkpoint, capsys)


def assert_resumed_to_the_same_end(
    path: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> None:
    """Go on with this checkpoint of an endless training, and train as long without a break."""
    _, metadata = load_params(path)
    reached = len(metadata["checkpoint"]["curves"]["train_loss"])
    ends = ("train", *ENDLESS, *options, "--epochs", str(reached + 3), "--output")
    whole = run(capsys, *ends, path.parent / "whole")
    checkpoint = ("--checkpoint", path, "--resume")
    resumed = run(capsys, *ends, path.parent / "resumed", *checkpoint)
    assert (whole.status, resumed.status) == (0, 0)
    first, *lines = whole.out.splitlines()
    resuming = f"Resuming from {path}"
    assert resumed.out.splitlines()[:-2] == [first, resuming, *lines[reached - 1 : -2]]
    models = [(path.parent / end / "model.npz").read_bytes() for end in ("whole", "resumed")]
    assert models[0] == models[1]


def test_to_resume_without_a_checkpoint_yet_is_to_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = ("--checkpoint", tmp_path / "checkpoint.npz", "--resume")
    begun = run(capsys, "train", "--epochs", "1", "--output", tmp_path, *checkpoint)
    assert "No checkpoint yet: beginning\nEpoch 1" in begun.out
    again = run(capsys, "train", "--epochs", "1", "--output", tmp_path, *checkpoint)
    assert f"Resuming from {checkpoint[1]}\nEpoch 1" in again.out


def test_what_was_reached_before_a_divergence_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The penalty takes W to -2 W in a step: 27 steps of 20 in an epoch are too many.
    options = ("--hidden", "--weight-decay", "1.5", "--learning-rate", "1", "--batch-size", "64")
    checkpoint = ("--checkpoint", tmp_path / "checkpoint.npz")
    status, out, err = run(capsys, "train", *options, *checkpoint, "--output", tmp_path)
    assert status == 2
    assert re.fullmatch(r"manual-nn: error: training diverged in epoch 2, batch \d+: .*\n", err)
    assert "\nDiverged: continuing with the result of epoch 1\nIn-sample" in out
    assert files_in(tmp_path) == ["checkpoint.npz", "epoch_plots.png", "model.npz"]
    saved, (kept, metadata) = (
        load_params(tmp_path / f"{name}.npz") for name in ("model", "checkpoint")
    )
    assert len(metadata["checkpoint"]["curves"]["train_loss"]) == 1
    for got, want in zip(saved[0][0], kept[0], strict=True):
        assert np.array_equal(got, want)


def test_a_reader_that_leaves_ends_the_command_quietly(trained: Trained) -> None:
    with start("predict", "--proba", "--model", trained.folder / "model.npz") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert (process.returncode, err) == (141, "")


def test_a_terminal_shows_a_bar_and_a_pipe_beside_it_stays_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal, child = pty.openpty()
    termios.tcsetwinsize(child, (24, 80))
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_terminal, terminal)
        with os.fdopen(child, "w") as err:
            monkeypatch.setattr(sys, "stderr", err)
            status, out, _ = run(capsys, "train", "--epochs", "2", "--output", tmp_path)
        shown = reading.result()
    os.close(terminal)
    assert status == 0
    assert b"epoch 1" in shown
    assert b"epoch 2" in shown
    assert len(out.splitlines()) == 7
    assert "\r" not in out


def read_terminal(terminal: int) -> bytes:
    """Read all that is written to a terminal until its other side has closed."""
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that it has
        while chunk := os.read(terminal, 1 << 16):
            shown += chunk
    return shown


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("dance", r"invalid choice: 'dance' \(choose from [^;]*\) \(see manual-nn --help"),
        ("trian", r"invalid choice: 'trian' .*; did you mean train\? \(see manual-nn --help"),
        ("evaluate", "the following arguments are required: --model"),
        (
            "train --TAGRET x",
            "unrecognized arguments: --TAGRET x; did you mean --target. .see .* train -",
        ),
        ("predict --model x y", "unrecognized arguments: y .see manual-nn predict --help"),
        ("train --epochs x", "argument --epochs: invalid int value: 'x'"),
        ("train --data cats", "--data cats: there is no such file, nor a data set of this name"),
        ("train --data .", "Is a directory"),
        ("train --hidden 0", "argument --hidden: a width must be at least 1, got 0"),
        ("train --test-fraction 1", "argument --test-fraction: a fraction must be from 0 to below"),
        ("train --validation-fraction -1", "argument --validation-fraction: a fraction must be"),
        (
            "train --validation-fraction x",
            "--validation-fraction: a fraction must be a number",
        ),
        ("train --hidden abc", "argument --hidden: a width must be a whole number, got abc"),
        (
            "train --validation-fraction 0 --min-accuracy 0",
            "0 leaves no rows by which to stop early",
        ),
        ("train --scaling x", "argument --scaling: invalid choice: 'x'"),
        ("train --target x", "the data set digits takes no --target"),
        ("train --test-fraction 0.5", "the data set digits takes no --test-fraction"),
        ("train --data text", "text: cells must be separated by .*, not by blanks"),
        ("train --dtype float16", "argument --dtype: invalid choice: 'float16'"),
        ("train --epochs 0", "--epochs must be at least 1, got 0"),
        ("train --batch-size 0", "--batch-size must be at least 1, got 0"),
        ("train --hidden 5 -1", "argument --hidden: a width must be at least 1, got -1"),
        ("train --learning-rate 0", "--learning-rate must be a finite number above 0"),
        ("train --learning-rate nan", "--learning-rate must be a finite number above 0"),
        ("train --weight-decay -1", "--weight-decay must be a finite number of at least 0"),
        ("train --seed -1", "--seed must be at least 0, got -1"),
        (
            "train --learning-rate 1e6",
            r"; choose a smaller --learning-rate or --scaling standardise",
        ),
        ("train --learning-rate 0 --schedule cosine", "--learning-rate must be a finite number"),
        ("train --momentum 1", "--momentum must be below 1, got 1.0"),
        ("train --nesterov", "--nesterov needs --momentum above 0"),
        ("train --optimizer adam --momentum 0", "--momentum needs --optimizer sgd, got adam"),
        ("train --optimizer adamw --nesterov", "--nesterov needs --optimizer sgd, got adamw"),
        ("train --optimizer lion", "argument --optimizer: invalid choice: 'lion'"),
        ("train --optimizer AdmaW", "invalid choice: 'AdmaW' .*; did you mean adamw.* train --he"),
        ("train --max-grad-norm 0", "--max-grad-norm must be a finite number above 0, got 0"),
        ("train --patience 0", "--patience must be at least 1, got 0"),
        ("train --patience 2 --no-early-stopping", "--patience and --no-early-stopping contradict"),
        (
            "train --no-early-stopping --max-change 0",
            "--max-change and --no-early-stopping contradict each other",
        ),
        (
            "train --patience 3 --min-accuracy 0",
            "--patience and --min-accuracy belong to different rules: give one of them",
        ),
        ("train --validation-fraction 0.9999", "--validation-fraction must leave rows to train on"),
        ("train --resume", "--resume needs --checkpoint, the file to resume from"),
        ("train --checkpoint text", "text: there is a checkpoint already, resume from it or"),
        ("train --checkpoint text --resume", "text: not an npz file"),
        (
            "train --checkpoint nowhere/file --data cats",  # found out before data are looked for
            "--checkpoint nowhere/file: there is no folder nowhere",
        ),
        ("train --checkpoint . --data cats", r"--checkpoint \.: \. is a folder"),
        ("train --data-dir .", "the data set digits takes no --data-dir"),
        ("train --data mnist --data-dir nowhere", "nowhere: there is no such folder"),
        ("train --data mnist --data-dir .", "there is no file train-images-idx3-ubyte"),
        ("evaluate --model nothing.npz", "nothing.npz: No such file or directory"),
        ("evaluate --model text", "text: not an npz file"),
        ("predict --model text", "text: not an npz file"),
        ("train --output text", "text is not a folder"),
        ("evaluate --model nothing.npz --output text", "text is not a folder"),
        ("train --output text/below", "text is not a folder"),
    ],
)
def test_wrong_input_gets_one_line_and_status_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("some text", encoding="utf-8")
    status, _, err = run(capsys, *args.split())
    assert status == 2
    assert re.fullmatch(f"manual-nn: error: .*{reason}.*\n", err)
    assert files_in(tmp_path) == ["text"]


FAILURES = [
    (ValueError("a shape\nthat does not fit"), "a shape that does not fit"),
    (OSError("no network"), "no network"),
    (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    (OSError(28, "No space left on device", "model.npz"), "model.npz: No space left on device"),
    (ImportError("this needs matplotlib"), "this needs matplotlib"),
    (ValueError("a: b: choose backend='numba'"), "a: b: choose --backend numba"),
    (
        ValueError("a: a network 2-1 in float32, but params are 2-3-1 in float64"),
        "a: a network 2-1 in float32, but --data, --hidden and --dtype make one 2-3-1 in float64",
    ),
    (MemoryError(), "MemoryError"),
]


@pytest.mark.parametrize(("failure", "said"), FAILURES, ids=lambda value: str(value)[:20])
def test_what_a_command_cannot_help_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    said: str,
) -> None:
    monkeypatch.setattr(command_line, "load_model", raising(failure))
    output = run(capsys, "predict", "--model", "model.npz")
    assert output == (2, "", f"manual-nn: error: {said}\n")


def test_an_interruption_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "load_model", raising(KeyboardInterrupt()))
    assert run(capsys, "evaluate", "--model", "x") == (
        130,
        "",
        "Interrupted\n",
    )


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def write_model(path: Path, layers: Params, **changes: Any) -> None:
    D, K = len(layers[0].weight), layers[-1].bias.size
    model = Model(
        layers,
        fit_scaling("divide", np.array([[0.0, 16.0]])),
        classes=tuple(map(str, range(K))),
        features=None,
        image_shape=(8, 8) if D == 64 else None,
        source=Source("digits"),
        fingerprint=None,
        settings={},
        curves=vars(history_of(1)),
        stopped_early=False,
    )
    save_model(path, model._replace(**changes))


def network(*sizes: int, dtype: npt.DTypeLike = np.float32) -> Params:
    return init_params(sizes, rng=np.random.default_rng(0), dtype=dtype)


@pytest.mark.parametrize("sizes", [(64, 10), (64, 7, 10)])
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_scaled_as_they_were_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizes: tuple[int, ...], kind: str
) -> None:
    params, path = network(*sizes), tmp_path / "model.npz"
    pixels = np.random.default_rng(0).integers(17, size=(20, 64))
    scaling = fit_scaling(kind, pixels)
    write_model(path, params, scaling=scaling)
    np.save(tmp_path / "one.npy", pixels[:1])
    status, out, err = run(
        capsys, "predict", "--model", path, "--input", tmp_path / "one.npy", "--proba"
    )
    assert (status, err) == (0, "")
    want = predict_proba(params, scaling.apply(pixels[:1], dtype=np.float32))[0]
    assert out.split("\n")[1].split(",")[1:] == list(map(str, want))


def test_inputs_that_were_scaled_already_get_a_warning(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "images.npy", load_digits().X_test.astype(float) / 16)
    model = ("--model", trained.folder / "model.npz")
    status, out, err = run(capsys, "predict", *model, "--input", tmp_path / "images.npy")
    assert (status, len(out.splitlines())) == (0, 361)
    assert err.startswith("manual-nn: warning: all values are ten times as close to 0")


def tiny() -> Dataset:
    """Make data that a network learns in no time."""
    X, y = np.eye(10).repeat(4, axis=0), np.arange(10).repeat(4)
    return Dataset("digits", X, y, X, y, tuple("0123456789"), image_shape=(2, 5))


def test_the_settings_of_the_command_line_are_those_of_the_documented_results() -> None:
    args = command_line.parser().parse_args(["train"])
    assert vars(command_line._settings(args)) == vars(Settings()) | {"hidden": [256]}
    assert command_line._source(args) == Source("digits")


@pytest.mark.parametrize("reached", range(4))
@pytest.mark.parametrize("how", ["interrupted", "interrupted in a step", "diverged"])
def test_what_was_reached_when_training_ended_before_its_time_is_reported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
    reached: int,
) -> None:
    results = [
        TrainingResult(network(10, 10), history_of(n), stopped_early=False) for n in range(4)
    ]
    moment = results[reached]._replace(
        params=network(10, 3, 10), optimizer_state=OptimizerState(1, ())
    )

    def train(*_: object, **__: object) -> Iterator[TrainingResult]:
        yield from results[1 : reached + 1]
        if how == "diverged":
            raise TrainingDiverged(reached + 1, 5, "infinite", results[reached])
        raise TrainingInterrupted(moment) if how.endswith("step") else KeyboardInterrupt

    monkeypatch.setattr(command_line, "load_data", lambda _: tiny())
    monkeypatch.setattr(command_line, "start_training", train)
    folder = tmp_path / "new" / "folder"
    status, out, err = run(capsys, "train", "--early-stopping", "--output", folder)
    _, *lines = out.splitlines()
    assert [line.split()[:2] for line in lines[:reached]] == [
        ["Epoch", str(n)] for n in range(1, reached + 1)
    ]
    if how == "diverged":
        assert status == 2
        assert err.startswith(
            f"manual-nn: error: training diverged in epoch {reached + 1}, batch 5"
        )
        said = f"Diverged: continuing with the result of epoch {reached}"
    else:
        assert (status, err) == (130, "")
        said = f"Interrupted in epoch {reached + 1}: continuing with what it has reached"
    if reached or how.endswith("step"):
        assert lines[reached] == said
        written = ["epoch_plots.png", "model.npz"] if reached else ["model.npz"]
        assert files_in(folder) == written
        words = [line.split()[0] for line in lines[reached + 1 :]]
        assert words == ["In-sample", "Test", *["Wrote"] * len(written)]
        saved = load_model(folder / "model.npz")
        assert len(saved.params) == (2 if how.endswith("step") else 1)
        assert len(saved.curves["train_loss"]) == reached
    else:
        nothing = ["Interrupted before the first step: no model is written"]
        assert lines == ([] if how == "diverged" else nothing)
        assert files_in(tmp_path) == []


@pytest.mark.parametrize("rule", ["--patience", "--max-change"])
def test_a_loss_that_has_grown_is_that_of_the_parameters_that_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    """By patience they are those of the first epoch, whose loss is smaller than at the start."""
    curves = History([0.5, 2.0], [0.5] * 2, [0.5] * 2, val_acc=[0.75, 0.5], penalty=[0.0] * 2)
    result = TrainingResult(network(10, 10), curves, stopped_early=False, start_loss=1.0)
    monkeypatch.setattr(command_line, "load_data", lambda _: tiny())
    monkeypatch.setattr(command_line, "start_training", lambda *_, **__: iter([result]))
    status, _, err = run(capsys, "train", rule, "1", "--output", tmp_path)
    assert status == 0
    said = "manual-nn: warning: the loss has grown in training, from 1 to 2: "
    assert err == "" if rule == "--patience" else err.startswith(said)


def test_an_interruption_before_the_first_step_writes_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = TrainingResult(
        network(10, 10), History(), stopped_early=False, optimizer_state=OptimizerState(0, ())
    )
    monkeypatch.setattr(command_line, "load_data", lambda _: tiny())
    monkeypatch.setattr(command_line, "start_training", raising(TrainingInterrupted(start)))
    status, out, _ = run(capsys, "train", "--output", tmp_path)
    assert (status, files_in(tmp_path)) == (130, [])
    assert out.endswith("\nInterrupted before the first step: no model is written\n")


def test_an_interruption_as_the_first_compiled_call_returns_keeps_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sgd = steps.sgd

    def interrupted(*arguments: Any) -> None:
        sgd(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "load_data", lambda _: tiny())
    monkeypatch.setattr(steps, "sgd", interrupted)
    options = ("--backend", "numba", "--dtype", "float64", "--output", tmp_path)
    status, out, _ = run(capsys, "train", *options)
    assert (status, files_in(tmp_path)) == (130, ["model.npz"])
    assert "\nInterrupted in epoch 1: continuing with what it has reached\n" in out


def history_of(epochs: int) -> History:
    """Make one whose numbers are all different."""
    fifths = [[(4 * n + k) / 64 for n in range(epochs)] for k in range(5)]
    return History(*fifths)


def test_the_line_of_an_epoch_shows_what_it_has_reached_and_the_penalty_apart() -> None:
    history = history_of(4)
    history.train_loss[-1] = 0.5
    assert command_line._epoch_line(history, 30) == (
        "Epoch  4  Train_loss 0.2500  Train_acc 0.20312  Val_loss 0.2188  Val_acc 0.23438"
        "  Penalty 0.2500"
    )
    history.penalty = [0.0] * 4
    assert command_line._epoch_line(history, 30) == (
        "Epoch  4  Train_loss 0.5000  Train_acc 0.20312  Val_loss 0.2188  Val_acc 0.23438"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.zeros((2, 63)), r"an array of shape \(N, 64\) or \(N, 8, 8\), got \(2, 63\)"),
        (np.zeros((2, 4, 16)), r"\(N, 64\) or \(N, 8, 8\), got \(2, 4, 16\)"),
        (np.zeros(64), r"an array of shape \(N, D\), .* is needed, got \(64,\)"),
        (np.zeros(()), r"an array of shape \(N, D\), .* is needed, got \(\)"),
        (np.zeros((0, 64)), r"an array of shape \(N, D\), .* is needed, got \(0, 64\)"),
        (np.full((2, 64), np.nan), "inputs must be finite numbers, one in row 0 is not"),
        (np.full((2, 64), 1e300), "inputs must be finite in float32"),
        (np.full((2, 64), "1"), "real numbers"),
        (np.full((2, 64), 1j), "real numbers"),
        (np.full((2, 64), None), "Python objects"),
        (b"\x93NUMPY\x01\x00", "not an npy array, or a damaged one"),
        (b"\x93NUMPY\x09\x00", "not an npy array, or a damaged one"),
        (b"text", "the table has no rows"),
        (b"1,2", "the model takes 64 columns, got 2"),
        (b"\0", "neither IDX, npy, npz, CSV nor Parquet"),
        (b"", "the file is empty"),
        (
            idx_bytes(np.zeros(64, np.uint8)),
            r"an array of shape \(N, D\), .* is needed, got \(64,\)",
        ),
        (idx_bytes(np.zeros((2, 4, 16), np.uint8)), r"or \(N, 8, 8\), got \(2, 4, 16\)"),
        (idx_bytes(np.zeros((2, 8, 8), np.uint8))[:-1], "truncated after 127"),
    ],
)
def test_wrong_images_to_predict_are_named(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | npt.NDArray[Any],
    reason: str,
) -> None:
    path = tmp_path / "images"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with path.open("wb") as file:
            np.save(file, content)
    model = trained.folder / "model.npz"
    status, out, err = run(capsys, "predict", "--model", model, "--input", path)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"manual-nn: error: .*images: .*{reason}.*\n", err)


def test_input_and_the_folder_of_a_data_set_exclude_each_other(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained.folder / "model.npz"
    args = ("predict", "--model", model, "--input", "x", "--data-dir", "y")
    status, _, err = run(capsys, *args)
    assert status == 2
    assert "--input takes the place of the data set" in err


def test_a_checkpoint_is_no_model_and_the_way_to_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint.npz"
    save_params(checkpoint, network(64, 10), checkpoint={})
    status, _, err = run(capsys, "evaluate", "--model", checkpoint)
    assert status == 2
    assert "checkpoint.npz: it is a checkpoint, not a model: begin the same" in err


def test_what_is_wrong_in_a_model_is_not_called_by_an_option_that_was_not_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model.npz", network(64, 10), image_shape=(5, 5))
    status, _, err = run(capsys, "evaluate", "--model", tmp_path / "model.npz")
    assert status == 2
    assert "wrong metadata: image_shape must be sides" in err


def write_mnist(folder: Path, rows: int) -> None:
    """MNIST in its shape, but easy: class k is a bright row of pixels, k, and noise."""
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        labels = (np.arange(rows) % 10).astype(np.uint8)
        images = rng.integers(0, 50, (rows, 28, 28), dtype=np.uint8)
        images[np.arange(rows), labels] = 255
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


@pytest.mark.long
def test_mnist_is_trained_on_and_evaluated_from_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, 300)
    data = ("--data", "mnist", "--data-dir", tmp_path)
    status, out, _ = run(capsys, "train", *data, "--epochs", "9", "--output", tmp_path)
    assert status == 0
    assert "Test accuracy 1.00000 (300 rows)" in out
    model = ("--model", tmp_path / "model.npz")
    evaluations = [
        run(capsys, "evaluate", *model, *args).out for args in ((), data, ("--data-dir", tmp_path))
    ]
    assert re.fullmatch(
        r"In-sample: .*\nTest: .* accuracy 1\.00000  \(300 rows\)\n", evaluations[0]
    )
    assert len(set(evaluations)) == 1
    (tmp_path / "others").mkdir()
    write_mnist(tmp_path / "others", 200)
    _, out, _ = run(capsys, "evaluate", *model, "--data-dir", tmp_path / "others")
    assert re.match("Training: .*\nTest: ", out)
    images = tmp_path / "t10k-images-idx3-ubyte"
    _, out, _ = run(capsys, "predict", *model, "--input", images)
    assert out.split() == ["class", *(str(row % 10) for row in range(300))]
    status, _, err = run(capsys, "evaluate", *model, "--data", "digits")
    assert status == 2
    assert re.search(r"takes images of shape \(28, 28\).*digits has \(8, 8\)", err)


def test_the_package_is_run_as_the_command_line() -> None:
    status, out, err = run_apart("manual_nn", "dance")
    assert (status, out) == (2, "")
    assert err.startswith("manual-nn: error: ")


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help_fits_80_columns_and_its_example_parses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    described = re.search(r"\n\n([A-Z].*?\.)\n\n", out, re.DOTALL)
    assert described is not None
    sentence = " ".join(described[1].split())
    overview = " ".join(command_line.parser().format_help().split())
    assert f" {command} {sentence[0].lower()}{sentence[1:-1]}" in overview
    example = out.splitlines()[-1].split()
    assert example[0] == "manual-nn"
    assert example[1] == command
    command_line.parser().parse_args(example[1:])


def test_the_help_shows_every_command_in_80_columns_and_its_examples_parse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    examples = [line.split() for line in out.splitlines() if line.startswith("  manual-nn ")]
    assert [example[1] for example in examples] == ["train", "evaluate", "predict", "train"]
    for example in examples:
        assert f"\n    {example[1]} " in out
        command_line.parser().parse_args(example[1:])


def test_the_command_line_imports_what_it_needs_when_it_needs_it() -> None:
    code = (
        "import sys, manual_nn, manual_nn.interfaces.command_line, manual_nn.interfaces.pictures;"
        "print(*sys.modules.keys() & {'jax', 'sklearn', 'matplotlib', 'tqdm', 'pandas', 'scipy'})"
    )
    done = subprocess.run(  # noqa: S603, our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"


FLOWERS = Path("flowers.csv")
OWN = (
    "train",
    "--data",
    FLOWERS,
    "--target",
    "kind",
    "--drop",
    "id",
    "--hidden",
    "8",
    "--epochs",
    "2",
)


def write_flowers(path: Path, *, rows: int = 60) -> npt.NDArray[np.float64]:
    """Write a table that is easy, whose columns have very different sizes."""
    rng, kinds = np.random.default_rng(0), np.arange(rows) % 3
    X = np.stack([kinds + rng.normal(0, 0.1, rows), 1e6 + 1e3 * rng.normal(size=rows)], axis=1)
    lines = [
        f"{n},{a!r},{['ash', 'elm', 'oak'][kind]},{b!r}"
        for n, ((a, b), kind) in enumerate(zip(X.tolist(), kinds, strict=True))
    ]
    path.write_text("\n".join(["id,length,kind,weight", *lines]) + "\n")
    return X


@pytest.fixture(scope="module", name="own")
def fixture_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on a table of one's own, in its folder."""
    folder = tmp_path_factory.mktemp("own")
    write_flowers(folder / FLOWERS)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as output:
        assert command_line.main([*map(str, OWN), "--output", "."]) == 0
    assert output.getvalue().startswith("flowers.csv: 48 training and 12 test rows, layers 2-8-3")
    return folder


def test_a_table_is_trained_on_evaluated_and_predicted_for(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", own / "model.npz")
    status, out, err = run(capsys, "evaluate", *model)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"In-sample: .* \(48 rows\)\nTest: .* \(12 rows\)\n", out)
    everything = run(capsys, "evaluate", *model, "--data", own / FLOWERS, "--output", own / "new")
    assert everything.status == 0
    assert re.fullmatch("manual-nn: warning: flowers.csv holds .* trained on; .*\n", everything.err)
    assert re.match(r"flowers.csv: +loss .*  \(60 rows\)\nWrote .*x.png\n$", everything.out)
    assert files_in(own / "new") == ["confusion_matrix.png"]  # the rows are no images
    heading, *classes = run(capsys, "predict", *model, "--input", own / FLOWERS).out.split()
    assert heading == "class"
    accuracy = np.mean(np.array(classes) == np.array(["ash", "elm", "oak"])[np.arange(60) % 3])
    assert f"accuracy {accuracy:.5f}" in everything.out
    _, *of_test = run(capsys, "predict", *model).out.split()
    assert len(of_test) == 12


def test_few_validation_rows_stop_nothing_early_unless_they_are_asked_to(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", own / FLOWERS, *OWN[3:], "--output", tmp_path)
    _, out, _ = run(capsys, "train", *options)
    assert "Early stopping is off, because there are only 8 validation rows (--early" in out
    assert load_model(tmp_path / "model.npz").settings["early_stopping"] is None
    for asked in (["--early-stopping"], ["--max-change", "0"], ["--patience", "1"]):
        args = command_line.parser().parse_args(["train", *map(str, options), *asked])
        assert command_line._asks_to_stop_early(args)


def test_a_test_that_takes_too_many_rows_is_named(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data", own / FLOWERS, *OWN[3:], "--test-fraction", "0.97")
    status, _, err = run(capsys, "train", *data, "--output", tmp_path)
    assert (status, "flowers.csv: the test takes 59 of 60 rows, which leaves 1:" in err) == (
        2,
        True,
    )


def test_a_column_far_from_those_trained_on_gets_a_warning(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.csv").write_text("weight,length\n1e6,1\n1,1\n")
    model = ("--model", own / "model.npz")
    status, _, err = run(capsys, "predict", *model, "--input", tmp_path / "new.csv")
    assert status == 0
    assert re.match(
        r"manual-nn: warning: .* weight is 1 in row 1 \(counted from 0\), in training .* from 99",
        err,
    )


def test_classes_in_a_table_without_names_can_be_left_out_of_what_is_predicted(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text((own / FLOWERS).read_text().partition("\n")[2])  # columns 0 to 3
    data = ("--data", table, "--target", "2", "--drop", "0", "--no-header", *OWN[-4:])
    assert run(capsys, "train", *data, "--output", tmp_path).status == 0
    args = ("predict", "--model", tmp_path / "model.npz")
    by_name = run(capsys, "predict", "--model", own / "model.npz", "--input", own / FLOWERS)
    status, _, err = run(capsys, *args, "--input", table)
    assert (status, "leave it out with --drop '2'" in err) == (2, True)
    assert run(capsys, *args, "--input", table, "--drop", "0", "2") == by_name
    named = run(capsys, *args, "--input", own / FLOWERS, "--drop", "id", "kind", "--header")
    assert named == by_name
    for option in ("--drop=x", "--header"):
        status, _, err = run(capsys, *args, option)
        assert (status, "is about --input, which is not given" in err) == (2, True)


def test_an_input_and_a_column_that_is_not_there_cannot_be_dropped(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("weight,kind,length\n1e6,ash,0\n1e6,oak,2\n")  # without the id dropped
    model = ("--model", own / "model.npz")
    for args in (("predict", *model, "--input"), ("evaluate", *model, "--data")):
        assert run(capsys, *args, table).status == 0
        for column, reason in (
            ("id", "there is no column 'id' among weight, kind, length"),
            ("length", "column 'length' is an input of the model and cannot be dropped"),
        ):
            status, _, err = run(capsys, *args, table, "--drop", column)
            assert (status, reason in err) == (2, True)


def test_a_file_that_has_changed_is_not_divided_as_it_was(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / FLOWERS
    write_flowers(other)
    model = load_model(own / "model.npz")
    save_model(
        tmp_path / "model.npz", model._replace(source=model.source._replace(data=str(other)))
    )
    args = ("evaluate", "--model", tmp_path / "model.npz")
    assert run(capsys, *args) == run(capsys, "evaluate", "--model", own / "model.npz")
    write_flowers(other, rows=57)
    status, _, err = run(capsys, *args)
    assert status == 2
    assert "flowers.csv has changed since the training" in err
    assert run(capsys, *args, "--data", other).status == 0


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ("evaluate --target kind", "--target is about --data, which is not given"),
        ("evaluate --header", "--header is about --data, which is not given"),
        ("evaluate --no-header", "--header is about --data, which is not given"),
        ("evaluate --drop id", "--drop is about --data, which is not given"),
        ("evaluate --image-shape 1 2", "--image-shape is about --data, which is not given"),
        ("evaluate --labels x", "--labels is about --data, which is not given"),
        ("evaluate --data-dir .", "flowers.csv is a file and takes no --data-dir"),
        ("evaluate --data digits", r"images of shape None .* ash, elm, oak; digits has \(8, 8\)"),
        ("evaluate --data digits --drop x", "the data set digits takes no --drop"),
        (
            "evaluate --data flowers.csv --target weight",
            "flowers.csv: classes must be whole numbers or words, got 9",
        ),
        ("evaluate --data nowhere.csv", "nowhere.csv: No such file or directory"),
    ],
)
def test_wrong_data_for_a_model_are_named(
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: str,
    reason: str,
) -> None:
    monkeypatch.chdir(own)
    status, _, err = run(capsys, *args.split(), "--model", "model.npz")
    assert status == 2
    assert re.fullmatch(f"manual-nn: error: .*{reason}.*\n", err)


def test_rows_that_a_model_was_not_trained_on_are_no_sample_of_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model.npz", network(64, 10), source=Source("mnist"))
    args = ("--model", tmp_path / "model.npz", "--data", "digits")
    status, out, _ = run(capsys, "evaluate", *args)
    assert status == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["Training", "Test"]


def test_columns_are_found_by_their_names_whatever_else_there_is(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    lines = [line.split(",") for line in (own / FLOWERS).read_text().splitlines()]
    other.write_text(
        "\n".join(f"{weight},note,{kind},{length}" for _, length, kind, weight in lines)
    )
    model = ("--model", own / "model.npz")
    first, second = (
        run(capsys, "evaluate", *model, "--data", file) for file in (own / FLOWERS, other)
    )
    assert second == (0, first.out.replace("flowers", "other"), "")


def test_a_model_of_a_table_is_evaluated_on_arrays(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(own / FLOWERS)
    inputs = frame[["length", "weight"]].to_numpy()
    np.savez(tmp_path / "flowers.npz", X=inputs, y=frame["kind"].to_numpy(str))
    model = ("--model", own / "model.npz")
    first, second = (
        run(capsys, "evaluate", *model, "--data", file)
        for file in (own / FLOWERS, tmp_path / "flowers.npz")
    )
    assert first.status == 0
    assert second == (0, first.out.replace(".csv", ".npz"), "")


def test_images_of_another_shape_are_not_those_of_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model.npz", network(64, 10))
    np.savez(tmp_path / "rows.npz", X=np.eye(16).reshape(4, 4, 16), y=np.arange(4) % 2)
    args = ("--model", tmp_path / "model.npz", "--data", tmp_path / "rows.npz")
    status, _, err = run(capsys, "evaluate", *args)
    assert status == 2
    assert err.endswith("rows.npz: the model takes images of shape (8, 8), got (4, 16)\n")


def test_all_rows_may_be_trained_on(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = ("--test-fraction", "0", "--validation-fraction", "0")
    data = ("--data", own / FLOWERS, *OWN[3:])
    status, out, _ = run(capsys, "train", *data, *none, "--output", tmp_path)
    assert status == 0
    assert "60 training and 0 test rows" in out
    assert "Early stopping is off, because there are no validation rows\n" in out
    numbers = r"Train_loss \d\.\d{4}  Train_acc \d\.\d{5}  Penalty \d\.\d{4}"
    assert re.search(rf"Epoch 2  {numbers}\nIn-sample .*\nWrote", out)
    status, _, err = run(capsys, "predict", "--model", tmp_path / "model.npz")
    assert status == 2
    assert "was trained without rows to test with: give some with --input" in err


def test_the_model_is_saved_before_anything_else_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "evaluate", raising(KeyboardInterrupt()))
    status, _, err = run(capsys, "train", "--epochs", "1", "--output", tmp_path)
    assert (status, err) == (130, "Interrupted\n")
    load_model(tmp_path / "model.npz")


def test_a_folder_that_cannot_be_written_to_is_found_out_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.npz").mkdir()
    monkeypatch.setattr(command_line, "load_data", raising(AssertionError()))
    status, _, err = run(capsys, "train", "--output", tmp_path)
    assert status == 2
    assert err.endswith("model.npz is a folder\n")
    (tmp_path / "model.npz").rmdir()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("tempfile.TemporaryFile", raising(full))
    status, _, err = run(capsys, "train", "--output", tmp_path / "new")
    assert (status, files_in(tmp_path)) == (2, [])
    assert f"{tmp_path} cannot be written to: No space left on device" in err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert run(capsys, "--version") == (0, f"manual-nn {project['version']}\n", "")


@pytest.mark.parametrize("name", ["card.md", "card.html"])
def test_a_report_is_written_where_it_is_asked_for(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    model, path = ("--model", own / "model.npz"), tmp_path / "new" / name
    status, out, err = run(capsys, "evaluate", *model, "--report", path)
    assert (status, err) == (0, "")
    assert out.endswith(f"Wrote {path}\n")
    text = path.read_text(encoding="utf-8")
    losses = re.findall(r"loss (\S+)  accuracy (\S+) ", out)
    assert len(losses) == 2
    assert all(figure in text for figures in losses for figure in figures)
    assert "row of all data, from 0" in text or "None in these rows." in text
    assert "standardise" in text
    assert "rows in sample: 8" in text
    assert "Column of the classes: kind" in text
    assert "Columns that are not used: id" in text
    assert "trained on are among these" not in text
    run(capsys, "evaluate", *model, "--report", path, "--data", own / FLOWERS)
    assert "trained on are among these" in path.read_text(encoding="utf-8").replace("</strong>", "")


def test_a_report_of_another_kind_is_refused_before_the_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, out, err = run(capsys, "evaluate", "--model", "nothing", "--report", "card.pdf")
    assert (status, out) == (2, "")
    assert "--report must end in .html or .md, got card.pdf" in err
    status, out, err = run(capsys, "evaluate", "--model", "nothing", "--report", "/proc/card.md")
    assert (status, out) == (2, "")
    assert err.startswith("manual-nn: error: --report /proc/card.md: /proc cannot be written to")
