"""The report of a gradient check, from leaves made by hand: its text, its data, its picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reference import Cause, Code, GradientReport, Leaf, Verdict
from reference.report import sensitivity
from tests.support.leaves import leaf_of

Array = npt.NDArray[Any]


def off_by(
    path: str,
    want: npt.ArrayLike,
    *,
    off: npt.ArrayLike = 0.0,
    bound: npt.ArrayLike = 0.25,
    open_by: float = 0.0,
) -> Leaf:
    """Make an array that is off by so much, with kinks that leave open so much."""
    return leaf_of(want, np.add(want, off), bound, path, open_by=open_by)


def report_of(*leaves: Leaf, causes: Any = (), warnings: Any = ()) -> GradientReport:
    """Report on leaves of which one is wrong."""
    return GradientReport(Verdict.MISMATCH, leaves, causes, warnings, "float64")


def lines_of(*leaves: Leaf, **rest: Any) -> list[str]:
    return report_of(*leaves, **rest).splitlines()


WRONG = off_by("['w']", [[1, 2], [4, -8]], off=[[0.0, 0.0], [0.5, -0.125]], bound=0.0625)
RIGHT = off_by("['b']", [1.0, -3.0, 0.5], off=[0.125, 0, 0])
SCALAR = off_by("", 2.0, off=0.25, bound=0.5)
EMPTY = off_by("['e']", np.zeros((0, 3)))
FIT_TO_BE_READ = """\
gradient check: mismatch (float64)
  likely sign: The gradient has the wrong sign.
    all of it
  or scaled: It is twice the right one.

leaf   shape   verdict   error  bound  ratio  at   got    want  sees   median
['w']  2x2     mismatch  0.5    0.062  8      1,0  4.5    4     0.008  0.02
['b']  3       match     0.12   0.25   0.5    0    1.125  1     0.08   0.2
(all)  scalar  match     0.25   0.5    0.5         2.25   2     0.2    0.2
['e']  0x3     match

  warning: nothing else was seen"""


def test_the_text_says_what_is_wrong_then_shows_each_array_at_its_worst_element() -> None:
    causes = (
        Cause(Code.SIGN, "The gradient has the wrong sign.", "all of it"),
        Cause(Code.SCALED, "It is twice the right one.", "never printed"),
    )
    report = report_of(
        WRONG, RIGHT, SCALAR, EMPTY, causes=causes, warnings=["nothing else was seen"]
    )
    assert str(report) == repr(report) == FIT_TO_BE_READ


def test_without_leaves_causes_or_warnings_the_text_is_the_verdict() -> None:
    report = GradientReport(Verdict.WRONG_SHAPE, [], [], [], "float32")
    assert str(report) == "gradient check: wrong shape (float32)"


@pytest.mark.parametrize("verdict", Verdict)
def test_a_match_and_an_open_kink_are_ok_and_nothing_else(verdict: Verdict) -> None:
    report = GradientReport(verdict, [], [], [], "float64")
    assert report.ok is bool(report) is (verdict in {Verdict.MATCH, Verdict.AMBIGUOUS})


@pytest.mark.parametrize("code", Code)
def test_only_what_is_inferred_is_called_likely(code: Code) -> None:
    line = lines_of(causes=[Cause(code, "So it is.", "")])[1]
    seen = code == Code.UNKNOWN or code.name in Verdict.__members__
    assert line == f"  {code.value}: So it is." if seen else f"  likely {code.value}: So it is."


def test_four_causes_are_named() -> None:
    codes = [Code.ZERO, Code.SIGN, Code.TRANSPOSED, Code.SCALED, Code.PERMUTED]
    lines = lines_of(causes=[Cause(code, "So.", "This says so.") for code in codes])
    assert lines[1:] == [
        "  likely zero: So.",
        "    This says so.",
        "  or sign: So.",
        "  or transposed: So.",
        "  or scaled: So.",
    ]


def test_lines_end_at_a_space_within_100_columns() -> None:
    first = "  warning: "
    fits, too_long = "x" * (100 - len(first)), "x" * (101 - len(first))
    assert lines_of(warnings=[f"{fits} y"])[2:] == [first + fits, "    y"]
    assert lines_of(warnings=[f"{too_long} y"])[2:] == [first.rstrip(), f"    {too_long} y"]
    hyphened = "x" * 40 + "-" + "x" * 49  # such as 1e-05
    assert lines_of(warnings=[hyphened])[2:] == [first.rstrip(), f"    {hyphened}"]


@pytest.mark.parametrize("count", [5, 6, 7])
def test_six_warnings_are_printed_and_the_others_counted(count: int) -> None:
    warnings = [f"number {i}" for i in range(count)]
    rest = ["and 1 more like these"] if count == 7 else []
    assert lines_of(warnings=warnings)[2:] == [f"  warning: {w}" for w in warnings[:6]] + rest


@pytest.mark.parametrize("count", [4, 5, 6])
def test_five_ambiguous_elements_are_named(count: int) -> None:
    leaf = off_by("['b']", np.ones(count), off=0.5, open_by=0.25)
    named = ", ".join(f"({i},)" for i in range(min(count, 5))) + (", ..." if count == 6 else "")
    assert (
        lines_of(leaf)[-1] == f"  ['b']: {count} elements hang on a kink within rounding: {named}"
    )
    assert not any("kink" in line for line in lines_of(RIGHT))


def shares_of(*shares: float) -> list[Leaf]:
    """Make arrays of one number whose errors are these parts of their bounds."""
    return [off_by(f"[{i}]", 1.0, off=share / 4) for i, share in enumerate(shares)]


def paths_of(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.startswith("[")]


def test_a_dozen_arrays_are_shown_in_the_order_of_the_gradient() -> None:
    leaves = shares_of(*(i / 16 for i in range(12)))
    assert paths_of(lines_of(*leaves)) == [leaf.path for leaf in leaves]
    assert "more" not in report_of(*leaves)


def test_of_more_arrays_the_worst_dozen_are_shown_the_worst_first() -> None:
    leaves = shares_of(*(i / 16 for i in range(14)))
    leaves[3] = off_by("[3]", 1.0, off=0.5, open_by=0.25)  # ambiguous, whatever its share
    lines = lines_of(*leaves)
    order = [3, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 2]
    assert paths_of(lines) == [f"[{i}]" for i in order]
    assert "and 2 leaves more, match or better, ratio 0.062 at most" in lines


def test_of_arrays_that_are_not_shown_the_worst_verdict_is_said() -> None:
    wrong = [off_by(f"[{i}]", 1.0, off=1.0) for i in range(12)]
    ambiguous = off_by("[12]", 1.0, off=0.5, open_by=0.25)
    lines = lines_of(*wrong, *shares_of(0.0, 0.5), ambiguous)
    assert lines[-3] == "and 3 leaves more, ambiguous or better, ratio 2 at most"
    lines = lines_of(*wrong, *shares_of(0.0, 0.5))
    assert lines[-1] == "and 2 leaves more, match or better, ratio 0.5 at most"


def test_an_array_without_elements_is_as_good_as_one_without_an_error() -> None:
    exact = off_by("[0]", 1.0)
    worse = [off_by(f"[{i + 1}]", 1.0, off=0.125) for i in range(11)]
    for pair, last in (((EMPTY, exact), "[0]"), ((exact, EMPTY), "['e']")):
        lines = lines_of(*pair, *worse)
        assert last not in paths_of(lines)
        assert lines[-1] == "and 1 leaves more, match or better, ratio 0 at most"
    assert lines_of(*worse, exact, EMPTY, EMPTY)[-1].endswith("ratio 0 at most")


def test_sensitivity_is_the_bound_in_parts_of_the_gradient() -> None:
    assert sensitivity(off_by("", [1.0, 4.0, 8.0], bound=[0.25, 2.0, 6.0])) == 0.25
    assert sensitivity(off_by("", [-1.0, 4.0, 8.0], bound=[0.25, 2.0, 6.0])) == 0.25
    assert sensitivity(off_by("", [1.0, 4.0, 8.0], bound=[0.25, 2.0, 6.0]), 0.5) == 0.5
    assert sensitivity(off_by("", [0.0, 0.0], bound=[0.5, 0.0])) == np.inf
    assert sensitivity(EMPTY) == np.inf
    assert report_of(WRONG, RIGHT).sensitivity == {"['w']": 0.0078125, "['b']": 0.25 / 3}


def test_the_data_is_that_of_the_text_with_all_digits() -> None:
    open_kink = off_by("", [1.0, 2.0], off=[0.0, 0.5], open_by=0.25)
    cause = Cause(Code.SIGN, "It has the wrong sign.", "all of it")
    data = report_of(WRONG, open_kink, EMPTY, causes=[cause], warnings=["one"]).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data == {
        "verdict": "mismatch",
        "ok": False,
        "dtype": "float64",
        "leaves": [
            {
                "path": "['w']",
                "shape": [2, 2],
                "verdict": "mismatch",
                "worst_error": 0.5,
                "bound": 0.0625,
                "ratio": 8.0,
                "worst_index": [1, 0],
                "got": 4.5,
                "want": 4.0,
                "sensitivity": 0.0078125,
                "median_sensitivity": 0.015625,
                "ambiguous": [],
            },
            {
                "path": "",
                "shape": [2],
                "verdict": "ambiguous",
                "worst_error": 0.5,
                "bound": 0.25,
                "ratio": 2.0,
                "worst_index": [1],
                "got": 2.5,
                "want": 2.0,
                "sensitivity": 0.125,
                "median_sensitivity": 0.125,
                "ambiguous": [[1]],
            },
            {"path": "['e']", "shape": [0, 3], "verdict": "match"},
        ],
        "causes": [{"code": "sign", "sentence": "It has the wrong sign.", "evidence": "all of it"}],
        "warnings": ["one"],
    }


# The picture


def image_of(leaf: Leaf) -> Any:
    """Draw one array."""
    return report_of(leaf).plot().axes[0].images[0]


def cells_of(leaf: Leaf) -> Array:
    return np.ma.filled(image_of(leaf).get_array(), np.nan)


def test_a_cell_shows_the_error_in_parts_of_the_bound() -> None:
    np.testing.assert_array_equal(cells_of(WRONG), [[0.001, 0.001], [8, 2]])


def test_what_is_infinitely_wrong_is_as_red_as_can_be() -> None:
    """An element whose bound is 0, as a dead unit's is, and one that is no number."""
    leaf = off_by("", [0.0, 1.0, 1.0, 1.0], off=[1.0, np.nan, 0.0, 0.0], bound=[0.0, 1, 1, 1])
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
    [((), (1, 1)), ((3,), (1, 3)), ((2, 3), (2, 3)), ((2, 3, 4), (6, 4)), ((4, 1, 2), (4, 2))],
)
def test_a_vector_is_a_row_and_the_last_axis_goes_across(
    shape: tuple[int, ...], drawn: tuple[int, int]
) -> None:
    shares = 1 + np.arange(np.prod(shape, dtype=int)).reshape(shape) / 8
    leaf = off_by("", np.zeros(shape), off=shares, bound=1.0)
    np.testing.assert_array_equal(cells_of(leaf), shares.reshape(drawn))


@pytest.mark.parametrize(
    ("shape", "side", "said"),
    [
        ((3, 96), (1, 1), ""),
        ((3, 97), (1, 2), ", blocks of 1 x 2"),
        ((97, 3), (2, 1), ", blocks of 2 x 1"),
        ((193, 97), (3, 2), ", blocks of 3 x 2"),
    ],
)
def test_a_large_leaf_is_shown_by_the_worst_of_each_block(
    shape: tuple[int, int], side: tuple[int, int], said: str
) -> None:
    shares = np.random.default_rng(0).integers(1, 64, size=shape) / 16
    axes = report_of(off_by("['w']", np.zeros(shape), off=shares, bound=1.0)).plot().axes[0]
    high, wide = side
    cells = [
        [shares[i : i + high, j : j + wide].max() for j in range(0, shape[1], wide)]
        for i in range(0, shape[0], high)
    ]
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(drawn, cells)
    assert axes.get_title() == f"['w']: mismatch{said}"
    assert max(drawn.shape) <= 96


@pytest.mark.parametrize("shape", [(2, 3), (200, 2)])
def test_an_element_is_drawn_at_its_index(shape: tuple[int, int]) -> None:
    """However many are in a block: the picture goes half a cell beyond the first and the last."""
    image = image_of(off_by("", np.zeros(shape)))
    assert image.get_extent() == [-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5]


def test_ticks_are_indices_and_an_axis_of_one_has_none() -> None:
    figure = report_of(*(off_by("", np.zeros(shape)) for shape in [(2, 2), (2,), (2, 1)])).plot()
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
    figure = report_of(*shares_of(*(1 / 4 for _ in range(count)))).plot()
    *panels, bar = figure.axes
    assert [bool(axes.images) for axes in panels] == [axes.axison for axes in panels]
    assert sum(axes.axison for axes in panels) == count
    place = panels[0].get_subplotspec()
    assert place is not None
    assert place.get_gridspec().get_geometry() == grid
    assert bar.get_ylabel() == "error / bound (red: beyond the bound)"


def test_a_picture_grows_with_its_grid() -> None:
    """By as much for each column, and for each row, so that a panel is as large in any."""
    one, two, three, six = (  # in thousandths of an inch
        np.round(1000 * report_of(*shares_of(*(1 / 4,) * count)).plot().get_size_inches())
        for count in (1, 2, 3, 6)
    )
    width, more_height = two - one
    assert (width > 0, more_height) == (True, 0)
    assert one[0] > width  # for the bar
    np.testing.assert_array_equal(three, np.add(two, (width, 0)))
    np.testing.assert_array_equal(six, three * [1, 2])


def test_the_worst_dozen_of_more_arrays_are_drawn_the_worst_first() -> None:
    leaves = [EMPTY, *shares_of(*(2 * i for i in range(14)))]
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
