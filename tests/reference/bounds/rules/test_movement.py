"""Errors move with the values."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference.arrays import Array
from reference.bounds.rounding import Bounded
from reference.bounds.tracing import Traced, evaluate, precise_jax
from tests.support.bound_formulas import TABLE, applied, assert_bounds, bounded, call, coarse

GRID = bounded(np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3) / 8)
MOVES: dict[str, tuple[Callable[..., Any], Callable[[Array], Array]]] = {
    "broadcast_in_dim": (
        lambda x: lax.broadcast_in_dim(x, (2, 2, 3), (0, 2)),
        lambda x: np.stack([x, x], axis=1),
    ),
    "reshape": (lambda x: lax.reshape(x, (3, 2)), lambda x: x.reshape(3, 2)),
    "reshape with dimensions": (lambda x: lax.reshape(x, (3, 2), (1, 0)), lambda x: x.T),
    "transpose": (lambda x: lax.transpose(x, (1, 0)), lambda x: x.T),
    "rev": (lambda x: lax.rev(x, (1,)), lambda x: x[:, ::-1]),
    "slice": (lambda x: lax.slice(x, (1, 0), (2, 3), (1, 2)), lambda x: x[1:2, 0:3:2]),
    "slice without strides": (lambda x: lax.slice(x, (0, 1), (2, 3)), lambda x: x[:, 1:3]),
    "copy": (lax.copy_p.bind if hasattr(lax, "copy_p") else jnp.copy, lambda x: x),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (1, 1), (1, 2)), lambda x: x[1:, 1:]),
}


@pytest.mark.parametrize("name", MOVES)
def test_errors_move_with_the_values(name: str) -> None:
    function, move = MOVES[name]
    traced = Traced(function, GRID.value)
    with np.errstate(all="ignore"), precise_jax():
        (result,) = evaluate(traced.jaxpr.jaxpr, [], [GRID], coarse())
    assert_bounds(result, move(GRID.value), move(GRID.error))


def test_one_axis_is_taken_away_or_joined_or_cut_up() -> None:
    high = Bounded(*(part[:, None, :, None] for part in GRID))
    assert_bounds(call("squeeze", coarse(), high, dimensions=(1, 3)), *GRID)
    other = Bounded(*(part + 8 for part in GRID))
    for dimension in (0, 1):
        joined = call("concatenate", coarse(), GRID, other, dimension=dimension)
        assert_bounds(
            joined, *(np.concatenate(pair, dimension) for pair in zip(GRID, other, strict=True))
        )
    first, second = call("split", coarse(), GRID, sizes=(1, 2), axis=1)
    assert_bounds(first, GRID.value[:, :1], GRID.error[:, :1])
    assert_bounds(second, GRID.value[:, 1:], GRID.error[:, 1:])
    columns_of_three = call("split", coarse(), GRID, sizes=(1, 1, 1), axis=1)
    for i, column in enumerate(columns_of_three):
        assert_bounds(column, GRID.value[:, i : i + 1], GRID.error[:, i : i + 1])
    upper, lower = call("split", coarse(), GRID, sizes=(1, 1), axis=0)
    assert_bounds(upper, GRID.value[:1], GRID.error[:1])
    assert_bounds(lower, GRID.value[1:], GRID.error[1:])


def test_what_is_padded_has_the_error_of_the_padding_around_it() -> None:
    padding = bounded(9.0, 0.75)
    result = applied(lambda x, p: lax.pad(x, p, [(1, 0, 0), (0, -1, 1)]), coarse(), GRID, padding)
    for part, edge, got in zip(GRID, (9.0, 0.75), result, strict=True):
        want = np.full((3, 4), edge)
        want[1:, [0, 2]] = part[:, :2]
        assert (got == want).all()
    whole = Bounded(GRID.value.astype(int), GRID.error > 0.25)
    result = applied(
        lambda x, p: lax.pad(x, p, [(1, 0, 0), (0, 0, 0)]), coarse(), whole, bounded(7)
    )
    assert_bounds(
        result,
        np.pad(whole.value, [(1, 0), (0, 0)], constant_values=7),
        np.pad(whole.error, [(1, 0), (0, 0)]),
    )


def test_arrays_are_stacked_and_unstacked_and_repeated() -> None:
    other = Bounded(*(part + 8 for part in GRID))
    for axis in (0, 1, 2):
        stacked = call("stack", coarse(), GRID, other, axis=axis)
        pairs = zip(GRID, other, strict=True)
        assert_bounds(stacked, *(np.stack(pair, axis=axis) for pair in pairs))
        for got, want in zip(
            call("unstack", coarse(), stacked, axis=axis), (GRID, other), strict=True
        ):
            assert_bounds(got, *want)
    numbers = call("unstack", coarse(), bounded([1.0, 2.0], [0.5, 0.25]), axis=0)
    assert [(float(x.value), float(x.error)) for x in numbers] == [(1.0, 0.5), (2.0, 0.25)]
    assert_bounds(
        call("tile", coarse(), GRID, reps=(2, 3)), *(np.tile(part, (2, 3)) for part in GRID)
    )


@pytest.mark.parametrize(
    "name", ["copy", "copy_p", "device_put", "stop_gradient", "optimization_barrier"]
)
def test_a_copy_is_the_same(name: str) -> None:
    """So much so that a comparison with it knows that both are one."""
    (copy,) = call(name, coarse(), GRID)
    assert copy is GRID
    results = call("optimization_barrier", coarse(), GRID, TABLE)
    assert [id(result) for result in results] == [id(GRID), id(TABLE)]
    assert isinstance(results, list)  # for a tuple may be a result, with its error


def test_constants_have_no_error() -> None:
    for dtype in (np.float64, np.int32):
        for axis in (0, 1):
            result = applied(lambda d=dtype, a=axis: lax.broadcasted_iota(d, (2, 3), a), coarse())
            want = np.indices((2, 3))[axis].astype(dtype)
            assert_bounds(result, want, np.zeros((2, 3)))
    single = applied(lambda: lax.iota(np.float32, 3), coarse())
    assert single.value.dtype == np.float64
    for name in ("empty", "empty2"):
        empty = call(name, coarse(), dtype=np.dtype(np.float64), shape=(2,))
        assert_bounds(empty, [0.0, 0.0], [0.0, 0.0])
        assert not np.shares_memory(
            empty.value, call(name, coarse(), dtype=float, shape=(2,)).value
        )
        assert_bounds(call(name, coarse(), dtype=np.dtype(np.int32)), 0, np.False_)
