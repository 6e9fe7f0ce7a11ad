"""Triangular systems: whatever the errors of the matrix and of the right side do; (R20)."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from jax import lax

from reference.bounds.rounding import Bounded, Rounding, exact
from tests.support.bound_formulas import (
    EPS,
    ETA,
    INF,
    assert_bounds,
    bounded,
    call,
    coarse,
    r1,
    r3,
)
from tests.support.strategies import seeds

FORMS = list(itertools.product([True, False], repeat=4))


def params(form: tuple[bool, ...]) -> dict[str, Any]:
    """Name the parameters of a form."""
    names = ("left_side", "lower", "transpose_a", "unit_diagonal")
    return dict(zip(names, form, strict=True)) | {"conjugate_a": False}


def solved(a: Any, b: Any, form: tuple[bool, ...]) -> Any:
    """Solve as JAX does."""
    return lax.linalg.triangular_solve(a, b, **params(form))


def matrices(rng: np.random.Generator, form: tuple[bool, ...]) -> tuple[Any, Any]:
    """Draw two systems of 4 equations."""
    a = rng.normal(size=(2, 4, 4)) + 3 * np.eye(4)
    return a, rng.normal(size=(2, 4, 3) if form[0] else (2, 3, 4))


def test_of_a_system_of_two_equations_the_bound_is_that_of_the_formula() -> None:
    """2 x = 3 and 0.5 x - 4 y = 1, of which the zero above the diagonal is not looked at."""
    a = bounded([[2.0, 99.0], [0.5, -4.0]], [[0.125, INF], [0.0, 0.0]])
    b = bounded([[3.0], [1.0]], [[0.0], [0.25]])
    x, y = 1.5, -0.0625
    own = r1(5)
    off = 0.125 + own * 2.125
    first = (off * x + 2 * ETA) / (2 - off)
    second = (0.25 + own * 0.5 * x + own * 4 * abs(y) + 2 * ETA + (0.5 + own * 0.5) * first) / (
        4 - own * 4
    )
    result = call("triangular_solve", coarse(), a, b, **params((True, True, False, False)))
    want = [[r3(v, s, roundings=0)] for v, s in ((x, first), (y, second))]
    assert_bounds(result, [[x], [y]], want, ulps=32 * EPS)
    unit = call("triangular_solve", coarse(), a, b, **params((True, True, False, True)))
    outer = (own * 3 + 2 * ETA) / (1 - own)
    inner = (0.25 + own * 0.5 * 3 + own * 0.5 + 2 * ETA + (0.5 + own * 0.5) * outer) / (1 - own)
    want = [[r3(3.0, outer, roundings=0)], [r3(-0.5, inner, roundings=0)]]
    assert_bounds(unit, [[3.0], [-0.5]], want, ulps=32 * EPS)


def test_a_matrix_that_may_be_singular_leaves_nothing_known() -> None:
    a = bounded([[2.0, 0.0], [1.0, 0.5]], [[0.0, 0.0], [0.0, 0.5]])
    b = bounded([[1.0], [1.0]])
    error = call("triangular_solve", coarse(), a, b, **params((True, True, False, False))).error
    assert np.isinf(error).tolist() == [[False], [True]]
    singular = bounded([[0.0, 0.0], [1.0, 0.5]])
    error = call(
        "triangular_solve", coarse(), singular, b, **params((True, True, False, False))
    ).error
    assert np.isinf(error).all()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_solved(form: tuple[bool, ...]) -> None:
    a, b = matrices(np.random.default_rng(0), form)
    result = call("triangular_solve", Rounding(np.float64), exact(a), exact(b), **params(form))
    half = np.tril(a) if form[1] else np.triu(a)
    if form[3]:
        half = half - half * np.eye(4) + np.eye(4)
    half = np.swapaxes(half, 1, 2) if form[2] else half
    back = half @ result.value if form[0] else result.value @ half
    np.testing.assert_allclose(back, b, rtol=1e-13, atol=1e-13)
    assert (
        abs(np.asarray(solved(jnp.asarray(a), jnp.asarray(b), form)) - result.value) <= result.error
    ).all()


@given(seed=seeds)
def test_no_solution_within_the_errors_or_in_float32_is_beyond_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    form = FORMS[int(rng.integers(len(FORMS)))]
    a, b = (x.astype(np.float32) for x in matrices(rng, form))
    operands = exact(a.astype(np.float64)), exact(b.astype(np.float64))
    result = call("triangular_solve", Rounding(np.float32), *operands, **params(form))
    got = np.asarray(jax.jit(solved, static_argnums=2)(a, b, form))
    assert got.dtype == np.float32
    assert (abs(got - result.value) <= result.error).all()
    size = 10 ** rng.uniform(-4, -1)
    wide = [Bounded(x.value, size * rng.uniform(0, 1, x.value.shape)) for x in operands]
    moved = [exact(x.value + x.error * rng.choice([-0.99, 0.99], x.value.shape)) for x in wide]
    result = call("triangular_solve", Rounding(np.float32), *wide, **params(form))
    inside = call("triangular_solve", Rounding(np.float64), *moved, **params(form))
    assert (abs(inside.value - result.value) <= result.error).all()


def test_the_bound_is_no_more_than_64_times_the_worst_error() -> None:
    rng = np.random.default_rng(0)
    form = (True, True, False, False)
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 8), (8, 2000)))
    a += 8 * np.eye(8, dtype=np.float32)
    result = call(
        "triangular_solve",
        Rounding(np.float32),
        exact(a.astype(np.float64)),
        exact(b.astype(np.float64)),
        **params(form),
    )
    error = abs(scipy.linalg.solve_triangular(a, b, lower=True) - result.value)
    assert 1 / 64 < (error / result.error).max() <= 1
