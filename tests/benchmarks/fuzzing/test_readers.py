"""Damaged files are refused as documented or read right; and the fuzz sees readers that are wrong.

`python -m benchmarks.fuzzing --files 100000` tries as many as you like.
"""

import itertools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fuzzing import readers
from benchmarks.fuzzing.damage import SPARE, allowed_for_copies, damaged, npy_bytes
from benchmarks.fuzzing.readers import FORMATS, Format, fuzz, main
from manual_nn.files import parameters
from manual_nn.files.rows import Rows
from tests.conftest import depth
from tests.support.project import ROOT

FILES = 5 * depth().examples // 2  # of each format


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
def test_damaged_files_are_refused_as_documented_or_read_right(
    kind: Format, tmp_path: Path
) -> None:
    tally = fuzz(kind, range(FILES), seed=0, failures=tmp_path)
    assert tally.wrong == []
    assert tally.files == FILES
    assert tally.accepted  # some are damaged where it does not matter, or not at all
    assert set(tally.refused) == {"ValueError"}
    assert not list(tmp_path.iterdir())


def test_the_same_seed_makes_the_same_file_and_another_number_another() -> None:
    for kind in FORMATS:
        made = [
            [kind.make(np.random.default_rng([seed, number])) for number in range(20)]
            for seed in (0, 0, 1)
        ]
        assert made[0] == made[1] != made[2]
        assert len(set(made[0])) > 10


def test_damage_is_of_many_kinds() -> None:
    content = npy_bytes(np.arange(40))
    changed = [damaged(content, np.random.default_rng(seed)) for seed in range(300)]
    lengths = {len(one) for one in changed}
    assert min(lengths) < len(content) < max(lengths)
    assert 0 < changed.count(content) < 100
    assert len(set(changed)) > 200


ROWS = {"npz of rows", "CSV", "CSV, gzipped", "Parquet"}
RIGHT = npy_bytes(np.arange(12.0).reshape(2, 6))


def reading(read: Callable[[Path], Any]) -> Format:
    """Pair a reader with files that are right, and what is allowed for them with a copy of each."""
    return Format("npy", lambda _: RIGHT, read, readers.check_npy, allowed_for_copies)


def raises(error: BaseException) -> Callable[[Path], Any]:
    def read(_: Path) -> Any:
        raise error

    return read


def warns(path: Path) -> Any:
    np.float64(1e300) * np.float64(1e300)
    return parameters.read_npy(path.read_bytes())


def takes(size: int) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        np.empty(size, np.uint8)  # for a moment, which is too long
        return parameters.read_npy(path.read_bytes())

    return read


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (raises(KeyError("weight_1")), "KeyError: 'weight_1'"),
        (raises(MemoryError()), "MemoryError"),
        (raises(RecursionError("too deep")), "RecursionError: too deep"),
        (raises(SystemExit(2)), "SystemExit: 2"),
        (raises(ValueError("damaged")), "does not name the file in one line: damaged"),
        (warns, "RuntimeWarning: overflow"),
        (takes(2 * SPARE), "bytes of memory, allowed are"),
        (lambda path: parameters.read_npy(path.read_bytes()).T, "accepted, but AssertionError"),
        (lambda path: parameters.read_npy(path.read_bytes()) + 1, "accepted, but AssertionError"),
        (
            lambda path: parameters.read_npy(path.read_bytes()).astype("f4"),
            "accepted, but Assertion",
        ),
    ],
)
def test_a_reader_that_is_wrong_is_caught_and_its_file_kept(
    tmp_path: Path, read: Callable[[Path], Any], said: str
) -> None:
    tally = fuzz(reading(read), range(2), seed=7, failures=tmp_path)
    assert (tally.files, len(tally.wrong), tally.accepted) == (2, 2, 0)
    for number, text in enumerate(tally.wrong):
        assert text.startswith(f"npy, seed 7, file {number}: ")
        assert said in text
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [RIGHT, RIGHT]


@pytest.mark.parametrize(
    "kind", [kind for kind in FORMATS if kind.name in ROWS], ids=lambda kind: kind.name
)
def test_rows_that_are_not_those_of_the_file_are_caught(tmp_path: Path, kind: Format) -> None:
    path, numbers, tried = tmp_path / "rows", itertools.count(), 0
    while tried < 4:
        number = next(numbers)
        content = kind.make(np.random.default_rng(number))
        path.write_bytes(content)
        try:
            result = kind.read(path)
        except ValueError:
            continue
        tried += 1
        found, *told = result if isinstance(result[0], Rows) else [result]
        X, labels = found.inputs.X, found.labels
        for wrong in (
            found._replace(inputs=found.inputs._replace(X=X + 0.5)),
            found._replace(inputs=found.inputs._replace(X=X[:-1]), labels=labels[:-1]),
            found._replace(labels=np.array([*labels[1:], "none of these"])),
        ):
            with pytest.raises(AssertionError):
                kind.check((wrong, *told) if told else wrong, content)


def test_a_reader_that_is_right_is_not_caught() -> None:
    tally = fuzz(reading(takes(SPARE // 2)), range(2), seed=7)
    assert (tally.accepted, tally.wrong, tally.refused.total()) == (2, [], 0)
    assert tally.largest >= SPARE // 2


def test_a_reader_that_hangs_ends_the_process_with_a_traceback() -> None:
    code = (
        "import time; from benchmarks.fuzzing import readers as f; f.HANGS_AFTER = 0.1;"
        "f.fuzz(f.FORMATS[0]._replace(read=lambda _: time.sleep(600)), range(1), 0)"
    )
    done = subprocess.run(  # noqa: S603, our own code
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "in _read_one" in done.stderr


def test_the_command_prints_a_row_for_each_format_and_their_sum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--files", str(2 * len(FORMATS)), "--results", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = [line for line in out.splitlines() if line.startswith("|")]
    _, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == [*(kind.name for kind in FORMATS), "all"]
    assert [row[1] for row in rows] == ["2"] * len(FORMATS) + [str(2 * len(FORMATS))]
    assert err == ""
    page = (tmp_path / "fuzzing.md").read_text(encoding="utf-8")
    assert f"\n{2 * len(FORMATS)} damaged files, 0 handled wrongly.\n" in page
    assert "\n".join(lines) in page


def test_the_command_says_which_files_were_handled_wrongly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(readers, "FORMATS", [reading(raises(KeyError("weight_1")))])
    assert main(["--files", "1", "--seed", "3", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "npy, seed 3, file 0: KeyError: 'weight_1'\n"


# What the fuzz has found


def npy_claiming(description: str, elements: bytes) -> bytes:
    header = description.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + elements


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 6)}",
            r"claims the shape \(-1, 6\)",
        ),
        ("{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (6,)}", "elements are arrays"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (6, 2)}", "not an npy array"),
        ("[" * 20_000, "Header info length .* is large"),
    ],
)
def test_a_header_that_numpy_would_not_have_written_is_refused_in_one_line(
    description: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parameters.read_npy(npy_claiming(description, bytes(24)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("letters", [b"\xff\xff\xff\x7f", b"\x00\x00\x11\x00", b"\x00\xd8\x00\x00"])
def test_metadata_of_numbers_that_are_no_characters_is_refused(
    tmp_path: Path, letters: bytes
) -> None:
    description = "{'descr': '<U1', 'fortran_order': False, 'shape': ()}"
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.npy", npy_claiming(description, letters))
    with pytest.raises(ValueError, match=r"model\.npz: .*code point"):
        parameters.load_params(path)
