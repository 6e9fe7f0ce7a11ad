"""What cannot be traced in float64, or draws other numbers there, is taken as the user has it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from reference import Comparer, Verdict, check_gradient
from reference.bounds.rounding import Rounding
from reference.bounds.tracing import Traced
from reference.bounds.widening import in_own_precision
from tests.support.bits import same_bits

SINGLE = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


@pytest.fixture(name="_as_jax_comes")
def _without_x64() -> Iterator[None]:
    """Have JAX as most have it, which knows no float64."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # noqa: FBT003, JAX's way
        yield


def dropout(w: Any, key: Any) -> Any:
    """Mask a layer at random."""
    hidden = jnp.tanh(w)
    kept = jax.random.bernoulli(key, 0.8, hidden.shape)
    return jnp.mean(jnp.where(kept, hidden / 0.8, 0) ** 2)


def noisy(w: Any, key: Any) -> Any:
    """Split a key, in a loop that carries it, and draw of several kinds."""

    def step(carry: Any, _: Any) -> Any:
        total, key = carry
        key, one, other = jax.random.split(key, 3)
        mixed = w * jax.random.uniform(one, w.shape) + jax.random.gumbel(other, w.shape)
        return (total + jnp.sum(mixed**2), key), None

    return lax.scan(step, (jnp.zeros((), w.dtype), key), None, length=2)[0][0]


@pytest.mark.usefixtures("_as_jax_comes")
@pytest.mark.parametrize("key_of", [jax.random.key, jax.random.PRNGKey])
@pytest.mark.parametrize("loss", [dropout, noisy])
def test_a_random_mask_is_that_of_the_users_precision(
    loss: Callable[..., Any], key_of: Callable[[int], Any]
) -> None:
    """In float64 it would be another one, and every right gradient would be wrong."""
    key = key_of(3)
    gradient = np.asarray(jax.grad(loss)(SINGLE, key))
    comparer = Comparer(jax.grad(loss), SINGLE, key)
    assert comparer(gradient, SINGLE, key).verdict == Verdict.MATCH
    assert comparer(gradient * np.float32(1.01), SINGLE, key).verdict == Verdict.MISMATCH


@pytest.mark.usefixtures("_as_jax_comes")
def test_a_check_takes_a_key_among_the_arguments() -> None:
    key = jax.random.key(3)
    report = check_gradient(jax.grad(dropout), dropout, SINGLE, key)
    assert report.verdict == Verdict.MATCH
    assert all(leaf.proven is not None for leaf in report.leaves)
    assert report.warnings == ()


def test_a_random_number_is_that_of_float64_where_the_arguments_are() -> None:
    key, wide = jax.random.key(3), SINGLE.astype(np.float64)
    gradient = np.asarray(jax.grad(dropout)(wide, key))
    assert Comparer(jax.grad(dropout), wide, key)(gradient, wide, key).verdict == Verdict.MATCH


def carried(w: Any) -> Any:
    """Carry float32 through a loop."""
    start = jnp.zeros(6, jnp.float32)
    return jnp.sum(lax.scan(lambda c, x: (jnp.tanh(c + x), c * 0.1), start, w)[1] ** 2)


def branched(w: Any) -> Any:
    """Return float32 from a branch that does not depend on the argument."""
    return lax.cond(w[0, 0] > 9, lambda: jnp.float32(1), lambda: jnp.mean(w * w))


def placed(w: Any) -> Any:
    """Take a slice at an int32 beside an int, which is an int64 in float64."""
    return jnp.sum(lax.dynamic_slice(w, (jnp.int32(1), 0), (2, 2)) ** 3)


def looped(w: Any) -> Any:
    """Go on while a float32 is small, in a loop without a derivative."""
    state = jnp.int32(0), jnp.float32(1)
    _, power = lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 0.7), state)
    return lax.stop_gradient(power) * jnp.sum(w * w)


@pytest.mark.usefixtures("_as_jax_comes")
@pytest.mark.parametrize("loss", [carried, branched, placed, looped])
def test_what_fixes_a_precision_is_evaluated_in_float64_all_the_same(
    loss: Callable[..., Any],
) -> None:
    gradient = np.asarray(jax.grad(loss)(SINGLE))
    comparer = Comparer(jax.grad(loss), SINGLE)
    assert comparer(gradient, SINGLE).verdict == Verdict.MATCH
    assert comparer(gradient + np.float32(0.01), SINGLE).verdict == Verdict.MISMATCH
    by_xla = Traced(jax.grad(loss), SINGLE).by_xla(SINGLE)
    assert by_xla.dtype == np.float64
    assert (by_xla != by_xla.astype(np.float32)).any()


def test_what_no_precision_allows_is_refused_as_jax_does() -> None:
    for x in (SINGLE, SINGLE.astype(np.float64)):
        with pytest.raises(TypeError, match="carry"):
            Traced(lambda w: lax.scan(lambda c, t: (t.sum(), c), np.int32(0), w), x)


def test_a_constant_is_as_it_was_written_and_an_array_as_it_is() -> None:
    tenths = np.array([0.1, 0.3], np.float32)

    def function(x: Any) -> Any:
        return x * 0.1, x + tenths, jnp.arange(2, dtype=x.dtype), x.astype(jnp.bfloat16)

    own = in_own_precision(function, (tenths,), x64=True)
    assert own is not None
    wide = np.array([3.0, 1 / 3])
    scaled, moved, numbers, coarse = Traced(own, wide).by_xla(wide)
    assert same_bits(scaled, wide * 0.1)
    assert same_bits(moved, wide + tenths)
    assert same_bits(numbers, np.arange(2.0))
    assert coarse.dtype == ml_dtypes.bfloat16
    assert in_own_precision(function, (wide,), x64=True) is None


def test_the_bits_of_a_number_are_those_of_its_precision() -> None:
    own = in_own_precision(
        lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.uint32), jnp.float32),
        (SINGLE,),
        x64=True,
    )
    assert own is not None
    wide = SINGLE.astype(np.float64)
    assert same_bits(Traced(own, wide).by_xla(wide), wide)


def test_every_precision_of_the_arguments_is_widened() -> None:
    half = SINGLE.astype(ml_dtypes.bfloat16)

    def function(x: Any, y: Any) -> Any:
        return lax.dot_general(x, y, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)

    own = in_own_precision(function, (half, half), x64=False)
    assert own is not None
    wide = half.astype(np.float64)
    (aval,) = Traced(own, wide, wide).jaxpr.out_avals
    assert aval.dtype == np.float64
    product = Traced(own, wide, wide).by_xla(wide, wide)
    np.testing.assert_allclose(product, wide @ wide.T, rtol=1e-12, atol=1e-12)


def test_random_numbers_are_exact_but_for_what_a_precision_does_not_hold() -> None:
    def function(x: Any, key: Any) -> Any:
        return x * jax.random.uniform(key, x.shape, x.dtype), jax.random.bits(key, (3,))

    key = jax.random.key(1)
    traced = Traced(function, SINGLE, key)
    (product, bits) = traced.bounded(SINGLE, key, rounding=Rounding(np.float32))
    assert not bits.error.any()
    assert (bits.value == np.asarray(jax.random.bits(key, (3,)))).all()
    want, _ = traced.by_xla(SINGLE, key)
    np.testing.assert_array_equal(product.value, want)
    # A number from 1 to 2, less 1, scaled and shifted: each of these steps is off by its rounding.
    assert (product.error <= 16 * 2.0**-24 * abs(SINGLE)).all()
