"""The verdicts of a check that is never blind: right, lost digits, ties, wrong, blind."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

import reference
from reference import Code, Comparer, Verdict
from reference.arrays import Array

rng = np.random.default_rng(0)
# The line of a mistake is found elsewhere, and takes longer to find than the verdict.
check_gradient = functools.partial(reference.check_gradient, explain_seconds=0)
check_vjp = functools.partial(reference.check_vjp, explain_seconds=0)


def recurrent(W: Any, xs: Any) -> Any:
    """A tanh RNN."""
    h, _ = lax.scan(lambda h, x: (jnp.tanh(W @ h + x), None), jnp.zeros_like(xs[0]), xs)
    return (h**2).sum()


def by_xla(loss: Callable[..., Any], *args: Any) -> Array:
    """Give JAX's own gradient in the precision of the arguments."""
    with jax.enable_x64(args[0].dtype == np.float64):
        return np.asarray(jax.jit(jax.grad(loss))(*args))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_any_depth_a_right_gradient_matches_and_a_wrong_one_does_not(dtype: Any) -> None:
    W, xs = (rng.normal(size=(16, 16)) / 4).astype(dtype), rng.normal(size=(40, 16)).astype(dtype)
    right = by_xla(recurrent, W, xs)
    assert check_gradient(right, recurrent, W, xs).verdict == Verdict.MATCH
    shorter = by_xla(recurrent, W, xs[1:])
    one = right.copy()
    one[3, 5] *= dtype(1.01)
    row = right.copy()
    row[3] = 0
    wrong = [0 * right, -right, 2 * right, dtype(1.001) * right, shorter + right / 100, one, row]
    for gradient in wrong:
        report = check_gradient(gradient, recurrent, W, xs)
        assert report.verdict == Verdict.MISMATCH
        assert "sigma" in report
    assert all(leaf.proven is None for leaf in report.leaves)  # it could have told nothing


def layer_norm(x: Any, weight: Any) -> Any:
    """Normalise rows, and scale them."""
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-3) * weight[None]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_in_half_precision_xla_is_right_in_every_draw_and_what_is_wrong_is_not(dtype: Any) -> None:
    def pull(d_out: Any, *args: Any) -> Any:
        return jax.vjp(layer_norm, *args)[1](d_out)

    example = [np.zeros(shape, dtype) for shape in ((4, 12), (4, 12), (12,))]
    comparer = Comparer(pull, *example, measured=True)
    by_xla = jax.jit(pull)
    for _ in range(6):
        args = [np.asarray(rng.normal(size=x.shape), dtype) for x in example]
        here = comparer.at(*args, dtype=dtype)
        d_x, d_weight = map(np.asarray, by_xla(*args))
        assert d_x.dtype == dtype
        assert here((d_x, d_weight)).verdict == Verdict.MATCH
        without_a_row = d_x.copy()
        without_a_row[0] = 0
        for wrong in (0 * d_x, -d_x, d_x + d_x, without_a_row):
            verdicts = [leaf.verdict for leaf in here((wrong, d_weight)).leaves]
            assert verdicts == [Verdict.MISMATCH, Verdict.MATCH]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_judged_by_its_own_rounding(dtype: Any) -> None:
    def d_square(d_out: Array, x: Array) -> Array:
        return x * d_out * x.dtype.type(2)

    x = rng.normal(size=3).astype(dtype)
    unit = float(ml_dtypes.finfo(dtype).eps)
    report = check_vjp(d_square, jnp.square, x)
    assert report.verdict == Verdict.MATCH
    assert unit / 2 < report.sensitivity["['x']"] < 32 * unit
    report = check_vjp(lambda d_out, x: x * d_out, jnp.square, x)
    assert report.causes[0].code == Code.SCALED
    wide = check_vjp(lambda *args: d_square(*args).astype(np.float32), jnp.square, x)
    assert wide.verdict == Verdict.WRONG_DTYPE


def test_where_the_bound_can_tell_something_a_mismatch_is_proven() -> None:
    x = rng.normal(size=5)
    report = check_gradient(x, lambda x: jnp.sin(x).sum(), x)
    assert report.verdict == Verdict.MISMATCH
    assert report.leaves[0].proven is not None
    assert "it is proven to be wrong" in " ".join(report.split())


def cross_entropy(z: Any, y: Any) -> Any:
    """The cross-entropy of a sigmoid, from its logarithms."""
    return -(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z)).mean()


def naive(z: Array, y: Array) -> Array:
    """Its gradient in a form whose digits cancel for large z."""
    return ((1 / (1 + np.exp(-z)) - y) / z.dtype.type(len(z))).astype(z.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_digits_that_come_back_in_the_other_precision_are_lost_and_not_wrong(dtype: Any) -> None:
    z = np.array([-6.0, -1.0, 0.5, 3.0, 12.0], dtype)
    y = (z > 0).astype(dtype)
    report = check_gradient(naive, cross_entropy, z, y)
    assert report.verdict == Verdict.LOSES_DIGITS
    assert report.ok
    assert not report.accurate
    (cause,) = report.causes
    assert cause.code == Code.LOST_DIGITS
    assert "gradient at (4,)" in cause.evidence
    assert "they follow the unit roundoff" in cause.evidence
    for factor in (0, 1.001):
        wrong = check_gradient(lambda z, y, f=factor: dtype(f) * naive(z, y), cross_entropy, z, y)
        assert wrong.verdict == Verdict.MISMATCH
        assert not wrong.accurate


def test_one_wrong_element_among_lost_digits_is_wrong() -> None:
    z = (4 * rng.normal(size=400)).astype(np.float32)
    y = (z > 0).astype(np.float32)

    def spoilt(z: Array, y: Array) -> Array:
        gradient = naive(z, y)
        gradient[7] *= z.dtype.type(1.01)
        return gradient

    assert check_gradient(naive, cross_entropy, z, y).verdict == Verdict.LOSES_DIGITS
    assert check_gradient(spoilt, cross_entropy, z, y).verdict == Verdict.MISMATCH


def test_lost_digits_of_one_array_are_no_part_of_the_mistake_in_another() -> None:
    def loss(z: Any, w: Any, y: Any) -> Any:
        return cross_entropy(z, y) + (w**3).sum()

    def mistaken(z: Array, w: Array, y: Array) -> tuple[Array, Array]:
        return naive(z, y), w**2

    def lossy(z: Array, w: Array, y: Array) -> tuple[Array, Array]:
        return naive(z, y), 3 * w**2

    z = np.array([-6.0, -1.0, 0.5, 3.0, 12.0])
    args = z, np.arange(4.0), (z > 0).astype(float)
    assert check_gradient(lossy, loss, *args, argnums=(0, 1)).verdict == Verdict.LOSES_DIGITS
    report = check_gradient(mistaken, loss, *args, argnums=(0, 1))
    assert [leaf.verdict for leaf in report.leaves] == [Verdict.LOSES_DIGITS, Verdict.MISMATCH]
    assert report.causes[0].code == Code.SCALED
    assert "['w']" in report.causes[0].sentence
    assert "['z']" not in report.causes[0].sentence


def square_of_product(w: Any, X: Any) -> Any:
    """Add up the squares of X w."""
    return ((X @ w) ** 2).sum()


@pytest.mark.parametrize(
    ("dtype", "factors"),
    [
        (np.float64, (0, 1.5)),
        (np.float32, (0, 1.5, 1.0001)),
        (np.float16, (0, 0.5, 2, 1.05)),
        (ml_dtypes.bfloat16, (0, 0.5, 2, 1.05)),
    ],
)
def test_what_is_wrong_in_one_precision_alone_has_lost_no_digits(
    dtype: Any, factors: tuple[float, ...]
) -> None:
    """Errors of lost digits would be there in the other precision too, beyond rounding."""
    X = rng.normal(size=(12, 5)).astype(dtype)
    w = rng.normal(size=5).astype(dtype)
    for factor in factors:

        def by_two_paths(w: Array, X: Array, factor: float = factor) -> Array:
            wide, matrix = (np.asarray(x, np.float64) for x in (w, X))
            right = 2 * matrix.T @ (matrix @ wide)
            return (factor * right if w.dtype == dtype else right).astype(w.dtype)

        report = reference.check_gradient(by_two_paths, square_of_product, w, X)
        assert report.verdict == Verdict.MISMATCH
        scaled = {Code.SCALED, Code.PATH_SCALED}
        if np.dtype(dtype).itemsize == 2:  # a few elements tell too little of a factor
            scaled.add(Code.UNKNOWN)
        assert report.causes[0].code in (scaled if factor else {Code.ZERO})


@pytest.mark.parametrize("factor", [1.01, 1.05])
def test_mistakes_of_two_kinds_are_no_lost_digits_though_as_many_roundings(factor: float) -> None:
    """A constant of 10 digits errs in float64 alone, and by some 1e5 roundings, as the factor."""

    def d_gelu(x: Array) -> Array:
        number = x.dtype.type
        c, a = number(0.7978845608), number(0.044715)
        t = np.tanh(c * (x + a * x**3))
        d_x = (1 + t + x * (1 - t * t) * c * (1 + 3 * a * x * x)) / 2
        return d_x * number(factor if x.dtype == np.float32 else 1)

    x = rng.normal(size=16).astype(np.float32)
    report = check_gradient(d_gelu, lambda x: jax.nn.gelu(x, approximate=True).sum(), x)
    assert report.verdict == Verdict.MISMATCH
    assert report.causes[0].code == Code.SCALED


def binary(z: Any, y: Any) -> Any:
    """The cross-entropy of a sigmoid by logaddexp, whose derivative does not cancel."""
    return (y * jnp.logaddexp(0, -z) + (1 - y) * jnp.logaddexp(0, z)).mean()


def d_log_variance(x: Array) -> Array:
    """Differentiate log(var(x)), with the variance as a difference of two means."""
    n, mean = x.dtype.type(len(x)), x.mean()
    return 2 * (x - mean) / (n * ((x * x).mean() - mean * mean))


def below_one(z: Array) -> Array:
    """Differentiate -log(sigmoid(z)) by p - 1."""
    return 1 / (1 + np.exp(-z)) - z.dtype.type(1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_formulas_that_cancel_lose_digits_wherever_they_do(dtype: Any) -> None:
    found = []
    draws = np.random.default_rng(3)
    for scale in (2, 4, 8):
        z = (scale * draws.normal(size=100)).astype(dtype)
        found.append(check_gradient(naive, binary, z, (z > 0).astype(dtype)))
    x = (30 + draws.normal(size=64)).astype(dtype)
    found.append(check_gradient(d_log_variance, lambda x: jnp.log(jnp.var(x)), x))
    z = (9 + draws.normal(size=16)).astype(dtype)
    found.append(check_gradient(below_one, lambda z: -jax.nn.log_sigmoid(z).sum(), z))
    assert [report.verdict for report in found] == [Verdict.LOSES_DIGITS] * len(found)
    assert all("at the arguments and near them" in " ".join(str(x).split()) for x in found)


def test_in_half_precision_looks_excuse_nothing() -> None:
    """A hundred roundings are half of an element there."""
    X, w = (rng.normal(size=shape).astype(ml_dtypes.bfloat16) for shape in ((24, 16), 16))
    wide, matrix = w.astype(float), X.astype(float)
    right = 2 * matrix.T @ (matrix @ wide)
    off = np.where(np.arange(16) % 2, 1, -1) * 0.1 * abs(right).max()
    spoilt = (right + off).astype(w.dtype)

    def of_one_precision(*args: Array) -> Array:
        if args[0].dtype != ml_dtypes.bfloat16:
            raise TypeError("bfloat16 is all that is taken")
        return spoilt

    for gradient in (spoilt, of_one_precision):
        report = check_gradient(gradient, square_of_product, w, X)
        assert report.verdict == Verdict.MISMATCH
        assert report.causes[0].code != Code.FEW_ROUNDINGS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_speck_that_is_smaller_in_float64_may_be_a_mistake(dtype: Any) -> None:
    """Its square is no number, nor is one over its part of what it is in float32."""

    def with_speck(x: Array) -> Array:
        return np.where(np.arange(3) == 1, 2 * x, 2 * np.finfo(x.dtype).tiny).astype(x.dtype)

    report = check_gradient(with_speck, lambda x: x[1] ** 2, np.ones(3, dtype))
    assert [cause.code for cause in report.causes] == [Code.FEW_ROUNDINGS]


def test_digits_may_be_lost_though_float64_is_exact_by_chance() -> None:
    """At such round numbers; near them it is not."""

    def cancelling(x: Array) -> Array:
        large = x.dtype.type(2**14)
        return (x + large) - large

    x = rng.integers(1, 2**12, size=7) / 2**12
    report = check_gradient(cancelling, lambda x: (x**2).sum() / 2, x.astype(np.float32))
    assert report.verdict == Verdict.LOSES_DIGITS
    assert check_gradient(cancelling, lambda x: (x**2).sum() / 2, x).verdict == Verdict.MATCH


def test_an_array_whose_errors_are_small_and_random_may_have_lost_digits() -> None:
    z = (4 * rng.normal(size=400)).astype(np.float32)
    y = (z > 0).astype(np.float32)
    gradient = naive(z, y)
    report = check_gradient(gradient, cross_entropy, z, y)
    assert report.verdict == Verdict.LOSES_DIGITS
    assert "the weaker way" in report.causes[0].evidence
    assert "hand in the function, and" in report.causes[0].evidence

    def of_one_precision(z: Array, y: Array) -> Array:
        if z.dtype != np.float32:
            raise TypeError("float32 is all that is taken")
        return naive(z, y)

    report = check_gradient(of_one_precision, cross_entropy, z, y)
    assert report.verdict == Verdict.LOSES_DIGITS
    assert "hand in a function that takes both precisions" in report.causes[0].evidence
    for wrong in (gradient * np.float32(1.00001), gradient + np.float32(1e-8)):
        assert check_gradient(wrong, cross_entropy, z, y).verdict == Verdict.MISMATCH


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_few_errors_as_small_as_roundings_are_no_known_mistake(dtype: Any) -> None:
    """One of five has lost digits, which the others would let be a multiple of anything."""
    z = np.array([-6.0, -1.0, 0.5, 3.0, 12.0], dtype)
    y = (z > 0).astype(dtype)
    gradient = naive(z, y)
    report = check_gradient(gradient, cross_entropy, z, y)
    assert report.verdict == Verdict.MISMATCH
    (cause,) = report.causes
    assert cause.code == Code.FEW_ROUNDINGS
    small = "3 roundings" if dtype == np.float32 else "one rounding"
    assert f"none by more than {small} of the largest element" in cause.evidence
    assert ("or check in float64" in cause.evidence) == (dtype == np.float32)
    text = " ".join(report.split())
    assert "it is proven to be no rounding of JAX's formula" in text
    assert "likely" not in text


def test_a_small_mistake_of_a_function_is_told_by_the_other_precision() -> None:
    def shifted(z: Array, y: Array) -> Array:
        right = np.where(y > 0, -1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z)))
        return (right / len(z) + 2.0**-28).astype(z.dtype)

    z = np.array([-6.0, -1.0, 0.5, 3.0, 12.0, 13.0], np.float32)
    y = (z > 0).astype(np.float32)
    report = check_gradient(shifted, cross_entropy, z, y)
    assert [cause.code for cause in report.causes] == [Code.CONSTANT_OFFSET]
    report = check_gradient(shifted(z, y), cross_entropy, z, y)
    assert [cause.code for cause in report.causes] == [Code.FEW_ROUNDINGS]


def only_first(x: Array) -> Array:
    """Give the whole gradient of the maximum to the first of equal ones."""
    return np.eye(len(x))[x.argmax()]


def all_of_them(x: Array) -> Array:
    """Give the whole gradient of the maximum to each of equal ones: too much."""
    return (x == x.max()).astype(x.dtype)


def half(x: Array) -> Array:
    """Let one half of the gradient pass where max(x, 0) is at its kink."""
    return np.where(x > 0, 1.0, np.where(x < 0, 0.0, 0.5))


@pytest.mark.parametrize(
    ("gradient", "loss", "x", "verdict"),
    [
        (only_first, jnp.max, [0.0, 1.0, 1.0], Verdict.MATCH),
        (all_of_them, jnp.max, [0.0, 1.0, 1.0], Verdict.MISMATCH),
        (all_of_them, jnp.max, [1.0, 1.0, 1.0], Verdict.MISMATCH),
        (lambda x: x > 0, lambda x: jnp.maximum(x, 0).sum(), [0.0, 1, -1], Verdict.MATCH),
        (lambda x: x >= 0, lambda x: jnp.maximum(x, 0).sum(), [0.0, 1, -1], Verdict.MATCH),
        (lambda x: x >= 0, lambda x: jax.nn.relu(x).sum(), [0.0, 1, -1], Verdict.MATCH),
        (half, lambda x: jax.nn.relu(x).sum(), [0.0, 1, -1], Verdict.MATCH),
        (lambda x: 1.5 * (x >= 0), lambda x: jax.nn.relu(x).sum(), [0.0, 1, -1], Verdict.MISMATCH),
        (lambda x: 2.0 * (x == 0), lambda x: jax.nn.relu(x).sum(), [0.0, -1, -1], Verdict.MISMATCH),
        (lambda x: np.sign(x) + (x == 0), lambda x: abs(x).sum(), [0.0, 1], Verdict.MATCH),
    ],
)
def test_at_an_exact_tie_each_subgradient_is_right_and_nothing_else(
    gradient: Callable[[Array], Array], loss: Callable[..., Any], x: list[float], verdict: Verdict
) -> None:
    def real(x: Array) -> Array:
        return gradient(x).astype(x.dtype)

    report = check_gradient(real, loss, np.array(x))
    assert report.verdict == verdict
    if verdict == Verdict.MATCH and not np.array_equal(
        real(np.array(x)), by_xla(loss, np.array(x))
    ):
        assert report.causes[0].code == Code.EXACT_TIE
        assert report.accurate


def safe_norm(x: Any) -> Any:
    """Whose other side is 0 / 0 where x is 0."""
    square = (x * x).sum()
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0.0)


def entropy(p: Any) -> Any:
    """Whose other side is infinite where p is 0."""
    return jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0.0).sum()


@pytest.mark.parametrize(("loss", "x"), [(safe_norm, [0.0, 0.0, 0.0]), (entropy, [0.0, 0.5, 0.5])])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_the_other_side_of_a_tie_is_not_finite_jax_says_what_is_right(
    loss: Callable[..., Any], x: list[float], dtype: Any
) -> None:
    at = np.array(x, dtype)
    right = by_xla(loss, at.astype(np.float64)).astype(dtype)
    assert check_gradient(right, loss, at).verdict == Verdict.MATCH
    wrong = right.copy()
    wrong[0] = 99
    assert check_gradient(wrong, loss, at).verdict == Verdict.MISMATCH


def test_where_rounding_decides_between_classes_the_report_says_so() -> None:
    """Logits of 1e18, five steps apart: what is wrong there nobody can tell from rounding."""

    def loss(z: Any, scale: Any) -> Any:
        return -jax.nn.log_softmax(scale * z)[0]

    z = np.array([1e18, 1e18 + 5 * np.spacing(np.float32(1e18)), 3.0], np.float32)
    scale = np.float32(1.7)
    report = check_gradient(np.array([0.5, -0.5, 0], np.float32), loss, z, scale)
    assert report.verdict == Verdict.NOT_COMPARABLE
    assert "out of proportion" in report.causes[0].evidence


def test_of_more_ties_than_can_be_told_apart_nothing_is_called_right() -> None:
    """Both of the equal maxima of each window get all of its gradient, which is too much."""

    def loss(x: Any) -> Any:
        return (x.reshape(-1, 4).max(axis=1) * jnp.arange(1.0, 26.0)).sum()

    twice = (np.array([1.0, 0, 0, 1]) * np.arange(1.0, 26.0)[:, None]).reshape(-1)
    assert check_gradient(twice, loss, np.ones(100)).verdict == Verdict.AMBIGUOUS
    assert check_gradient(20 * twice, loss, np.ones(100)).verdict == Verdict.MISMATCH


def test_a_gradient_that_is_0_but_for_rounding_is_not_blind() -> None:
    def loss(params: Any, x: Any) -> Any:
        return jax.nn.softmax(x * params["scale"] + params["offset"]) @ jnp.arange(4.0)

    params = {"scale": np.ones(4), "offset": np.array([0.5])}
    x = rng.normal(size=4)
    with jax.enable_x64():
        right = jax.tree.map(np.asarray, jax.grad(loss)(params, x))
    assert abs(right["offset"]) < 1e-15
    report = check_gradient(right, loss, params, x)
    assert report.verdict == Verdict.MATCH
    assert check_gradient(right | {"offset": np.zeros(1)}, loss, params, x).ok
    assert not check_gradient(right | {"offset": np.full(1, 1e-12)}, loss, params, x).ok


def test_in_float32_an_array_that_rounding_has_swallowed_is_told_from_one_that_is_0() -> None:
    """Beside an element of 1 the one at 1e-9 is far below what (c + 1e-9 x) - c leaves of it."""

    def loss(params: Any) -> Any:
        swallowed = (1000.0 + 1e-9 * params["small"]) - 1000.0
        return params["large"].sum() + 1e3 * (swallowed**2).sum()

    params = {"large": np.ones(2, np.float32), "small": np.ones(2, np.float32)}
    gradient = {"large": np.ones(2, np.float32), "small": np.zeros(2, np.float32)}
    assert check_gradient(gradient, loss, params).verdict == Verdict.BLIND

    def of_no_influence(params: Any) -> Any:
        p = jax.nn.softmax(jnp.zeros(2, params["small"].dtype) + params["small"][:1])
        return params["large"].sum() + p @ jnp.arange(2.0)

    report = check_gradient(gradient, of_no_influence, params)
    assert report.verdict == Verdict.MATCH, report


def test_what_rounding_decides_alone_is_blind_and_says_what_would_help() -> None:
    def chaotic(x: Any) -> Any:
        return lax.scan(lambda x, _: (4 * x * (1 - x), None), x, length=100)[0].sum()

    for dtype, advice in ((np.float64, "check with a smaller case"), (np.float32, "in float64")):
        x = np.array([0.3, 0.4], dtype)
        report = check_gradient(np.zeros(2, dtype), chaotic, x)
        assert report.verdict == Verdict.BLIND
        assert not report.ok
        assert report.causes[0].code == Code.BLIND
        assert advice in report.causes[0].evidence


def test_a_sparse_gradient_is_seen_where_it_is_0() -> None:
    def loss(E: Any) -> Any:
        return (E[1] ** 2).sum()

    E, right = np.ones((6, 2)), np.zeros((6, 2))
    right[1] = 2
    assert check_gradient(right, loss, E).warnings == ()
    right[0, 0] = 1e-200
    assert not check_gradient(right, loss, E).ok


def test_what_overflows_in_float32_is_not_comparable_and_names_the_line() -> None:
    x = np.array([100.0, 1, 0], np.float32)
    report = check_gradient(
        np.array([1.0, 0, 0], np.float32), lambda x: jnp.log(jnp.exp(x).sum()), x
    )
    assert report.verdict == Verdict.NOT_COMPARABLE
    assert "exp at test_verdicts.py" in report.causes[0].evidence
