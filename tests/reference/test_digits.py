"""The rules of lost digits: beyond rounding in both precisions, as far, and not the same nearby."""

from collections.abc import Iterator

import numpy as np
import pytest

from reference.digits import BEYOND, STRAYS, Errors, Following, follow

UNITS = {"fine": 2.0**-53, "coarse": 2.0**-24}
rng = np.random.default_rng(0)


def points(precision: str, size: float, number: int = 5) -> Iterator[Errors]:
    """Draw errors of so many sigma at some points, of elements that are of different size."""
    sigma = UNITS[precision] * np.geomspace(1, 8, 20)
    for _ in range(number):
        yield Errors(size * sigma * rng.choice([-1, 1], size=20), sigma)


def found(fine: float, coarse: float) -> Following:
    """Compare random errors of so many sigma in two precisions."""
    return follow(points("fine", fine), points("coarse", coarse))


@pytest.mark.parametrize(
    ("fine", "coarse"), [(50, 50), (1.01 * BEYOND, 50), (50, 1.01 * BEYOND), (5, 500), (500, 5)]
)
def test_errors_beyond_rounding_that_are_as_many_sigma_follow(fine: float, coarse: float) -> None:
    follows, too_small, ratio = found(fine, coarse)
    assert follows
    assert not too_small
    assert ratio == pytest.approx(fine / coarse * 2.0**-29)


def test_errors_within_rounding_explain_nothing() -> None:
    for fine, coarse in ((0, 50), (0.99 * BEYOND, 50), (50, 0.99 * BEYOND)):
        assert found(fine, coarse)[:2] == (False, True)


def test_errors_of_another_size_do_not_follow() -> None:
    assert found(10, 9.9 * STRAYS).follows
    assert found(10, 10.1 * STRAYS)[:2] == (
        False,
        True,
    )  # small in float64: by chance, or a mistake
    assert found(9.9 * STRAYS, 10).follows
    assert found(10.1 * STRAYS, 10)[:2] == (False, False)
    assert found(2.0**29 * 10, 10)[:2] == (False, False)


def test_errors_that_are_the_same_nearby_are_those_of_a_formula() -> None:
    (here,) = points("fine", 50, 1)

    def smooth() -> Iterator[Errors]:
        for k in range(5):
            yield Errors(here.signed * (1 + 0.01 * k), here.sigma)

    assert follow(smooth(), points("coarse", 50))[:2] == (False, False)
    assert not follow(iter([here]), points("coarse", 50)).follows  # nothing is known nearby


def test_errors_that_are_small_by_chance_are_seen_nearby() -> None:
    (none,) = points("fine", 0, 1)

    def by_chance() -> Iterator[Errors]:
        yield none
        yield from points("fine", 50, 4)

    assert follow(by_chance(), points("coarse", 50)).follows


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_what_is_no_number_is_no_lost_digit(number: float) -> None:
    (here,) = points("fine", 50, 1)
    spoilt = Errors(here.signed + number, here.sigma)
    assert follow(iter([spoilt]), points("coarse", 50)) == Following(follows=False)
    assert follow(points("fine", 50), iter([spoilt])) == Following(follows=False)


def test_some_elements_are_taken_with_their_sigma() -> None:
    errors = Errors(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    some = errors.of(np.array([True, False, True]))
    assert some.signed.tolist() == [1, 3]
    assert some.sigma.tolist() == [4, 6]
