"""Run a campaign unattended: several processes, a log that survives a kill, the table at the end.

The log has a line of JSON for each block, after a first line that says what the campaign is. A
block counts once its line is whole, so a campaign resumes where it stopped, whatever stopped it.
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import jax
import numpy as np
from tqdm import tqdm

import manual_nn
import reference
from reference.campaign.cases import NOT_WRONG, XLA, Record, compare_block
from reference.compare import Verdict

OPTIONS = {  # what must be the same to resume from a log, and what a person would call it
    "seed": "--seed",
    "networks": "--block",
    "code": "code of fingerprint",
    "versions": "versions",
}
HEAD = b'{"campaign": '  # how a log begins
SHOWN = 20  # wrong cases
BLOCKS_OF_A_PROCESS = 250  # then a new one takes over: what JAX has traced stays in memory


@dataclass(frozen=True)
class Campaign:
    """What decides every case of a campaign, and what its results depend on.

    Attributes:
        seed: what everything is drawn from.
        networks: how many there are in a block.
        code: a fingerprint of both packages.
        versions: those of Python and the libraries.
    """

    seed: int
    networks: int
    code: str
    versions: Mapping[str, str]

    @classmethod
    def here(cls, seed: int, networks: int) -> "Campaign":
        """Describe a campaign of this code on this machine."""
        versions = {
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "JAX": jax.__version__,
        }
        return cls(seed, networks, _fingerprint(), versions)


def _fingerprint() -> str:
    """Hash the sources of both packages."""
    digest = hashlib.sha256()
    for package in (manual_nn, reference):
        for folder in map(Path, package.__path__):
            for source in sorted(folder.rglob("*.py")):
                name = source.relative_to(folder.parent).as_posix()
                digest.update(name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


class Log:
    """The file with what a campaign has shown so far.

    Attributes:
        path: where it is.
        records: the blocks so far.
        started: the day on which it was begun.
    """

    def __init__(self, path: Path, campaign: Campaign) -> None:
        """Begin the file, or resume from it if it is this campaign's.

        Raises:
            ValueError: the file is another campaign's log, or no log at all.
            OSError: it cannot be read or written.
        """
        self.path = path
        self.records: list[Record] = []
        self.started = dt.datetime.now(dt.UTC).date().isoformat()
        if path.exists() and not path.is_file():
            raise ValueError(f"--log {path} is not a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        try:
            self._begin(campaign)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, campaign: Campaign) -> None:
        """Read what is there, or write the first line."""
        _lock(self._file, self.path)
        data = self.path.read_bytes()
        if data and not HEAD.startswith(data[: len(HEAD)]):
            raise ValueError(f"--log {self.path} is not the log of a campaign")
        if b"\n" in data:
            self._take_up(campaign, data)
        else:  # it is new, or was killed before its first line was whole
            os.truncate(self.path, 0)
            self._append({"campaign": dataclasses.asdict(campaign), "started": self.started})

    def __enter__(self) -> Self:
        """Use it in a with statement, after which another process may write to the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    @property
    def networks(self) -> int:
        """How many have been compared."""
        return sum(record.networks for record in self.records)

    def add(self, record: Record) -> None:
        """Keep what a block has shown."""
        self._append(dataclasses.asdict(record))
        self.records.append(record)

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _take_up(self, campaign: Campaign, data: bytes) -> None:
        """Read the blocks so far, and drop a last line that a kill cut short."""
        whole = data[: data.rfind(b"\n") + 1]
        try:
            head, *lines = map(json.loads, whole.decode().splitlines())
            before, self.started = Campaign(**head["campaign"]), head["started"]
            self.records = [Record.read(line) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"--log {self.path} is not the log of a campaign") from error
        for name, what in OPTIONS.items():
            was, now = getattr(before, name), getattr(campaign, name)
            if was != now:
                msg = f"--log {self.path} is of a campaign with {what} {was}, and this is {now}"
                raise ValueError(f"{msg}: move it away, or name another file")
        if len({record.block for record in self.records}) < len(self.records):
            raise ValueError(f"--log {self.path} lists a block twice")
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other processes from writing to the file, where the system can."""
    try:
        import fcntl  # noqa: PLC0415, which Windows has not
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(f"--log {path} is being written by another campaign") from error


def run(log: Log, campaign: Campaign, blocks: int | None, *, until: float, workers: int) -> None:
    """Take the blocks that the log does not have yet, up to a number of them or a time.

    On a terminal a bar shows how many networks the log has.

    Args:
        log: where what they show is kept.
        campaign: what is drawn.
        blocks: how many the log has at the end, or None for no limit.
        until: the time, by `time.monotonic`, after which no block is begun.
        workers: the number of processes; a single one is this process.
    """
    total = None if blocks is None else blocks * campaign.networks
    with tqdm(total=total, initial=log.networks, unit="network", leave=False, disable=None) as bar:

        def keep(record: Record) -> None:
            log.add(record)
            bar.update(record.networks)

        _run(campaign, _missing({x.block for x in log.records}, blocks, until), keep, workers)


def _run(
    campaign: Campaign, wanted: Iterable[int], keep: Callable[[Record], None], workers: int
) -> None:
    """Compare blocks, and keep what each has shown as soon as it is done."""
    if workers == 1:
        for count, block in enumerate(wanted, start=1):
            keep(compare_block(campaign.seed, block, campaign.networks))
            if count % BLOCKS_OF_A_PROCESS == 0:
                jax.clear_caches()
        return
    with _pool(workers, campaign.code) as pool:
        running: set[Future[Record]] = set()
        try:
            for block in wanted:
                arguments = campaign.seed, block, campaign.networks
                running.add(pool.submit(compare_block, *arguments))
                if len(running) > workers:
                    running = _collected(running, keep)
            while running:
                running = _collected(running, keep)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _missing(done: set[int], blocks: int | None, until: float) -> Iterator[int]:
    block = 0
    while (blocks is None or block < blocks) and time.monotonic() < until:
        if block not in done:
            yield block
        block += 1


def _collected(running: set[Future[Record]], keep: Callable[[Record], None]) -> set[Future[Record]]:
    """Wait until a block is done, and keep what it has shown."""
    finished, others = wait(running, return_when=FIRST_COMPLETED)
    for future in finished:
        keep(future.result())
    return others


@contextlib.contextmanager
def _pool(workers: int, code: str) -> Iterator[ProcessPoolExecutor]:
    """Start processes with one BLAS thread each."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # read when they import NumPy
    with ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(code,),
        max_tasks_per_child=BLOCKS_OF_A_PROCESS,
    ) as pool:
        yield pool


def _begin(code: str) -> None:
    """Begin a process: leave Ctrl-C to the parent, end with it, and insist on the same code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    if _fingerprint() != code:
        raise RuntimeError("the code has changed since the campaign began")


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


@dataclass
class Total:
    """What all blocks have shown of one quantity in one precision."""

    verdicts: Counter[str] = field(default_factory=Counter)
    ratio: float = 0.0
    worst: str = ""  # BLOCK:NUMBER


def totals(records: Iterable[Record]) -> dict[tuple[str, str], Total]:
    """Add the blocks up, by quantity and precision."""
    found: dict[tuple[str, str], Total] = {}
    for record in records:
        for quantity, verdicts in record.verdicts.items():
            dtype = "float64" if quantity == XLA else record.dtype  # whatever the numbers are
            total = found.setdefault((quantity, dtype), Total())
            total.verdicts.update(verdicts)
            ratio, number = record.worst.get(quantity, (-1.0, 0))
            if ratio >= total.ratio:
                total.ratio, total.worst = ratio, f"{record.block}:{number}"
    return dict(sorted(found.items(), key=lambda item: (item[0][0] == XLA, *item[0])))


def table(records: Iterable[Record]) -> str:
    """Lay the totals out to be read."""
    header = (
        f"{'quantity':31} {'dtype':7} {'networks':>9} {'match':>9} {'ambig.':>7} {'blind':>6} "
        f"{'n.c.':>7} {'refused':>7} {'wrong':>5} {'of bound':>8}  worst case"
    )
    lines = [header]
    for (quantity, dtype), total in totals(records).items():
        counts = [total.verdicts[name] for name in NOT_WRONG]
        match, ambiguous, blind, not_comparable, refused = counts
        networks = total.verdicts.total()
        lines.append(
            f"{quantity:31} {dtype:7} {networks:9,} {match:9,} {ambiguous:7,} {blind:6,} "
            f"{not_comparable:7,} {refused:7,} {networks - sum(counts):5,} {total.ratio:8.3f}  "
            f"{total.worst}"
        )
    return "\n".join(lines)


def summary(log: Log, campaign: Campaign) -> str:
    """Say what was compared, how fast, and whether anything is wrong."""
    records = log.records
    shapes = {(tuple(record.sizes), record.rows, record.soft) for record in records}
    networks = log.networks
    compiled = sum(record.networks for record in records if record.compiled)
    seconds = sum(record.seconds for record in records)
    wrong = [f"{record.block}:{number}" for record in records for number in record.wrong]
    versions = ", ".join(f"{name} {version}" for name, version in campaign.versions.items())
    what = (
        f"{networks:,} networks of {len(shapes):,} shapes in {len(records):,} blocks, "
        f"{compiled:,} networks also by XLA; seed {campaign.seed}; begun {log.started}; "
        f"{versions}."
    )
    unbounded, measured, overflowing, uncertain, untried = (
        sum(getattr(record, name) for record in records)
        for name in ("unbounded", "measured", "overflowing", "uncertain", "untried")
    )
    blind = sum(len(record.found.get(Verdict.BLIND.value, ())) for record in records)
    witness = (
        f"Of {unbounded:,} networks some bound is infinite. Rounding was measured for these and "
        f"{measured - unbounded:,} more. What remains: {overflowing:,} have a result that is not "
        f"finite in JAX's float64, {uncertain:,} may overflow in their own precision or have "
        f"logits so large that rounding decides between classes, "
        f"{untried:,} hang on more kinks than can be tried together, and in {blind:,} rounding "
        "strays as far as the result itself."
    )
    speed = (
        f"{seconds:,.0f} seconds of work, {networks / max(seconds, 1e-9):,.0f} networks a second "
        "on a core."
    )
    if not records:
        return "No network was compared."
    if not wrong:
        return "\n".join([what, witness, speed, "None is wrong."])
    more = ", ..." if len(wrong) > SHOWN else ""
    return "\n".join([what, witness, speed, f"WRONG: {', '.join(wrong[:SHOWN])}{more}"])
