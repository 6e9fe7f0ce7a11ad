"""The picture of a comparison, from leaves made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference import GradientReport, Leaf, Verdict
from reference.arrays import Array
from reference.diagnosis.codes import Cause, Code, Line, Mark
from tests.support.leaves import off_by

WRONG = off_by("['w']", [[1, 2], [4, -8]], off=[[0.0, 0.0], [0.5, -0.125]], bound=0.0625)
RIGHT = off_by("['b']", [1.0, -3.0, 0.5], off=[0.125, 0, 0])
SCALAR = off_by("", 2.0, off=0.25, bound=0.5)
EMPTY = off_by("['e']", np.zeros((0, 3)))


def report_of(*leaves: Leaf) -> GradientReport:
    """Report on leaves of which one is wrong."""
    return GradientReport(Verdict.MISMATCH, leaves, (), (), "float64")


def ratios_of(*ratios: float) -> list[Leaf]:
    """Make arrays of one number whose errors are these parts of their bounds."""
    return [off_by(f"[{i}]", 1.0, off=ratio / 4) for i, ratio in enumerate(ratios)]


def image_of(leaf: Leaf) -> Any:
    """Draw one array."""
    return report_of(leaf).plot().axes[0].images[0]


def cells_of(leaf: Leaf) -> Array:
    return np.ma.filled(image_of(leaf).get_array(), np.nan)


def test_a_cell_shows_the_error_in_parts_of_the_bound() -> None:
    np.testing.assert_array_equal(cells_of(WRONG), [[0.001, 0.001], [8, 2]])


def test_what_is_infinitely_wrong_is_as_red_as_can_be() -> None:
    """An element whose bound is 0, as a dead unit's is, and one that is no number."""
    leaf = off_by("", [[0.0, 1.0, 1.0, 1.0]], off=[[1.0, np.nan, 0, 0]], bound=[[0.0, 1, 1, 1]])
    image = image_of(leaf)
    assert (image.norm.vmin, image.norm.vmax) == (0.001, 1000)
    (worst, other, *right), (at_bound,) = (
        image.cmap(image.norm(cells)).tolist() for cells in (image.get_array()[0], np.array([1.0]))
    )
    red, blue = image.cmap([1.0, 0.0]).tolist()
    assert worst == other == red
    assert right == [blue, blue]
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
    assert min(at_bound) > 0.9  # white, in the middle of the scale


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [((2, 3), (2, 3)), ((1, 3), (1, 3)), ((2, 3, 4), (6, 4)), ((4, 1, 2), (4, 2))],
)
def test_the_last_axis_goes_across_and_matrices_stand_one_below_the_other(
    shape: tuple[int, ...], drawn: tuple[int, int]
) -> None:
    ratios = 1 + np.arange(np.prod(shape, dtype=int)).reshape(shape) / 8
    leaf = off_by("", np.zeros(shape), off=ratios, bound=1.0)
    np.testing.assert_array_equal(cells_of(leaf), ratios.reshape(drawn))


@pytest.mark.parametrize(
    ("shape", "side", "said"),
    [
        ((3, 96), (1, 1), "column"),
        ((3, 97), (1, 2), "column; a cell is the worst of 1 x 2"),
        ((97, 3), (2, 1), "column; a cell is the worst of 2 x 1"),
        ((193, 97), (3, 2), "column; a cell is the worst of 3 x 2"),
    ],
)
def test_a_large_leaf_is_shown_by_the_worst_of_each_block(
    shape: tuple[int, int], side: tuple[int, int], said: str
) -> None:
    ratios = np.random.default_rng(0).integers(1, 64, size=shape) / 16
    axes = report_of(off_by("['w']", np.zeros(shape), off=ratios, bound=1.0)).plot().axes[0]
    high, wide = side
    cells = [
        [ratios[i : i + high, j : j + wide].max() for j in range(0, shape[1], wide)]
        for i in range(0, shape[0], high)
    ]
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(drawn, cells)
    assert axes.get_title() == "['w']: mismatch"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (said, "row")
    assert max(drawn.shape) <= 96


@pytest.mark.parametrize(("size", "wide"), [(1, 1), (3, 1), (96, 1), (97, 2), (200, 3)])
def test_a_vector_is_drawn_as_bars_of_the_height_of_its_errors(size: int, wide: int) -> None:
    """From the lowest that is drawn, and in the colours of cells, each over its elements."""
    ratios = np.random.default_rng(0).integers(1, 64, size=size) / 16
    leaf = off_by("", np.zeros(size), off=ratios, bound=1.0)
    axes = report_of(leaf).plot().axes[0]
    bars: list[Any] = list(axes.patches)
    assert not axes.images
    starts = range(0, size, wide)
    worst = [ratios[i : i + wide].max() for i in starts]
    tops = [bar.get_y() + bar.get_height() for bar in bars]
    np.testing.assert_allclose(tops, worst, rtol=1e-12)
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert spans == [(i - 0.5, min(i + wide, size) - 0.5) for i in starts]
    image = image_of(WRONG)
    colours = [bar.get_facecolor() for bar in bars]
    np.testing.assert_array_equal(colours, image.cmap(image.norm(worst)))
    assert axes.get_xlim() == (-0.5, size - 0.5)
    assert (axes.get_yscale(), axes.get_ylim()) == ("log", (0.001, 1000))
    assert [line.get_ydata() for line in axes.lines] == [[1, 1]]
    assert axes.get_xlabel() == f"element; a bar is the worst of {wide}" if wide > 1 else "element"


def test_a_number_is_one_bar() -> None:
    bars: list[Any] = list(report_of(SCALAR).plot().axes[0].patches)
    assert [bar.get_y() + bar.get_height() for bar in bars] == [0.5]


@pytest.mark.parametrize(
    ("shape", "edges", "ticks"),
    [
        ((3, 2, 4), [1.5, 3.5], {0.5: "[0]", 2.5: "[1]", 4.5: "[2]"}),
        ((2, 2, 1, 3), [0.5, 1.5, 2.5], {0: "[0,0]", 1: "[0,1]", 2: "[1,0]", 3: "[1,1]"}),
        ((1, 2, 3), [], {0.5: "[0]"}),
        ((33, 2, 2), [], {2 * i + 0.5: f"[{i}]" for i in range(0, 33, 3)}),
    ],
)
def test_an_array_of_more_axes_says_which_matrix_is_which(
    shape: tuple[int, ...], edges: list[float], ticks: dict[float, str]
) -> None:
    axes = report_of(off_by("", np.zeros(shape))).plot().axes[0]
    assert [np.asarray(line.get_ydata())[0] for line in axes.lines] == edges
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert dict(zip(axes.get_yticks(), labels, strict=True)) == ticks
    rows = "1 row" if shape[-2] == 1 else f"{shape[-2]} rows"
    assert axes.get_ylabel() == f"matrices of {rows} each, by their index"


@pytest.mark.parametrize("shape", [(2, 3), (200, 2)])
def test_an_element_is_drawn_at_its_index(shape: tuple[int, int]) -> None:
    """However many are in a block: the picture goes half a cell beyond the first and the last."""
    image = image_of(off_by("", np.zeros(shape)))
    assert image.get_extent() == [-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5]


def test_ticks_are_indices_and_an_axis_of_one_has_none() -> None:
    shapes = [(2, 2), (1, 2), (2, 1)]
    figure = report_of(*(off_by("", np.zeros(shape)) for shape in shapes)).plot()
    within = [
        [
            [tick for tick in ticks if -0.5 <= tick <= 1.5]
            for ticks in (a.get_xticks(), a.get_yticks())
        ]
        for a in figure.axes[:3]
    ]
    assert within == [[[0, 1], [0, 1]], [[0, 1], []], [[], [0, 1]]]


@pytest.mark.parametrize(
    ("count", "grid"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (7, (3, 3)), (12, (4, 3))],
)
def test_panels_fill_a_grid_of_three_columns_at_most(count: int, grid: tuple[int, int]) -> None:
    figure = report_of(*ratios_of(*(1 / 4 for _ in range(count)))).plot()
    *panels, bar = figure.axes
    assert [bool(axes.patches) for axes in panels] == [axes.axison for axes in panels]
    assert sum(axes.axison for axes in panels) == count
    place = panels[0].get_subplotspec()
    assert place is not None
    assert place.get_gridspec().get_geometry() == grid
    assert bar.get_ylabel() == "error / bound (red: beyond the bound)"


def test_a_picture_grows_with_its_grid() -> None:
    """By as much for each column, and for each row, so that a panel is as large in any."""
    one, two, three, six = (  # in thousandths of an inch
        np.round(1000 * report_of(*ratios_of(*(1 / 4,) * count)).plot().get_size_inches())
        for count in (1, 2, 3, 6)
    )
    width, more_height = two - one
    assert (width > 0, more_height) == (True, 0)
    assert one[0] > width  # for the bar
    np.testing.assert_array_equal(three, np.add(two, (width, 0)))
    np.testing.assert_array_equal(six, three * [1, 2])


def test_the_worst_dozen_of_more_arrays_are_drawn_the_worst_first() -> None:
    leaves = [EMPTY, *ratios_of(*(2 * i for i in range(14)))]
    titles = [axes.get_title() for axes in report_of(*leaves).plot().axes]
    assert titles[:12] == [f"[{i}]: mismatch" for i in range(13, 1, -1)]
    assert not any(titles[12:])


def test_the_one_array_of_a_gradient_is_called_that() -> None:
    assert report_of(SCALAR).plot().axes[0].get_title() == "gradient: match"


def test_a_picture_is_written_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    report_of(WRONG).plot()
    assert not list(tmp_path.iterdir())
    report_of(WRONG).plot(tmp_path / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("leaves", [[], [EMPTY]])
def test_a_picture_of_nothing_is_refused(leaves: list[Leaf]) -> None:
    with pytest.raises(ValueError, match="nothing to draw, the check ended with: mismatch"):
        report_of(*leaves).plot()


def test_the_source_stands_below_with_what_is_wrong_in_a_colour_of_its_own() -> None:
    marks = tuple((Line(__file__, n + 1, ""), mark) for n, mark in enumerate(Mark))
    cause = Cause(Code.PATH_MISSING, "", "", marks=marks)
    report = GradientReport(Verdict.MISMATCH, [WRONG], [cause], (), "float64")
    figure = report.plot()
    plain = report_of(WRONG).plot()
    assert figure.get_size_inches()[1] > plain.get_size_inches()[1]
    assert figure.axes[0].get_title() == plain.axes[0].get_title()
    texts = figure.axes[-1].texts
    assert [text.get_text() for text in texts] == report.source.splitlines()
    assert len({text.get_color() for text in texts}) == len(texts) == len(Mark) + 1
