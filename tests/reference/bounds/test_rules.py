"""The rule of each JAX primitive: its bound holds, and choices are open where they are close."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax import lax

from reference import Comparer, Verdict, register_rule
from reference.arrays import Array
from reference.bounds.registry import RULES
from reference.bounds.rounding import Bounded, Rounding, exact
from reference.bounds.tracing import Traced, evaluate, precise_jax
from tests.conftest import depth
from tests.support.cases import each
from tests.support.strategies import seeds

Function = Callable[..., Any]

rng = np.random.default_rng(0)
ROW = rng.normal(size=6)
MATRIX = rng.normal(size=(3, 4))
POSITIVE = rng.uniform(0.1, 3, size=6)
IMAGES = rng.normal(size=(2, 3, 5, 4))
NUMBERS = np.array([2, 0, 2])
TRUTHS = np.array([[True, False, True], [False, False, True]])


def custom_vjp(x: Any) -> Any:
    """x^2 with a backward of its own."""
    square = jax.custom_vjp(lambda x: x**2)
    square.defvjp(lambda x: (x**2, x), lambda x, g: (2 * x * g,))
    return square(x)


def branches(x: Any) -> Any:
    """The gradient of one of two functions."""
    return jax.grad(lambda x: lax.cond(x[0] > 0.5, jnp.sum, lambda x: jnp.sum(x**2), x))(x)


def unrolled(x: Any) -> Any:
    """A scan with carry, constants and outputs, and its gradient."""

    def step(carry: Any, element: Any) -> Any:
        return jnp.sin(carry * x[0]) + element, carry * element

    return jax.value_and_grad(lambda x: jnp.sum(lax.scan(step, x[1], x)[1]))(x)


def pooled(x: Any, start: float, function: Any) -> Any:
    """Reduce windows with gaps in them, which overlap and reach beyond the edges."""
    return lax.reduce_window(
        x, start, function, (1, 1, 2, 3), (1, 2, 1, 2), "SAME", window_dilation=(1, 1, 2, 1)
    )


def strided(x: Any, start: float, function: Any) -> Any:
    """Reduce windows that overlap, of which some reach beyond the edges."""
    return lax.reduce_window(x, start, function, (1, 1, 3, 2), (1, 1, 2, 2), "SAME")


CASES: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "abs": (jnp.abs, (ROW,)),
    "acos": (lambda x: jax.jvp(lax.acos, (x,), (x,)), (ROW / 2,)),
    "acosh": (lambda x: jax.jvp(lax.acosh, (x,), (x,)), (POSITIVE + 1,)),
    "add": (jnp.add, (ROW, ROW[::-1])),
    "add_any": (jax.grad(lambda x: jnp.sum(x * jnp.sin(x))), (ROW,)),
    "and": (lambda x, y: (x > 0) & (y > 0), (ROW, ROW[::-1])),
    "argmax": (lambda x: jnp.argmax(x, axis=1), (MATRIX,)),
    "argmin": (lambda x: jnp.argmin(x, axis=0), (MATRIX,)),
    "asin": (lambda x: jax.jvp(lax.asin, (x,), (x,)), (ROW / 2,)),
    "asinh": (lambda x: jax.jvp(lax.asinh, (x,), (x,)), (ROW,)),
    "atan": (lambda x: jax.jvp(lax.atan, (x,), (x,)), (ROW,)),
    "atan2": (lambda y, x: jax.jvp(lax.atan2, (y, x), (x, y)), (ROW, POSITIVE - 1)),
    "atanh": (lambda x: jax.jvp(lax.atanh, (x,), (x,)), (ROW / 2,)),
    "bitcast_convert_type": (
        lambda x, i: x * lax.bitcast_convert_type(i.astype(jnp.int64) + 2**62, float),
        (ROW[:3], NUMBERS),
    ),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (2, 6), (1,)), (ROW,)),
    "cbrt": (lambda x: jax.jvp(lax.cbrt, (x,), (x,)), (ROW,)),
    "ceil": (lambda x: lax.ceil(3 * x), (ROW,)),
    "clamp": (lambda x: lax.clamp(-0.5, x, 0.5), (ROW,)),
    "concatenate": (lambda x, y: jnp.concatenate([x, y]), (ROW, POSITIVE)),
    "cond": (branches, (POSITIVE,)),
    "conv_general_dilated": (
        lambda x, k: lax.conv_general_dilated(x, k, (2, 1), "SAME"),
        (IMAGES, IMAGES[:, :, :3, :2]),
    ),
    "convert_element_type": (lambda x: (x * 4).astype(int).astype(float), (ROW,)),
    "copy": (jnp.copy, (ROW,)),
    "cos": (jnp.cos, (ROW,)),
    "cosh": (lambda x: jax.jvp(lax.cosh, (x,), (x,)), (ROW,)),
    "cumlogsumexp": (
        lambda x: (lax.cumlogsumexp(x, 1), lax.cumlogsumexp(x, 0, reverse=True)),
        (MATRIX,),
    ),
    "cummax": (
        lambda x: (lax.cummax(x, 1), jax.grad(lambda x: lax.cummax(x, 1).sum())(x)),
        (MATRIX,),
    ),
    "cummin": (lambda x: lax.cummin(x, reverse=True), (MATRIX,)),
    "cumprod": (lambda x: (lax.cumprod(x, 1), lax.cumprod(x, reverse=True)), (MATRIX,)),
    "cumsum": (lambda x: (jnp.cumsum(x, axis=1), lax.cumsum(x, reverse=True)), (MATRIX,)),
    "custom_jvp_call": (jax.nn.relu, (ROW,)),
    "custom_vjp_call": (custom_vjp, (ROW,)),
    "div": (jnp.divide, (ROW, POSITIVE)),
    "dot_general": (lambda a, b: jnp.einsum("nij,nkj->nik", a, b), (IMAGES[0], IMAGES[1])),
    "dynamic_slice": (lambda x, i: lax.dynamic_slice(x, (i, 1), (2, 2)), (MATRIX, 1)),
    "dynamic_update_slice": (
        lambda x, y, i: lax.dynamic_update_slice(x, y, (i, 1)),
        (MATRIX, MATRIX[:2, :2], 1),
    ),
    "empty2": (branches, (POSITIVE,)),
    "eq": (lambda x: x == x[0], (ROW,)),
    "eq_to": (lambda x: lax.eq_to_p.bind(x, x[::-1]), (ROW,)),
    "erf": (lambda x: jax.jvp(lax.erf, (x,), (x,)), (ROW,)),
    "erfc": (lambda x: jax.jvp(lax.erfc, (x,), (x,)), (ROW,)),
    "exp": (jnp.exp, (ROW,)),
    "exp2": (lax.exp2, (ROW,)),
    "expm1": (jnp.expm1, (ROW,)),
    "floor": (lambda x: lax.floor(3 * x), (ROW,)),
    "gather": (lambda x, i: x[i], (MATRIX, NUMBERS)),
    "ge": (lambda x: x >= x[0], (ROW,)),
    "gt": (lambda x: x > x[0], (ROW,)),
    "integer_pow": (lambda x: (x**2, x**5, x**-3, x**-1), (POSITIVE,)),
    "iota": (lambda x: x * jnp.arange(6.0), (ROW,)),
    "is_finite": (jnp.isfinite, (ROW,)),
    "jit": (jax.jit(jnp.sin), (ROW,)),
    "le": (lambda x: x <= x[0], (ROW,)),
    "log": (jnp.log, (POSITIVE,)),
    "log1p": (jnp.log1p, (POSITIVE - 0.5,)),
    "logistic": (jax.nn.sigmoid, (ROW,)),
    "le_to": (lambda x: jnp.searchsorted(jnp.linspace(-2, 2, 5), x), (ROW,)),
    "lt_to": (lambda x: jnp.searchsorted(jnp.linspace(-2, 2, 5), x, side="right"), (ROW,)),
    "lt": (lambda x: x < x[0], (ROW,)),
    "max": (lax.max, (ROW, ROW[::-1])),
    "min": (lax.min, (ROW, ROW[::-1])),
    "mul": (jnp.multiply, (ROW, POSITIVE)),
    "ne": (lambda x: x != x[0], (ROW,)),
    "neg": (jnp.negative, (ROW,)),
    "not": (lambda x: ~(x > 0), (ROW,)),
    "one_minus_square": (lambda x: jax.jvp(jnp.tanh, (x,), (x,)), (ROW,)),
    "optimization_barrier": (lax.optimization_barrier, (ROW,)),
    "or": (lambda x, y: (x > 0) | (y > 0), (ROW, ROW[::-1])),
    "pad": (lambda x: lax.pad(x, 0.5, [(1, -1, 0), (0, 2, 1)]), (MATRIX,)),
    "pow": (jnp.power, (POSITIVE, ROW)),
    "reduce_and": (lambda x: jnp.all(x > 0, axis=1), (MATRIX,)),
    "reduce_max": (lambda x: jnp.max(x, axis=(0, 1)), (MATRIX,)),
    "reduce_min": (lambda x: jnp.min(x, axis=1), (MATRIX,)),
    "reduce_or": (lambda x: jnp.any(x > 0, axis=0), (MATRIX,)),
    "reduce_prod": (lambda x: (jnp.prod(x, axis=(0, 1)), jnp.prod(x, axis=0)), (MATRIX,)),
    "reduce_sum": (lambda x: (x.sum(axis=1), x.sum()), (MATRIX,)),
    "reduce_window_max": (lambda x: pooled(x, -jnp.inf, lax.max), (IMAGES,)),
    "reduce_window_min": (lambda x: pooled(x, jnp.inf, lax.min), (IMAGES,)),
    "reduce_window_sum": (lambda x: pooled(x, 0.0, lax.add), (IMAGES,)),
    "rem": (lax.rem, (ROW, POSITIVE)),
    "remat2": (jax.grad(lambda x: jax.checkpoint(jnp.sin)(x).sum()), (ROW,)),
    "reshape": (lambda x: x.reshape(2, 6), (MATRIX,)),
    "rev": (lambda x: lax.rev(x, (1,)), (MATRIX,)),
    "round": (lambda x: (jnp.round(3 * x), lax.round(3 * x)), (ROW,)),
    "rsqrt": (lax.rsqrt, (POSITIVE,)),
    "scan": (unrolled, (ROW,)),
    "scatter": (lambda x, i, y: x.at[i[:2]].set(y), (MATRIX, NUMBERS, MATRIX[:2])),
    "scatter-max": (lambda x, i, y: x.at[i].max(y), (MATRIX, NUMBERS, MATRIX[::-1])),
    "scatter-min": (lambda x, i, y: x.at[i].min(y), (MATRIX, NUMBERS, MATRIX[::-1])),
    "scatter-mul": (lambda x, i, y: x.at[i[:2]].mul(y), (MATRIX, NUMBERS, MATRIX[:2])),
    "scatter-sub": (lambda x, i, y: x.at[i].subtract(y), (MATRIX, NUMBERS, MATRIX[::-1])),
    "scatter-add": (lambda x, i, y: x.at[i].add(y), (MATRIX, NUMBERS, MATRIX[::-1])),
    "select_and_gather_add": (
        lambda x, t: jax.jvp(lambda x: pooled(x, -jnp.inf, lax.max), (x,), (t,)),
        (IMAGES, IMAGES[::-1]),
    ),
    "select_and_scatter_add": (
        lambda x, w: jax.grad(
            lambda x: (
                jnp.sum(w * strided(x, -jnp.inf, lax.max))
                + jnp.sum(w * strided(x, jnp.inf, lax.min))
            )
        )(x),
        (IMAGES, IMAGES[:, :, 1:4, 1:3]),
    ),
    "select_n": (lambda x, y: jnp.where(x > y, x, 3 * y), (ROW, POSITIVE)),
    "sign": (jnp.sign, (ROW,)),
    "sin": (jnp.sin, (ROW,)),
    "sinh": (lambda x: jax.jvp(lax.sinh, (x,), (x,)), (ROW,)),
    "slice": (lambda x: lax.slice(x, (1, 0), (3, 4), (1, 2)), (MATRIX,)),
    "sort": (lambda x, y: lax.sort((x, y), num_keys=1, dimension=0), (MATRIX, MATRIX[::-1])),
    "split": (lambda x: jnp.split(x, [1, 3], axis=1), (MATRIX,)),
    "sqrt": (jnp.sqrt, (POSITIVE,)),
    "square": (lax.square, (ROW,)),
    "squeeze": (lambda x: lax.squeeze(x, (0,)), (MATRIX[:1],)),
    "stop_gradient": (lax.stop_gradient, (ROW,)),
    "stack": (lambda x, y: jnp.stack([x, y], 1), (MATRIX, MATRIX[::-1])),
    "sub": (jnp.subtract, (ROW, POSITIVE)),
    "tan": (lambda x: jax.jvp(lax.tan, (x,), (x,)), (ROW,)),
    "tanh": (jnp.tanh, (ROW,)),
    "triangular_solve": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True),
        (MATRIX[:, :3] + 3 * np.eye(3), MATRIX),
    ),
    "tile": (lambda x: jnp.tile(x, (2, 1)), (MATRIX,)),
    "top_k": (lambda x: lax.top_k(x, 2), (MATRIX,)),
    "transpose": (jnp.transpose, (MATRIX,)),
    "unstack": (lambda x: jnp.unstack(x, axis=1), (MATRIX,)),
    "while": (lambda x: lax.while_loop(lambda c: c[0] < 9, lambda c: c * 2 + x, x), (POSITIVE,)),
    "xor": (lambda x, y: (x > 0) ^ (y > 0), (ROW, ROW[::-1])),
}

# The first JAX in whose jaxpr of the case they are; an earlier one writes it by other primitives.
SINCE = {"empty2": (0, 10, 2), "one_minus_square": (0, 11, 2)}


@functools.cache
def traced_case(name: str) -> Traced:
    """Trace a case once, for all that is drawn for it."""
    function, args = CASES[name]
    return Traced(function, *args)


def primitives(jaxpr: Any) -> Iterator[str]:
    """Name the primitives of a jaxpr and of those inside it."""
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in jax.tree.leaves(eqn.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(inner, "eqns"):
                yield from primitives(getattr(inner, "jaxpr", inner))


def bounds(traced: Traced, inputs: list[Bounded], rounding: Rounding) -> list[Bounded]:
    """Evaluate with errors in the inputs."""
    with np.errstate(all="ignore"), precise_jax():
        return evaluate(traced.jaxpr.jaxpr, list(map(exact, traced.jaxpr.consts)), inputs, rounding)


def assert_within(got: Array, result: Bounded) -> None:
    """Hold a result against its bound."""
    assert got.shape == result.value.shape == result.error.shape
    if got.dtype.kind == "f":
        assert result.value.dtype == result.error.dtype == np.float64
        assert (abs(got - result.value) <= result.error).all(), (got, result)
    else:
        assert result.error.dtype == bool
        assert ((got == result.value) | result.error).all(), (got, result)


def test_every_rule_is_tested() -> None:
    """Older names of the same rule count as tested with it."""
    ours = {
        name: rule
        for name, rule in RULES.items()
        if rule.__module__.startswith("reference.bounds.rules.")
    }
    assert len(ours) > 50
    tested = {id(ours[name]) for name in CASES}
    assert [name for name, rule in ours.items() if id(rule) not in tested] == []


@each("name", CASES)
def test_the_case_of_a_primitive_has_that_primitive(name: str) -> None:
    there = name in set(primitives(traced_case(name).jaxpr.jaxpr))
    assert there == (jax.__version_info__ >= SINCE.get(name, (0,)))


@pytest.mark.parametrize("name", CASES)
@given(seed=seeds)
def test_results_stay_within_the_bound_whatever_the_errors_of_the_operands(
    name: str, seed: int
) -> None:
    """For any operands within their errors, the function's exact result is within its bound."""
    traced, rng = traced_case(name), np.random.default_rng(seed)
    inputs, moved = [], []
    for arg in map(np.asarray, CASES[name][1]):
        if arg.dtype.kind != "f":
            inputs.append(exact(arg))
            moved.append(arg)
            continue
        size = 10 ** rng.uniform(-9, -0.5) * rng.integers(2, size=arg.shape)
        error = np.asarray(size * rng.uniform(0, 1, arg.shape))
        moved.append(arg + error * np.clip(rng.normal(size=arg.shape), -1, 1))
        inputs.append(Bounded(arg, np.maximum(error, abs(moved[-1] - arg))))
    results = bounds(traced, inputs, Rounding(np.float32, kinks="open"))
    with np.errstate(all="ignore"):
        got = jax.tree.leaves(traced.by_xla(*moved))
    for array, result in zip(got, results, strict=True):
        assert_within(np.where(np.isnan(array), result.value, array), result)


@each("name", CASES)
def test_exact_operands_give_jax_values_up_to_rounding_in_float64(name: str) -> None:
    args, traced = CASES[name][1], traced_case(name)
    rounding = Rounding(np.float64)
    results = bounds(traced, [exact(np.asarray(arg)) for arg in args], rounding)
    for array, result in zip(jax.tree.leaves(traced.by_xla(*args)), results, strict=True):
        assert_within(array, result)
        assert np.isfinite(result.error).all()
    open_at_0 = {"eq", "cond", "empty2", "le_to", "lt_to"}
    assert name in open_at_0 or rounding.open_kinks == 0


def test_integers_and_truths_are_exact() -> None:
    def function(i: Any, truth: Any) -> Any:
        whole = i**2 - lax.div(3 * i, 2) + jnp.cumsum(i) + jnp.max(i) + jnp.sign(i) + abs(-i)
        return whole.astype(float), truth.sum(axis=0), whole @ whole, lax.square(i), jnp.sum(i)

    result = Traced(function, NUMBERS, TRUTHS)
    for value, error in result.bounded(NUMBERS, TRUTHS, rounding=Rounding(np.float32)):
        assert not error.any()
        assert value.dtype.kind in "if"
    want = result.by_xla(NUMBERS, TRUTHS)
    got = result.bounded(NUMBERS, TRUTHS, rounding=Rounding(np.float32))
    for array, bounded in zip(want, got, strict=True):
        np.testing.assert_array_equal(array, bounded.value)


def test_an_integer_that_float32_does_not_hold_is_rounded() -> None:
    convert = Traced(lambda i: i.astype(float), 2**24 + 1)
    assert convert.bounded(2**24 + 1, rounding=Rounding(np.float32)).error >= 1
    assert convert.bounded(2**24 + 1, rounding=Rounding(np.float64)).error == 0


def test_a_primitive_without_a_rule_is_named_and_can_be_given_one() -> None:
    comparer = Comparer(lax.digamma, POSITIVE)
    with pytest.raises(NotImplementedError, match=r"'digamma'.*register_rule\('digamma'\)"):
        comparer(POSITIVE, POSITIVE)

    @register_rule("digamma")
    def digamma(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
        with precise_jax():
            return rounding.function(np.asarray(lax.digamma(x.value)), 0 * x.error)

    try:
        with precise_jax():
            right = np.asarray(lax.digamma(POSITIVE))
        assert comparer(right, POSITIVE).verdict == Verdict.MATCH
        assert comparer(right * (1 + 1e-12), POSITIVE).verdict == Verdict.MISMATCH
    finally:
        del RULES["digamma"]


def compared(a: Any, b: Any, kinks: Any = "open") -> tuple[bool, bool, int]:
    """Compare two numbers by >=: what comes out, whether it is unsure, and the open kinks."""
    rounding = Rounding(np.float32, kinks=kinks)
    result = RULES["ge"](rounding, a, b)
    assert isinstance(result, Bounded)
    return bool(result.value), bool(result.error), rounding.open_kinks


def test_exact_ties_are_decided_and_near_ties_are_open() -> None:
    one, near = exact(1.0), Bounded(np.asarray(1.0), np.asarray(1e-7))
    far = Bounded(np.asarray(1.1), np.asarray(1e-7))
    assert compared(one, one) == (True, False, 0)
    assert compared(one, exact(1.0)) == (True, False, 0)
    assert compared(one, near) == (True, True, 1)
    assert compared(one, near, "decided") == (True, False, 1)
    assert compared(one, far) == (False, False, 0)


def test_an_open_kink_widens_only_what_depends_on_it() -> None:
    x = Bounded(np.array([1e-9, 1.0, -1.0]), np.full(3, 1e-8))
    traced = Traced(jax.vmap(jax.grad(jax.nn.relu)), x.value)
    (decided,) = bounds(traced, [x], Rounding(np.float32))
    (opened,) = bounds(traced, [x], Rounding(np.float32, kinks="open"))
    assert decided.error.tolist() == [0, 0, 0]
    assert opened.value.tolist() == [1 / 2, 1, 0]  # eq. (R10): the middle of 0 and 1
    assert opened.error.tolist() == [1 / 2 + np.finfo(np.float64).eps, 0, 0]


def test_a_maximum_is_as_open_as_its_operands_are_close() -> None:
    """The derivative compares a maximum with its operands, of which one it always equals."""
    x = np.array([0.1, 2.0, -1.0, 2.1])
    for function in (
        lambda x: jnp.sum(jnp.maximum(x * x, 0.5)),
        lambda x: jnp.max(x * x),
        lambda x: jnp.sum(jnp.min((x * x).reshape(2, 2), axis=0)),
    ):
        comparer = Comparer(jax.grad(function), x)
        right = comparer.traced.by_xla(x)
        comparison = comparer(right, x)
        assert (comparison.verdict, comparison.open_kinks) == (Verdict.MATCH, 0)
        assert comparer(right * 1.001, x).verdict == Verdict.MISMATCH
    close = np.array([0.1, 2.1, -np.nextafter(2.1, 3), 1.0])
    comparer = Comparer(jax.grad(lambda x: jnp.max(x * x)), close)
    assert comparer(comparer.traced.by_xla(close), close).open_kinks > 0


def test_a_maximum_in_other_places_is_not_taken_for_that_of_its_row() -> None:
    """Each row's elements are compared with another row's maximum here."""
    x = Bounded(np.array([[1.0, 2.0], [3.0, 2.0]]), np.full((2, 2), 1e-6))
    traced = Traced(lambda x: x == lax.rev(x.max(axis=1, keepdims=True), (0,)), x.value)
    (result,) = bounds(traced, [x], Rounding(np.float32, kinks="open"))
    assert result.error.tolist() == [[False, False], [False, True]]


def test_an_open_index_reaches_to_all_elements() -> None:
    x = Bounded(np.array([1.0, 1.0 + 1e-9, 0.0]), np.full(3, 1e-8))
    values = exact(np.array([5.0, 7.0, 1.0]))
    for function in (
        lambda x, v: v[jnp.argmax(x)],
        lambda x, v: jnp.zeros(3).at[jnp.argmax(x)].add(v[0]),
        lambda x, v: lax.dynamic_slice(v, (jnp.argmax(x),), (1,)),
        lambda x, v: lax.dynamic_update_slice(v, jnp.zeros(1), (jnp.argmax(x),)),
    ):
        traced = Traced(function, x.value, values.value)
        (result,) = bounds(traced, [x, values], Rounding(np.float32, kinks="open"))
        assert_within(np.asarray(traced.by_xla(x.value, values.value)), result)
        assert_within(np.asarray(traced.by_xla(x.value[[1, 0, 2]], values.value)), result)


def test_what_may_overflow_has_no_bound() -> None:
    square = Traced(lambda x: x * x * 0, 1.0)
    assert square.bounded(1e19, rounding=Rounding(np.float32)).error == 0
    assert square.bounded(1e20, rounding=Rounding(np.float32)).error == np.inf  # inf * 0 is NaN
    assert square.bounded(1e20, rounding=Rounding(np.float64)).error == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_whose_partial_sums_may_overflow_has_no_bound(dtype: type[np.floating]) -> None:
    """Found by the long campaign: the order of addition decides, and the sum itself is in range."""
    large = 2.0 ** (np.finfo(dtype).maxexp - 1)
    terms, ones = np.array([large, large, -large]), np.ones(3)
    for function, args in (
        (jnp.sum, (terms,)),
        (jnp.dot, (terms, ones)),
        (jnp.cumsum, (terms,)),
    ):
        traced = Traced(function, *args)
        value, error = traced.bounded(*args, rounding=Rounding(dtype))
        assert np.isinf(np.atleast_1d(error)[-1]), value
        _, error = traced.bounded(terms / 4, *args[1:], rounding=Rounding(dtype))
        assert np.isfinite(error).all()


def test_an_exact_infinity_is_known() -> None:
    """A mask of -inf makes no softmax incomparable."""

    def masked(x: Any) -> Any:
        return jax.nn.softmax(jnp.where(jnp.arange(6) < 4, x * 3, -jnp.inf))

    _, error = Traced(masked, ROW).bounded(ROW, rounding=Rounding(np.float32))
    _, want = Traced(lambda x: jax.nn.softmax(x * 3), ROW[:4]).bounded(
        ROW[:4], rounding=Rounding(np.float32)
    )
    assert (error[:4] >= want).all()
    assert (error[:4] <= 6 / 4 * want).all()  # eq. (R6) for sums of 6 terms instead of 4
    assert (error[4:] == 0).all()


def test_what_a_precision_does_not_hold_is_rounded_once() -> None:
    single = Rounding(np.float32)
    for value in (0.1, 1e-5, 1 / 3):
        error = float(single.given(value).error)
        assert abs(float(np.float32(value)) - value) <= error <= 2.0**-23 * value
        assert Rounding(np.float64).given(value).error == 0
    assert single.given(0.125).error == 0
    _, error = Traced(lambda x: x * 0.1, 1.0).bounded(1.0, rounding=single)
    assert 2.0**-24 * 0.1 < error < 2.0**-20 * 0.1
    assert single.given(1e-40).error >= 1e-40  # subnormal: it may be flushed


@given(seed=seeds)
@settings(max_examples=depth().compilations)
def test_a_loss_that_computes_in_float32_itself_has_its_bounds(seed: int) -> None:
    """Then JAX rounds too, in either precision of the gradient."""

    def loss(W: Any, X: Any) -> Any:
        hidden = jnp.tanh(X.astype(jnp.float32) @ W.astype(jnp.float32))
        return jnp.sum(hidden.astype(W.dtype) ** 2) * jnp.asarray(0.1, W.dtype)

    rng = np.random.default_rng(seed)
    W, X = rng.normal(size=(5, 3)), rng.normal(size=(4, 5))
    comparer = Comparer(jax.grad(loss), W, X)
    gradient = 2 * 0.1 * X.T @ ((1 - np.tanh(X @ W) ** 2) * np.tanh(X @ W))
    assert comparer(gradient, W, X).verdict == Verdict.MATCH
    assert comparer(gradient * 1.001, W, X).verdict == Verdict.MISMATCH
    W32, X32 = W.astype(np.float32), X.astype(np.float32)
    assert comparer(jax.grad(loss)(W32, X32), W32, X32).verdict == Verdict.MATCH


def test_functions_within_functions() -> None:
    """Compilation, recomputation and custom derivatives change nothing of the bound."""

    def plain(x: Any) -> Any:
        return jnp.sum(jnp.sin(x) ** 2)

    want = Traced(jax.grad(plain), ROW).bounded(ROW, rounding=Rounding(np.float64))
    assert_within(2 * np.sin(ROW) * np.cos(ROW), want)
    for function in (jax.jit(plain), jax.checkpoint(plain), jax.jit(jax.jit(plain))):
        result = Traced(jax.grad(function), ROW).bounded(ROW, rounding=Rounding(np.float64))
        np.testing.assert_array_equal(result.value, want.value)
        np.testing.assert_array_equal(result.error, want.error)
