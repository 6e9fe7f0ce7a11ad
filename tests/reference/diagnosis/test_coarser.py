"""Gradients of a coarser precision look like that, and small mistakes in a fine one do not."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from reference import Code, Verdict, check_gradient, check_vjp
from reference.arrays import Array
from reference.diagnosis import coarser

Product: TypeAlias = Callable[[Array, Array], Array]


def with_bits(x: Array, bits: int) -> Array:
    """Round to so many significant bits."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits).astype(x.dtype)


def product_in(bits: int) -> Product:
    """Multiply matrices whose numbers are rounded to so many bits, and add up as finely as ever."""
    return lambda a, b: with_bits(a, bits) @ with_bits(b, bits)


def layer(X: Any, W: Any, V: Any) -> Any:
    """Two layers, whose second one's output is what d_out belongs to."""
    return jnp.tanh(X @ W) @ V


def vjp(d_out: Array, X: Array, W: Array, V: Array, multiply: Product = np.matmul) -> Any:
    """Their gradients by hand."""
    h = np.tanh(multiply(X, W))
    d_a = multiply(d_out, V.T) * (1 - h * h)
    return multiply(d_a, W.T), multiply(X.T, d_a), multiply(h.T, d_out)


def loss(X: Any, W: Any, V: Any, d_out: Any) -> Any:
    """The same with a d_out that is given."""
    return (d_out * layer(X, W, V)).sum()


def gradient(*args: Any, multiply: Product = np.matmul) -> Any:
    """Its gradient in all but that."""
    *inputs, d_out = args
    X, W, V = inputs
    return vjp(d_out, X, W, V, multiply)


def example(dtype: Any) -> tuple[Array, ...]:
    """Give the arguments of the loss."""
    rng = np.random.default_rng(3)
    shapes = (8, 6), (6, 7), (7, 5), (8, 5)
    X, W, V, d_out = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    return X, W / dtype(2), V / dtype(2), d_out


def rounded_to(dtype: Any) -> Callable[..., Any]:
    """Round the right gradient, and give it the arguments' dtype again."""
    return lambda *args: jax.tree.map(
        lambda array: array.astype(dtype).astype(array.dtype), gradient(*args)
    )


def computed_in(dtype: Any) -> Callable[..., Any]:
    """Have JAX compute everything in this precision, and give the gradient the arguments' dtype."""
    by_jax = jax.grad(loss, (0, 1, 2))
    return lambda *args: jax.tree.map(
        lambda array: np.asarray(array).astype(args[0].dtype),
        by_jax(*(arg.astype(dtype) for arg in args)),
    )


def off_by_part(part: float, *, elements: int | None = None) -> Callable[..., Any]:
    """Change the first elements of the gradient in W by a part of themselves."""

    def wrong(*args: Array) -> Any:
        d_X, d_W, d_V = gradient(*args)
        d_W.ravel()[:elements] *= 1 + d_W.dtype.type(part) * np.sign(args[1]).ravel()[:elements]
        return d_X, d_W, d_V

    return wrong


SINGLE, DOUBLE = np.float32, np.float64
CASES = [
    (
        SINGLE,
        lambda *args: gradient(*args, multiply=product_in(11)),
        "TF32 in the products of matrices",
    ),
    (
        SINGLE,
        lambda *args: gradient(*args, multiply=product_in(8)),
        "bfloat16 in the products of matrices",
    ),
    (SINGLE, rounded_to(ml_dtypes.bfloat16), "bfloat16"),
    (SINGLE, rounded_to(np.float16), "float16 or TF32"),
    (SINGLE, computed_in(ml_dtypes.bfloat16), "bfloat16"),
    (DOUBLE, computed_in(SINGLE), "float32"),
    (SINGLE, off_by_part(2e-3), ""),
    (SINGLE, off_by_part(1e-2, elements=1), ""),
]


@pytest.mark.parametrize(("dtype", "grad", "precision"), CASES)
def test_a_coarser_precision_is_named_and_is_no_excuse(
    dtype: Any, grad: Callable[..., Any], precision: str
) -> None:
    report = check_gradient(grad, loss, *example(dtype), argnums=(0, 1, 2))
    assert report.verdict == Verdict.MISMATCH
    code = Code.COARSER_PRECISION if precision else Code.UNKNOWN
    assert [cause.code for cause in report.causes] == [code]
    assert f"({precision})." in report.causes[0].sentence or not precision


def test_it_is_named_along_directions_too_and_whatever_the_other_precision_is() -> None:
    """In float64 the products are as good as they should be, as on hardware with TF32."""

    def by_hardware(d_out: Array, X: Array, W: Array, V: Array) -> Any:
        return vjp(d_out, X, W, V, product_in(11) if X.dtype == SINGLE else np.matmul)

    X, W, V, _ = example(SINGLE)
    report = check_vjp(by_hardware, layer, X, W, V)
    assert not report.ok
    assert report.causes[0].code == Code.COARSER_PRECISION
    assert "TF32" in report.causes[0].sentence
    X, W, V, _ = example(DOUBLE)
    assert check_vjp(by_hardware, layer, X, W, V).verdict == Verdict.MATCH


def test_errors_as_large_as_the_gradient_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes some seconds, and no precision that is of any use strays as far."""
    measured = []
    explains = coarser._explains

    def counting(*args: Any) -> bool:
        measured.append(args)
        return explains(*args)

    monkeypatch.setattr(coarser, "_explains", counting)

    def off_by(part: float) -> Any:
        x = np.arange(5, dtype=SINGLE)
        got = np.cos(x) * (1 + SINGLE(part) * np.sin(7 * x + 1))
        return check_gradient(got, lambda x: jnp.sin(x).sum(), x)

    assert off_by(4).verdict == Verdict.MISMATCH
    assert not measured
    assert off_by(1 / 8).verdict == Verdict.MISMATCH
    assert measured


def test_a_gradient_of_small_integers_has_no_mark_of_a_precision() -> None:
    """The right one is of bfloat16's numbers, too."""
    x = np.array([100.0, 120.0, 128.0])
    report = check_gradient(x + np.array([1, 0, 0]), lambda x: (x * x).sum() / 2, x)
    assert Code.COARSER_PRECISION not in {cause.code for cause in report.causes}
