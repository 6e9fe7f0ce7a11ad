"""The lines of a loss are shown with what is right, wrong and below, file by file."""

import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from reference import check_gradient
from reference.diagnosis.codes import Cause, Code, Line, Mark
from reference.source import marks_of, shown

x, t = np.random.default_rng(0).normal(size=(2, 5, 4))


def centred(x: Any) -> Any:
    mu = x.mean(1, keepdims=True)
    return x - mu


def loss(x: Any, t: Any) -> Any:
    squares = x**2
    c = centred(squares)

    # nothing is computed here
    out = jnp.exp(c)
    return (out * t).sum()


def test_what_leads_to_the_wrong_line_is_downstream_of_it() -> None:
    c = x**2 - (x**2).mean(1, keepdims=True)
    report = check_gradient(np.exp(c) * t * 2 * x, loss, x, t)  # without the path through mu
    lines = report.source.splitlines()
    assert lines[0] == "test_source.py"
    marks = {line[18:].strip(): line[:10].strip() for line in lines}
    assert marks["mu = x.mean(1, keepdims=True)"] == "wrong"  # all of that path is missing
    assert marks["return x - mu"] == "wrong"
    assert marks["squares = x**2"] == "downstream"
    assert marks["out = jnp.exp(c)"] == marks["return (out * t).sum()"] == "right"
    assert marks["# nothing is computed here"] == ""


def penalised(w: Any, t: Any) -> Any:
    data = jnp.sin(w) * t
    ridge = 0.1 * (w**2).sum()
    total = data.sum() + ridge
    return total * 2


def test_a_term_that_is_forgotten_is_marked_and_not_the_sum_of_all() -> None:
    report = check_gradient(2 * np.cos(x) * t, penalised, x, t)
    marks = {line[18:].strip(): line[:10].strip() for line in report.source.splitlines()}
    assert marks["ridge = 0.1 * (w**2).sum()"] == "wrong"
    assert marks["total = data.sum() + ridge"] == "right"
    assert marks["data = jnp.sin(w) * t"] == "right"


def scaled(x: Any, t: Any) -> Any:
    size = (x**2).sum(1, keepdims=True)
    unit = x / jnp.sqrt(size + 0.1)
    return (unit * t).sum()


def test_the_line_that_the_sentence_names_is_marked_where_a_constant_is_added() -> None:
    report = check_gradient(t / np.sqrt((x**2).sum(1, keepdims=True) + 0.1), scaled, x, t)
    cause = report.causes[0]
    assert cause.where is not None
    assert cause.where.text == "unit = x / jnp.sqrt(size + 0.1)"
    marks = {line[18:].strip(): line[:10].strip() for line in report.source.splitlines()}
    assert marks["unit = x / jnp.sqrt(size + 0.1)"] == "wrong"
    assert marks["size = (x**2).sum(1, keepdims=True)"] == "wrong", "would give the same"


def test_nothing_is_marked_where_nothing_is_wrong_or_nothing_explains_it() -> None:
    def of(gradient: Any) -> str:
        return check_gradient(gradient, loss, x, t).source

    c = x**2 - (x**2).mean(1, keepdims=True)
    d_c = np.exp(c) * t
    right = (d_c - d_c.mean(1, keepdims=True)) * 2 * x
    assert of(right) == ""
    assert of(right + np.random.default_rng(1).normal(size=x.shape)) == ""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "long.py"
    lines = ["def first():", "    a", *["    #"] * 20, "def second():", "    b", "    c"]
    path.write_text("\n".join(lines), encoding="utf-8")
    yield str(path)
    linecache.clearcache()


def test_lines_without_a_mark_are_left_out_if_they_are_many(file: str) -> None:
    marks = [(Line(file, 25, "c"), Mark.WRONG), (Line(file, 2, "a"), Mark.RIGHT)]
    assert [(line.number, line.mark) for line in shown(marks)] == [
        (None, None),
        (1, None),
        (2, Mark.RIGHT),
        (None, None),
        (23, None),
        (24, None),
        (25, Mark.WRONG),
    ]
    assert [str(line) for line in shown(marks)][::2] == [
        "long.py",
        "     right     2      a",
        "              23  def second():",
        "     wrong    25      c",
    ]


def test_the_marks_are_those_of_the_first_cause_that_has_some() -> None:
    marks = ((Line("a.py", 1, ""), Mark.WRONG),)
    causes = [Cause(Code.SCALED, "", ""), Cause(Code.PATH_MISSING, "", "", marks=marks)]
    assert marks_of(causes) == marks
    assert marks_of(causes[:1]) == ()
