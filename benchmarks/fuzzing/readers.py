"""Fuzz the readers of files: damaged ones must be refused as documented, within bounds of memory.

python -m benchmarks.fuzzing --files 100000

Each file is a right one that has been damaged, at the level of its bytes or of what they mean: bits
flipped, parts cut, doubled, moved or replaced by noise or by extreme numbers; headers that lie
about shapes and types; zip directories that lie about members, with right checksums, so that the
damage reaches the code behind them; archives that unzip to ten thousand times their size. A reader
may refuse a file by a ValueError that names it, and by nothing else, or accept it, and then what it
returns is compared with what another reader finds there. It may take no more memory than the
file's size, and, for a zipped one, its header, honestly allow. One that hangs is stopped. The exit
status is 1 if a file was handled wrongly; --failures FOLDER keeps such files.
"""

import contextlib
import faulthandler
import functools
import gzip
import importlib
import io
import json
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import manual_nn
from benchmarks.fuzzing import rows
from benchmarks.fuzzing.damage import (
    BOMB,
    COPIES,
    GZIP_MOST,
    NUMBERS,
    SPARE,
    Rng,
    allowed_for_copies,
    damaged,
    damaged_member,
    either,
    lying_npy,
    npy_bytes,
    other_members,
    put_odd,
    zipped,
)
from benchmarks.tables import Page, parser_of
from manual_nn.files import idx, models, parameters
from manual_nn.files.scaling import fit_scaling
from manual_nn.files.sources import Source
from manual_nn.interfaces import command_line, options
from manual_nn.layers.dense import Params
from manual_nn.training import checkpoint
from manual_nn.training.history import History, Reached
from manual_nn.training.optimizer import OptimizerState
from reference.arrays import Array

ABOUT = """\
Files of every format that is read are damaged; each must be refused by a `ValueError` that names
it, or read right, in memory bounded by its size."""
LEGEND = """
*accepted*: what the damage left is a whole file, and was read as a second reader reads it."""
HEADINGS = (
    *("format", "files", "accepted", "refused", "wrong"),
    *("longest, CPU ms", "most memory, MiB"),
)
D, H, K = 6, 3, 2
IMAGE_SHAPE = (2, 3)
HANGS_AFTER = 600  # seconds; a file takes milliseconds, but the machine may be busy
STDERR = 2  # the process's own, whatever takes the place of sys.stderr


class Format(NamedTuple):
    """A kind of file: how to make a damaged one, how to read one, and what may be needed for it."""

    name: str
    make: Callable[[Rng], bytes]
    read: Callable[[Path], Any]  # raises ValueError, or returns what
    check: Callable[[Any, bytes], None]  # compares with the bytes of the file
    allowed: Callable[[bytes], int]  # bytes of memory


@dataclass
class Tally:
    """What became of the files of a format."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0  # seconds of the processor
    largest: int = 0  # bytes
    wrong: list[str] = field(default_factory=list)  # how, and the number of the file

    @property
    def files(self) -> int:
        """How many there were."""
        return self.accepted + self.refused.total() + len(self.wrong)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, and print a Markdown table, a row for each format."""
    parser = parser_of("python -m benchmarks.fuzzing", __doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many, over all formats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, help="folder for the files handled wrongly")
    args = parser.parse_args(argv)
    each = -(-args.files // len(FORMATS))
    page = Page("Damaged files, and what the readers make of them", ABOUT)
    page.row(HEADINGS)
    page.row([":---", "---:", "---:", ":---", "---:", "---:", "---:"])
    tallies = []
    for kind in FORMATS:
        numbers = tqdm(range(each), desc=kind.name, leave=False, disable=not sys.stderr.isatty())
        tallies.append(fuzz(kind, numbers, args.seed, failures=args.failures))
        page.row(_cells(kind.name, tallies[-1]))
    total = _total(tallies)
    page.row(_cells("all", total))
    page.line(LEGEND)
    summary = f"{total.files:,} damaged files, {len(total.wrong):,} handled wrongly."
    page.write(args.results / "fuzzing.md", summary, parser.prog, argv)
    wrong = [text for tally in tallies for text in tally.wrong]
    for text in wrong[:20]:
        print(text, file=sys.stderr)
    return 1 if wrong else 0


def fuzz(kind: Format, numbers: Iterable[int], seed: int, *, failures: Path | None = None) -> Tally:
    """Make and read the files with these numbers; the same seed and number give the same file."""
    tally = Tally()
    tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for number in numbers:
            content = kind.make(
                np.random.default_rng([seed, zlib.crc32(kind.name.encode()), number])
            )
            path.write_bytes(content)
            before = len(tally.wrong)
            _read_one(kind, path, content, tally, f"{kind.name}, seed {seed}, file {number}")
            if failures is not None and len(tally.wrong) > before:
                failures.mkdir(parents=True, exist_ok=True)
                (failures / f"{kind.name}-{seed}-{number}".replace(" ", "_")).write_bytes(content)
    if not tracing:
        tracemalloc.stop()
    return tally


def _read_one(kind: Format, path: Path, content: bytes, tally: Tally, where: str) -> None:
    """Read a file, count what became of it, and note what it took."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True, file=STDERR)
    tracemalloc.reset_peak()
    held, _ = tracemalloc.get_traced_memory()
    start = time.process_time()
    wrong: str | None = None
    refused: str | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy and Python, about headers
            warnings.simplefilter("error", RuntimeWarning)
            result = kind.read(path)
    except ValueError as error:
        refused = type(error).__name__
        if str(path) not in str(error) or "\n" in str(error):
            wrong = f"the error does not name the file in one line: {error}"
    except (Exception, SystemExit) as error:
        wrong = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    memory = tracemalloc.get_traced_memory()[1] - held
    faulthandler.cancel_dump_traceback_later()
    if wrong is None and refused is None:
        wrong = _misread(kind, result, content)
    if wrong is None and memory > kind.allowed(content):
        wrong = f"took {memory:,} bytes of memory, allowed are {kind.allowed(content):,}"
    if wrong is not None:
        tally.wrong.append(f"{where}: {wrong}")
    elif refused is not None:
        tally.refused[refused] += 1
    else:
        tally.accepted += 1
    tally.longest, tally.largest = max(tally.longest, seconds), max(tally.largest, memory)


def _misread(kind: Format, result: Any, content: bytes) -> str | None:
    """Say what is wrong with what was read, if anything."""
    try:
        with warnings.catch_warnings(action="ignore"):
            kind.check(result, content)
    except Exception as error:  # what compares may stumble over what was let through
        return f"accepted, but {type(error).__name__}: {error}"
    return None


def _cells(name: str, tally: Tally) -> list[str]:
    refused = ", ".join(f"{count:,} {kind}" for kind, count in tally.refused.items())
    counts = [f"{tally.files:,}", f"{tally.accepted:,}", refused, f"{len(tally.wrong):,}"]
    return [name, *counts, f"{1000 * tally.longest:.1f}", f"{tally.largest / 2**20:.1f}"]


def _total(tallies: Sequence[Tally]) -> Tally:
    return Tally(
        sum(tally.accepted for tally in tallies),
        sum((tally.refused for tally in tallies), Counter()),
        max(tally.longest for tally in tallies),
        max(tally.largest for tally in tallies),
        [text for tally in tallies for text in tally.wrong],
    )


# IDX


def idx_file(rng: Rng) -> bytes:
    """Make an IDX file, and let its header lie or damage it."""
    shape = (int(rng.integers(1, 5)), *IMAGE_SHAPE)[: rng.integers(1, 4)]
    elements = rng.bytes(int(np.prod(shape)))
    claimed = list(shape)
    if rng.random() < 0.3:
        claimed[rng.integers(len(claimed))] = NUMBERS[rng.integers(len(NUMBERS) - 1)]
    if rng.random() < 0.1:
        claimed += [1] * int(rng.integers(1, 70))
    header = bytes([0, 0, 8, len(claimed)]) + struct.pack(f">{len(claimed)}I", *claimed)
    return damaged(header + elements, rng)


def gzipped_idx_file(rng: Rng) -> bytes:
    """Zip an IDX file that may be damaged, and damage the outcome; some hold a flood of zeros."""
    if rng.random() < 0.02:
        claimed = int(either(rng, 10, BOMB - 1, BOMB, BOMB + 1, 4 * BOMB, 2**32 - 1))
        head = gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", claimed), mtime=0)
        return head + _gzipped_zeros()  # two members, which make one file
    zipped = gzip.compress(idx_file(rng), mtime=0)
    return damaged(zipped, rng) if rng.random() < 0.6 else zipped


@functools.cache
def _gzipped_zeros() -> bytes:
    return gzip.compress(bytes(BOMB), mtime=0)


def check_idx(array: Array, content: bytes) -> None:
    """Compare an array with what the bytes of the file say."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    numbers = {kind: number for number, kind in idx.ELEMENTS.items()}
    element_type = numbers[array.dtype.newbyteorder(">")]
    header = bytes([0, 0, element_type, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    assert header + array.astype(array.dtype.newbyteorder(">")).tobytes() == content


def allowed_for_idx(content: bytes) -> int:
    """Allow some times the size: of the file, or, zipped, what it claims and can hold."""
    if content[:2] != b"\x1f\x8b":
        return SPARE + COPIES * len(content)
    return SPARE + 3 * _claimed(content) + COPIES * len(content)


def _claimed(content: bytes) -> int:
    """How many bytes a zipped IDX file claims, 0 if it cannot hold them."""
    try:
        head = gzip.GzipFile(fileobj=io.BytesIO(content)).read(4 + 4 * 255)
    except (OSError, EOFError, zlib.error):
        return GZIP_MOST * len(content)  # less than a header's bytes
    ndim = head[3] if len(head) > 3 else 0
    if len(head) < 4 + 4 * ndim:
        return 0
    claimed = idx.ELEMENTS[head[2]].itemsize if head[2] in idx.ELEMENTS else 1
    for length in struct.unpack_from(f">{ndim}I", head, 4):
        claimed *= length
    return claimed if claimed <= GZIP_MOST * len(content) else 0


# npy


def npy_file(rng: Rng) -> bytes:
    """Make an npy file of N x D numbers, and let its header lie or damage it."""
    array: Array = rng.integers(17, size=(rng.integers(1, 4), D)).astype(either(rng, "f4", "u1"))
    if rng.random() < 0.1:
        array.flat[0] = either(rng, 0, 255) if array.dtype == "u1" else either(rng, np.nan, np.inf)
    if rng.random() < 0.1:
        array = np.full((1, D), either(rng, 1e300, -1e300, 1e-320, np.nan))
    if rng.random() < 0.1:
        array = np.asfortranarray(array)
    content = npy_bytes(array)
    if rng.random() < 0.5:
        content = lying_npy(array, rng)
    return damaged(content, rng) if rng.random() < 0.7 else content


def read_npy(path: Path) -> Array:
    """Read the bytes, and name the file, which the reader of bytes cannot."""
    try:
        return parameters.read_npy(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_npy(array: Array, content: bytes) -> None:
    """Compare an array with what NumPy reads."""
    assert not array.dtype.hasobject
    assert array.nbytes <= len(content)
    other = np.load(io.BytesIO(content), allow_pickle=False)
    assert (other.dtype, other.shape, other.tobytes()) == (
        array.dtype,
        array.shape,
        array.tobytes(),
    )


# npz: parameters and checkpoints


@functools.cache
def _right_members(name: str) -> dict[str, bytes]:
    """Give the members of an archive that is right, a model or a checkpoint, by their names."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name == "checkpoint":
            params, _, rng = _training()
            _checkpoint(path).save(_reached(params), rng)
        else:
            _save_model(path)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def _training() -> tuple[Params, Array, Rng]:
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([D, H, K], rng=rng, dtype=np.float32)
    return params, rng.uniform(size=(4, D)).astype(np.float32), rng


def _save_model(path: Path) -> None:
    params, X, _ = _training()
    model = models.Model(
        params,
        fit_scaling("divide", X),
        classes=tuple(map(str, range(K))),
        features=None,
        image_shape=IMAGE_SHAPE,
        source=Source("digits"),
        fingerprint=None,
        settings={"epochs": 2},
        curves={name: [0.5, 0.25] for name in models.CURVES},
        stopped_early=False,
    )
    models.save_model(path, model)


def _checkpoint(path: Path) -> checkpoint.CheckpointFile:
    X = _training()[1]
    settings = {"batch_size": 2, "learning_rate": 0.1}
    facts = {"X_train": checkpoint.fingerprint(X), "X_val": checkpoint.fingerprint(X[:2])}
    return checkpoint.CheckpointFile(path, settings, facts)


def _reached(params: Params) -> Reached:
    curves = [[0.5, 0.25] for _ in range(5)]
    state = OptimizerState(4, (params, params))
    return Reached(params, params, state, History(*curves), start_loss=0.75)


def _npz_file(name: str, rng: Rng) -> bytes:
    members = list(_right_members(name).items())
    if rng.random() < 0.5:
        i = int(rng.integers(len(members)))
        member, content = members[i]
        is_odd = member == "metadata.npy" and rng.random() < 0.8
        members[i] = member, (_odd_metadata if is_odd else damaged_member)(content, rng)
    if rng.random() < 0.3:
        members = other_members(members, rng)
    return zipped(members, rng, kinds=[zipfile.ZIP_STORED] * 40)


def _odd_metadata(content: bytes, rng: Rng) -> bytes:
    """Put something odd somewhere into the metadata, with a checksum that fits, or not."""
    text = str(np.load(io.BytesIO(content)))
    if rng.random() < 0.2:
        odd = either(rng, "[" * 100_000, '{"a":' * 50_000, "", "{", "NaN", "1" * 5000, text[:-1])
        return npy_bytes(np.array(odd))
    if rng.random() < 0.1:
        letters = rng.integers(2**32, size=rng.integers(1, 20), dtype=np.uint32)
        return npy_bytes(np.array("x" * len(letters))).split(b"\n")[0] + b"\n" + letters.tobytes()
    metadata = json.loads(text)
    for _ in range(rng.integers(1, 3)):
        put_odd(metadata, rng)
    facts = metadata.get("checkpoint")
    if isinstance(facts, dict) and rng.random() < 0.8:
        facts.pop("sha256", None)
        with contextlib.suppress(UnicodeEncodeError):
            facts["sha256"] = checkpoint._checksum([_training()[0]] * 4, facts)
    return npy_bytes(np.array(json.dumps(metadata)))


def check_params(result: tuple[Params, dict[str, Any]], content: bytes) -> None:
    """Compare parameters with what NumPy reads."""
    params, metadata = result
    _check_layers(params, metadata["sizes"], content)


def _check_layers(params: Params, sizes: list[int], content: bytes) -> None:
    assert sizes == [len(params[0].weight), *(layer.bias.size for layer in params)]
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for l, layer in enumerate(params, start=1):
            for leaf in ("weight", "bias"):
                assert np.array_equal(getattr(layer, leaf), arrays[f"{leaf}_{l}"], equal_nan=True)


def read_checkpoint(path: Path) -> tuple[Reached, Rng]:
    """Read as training does that goes on from a checkpoint."""
    params, _, rng = _training()
    return _checkpoint(path).load(_reached(params), rng), rng


def check_checkpoint(result: tuple[Reached, Rng], content: bytes) -> None:
    """Compare the layers with what NumPy reads, and draw from the generator."""
    reached, rng = result
    _check_layers(reached.params, [D, H, K], content)
    assert reached.best is not None
    assert len(reached.state.moments) == 2
    assert {len(curve) for curve in vars(reached.history).values()} == {len(reached.history)}
    assert reached.state.steps >= 0
    assert 0 <= rng.random() < 1
    assert np.array_equal(np.sort(rng.permutation(5)), np.arange(5))


# The command line


def images_file(rng: Rng) -> bytes:
    """Make what `predict --input` may be given."""
    importlib.import_module("pandas")  # its modules are not what a file makes a reader take
    return either(rng, npy_file, npy_file, idx_file, gzipped_idx_file)(rng)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Hold a right model and right images while the process runs."""
    folder = tempfile.TemporaryDirectory()
    _save_model(Path(folder.name) / "model")
    (Path(folder.name) / "images").write_bytes(npy_bytes(np.ones((2, D))))
    return folder


def predict_images(path: Path) -> list[str]:
    """Predict the classes of damaged images."""
    return _predict(Path(_folder().name) / "model", path, path)


def predict_by_model(path: Path) -> list[str]:
    """Predict the classes of right images by a damaged model."""
    return _predict(path, Path(_folder().name) / "images", path)


def _predict(model: Path, images: Path, path: Path) -> list[str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command_line.main(["predict", "--model", str(model), "--input", str(images)])
    if status == options.WRONG_INPUT:
        assert not out.getvalue()
        assert err.getvalue().startswith("manual-nn: error: ")
        message = err.getvalue().removesuffix("\n")
        # What the network refuses is named as its argument: the model has no other file.
        raise ValueError(message if str(path) in message else f"{path}: {message}")
    assert status == 0
    assert all(line.startswith("manual-nn: warning: ") for line in err.getvalue().splitlines())
    return out.getvalue().splitlines()


def check_classes(lines: list[str], content: bytes) -> None:
    """Check that there are classes, a line each, for rows that the file can hold."""
    heading, *classes = lines
    assert heading == "class"
    assert 1 <= len(classes) <= GZIP_MOST * len(content)
    assert all(0 < len(name) <= len(content) for name in classes)  # a damaged model names them


_model_file = functools.partial(_npz_file, "model")
_checkpoint_file = functools.partial(_npz_file, "checkpoint")

FORMATS = [
    Format("IDX", idx_file, idx.read_idx, check_idx, allowed_for_idx),
    Format("IDX, gzipped", gzipped_idx_file, idx.read_idx, check_idx, allowed_for_idx),
    Format("npy", npy_file, read_npy, check_npy, allowed_for_copies),
    Format("npz", _model_file, parameters.load_params, check_params, allowed_for_copies),
    Format("checkpoint", _checkpoint_file, read_checkpoint, check_checkpoint, allowed_for_copies),
    Format(
        "npz of rows",
        rows.npz_of_rows,
        rows.read_npz_of_rows,
        rows.check_npz_of_rows,
        rows.allowed_for_npz,
    ),
    Format("CSV", rows.csv_file, rows.read_csv, rows.check_csv, rows.allowed_for_csv),
    Format(
        "CSV, gzipped", rows.gzipped_csv_file, rows.read_csv, rows.check_csv, rows.allowed_for_csv
    ),
    Format("Parquet", rows.parquet_file, rows.read_parquet, rows.check_parquet, allowed_for_copies),
    Format("predict --input", images_file, predict_images, check_classes, allowed_for_idx),
    Format("predict --model", _model_file, predict_by_model, check_classes, allowed_for_copies),
]
