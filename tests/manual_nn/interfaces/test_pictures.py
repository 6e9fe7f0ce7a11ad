"""Pictures show what there is, legibly; how they look is for the eye.

Axes: N rows, K classes.
"""

import functools
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

import manual_nn
from manual_nn.interfaces.pictures import (
    COLUMNS,
    CONFUSED,
    MISTAKES,
    UNITS,
    plot_confusion_matrix,
    plot_first_layer,
    plot_history,
    plot_mistakes,
)
from manual_nn.training.history import History
from reference.arrays import Array
from tests.conftest import half_of

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
K = 10
CLASSES = tuple("0123456789")
LONG = tuple(f"{name} of many words" for name in ("aeroplane", "automobile", *"abcdefgh"))
SMALL, LARGE = (8, 8), (28, 28)


def in_both_shapes(table: list[Any]) -> list[tuple[tuple[int, int], Any]]:
    """Pair the shapes with the rows of a table that are tried in each."""
    return [
        (shape, row) for turn, shape in enumerate((SMALL, LARGE)) for row in half_of(table, turn)
    ]


def history_of(epochs: int, *, validation: bool = True) -> History:
    e = np.arange(1, epochs + 1)
    penalty = 0.03 - 0.01 / e
    history = History((0.09 + 0.25 / e).tolist(), (1 - 0.07 / e).tolist(), penalty=penalty.tolist())
    if validation:
        history.val_loss, history.val_acc = (0.08 + 0.16 / e).tolist(), (0.98 - 0.04 / e).tolist()
    return history


def images_of(N: int, shape: tuple[int, int]) -> Array:
    return np.random.default_rng(0).uniform(size=(N, shape[0] * shape[1]))


def probabilities_of(predicted: Array, certainty: Array) -> Array:
    """Give each row's class its certainty, and the others equal shares of the rest."""
    proba = np.repeat((1 - certainty)[:, None] / (K - 1), K, axis=1)
    proba[np.arange(len(predicted)), predicted] = certainty
    return proba


def shown_in(axes: Axes) -> Array:
    """Give the numbers that an image is made of."""
    return np.asarray(axes.images[0].get_array())


def mistaken(mistakes: int, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Make 400 rows, so many of them given to the class after the right one, the last surest."""
    y = np.arange(400) % K
    wrong = np.arange(400) < mistakes
    certainty = np.where(wrong, 0.5 + np.arange(400) / 1000, 0.9)
    return images_of(400, shape), y, probabilities_of((y + wrong) % K, certainty)


def network(hidden: tuple[int, ...], shape: tuple[int, int]) -> manual_nn.layers.dense.Params:
    sizes = [shape[0] * shape[1], *hidden, K]
    return manual_nn.init_params(sizes, rng=np.random.default_rng(0))


def confusion(mistakes: int, rows: int = 400) -> Figure:
    y = np.arange(rows) % K
    return plot_confusion_matrix(y, (y + (np.arange(rows) < mistakes)) % K, classes=CLASSES)


def pictures() -> dict[str, Callable[[], Figure]]:
    """Name a picture of every kind, in the cases that are far from each other."""
    drawn: dict[str, Callable[[], Figure]] = {
        "history": lambda: plot_history(history_of(30), stopped_early=True),
        "history without validation": lambda: plot_history(history_of(2, validation=False)),
        "confusion": lambda: confusion(390),
        "confusion, large counts": lambda: confusion(59_000, 60_000),
        "confusion, none": lambda: confusion(0),
        "weights of 64 units": lambda: plot_first_layer(
            network((256,), LARGE), image_shape=LARGE, classes=CLASSES
        ),
    }
    for mistakes in (0, 1, COLUMNS + 1, 300):
        X, y, proba = mistaken(mistakes, SMALL)
        drawn[f"{mistakes} mistakes"] = functools.partial(
            plot_mistakes, X, y, proba, image_shape=SMALL, classes=CLASSES
        )
    X, y, proba = mistaken(300, SMALL)
    drawn["mistakes of long names"] = functools.partial(
        plot_mistakes, X, y, proba, image_shape=SMALL, classes=LONG
    )
    drawn["confusion of long names"] = functools.partial(
        plot_confusion_matrix, y, (y + 1) % K, classes=LONG
    )
    drawn["weights of long names"] = functools.partial(
        plot_first_layer, network((), LARGE), image_shape=LARGE, classes=LONG
    )
    for hidden in ((), (1,), (COLUMNS + 1, 3)):
        drawn[f"weights {hidden}"] = functools.partial(
            plot_first_layer, network(hidden, LARGE), image_shape=LARGE, classes=CLASSES
        )
    return drawn


@pytest.fixture(name="drawn_texts")
def fixture_drawn_texts(monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """List the texts that are drawn from now on."""
    texts: list[Text] = []
    draw = Text.draw

    def draw_and_note(text: Text, renderer: RendererBase) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text():
            texts.append(text)

    monkeypatch.setattr(Text, "draw", draw_and_note)
    return texts


@pytest.mark.parametrize("picture", pictures())
def test_no_two_texts_overlap_and_none_leaves_the_picture(
    drawn_texts: list[Text], picture: str
) -> None:
    figure = pictures()[picture]()
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in drawn_texts}
    assert boxes
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
    for (text, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(other_box), (text, other)
    assert plt.get_fignums() == []  # nothing that a notebook would show a second time


@pytest.mark.parametrize("epochs", [1, 2, 30])
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("stopped_early", [False, True])
def test_both_panels_show_each_curve_at_whole_epochs(
    epochs: int, *, validation: bool, stopped_early: bool
) -> None:
    history = history_of(epochs, validation=validation)
    figure = plot_history(history, stopped_early=stopped_early)
    figure.draw_without_rendering()
    loss_axes, accuracy_axes = figure.axes
    curves = ["training", "validation"] if validation else ["training"]
    for axes, both in (
        (loss_axes, (np.subtract(history.train_loss, history.penalty), history.val_loss)),
        (accuracy_axes, (history.train_acc, history.val_acc)),
    ):
        lines = {line.get_label(): line for line in axes.lines}
        for label, values in zip(curves, both, strict=False):
            assert np.array_equal(lines[label].get_xdata(), np.arange(1, epochs + 1))
            assert np.array_equal(lines[label].get_ydata(), values)
            low, high = axes.get_ylim()
            assert low < min(values) <= max(values) < high
        marks = [line for label, line in lines.items() if "stopped early" in str(label)]
        assert [np.unique(mark.get_xdata()).tolist() for mark in marks] == (
            [[epochs]] if stopped_early else []
        )
        with_penalty = axes is loss_axes
        assert len(lines) == len(curves) + stopped_early + with_penalty
        if with_penalty:
            assert np.array_equal(lines["penalty on the weights"].get_ydata(), history.penalty)
        assert axes.get_xlabel() == "epoch"
        assert axes.get_xlim() == (0.5, epochs + 0.5)
        assert axes.get_axisbelow()  # what helps the eye lies behind what is measured
        assert all(mark.get_zorder() < lines["training"].get_zorder() for mark in marks)
        shown = [tick for tick in axes.get_xticks() if 0.5 <= tick <= epochs + 0.5]
        assert shown
        assert all(tick == round(tick) for tick in shown)
    assert loss_axes.get_ylabel().startswith("loss")
    assert accuracy_axes.get_ylabel() == "accuracy"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    mark = [f"stopped early after epoch {epochs}"] if stopped_early else []
    assert texts == [*curves, "penalty on the weights", *mark]


@pytest.mark.parametrize(("epochs", "step"), [(1, 1), (8, 1), (9, 2), (12, 2), (30, 5), (64, 10)])
def test_the_epochs_are_numbered_in_round_steps_of_which_there_are_at_most_8(
    epochs: int, step: int
) -> None:
    for axes in plot_history(history_of(epochs)).axes:
        ticks = [tick for tick in axes.get_xticks() if 0.5 <= tick <= epochs + 0.5]
        assert ticks == [epoch for epoch in range(1, epochs + 1) if epoch % step == 0]


def test_no_stop_is_marked_unless_it_is_asked_for() -> None:
    (legend,) = plot_history(history_of(3)).legends
    curves = ["training", "validation", "penalty on the weights"]
    assert [text.get_text() for text in legend.get_texts()] == curves


def test_without_a_penalty_there_is_no_curve_of_it() -> None:
    history = history_of(3)
    history.penalty = [0.0] * 3
    axes, _ = plot_history(history).axes
    assert [line.get_label() for line in axes.lines] == ["training", "validation"]
    assert np.array_equal(axes.lines[0].get_ydata(), history.train_loss)


def test_an_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_history(History(), tmp_path / "epoch_plots.png")
    assert not list(tmp_path.iterdir())


def test_the_confusion_matrix_counts_each_class_taken_for_each() -> None:
    y = np.array([0, 0, 0, 1, 1, 3])
    (axes,) = plot_confusion_matrix(y, np.array([0, 2, 2, 1, 0, 3]), classes="abcd").axes
    cells = {text.get_position(): int(text.get_text()) for text in axes.texts}
    assert len(cells) == 16  # (predicted, right): class 2 too, of which there is no row
    counted = {place: count for place, count in cells.items() if count}
    assert counted == {(0, 0): 1, (2, 0): 2, (1, 1): 1, (0, 1): 1, (3, 3): 1}
    assert axes.get_title() == "3 of 6 rows right (50.00%)"
    colours = axes.images[0].get_array()
    assert isinstance(colours, np.ma.MaskedArray)
    assert colours.mask.sum() == 14  # all but the two kinds of mistakes are left white
    assert (colours[0, 2], colours[1, 0]) == (2, 1)
    assert axes.images[0].get_clim() == (0, 2)


def test_of_many_classes_those_with_the_most_mistakes_are_shown() -> None:
    y = np.repeat(np.arange(CONFUSED + 2), 2)
    wrong = [k for k in range(CONFUSED + 2) if k not in {3, 7}]  # which are always right
    taken = dict(zip(wrong, [*wrong[1:], wrong[0]], strict=True))
    predicted = np.array([taken.get(k, k) for k in y.tolist()])
    names = [f"c{k}" for k in range(CONFUSED + 2)]
    (axes,) = plot_confusion_matrix(y, predicted, classes=names).axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [name for name in names if name not in {"c3", "c7"}]
    assert axes.get_title() == (
        f"4 of {2 * CONFUSED + 4} rows right (6.25%); the 30 of 32 classes with the most mistakes"
    )
    (axes,) = plot_confusion_matrix(y[:-4], y[:-4], classes=names[:-2]).axes
    assert len(axes.get_yticklabels()) == CONFUSED


@pytest.mark.parametrize("mistakes", [0, 1])
def test_the_scale_of_a_confusion_matrix_begins_at_none_and_has_a_length(mistakes: int) -> None:
    (axes,) = confusion(mistakes).axes
    assert axes.images[0].get_clim() == (0, 1)


def test_counts_can_be_read_on_every_colour_and_the_right_ones_stand_out() -> None:
    # A class is taken for the next 5, 4, 3 and 0 times: 3 is 0.6 of the most.
    y = np.repeat([0, 1, 2, 3], [5, 4, 3, 7])
    predicted = np.where(y == 3, 3, y + 1)
    (axes,) = plot_confusion_matrix(y, predicted, classes="abcd").axes
    texts = {text.get_position()[::-1]: text for text in axes.texts}  # (right, predicted)
    colours = {place: text.get_color() for place, text in texts.items()}
    assert [colours[row, row + 1] for row in range(3)] == ["white", "white", "black"]
    assert {colours[row, row] for row in range(4)} == {"black"}
    assert len({colours[0, 2], colours[3, 0], "black", "white"}) == 3  # none is pale
    bold = {place for place, text in texts.items() if text.get_fontweight() == "bold"}
    assert bold == {(row, row) for row in range(4)}


@pytest.mark.parametrize(
    ("shape", "mistakes"), in_both_shapes([0, 1, 5, COLUMNS + 1, MISTAKES, MISTAKES + 1, 300])
)
def test_the_mistakes_made_with_the_highest_probability_are_shown(
    shape: tuple[int, int], mistakes: int
) -> None:
    X, y, proba = mistaken(mistakes, shape)
    figure = plot_mistakes(X, y, proba, image_shape=shape, classes=CLASSES)
    shown = [axes for axes in figure.axes if axes.images]
    rows = np.arange(mistakes)[::-1][:MISTAKES]
    assert len(shown) == len(rows)
    for axes, row in zip(shown, rows, strict=True):
        assert axes.axison
        assert np.array_equal(shown_in(axes), X[row].reshape(shape))
        taken, certainty = axes.get_title().splitlines()
        assert taken == f"{y[row]} taken for {(y[row] + 1) % K}"
        assert certainty == f"{0.5 + row / 1000:.1%} sure"
    assert not any(axes.axison for axes in figure.axes if not axes.images)
    said = {
        0: "no mistakes to show",
        25: "the 24 surest of 25 mistakes",
        300: "the 24 surest of 300 mistakes",
    }
    right = f"{400 - mistakes} of 400 rows right ({(400 - mistakes) / 4:.2f}%)"
    shown_are = said.get(mistakes, "the mistakes, the surest first")
    assert figure.get_suptitle() == f"{right}; {shown_are}"


@pytest.mark.parametrize(
    ("mistakes", "grid"),
    [(0, (1, 1)), (1, (1, 1)), (8, (1, 8)), (9, (2, 5)), (16, (2, 8)), (17, (3, 6)), (24, (3, 8))],
)
def test_images_stand_in_lines_of_up_to_8_about_equally_long(
    mistakes: int, grid: tuple[int, int]
) -> None:
    X, y, proba = mistaken(mistakes, SMALL)
    spec = plot_mistakes(X, y, proba, image_shape=SMALL, classes=CLASSES).axes[0].get_subplotspec()
    assert spec is not None
    assert spec.get_gridspec().get_geometry() == grid


def test_long_names_are_cut_to_what_there_is_room_for() -> None:
    proba = probabilities_of(np.array([1]), np.array([0.75]))
    X, y = images_of(1, SMALL), np.array([0])
    for names, title in (
        (("ox", "ai"), "ox taken for ai"),
        (("ox", "ape"), "ox → ape"),
        (("aeroplane", "automobile"), "aero… → auto…"),
        (("truck", "seaplane"), "truck → seap…"),
    ):
        figure = plot_mistakes(X, y, proba, image_shape=SMALL, classes=(*names, *CLASSES[2:]))
        assert figure.axes[0].get_title() == f"{title}\n75.0% sure"
    axes, *_ = plot_confusion_matrix(y, y, classes=LONG).axes
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [
        "aeroplane of …",
        "automobile of…",
    ]
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}
    axes, *_ = plot_confusion_matrix(y, y, classes=("oaks", "ash")).axes
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {0}


def test_mistakes_are_drawn_on_one_scale_of_grey() -> None:
    X, y, proba = mistaken(3, SMALL)
    figure = plot_mistakes(X, y, proba, image_shape=SMALL, classes=CLASSES)
    scales = {axes.images[0].get_clim() for axes in figure.axes}
    assert scales == {(X.min(), X.max())}


@pytest.mark.parametrize(("shape", "hidden"), in_both_shapes([(), (1,), (20, 5), (64,)]))
def test_the_weights_of_every_unit_are_an_image_on_one_scale(
    shape: tuple[int, int], hidden: tuple[int, ...]
) -> None:
    params = network(hidden, shape)
    figure = plot_first_layer(params, image_shape=shape, classes=CLASSES)
    *panels, bar = figure.axes
    shown = [axes for axes in panels if axes.images]
    weight = params[0].weight
    assert len(shown) == weight.shape[1]
    for unit, axes in enumerate(shown):
        assert np.array_equal(shown_in(axes), weight[:, unit].reshape(shape))
        largest = float(np.quantile(abs(weight), 0.99))
        assert axes.images[0].get_clim() == (-largest, largest)
        assert axes.get_title() == f"{'unit' if hidden else 'class'} {unit}"
    assert figure.get_suptitle() == "weights of the first layer"
    assert bar.get_ylim() == shown[0].images[0].get_clim()
    what = "unit" if hidden else "class"
    sign = f"a large input raises the {what} where red, lowers it where blue"
    assert figure.get_supxlabel() == sign


def test_of_more_than_64_units_those_with_the_largest_norms_are_shown_and_counted() -> None:
    params = network((100,), SMALL)
    largest = np.sort(np.argsort(np.linalg.norm(params[0].weight, axis=0))[-UNITS:])
    figure = plot_first_layer(params, image_shape=SMALL, classes=CLASSES)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == [f"unit {unit}" for unit in largest]
    assert "the 64 of 100 units with the largest norms" in figure.get_suptitle()


def test_an_outlier_takes_no_colour_from_the_other_weights() -> None:
    (layer,) = network((), SMALL)
    ordinary = np.where(np.arange(640).reshape(64, 10) % 2, 0.5, -0.5)
    ordinary[0, 0] = 100.0
    for weight, largest in ((ordinary, 0.5), (np.where(ordinary == 100.0, 2.0, 0.0), 2.0)):
        params = (layer._replace(weight=weight),)
        figure = plot_first_layer(params, image_shape=SMALL, classes=CLASSES)
        assert {axes.images[0].get_clim() for axes in figure.axes[:-1]} == {(-largest, largest)}


def test_weights_that_are_all_0_are_drawn() -> None:
    zero = tuple(manual_nn.Dense(*(0 * array for array in layer)) for layer in network((), SMALL))
    figure = plot_first_layer(zero, image_shape=SMALL, classes=CLASSES)
    figure.draw_without_rendering()
    assert {axes.images[0].get_clim() for axes in figure.axes[:-1]} == {(-1, 1)}


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


@pytest.mark.parametrize(
    ("missing", "picture"),
    [("matplotlib.figure", "history"), ("sklearn", "confusion")],
)
def test_what_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, missing: str, picture: str
) -> None:
    draw = pictures()[picture]
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"this needs .*pip install 'manual-nn\[train\]'"):
        draw()


def test_no_pyplot_state_is_made(tmp_path: Path) -> None:
    code = (
        "import sys; from manual_nn.interfaces.pictures import plot_history, History;"
        "plot_history(History([1], [1], [1], [1], [0]), sys.argv[1]);"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "epoch_plots.png")]
    subprocess.run(command, check=True)  # noqa: S603, our own code
