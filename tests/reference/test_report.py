"""The report of a gradient check, from leaves made by hand: its text and its data."""

import json
from typing import Any

import numpy as np
import pytest

from reference import Cause, Code, GradientReport, Leaf, Verdict
from tests.support.cases import each
from tests.support.leaves import off_by


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


OK = {Verdict.MATCH, Verdict.LOSES_DIGITS, Verdict.AMBIGUOUS}


@each("verdict", Verdict)
def test_a_match_and_an_open_kink_are_ok_and_nothing_else(verdict: Verdict) -> None:
    report = GradientReport(verdict, [], [], [], "float64")
    assert report.ok is bool(report) is (verdict in OK)
    assert report.accurate is (report.ok and verdict != Verdict.LOSES_DIGITS)


@each("code", Code)
def test_only_what_is_inferred_is_called_likely(code: Code) -> None:
    line = lines_of(causes=[Cause(code, "So it is.", "")])[1]
    likely = "likely " if code.inferred else ""
    assert line == f"  {likely}{code.value}: So it is."


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


def ratios_of(*ratios: float) -> list[Leaf]:
    """Make arrays of one number whose errors are these parts of their bounds."""
    return [off_by(f"[{i}]", 1.0, off=ratio / 4) for i, ratio in enumerate(ratios)]


def paths_of(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.startswith("[")]


def test_a_dozen_arrays_are_shown_in_the_order_of_the_gradient() -> None:
    leaves = ratios_of(*(i / 16 for i in range(12)))
    assert paths_of(lines_of(*leaves)) == [leaf.path for leaf in leaves]
    assert "more" not in report_of(*leaves)


def test_of_more_arrays_the_worst_dozen_are_shown_the_worst_first() -> None:
    leaves = ratios_of(*(i / 16 for i in range(14)))
    leaves[3] = off_by("[3]", 1.0, off=0.5, open_by=0.25)  # ambiguous, whatever its ratio
    lines = lines_of(*leaves)
    order = [3, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 2]
    assert paths_of(lines) == [f"[{i}]" for i in order]
    assert "and 2 more leaves, match or better, ratio 0.062 at most" in lines


def test_of_arrays_that_are_not_shown_the_worst_verdict_is_said() -> None:
    wrong = [off_by(f"[{i}]", 1.0, off=1.0) for i in range(12)]
    ambiguous = off_by("[12]", 1.0, off=0.5, open_by=0.25)
    lines = lines_of(*wrong, *ratios_of(0.0, 0.5), ambiguous)
    assert lines[-3] == "and 3 more leaves, ambiguous or better, ratio 2 at most"
    lines = lines_of(*wrong, *ratios_of(0.0, 0.5))
    assert lines[-1] == "and 2 more leaves, match or better, ratio 0.5 at most"


def test_an_array_without_elements_is_as_good_as_one_without_an_error() -> None:
    exact = off_by("[0]", 1.0)
    worse = [off_by(f"[{i + 1}]", 1.0, off=0.125) for i in range(11)]
    for pair, last in (((EMPTY, exact), "[0]"), ((exact, EMPTY), "['e']")):
        lines = lines_of(*pair, *worse)
        assert last not in paths_of(lines)
        assert lines[-1] == "and 1 more leaf, match or better, ratio 0 at most"
    assert lines_of(*worse, exact, EMPTY, EMPTY)[-1].endswith("ratio 0 at most")


def test_the_sensitivity_is_told_by_the_path_of_the_leaf() -> None:
    assert report_of(WRONG, RIGHT).sensitivity == {"['w']": 0.0078125, "['b']": 0.25 / 3}


def test_the_data_is_that_of_the_text_with_all_digits() -> None:
    open_kink = off_by("", [1.0, 2.0], off=[0.0, 0.5], open_by=0.25)
    cause = Cause(Code.SIGN, "It has the wrong sign.", "all of it")
    data = report_of(WRONG, open_kink, EMPTY, causes=[cause], warnings=["one"]).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data == {
        "verdict": "mismatch",
        "ok": False,
        "accurate": False,
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
        "direction": None,
        "forward": [],
        "where": [],
    }
