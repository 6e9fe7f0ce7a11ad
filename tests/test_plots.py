"""The picture of a training run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from manual_nn.plots import draw_history, plot_history
from manual_nn.training import History

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def history_of(epochs: int) -> History:
    e = np.arange(1, epochs + 1)
    return History(
        (0.09 + 0.25 / e).tolist(),
        (1 - 0.07 / e).tolist(),
        (0.08 + 0.16 / e).tolist(),
        (0.98 - 0.04 / e).tolist(),
    )


@pytest.mark.parametrize("epochs", [1, 2, 6, 30])
@pytest.mark.parametrize("stopped_early", [False, True])
def test_both_panels_show_both_curves_at_whole_epochs(epochs: int, *, stopped_early: bool) -> None:
    history = history_of(epochs)
    figure = draw_history(history, stopped_early=stopped_early)
    figure.draw_without_rendering()
    loss_axes, accuracy_axes = figure.axes
    for axes, curves in (
        (loss_axes, (history.train_loss, history.val_loss)),
        (accuracy_axes, (history.train_acc, history.val_acc)),
    ):
        lines = {line.get_label(): line for line in axes.lines}
        for label, values in zip(("training", "validation"), curves, strict=True):
            assert np.array_equal(lines[label].get_xdata(), np.arange(1, epochs + 1))
            assert np.array_equal(lines[label].get_ydata(), values)
            low, high = axes.get_ylim()
            assert low < min(values) <= max(values) < high
        marks = [line for label, line in lines.items() if "stopped early" in str(label)]
        assert [np.unique(mark.get_xdata()).tolist() for mark in marks] == (
            [[epochs]] if stopped_early else []
        )
        assert axes.get_xlabel() == "epoch"
        shown = [tick for tick in axes.get_xticks() if 0.5 <= tick <= epochs + 0.5]
        assert shown
        assert all(tick == round(tick) for tick in shown)
    assert loss_axes.get_ylabel().startswith("loss")
    assert accuracy_axes.get_ylabel() == "accuracy"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    mark = [f"stopped early after epoch {epochs}"] if stopped_early else []
    assert texts == ["training", "validation", *mark]


def test_the_file_is_a_png_and_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "epoch_plots.png"
    plot_history(history_of(6), path)
    before = path.read_bytes()
    plot_history(history_of(6), path, stopped_early=True)
    assert before.startswith(PNG_MAGIC)
    assert path.read_bytes() != before
    height, width, _ = image.imread(path).shape
    assert (height, width) == (570, 1350)
    assert [file.name for file in tmp_path.iterdir()] == ["epoch_plots.png"]


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_history(History(), tmp_path / "epoch_plots.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib.*pip install 'manual-nn\[train\]'"):
        draw_history(history_of(1))


def test_no_pyplot_state_is_made(tmp_path: Path) -> None:
    code = (
        "import sys; from manual_nn.plots import plot_history, History;"
        "plot_history(History([1], [1], [1], [1]), sys.argv[1]);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "epoch_plots.png")]
    subprocess.run(command, check=True)  # noqa: S603, our own code
