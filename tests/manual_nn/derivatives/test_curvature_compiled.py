"""The compiled products with a direction beside NumPy's, and as hard to please.

Their comparisons with JAX stand beside those of NumPy's, in test_curvature.py, and those where all
is exact in test_products.py. Axes: N rows in the batch, D inputs, K classes.
"""

import re
from typing import Any

import jax
import numpy as np
import pytest

import manual_nn
from manual_nn import Dense, Workspace
from manual_nn.compiled.in_place import FEW
from manual_nn.compiled.reductions import BLOCK
from reference.campaign.draws import LAYOUTS
from tests.support.bits import same_bits
from tests.support.cases import each
from tests.support.compiled import PRODUCTS
from tests.support.strategies import Shape, make_directed_network

DTYPES = (np.float32, np.float64)
NAMES = ("jvp", "hvp", "ggnvp")
DEEP = Shape((5, 6, 4, 3), FEW // 2 + 3, soft=True)  # of which two times so many are not few


@pytest.mark.parametrize("dtype", DTYPES)
@each("layout", [*LAYOUTS])
def test_any_memory_layout_gives_the_same_bits(dtype: type[np.floating], layout: str) -> None:
    params, tangents, X, y, _, _ = make_directed_network(DEEP, dtype, seed=0)
    laid = make_directed_network(DEEP, dtype, seed=0, trait=layout)
    for name in NAMES:
        product = getattr(PRODUCTS, name)
        want = product(params, tangents, X, y, weight_decay=0.125)
        assert same_bits(product(*laid[:4], weight_decay=0.125), want)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@each("name", ["hvp", "ggnvp"])
def test_the_result_is_written_to_the_workspace(backend: str, name: str) -> None:
    params, tangents, X, y, _, _ = make_directed_network(DEEP, np.float64, seed=0)
    workspace = Workspace(params, len(X) + 1, backend=backend)
    product = getattr(manual_nn, name)
    got = product(params, tangents, X, y, weight_decay=0.125, workspace=workspace)
    want = product(params, tangents, X, y, weight_decay=0.125)
    for array, own, wanted in zip(
        *map(jax.tree.leaves, (got, workspace.gradient, want)), strict=True
    ):
        assert np.shares_memory(array, own)
        # sums of some forty numbers of size 1, in another order
        np.testing.assert_allclose(array, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_the_gradient_in_the_workspace_is_no_direction_unless_nothing_is_written(
    backend: str,
) -> None:
    params, _, X, y, _, _ = make_directed_network(DEEP, np.float64, seed=0)
    workspace = Workspace(params, len(X), backend=backend)
    _, gradient = manual_nn.loss_and_grad(params, X, y, workspace=workspace)
    views = tuple(Dense(weight[:], bias[:]) for weight, bias in gradient)
    for product in (manual_nn.hvp, manual_nn.ggnvp):
        for tangents in (gradient, views):
            with pytest.raises(ValueError, match="tangents must not be the workspace's own"):
                product(params, tangents, X, y, workspace=workspace)
    _, slope = manual_nn.jvp(params, gradient, X, y, workspace=workspace)
    squares = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(slope, squares, rtol=1e-10)


def test_a_workspace_of_other_layers_or_fewer_rows_is_refused() -> None:
    params, tangents, X, y, _, _ = make_directed_network(DEEP, np.float64, seed=0)
    for name in NAMES:
        product = getattr(manual_nn, name)
        with pytest.raises(ValueError, match=f"at least {len(X)} rows, got {len(X) - 1}"):
            product(params, tangents, X, y, workspace=Workspace(params, len(X) - 1))
        with pytest.raises(ValueError, match="workspace must be made for weights of shapes"):
            product(params, tangents, X, y, workspace=Workspace(params[1:], len(X)))


def test_sums_over_many_rows_keep_their_digits() -> None:
    """All rows are alike, and R_z is that of any of them; the logits are 0 and p is 1/2."""
    N, eps = 2**19, float(np.finfo(np.float32).eps)
    one, two = np.ones((1, 1), np.float32), np.array([[1.0, 0.0]], np.float32)
    params = (Dense(0 * one, one[0]), Dense(two, np.array([-1.0, 0.0], np.float32)))
    tangents = (Dense(0 * one, 0.3 * one[0]), Dense(0 * two, 0 * two[0]))
    X, y = np.ones((N, 1), np.float32), np.zeros(N, np.int64)
    r = float(np.float32(0.3))
    for package in (manual_nn, PRODUCTS):
        ((_, below), (_, above)) = package.ggnvp(params, tangents, X, y)
        # a row's own arithmetic is a few roundings, and each level of sums has fewer than BLOCK
        np.testing.assert_allclose(above, [r / 4, -r / 4], rtol=3 * BLOCK * eps)
        np.testing.assert_allclose(below, [r / 4], rtol=3 * BLOCK * eps)
        _, slope = package.jvp(params, tangents, X, y)
        np.testing.assert_allclose(slope, -r / 2, rtol=BLOCK * eps)


# What is not finite


@each("name", NAMES)
@each("whose", ["params", "tangents"])
@each("l", [0, 1, 2])
@each("part", ["weight", "bias"])
@each("value", [np.inf, np.nan])
def test_what_is_not_finite_is_refused_by_name(
    name: str, whose: str, l: int, part: str, value: float
) -> None:
    params, tangents, X, y, _, _ = make_directed_network(DEEP, np.float64, seed=0)
    array = getattr({"params": params, "tangents": tangents}[whose][l], part)
    array.flat[1] = value
    said = re.escape(f"{whose}[{l}].{part} must be finite, got {value} at ")
    with pytest.raises(ValueError, match=said), np.errstate(invalid="ignore"):
        getattr(PRODUCTS, name)(params, tangents, X, y)


def both(name: str, *arguments: Any) -> tuple[Any, Any]:
    """Compute by NumPy, and by what is compiled."""
    with np.errstate(over="ignore", invalid="ignore"):
        return getattr(manual_nn, name)(*arguments), getattr(PRODUCTS, name)(*arguments)


LARGE = 2.0**1023


@each("name", NAMES)
def test_a_derivative_that_overflows_at_a_unit_that_is_off_ends_as_in_numpy_s(name: str) -> None:
    params = (
        Dense(np.zeros((1, 2)), np.array([-1.0, 1.0])),
        Dense(np.array([[1.0, 2.0], [-1.0, 1.0]]), np.zeros(2)),
    )
    tangents = (
        Dense(np.array([[LARGE, 1.0]]), np.array([LARGE, 1.0])),
        Dense(np.ones((2, 2)), np.ones(2)),
    )
    want, got = both(name, params, tangents, np.array([[1.0]]), [1])
    assert same_bits(got, want)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))


@each("name", NAMES)
def test_derivatives_of_the_logits_that_overflow_are_refused(name: str) -> None:
    params = (Dense(np.eye(2), np.zeros(2)),)
    tangents = (Dense(np.full((2, 2), LARGE), np.zeros(2)),)
    with (
        pytest.raises(ValueError, match="must give finite derivatives of the logits"),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        getattr(PRODUCTS, name)(params, tangents, np.full((1, 2), 2.0), [0])


def test_a_penalty_that_overflows_on_the_way_ends_as_in_numpy_s() -> None:
    params = (Dense(np.full((1, 2), 2.0**600), np.zeros(2)),)
    for decay in (2.0**-600, 1.0):
        X, y = np.array([[0.0]]), [1]
        with np.errstate(over="ignore", invalid="ignore"):
            got = PRODUCTS.jvp(params, params, X, y, weight_decay=decay)
            want = manual_nn.jvp(params, params, X, y, weight_decay=decay)
        assert same_bits(got, want)
