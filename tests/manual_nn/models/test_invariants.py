"""What must hold of any right gradient, whatever computes it.

Axes: N rows in the batch, K classes.
"""

import jax
import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
from manual_nn.models import backprop
from manual_nn.models.backprop import Array
from reference.bounds.tracing import Traced
from reference.compare import Comparer, Verdict
from tests.manual_nn.models.test_witnesses import bounded_leaves, loss_and_grad
from tests.support.strategies import Network, Shape, dtypes, make_network, networks, seeds, shapes


def integers(rng: np.random.Generator, *shape: int, dtype: npt.DTypeLike) -> Array:
    """Draw small integers, with which sums and products are exact."""
    return rng.integers(-4, 5, size=shape).astype(dtype)


@given(seed=seeds, N=st.integers(1, 9), K=st.integers(1, 9), dtype=dtypes, soft=st.booleans())
def test_the_rows_of_d_logits_sum_to_zero(
    seed: int, N: int, K: int, dtype: type[np.floating], soft: bool
) -> None:
    """Compared with JAX's own sum of its rows, which is 0 but for rounding, under its bound."""
    network = make_network(Shape((K, K), N, soft=soft), dtype, seed=seed)
    p, _ = backprop.softmax(network.X)
    target = network.y if soft else np.eye(K, dtype=dtype)[network.y]
    d_logits = backprop.softmax_cross_entropy_backward(p, target, dtype(1 / N))

    def row_sums_by_jax(z: Array, target: Array) -> object:
        def cross_entropy(z: Array) -> jax.Array:
            return -(target * jax.nn.log_softmax(z)).sum() / N

        return jax.grad(cross_entropy)(z).sum(axis=1)

    comparer = Comparer(row_sums_by_jax, network.X, target)
    comparison = comparer(d_logits.sum(axis=1), network.X, target)
    assert comparison.verdict == Verdict.MATCH
    assert (comparison.leaves[0].bound < np.sqrt(np.finfo(dtype).eps)).all()  # half the digits


@given(
    seed=seeds, N=st.integers(1, 9), K=st.integers(1, 9), dtype=dtypes, shift=st.integers(-99, 99)
)
def test_shifting_all_logits_of_a_row_changes_nothing(
    seed: int, N: int, K: int, dtype: type[np.floating], shift: int
) -> None:
    """Bit for bit, because integers are shifted without rounding."""
    z = integers(np.random.default_rng(seed), N, K, dtype=dtype)
    shifts = shift * np.arange(1, N + 1, dtype=dtype)[:, None]
    np.testing.assert_array_equal(backprop.softmax(z + shifts), backprop.softmax(z))


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


def bounds_of(network: Network, dtype: npt.DTypeLike) -> list[Array]:
    """List the bounds of these."""
    traced = Traced(loss_and_grad, *network)
    return [bound for _, bound in bounded_leaves(traced, network, dtype)]


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
