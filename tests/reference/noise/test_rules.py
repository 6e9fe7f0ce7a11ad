"""Each primitive's samples: the nominal one is JAX's value, and the others stray a little."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from reference.bounds.tracing import Traced
from reference.noise.measure import Witness
from tests.conftest import part_for

rng = np.random.default_rng(0)
X = rng.uniform(0.2, 0.8, size=(4, 6)).astype(np.float32).astype(np.float64)
ROOT = rng.normal(size=(4, 4))
S = ROOT @ ROOT.T + 3 * np.eye(4)
IMAGES = rng.normal(size=(1, 6, 6, 2))


def counted(x: Any) -> Any:
    """Double until large: a while loop."""
    return lax.while_loop(lambda c: c.sum() < 50, lambda c: c * 2.1 + x, x)


def pooled(x: Any) -> Any:
    """The largest of each window of two by two."""
    window = (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def cut(x: Any) -> Any:
    """An operation that JAX can differentiate, but not map over samples."""
    return lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)


CASES: dict[str, tuple[Callable[..., Any], Any]] = {
    "cholesky": (jnp.linalg.cholesky, S),
    "complex": (lambda x: abs(jnp.exp(lax.complex(x, x))) ** 2, X),
    "cond": (cut, X),
    "conv": (
        lambda x: (
            lax.conv_general_dilated(
                x,
                jnp.ones((3, 3, 2, 2)),
                (1, 1),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            ** 2
        ),
        IMAGES,
    ),
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, 1), X),
    "cummax": (lambda x: lax.cummax(x, 1) ** 2, X),
    "cumprod": (lambda x: jnp.cumprod(x, 1), X),
    "cumsum": (lambda x: jnp.cumsum(x, 1) ** 2, X),
    "digamma": (jax.scipy.special.digamma, X),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (1, 1), (2, 2)) ** 2, X),
    "erf_inv": (jax.scipy.special.erfinv, X),
    "eigh": (lambda x: jnp.linalg.eigh(x)[0] ** 2, S),
    "fft": (lambda x: abs(jnp.fft.fft(x)) ** 2, X),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), X),
    "integer_pow": (lambda x: x**5, X),
    "lgamma": (jax.scipy.special.gammaln, X),
    "logsumexp": (lambda x: jax.nn.logsumexp(x, axis=1), X),
    "lu": (jnp.linalg.inv, S),
    "max_pool": (lambda x: pooled(x) ** 2, IMAGES),
    "median": (lambda x: jnp.median(x, axis=1) ** 2, X),
    "pow": (lambda x: x**x, X),
    "prod": (lambda x: jnp.prod(x, axis=1), X),
    "remainder": (lambda x: jnp.mod(x, 0.3) ** 2, X),
    "round": (lambda x: x * lax.stop_gradient(jnp.round(4 * x)), X),
    "scan": (lambda x: lax.scan(lambda c, t: (c * t, c + t), jnp.ones(6), x)[1] ** 2, X),
    "scatter": (lambda x: x.at[:, 0].multiply(x[:, 1]), X),
    "sort": (lambda x: jnp.sort(x, axis=1) ** 2, X),
    "svd": (lambda x: jnp.linalg.svd(x, compute_uv=False), S),
    "top_k": (lambda x: lax.top_k(x, 2)[0] ** 2, X),
    "while": (counted, X),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for dtype in (np.float32, np.float64) for name in part_for(dtype, list(CASES))],
)
def test_xla_lies_within_the_spread_of_an_operation(name: str, dtype: type[np.floating]) -> None:
    function, x = CASES[name]

    def loss(x: Any) -> Any:
        return function(x).sum()

    differentiated = loss if name == "while" else jax.grad(loss)
    traced = Traced(differentiated, x)
    given = x.astype(dtype)
    (leaf,) = Witness(traced, dtype).measure(given).leaves
    want = traced.by_xla(given)
    np.testing.assert_allclose(leaf.nominal, want, rtol=1e-12, atol=1e-14)
    assert (leaf.sigma > 0).any()
    with jax.enable_x64(dtype == np.float64):
        got = np.asarray(jax.jit(differentiated)(given))
    assert (abs(got - want) <= 4 * leaf.sigma + np.finfo(dtype).eps * abs(want)).all()
    assert (leaf.sigma <= 1000 * np.finfo(dtype).eps * (abs(want).max() + 1)).all()


def test_a_loop_is_disturbed_as_its_steps_written_out_are() -> None:
    def rolled(x: Any) -> Any:
        return lax.scan(lambda c, t: (c + t, None), jnp.zeros(1000), x)[0]

    def unrolled(x: Any) -> Any:
        c = jnp.zeros(1000)
        for t in x:
            c = c + t
        return c

    x = rng.normal(size=(5, 1000)).astype(np.float32)
    sizes = []
    for function in (rolled, unrolled):
        (leaf,) = Witness(Traced(function, x), np.float32).measure(x).leaves
        sizes.append((leaf.sigma**2).mean())
    assert abs(np.log(sizes[0] / sizes[1])) < 5 * np.sqrt(2 * 2 / 16000)


def test_what_nobody_has_listed_gets_the_generic_disturbance() -> None:
    def loss(x: Any) -> Any:
        return x.at[:, 0].multiply(x[:, 1]).sum()

    witness = Witness(Traced(jax.grad(loss), X), np.float32)
    assert witness.measure(X).generic == ("scatter-mul",)


def test_an_operation_without_a_batching_rule_is_evaluated_sample_by_sample() -> None:
    primitive = jax.extend.core.Primitive("triple")
    primitive.def_impl(lambda x: 3 * x)
    primitive.def_abstract_eval(lambda x: x)
    jax.interpreters.mlir.register_lowering(
        primitive, jax.interpreters.mlir.lower_fun(lambda x: 3 * x, multiple_results=False)
    )
    witness = Witness(Traced(primitive.bind, X), np.float32)
    measurement = witness.measure(X)
    (leaf,) = measurement.leaves
    np.testing.assert_array_equal(leaf.nominal, 3 * X)
    ratio = leaf.sigma / (2.0**-24 * leaf.nominal)
    assert measurement.generic == ("triple",)
    assert 1 < (ratio**2).mean() < 3  # 2: of its operand and of its result


@pytest.mark.parametrize(
    ("dtype", "of_a_sum", "of_a_function"),
    [(np.float32, 32.0, 4.0), (np.float16, 1.0, 1.0), (ml_dtypes.bfloat16, 1.0, 1.0)],
)
def test_half_precision_sums_and_functions_are_computed_in_float32_and_rounded_once(
    dtype: Any, of_a_sum: float, of_a_function: float
) -> None:
    """NOISE.md (12), of 1,024 equal terms: the sum is 32, and the root of its squares 1."""
    x = np.full(1024, 2.0**-5)
    unit = float(ml_dtypes.finfo(dtype).eps) / 2

    def sigma(function: Callable[..., Any]) -> Any:
        (leaf,) = Witness(Traced(function, x), dtype).measure(x, samples=64).leaves
        return leaf.sigma / unit

    assert float(sigma(jnp.sum)) == pytest.approx(of_a_sum * 33, rel=0.25)  # 4 deviations
    for function in (jnp.exp, jnp.log1p, jax.scipy.special.erfc):
        value = 1.0 if function is jnp.exp else float(function(x[0]))
        assert float(sigma(function).mean()) == pytest.approx(of_a_function * value, rel=0.25)
    added = sigma(lambda x: x.at[0].add(x[1]))
    assert added[0] > 0
    assert not added[1:].any()
