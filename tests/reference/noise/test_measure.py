"""Measured rounding: its size, its kinks, and that right gradients lie within it."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reference.arrays import PRECISION, Array
from reference.bounds.programs import compiled_fast
from reference.bounds.tracing import Traced
from reference.compare import Comparer
from reference.noise import measure as module
from reference.noise.measure import Measurement, Noise, Witness, longest_path
from reference.noise.samples import random_table, unit_roundoff
from reference.noise.statistics import joined, longest_equal_sum, multiple
from tests.conftest import depth, part_for

U = 2.0**-24
rng = np.random.default_rng(0)


def normal(*shape: int, scale: float = 1.0) -> Array:
    """Draw numbers that float32 holds, as float64."""
    return (scale * rng.normal(size=shape)).astype(np.float32).astype(np.float64)


def measured(function: Callable[..., Any], *args: Any, dtype: Any = np.float32) -> Measurement:
    """Measure the rounding of a function once."""
    return Witness(Traced(function, *args), dtype).measure(*args)


def only(measurement: Measurement) -> Noise:
    """Take the one array that was measured."""
    (leaf,) = measurement.leaves
    return leaf


def test_the_random_numbers_have_mean_0_and_variance_1_and_the_columns_are_independent() -> None:
    keys, rows = np.full(4, 3, np.uint32), np.arange(4, dtype=np.uint32)
    table, signs = random_table(keys, rows, np.array([0.0, 1, 1, 2]), 2**16)
    assert not table[0].any()
    assert set(signs.flatten()) == {-1, 1}
    assert (abs(signs.mean(axis=1)) < 5 / np.sqrt(signs.shape[1])).all()
    numbers = table[1:] / [[1], [1], [2]]
    deviation = 1 / np.sqrt(2**16)  # of a mean of so many numbers of variance 1
    assert (abs(numbers.mean(axis=1)) < 5 * deviation).all()
    assert (abs((numbers**2).mean(axis=1) - 1) < 5 * deviation).all()
    for shift in (1, 2, 3, 64, 1000):
        assert (abs((numbers[:, shift:] * numbers[:, :-shift]).mean(axis=1)) < 6 * deviation).all()
    assert (abs(np.corrcoef(numbers) - np.eye(3)) < 5 * deviation).all()


def test_what_takes_long_to_run_is_compiled_as_xla_does_it_for_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = normal(4)
    for most, fast in ((8, True), (7, False)):
        monkeypatch.setattr(module, "UNOPTIMISED_ELEMENTS", most)
        with mock.patch.object(module, "compiled_fast", wraps=compiled_fast) as compiled:
            leaf = only(measured(lambda x: x * 1.75, x))  # four operands and four results
        assert compiled.called == fast
        np.testing.assert_array_equal(leaf.nominal, x * 1.75)
        assert (leaf.sigma > 0).all()
        assert (leaf.sigma < 2 * U * abs(leaf.nominal)).all()  # a disturbance is up to sqrt(3) U


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_operation_is_disturbed_by_one_rounding_of_its_result(dtype: Any) -> None:
    x, y = normal(4096), normal(4096)
    leaf = only(measured(jnp.add, x, y, dtype=dtype))
    np.testing.assert_array_equal(leaf.nominal, x + y)
    implementations = 1 if dtype == np.float32 else 2  # JAX's own rounding shows in float64
    size = leaf.sigma / (unit_roundoff(dtype) * abs(x + y))
    # The mean of 16 * 4096 squares of uniform numbers, whose variance is 4/5 of their mean's square
    deviation = np.sqrt(0.8 / (16 * 4096)) * implementations
    assert abs((size**2).mean() - implementations) < 5 * deviation + 1e-6


def test_a_sum_is_disturbed_by_the_square_root_of_its_terms_in_whatever_form_it_comes() -> None:
    x = normal(256, 100)
    expected = U * 10 * (abs(x.sum(axis=1)) + np.sqrt((x**2).sum(axis=1)))
    forms: list[tuple[Callable[..., Any], tuple[Array, ...]]] = [
        (lambda x: x.sum(axis=1), (x,)),
        (lambda x, y: x @ y, (x, np.ones(100))),
        (lambda x: jnp.cumsum(x, axis=1)[:, -1], (x,)),
        (lambda x: jnp.zeros(256).at[jnp.repeat(jnp.arange(256), 100)].add(x.reshape(-1)), (x,)),
    ]
    for function, args in forms:
        ratio = only(measured(function, *args)).sigma / expected
        assert abs((ratio**2).mean() - 1) < 5 * np.sqrt(0.8 / (16 * 256))


def test_products_of_matrices_may_have_an_operand_and_a_result_in_a_coarser_precision() -> None:
    """What else there is has the finer one."""

    def sigma(function: Callable[..., Any], *args: Any, products: float = 0.0) -> Array:
        witness = Witness(Traced(function, *args), np.float32, products=products)
        return only(witness.measure(*args)).sigma

    coarse = 2.0**-8
    x, y = normal(256, 4), normal(4)
    images, kernels = normal(1, 1, 128), normal(1, 1, 4)

    def convolved(x: Any, k: Any) -> Any:
        return lax.conv_general_dilated(x, k, (1,), "VALID")

    windows = np.lib.stride_tricks.sliding_window_view(images[0, 0], 4)
    for function, args, terms in (
        (jnp.matmul, (x, y), x * y),
        (convolved, (images, kernels), (windows * kernels[0, 0])[None, None]),
    ):
        squares, result = (terms**2).sum(axis=-1), terms.sum(axis=-1)
        expected = coarse * np.sqrt(2 * squares + result**2)
        found = sigma(function, *args, products=coarse)
        np.testing.assert_allclose((found**2).sum(), (expected**2).sum(), rtol=0.2)
        assert (sigma(function, *args) < found / 1000).all()
    products = sigma(jnp.multiply, x, y[None], products=coarse)
    np.testing.assert_array_equal(products, sigma(jnp.multiply, x, y[None]))


def test_one_term_alone_is_no_sum() -> None:
    rows = np.array([3, 1])
    leaf = only(measured(lambda x: jnp.zeros((5, 2)).at[rows].add(2 * x), normal(2, 2)))
    assert not leaf.sigma.any()
    assert not only(measured(lambda x: x.sum(axis=0), normal(1, 5))).sigma.any()


def test_half_of_a_librarys_error_is_the_same_for_all_elements() -> None:
    x = np.full((2, 4096), 0.5)
    leaf = only(measured(lambda x: jnp.exp(x[0]) - jnp.exp(x[1]), x))
    # Of 4 roundings of either half the variance is common to both, and cancels.
    ratio = leaf.sigma / (4 * U * np.exp(0.5))
    assert abs((ratio**2).mean() - 1) < 5 * np.sqrt(1 / (16 * 4096)) * 2


def test_a_constant_is_rounded_once_for_all_of_its_uses() -> None:
    def twice(x: Any) -> Any:
        return (x + 0.1) - (x + 0.1)

    assert not only(measured(lambda _: jnp.float64(0.1) - jnp.float64(0.1), 1.0)).sigma
    leaf = only(measured(lambda x: 0.1 + 0 * x, np.zeros(3)))
    assert (leaf.sigma > 0).all()
    assert only(measured(twice, 1.0)).sigma > 0


def test_inputs_that_the_precision_does_not_hold_are_rounded() -> None:
    assert only(measured(lambda x: -x, 0.1)).sigma > 0
    assert only(measured(lambda x: -x, 0.5)).sigma == 0
    assert only(measured(lambda x: -x, 0.1, dtype=np.float64)).sigma == 0


def test_products_with_powers_of_two_and_moves_are_exact() -> None:
    leaf = only(measured(lambda x: jnp.maximum(-2.0 * x[::-1] / 4.0, 0.25), normal(5)))
    assert not leaf.sigma.any()


def test_cancellation_and_common_errors_are_played_through() -> None:
    leaf = only(measured(lambda x: (x + 1) - 1, normal(1000, scale=1e-4)))
    assert abs((leaf.sigma**2).mean() / U**2 - 1) < 0.1
    assert not only(measured(lambda x: jnp.exp(x) - jnp.exp(x), normal(10))).nominal.any()


@pytest.mark.parametrize("magnification", [2.0**12, 2.0**20])
def test_the_disturbances_of_float64_are_magnified_where_everything_is_linear(
    magnification: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    W, xs = normal(16, 16, scale=0.25), normal(30, 16)
    grad = jax.grad(recurrent)
    usual = only(measured(grad, W, xs, dtype=np.float64))
    monkeypatch.setattr(module, "MAGNIFICATION", magnification)
    other = only(measured(grad, W, xs, dtype=np.float64))
    np.testing.assert_allclose(other.sigma, usual.sigma, rtol=2e-3)  # 1 / 2^12 is rounding itself


def recurrent(W: Any, xs: Any) -> Any:
    """A tanh RNN; longer than the proven bound can follow."""
    h, _ = lax.scan(lambda h, x: (jnp.tanh(W @ h + x), None), jnp.zeros(len(W)), xs)
    return (h**2).sum()


def layer_norm(x: Any) -> Any:
    """Each row with mean 0 and variance 1."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)


def attention(q: Any, k: Any, v: Any) -> Any:
    """Causal attention of one head, and a sum of squares."""
    scores = q @ k.T / np.sqrt(q.shape[1])
    scores = jnp.where(np.tril(np.ones(scores.shape, bool)), scores, -jnp.inf)
    return ((jax.nn.softmax(scores) @ v) ** 2).sum()


def deep(x: Any, *weights: Any) -> Any:
    """A tanh network of as many layers as weights."""
    for W in weights:
        x = jnp.tanh(x @ W)
    return (x**2).mean()


def block(h: Any, *weights: Any) -> Any:
    """Transformer blocks of four weights each."""
    for layer in range(len(weights) // 4):
        into, out, up, down = weights[4 * layer : 4 * layer + 4]
        q, k, v = jnp.split(layer_norm(h) @ into, 3, axis=1)
        scores = jnp.where(np.tril(np.ones((len(h), len(h)), bool)), q @ k.T / 4, -jnp.inf)
        h = h + jax.nn.softmax(scores) @ v @ out
        h = h + jax.nn.gelu(layer_norm(h) @ up) @ down
    return (h**2).mean()


BLOCKS = 1 if depth().halved else 2
SHAPES = ((16, 48), (16, 16), (16, 64), (64, 16)) * BLOCKS
LOSSES: dict[str, tuple[Callable[..., Any], tuple[Array, ...]]] = {
    "RNN of 100 steps": (recurrent, (normal(16, 16, scale=0.25), normal(100, 16))),
    "tanh network of 8 layers": (deep, (normal(8, 16), *(normal(16, 16, scale=0.3),) * 8)),
    "layer norm at mean 100": (lambda x: (layer_norm(x) ** 3).sum(), (100 + normal(8, 32),)),
    "attention": (attention, (normal(32, 16), normal(32, 16), normal(32, 16))),
    "transformer blocks": (block, (normal(8, 16), *(normal(*s, scale=0.2) for s in SHAPES))),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for dtype in (np.float32, np.float64) for name in part_for(dtype, list(LOSSES))],
)
def test_xla_lies_within_measured_rounding_and_a_thousandth_beyond_it(
    name: str, dtype: type[np.floating]
) -> None:
    loss, args = LOSSES[name]
    everything = tuple(range(len(args)))
    traced = Traced(jax.grad(loss, everything), *args)
    measurement = Witness(traced, dtype).measure(*args)
    with jax.enable_x64(dtype == np.float64):
        computed = jax.jit(jax.grad(loss, everything))(*(x.astype(dtype) for x in args))
    for leaf, want, got in zip(measurement.leaves, traced.by_xla(*args), computed, strict=True):
        np.testing.assert_array_less(abs(leaf.nominal - want), 3 * leaf.sigma + 1e-15)
        assert (abs(np.asarray(got) - want) <= 4 * leaf.sigma).all()
        wrong = abs(0.001 * want) > measurement.multiple * leaf.sigma
        assert wrong.mean() > (0.5 if name != "layer norm at mean 100" else 0)


def test_a_mask_of_any_size_is_no_dead_end() -> None:
    def masked(x: Any, fill: Any) -> Any:
        return (jax.nn.softmax(jnp.where(jnp.arange(3) < 2, x, fill)) * jnp.arange(3.0)).sum()

    x = np.array([0.3, -1.2, 0.7])
    for fill in (-np.inf, -1e10, np.finfo(np.float32).min, np.finfo(np.float64).min):
        for dtype in (np.float32, np.float64):
            leaf = only(measured(jax.grad(masked), x, np.float64(fill), dtype=dtype))
            assert np.isfinite(leaf.sigma).all()
            assert 0 < leaf.sigma[0] < 10 * unit_roundoff(dtype)
            assert leaf.sigma[2] == 0


def test_what_overflows_in_the_precision_has_no_spread_that_could_be_known() -> None:
    x = np.array([100.0, 1, 0])
    grad = jax.grad(lambda x: jnp.log(jnp.exp(x).sum()))
    assert np.isinf(only(measured(grad, x)).sigma[0])
    assert np.isfinite(only(measured(grad, x, dtype=np.float64)).sigma).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "x", "low", "high"),
    [
        (lambda x: jax.nn.relu(x).sum(), [0.0, 1, -1], [0, 1, 0], [1, 1, 0]),
        (lambda x: jnp.maximum(x, 0).sum(), [0.0, 1, -1], [0, 1, 0], [1, 1, 0]),
        (lambda x: abs(x).sum(), [0.0, 1, -1], [-1, 1, -1], [1, 1, -1]),
        (jnp.max, [0.0, 1, 1], [0, 0, 0], [0, 1, 1]),
        (lambda x: jnp.sort(x) @ jnp.arange(3.0), [1.0, 1, 0.5], [1, 1, 0], [2, 2, 0]),
    ],
)
def test_at_an_exact_tie_all_subgradients_are_reached(
    loss: Callable[..., Any], x: list[float], low: list[float], high: list[float], dtype: Any
) -> None:
    measurement = measured(jax.grad(loss), np.array(x), dtype=dtype)
    leaf = only(measurement)
    assert measurement.exact_ties > 0
    assert measurement.open_kinks == 0
    assert leaf.ties is not None
    assert leaf.kinks is None
    np.testing.assert_array_equal(leaf.ties.low, low)
    np.testing.assert_array_equal(leaf.ties.high, high)


def test_data_that_the_gradient_is_not_for_breaks_no_tie() -> None:
    def loss(x: Any, mask: Any) -> Any:
        return jnp.where(mask > 0, x * x, 0).sum()

    args = np.array([0.3, -1.2]), np.array([0.0, 1])
    traced = Traced(jax.grad(loss), *args)
    assert Witness(traced, np.float32, active=[True, False]).measure(*args).exact_ties == 0
    assert Witness(traced, np.float32).measure(*args).exact_ties == 1


def test_a_kink_within_rounding_is_open_and_one_beyond_it_is_not() -> None:
    def loss(x: Any) -> Any:
        return jax.nn.relu((x * x).sum() - 1)

    x = np.array([0.6, 0.8]).astype(np.float32).astype(np.float64)  # 1.2e-8 or so above 0
    measurement = measured(jax.grad(loss), x)
    leaf = only(measurement)
    assert measurement.open_kinks == 1
    assert leaf.kinks is not None
    np.testing.assert_array_equal(leaf.kinks.low, 0)
    np.testing.assert_allclose(leaf.kinks.high, 2 * x)
    # Nothing flips in any sample: the spread is that of the side that the values are on.
    assert (leaf.sigma < 4 * U * abs(leaf.nominal)).all()
    assert measured(jax.grad(loss), x, dtype=np.float64).open_kinks == 0
    assert measured(jax.grad(loss), 1.01 * x).open_kinks == 0


def test_the_largest_is_not_open_against_itself() -> None:
    x = normal(20, 30)
    measurement = measured(jax.grad(lambda x: jnp.exp(x).max(axis=1).sum()), x)
    assert measurement.open_kinks == 0
    assert measurement.exact_ties == 0


def test_other_decisions_are_consistent_with_each_other() -> None:
    x = np.array([1, 1 + 2.0**-23, 0.5])  # exp does not tell the first two apart
    leaf = only(measured(jax.grad(lambda x: jnp.exp(x).max()), x))
    assert leaf.kinks is not None
    np.testing.assert_array_equal(leaf.kinks.low, 0)
    np.testing.assert_allclose(leaf.kinks.high, np.exp([1, 1, -np.inf]), rtol=1e-6)


def test_equal_terms_may_be_added_one_after_the_other_up_to_the_stated_length() -> None:
    z = multiple(1)
    terms = longest_equal_sum(z)
    for c in rng.uniform(1, 2, size=500).astype(np.float32):
        added = np.cumsum(np.full(terms, c), dtype=np.float32)  # one after the other
        exact = float(c) * terms
        assert abs(float(added[-1]) - exact) <= 3 / 8 * terms * U * exact
    x = np.full(terms, c, np.float64)
    leaf = only(measured(lambda x: x.sum(), x))
    assert leaf.sigma * z > 3 / 8 * terms * U * exact * 0.5  # the spread itself is estimated


def test_a_precision_is_one_of_four() -> None:
    with pytest.raises(TypeError, match=f"dtype {PRECISION}, got int64"):
        Witness(Traced(jnp.sin, 1.0), np.int64)


def test_what_cancels_to_0_in_every_sample_strays_by_the_rounding_of_its_sum() -> None:
    """The terms are multiples of one number, so that all samples of them cancel alike."""
    weights = np.array([1.75, -0.75, 0.25, -1.25])
    witness = Witness(Traced(lambda x: jnp.dot(jnp.full(4, x) / 3, weights), 1.0), np.float32)
    (leaf,) = witness.measure(1.0).leaves
    size = 2 * np.sqrt((weights**2).sum()) / 3  # NOISE.md (3)
    assert leaf.nominal == 0
    assert 0.5 < leaf.sigma / (2.0**-24 * size) < 2


def test_what_cancels_strays_as_far_beside_numbers_whose_squares_are_none() -> None:
    """Of 1e170 the square is infinite in float64, and of 1e-170 it is 0."""
    terms, ones = np.array([1.0, 1 / 3, -4 / 3]), np.ones(3)
    witness = Witness(Traced(lambda a, b: (a @ b, a.sum(), jnp.cumsum(a)), terms, ones), float)
    spreads = []
    for scale in (2.0**0, 2.0**565, 2.0**-565):
        leaves = witness.measure(scale * terms, ones).leaves
        spreads.append(np.concatenate([np.ravel(leaf.sigma / scale) for leaf in leaves]))
    assert (spreads[0] > 0).all()
    np.testing.assert_array_equal(spreads[1:], spreads[:1] * 2)  # powers of 2 round nothing


def test_what_an_overflow_in_float64_leaves_of_a_result_has_no_spread_that_could_be_known() -> None:
    """JAX's 0 is not the truth, 0.6 and 0.8; nor is it held against anyone where it is."""
    x = np.array([3.0, 4.0])
    comparer = Comparer(lambda x: x / jnp.sqrt((x * x).sum()), x, measured=True)
    for scale, verdict in ((1e150, "match"), (1e160, "not comparable"), (1e200, "not comparable")):
        assert comparer(x / 5, scale * x, dtype=float, compiled=False).verdict == verdict
    sigmoid = Comparer(lambda x: 1 / (1 + jnp.exp(-x)), x, measured=True)
    assert sigmoid(np.zeros(2), -1000 * x, dtype=float, compiled=False).verdict == "match"


def test_a_tiny_result_strays_by_as_much_of_itself_as_a_large_one() -> None:
    """The squares of its deviations are below the smallest number; a power of 2 rounds nothing."""
    ordinary, tiny = (
        only(measured(lambda x, scale=scale: (x / 3 + x) * scale, 1.7, dtype=np.float64))
        for scale in (1.0, 2.0**-600)
    )
    assert ordinary.sigma > 0
    assert tiny.sigma == 2.0**-600 * ordinary.sigma


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.exp(-700 * x),
        lambda x: 2.0**-1000 * x * (1e-10 * x),
        lambda x: x / 3e307 / x / 1e10,
        lambda x: jnp.square(1e-160 * x),
        lambda x: (1e-107 * x) ** 3,
        lambda x: (1e107 * x) ** -3,
        lambda x: (1e-100 * x) ** (3.2 * x / 1.03),
        lambda x: jnp.exp2(-1000 * x),
        lambda x: jax.nn.sigmoid(-700 * x),
        lambda x: lax.erfc(26 * x),
        lambda x: 1e-10 * x * 2.0**-1000,
        lambda x: 1e-10 * x / 2.0**1000,
    ],
)
def test_what_has_vanished_in_float64_may_be_anything_that_is_too_small(
    function: Callable[[Any], Any],
) -> None:
    """XLA has made 0 of it, and others have not: it shows where large numbers follow."""
    tiny = float(np.finfo(np.float64).tiny)
    for factor in (1.0, 2.0**600):
        noise = only(measured(lambda x, f=factor: function(x) * f, 1.03, dtype=np.float64))
        assert noise.nominal == 0
        assert tiny / 4 < noise.sigma / factor < 2 * tiny


def test_what_has_vanished_keeps_its_sign() -> None:
    def positive(x: Any) -> Any:
        return (-1e-160 * x * (1e-160 * x) > 0).astype(float) + jnp.exp(x)

    noise = measured(positive, 1.03, dtype=np.float64)
    assert noise.open_kinks == 0
    assert only(noise).nominal == np.exp(1.03)


def test_what_is_0_whoever_computes_it_is_exact() -> None:
    for function, x in (
        (jnp.exp, -1e10),
        (jnp.exp2, -1076.0),
        (jax.nn.sigmoid, -746.0),
        (lax.erfc, 27.5),
        (lambda x: x * (1e-100 * x), 1e-230),
        (lambda x: x / 1.7e308, 1e-20),
        (lambda x: x**3, 1e-109),
        (lambda x: (0.3 * x) ** (1e4 * x), 1.0),
        (lambda x: x * (x - x), 1e300),
        (lambda x: 1e300 / x, np.inf),
        (lambda x: 3.1 * x * x, 0.0),
        (lambda x: x / 7, 0.0),
        (lambda x: 1 / x, np.inf),
        (lambda x: jnp.exp(-x), np.inf),
        (jnp.log, 1.0),
    ):
        noise = only(measured(function, x, dtype=np.float64))
        assert noise.nominal == noise.sigma == 0


def test_a_result_below_the_smallest_normal_number_may_be_flushed_to_0_or_not() -> None:
    """A softmax of which one entry is 1e-313 by NumPy, and 0 by XLA."""
    X, W = np.array([[1.0, -720.7]]), np.array([[0.0, 0.5], [0.3, -0.25]])

    def function(X: Any) -> Any:
        return jax.nn.softmax(X) @ W

    shifted = np.exp(X - X.max())
    got = shifted / shifted.sum() @ W
    comparer = Comparer(function, X, measured=True)
    assert 0 < got[0, 0] < np.finfo(float).tiny
    for result, verdict in ((got, "match"), (got + np.array([[1e-300, 0]]), "mismatch")):
        assert comparer(result, X, dtype=float, compiled=False).verdict == verdict


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_small_disturbances_stray_in_proportion_until_a_softmax_takes_one_class_or_another(
    dtype: Any,
) -> None:
    z = np.array([[0.5, 0.25, 0.125], [1.0, 1.0, 1.0]])
    for size, proportional in ((1.0, True), (1e25, False)):
        witness = Witness(Traced(lambda z, n: jax.nn.softmax(n * z * 1.7), z, 1.0), dtype)
        (leaf,) = witness.measure(z, size).leaves
        (fraction,) = witness.fraction(z, size)
        ratio = (fraction / np.where(leaf.sigma > 0, leaf.sigma, 1))[1]
        assert ((ratio > 1 / 8) & (ratio < 8)).all() == proportional


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steep", [jax.nn.softmax, jnp.tanh])
def test_a_steep_function_is_unknown_only_where_its_argument_may_pass_all_that_is_steep(
    dtype: Any, steep: Callable[[Any], Any]
) -> None:
    """Two logits that are a few steps apart are equal after some roundings, in no sample."""

    def function(z: Any) -> Any:
        rounded = 1.7 * z
        return steep(rounded - rounded[0])[1]

    steps = 5 * float(np.finfo(dtype).eps)
    witness = Witness(Traced(function, np.zeros(3)), dtype)
    for second, unknown in ((1 + steps, True), (1.0, True), (1.1, False)):
        (fraction,) = witness.fraction(np.array([1e18, second * 1e18, 3.0]))
        assert np.isinf(fraction) == unknown
    (fraction,) = witness.fraction(np.array([1e6, 1e6 + 1, 3.0]))
    assert np.isfinite(fraction)  # samples hit what is steep there
    for z in ([1e4, 1e4 + 1, 3.0], [1.0, -1e10, 3.0], [1.0, -np.inf, 3.0], [1.0, -3e38, 3.0]):
        (fraction,) = witness.fraction(np.array(z))
        assert fraction < 0.01


def test_in_a_chaotic_recurrence_nothing_is_left_of_the_value() -> None:
    def chaotic(x: Any) -> Any:
        return lax.scan(lambda x, _: (4 * x * (1 - x), None), x, length=200)[0]

    for dtype in (np.float32, np.float64):
        leaf = only(measured(chaotic, np.array([0.3, 0.4, 0.6]), dtype=dtype))
        assert (leaf.sigma > 0.05).all()  # the values themselves are between 0 and 1


@pytest.mark.parametrize(
    ("function", "length"),
    [
        (lambda x: x, 0),
        (lambda x: jnp.sin(x) + x, 2),
        (lambda x: jnp.sin(x) + jnp.cos(jnp.sin(x)) * x, 4),
        (lambda x: lax.scan(lambda c, _: (jnp.sin(c) * 2, None), x, length=7)[0] + 1, 15),
        (lambda x: jax.jit(lambda x: jnp.sin(jnp.cos(x)))(x) + 1, 3),
    ],
)
def test_the_longest_path_counts_what_needs_what_before_it(
    function: Callable[..., Any], length: int
) -> None:
    assert longest_path(Traced(function, 1.0).jaxpr.jaxpr) == length


def test_norms_are_joined_whose_squares_are_no_numbers() -> None:
    norms = np.array([3.0, 0, 0, 1e-200, 1e200, np.inf]), np.array([4.0, 0, 2, 2e-200, 3e200, 1])
    six = 6 * 2.0**-53  # roundings: four of ours, and hypot's, of two at most
    np.testing.assert_allclose(joined(*norms)[:5], np.hypot(*norms)[:5], rtol=six)
    assert not np.isfinite(joined(*norms)[5])
