"""The ReLU: what its passes compute at and around 0, and where they write.

Axes: N rows, H units.
"""

import functools
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.arrays import Array
from manual_nn.compiled.layers import relu as compiled
from manual_nn.layers import relu
from reference.layers import relu as twin
from tests.support.compiled import in_python, of_each_implementation
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.layers import check_out
from tests.support.strategies import seeds

MIXED = np.array([[-1.0, 0.0, 3.0], [2.0, -5.0, 0.25]])
A = np.array([[1.0, 0.0, 3.0], [2.0, 5.0, 0.25]])


@of_each_implementation(relu)
def test_a_piece_writes_to_the_array_that_it_is_given(layer: ModuleType) -> None:
    def output(x: Array, *, out: Array | None = None) -> Array:
        return layer.forward((), x, out=out)[0]

    def d_input(d_out: Array, a: Array, *, out: Array | None = None) -> Array:
        return layer.backward((), layer.Kept(a), d_out, out=out)[1]

    check_out(output, (MIXED,), np.array([[0, 0, 3], [2, 0, 0.25]]))
    for piece in (layer.masked, d_input):
        check_out(piece, (MIXED, A), np.array([[-1, 0, 3], [2, -5, 0.25]]))


def test_what_is_compiled_refuses_an_array_to_write_to_that_does_not_fit() -> None:
    layer = in_python(compiled)
    for piece in (layer.rectified, functools.partial(layer.masked, MIXED)):
        with pytest.raises(ValueError, match=r"out must have shape \(2, 3\) .*, got \(6,\)"):
            piece(A, out=np.empty(6))
        with pytest.raises(TypeError, match="out must be float64 like x, got float32"):
            piece(A, out=np.empty((2, 3), np.float32))


@of_each_implementation(relu)
def test_a_pass_may_overwrite_its_argument(layer: ModuleType) -> None:
    x, d_out = MIXED.copy(), np.full((2, 3), 7.0)
    a, kept = layer.forward((), x, out=x)
    assert kept.a is a is x
    assert layer.backward((), kept, d_out, out=d_out) == ((), d_out)
    np.testing.assert_array_equal(d_out, [[0, 0, 7], [7, 0, 7]])


@of_each_implementation(relu)
def test_a_derivative_that_overflows_is_0_at_a_unit_that_is_off_and_stays_where_it_is_on(
    layer: ModuleType,
) -> None:
    """With a = 1/2 a unit is on."""
    a = np.array([[0.0, 0.5, 0.0, 2.0, 0.0]])
    d_a = np.array([[np.inf, 3.0, -np.inf, -7.0, 5.0]])
    np.testing.assert_array_equal(layer.masked(d_a, a), [[0, 3, 0, -7, 0]])


@of_each_implementation(relu)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_derivative_whose_square_overflows_is_no_matter(
    layer: ModuleType, dtype: type[np.floating]
) -> None:
    """Nor is there a warning, which would be an error here."""
    large = np.ldexp(dtype(1), np.finfo(dtype).maxexp - 1)
    d_z = layer.masked(np.array([[large, -large]]), np.array([[0, 1]], dtype))
    np.testing.assert_array_equal(d_z, [[0, -large]])


def subject_of(shape: list[int]) -> Subject:
    return Subject(lambda draw, _: ((), draw(*shape)), {})


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=3), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(shape: list[int], seed: int) -> None:
    prove(relu, twin, subject_of(shape), seed)


def without_the_mask(params: tuple[()], kept: Any, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out.copy()


def with_its_own_output(params: tuple[()], kept: Any, d_out: Any) -> Any:  # noqa: ARG001
    return (), d_out * kept.a


def with_a_mask_of_the_gradient(params: tuple[()], kept: Any, d_out: Any) -> Any:  # noqa: ARG001
    return (), np.maximum(d_out, 0)


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        relu,
        twin,
        subject_of([4, 5]),
        Named(without_the_mask, "jax.nn.relu(x)"),
        Named(with_its_own_output, "jax.nn.relu(x)"),
        Named(with_a_mask_of_the_gradient, "jax.nn.relu(x)"),
    )


@of_each_implementation(relu)
def test_arguments_that_do_not_fit_are_refused(layer: ModuleType) -> None:
    _, kept = layer.forward((), MIXED)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        layer.forward((), np.ones((2, 3), np.int64))
    with pytest.raises(ValueError, match=r"x must have at least 1 axis .* got shape \(\)"):
        layer.forward((), np.ones(()))
    with pytest.raises(TypeError, match="d_out must be float64 like out, got float32"):
        layer.backward((), kept, MIXED.astype(np.float32))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 3\) to fit out, got \(6,\)"):
        layer.backward((), kept, np.ones(6))
