"""The picture of a comparison, from leaves made by hand."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference import GradientReport, Leaf, Verdict
from reference.arrays import Array
from reference.diagnosis.codes import Cause, Code, Line, Mark
from tests.support.cases import each
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


def blocks_of(size: int) -> list[slice]:
    """Cut an axis into blocks of the same length, or of one less, 96 at most."""
    count = min(size, 96)
    edges = [number * size // count for number in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


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
        ((3, 97), (1, 2), "column; a cell is the worst of up to 1 x 2"),
        ((97, 3), (2, 1), "column; a cell is the worst of up to 2 x 1"),
        ((193, 97), (3, 2), "column; a cell is the worst of up to 3 x 2"),
        ((288, 192), (3, 2), "column; a cell is the worst of 3 x 2"),
    ],
)
def test_a_large_leaf_is_shown_by_the_worst_of_each_block(
    shape: tuple[int, int], side: tuple[int, int], said: str
) -> None:
    ratios = np.random.default_rng(0).integers(1, 64, size=shape) / 16
    axes = report_of(off_by("['w']", np.zeros(shape), off=ratios, bound=1.0)).plot().axes[0]
    rows, columns = map(blocks_of, shape)
    cells = [[ratios[i][:, j].max() for j in columns] for i in rows]
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(drawn, cells)
    assert tuple(max(block.stop - block.start for block in x) for x in (rows, columns)) == side
    assert axes.get_title().startswith("['w']: mismatch\n")
    assert (axes.get_xlabel(), axes.get_ylabel()) == (said, "row")
    assert max(drawn.shape) <= 96


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1, ""),
        (3, ""),
        (96, ""),
        (97, "; a bar is the worst of up to 2"),
        (192, "; a bar is the worst of 2"),
        (200, "; a bar is the worst of up to 3"),
    ],
)
def test_a_vector_is_drawn_as_bars_of_the_height_of_its_errors(size: int, said: str) -> None:
    """From the lowest that is drawn, and in the colours of cells, each over its elements."""
    ratios = np.random.default_rng(0).integers(1, 64, size=size) / 16
    leaf = off_by("", np.zeros(size), off=ratios, bound=1.0)
    axes = report_of(leaf).plot().axes[0]
    bars: list[Any] = list(axes.patches)
    assert not axes.images
    blocks = blocks_of(size)
    worst = [ratios[block].max() for block in blocks]
    tops = [bar.get_y() + bar.get_height() for bar in bars]
    np.testing.assert_allclose(tops, worst, rtol=1e-12)
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert spans == [(block.start - 0.5, block.stop - 0.5) for block in blocks]
    image = image_of(WRONG)
    colours = [bar.get_facecolor() for bar in bars]
    np.testing.assert_array_equal(colours, image.cmap(image.norm(worst)))
    assert axes.get_yscale() == "log"
    assert [line.get_ydata() for line in axes.lines] == [[1, 1]]
    assert axes.get_xlabel() == f"element{said}"


def test_bars_are_seen_however_low_or_high_and_those_at_the_ends_too() -> None:
    """What is beyond the scale is drawn as its end, which says so."""
    leaf = off_by("", np.zeros(5000), off=np.where(np.arange(5000) > 4990, 1e6, 0), bound=1.0)
    figure = report_of(leaf).plot()
    axes = figure.axes[0]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    bars: list[Any] = list(axes.patches)
    inches = figure.get_size_inches()[0] * axes.get_position().width
    for bar in bars:
        assert inches * bar.get_width() / (right - left) > 1 / 72  # a point
    assert left < bars[0].get_x() - 10
    assert bars[-1].get_x() + bars[-1].get_width() + 10 < right
    tops = {round(bar.get_y() + bar.get_height(), 6) for bar in bars}
    assert tops == {0.001, 1000}
    assert {round(bar.get_y() / low, 6) for bar in bars} == {1}
    assert low < 0.001 / 2
    assert high > 2000
    first, *_, last = [label.get_text() for label in axes.get_yticklabels()]
    assert (first, last) == (r"$\leq10^{-3}$", r"$\geq10^{3}$")


UNKNOWN = off_by("", [1.0, 2.0, 3.0, 4.0], off=[0.5, 0, 0, 0], bound=[0.25, np.inf, 1, np.inf])


@each(
    ("leaf", "lines"),
    [
        (
            WRONG,
            ["['w']: mismatch", "2 of 4 wrong: the last row of 2", "error / bound up to 8, at 1,0"],
        ),
        (RIGHT, ["['b']: match", "error / bound up to 0.5, at 0"]),
        (SCALAR, ["gradient: match", "error / bound up to 0.5"]),
        (off_by("", 2.0), ["gradient: match", "no error"]),
        (
            UNKNOWN,
            [
                "gradient: mismatch",
                "1 of 4 wrong: the first element of 4",
                "2 of 4 not comparable (grey)",
                "error / bound up to 2, at 0",
            ],
        ),
        (
            off_by("", [1.0, 2.0], bound=[np.inf, 1.0]),
            ["gradient: not comparable", "1 of 2 not comparable (grey)", "no error elsewhere"],
        ),
        (
            off_by("", [1.0], bound=[np.inf]),
            ["gradient: not comparable", "1 of 1 not comparable (grey)"],
        ),
        (
            off_by("", np.zeros(5000), off=np.arange(5000) > 4990, bound=0.0),
            [
                "gradient: mismatch",
                "9 of 5,000 wrong: elements 4991 to 4999 of 5000",
                "error / bound up to inf, at 4991",
            ],
        ),
    ],
)
def test_a_panel_says_which_elements_are_wrong_and_by_how_much(
    leaf: Leaf, lines: list[str]
) -> None:
    assert report_of(leaf).plot().axes[0].get_title().splitlines() == lines


def test_what_is_not_comparable_is_grey_and_hides_nothing() -> None:
    def is_grey(colour: Any) -> bool:
        red, green, blue, _ = colour
        return bool(red == green == blue < 0.9)

    bars: list[Any] = list(report_of(UNKNOWN).plot().axes[0].patches)
    assert [is_grey(bar.get_facecolor()) for bar in bars] == [False, True, False, True]
    bound = np.full((97, 1), np.inf)
    bound[95] = 0.125
    image = image_of(off_by("", np.zeros((97, 1)), off=1.0, bound=bound))
    drawn = image.cmap(image.norm(image.get_array()))[:, 0]
    assert [is_grey(colour) for colour in drawn] == [True] * 95 + [False]
    assert image.get_array()[-1, 0] == 8


def test_above_all_stands_what_the_check_says_and_in_which_order_the_panels_are() -> None:
    wrong = Cause(Code.SCALED, "It is scaled.", "by 2"), Cause(Code.SIGN, "Or not.", "")
    unknown = (Cause(Code.NOT_COMPARABLE, "Why.", "Where."),)
    report = GradientReport(Verdict.NOT_COMPARABLE, [UNKNOWN], unknown, (), "float32")
    lines = ["gradient check: not comparable (float32)", "Why.", "Where."]
    assert report.plot().get_suptitle().splitlines() == lines
    for leaves, causes, lines in (
        ([WRONG], (), []),
        ([WRONG], wrong, ["It is scaled."]),
        ([WRONG, RIGHT], wrong, ["It is scaled.", "The worst array first."]),
        (ratios_of(*(2.0,) * 13), (), ["The worst 12 of 13 arrays, the worst first."]),
    ):
        figure = GradientReport(Verdict.MISMATCH, leaves, causes, (), "float64").plot()
        said = figure.get_suptitle().splitlines()
        assert said == ["gradient check: mismatch (float64)", *lines]


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
    line = more_height  # which says that the worst array is first
    assert 0 < line < 250 < width
    assert one[0] > width  # for the bar
    np.testing.assert_array_equal(three, np.add(two, (width, 0)))
    np.testing.assert_array_equal(six - three, [0, (one - [0, 2 * line])[1]])


def test_the_worst_dozen_of_more_arrays_are_drawn_the_worst_first() -> None:
    leaves = [EMPTY, *ratios_of(*(2 * i for i in range(14)))]
    titles = [axes.get_title().partition("\n")[0] for axes in report_of(*leaves).plot().axes]
    assert titles[:12] == [f"[{i}]: mismatch" for i in range(13, 1, -1)]
    assert not any(titles[12:])


def test_the_one_array_of_a_gradient_is_called_that() -> None:
    assert report_of(SCALAR).plot().axes[0].get_title().startswith("gradient: match\n")


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
