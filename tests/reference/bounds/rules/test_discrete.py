"""Booleans and integers are unsure where an operand is."""

from typing import Any

import pytest

from tests.support.bound_formulas import INF, NAN, assert_bounds, bounded, call, coarse


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("add", [10, -5, 9]),
        ("sub", [4, -9, 5]),
        ("mul", [21, -14, 14]),
        ("div", [2, -3, 3]),
        ("and", [7 & 3, -7 & 2, 7 & 2]),
        ("or", [7 | 3, -7 | 2, 7 | 2]),
        ("xor", [7 ^ 3, -7 ^ 2, 7 ^ 2]),
    ],
)
def test_an_integer_is_unsure_where_an_operand_is(name: str, want: list[int]) -> None:
    a, b = bounded([7, -7, 7], [False, True, False]), bounded([3, 2, 2], [False, False, True])
    assert_bounds(call(name, coarse(), a, b), want, [False, True, True])


@pytest.mark.parametrize(
    ("name", "params", "want"),
    [
        ("integer_pow", {"y": 3}, [8, -27]),
        ("square", {}, [4, 9]),
        ("one_minus_square", {}, [-3, -8]),
        ("sign", {}, [1, -1]),
        ("not", {}, [~2, ~-3]),
    ],
)
def test_an_integer_function_is_unsure_where_its_operand_is(
    name: str, params: dict[str, Any], want: list[int]
) -> None:
    operand = bounded([2, -3], [True, False])
    assert_bounds(call(name, coarse(), operand, **params), want, [True, False])


def test_booleans_are_combined() -> None:
    a, b = bounded([True, True, False], [True, False, False]), bounded([True, False, False])
    for name, want in (
        ("and", [True, False, False]),
        ("or", [True, True, False]),
        ("xor", [False, True, False]),
    ):
        assert_bounds(call(name, coarse(), a, b), want, [True, False, False])
    assert_bounds(call("not", coarse(), a), [False, False, True], [True, False, False])
    finite = bounded([1.0, INF, NAN, 1.0], [0.5, 0, 0, INF])
    assert_bounds(
        call("is_finite", coarse(), finite), [True, False, False, True], [False] * 3 + [True]
    )


@pytest.mark.parametrize(
    ("name", "truths", "bits"),
    [("reduce_or", [True, True], [7, 2]), ("reduce_and", [False, True], [1, 2])],
)
def test_truths_and_bits_are_unsure_where_one_of_them_is(
    name: str, truths: list[bool], bits: list[int]
) -> None:
    operand = bounded([[True, False], [True, True]], [[True, False], [False, False]])
    assert_bounds(call(name, coarse(), operand, axes=(1,)), truths, [True, False])
    assert_bounds(call(name, coarse(), bounded([[3, 5], [2, 2]]), axes=(1,)), bits, [False] * 2)
