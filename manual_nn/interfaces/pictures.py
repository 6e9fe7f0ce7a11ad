"""Pictures: curves of a training run, confusion matrix, mistakes, weights of the first layer.

Each function draws a figure that pyplot does not manage, writes it to a PNG file if it is given a
path, and returns it. Axes: N rows, D inputs, H units of the first layer, K classes.
"""

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.checks.extras import train_extra
from manual_nn.files.parameters import replacing
from manual_nn.files.scaling import Numbers
from manual_nn.layers.dense import Params
from manual_nn.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and vermilion of Okabe and Ito's palette, which colour-blind readers can tell apart.
TRAINING: dict[str, Any] = {"color": "#0072B2", "label": "training", "marker": "o"}
VALIDATION: dict[str, Any] = {"color": "#D55E00", "label": "validation", "marker": "s"}
GREY, PALE = "#555555", "#bbbbbb"
PENALTY: dict[str, Any] = {
    "color": GREY,
    "label": "penalty on the weights",
    "linestyle": ":",
    "linewidth": 1.6,
}
IN_COLOUR = 0.99  # the part of the weights whose colours differ; one outlier would bleach the rest

MISTAKES, UNITS, CONFUSED = 24, 64, 30  # shown at most
COLUMNS = 8
SHORT, LEVEL = 14, 4  # letters of a name: at most, and if names are to stand beside each other
MISTAKEN, IN_MISTAKEN = 15, 5  # letters above a mistake, and of each of two names there


def plot_history(
    history: History, path: str | os.PathLike[str] | None = None, *, stopped_early: bool = False
) -> "Figure":
    """Draw loss and accuracy after each epoch, for training and, if there are any, validation rows.

    Both losses are drawn without the penalty on the weights, so that they can be compared; where
    there is one, it has a curve of its own.

    Args:
        history: at least one epoch.
        path: the PNG file to write, which is replaced, or None for no file.
        stopped_early: whether to mark the last epoch as the one training stopped after.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: the history is empty.
    """
    if not history.train_loss:
        raise ValueError("the history must have at least one epoch, got none")
    figure = _figure(9, 3.8, wspace=0.06)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    _draw_curves(loss_axes, "loss", history.loss_of_rows, history.val_loss)
    if any(history.penalty):
        loss_axes.plot(range(1, len(history) + 1), history.penalty, **PENALTY)
    _draw_curves(accuracy_axes, "accuracy", history.train_acc, history.val_acc)
    if stopped_early:
        for axes in (loss_axes, accuracy_axes):
            _mark_stop(axes, len(history.train_loss))
    handles, labels = loss_axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return _written(figure, path)


def plot_confusion_matrix(
    y: npt.NDArray[np.integer],
    predicted: npt.NDArray[np.integer],
    path: str | os.PathLike[str] | None = None,
    *,
    classes: Sequence[str],
) -> "Figure":
    """Draw how often each class is taken for each other; mistakes are coloured by number.

    Of more than 30 classes, those are drawn that the most mistakes are about.

    Args:
        y: the right class numbers, (N,).
        predicted: the class numbers found, (N,).
        path: the PNG file to write, which is replaced, or None for no file.
        classes: the names of the classes, K.

    Returns:
        The figure.

    Raises:
        ImportError: matplotlib or scikit-learn is not installed.
        OSError: the file cannot be written.
    """
    with train_extra("scikit-learn"):
        from sklearn import metrics  # noqa: PLC0415, the core needs NumPy alone
    counts = metrics.confusion_matrix(y, predicted, labels=np.arange(len(classes)))
    title = _right_of(int(np.trace(counts)), len(y))
    mistakes = counts * ~np.eye(len(classes), dtype=bool)
    if len(classes) > CONFUSED:
        most_first = np.argsort(-(mistakes.sum(axis=0) + mistakes.sum(axis=1)), kind="stable")
        shown = np.sort(most_first[:CONFUSED])
        title += f"; the {CONFUSED} of {len(classes)} classes with the most mistakes"
        counts, mistakes = (table[np.ix_(shown, shown)] for table in (counts, mistakes))
        classes = [classes[k] for k in shown]
    names = list(map(_short, classes))
    side = max(4.0, 0.55 * len(names))
    figure = _figure(side, side + 0.3)
    axes = figure.subplots()
    display = metrics.ConfusionMatrixDisplay(counts, display_labels=names)
    display.plot(
        ax=axes,
        cmap="OrRd",
        colorbar=False,
        values_format="d",
        text_kw={"fontsize": 9},
        xticks_rotation="vertical" if max(map(len, names)) > LEVEL else "horizontal",
    )
    # The right ones are many times the wrong ones: they stay white, outside the scale of colours.
    most = max(1, mistakes.max())
    display.im_.set(data=np.ma.masked_equal(mistakes, 0), clim=(0, most))
    for (row, column), text in np.ndenumerate(display.text_):
        if row == column:
            text.set(color="black", fontweight="bold")
        elif mistakes[row, column] > 0.6 * most:
            text.set_color("white")
        else:
            text.set_color("black" if mistakes[row, column] else PALE)
    axes.set(xlabel="predicted class", ylabel="right class")
    axes.tick_params(length=0)
    axes.spines[:].set_color(PALE)
    axes.set_title(title)
    return _written(figure, path)


def plot_mistakes(
    X: Numbers,
    y: npt.NDArray[np.integer],
    probabilities: Array,
    path: str | os.PathLike[str] | None = None,
    *,
    image_shape: tuple[int, int],
    classes: Sequence[str],
) -> "Figure":
    """Draw the rows that are given to a wrong class, those with the most probable one first.

    Args:
        X: the images as rows of pixels, (N, D).
        y: the right class numbers, (N,).
        probabilities: those of all classes, (N, K), as `predict_proba` gives them.
        path: the PNG file to write, which is replaced, or None for no file.
        image_shape: height and width of an image.
        classes: the names of the classes, K.

    Returns:
        The figure: up to 24 images.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != y)
    shown = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:MISTAKES]
    lines, columns = _grid(len(shown))
    height = 0.9 + 1.4 * lines if len(shown) else 0.6
    figure = _figure(9, height, wspace=0.04, hspace=0.06)
    for axes, row in zip(_panels(figure, lines, columns), shown, strict=False):
        axes.imshow(X[row].reshape(image_shape), cmap="gray_r", vmin=X.min(), vmax=X.max())
        axes.axis("on")
        certainty = probabilities[row, predicted[row]]
        right, taken = classes[y[row]], classes[predicted[row]]
        what = f"{right} taken for {taken}"
        if len(what) > MISTAKEN:
            what = f"{_short(right, IN_MISTAKEN)} → {_short(taken, IN_MISTAKEN)}"
        axes.set_title(f"{what}\n{certainty:.1%} sure", fontsize=8.5)
    title = _right_of(len(y) - len(wrong), len(y))
    if len(shown) < len(wrong):
        title += f"; the {len(shown)} surest of {len(wrong):,} mistakes"
    elif len(wrong):
        title += "; the mistakes, the surest first"
    else:
        title += "; no mistakes to show"
    figure.suptitle(title, fontsize=11)
    return _written(figure, path)


def plot_first_layer(
    params: Params,
    path: str | os.PathLike[str] | None = None,
    *,
    image_shape: tuple[int, int],
    classes: Sequence[str],
) -> "Figure":
    """Draw the weights of each unit of the first layer as an image, all on one scale of colours.

    The hundredth of the weights that are the largest have the fullest colours, red or blue.

    Args:
        params: the layers. If there is but one, its units are the classes.
        path: the PNG file to write, which is replaced, or None for no file.
        image_shape: height and width of an image.
        classes: the names of the classes, K.

    Returns:
        The figure: all units, or the 64 whose weights have the largest Euclidean norms.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    weight = params[0].weight  # (D, H)
    norms = np.linalg.norm(weight, axis=0)
    units = np.sort(np.argsort(-norms, kind="stable")[:UNITS])
    shown = abs(weight[:, units])
    largest = float(np.quantile(shown, IN_COLOUR)) or float(shown.max()) or 1.0
    kind = "unit" if len(params) > 1 else "class"
    lines, columns = _grid(len(units))
    figure = _figure(1.4 + max(3, columns), 0.95 + 1.15 * lines, wspace=0.04, hspace=0.04)
    panels = _panels(figure, lines, columns)
    for axes, unit in zip(panels, units, strict=False):
        image = weight[:, unit].reshape(image_shape)
        drawn = axes.imshow(image, cmap="RdBu_r", vmin=-largest, vmax=largest)
        axes.axis("on")
        name = f"unit {unit}" if len(params) > 1 else _short(f"class {classes[unit]}", SHORT)
        axes.set_title(name, fontsize=8, pad=3)
    bar = figure.colorbar(
        drawn,
        ax=panels,
        shrink=min(0.9, 4 / lines),
        aspect=25,
        pad=0.02,
        panchor=False,
        extend="both",
    )
    bar.outline.set_visible(False)
    sign = f"a large input raises the {kind} where red, lowers it where blue"
    figure.supxlabel(sign, fontsize=9)
    title = "weights of the first layer"
    if len(units) < len(norms):
        title += f"; the {len(units)} of {len(norms):,} {kind}s with the largest norms"
    figure.suptitle(title, fontsize=11)
    return _written(figure, path)


def _figure(width: float, height: float, *, wspace: float = 0.02, hspace: float = 0.02) -> "Figure":
    with train_extra("matplotlib"):
        from matplotlib.figure import Figure  # noqa: PLC0415, the core needs NumPy alone
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415
    layout = ConstrainedLayoutEngine(wspace=wspace, hspace=hspace)
    return Figure(figsize=(width, height), dpi=150, layout=layout, facecolor="white")


def _written(figure: "Figure", path: str | os.PathLike[str] | None) -> "Figure":
    if path is not None:
        with replacing(path) as file:
            figure.savefig(file, format="png")
    return figure


def _short(name: str, length: int = SHORT) -> str:
    """Cut a name that is too long to be drawn."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _grid(count: int) -> tuple[int, int]:
    """Choose lines and columns for so many images, the lines about equally long."""
    lines = max(1, math.ceil(count / COLUMNS))
    return lines, max(1, math.ceil(count / lines))


def _panels(figure: "Figure", lines: int, columns: int) -> list["Axes"]:
    """Make axes for images, hidden until they are turned on."""
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(PALE)
        axes.axis("off")
    return panels


def _draw_curves(axes: "Axes", quantity: str, train: list[float], val: list[float]) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415, the core needs NumPy alone

    epochs = range(1, len(train) + 1)
    for values, look in ((train, TRAINING), (val, VALIDATION)):
        if values:  # there may have been no validation
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


def _right_of(right: int, rows: int) -> str:
    return f"{right:,} of {rows:,} rows right ({right / rows:.2%})"
