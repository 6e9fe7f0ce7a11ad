"""The table of the seeds has a row for each, their mean and the exercise's own figures."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import mnist_seeds
from manual_nn.files.data_sets import Dataset


def easy_mnist(_: object) -> Dataset:
    """MNIST in its shape, but easy: class k is a bright pixel, k, and noise."""
    rng, y = np.random.default_rng(0), np.arange(200) % 10
    X = rng.integers(0, 50, (200, 784), dtype=np.uint8)
    X[np.arange(200), y] = 255
    return Dataset("easy", X, y, X, y, tuple("0123456789"), image_shape=(28, 28))


def test_there_is_a_row_for_each_seed_their_mean_and_the_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist_seeds, "load_mnist", easy_mnist)
    mnist_seeds.main(["--seeds", "5", "6", "--results", str(tmp_path)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    headings, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows] == ["5", "6", "mean", "origin"]
    assert {len(row) for row in rows} == {len(headings)}
    test = headings.index("test accuracy")
    accuracies = [float(row[test]) for row in rows[:2]]
    assert float(rows[2][test]) == pytest.approx(np.mean(accuracies), abs=1e-5)
    assert rows[3][test] == "0.97630"
    page = (tmp_path / "mnist_seeds.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in page
    assert f"2 seeds: test accuracy {min(accuracies):.5f} to {max(accuracies):.5f}" in page
