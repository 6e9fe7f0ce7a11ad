"""Gradients of single rows, their norms, and the mean of the clipped ones.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers.
"""

import tracemalloc
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn import Dense
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from reference.bounds.rounding import FUNCTION_ULPS
from reference.bounds.tracing import Traced
from reference.campaign.quantities import rows_by_hand, rows_by_jax
from reference.compare import Comparer, Verdict, worst_verdict
from tests.conftest import Tally, depth
from tests.support.bounds import bounded_leaves, bounds_of
from tests.support.cases import each
from tests.support.strategies import (
    TRAITS,
    DirectedNetwork,
    Shape,
    dtypes,
    make_directed_network,
    make_network,
    seeds,
    shapes,
)

FEWER = settings(max_examples=depth().compilations)  # JAX compiles for seconds

DTYPES = (np.float32, np.float64)
CLIPPED = "clipped_grad"


def arguments(network: DirectedNetwork) -> tuple[Params, Array, Array, float]:
    return network.params, network.X, network.y, network.max_norm


def assert_rows_agree(
    comparer: Comparer, network: DirectedNetwork, dtype: type[np.floating], trait: str, tally: Tally
) -> None:
    """Compare; only the clipped mean of large logits may have no bound.

    A row's gradient of p - y near 0 times weights near 1000 may have any norm from 0 to above
    max_norm, and the bound of a root's argument that may be 0 is infinite.
    """
    comparison = comparer(rows_by_hand(*arguments(network)), *arguments(network), dtype=dtype)
    tally.add(comparison)
    for name, leaves in comparison.by_key().items():
        allowed = {Verdict.MATCH}
        if comparison.open_kinks:
            allowed.add(Verdict.AMBIGUOUS)
        if name == CLIPPED and trait == "large logits":
            allowed.add(Verdict.NOT_COMPARABLE)
        assert worst_verdict(leaves) in allowed, (name, leaves)


@pytest.mark.long
@FEWER
@given(shape=shapes, data=st.data())
def test_rows_agree_with_jax(shape: Shape, data: st.DataObject, draws: int, tally: Tally) -> None:
    comparer = Comparer(rows_by_jax, *arguments(make_directed_network(shape, np.float64, seed=0)))
    tally.shapes += 1
    for draw in range(2 * draws):
        dtype = DTYPES[draw % 2]
        trait = data.draw(st.sampled_from(TRAITS))
        network = make_directed_network(shape, dtype, seed=data.draw(seeds), trait=trait)
        assert_rows_agree(comparer, network, dtype, trait, tally)


@pytest.mark.long
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(Shape((1, 1), 1, soft=False), id="smallest"),
        pytest.param(Shape((3, 1), 4, soft=True), id="one class"),
        pytest.param(Shape((2, 3, 2), 1, soft=True), id="one row"),
        pytest.param(Shape((1, 1, 1, 1, 2), 2, soft=False), id="widths of one"),
        pytest.param(Shape((30, 20, 10), 40, soft=False), id="larger"),
    ],
)
def test_rows_of_every_trap_agree_with_jax(
    shape: Shape, dtype: type[np.floating], tally: Tally
) -> None:
    comparer = Comparer(rows_by_jax, *arguments(make_directed_network(shape, np.float64, seed=0)))
    for seed, trait in enumerate(TRAITS):
        network = make_directed_network(shape, dtype, seed=seed, trait=trait)
        assert_rows_agree(comparer, network, dtype, trait, tally)


def mean_of_rows_by_jax(params: Params, X: Array, y: Array) -> Params:
    rows = reference.per_example_grads(params, X, y)
    return jax.tree.map(lambda leaf: leaf.mean(axis=0), rows)


@pytest.mark.long
@FEWER
@given(shape=shapes, dtype=dtypes, seed=seeds, trait=st.sampled_from(TRAITS))
def test_gradients_of_rows_average_to_the_gradient_of_the_batch(
    shape: Shape, dtype: type[np.floating], seed: int, trait: str
) -> None:
    """Both are within their own bounds of the exact gradient."""
    network = make_network(shape, dtype, seed=seed, trait=trait)
    params, X, y, _ = network
    rows = manual_nn.per_example_grads(params, X, y)
    traced = Traced(mean_of_rows_by_jax, params, X, y)
    for leaf, batch, (_, bound), batch_bound in zip(
        jax.tree.leaves(rows),
        jax.tree.leaves(manual_nn.loss_and_grad(params, X, y)[1]),
        bounded_leaves(traced, (params, X, y), dtype),
        bounds_of(network, dtype)[1:],
        strict=True,
    ):
        mean = leaf.mean(axis=0, dtype=dtype).astype(np.float64)
        assert (abs(mean - batch) <= bound + batch_bound).all()


@given(shape=shapes, dtype=dtypes, seed=seeds, N=st.sampled_from([1, 2, 4, 8]))
def test_a_max_norm_that_no_row_reaches_gives_the_bits_of_the_gradient(
    shape: Shape, dtype: type[np.floating], seed: int, N: int
) -> None:
    """With N a power of two, so that dividing by it is exact wherever it is done."""
    params, X, y, _ = make_network(shape._replace(N=N), dtype, seed=seed)
    clipped = manual_nn.clipped_grad(params, X, y, max_norm=2.0**20)
    for one, other in zip(
        jax.tree.leaves(clipped),
        jax.tree.leaves(manual_nn.loss_and_grad(params, X, y)[1]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@given(shape=shapes, dtype=dtypes, seed=seeds, exponent=st.integers(-40, -20))
def test_clipping_every_row_makes_max_norm_a_factor(
    shape: Shape, dtype: type[np.floating], seed: int, exponent: int
) -> None:
    """Bit for bit, for powers of two; rows whose gradient is nearly 0 do not occur."""
    params, X, y, _ = make_network(shape, dtype, seed=seed)
    norms = manual_nn.per_example_grad_norms(params, X, y)
    max_norm = 2.0**exponent
    if ((norms == 0) | (norms >= max_norm)).all():
        for one, other in zip(
            jax.tree.leaves(manual_nn.clipped_grad(params, X, y, max_norm=max_norm)),
            jax.tree.leaves(manual_nn.clipped_grad(params, X, y, max_norm=max_norm / 2)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, 2 * other)


# Norms whose squares are beyond the largest float or below the smallest


def half_and_half(dtype: npt.DTypeLike) -> Params:
    """Make the layer of zeros from 2 inputs to 4 classes, whose p is 1/4."""
    return (Dense(np.zeros((2, 4), dtype), np.zeros(4, dtype)),)


HALVES = [[0.0, 0.0, 0.5, 0.5]]  # d_z = (1, 1, -1, -1) / 4, of norm 1/2


@each("dtype", DTYPES)
@each("part", [-0.9, -0.6, -0.5, 0.5, 0.6, 0.9])
def test_norms_whose_squares_overflow_or_underflow_are_exact(
    dtype: type[np.floating], part: float
) -> None:
    """Inputs (3, 4) 2^k, and one bias: 5/2 2^k, or 1/2 where k is far below 0."""
    k = int(part * np.finfo(dtype).maxexp)
    X = np.ldexp(np.array([[3, 4]], dtype), k)
    expected = np.ldexp(dtype(2.5), k) if k > 0 else dtype(0.5)
    norms = manual_nn.per_example_grad_norms(half_and_half(dtype), X, HALVES)
    np.testing.assert_array_equal(norms, [expected])
    assert norms.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", [-0.9, -0.6, 0.6, 0.9])
def test_rows_whose_squares_overflow_or_underflow_are_clipped_exactly(
    dtype: type[np.floating], part: float
) -> None:
    """The bias's gradient is lost beside the weights', of norm 5/2 2^k, or the other way round."""
    k = int(part * np.finfo(dtype).maxexp)
    X = np.ldexp(np.array([[3, 4]], dtype), k)
    norm = 2.5 * 2.0**k if k > 0 else 0.5
    whole = manual_nn.per_example_grads(half_and_half(dtype), X, HALVES)
    clipped = manual_nn.clipped_grad(half_and_half(dtype), X, HALVES, max_norm=norm / 2)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(clipped), strict=True):
        np.testing.assert_array_equal(other, one[0] / 2)


@given(
    seed=seeds,
    D=st.integers(1, 9),
    K=st.integers(2, 9),
    margin=st.integers(0, 80),
    exponent=st.integers(-60, 60),
)
def test_norms_of_tiny_and_huge_rows_in_float32_are_those_of_float64(
    seed: int, D: int, K: int, margin: int, exponent: int
) -> None:
    """Of the same d_z: bounded by the roundings of the norm, and of the product a d_z.

    Relative to the norm: half of gamma_D and of gamma_K for the sums of squares, a rounding for
    each root, the library's ulps, 2 u each, for hypot, one for the product of norms, and one for
    each product a d_z of the gradient; a subnormal may be off by all of it.
    """
    rng = np.random.default_rng(seed)
    params = (Dense(np.zeros((D, K), np.float32), -margin * np.arange(K).astype(np.float32)),)
    X = np.ldexp(rng.normal(size=(3, D)).astype(np.float32), exponent)
    y = np.zeros(3, int)
    rows = manual_nn.per_example_grads(params, X, y)
    squares = sum(
        (leaf.astype(np.float64) ** 2).reshape(3, -1).sum(axis=1) for leaf in jax.tree.leaves(rows)
    )
    roundings = D + K + 2 + 2 * FUNCTION_ULPS + 2
    error = abs(manual_nn.per_example_grad_norms(params, X, y) - np.sqrt(squares))
    subnormal = np.finfo(np.float32).tiny * np.sqrt((D + 1) * K)
    assert (error <= roundings * 2.0**-24 * np.sqrt(squares) + subnormal).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [1e-300, 1e300])
def test_a_max_norm_beyond_the_precision_is_its_smallest_or_largest(
    dtype: type[np.floating], max_norm: float
) -> None:
    """Rows of no gradient, with one class, are not divided by 0; others keep or lose all."""
    one_class = (Dense(np.ones((1, 1), dtype), np.ones(1, dtype)),)
    for leaf in jax.tree.leaves(
        manual_nn.clipped_grad(one_class, np.ones((2, 1), dtype), [0, 0], max_norm=max_norm)
    ):
        np.testing.assert_array_equal(leaf, 0)
    X = np.array([[3, 4]], dtype)
    whole = manual_nn.per_example_grads(half_and_half(dtype), X, HALVES)
    clipped = manual_nn.clipped_grad(half_and_half(dtype), X, HALVES, max_norm=max_norm)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(clipped), strict=True):
        if max_norm > 1:
            np.testing.assert_array_equal(other, one[0])
        else:
            assert (abs(other) <= max(max_norm, np.finfo(dtype).tiny)).all()


# Memory


def peak_of(function: Callable[[], Any]) -> int:
    """Measure the most memory that NumPy holds during a call."""
    function()
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("sizes", [(784, 256, 10), (784, 512, 512, 10)])
@pytest.mark.parametrize("N", [64, 256])
def test_norms_and_clipping_take_at_most_twice_the_memory_of_a_gradient(
    sizes: tuple[int, ...], N: int
) -> None:
    params, X, y, _ = make_network(Shape(sizes, N, soft=False), np.float32, seed=0)
    plain = peak_of(lambda: manual_nn.loss_and_grad(params, X, y))
    assert peak_of(lambda: manual_nn.per_example_grad_norms(params, X, y)) <= 2 * plain
    assert peak_of(lambda: manual_nn.clipped_grad(params, X, y, max_norm=1.0)) <= 2 * plain


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_loses_no_digits_of_a_small_error_above_large_inputs(
    dtype: type[np.floating],
) -> None:
    """The scale times the error is subnormal where times the inputs, too, it is not.

    Found by the long campaign. Row 1 is on the right side, so sure that its error is tiny; its
    norm is that of the tiny error times the huge inputs.
    """
    info = np.finfo(dtype)
    large = np.ldexp(dtype(1), info.maxexp * 3 // 4)
    z = dtype(-np.log(2.0) * (info.maxexp // 2))
    params = (Dense(np.zeros((1, 3), dtype), np.array([0, z, 7 * z / 4], dtype)),)
    X = np.array([[large]])
    ((d_weight, _),) = manual_nn.clipped_grad(params, X, [0], max_norm=2.0**-10)
    p = manual_nn.predict_proba(params, X)[0]
    assert p[2] * 2.0**-10 / (p[1] * large) < info.tiny  # what scaling the error first would make
    ratio = d_weight[0, 2] / d_weight[0, 1]  # of two rounded products
    assert abs(ratio - p[2] / p[1]) <= 2 * info.eps * p[2] / p[1]  # with the quotients, 4 roundings


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lost", ["error", "inputs"])
def test_clipping_scales_the_inputs_or_the_error_whichever_is_larger(
    dtype: type[np.floating], lost: str
) -> None:
    """Of (4, 3 tiny, 5 tiny) and (large,) the one is the input, the other the hidden error.

    The scale times 3 tiny is 0, and times large it is not: 3 and 5 stay in proportion.
    """
    size = np.finfo(dtype).maxexp // 4
    tiny, large = np.ldexp(dtype(1), -2 * size), np.ldexp(dtype(1), size)
    parts, one = np.array([4, 3 * tiny, 5 * tiny], dtype), np.array([large], dtype)
    x, error = (one, parts) if lost == "error" else (parts, one)
    params = (
        Dense(np.zeros((len(x), len(error)), dtype), np.ones(len(error), dtype)),
        Dense(np.stack([-error, error], axis=1), np.array([error[0], -error[0]], dtype)),
    )
    # logits are 0 and d_z_2 is (-1/2, 1/2), so d_a_1 is the second layer's weights
    whole = manual_nn.per_example_grads(params, x[None], [0])[0].weight[0].ravel()
    np.testing.assert_array_equal(whole, large * parts)
    max_norm = np.ldexp(1.0, -2 * size + 4)
    clipped = manual_nn.clipped_grad(params, x[None], [0], max_norm=max_norm)[0].weight.ravel()
    scale = max_norm / (4.0 * float(large))
    assert dtype(scale * float(parts[1])) == 0
    assert clipped[1] > 0
    assert abs(clipped[2] / clipped[1] - 5 / 3) <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_norms_of_huge_rows_of_one_sign_are_exact(dtype: type[np.floating], sign: int) -> None:
    """Also where the number that is largest with its sign is 0; three rows, none like the other."""
    k = int(0.9 * np.finfo(dtype).maxexp)
    X = sign * np.ldexp(np.array([[3, 4], [0, 8], [40, 30]], dtype), k)
    norms = manual_nn.per_example_grad_norms(half_and_half(dtype), X, HALVES * 3)
    np.testing.assert_array_equal(norms, np.ldexp(np.array([2.5, 4, 25], dtype), k))


@each("dtype", DTYPES)
@each("part", [0.52, 0.55, 0.6, 0.9])
@each("order", [1, -1])
def test_a_norm_whose_square_is_lost_is_exact_beside_ordinary_ones(
    dtype: type[np.floating], part: float, order: int
) -> None:
    """Logits (0, -m x): of the row with x = 1 the error is (0, p), and its norm p times sqrt 2."""
    m = round(part * np.finfo(dtype).maxexp * np.log(2.0))
    params = (Dense(np.array([[0, -m]], dtype), np.zeros(2, dtype)),)
    X = np.array([[0], [1]], dtype)[::order]
    norms = manual_nn.per_example_grad_norms(params, X, [0, 0])[::order]
    p = manual_nn.predict_proba(params, X)[::order]
    assert p[1, 0] == 1
    assert norms[1] == p[1, 1] * np.hypot(dtype(1), dtype(1))
    assert norms[0] == np.sqrt(dtype(0.5))


def test_each_row_is_scaled_where_it_is_larger() -> None:
    """In the first row the inputs are, in the second the error: scaled, the other loses digits."""
    weight = np.diag(np.array([2.0**-66, 1], np.float32))
    above = np.array([[1.1 * 2.0**-60, -1.1 * 2.0**-60], [1.3 * 2.0**55, -1.3 * 2.0**55]])
    params = (
        Dense(weight, np.zeros(2, np.float32)),
        Dense(above.astype(np.float32), np.zeros(2, np.float32)),
    )
    X = np.array([[2.0**66, 0], [0, 2.0**-60]], np.float32)
    args = params, X, np.array([0, 1]), 2.0**-20
    comparer = Comparer(rows_by_jax, *args)
    assert comparer(rows_by_hand(*args), *args, dtype=np.float32).verdict == Verdict.MATCH


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_inputs_as_large_as_the_error_clipping_scales_the_error(
    dtype: type[np.floating],
) -> None:
    """Of (large, 1.2 small) and (large,) the one has digits to lose and the other has none."""
    size = np.finfo(dtype).maxexp * 5 // 16
    large, small = np.ldexp(dtype(1), size), np.ldexp(dtype(1.2), -size)
    x, max_norm = np.array([large, small]), np.ldexp(1.0, -size // 2)
    ((d_weight, _), _) = manual_nn.clipped_grad(steep(large), x[None], [1], max_norm=max_norm)
    assert d_weight[:, 0].tolist() == [max_norm, small * np.ldexp(1.0, -size // 2 - size)]


def steep(slope: np.floating) -> tuple[Dense, ...]:
    """Make a network of two inputs whose logits are 0; for the second class d_z_1 is the slope."""
    zero, one = np.zeros((2, 1), slope.dtype), np.ones(1, slope.dtype)
    weight = np.array([[slope, -slope]])
    return Dense(zero, one), Dense(weight, -weight[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["per_example_grads", "loss_and_grad"])
def test_the_gradient_of_one_row_that_overflows_is_infinite_without_a_warning(
    dtype: type[np.floating], name: str
) -> None:
    """Warnings fail a test."""
    large = np.ldexp(dtype(1), np.finfo(dtype).maxexp * 3 // 4)
    x = np.array([[large, dtype(1)]])
    gradient: Any = getattr(manual_nn, name)(steep(large), x, [1])
    d_weight = (gradient if name == "per_example_grads" else gradient[1])[0].weight
    assert d_weight.ravel().tolist() == [np.inf, large]
