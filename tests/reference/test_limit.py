"""A limit on the search for causes is a number of seconds, and says what it has left out."""

import time
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from reference import Code, check_gradient, check_vjp
from reference.limit import Limit
from tests.support.cases import each


def test_the_time_runs_from_the_first_question_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    of_five = Limit(5)
    over = []
    for now[0] in (200.0, 204.9, 205.0):
        over.append(of_five.is_over)
    assert over == [False, False, True]
    assert Limit(0).is_over
    unlimited = Limit(np.inf)
    assert not unlimited.is_over
    now[0] = 1e9
    assert not unlimited.is_over


def test_a_part_of_the_time_leaves_the_rest_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    whole = Limit(8)
    whole.begin()
    now[0] = 2.0
    part = whole.part(0.5)  # of 6 seconds
    over = []
    for now[0] in (4.9, 5.0, 7.9, 8.0):
        over.append((part.is_over, whole.is_over))
    assert over == [(False, False), (True, False), (True, False), (True, True)]
    part.leave_out("the rest")
    assert "left out the rest" in whole.warnings()[0]
    assert not Limit(np.inf).part(0.5).is_over


def test_what_was_left_out_is_said_unless_nothing_was_asked_for() -> None:
    of_two, of_none = Limit(2.5), Limit(0)
    assert of_two.warnings() == []
    for one in (of_two, of_none):
        one.leave_out("3 mistakes")
        one.leave_out("the rest")
        one.leave_out("the rest")
    (warning,) = of_two.warnings()
    assert "after 2.5 seconds and left out 3 mistakes, and the rest" in warning
    assert of_none.warnings() == []


@each(
    ("seconds", "error", "message"),
    [
        (-1, ValueError, "explain_seconds must be a number of at least 0, got -1"),
        (np.nan, ValueError, "explain_seconds must be a number of at least 0, got nan"),
        ("30", TypeError, "explain_seconds must be a real number, got str"),
        (True, TypeError, "explain_seconds must be a real number, got bool"),
        (None, TypeError, "explain_seconds must be a real number, got NoneType"),
    ],
)
def test_what_is_no_limit_is_refused(seconds: Any, error: type[Exception], message: str) -> None:
    x = np.ones(3)
    with pytest.raises(error, match=message):
        check_gradient(x, lambda x: x.sum(), x, explain_seconds=seconds)
    with pytest.raises(error, match=message):
        check_vjp(lambda d, _: d, lambda x: x, x, explain_seconds=seconds)


x, t = np.random.default_rng(0).normal(size=(2, 5, 4))


def loss(x: Any) -> Any:
    a = jnp.tanh(x)
    return (jnp.sin(a) * t).sum()


def test_a_search_of_no_seconds_has_the_verdict_and_what_needs_no_search() -> None:
    a = np.tanh(x)
    wrong = np.cos(a) * t  # without tanh'
    report = check_gradient(wrong, loss, x, explain_seconds=0)
    assert [cause.code for cause in report.causes] == [Code.UNKNOWN]
    assert "were not searched" in report.causes[0].sentence
    assert report.source == ""
    assert not any("the search" in warning for warning in report.warnings)
    short = check_gradient(wrong, loss, x, explain_seconds=1e-9)
    assert "were not searched" in short.causes[0].sentence
    assert any("left out the operation that is" in warning for warning in short.warnings)
    right = wrong * (1 - a**2)
    assert check_gradient(-right, loss, x, explain_seconds=0).causes[0].code == Code.SIGN
    assert check_gradient(right, loss, x, explain_seconds=0).ok


def test_a_search_that_is_cut_says_what_it_has_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still until the loss is compiled, and then goes by a second a question."""
    now = iter(range(1000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    wrong = np.cos(np.tanh(x)) * t
    report = check_gradient(wrong, loss, x, explain_seconds=4)
    assert [cause.code for cause in report.causes] == [Code.UNKNOWN]
    (warning,) = (warning for warning in report.warnings if "the search" in warning)
    assert "after 4 seconds and left out" in warning
    assert "mistakes at single operations" in warning
