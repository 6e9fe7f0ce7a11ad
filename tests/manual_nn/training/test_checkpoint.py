"""Checkpoints: whatever interrupts a training, it goes on to the same end, to the bit."""

import contextlib
import errno
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn import (
    SGD,
    Adam,
    AdamW,
    Convergence,
    CosineSchedule,
    Dense,
    EarlyStopping,
    History,
    OptimizerState,
    Patience,
    TrainingDiverged,
    TrainingResult,
)
from manual_nn.arrays import Array
from manual_nn.files.parameters import (
    draft_of,
    load_params,
    load_params_and_beside,
    save_params,
    save_params_and_beside,
)
from manual_nn.layers.dense import Params
from manual_nn.training import checkpoint, loop
from manual_nn.training.history import Reached
from manual_nn.training.optimizer import first_state
from tests.conftest import depth
from tests.support.bits import same_bits
from tests.support.project import ROOT

EPOCHS = 6
NOBODY = 65534  # a user without any rights


def draw_params(dtype: npt.DTypeLike = np.float64) -> Params:
    return manual_nn.init_params([3, 5, 4], rng=np.random.default_rng(0), dtype=dtype)


def plain_start(history: History) -> Reached:
    return Reached(draw_params(), None, OptimizerState(0, ()), history, start_loss=0.75)


def arguments(**changes: Any) -> dict[str, Any]:
    """Build the arguments of a training, the same in each call."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(17, 3)), rng.integers(4, size=17)
    return {
        "params": draw_params(),
        "X_train": X[:10],
        "y_train": y[:10],
        "X_val": X[10:],
        "y_val": y[10:],
        "batch_size": 4,
        "learning_rate": 0.3,
        "weight_decay": 0.01,
        "epochs": EPOCHS,
        "early_stopping": None,
        "rng": rng,
    } | changes


def train(**changes: Any) -> TrainingResult:
    return manual_nn.train(**arguments(**changes))


def train_until(epoch: int, **changes: Any) -> None:
    """Train, and stop after the epoch as if interrupted; 0 is in the middle of the first."""
    results = loop.train_epochs(**arguments(**changes), progress=False)
    for _ in range(epoch):
        next(results)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(loop, "_with_measures", interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(results)


def interrupt(*_args: object, **_options: object) -> None:
    raise KeyboardInterrupt


def leaves(params: Params) -> list[Array]:
    return [leaf for layer in params for leaf in layer]


def assert_same(got: TrainingResult, want: TrainingResult) -> None:
    for a, b in zip(leaves(got.params), leaves(want.params), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    assert got.history == want.history
    assert got.stopped_early == want.stopped_early
    assert got.start_loss == want.start_loss
    assert got.optimizer_state is not None
    assert want.optimizer_state is not None
    assert got.optimizer_state.steps == want.optimizer_state.steps
    assert same_bits(got.optimizer_state.moments, want.optimizer_state.moments)


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Path:
    """Give the checkpoint of a training that was interrupted in its third epoch."""
    path = tmp_path / "checkpoint.npz"
    train_until(2, checkpoint=path)
    return path


# Going on


ALWAYS = EarlyStopping(0.0, 2.0)
IMPATIENT = Patience(n_iter_no_change=1, tol=2.0)  # three epochs, no accuracy is above


def rearranged(how: Callable[[Array], Array]) -> Params:
    return tuple(Dense(*map(how, layer)) for layer in draw_params())


def every_other(array: Array) -> Array:
    return np.repeat(array, 2, axis=-1)[..., ::2]


VARIANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "float32": lambda: {"params": draw_params(np.float32)},
    "no hidden layer": lambda: {"params": (Dense(np.zeros((3, 4)), np.zeros(4)),)},
    "no validation": lambda: {"X_val": None, "y_val": None},
    "weights": lambda: {"sample_weight": np.arange(10)},
    "target probabilities": lambda: {"y_train": np.full((10, 4), 0.25)},
    "columns first": lambda: {"params": rearranged(np.asfortranarray)},
    "a view": lambda: {"params": rearranged(every_other)},
    "early stopping": lambda: {"early_stopping": ALWAYS},
    "early stopping, by patience": lambda: {"early_stopping": IMPATIENT, "optimizer": Adam()},
    "early stopping, by convergence": lambda: {
        "early_stopping": Convergence(n_iter_no_change=1, tol=1e3)
    },
    "patience": lambda: {"early_stopping": Patience()},
    "momentum": lambda: {"optimizer": SGD(momentum=0.5)},
    "Adam": lambda: {"optimizer": Adam(), "max_grad_norm": 0.5},
    "AdamW, columns first": lambda: {
        "optimizer": AdamW(eps=1e-3),
        "params": rearranged(np.asfortranarray),
        "learning_rate": CosineSchedule(0.3, epochs=4),
    },
    "PCG64DXSM": lambda: {"rng": np.random.Generator(np.random.PCG64DXSM(3))},
    "MT19937": lambda: {"rng": np.random.Generator(np.random.MT19937(3))},
    "Philox": lambda: {"rng": np.random.Generator(np.random.Philox(3))},
    "SFC64": lambda: {"rng": np.random.Generator(np.random.SFC64(3))},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_resumed_after_any_epoch_ends_as_one_never_interrupted(
    tmp_path: Path, variant: str
) -> None:
    uninterrupted = arguments(**VARIANTS[variant]())
    whole = manual_nn.train(**uninterrupted)
    assert whole.stopped_early == variant.startswith("early stopping")
    for epoch in range(len(whole.history)):
        path = tmp_path / f"after {epoch}.npz"
        train_until(epoch, **VARIANTS[variant](), checkpoint=path)
        resumed = arguments(**VARIANTS[variant]())
        assert_same(manual_nn.train(**resumed, checkpoint=path, resume=True), whole)
        states = [options["rng"].bit_generator.state for options in (resumed, uninterrupted)]
        np.testing.assert_equal(*states)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1, "checkpoints at the end"


def test_the_parameters_and_the_generator_are_those_of_the_checkpoint(path: Path) -> None:
    others = {"params": rearranged(np.zeros_like), "rng": np.random.default_rng(7)}
    assert_same(train(**others, checkpoint=path, resume=True), train())


def test_resumed_epochs_come_after_what_the_checkpoint_has_reached(path: Path) -> None:
    options = arguments(checkpoint=path, resume=True, progress=False)
    lengths = [len(result.history) for result in loop.train_epochs(**options)]
    assert lengths == [2, 3, 4, 5, 6]


def test_a_training_that_is_through_is_given_out_again(path: Path) -> None:
    whole = train(checkpoint=path, resume=True)
    before = path.stat()
    again = train(checkpoint=path, resume=True)
    assert_same(again, whole)
    after = path.stat()  # to read it changes the time of access
    written = (after.st_ino, after.st_mtime_ns) != (before.st_ino, before.st_mtime_ns)
    assert not written, "it was written again"
    assert all(leaf.flags.writeable for leaf in leaves(again.params))


def test_a_training_that_has_stopped_early_does_not_go_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"early_stopping": ALWAYS, "checkpoint": tmp_path / "checkpoint.npz"}
    stopped = train(**options)
    assert stopped.stopped_early
    assert_same(train(**options, resume=True), stopped)


def test_more_epochs_may_follow_but_not_fewer(path: Path) -> None:
    assert_same(train(checkpoint=path, resume=True, epochs=9), train(epochs=9))
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"epochs must be at least the 9 that .* has reached, got 8"
    ):
        train(checkpoint=path, resume=True, epochs=8)
    assert path.read_bytes() == before


def test_without_a_checkpoint_yet_resuming_begins(tmp_path: Path) -> None:
    assert_same(train(checkpoint=tmp_path / "new.npz", resume=True), train())


def test_a_checkpoint_changes_nothing_in_the_result(tmp_path: Path) -> None:
    assert_same(train(checkpoint=str(tmp_path / "any name")), train())


def test_a_checkpoint_is_not_overwritten_by_a_training_that_begins(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"there is a checkpoint already.*checkpoint\.npz"):
        train(checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("resume", [False, True])
def test_a_checkpoint_in_no_folder_or_that_is_one_is_named(tmp_path: Path, *, resume: bool) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in ("none", "file"):
        with pytest.raises(FileNotFoundError, match=rf"in a folder that exists.*{folder}'$"):
            train(checkpoint=tmp_path / folder / "run.npz", resume=resume)
    with pytest.raises(IsADirectoryError, match="checkpoint must be a file, this is a folder"):
        train(checkpoint=tmp_path, resume=resume)


def test_the_parameters_of_a_checkpoint_load_like_any(path: Path) -> None:
    *_, last = itertools.islice(loop.train_epochs(**arguments(), progress=False), 2)
    params, metadata = load_params(path)
    for got, want in zip(leaves(params), leaves(last.params), strict=True):
        assert np.array_equal(got, want)
    assert metadata["checkpoint"]["curves"] == vars(last.history)


@pytest.mark.parametrize("arrange", [np.ascontiguousarray, np.asfortranarray])
def test_the_parameters_come_back_in_the_order_that_they_had(
    tmp_path: Path, arrange: Callable[[Array], Array]
) -> None:
    params, rng = rearranged(arrange), np.random.default_rng(0)
    file = checkpoint.CheckpointFile(tmp_path / "checkpoint.npz", {}, {"X_val": None})
    start = Reached(params, params, first_state(Adam(), params), History(), 0.5)
    file.save(start, rng)
    loaded = file.load(start, rng)
    assert loaded.best is not None
    layers = (*loaded.params, *loaded.best, *itertools.chain(*loaded.state.moments))
    for got, want in zip(leaves(layers), leaves(params * 4), strict=True):
        assert got.strides == want.strides
        assert got.flags.writeable


def test_a_checkpoint_stays_at_the_last_epoch_before_a_divergence(tmp_path: Path) -> None:
    # Nothing but the penalty pulls at the weight, which a step takes from W to -2 W.
    options = arguments(
        params=(Dense(np.ones((3, 4), np.float32), np.zeros(4, np.float32)),),
        X_train=np.zeros((10, 3)),
        y_train=np.full((10, 4), 0.25),
        learning_rate=1.0,
        weight_decay=1.5,
        epochs=100,
        checkpoint=tmp_path / "checkpoint.npz",
    )
    with pytest.raises(TrainingDiverged) as error:
        manual_nn.train(**options)
    reached = error.value.result
    assert len(reached.history) == error.value.epoch - 1 > 0
    changes = {"epochs": len(reached.history), "rng": np.random.default_rng(), "resume": True}
    assert_same(manual_nn.train(**options | changes), reached)


# Interruptions at every place. What a process killed by SIGKILL leaves is looked at from outside.


def interrupted(when: str, folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603, our own code
        [sys.executable, "-m", "tests.support.interruptions", when, str(folder), *options],
        check=True,
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # a process that forks has one thread
        stdout=subprocess.PIPE,
        text=True,
    )
    counts: dict[str, Any] = json.loads(done.stdout)
    return counts


@pytest.mark.long
def test_a_training_killed_at_random_moments_ends_as_one_never_interrupted(
    tmp_path: Path,
) -> None:
    kills = depth().kills
    counts = interrupted("random", tmp_path, str(kills))
    assert counts["killed"] == kills
    assert sum(epochs > 0 for epochs in counts["after epochs"]) > kills / 2, (
        "most kills came too early"
    )


@pytest.mark.long
def test_a_write_killed_before_any_call_leaves_the_old_checkpoint_or_the_new(
    tmp_path: Path,
) -> None:
    counts = interrupted("calls", tmp_path, str(depth().stride))
    assert counts["at last"] == "new"
    changes = [after for before, after in itertools.pairwise(counts["outcomes"]) if before != after]
    assert counts["outcomes"][0] == "old"
    assert changes == ["new"]


@pytest.mark.long
def test_a_write_killed_after_any_number_of_bytes_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    counts = interrupted("bytes", tmp_path)
    assert counts["at last"] == "new"
    assert set(counts["outcomes"]) == {"old"}


def test_the_content_is_on_the_disk_before_the_name_and_both_before_the_next_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "checkpoint.npz", []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        calls.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def spy_replace(draft: Path, target: Path) -> Path:
        calls.append(("replace", draft))
        return replace(draft, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    draft = draft_of(path, os.getpid())
    one_write = [("sync", draft), ("replace", draft), ("sync", tmp_path)]
    for epoch, _ in enumerate(
        loop.train_epochs(**arguments(), checkpoint=path, progress=False), start=1
    ):
        assert calls == one_write * (1 + epoch)


@pytest.mark.parametrize("resume", [False, True], ids=["begun anew", "resumed"])
def test_what_a_killed_process_left_is_removed(path: Path, *, resume: bool) -> None:
    left, other = draft_of(path, 1), draft_of(path.with_name("checkpoint.npz.1"), 1)
    for draft in (left, other):
        draft.write_bytes(b"half of a checkpoi")
    if not resume:
        path.unlink()
    train(checkpoint=path, resume=resume)
    assert sorted(path.parent.iterdir()) == sorted([path, other])


# What cannot be written


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the kernel refuse to write more, as it does when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def a_full_disk(path: Path) -> Iterator[None]:
    """Let what is written for path go to a device that is full."""
    draft_of(path, os.getpid()).symlink_to("/dev/full")
    yield


def assert_named(error: OSError, path: Path, number: int) -> None:
    assert (error.errno, error.filename) == (number, str(path))
    assert str(path) in str(error)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_write_that_the_kernel_cuts_short_leaves_the_old_checkpoint(
    path: Path, size: int
) -> None:
    before = path.read_bytes()
    with pytest.raises(OSError, match="File too large") as error, files_of_at_most(size):
        train(checkpoint=path, resume=True)
    assert_named(error.value, path, errno.EFBIG)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert_same(train(checkpoint=path, resume=True), train())


@pytest.mark.parametrize("epochs", [1, 2])
def test_what_the_checkpoint_has_reached_is_the_first_result(tmp_path: Path, epochs: int) -> None:
    options = arguments(checkpoint=tmp_path / "new.npz", progress=False)
    train(checkpoint=options["checkpoint"], epochs=epochs)
    first, *_ = loop.train_epochs(**options | {"resume": True})
    assert_same(first, train(epochs=epochs))


def test_a_full_disk_leaves_the_old_checkpoint(path: Path) -> None:
    before = path.read_bytes()
    results = loop.train_epochs(**arguments(), checkpoint=path, resume=True, progress=False)
    next(results)
    with pytest.raises(OSError, match="No space left on device") as error, a_full_disk(path):
        next(results)
    assert_named(error.value, path, errno.ENOSPC)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody for a while: for root no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(name="read_only_folder")
def fixture_read_only_folder() -> Iterator[Path]:
    """Give a folder that nobody can write to, in a place where anybody can read it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o755)


def test_a_read_only_folder_is_refused_before_the_first_epoch(
    read_only_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = read_only_folder / "checkpoint.npz"
    read_only_folder.chmod(0o555)
    monkeypatch.delattr(loop, "_next_epoch")
    with pytest.raises(PermissionError) as error, without_rights():
        train(checkpoint=path)
    assert_named(error.value, path, errno.EACCES)


def test_a_folder_that_is_now_read_only_leaves_the_old_checkpoint(read_only_folder: Path) -> None:
    path = read_only_folder / "checkpoint.npz"
    train_until(2, checkpoint=path)
    before = path.read_bytes()
    read_only_folder.chmod(0o555)
    with pytest.raises(PermissionError) as error, without_rights():
        train(checkpoint=path, resume=True)
    assert_named(error.value, path, errno.EACCES)
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(checkpoint=tmp_path / "nowhere" / "checkpoint.npz")


# What does not fit. Each is refused, and neither the file nor the generator is touched.


def assert_refused(path: Path, reason: str, **changes: Any) -> None:
    options = arguments(**changes)
    content, state = path.read_bytes(), options["rng"].bit_generator.state
    with pytest.raises(ValueError, match=rf"checkpoint\.npz: .*{reason}"):
        manual_nn.train(**options, checkpoint=path, resume=True)
    assert path.read_bytes() == content
    np.testing.assert_equal(options["rng"].bit_generator.state, state)


SIZES = [(3, 6, 4), (3, 4), (3, 5, 5, 4)]


@pytest.mark.parametrize("sizes", SIZES)
def test_a_checkpoint_of_other_sizes_is_refused(path: Path, sizes: tuple[int, ...]) -> None:
    params = manual_nn.init_params(sizes, rng=np.random.default_rng(0))
    assert_refused(
        path,
        f"a network 3-5-4 in float64, but params are {'-'.join(map(str, sizes))} in float64",
        params=params,
    )


def test_a_checkpoint_of_another_precision_is_refused(path: Path) -> None:
    assert_refused(
        path, "3-5-4 in float64, but params are 3-5-4 in float32", params=draw_params("f4")
    )


@pytest.mark.parametrize("name", ["X_train", "y_train", "X_val", "y_val"])
def test_a_checkpoint_of_other_data_is_refused(path: Path, name: str) -> None:
    data = arguments()[name]
    assert_refused(path, f"with another {name}, ", **{name: np.roll(data, 1, axis=0)})


@pytest.mark.parametrize("bit", [0, 63])
def test_a_single_bit_is_other_data(path: Path, bit: int) -> None:
    X = arguments()["X_train"].copy()
    X.view(np.uint64)[4, 1] ^= np.uint64(1 << bit)
    assert_refused(path, "with another X_train", X_train=X)


def test_fewer_rows_of_data_are_named_by_their_shape(path: Path) -> None:
    given = arguments()
    assert_refused(
        path,
        r"another X_train, \[10, 3\] in float64 with SHA-256 [0-9a-f]{8}\.\.\.; "
        r"now it is \[9, 3\] in float64 with SHA-256 [0-9a-f]{8}\.\.\.: the data, or how",
        X_train=given["X_train"][:9],
        y_train=given["y_train"][:9],
    )


def test_weights_that_were_not_there_are_other_data(path: Path) -> None:
    assert_refused(path, "another sample_weight, None", sample_weight=np.arange(1, 11))


def test_no_validation_is_other_data(path: Path) -> None:
    assert_refused(path, r"another X_val, \[7, 3\]", X_val=None, y_val=None)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("batch_size", 5, "batch_size 4, now batch_size is 5"),
        ("learning_rate", np.nextafter(0.3, 1), "learning_rate 0.3, now .* 0.3000000000"),
        ("weight_decay", 0, "weight_decay 0.01, now weight_decay is 0"),
        ("early_stopping", EarlyStopping(1.0, 0.5), "early_stopping None, now"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    path: Path, name: str, value: object, reason: str
) -> None:
    assert_refused(path, reason, **{name: value})


def test_a_generator_of_another_kind_is_refused(path: Path) -> None:
    rng = np.random.Generator(np.random.MT19937(0))
    assert_refused(path, "generator is 'PCG64', rng is a 'MT19937'", rng=rng)


# What is damaged, or made to do damage


def facts_of(path: Path) -> tuple[Params, dict[str, Any]]:
    params, metadata = load_params(path)
    return params, metadata["checkpoint"]


def forge(path: Path, *, checksum: bool = True, **changes: Any) -> None:
    """Change the facts of a checkpoint, with the right checksum for them."""
    params, facts = facts_of(path)
    del facts["sha256"]
    facts |= changes
    if checksum:
        facts["sha256"] = checkpoint._checksum([params], facts)
    save_params(path, params, checkpoint=facts)


def test_the_forger_forges_well(path: Path) -> None:
    before = path.read_bytes()
    forge(path)
    assert path.read_bytes() == before


def test_parameters_alone_are_no_checkpoint(path: Path) -> None:
    save_params(path, draw_params())
    assert_refused(path, "parameters, but no checkpoint")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 3}, "format version is 3; this program knows 2, update it"),
        ({"version": "1"}, "format version must be a number from 1 on, got '1'"),
        ({"version": True}, "format version must be a number"),
        ({"settings": None}, "settings must be a JSON object, got NoneType"),
        ({"settings": {}}, "with batch_size None, now batch_size is 4"),
        ({"data": []}, "data must be a JSON object, got list"),
        ({"data": {}}, "with another X_train, None"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"steps": "9"}, "steps must be a whole number, got '9'"),
        ({"start_loss": -0.5}, "start_loss must be a finite number of at least 0, got -0.5"),
        ({"start_loss": None}, "start_loss must be a real number, got NoneType"),
        ({"curves": 3}, "curves must be a JSON object, got int"),
        ({"curves": {}}, "train_loss must be a list of floats, got None"),
        ({"curves": {"train_loss": [1]}}, "train_loss must be a list of floats"),
        ({"rng": "PCG64"}, "rng must be a JSON object, got str"),
        ({"rng": {}}, "generator is None"),
        ({"rng": {"bit_generator": "PCG64"}}, "no state of a generator: expected bit_generator, "),
    ],
)
def test_facts_that_are_no_checkpoints_are_named(
    path: Path, changes: dict[str, Any], reason: str
) -> None:
    forge(path, **changes)
    assert_refused(path, reason)


def test_what_is_kept_beside_the_parameters_has_its_names_and_each_number_counts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.npz"
    options: dict[str, Any] = {"optimizer": Adam(), "early_stopping": Patience()}
    train_until(2, checkpoint=path, **options)
    params, metadata, beside = load_params_and_beside(path)
    assert list(beside) == ["best", "moment_1", "moment_2"]
    for label, layers in beside.items():
        (weight, bias), *others = layers
        altered = {label: (Dense(weight, bias + 1), *others)}
        save_params_and_beside(path, params, beside | altered, checkpoint=metadata["checkpoint"])
        assert_refused(path, "altered: the checksum does not match", **options)


def test_what_is_missing_beside_the_parameters_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    options: dict[str, Any] = {"optimizer": Adam()}
    train_until(2, checkpoint=path, **options)
    params, metadata, beside = load_params_and_beside(path)
    facts = {name: fact for name, fact in metadata["checkpoint"].items() if name != "sha256"}
    for kept, words in (({}, "nothing"), ({"moment_1": beside["moment_1"]}, "moment_1")):
        facts["sha256"] = checkpoint._checksum([params, *kept.values()], facts)
        save_params_and_beside(path, params, kept, checkpoint=facts)
        expected = f"beside the parameters there must be moment_1, moment_2, got {words}$"
        assert_refused(path, expected, **options)
        del facts["sha256"]


def test_the_checkpoint_of_another_optimizer_is_refused(path: Path) -> None:
    words = r"it was written with optimizer SGD\(momentum=0.0, nesterov=False\), now .* Adam\("
    assert_refused(path, words, optimizer=Adam())
    schedule = CosineSchedule(0.3, 6)
    assert_refused(path, "it was written with learning_rate 0.3, now", learning_rate=schedule)
    assert_refused(path, "it was written with max_grad_norm None, now", max_grad_norm=0.5)


def test_the_order_of_the_facts_means_nothing(path: Path) -> None:
    def reversed_(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: reversed_(value[name]) for name in reversed(value)}
        return value

    whole = train()
    params, facts = facts_of(path)
    save_params(path, params, checkpoint=reversed_(facts))
    assert list(facts_of(path)[1]) == list(facts)[::-1]
    assert_same(train(checkpoint=path, resume=True), whole)


def test_without_validation_only_its_curves_are_empty(tmp_path: Path) -> None:
    file = checkpoint.CheckpointFile(tmp_path / "checkpoint.npz", {}, {"X_val": None})
    rng, history = np.random.default_rng(0), History([0.5, 0.25], [1.0, 1.0], penalty=[0.1, 0.2])
    start = plain_start(history)
    file.save(start, rng)
    assert file.load(start, rng).history == history
    file.save(plain_start(History([0.5, 0.25], [1.0, 1.0], [], [0.5, 0.5])), rng)
    with pytest.raises(ValueError, match="val_acc must have 0 values, got 2"):
        file.load(start, rng)
    file.save(plain_start(History([0.5, 0.25], [])), rng)
    with pytest.raises(ValueError, match="train_acc must have 2 values, got 0"):
        file.load(start, rng)


@pytest.mark.parametrize(
    ("generator", "position"),
    [
        (np.random.MT19937, 0),
        (np.random.MT19937, 624),
        (np.random.Philox, 1),  # it is never at 0, which NumPy 2.5 refuses
        (np.random.Philox, 4),
    ],
)
def test_a_generator_may_be_at_either_end_of_its_buffer(
    tmp_path: Path, generator: Callable[[int], np.random.BitGenerator], position: int
) -> None:
    saved, loaded = (np.random.Generator(generator(seed)) for seed in (0, 1))
    state: Any = saved.bit_generator.state
    if "pos" in state["state"]:
        state["state"]["pos"] = position
    else:
        state["buffer_pos"] = position
    saved.bit_generator.state = state
    file = checkpoint.CheckpointFile(tmp_path / "checkpoint.npz", {}, {"X_val": None})
    file.save(plain_start(History()), saved)
    file.load(plain_start(History()), loaded)
    np.testing.assert_equal(loaded.bit_generator.state, state)
    assert np.array_equal(loaded.integers(2**32, size=9), saved.integers(2**32, size=9))


@pytest.mark.parametrize("name", ["train_acc", "val_loss", "val_acc", "penalty"])
def test_curves_of_unequal_lengths_are_refused(path: Path, name: str) -> None:
    _, facts = facts_of(path)
    forge(path, curves=facts["curves"] | {name: [0.5]})
    assert_refused(path, f"{name} must have 2 values, got 1")


def test_facts_without_the_right_checksum_are_refused(path: Path) -> None:
    _, facts = facts_of(path)
    forge(path, checksum=False, sha256=facts["sha256"], curves=facts["curves"] | {"val_acc": []})
    assert_refused(path, "altered: the checksum does not match")
    forge(path, checksum=False)
    assert_refused(path, "altered: the checksum does not match")


def test_parameters_without_the_right_checksum_are_refused(path: Path) -> None:
    params, facts = facts_of(path)
    for l, layer in enumerate(params):
        for name in layer._fields:
            altered = layer._replace(**{name: getattr(layer, name) + 1})
            save_params(path, (*params[:l], altered, *params[l + 1 :]), checkpoint=facts)
            assert_refused(path, "altered: the checksum does not match")


@pytest.mark.parametrize(
    "changes",
    [
        {"state": {"state": 1}},
        {"state": {"state": 1, "inc": 1.5}},
        {"state": {"state": 1, "inc": 1 << 128}},
        {"state": {"state": -1, "inc": 1}},
        {"state": [1, 1]},
        {"has_uint32": True},
        {"has_uint32": 1 << 40},
        {"uinteger": None},
    ],
)
def test_a_state_that_is_none_of_the_generator_is_refused(
    path: Path, changes: dict[str, Any]
) -> None:
    _, facts = facts_of(path)
    forge(path, rng=facts["rng"] | changes)
    assert_refused(path, "no state of a generator: ")


@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.Philox, np.random.SFC64])
def test_a_generator_does_not_take_half_of_a_state(
    tmp_path: Path, generator: Callable[[int], np.random.BitGenerator]
) -> None:
    path = tmp_path / "checkpoint.npz"
    train_until(1, rng=np.random.Generator(generator(0)), checkpoint=path)
    _, facts = facts_of(path)
    forge(path, rng=facts["rng"] | {"uinteger": 1 << 40})
    assert_refused(path, "no state of a generator: ", rng=np.random.Generator(generator(0)))


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.Philox])
@pytest.mark.parametrize("position", [-1, 625, 1 << 20, 1 << 40])
def test_a_generator_is_not_made_to_read_outside_its_buffer(
    tmp_path: Path, generator: Callable[[int], np.random.BitGenerator], position: int
) -> None:
    path = tmp_path / "checkpoint.npz"
    train_until(1, rng=np.random.Generator(generator(0)), checkpoint=path)
    _, facts = facts_of(path)
    if "pos" in facts["rng"]["state"]:
        facts["rng"]["state"]["pos"] = position
    else:
        facts["rng"]["buffer_pos"] = position
    forge(path, rng=facts["rng"])
    assert_refused(
        path, f"pos must be from 0 to .*, got {position}", rng=np.random.Generator(generator(0))
    )


@pytest.mark.parametrize("key", [[], [0] * 623, [[0] * 624], [1 << 32] * 624, ["a"] * 624, 0, None])
def test_a_generator_gets_an_array_of_its_shape(tmp_path: Path, key: object) -> None:
    path = tmp_path / "checkpoint.npz"
    train_until(1, rng=np.random.Generator(np.random.MT19937(0)), checkpoint=path)
    _, facts = facts_of(path)
    facts["rng"]["state"]["key"] = key
    forge(path, rng=facts["rng"])
    rng = np.random.Generator(np.random.MT19937(0))
    assert_refused(path, "no state of a generator: ", rng=rng)


@pytest.mark.long
def test_every_truncation_is_found(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), 5 * depth().stride):
        path.write_bytes(content[:length])
        assert_refused(path, "not an npz file")


def places_of_content(path: Path) -> set[int]:
    """Find where the arrays of a checkpoint are, between what zip needs to find them."""
    content, places = path.read_bytes(), set()
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            start = content.index(archive.read(member))
            places |= {*range(start, start + member.file_size)}
    return places


@pytest.mark.long
def test_an_altered_byte_is_found_or_harmless(path: Path) -> None:
    content, whole, must_be_found = path.read_bytes(), train(), places_of_content(path)
    for place in range(0, len(content), 3 * depth().stride):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        path.write_bytes(altered)
        try:
            result = train(checkpoint=path, resume=True)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017, it may also be harmless
        else:
            assert_same(result, whole)
            assert place not in must_be_found
