"""The dense layer: what its pieces compute, and where they write.

Axes: N rows, fan_in inputs, fan_out outputs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.arrays import Array
from manual_nn.layers import dense
from manual_nn.layers.dense import Dense
from reference.layers import dense as twin
from tests.support.layer_proof import FEW, Named, Subject, prove, refute
from tests.support.layers import check_out
from tests.support.strategies import seeds

LAYER = Dense(np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 3.0]]), np.array([1.0, -1.0]))
X = np.array([[1.0, 0.0, 3.0], [2.0, 5.0, 0.25]])  # (N, fan_in)
D_OUT = np.array([[1.0, -2.0], [0.5, 4.0]])  # (N, fan_out)
D_WEIGHT, D_BIAS = [[2.0, 6.0], [2.5, 20.0], [3.125, -5.0]], [1.5, 2.0]
D_X = [[-3.0, -2.0, -6.0], [8.5, 1.5, 12.0]]


def output(params: Dense, x: Array, *, out: Array | None = None) -> Array:
    return dense.forward(params, x, out=out)[0]


WITH_OUT: list[tuple[Callable[..., Array], tuple[Any, ...], list[list[float]]]] = [
    (output, (LAYER, X), [[2, 10], [-2, 6.25]]),
    (dense.weight_backward, (X, D_OUT), D_WEIGHT),
    (dense.weight_backward, (X[:1], D_OUT[:1]), [[1, -2], [0, 0], [3, -6]]),
    (dense.input_backward, (LAYER, D_OUT), D_X),
]


@pytest.mark.parametrize(("piece", "arguments", "want"), WITH_OUT)
def test_a_piece_writes_to_the_array_that_it_is_given(
    piece: Callable[..., Array], arguments: tuple[Any, ...], want: list[list[float]]
) -> None:
    check_out(piece, arguments, want)


def test_the_gradient_of_a_layer_is_written_where_it_is_given_a_place() -> None:
    place = Dense(np.empty((3, 2)), np.empty(2))
    d_layer = dense.params_backward(X, D_OUT, out=place)
    assert d_layer.weight is place.weight
    assert d_layer.bias is place.bias
    np.testing.assert_array_equal(d_layer.weight, D_WEIGHT)
    np.testing.assert_array_equal(d_layer.bias, D_BIAS)
    for new, placed in zip(dense.params_backward(X, D_OUT), d_layer, strict=True):
        np.testing.assert_array_equal(new, placed)
        assert not np.shares_memory(new, placed)


def test_the_backward_pass_is_made_of_its_pieces() -> None:
    z, kept = dense.forward(LAYER, X)
    assert kept.x is X
    d_layer, d_x = dense.backward(LAYER, kept, D_OUT)
    np.testing.assert_array_equal(z, [[2, 10], [-2, 6.25]])
    np.testing.assert_array_equal(d_layer.weight, D_WEIGHT)
    np.testing.assert_array_equal(d_layer.bias, D_BIAS)
    np.testing.assert_array_equal(d_x, D_X)


def subject_of(rows: list[int], fan_in: int, fan_out: int) -> Subject:
    return Subject(
        lambda draw, _: (Dense(draw(fan_in, fan_out), draw(fan_out)), draw(*rows, fan_in)), {}
    )


sizes = st.integers(1, 6)


@given(rows=st.lists(st.integers(1, 4), max_size=2), fan_in=sizes, fan_out=sizes, seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(
    rows: list[int], fan_in: int, fan_out: int, seed: int
) -> None:
    prove(dense, twin, subject_of(rows, fan_in, fan_out), seed)


def through_the_untransposed_weight(params: Dense, kept: Any, d_out: Any) -> Any:
    d_params, _ = dense.backward(params, kept, d_out)
    return d_params, d_out @ params.weight


def with_the_mean_for_the_bias(params: Dense, kept: Any, d_out: Any) -> Any:
    d_params, d_x = dense.backward(params, kept, d_out)
    return d_params._replace(bias=d_params.bias / len(d_out)), d_x


def summed_over_the_first_axis_alone(params: Dense, kept: Any, d_out: Any) -> Any:
    d_params, d_x = dense.backward(params, kept, d_out)
    return d_params._replace(bias=d_out.sum(axis=0)[0]), d_x


def with_the_rows_in_two_orders(params: Dense, kept: Any, d_out: Any) -> Any:
    d_params, d_x = dense.backward(params, kept, d_out)
    x = kept.x.reshape(-1, len(params.weight))
    turned = d_out.swapaxes(0, 1).reshape(-1, len(params.bias))
    return d_params._replace(weight=x.T @ turned), d_x


def with_the_mean_for_the_weight(params: Dense, kept: Any, d_out: Any) -> Any:
    """Divide by the number of rows what the loss has divided by it."""
    d_params, d_x = dense.backward(params, kept, d_out)
    return d_params._replace(weight=d_params.weight / len(d_out)), d_x


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        dense,
        twin,
        subject_of([3, 2], 4, 4),
        Named(through_the_untransposed_weight, "x @ weight"),
        Named(with_the_mean_for_the_bias, "(bias"),
        Named(with_the_mean_for_the_weight, "x @ weight"),
        summed_over_the_first_axis_alone,
        with_the_rows_in_two_orders,
    )


def test_arguments_that_do_not_fit_are_refused() -> None:
    _, kept = dense.forward(LAYER, X)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(2, 2\) .* got \(3, 2\)"):
        dense.forward(LAYER, X[:, :2])
    with pytest.raises(ValueError, match=r"params.bias must have shape \(2,\) .* got \(3,\)"):
        dense.forward(LAYER._replace(bias=np.ones(3)), X)
    with pytest.raises(TypeError, match=r"params.weight must be float32 like x, got float64"):
        dense.forward(LAYER, X.astype(np.float32))
    with pytest.raises(ValueError, match=r"params.weight must have at least 2 axes"):
        dense.forward(LAYER._replace(weight=np.ones(3)), X)
    with pytest.raises(ValueError, match=r"params.weight must have shape \(3, 5\) .*\(3, 2, 5\)"):
        dense.forward(LAYER._replace(weight=np.ones((3, 2, 5))), X)
    with pytest.raises(TypeError, match="x must be a NumPy array, got list"):
        dense.forward(LAYER, [1.0, 2.0, 3.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x must have at least 1 axis"):
        dense.forward(LAYER, np.ones(()))
    with pytest.raises(ValueError, match=r"d_out must have shape \(2, 2\) to fit out, got \(2,\)"):
        dense.backward(LAYER, kept, np.ones(2))
