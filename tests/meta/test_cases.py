"""The helper that makes one test of many cases: it runs them all, and names the one that fails."""

import inspect
from collections.abc import Callable

import pytest

from tests.support.cases import each


def test_every_combination_is_run_with_the_fixtures() -> None:
    seen = []

    @each("a", [1, 2])
    @each(("b", "c"), [(3, 4), (5, 6)])
    def test(a: int, b: int, c: int, tmp: str) -> None:
        seen.append((a, b, c, tmp))

    assert list(inspect.signature(test).parameters) == ["tmp"]
    test(tmp="fixture")
    assert seen == [(a, b, b + 1, "fixture") for a in (1, 2) for b in (3, 5)]


def fails_to_hold(number: int) -> None:
    assert number < 2


def refuse_below_2(number: int) -> None:
    if number < 2:
        raise ValueError("below 2")


def fails_to_raise(number: int) -> None:
    with pytest.raises(ValueError, match="below 2"):
        refuse_below_2(number)


@pytest.mark.parametrize("body", [fails_to_hold, fails_to_raise])
def test_the_first_case_that_fails_is_named(body: Callable[[int], None]) -> None:
    seen = []

    @each("number", range(9))
    def test(number: int) -> None:
        seen.append(number)
        body(number)

    with pytest.raises(BaseException) as caught:  # noqa: PT011, pytest's own is no Exception
        test()
    assert caught.value.__notes__ == ["in the case {'number': 2}"]
    assert seen == [0, 1, 2]


def test_no_case_and_no_argument_are_refused() -> None:
    def test(number: int) -> None:
        raise AssertionError(number)

    with pytest.raises(ValueError, match="cases must have at least one, got none"):
        each("number", [])
    with pytest.raises(ValueError, match=r"names must be arguments of test, got .*'letter'"):
        each("letter", "abc")(test)
    with pytest.raises(ValueError, match="is shorter"):
        each(("number", "letter"), [(1,)])
