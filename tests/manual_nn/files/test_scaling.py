"""Inputs are scaled as they were in training, and what is unlike them is said.

Axes: N rows, D inputs.
"""

import json
import math
import re

import numpy as np
import numpy.typing as npt
import pytest

from manual_nn.files.scaling import (
    FEW_VALUES,
    KINDS,
    ROWS_AT_ONCE,
    Scaling,
    fit_scaling,
    scaling_from_json,
)
from tests.support.cases import each

X = np.array([[1.0, 200.0, 7.0], [3.0, 4.0, 7.0], [2.0, -300.0, 7.0]])


def apply(scaling: Scaling, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return scaling.apply(np.asarray(X), dtype=np.float64).astype(np.float64)


def test_none_changes_nothing() -> None:
    assert np.array_equal(apply(fit_scaling("none", X), X), X)


@each(
    ("largest", "divisor"),
    [
        (255, 256),
        (256, 256),
        (257, 512),
        (16, 16),
        (-300, 512),
        (1, 1),
        (0.75, 1),
        (0.5, 0.5),
        (0, 1),
        (1e-300, 2.0**-996),
        (5e-324, 5e-324),
        (1.5 * 2.0**1023, 2.0**1023),  # the next would not be finite
    ],
)
def test_all_are_divided_by_the_smallest_power_of_two_that_none_exceeds(
    largest: float, divisor: float
) -> None:
    scaling = fit_scaling("divide", np.array([[0.0, largest], [0.0, largest / 4]]))
    assert scaling.divisor == divisor
    assert scaling.offset == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.bool_])
def test_inputs_may_be_numbers_of_any_kind(dtype: type[np.generic]) -> None:
    inputs = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    for kind in KINDS:
        got = apply(fit_scaling(kind, inputs), inputs)
        assert np.array_equal(got, apply(fit_scaling(kind, inputs.astype(float)), inputs))


def test_each_input_gets_mean_0_and_variance_1_and_a_constant_one_becomes_0() -> None:
    got = apply(fit_scaling("standardise", X), X)
    spread = [math.sqrt(2 / 3), math.sqrt((232**2 + 36**2 + 268**2) / 3)]
    want = np.array([[-1, 232], [1, 36], [0, -268]]) / spread
    np.testing.assert_array_max_ulp(got[:, :2], want, maxulp=4)
    assert not got[:, 2].any()


def test_an_input_is_constant_only_if_all_its_values_are_equal() -> None:
    constant, nearly = np.full((10, 1), 0.1), np.full((10, 1), 0.1)
    nearly[3] = np.nextafter(0.1, 1)
    assert fit_scaling("standardise", constant).divisor == 1
    assert not apply(fit_scaling("standardise", constant), constant).any()
    assert 0 < fit_scaling("standardise", nearly).divisor < 1e-16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_block_of_rows_is_scaled_in_float64_and_rounded_once(
    kind: str, dtype: type[np.floating]
) -> None:
    rows = np.random.default_rng(0).normal(1e9, 1, (2 * ROWS_AT_ONCE + 3, 2))
    scaling, before = fit_scaling(kind, rows), rows.copy()
    got = scaling.apply(rows, dtype=dtype)
    assert got.dtype == dtype
    assert np.array_equal(got, ((rows - scaling.offset) / scaling.divisor).astype(dtype))
    assert np.array_equal(rows, before)


def test_what_is_not_finite_when_it_is_scaled_is_named() -> None:
    scaling = fit_scaling("none", X)
    with pytest.raises(
        ValueError, match=r"finite in float32, got inf for 1e\+300 in row 1, column 0"
    ):
        scaling.apply(np.array([[1.0], [1e300]]), dtype=np.float32)


def test_what_cannot_be_standardised_is_named() -> None:
    for values in ([1e300, -1e300], [1e-200, 2e-200]):
        rows = np.array([[0.0, value] for value in values])
        with pytest.raises(ValueError, match=r"values of input 1, .* cannot be standardised"):
            fit_scaling("standardise", rows)


def test_a_scaling_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of none, divide, standardise, got 'norm'"):
        fit_scaling("norm", X)


@pytest.mark.parametrize("kind", KINDS)
def test_json_holds_it_to_the_bit(kind: str) -> None:
    scaling = fit_scaling(kind, X / 3)
    again = scaling_from_json(json.loads(json.dumps(scaling.as_json())), 3)
    assert scaling.kind == again.kind
    for value, other in zip(scaling[1:], again[1:], strict=True):
        assert np.array_equal(value, other)
        assert value.shape == other.shape


@each(
    ("changes", "reason"),
    [
        ({"kind": "norm"}, "scaling must be one of"),
        ({"kind": ["none"]}, "scaling must be one of"),
        ({"offset": 0.0}, "offset of the scaling must be numbers, got 0.0"),
        ({"offset": [0.0, 0.0]}, "offset of the scaling must have 3 numbers, got 2"),
        ({"low": [0.0, 0.0, "1"]}, "low of the scaling must be numbers"),
        ({"high": [0.0, 0.0, True]}, "high of the scaling must be numbers"),
        ({"high": [0.0, 0.0, math.nan]}, "high of the scaling must be finite"),
        ({"divisor": [1.0, 0.0, 1.0]}, "each divisor must be above 0"),
        ({"divisor": [1.0, -1.0, 1.0]}, "each divisor must be above 0"),
        ({"more": 1}, "scaling must have kind, offset, divisor, low, high"),
    ],
)
def test_json_that_holds_none_is_refused(changes: dict[str, object], reason: str) -> None:
    facts = fit_scaling("standardise", X).as_json()
    with pytest.raises(ValueError, match=reason):
        scaling_from_json(facts | changes, 3)
    with pytest.raises(ValueError, match="scaling must have"):
        scaling_from_json([facts], 3)


PIXELS = np.arange(256, dtype=np.uint8).reshape(16, 16)  # from 0 to 255


@each(
    ("rows", "said"),
    [
        (PIXELS, None),
        (PIXELS[1:3], None),  # dark images
        (np.full((2, 16), 510.0), None),  # as far outside as they reach, and no farther
        (np.full((2, 16), -255.0), None),
        (
            np.where(np.arange(32).reshape(2, 16) == 21, 511, 9),
            r"input 5 is 511 in row 1 \(counted from 0\), .* to 255",
        ),
        (
            np.full((2, 16), -256.0),
            r"input 0 is -256 in row 0 \(counted from 0\), in training values went from 0 to",
        ),
        (PIXELS / 255, "ten times as close to 0 as .*; give them as they were there"),
        (np.full((2, 16), 25.5), "ten times as close to 0"),
        (np.full((2, 16), 25.6), None),
        (np.full((1, FEW_VALUES), 1.0), "ten times as close to 0"),
        (np.full((1, FEW_VALUES - 1), 1.0), None),  # too few to tell
    ],
)
def test_images_unlike_those_trained_on_are_told_from_like_ones(
    rows: npt.NDArray[np.float64], said: str | None
) -> None:
    for kind in ("none", "divide"):
        found = fit_scaling(kind, PIXELS).unlike_training(rows)
        assert_says(found, said)


AGES = np.array([[17.0, 1.0], [90.0, 1.0]])  # the offset of the first is 53.5, its reach 36.5


@each(
    ("rows", "said"),
    [
        ([[17.0, 1.0], [90.0, 1.0]], None),
        ([[163.0, 1.0], [-56.0, 1.0]], None),
        (
            [[50.0, 1.0], [164.0, 1.0]],
            r"age is 164 in row 1 \(counted from 0\), in training values went from 17 to 90",
        ),
        ([[-57.0, 1.0]], "age is -57 in row 0"),
        # The network saw ages go from -1 to 1; it sees the kind go from 0 to kind - 1.
        ([[50.0, 1.0], [50.0, 2.0]], None),
        ([[50.0, 1.0], [50.0, 3.0]], None),
        (
            [[50.0, 1.0], [50.0, 3.01]],
            r"kind is 3.01 in row 1 \(counted from 0\), in training values were all 1",
        ),
        ([[53.0, 9.0]] * FEW_VALUES, "ten times as close to their mean"),  # which is about all
        ([[53.0, 1.0]] * FEW_VALUES, "ten times as close to their mean"),
        ([[53.0, 1.0]] * (FEW_VALUES // 2 - 1), None),
        ([[57.2, 1.0]] * FEW_VALUES, None),
    ],
)
def test_columns_are_compared_each_with_its_own_values(
    rows: list[list[float]], said: str | None
) -> None:
    scaling = fit_scaling("standardise", AGES)
    assert_says(scaling.unlike_training(np.array(rows), features=["age", "kind"]), said)


def test_where_all_was_constant_nothing_is_too_close_to_it() -> None:
    rows = np.ones((9, 9))
    assert fit_scaling("standardise", rows).unlike_training(rows) is None
    assert fit_scaling("none", 0 * rows).unlike_training(0 * rows) is None
    assert_says(fit_scaling("standardise", rows).unlike_training(rows + 1e-9), "were all 1")


def assert_says(found: str | None, said: str | None) -> None:
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(said, found), found
