"""The picture of a training run: loss and accuracy per epoch."""

import os
from typing import TYPE_CHECKING, Any

from manual_nn.data import train_extra
from manual_nn.storage import replacing
from manual_nn.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette, which colour-blind readers can tell apart.
TRAINING: dict[str, Any] = {"color": "#0072B2", "label": "training", "marker": "o"}
VALIDATION: dict[str, Any] = {"color": "#D55E00", "label": "validation", "marker": "s"}
GREY = "#555555"


def plot_history(
    history: History, path: str | os.PathLike[str], *, stopped_early: bool = False
) -> None:
    """Write the picture of a training run to a PNG file.

    Args:
        history: at least one epoch.
        path: the file, which is replaced.
        stopped_early: whether to mark the last epoch as the one training stopped after.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: the history is empty.
    """
    figure = draw_history(history, stopped_early=stopped_early)
    with replacing(path) as file:
        figure.savefig(file, format="png")


def draw_history(history: History, *, stopped_early: bool = False) -> "Figure":
    """Draw loss and accuracy after each epoch, each for training and validation rows.

    Args:
        history: at least one epoch.
        stopped_early: whether to mark the last epoch as the one training stopped after.

    Returns:
        The figure, unknown to pyplot.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: the history is empty.
    """
    with train_extra("matplotlib"):
        from matplotlib.figure import Figure  # noqa: PLC0415, the core needs NumPy alone
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415
    if not len(history):
        raise ValueError("the history must have at least one epoch")
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(9, 3.8), dpi=150, layout=layout, facecolor="white")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    _draw(loss_axes, "loss (training: with the penalty)", history.train_loss, history.val_loss)
    _draw(accuracy_axes, "accuracy", history.train_acc, history.val_acc)
    if stopped_early:
        for axes in (loss_axes, accuracy_axes):
            _mark_stop(axes, len(history))
    handles, labels = loss_axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _draw(axes: "Axes", quantity: str, train: list[float], val: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415, the core needs NumPy alone

    epochs = range(1, len(train) + 1)
    for values, look in ((train, TRAINING), (val, VALIDATION)):
        axes.plot(epochs, values, markersize=4, linewidth=1.6, **look)
    axes.set_xlim(0.5, len(train) + 0.5)
    axes.margins(y=0.08)
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_stop(axes: "Axes", epoch: int) -> None:
    label = f"stopped early after epoch {epoch}"
    axes.axvline(epoch, color=GREY, linestyle="--", linewidth=1.2, zorder=1, label=label)
