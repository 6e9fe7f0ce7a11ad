"""What must hold of any right gradient, whatever computes it.

Axes: N rows in the batch, K classes.
"""

import jax
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
from manual_nn.arrays import Array
from tests.support.bounds import bounds_of
from tests.support.strategies import Network, Shape, dtypes, networks, shapes


def integers(rng: np.random.Generator, *shape: int, dtype: npt.DTypeLike) -> Array:
    """Draw small integers, with which sums and products are exact."""
    return rng.integers(-4, 5, size=shape).astype(dtype)


@given(shape=shapes, dtype=dtypes, data=st.data())
def test_permuting_or_doubling_the_batch_changes_nothing_in_the_mean(
    shape: Shape, dtype: type[np.floating], data: st.DataObject
) -> None:
    """Equal but for the order of additions: each is within its own bound of the exact value."""
    network = data.draw(networks(shape, dtype))
    order = np.array(data.draw(st.permutations(range(shape.N))))
    bounds = bounds_of(network, dtype)
    for rows in (order, np.concatenate([order, order])):
        other = network._replace(X=network.X[rows], y=network.y[rows])
        for one, two, bound, other_bound in zip(
            gradient_leaves(network),
            gradient_leaves(other),
            bounds,
            bounds_of(other, dtype),
            strict=True,
        ):
            assert (abs(one.astype(np.float64) - two) <= bound + other_bound).all()


def gradient_leaves(network: Network) -> list[Array]:
    """List the loss and the arrays of its gradient."""
    params, X, y, weight_decay = network
    return jax.tree.leaves(manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay))


@given(
    shape=shapes, dtype=dtypes, data=st.data(), weight_decay=st.sampled_from([2.0**-7, 0.1, 3.0])
)
def test_decay_adds_exactly_its_share_to_weights_and_nothing_to_biases(
    shape: Shape, dtype: type[np.floating], data: st.DataObject, weight_decay: float
) -> None:
    params, X, y, _ = data.draw(networks(shape, dtype))
    _, without = manual_nn.loss_and_grad(params, X, y)
    _, decayed = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
    for (weight, _), (d_weight, d_bias), (d_weight_decayed, d_bias_decayed) in zip(
        params, without, decayed, strict=True
    ):
        np.testing.assert_array_equal(d_weight_decayed, d_weight + 2 * weight_decay * weight)
        np.testing.assert_array_equal(d_bias_decayed, d_bias)


@given(shape=shapes, dtype=dtypes, data=st.data())
def test_the_penalty_has_no_influence_on_the_gradient_in_the_inputs(
    shape: Shape, dtype: type[np.floating], data: st.DataObject
) -> None:
    params, X, y, _ = data.draw(networks(shape, dtype))
    np.testing.assert_array_equal(
        manual_nn.input_grad(params, X, y, weight_decay=3.0), manual_nn.input_grad(params, X, y)
    )


@given(shape=shapes, dtype=dtypes, data=st.data())
def test_class_numbers_and_their_one_hot_rows_give_the_same_bits(
    shape: Shape, dtype: type[np.floating], data: st.DataObject
) -> None:
    params, X, y, weight_decay = data.draw(networks(shape._replace(soft=False), dtype))
    one_hot = np.eye(shape.sizes[-1], dtype=dtype)[y]
    for function in (manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad):
        for one, two in zip(
            jax.tree.leaves(function(params, X, y, weight_decay=weight_decay)),
            jax.tree.leaves(function(params, X, one_hot, weight_decay=weight_decay)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)


@given(shape=shapes, dtype=dtypes, data=st.data())
def test_nothing_is_upcast_modified_or_aliased(
    shape: Shape, dtype: type[np.floating], data: st.DataObject
) -> None:
    params, X, y, weight_decay = data.draw(networks(shape, dtype))
    inputs = [*jax.tree.leaves(params), X, y]
    before = [array.copy() for array in inputs]
    results = [
        manual_nn.logits(params, X),
        manual_nn.predict_proba(params, X),
        manual_nn.loss(params, X, y, weight_decay=weight_decay),
        manual_nn.input_grad(params, X, y, weight_decay=weight_decay),
        *jax.tree.leaves(manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)),
        *jax.tree.leaves(manual_nn.rowwise.loss_and_grad(params, X, y, weight_decay=weight_decay)),
    ]
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for result in results:
        assert result.dtype == dtype
        assert not any(np.shares_memory(result, array) for array in inputs)
