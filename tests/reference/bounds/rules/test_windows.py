"""Windows: sums, extremes, and what goes to or comes from where the extremes are; (R19)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from jax import lax

from tests.support.bound_formulas import (
    INF,
    SOME_ULPS,
    assert_bounds,
    bounded,
    call,
    coarse,
    r6,
    term,
)
from tests.support.strategies import seeds

ROW = bounded([1.0, 3.0, 2.75, -1.0, 0.5, 0.5], [0.0, 0.25, 0.125, 0.5, 0.0, 0.0])


def windows(size: int = 2, stride: int = 2, padding: Any = (0, 0), **dilations: int) -> Any:
    """Give the parameters of windows of a row."""
    lists = {name: (dilation,) for name, dilation in dilations.items()}
    return {
        "window_dimensions": (size,),
        "window_strides": (stride,),
        "padding": (padding,),
        **lists,
    }


def test_a_window_adds_up_as_many_terms_as_it_has() -> None:
    pairs = list(zip(ROW.value.tolist(), ROW.error.tolist(), strict=True))
    for params, k, places in (
        (windows(), 2, [[0, 1], [2, 3], [4, 5]]),
        (windows(3, 2, (1, 0)), 3, [[0, 1], [1, 2, 3], [3, 4, 5]]),
        (windows(2, 3, window_dilation=3), 2, [[0, 3]]),
        (windows(2, 4, base_dilation=2), 2, [[0], [2], [4]]),
        (windows(2, 2, (-1, -1)), 2, [[1, 2], [3, 4]]),
    ):
        want = [r6([term(*pairs[i]) for i in group], k) for group in places]
        result = call("reduce_window_sum", coarse(), ROW, **params)
        assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)
    whole = bounded([1, 2, 3, 4], [False, True, False, False])
    assert_bounds(call("reduce_window_sum", coarse(), whole, **windows()), [3, 7], [True, False])


@pytest.mark.parametrize(("name", "sign"), [("reduce_window_max", 1), ("reduce_window_min", -1)])
def test_an_extreme_is_as_far_off_as_the_farthest_off_of_its_window(name: str, sign: int) -> None:
    x = bounded(sign * ROW.value, ROW.error)
    result = call(name, coarse(), x, **windows())
    assert_bounds(result, sign * np.array([3, 2.75, 0.5]), [0.25, 0.5, 0])
    result = call(name, coarse(), x, **windows(3, 3, (1, 1)))
    assert_bounds(result, sign * np.array([3, 2.75]), [0.25, 0.5])
    whole = bounded(sign * np.array([1, 2, 3, 4]), [False, True, False, False])
    result = call(name, coarse(), whole, **windows(2, 2, (1, 1)))
    assert_bounds(result, sign * np.array([1, 3, 4]), [False, True, False])
    truths = bounded(np.array([True, False, False, False]) ^ (sign < 0))
    result = call(name, coarse(), truths, **windows(2, 2, (1, 1)))
    assert_bounds(result, np.array([True, False, False]) ^ (sign < 0), [False] * 3)


# Of windows of 3 at 0, 2 and 3: the first has 3 and 2.75, which are near; in the second 2.75 is
# far above the others, and in the third 0.5 is, twice and exactly, of which the first is taken.
SOURCE = bounded([8.0, -4.0, 2.0], [0.5, 0.0, 0.25])


def scattered(kinks: Any, sign: int = 1) -> Any:
    """Apply the rule to windows of 3, every second, of which the last reaches beyond the edge."""
    rounding = coarse(kinks, largest=INF)
    select = lax.ge_p if sign > 0 else lax.le_p
    x = bounded(sign * ROW.value, ROW.error)
    params = windows(3, 2, (0, 1))
    return (
        call("select_and_scatter_add", rounding, SOURCE, x, select_prim=select, **params),
        rounding.open_kinks,
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_what_comes_back_goes_to_the_extreme_or_to_any_that_may_be_it(sign: int) -> None:
    nothing, eight = (0.0, 0.0, 0.0), (8.0, 0.5, 8.5)
    four, two = (-4.0, 0.0, 4.0), (2.0, 0.25, 2.25)
    anything = (0.0, 8.5, 8.5)
    decided = [[nothing], [eight], [four], [nothing], [two], [nothing]]
    opened = [[nothing], [eight, anything], [four, anything], [nothing], [two], [nothing]]
    for kinks, terms in (("decided", decided), ("open", opened)):
        result, open_kinks = scattered(kinks, sign)
        want = [r6(group, 2) for group in terms]
        assert_bounds(result, *zip(*want, strict=True), ulps=SOME_ULPS)
        assert open_kinks == 2


def test_the_tangent_of_an_extreme_is_that_of_any_that_may_be_it() -> None:
    tangents = bounded([1.0, 2.0, 5.0, 4.0, 6.0, 7.0], [0.0, 0.5, 0.25, 0.0, 0.125, 0.0])
    params = windows(3, 2, (0, 1))
    modes: list[Any] = [("decided", 0.5), ("open", 3.25)]
    for kinks, first in modes:
        for sign, select in ((1, lax.ge_p), (-1, lax.le_p)):
            x, rounding = bounded(sign * ROW.value, ROW.error), coarse(kinks)
            result = call(
                "select_and_gather_add", rounding, tangents, x, select_prim=select, **params
            )
            assert_bounds(result, [2.0, 5, 6], [first, 0.25, 0.125], ulps=1e-14)
            assert rounding.open_kinks == 2


@given(seed=seeds)
def test_whatever_the_errors_are_pooling_lies_within_the_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = bounded(rng.integers(0, 12, (5, 6)) / 4, rng.choice([0, 0.01, 0.2], (5, 6)))
    params = {"window_dimensions": (2, 3), "window_strides": (2, 1), "padding": ((1, 0), (0, 1))}
    source = bounded(rng.normal(size=(3, 5)), rng.choice([0, 0.1], (3, 5)))
    tangents = bounded(rng.normal(size=(5, 6)), 0.1)
    select = {"select_prim": lax.ge_p, **params}
    scattered = call("select_and_scatter_add", coarse("open"), source, x, **select)
    gathered = call("select_and_gather_add", coarse("open"), tangents, x, **select)
    for _ in range(10):
        moved, back, forth = (
            z.value + z.error * rng.choice([-0.99, 0, 0.99], z.value.shape)
            for z in (x, source, tangents)
        )
        exact = [bounded(z) for z in (moved, back, forth)]
        to = call("select_and_scatter_add", coarse(), exact[1], exact[0], **select).value
        of = call("select_and_gather_add", coarse(), exact[2], exact[0], **select).value
        assert (abs(to - scattered.value) <= scattered.error).all()
        assert (abs(of - gathered.value) <= gathered.error).all()
