"""Derivatives along a direction, and second derivatives.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers, P parameters.
"""

import itertools
import math
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.derivatives import curvature
from manual_nn.layers.dense import Params
from manual_nn.layers.softmax_cross_entropy import softmax
from reference.bounds.tracing import Traced
from reference.campaign import quantities
from reference.compare import Comparer, Comparison, Verdict
from tests.conftest import Tally, depth, part_for
from tests.support.bounds import bounded_leaves
from tests.support.compiled import PRODUCTS
from tests.support.strategies import (
    TRAITS,
    DirectedNetwork,
    Shape,
    dtypes,
    make_directed_network,
    seeds,
    shapes,
    small_shapes,
    weight_decays,
)

FEWER = settings(max_examples=depth().compilations)  # JAX compiles for seconds
of_any_network = given(
    shape=shapes,
    dtype=dtypes,
    seed=seeds,
    trait=st.sampled_from(TRAITS),
    weight_decay=weight_decays,
)

DTYPES = (np.float32, np.float64)


def along_by(package: Any) -> Any:
    """Make the function that computes what has a direction, with this package."""
    products = quantities.products_by(package)
    return lambda params, tangents, X, y, weight_decay, _: products(
        params, tangents, X, y, weight_decay
    )


def curvature_by(package: ModuleType) -> Any:
    """Make the function that computes the matrices and diagonals, with this package."""
    matrices = quantities.matrices_by(package)
    return lambda params, _, X, y, weight_decay, __: matrices(params, X, y, weight_decay)


GROUPS = {"along": along_by, "matrices": curvature_by}


def compared(
    comparer: Comparer,
    make: Any,
    network: DirectedNetwork,
    dtype: type[np.floating],
    *,
    compiled: bool = True,
) -> Comparison:
    """Compare, and check that nothing but a kink within rounding makes it ambiguous."""
    for package in (manual_nn, PRODUCTS) if make is along_by else (manual_nn,):
        got = make(package)(*network)
        comparison = comparer(got, *network, dtype=dtype, compiled=compiled)
        allowed = {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
        assert comparison.verdict in allowed, (package, comparison)
    return comparison


@pytest.mark.long
@FEWER
@given(shape=shapes, data=st.data())
def test_products_agree_with_jax(
    shape: Shape, data: st.DataObject, draws: int, tally: Tally
) -> None:
    agree_with_jax(along_by, shape, data, draws, tally)


@pytest.mark.long
@FEWER
@given(shape=small_shapes, data=st.data())
def test_matrices_and_diagonals_agree_with_jax(
    shape: Shape, data: st.DataObject, draws: int, tally: Tally
) -> None:
    agree_with_jax(curvature_by, shape, data, draws, tally)


def agree_with_jax(make: Any, shape: Shape, data: st.DataObject, draws: int, tally: Tally) -> None:
    """Take many networks of a shape through one compilation."""
    comparer = Comparer(make(reference), *make_directed_network(shape, np.float64, seed=0))
    tally.shapes += 1
    for draw in range(2 * draws):
        dtype = DTYPES[draw % 2]
        network = make_directed_network(
            shape,
            dtype,
            seed=data.draw(seeds),
            trait=data.draw(st.sampled_from(TRAITS)),
            weight_decay=data.draw(weight_decays),
        )
        tally.add(compared(comparer, make, network, dtype))


@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(Shape((1, 1), 1, soft=False), id="smallest"),
        pytest.param(Shape((3, 1), 4, soft=True), id="one class, softmax regression"),
        pytest.param(Shape((3, 4, 1), 4, soft=False), id="one class"),
        pytest.param(Shape((2, 3, 2), 1, soft=True), id="one row"),
        pytest.param(Shape((1, 1, 1, 1, 2), 2, soft=False), id="widths of one"),
        pytest.param(Shape((5, 4, 9), 7, soft=False), id="more classes than units"),
    ],
)
def test_every_trap_agrees_with_jax(shape: Shape, group: str) -> None:
    make = GROUPS[group]
    comparer = Comparer(make(reference), *make_directed_network(shape, np.float64, seed=0))
    for dtype in DTYPES:
        for seed, trait in part_for(dtype, list(enumerate(TRAITS)), turn=len(shape.sizes)):
            network = make_directed_network(shape, dtype, seed=seed, trait=trait, weight_decay=0.1)
            compared(comparer, make, network, dtype, compiled=depth().compiled)


# What must hold of any right product, whatever computes it: bilinear forms, within their bounds


def inner(one: Params, other: Params) -> Any:
    """<u, v> over all weights and biases."""
    products = [
        jnp.vdot(u, v) if isinstance(u, jax.Array) else np.vdot(u, v)
        for u, v in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    ]
    return sum(products)


class TwoDirections(NamedTuple):
    """A network with two directions u and v."""

    u: Params
    v: Params
    params: Params
    X: Array
    y: Array
    weight_decay: float

    @property
    def swapped(self) -> "TwoDirections":
        """The same with u and v exchanged."""
        return self._replace(u=self.v, v=self.u)


def two_directions(
    shape: Shape, dtype: npt.DTypeLike, *, seed: int, trait: str, weight_decay: float
) -> TwoDirections:
    params, v, X, y, _, _ = make_directed_network(shape, dtype, seed=seed, trait=trait)
    u = make_directed_network(shape, dtype, seed=seed + 1).tangents
    return TwoDirections(u, v, params, X, y, weight_decay)


def form_by(package: Any, product: str) -> Any:
    """Make the function u, v -> u . M v."""

    def form(u: Params, v: Params, params: Params, X: Array, y: Array, weight_decay: float) -> Any:
        return inner(u, getattr(package, product)(params, v, X, y, weight_decay=weight_decay))

    return form


def bound_of(traced: Traced, args: tuple[Any, ...], dtype: npt.DTypeLike) -> float:
    """Bound the error of a scalar, with open kinks left open."""
    (bounded,) = bounded_leaves(traced, args, dtype)
    return float(bounded.error)


@pytest.mark.parametrize("product", ["hvp", "ggnvp"])
@FEWER
@of_any_network
def test_products_are_symmetric(
    product: str,
    shape: Shape,
    dtype: type[np.floating],
    seed: int,
    trait: str,
    weight_decay: float,
) -> None:
    """u . M v = v . M u: each is within its own bound of the same exact value."""
    network = two_directions(shape, dtype, seed=seed, trait=trait, weight_decay=weight_decay)
    traced = Traced(form_by(reference, product), *network)
    form = form_by(manual_nn, product)
    bound = bound_of(traced, network, dtype) + bound_of(traced, network.swapped, dtype)
    assert abs(float(form(*network)) - float(form(*network.swapped))) <= bound


@FEWER
@of_any_network
def test_the_gauss_newton_matrix_is_positive_semi_definite(
    shape: Shape, dtype: type[np.floating], seed: int, trait: str, weight_decay: float
) -> None:
    """v . G v is a sum of variances and squares, so at least 0 less its bound."""
    network = two_directions(shape, dtype, seed=seed, trait=trait, weight_decay=weight_decay)
    network = network._replace(u=network.v)
    bound = bound_of(Traced(form_by(reference, "ggnvp"), *network), network, dtype)
    assert float(form_by(manual_nn, "ggnvp")(*network)) >= -bound


@FEWER
@of_any_network
def test_the_jvp_is_the_inner_product_of_gradient_and_tangents(
    shape: Shape, dtype: type[np.floating], seed: int, trait: str, weight_decay: float
) -> None:
    def d_loss(params: Params, tangents: Params, X: Array, y: Array, weight_decay: float) -> Any:
        return reference.jvp(params, tangents, X, y, weight_decay=weight_decay)[1]

    def product(params: Params, tangents: Params, X: Array, y: Array, weight_decay: float) -> Any:
        return inner(reference.loss_and_grad(params, X, y, weight_decay=weight_decay)[1], tangents)

    network = make_directed_network(
        shape, dtype, seed=seed, trait=trait, weight_decay=weight_decay
    )[:-1]
    params, tangents, X, y, _ = network
    value, derivative = manual_nn.jvp(params, tangents, X, y, weight_decay=weight_decay)
    loss, gradient = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
    bound = sum(
        bound_of(Traced(function, *network), network, dtype) for function in (d_loss, product)
    )
    assert abs(float(derivative) - float(inner(gradient, tangents))) <= bound
    assert value == loss


@given(
    D=st.integers(1, 8),
    K=st.integers(1, 8),
    N=st.integers(1, 9),
    soft=st.booleans(),
    dtype=dtypes,
    seed=seeds,
    trait=st.sampled_from(TRAITS),
    weight_decay=weight_decays,
)
def test_with_one_layer_hessian_and_gauss_newton_are_the_same_bits(
    D: int,
    K: int,
    N: int,
    *,
    soft: bool,
    dtype: type[np.floating],
    seed: int,
    trait: str,
    weight_decay: float,
) -> None:
    """The logits are linear in the parameters, so that the residual has no curvature."""
    shape = Shape((D, K), N, soft)
    params, tangents, X, y, _, _ = make_directed_network(shape, dtype, seed=seed, trait=trait)
    hessian = manual_nn.hvp(params, tangents, X, y, weight_decay=weight_decay)
    gauss_newton = manual_nn.ggnvp(params, tangents, X, y, weight_decay=weight_decay)
    for one, other in zip(jax.tree.leaves(hessian), jax.tree.leaves(gauss_newton), strict=True):
        np.testing.assert_array_equal(one, other)


@FEWER
@given(shape=small_shapes, dtype=dtypes, seed=seeds, weight_decay=weight_decays)
def test_the_columns_of_the_matrices_are_the_products_with_unit_vectors(
    shape: Shape, dtype: type[np.floating], seed: int, weight_decay: float
) -> None:
    params, _, X, y, _, _ = make_directed_network(shape, dtype, seed=seed)
    P = sum(leaf.size for leaf in jax.tree.leaves(params))
    i = seed % P
    unit = np.zeros(P, dtype)
    unit[i] = 1
    _, unravel = jax.flatten_util.ravel_pytree(params)
    tangents = tuple(Dense(*map(np.asarray, layer)) for layer in unravel(jnp.asarray(unit)))
    for matrix, product in (
        (manual_nn.hessian, manual_nn.hvp),
        (manual_nn.ggn, manual_nn.ggnvp),
    ):
        column = product(params, tangents, X, y, weight_decay=weight_decay)
        np.testing.assert_array_equal(
            matrix(params, X, y, weight_decay=weight_decay)[:, i],
            np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(column)]),
        )


@FEWER
@given(shape=small_shapes, dtype=dtypes, seed=seeds, trait=st.sampled_from(TRAITS))
def test_the_diagonals_of_fisher_and_gauss_newton_are_equal(
    shape: Shape, dtype: type[np.floating], seed: int, trait: str
) -> None:
    """To each other and to the dense matrix's: each is within its own bound of the exact value.

    The second and the third have the same twin, of which the bound is one and the same.
    """
    network = make_directed_network(shape, dtype, seed=seed, trait=trait)
    params, _, X, y, _, _ = network
    bounds = {
        name: [
            bounded.error
            for bounded in bounded_leaves(Traced(function, params, X, y), (params, X, y), dtype)
        ]
        for name, function in {
            "fisher": lambda params, X, _: reference.fisher_diagonal(params, X),
            "ggn": reference.ggn_diagonal,
        }.items()
    }
    dense = np.diagonal(manual_nn.ggn(params, X, y))
    fisher = jax.tree.leaves(manual_nn.fisher_diagonal(params, X))
    start = 0
    for one, other, fisher_bound, bound in zip(
        fisher,
        jax.tree.leaves(manual_nn.ggn_diagonal(params, X, y)),
        bounds["fisher"],
        bounds["ggn"],
        strict=True,
    ):
        part = dense[start : start + one.size].reshape(one.shape).astype(np.float64)
        start += one.size
        assert (abs(one.astype(np.float64) - other) <= fisher_bound + bound).all()
        assert (abs(one - part) <= fisher_bound + bound).all()
        assert (abs(other - part) <= 2 * bound).all()


@given(seed=seeds, N=st.integers(1, 5), K=st.integers(1, 9), margin=st.sampled_from([0, 1, 9, 900]))
def test_the_factor_times_its_transpose_is_the_curvature_of_the_softmax(
    seed: int, N: int, K: int, margin: int
) -> None:
    """S S^T = diag(p) - p p^T, also where some p are 0.

    Entry i, j is a sum of at most K products of a root, a quotient and sums of up to K terms: in
    all at most 3 K + 9 roundings of each, doubled for the products, of the entries of |S||S|^T; and
    the roundings of p, which sums to 1 within K of them, and of the other side.
    """
    rng = np.random.default_rng(seed)
    p = softmax(margin * rng.normal(size=(N, K)))
    p /= p.sum(axis=1, keepdims=True)  # so that the sum of p is 1 within K roundings
    factor = np.zeros((N, K, max(K - 1, 1)))
    for k, column in enumerate(curvature.softmax_curvature_factor(p)):
        factor[:, :, k] = column
    product = factor @ factor.transpose(0, 2, 1)
    size = abs(factor) @ abs(factor).transpose(0, 2, 1)
    wanted = p[:, :, None] * (np.eye(K) - p[:, None, :])
    unit = 2.0**-53
    bound = 2 * (3 * K + 9) * unit * size + (2 * K + 3) * unit * (
        p[:, :, None] * (np.eye(K) + p[:, None, :])
    )
    assert (abs(product - wanted) <= bound + np.finfo(float).tiny).all()


# Arithmetic chosen to be exact


@pytest.mark.long
@FEWER
@given(
    seed=seeds,
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    N=st.sampled_from([1, 2, 4, 8]),
    dtype=dtypes,
    weight_decay=st.sampled_from([0.0, 0.25, 1.0]),
)
def test_exact_arithmetic_gives_the_bits_of_jax(
    seed: int, sizes: list[int], N: int, dtype: type[np.floating], weight_decay: float
) -> None:
    """Small integers, and two equal columns of the last layer, so that p is 1/2: nothing rounds."""
    rng = np.random.default_rng(seed)

    def integers(*shape: int) -> Array:
        return rng.integers(-2, 3, size=shape).astype(dtype)

    params = [Dense(integers(i, o), integers(o)) for i, o in itertools.pairwise(sizes)]
    last = Dense(np.tile(integers(sizes[-1], 1), 2), np.tile(integers(1), 2))
    network = (*params, last)
    tangents = tuple(
        Dense(integers(*weight.shape), integers(bias.size)) for weight, bias in network
    )
    X, y = integers(N, sizes[0]), rng.integers(2, size=N)
    got = everything_by(manual_nn)(network, tangents, X, y, weight_decay)
    want = jax.jit(everything_by(reference))(network, tangents, X, y, weight_decay)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_array_equal(one, other)


def everything_by(package: Any) -> Any:
    """Make the function that computes what is exact: all but the loss and the norms."""

    def everything(
        params: Params, tangents: Params, X: Array, y: Array, weight_decay: float
    ) -> object:
        decay = {"weight_decay": weight_decay}
        return (
            package.per_example_grads(params, X, y),
            package.clipped_grad(params, X, y, max_norm=2.0**20),
            package.jvp(params, tangents, X, y, **decay)[1],
            package.hvp(params, tangents, X, y, **decay),
            package.ggnvp(params, tangents, X, y, **decay),
            package.hessian(params, X, y, **decay),
            package.ggn(params, X, y, **decay),
            package.fisher_diagonal(params, X),
            package.ggn_diagonal(params, X, y, **decay),
        )

    return everything


def test_a_worked_example() -> None:
    """Every number by hand, in the order of curvature.md.

    z_1 = (1, -1), a_1 = (1, 0), z_2 = (0, 0), p = (1/2, 1/2), d_z_2 = (-1/2, 1/2), d_a_1 = (1, -1),
    d_z_1 = (1, 0). Along R_W_1 = (1, 5), R_W_2 = ((2, 0), (0, 0)): R_z_1 = (1, 5), R_a_1 = (1, 0),
    R_z_2 = (-1, 1) + (2, 0) = (1, 1), H_L R_z_2 = 0, R_d_a_1 = (-1/2 2, 0) = (-1, 0) + 0,
    R_d_W_1 = (-1, 0), R_d_W_2 = R_a_1^T d_z_2 = ((-1/2, 1/2), (0, 0)), to which 2 weight_decay
    R_W = R_W / 2 is added.
    """
    params = (
        Dense(np.array([[1.0, -1.0]]), np.zeros(2)),
        Dense(np.array([[-1.0, 1.0], [0.0, -1.0]]), np.array([1.0, -1.0])),
    )
    tangents = (
        Dense(np.array([[1.0, 5.0]]), np.zeros(2)),
        Dense(np.array([[2.0, 0.0], [0.0, 0.0]]), np.zeros(2)),
    )
    X, y, weight_decay = np.array([[1.0]]), np.array([0]), 0.25
    got = jax.tree.leaves(manual_nn.hvp(params, tangents, X, y, weight_decay=weight_decay))
    want = ([[-1 + 0.5, 2.5]], [-1, 0], [[-0.5 + 1, 0.5], [0, 0]], [0, 0])
    for leaf, expected in zip(got, want, strict=True):
        np.testing.assert_array_equal(leaf, expected)
    got = jax.tree.leaves(manual_nn.ggnvp(params, tangents, X, y, weight_decay=weight_decay))
    for leaf, (R_leaf, weights) in zip(
        got, [(leaf, leaf.ndim == 2) for leaf in jax.tree.leaves(tangents)], strict=True
    ):
        np.testing.assert_array_equal(leaf, R_leaf / 2 * weights)  # H_L R_z_2 = 0
    # d_L = <d_z_2, R_z_2> + 2 weight_decay <W, R_W> = 0 + (1 - 5 - 2) / 2
    assert manual_nn.jvp(params, tangents, X, y, weight_decay=weight_decay)[1] == -3


# The remainder of Taylor's series


class Ray(NamedTuple):
    """A direction in which nothing rounds, and how far every unit keeps its side of the kink."""

    network: DirectedNetwork
    logits: Array  # (L + 1, N, K), the coefficients of the logits as polynomials of the step
    step: float  # a power of two


def make_ray(shape: Shape, seed: int, weight_decay: float) -> Ray | None:
    """Round a network and its tangents to multiples of 2^-12, and find the step.

    While no unit changes sides, z_l is a polynomial of degree l in the step. A unit keeps its sign
    where the constant coefficient is larger than twice the sum of what the others can make; twice,
    so that the rounding of these few sums does not matter.
    """
    network = make_directed_network(shape, np.float64, seed=seed, weight_decay=weight_decay)

    def rounded(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.rint(leaf * 2**12) / 2**12, tree)

    network = network._replace(
        params=rounded(network.params), tangents=rounded(network.tangents), X=rounded(network.X)
    )
    for exponent in range(6, 20):
        step = 2.0**-exponent
        logits = polynomials(network, step)
        if logits is not None:
            return Ray(network, logits, step)
    return None


def polynomials(network: DirectedNetwork, step: float) -> Array | None:
    """Give the coefficients of the logits, if no unit can change sides within the step."""
    a = network.X[None]  # (degree + 1, N, D)
    layers = list(zip(network.params, network.tangents, strict=True))
    for l, ((weight, bias), (R_weight, R_bias)) in enumerate(layers):
        z = np.zeros((len(a) + 1, *(a[0] @ weight).shape))
        z[:-1] += a @ weight
        z[1:] += a @ R_weight
        z[0] += bias
        z[1] += R_bias
        powers = step ** np.arange(len(z))[:, None, None]
        if l < len(layers) - 1:
            if (abs(z[0]) <= 2 * abs(z * powers)[1:].sum(axis=0)).any():
                return None
            a = z * (z[0] > 0)
    return z


def largest_derivatives(ray: Ray) -> tuple[float, float]:
    """Bound the second and third derivative of the loss along the ray, from 0 to the step.

    Row n's logits are z(t), polynomials. With lse' = E_p[z'] and t the target, the derivatives of
    lse(z) - <t, z> are, with moments under p,

        f'' = Var(z') + <p - t, z''>,   f''' = kappa_3(z') + 3 Cov(z', z'') + <p - t, z'''>.

    For numbers in ranges of widths R_j = max_k z_k^(j) - min_k z_k^(j) the variance is at most
    R_1^2 / 4, the third central moment R_1^3 / (6 sqrt 3), the covariance R_1 R_2 / 4, and, because
    p - t sums to 0 and its positive entries to at most 1, |<p - t, z^(j)>| at most R_j. A range is
    a seminorm, so that R_j is at most the sum over i of i! / (i - j)! step^(i - j) times the range
    of coefficient i. The penalty adds 2 weight_decay ||R_W||^2 to f''. The last factor covers the
    rounding of these few hundred operations on numbers of one sign.
    """
    ranges = np.ptp(ray.logits, axis=2)  # (L + 1, N)

    def width(j: int) -> Array:
        return sum(
            (math.perm(i, j) * ray.step ** (i - j) * ranges[i] for i in range(j, len(ranges))),
            start=np.zeros(ranges.shape[1]),
        )

    squares = sum((R_weight**2).sum() for R_weight, _ in ray.network.tangents)
    second = np.mean(width(1) ** 2 / 4 + width(2)) + 2 * ray.network.weight_decay * squares
    third = np.mean(width(1) ** 3 / (6 * np.sqrt(3)) + 3 / 4 * width(1) * width(2) + width(3))
    return float(second) * (1 + 2.0**-40), float(third) * (1 + 2.0**-40)


class Remainders(NamedTuple):
    """What is left of L(step) after the first and the second order, and what may be left."""

    first: float
    second: float
    first_bound: float
    second_bound: float


def remainders(ray: Ray, second_derivative: float | None = None) -> Remainders:
    """Compute L(step) - L(0) - step L' - step^2 / 2 L'', with the bounds of its terms' rounding."""
    network, step = ray.network, ray.step
    params, tangents, X, y, weight_decay, _ = network
    end = jax.tree.map(lambda leaf, R_leaf: leaf + step * R_leaf, params, tangents)  # exact
    there = manual_nn.loss(end, X, y, weight_decay=weight_decay)
    here, slope = manual_nn.jvp(params, tangents, X, y, weight_decay=weight_decay)
    if second_derivative is None:
        product = manual_nn.hvp(params, tangents, X, y, weight_decay=weight_decay)
        second_derivative = float(inner(tangents, product))

    def everything(params: Params, tangents: Params, X: Array, y: Array, decay: float) -> Any:
        value, slope = reference.jvp(params, tangents, X, y, weight_decay=decay)
        product = reference.hvp(params, tangents, X, y, weight_decay=decay)
        return value, slope, inner(tangents, product)

    traced = Traced(everything, *network[:-1])
    bounds = [bounded.error for bounded in bounded_leaves(traced, network[:-1], np.float64)]
    moved = network._replace(params=end)[:-1]
    there_bound = bounded_leaves(traced, moved, np.float64)[0].error
    first = float(there) - float(here) - step * float(slope)
    second = first - step**2 / 2 * second_derivative
    # the rounding of these sums, of numbers no larger than the two losses and what is between them
    size = abs(there) + abs(here) + abs(step * slope) + abs(step**2 / 2 * second_derivative)
    rounding = there_bound + bounds[0] + step * bounds[1] + 6 * 2.0**-53 * size
    f2, f3 = largest_derivatives(ray)
    return Remainders(
        abs(first),
        abs(second),
        float(step**2 / 2 * f2 + rounding),
        float(step**3 / 6 * f3 + rounding + step**2 / 2 * bounds[2]),
    )


@FEWER
@given(shape=shapes, seed=seeds, weight_decay=weight_decays)
def test_the_remainders_of_taylors_series_are_of_order_two_and_three(
    shape: Shape, seed: int, weight_decay: float
) -> None:
    """Away from kinks: below the largest second and third derivative, which are derived above."""
    ray = make_ray(shape._replace(soft=False), seed, weight_decay)
    if ray is not None:
        left = remainders(ray)
        assert left.first <= left.first_bound
        assert left.second <= left.second_bound


@pytest.mark.parametrize("seed", range(5))
def test_the_remainders_see_a_missing_term(seed: int) -> None:
    """Without the second derivative, or with the Gauss-Newton matrix's, too much is left."""
    ray = make_ray(Shape((3, 4, 4, 3), 4, soft=False), seed, 0.1)
    assert ray is not None
    ray = ray._replace(step=ray.step / 64)
    params, tangents, X, y, weight_decay, _ = ray.network
    gauss_newton = manual_nn.ggnvp(params, tangents, X, y, weight_decay=weight_decay)
    assert remainders(ray).second <= remainders(ray).second_bound
    for wrong in (0.0, float(inner(tangents, gauss_newton))):
        left = remainders(ray, wrong)
        assert left.second > left.second_bound


# Size


@pytest.mark.parametrize("matrix", [manual_nn.hessian, manual_nn.ggn])
def test_a_dense_matrix_of_too_many_parameters_is_refused(matrix: Any) -> None:
    limit = curvature.MAX_DENSE_PARAMETERS
    params = (Dense(np.zeros((limit, 1)), np.zeros(1)),)
    with pytest.raises(ValueError, match=f"params must have at most {limit} .* got {limit + 1}; "):
        matrix(params, np.zeros((1, limit)), [0])


# Range


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.25])
def test_a_square_beyond_the_largest_float_is_not_in_the_way_of_a_diagonal(
    dtype: type[np.floating], weight_decay: float
) -> None:
    """X^2 is infinite and (X d_z)^2 is 1: found by the long campaign, where it came out as NaN."""
    large = np.ldexp(dtype(1), np.finfo(dtype).maxexp * 2 // 3)
    first = Dense(np.zeros((1, 1), dtype), np.ones(1, dtype))  # the activation is 1
    second = Dense(np.full((1, 2), 1 / large), np.zeros(2, dtype))  # p = (1/2, 1/2)
    second.weight[0, 1] *= -1
    params, X = (first, second), np.full((2, 1), large)
    decay = 2 * weight_decay
    fisher, ggn = (
        manual_nn.fisher_diagonal(params, X),
        manual_nn.ggn_diagonal(params, X, [0, 1], weight_decay=weight_decay),
    )
    for diagonal, extra in ((fisher, 0.0), (ggn, decay)):
        np.testing.assert_array_equal(diagonal[0].weight, np.full((1, 1), 1 + extra, dtype))
        np.testing.assert_array_equal(diagonal[0].bias, np.full(1, (1 / large) ** 2, dtype))
        np.testing.assert_array_equal(diagonal[1].weight, np.full((1, 2), 0.25 + extra, dtype))
        np.testing.assert_array_equal(diagonal[1].bias, np.full(2, 0.25, dtype))
        assert diagonal[0].weight.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_derivative_that_overflows_at_a_unit_that_is_off_is_0(dtype: type[np.floating]) -> None:
    """0 times infinity is NaN, and JAX selects 0: found by the long campaign in hvp and ggnvp."""
    large = np.ldexp(dtype(1), np.finfo(dtype).maxexp - 1)
    zero, one = np.zeros((1, 1), dtype), np.ones((1, 1), dtype)
    params = (
        Dense(one, np.full(1, -1, dtype)),  # z_1 = 0, the unit is off
        Dense(np.array([[large, -large]]), np.zeros(2, dtype)),
    )
    tangents = (Dense(zero, zero[0]), Dense(np.zeros((1, 2), dtype), np.array([8, -8], dtype)))
    steeper = (Dense(large * one, zero[0]), tangents[1])
    arguments = one, np.array([0])
    with np.errstate(over="ignore", invalid="ignore"):
        products = [manual_nn.hvp, manual_nn.ggnvp]
        results = [product(params, tangents, *arguments) for product in products]
        results.append(manual_nn.ggnvp(params, steeper, *arguments))
    for result in results:
        assert not result[0].weight.any()
        assert not result[0].bias.any()
        assert np.isfinite(result[1].bias).all()
    assert np.isfinite(manual_nn.jvp(params, steeper, *arguments)[1])
