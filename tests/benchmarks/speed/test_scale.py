"""Memory that does not grow with the rows, and the benchmark that shows it at full size."""

import time
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import manual_nn
from benchmarks.speed import scale
from benchmarks.speed.scale import Sweep
from benchmarks.speed.timing import Figure

SIZE = 2**26  # bytes


@pytest.mark.parametrize("function", [manual_nn.loss, manual_nn.loss_and_grad])
@pytest.mark.parametrize("soft", [False, True])
def test_more_rows_in_chunks_take_not_a_byte_each(
    function: Callable[..., object], *, soft: bool
) -> None:
    """The rows are one, seen many times: neither X nor y takes memory either."""
    params = manual_nn.init_params([4, 3, 2], rng=np.random.default_rng(0))
    label = np.array([0.5, 0.5]) if soft else np.array(1)

    def peak(N: int) -> int:
        X, y = np.broadcast_to(np.ones(4), (N, 4)), np.broadcast_to(label, (N, *label.shape))
        tracemalloc.start()
        function(params, X, y, chunk_size=1000)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2000)
    assert peak(200_000) - peak(20_000) < 180_000


def test_memory_that_was_freed_within_the_call_is_seen() -> None:
    with scale.peak_anonymous_memory() as peak:
        array = np.ones(SIZE, np.uint8)
        before = peak.readings
        while peak.readings < before + 2:  # the second reading began after the array was there
            time.sleep(0.001)
        del array
    assert peak.above >= SIZE // 2**10 // 2  # the kernel counts in batches


def test_pages_of_a_file_are_not_anonymous_memory(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate(SIZE)
    array = np.memmap(path, np.uint8, mode="r")
    with scale.peak_anonymous_memory() as peak:
        assert array.max() == 0
        while peak.readings < 2:
            time.sleep(0.001)
    assert peak.above < SIZE // 2**10


def test_the_file_has_the_rows_asked_for(tmp_path: Path) -> None:
    scale.write_rows(tmp_path / "rows", 10_003)
    rows = np.memmap(tmp_path / "rows", np.uint8, mode="r").reshape(10_003, scale.WIDTHS[0])
    assert np.array_equal(rows[10_000:], rows[:3])
    assert len(np.unique(rows)) == 256


@pytest.mark.parametrize("power", [0, 1])
def test_the_exponent_is_that_of_the_times(power: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are equal, or equal to the size, are on a line of slope 0 or 1 to the bit."""

    def interleave(
        contenders: Mapping[str, object], rounds: int, *, threads: int
    ) -> dict[str, list[float]]:
        assert threads == 1
        return {name: [float(name) ** power] * rounds for name in contenders}

    monkeypatch.setattr(scale, "interleave", interleave)
    sweep = Sweep((1, 2, 4, 8), {"N": 4, "D": 3, "K": 2})
    result = scale.measure_exponent("H", sweep, rounds=3)
    assert result.exponent == Figure(power, power, power)
    assert result.milliseconds == [1000.0 * value**power for value in sweep.values]


def test_it_prints_its_tables_and_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "IN_ONE_PIECE", 300)
    sweep = Sweep((8, 16), {"N": 20, "D": 3, "K": 2})
    monkeypatch.setattr(scale, "SWEEPS", {"H": sweep})
    options = ["--rows", "100", "500", "--chunk-size", "64", "--rounds", "2"]
    scale.main([*options, "--folder", str(tmp_path), "--results", str(tmp_path)])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]
    assert [row[:2] for row in cells[2:6]] == [
        ("300", "all"),
        ("300", "64"),
        ("100", "64"),
        ("500", "64"),
    ]
    assert [row[0] for row in cells[8:]] == ["H"]
    assert [path.name for path in tmp_path.iterdir()] == ["scale.md"]
    page = (tmp_path / "scale.md").read_text(encoding="utf-8")
    assert all(f"\n{row}\n" in page for row in rows)
    exponent = cells[8][4].partition(" ")[0]
    assert f" MiB of arrays; time grows with the power {exponent} of H.\n" in page
