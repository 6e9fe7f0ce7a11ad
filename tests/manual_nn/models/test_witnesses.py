"""Two more witnesses, independent of JAX's derivatives: row by row, and finite differences.

Axes: N rows in the batch, D inputs, K classes, L layers.
"""

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
import reference
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from manual_nn.models import mlp
from reference.bounds.tracing import Traced
from tests.support.bounds import bounded_leaves, loss_and_grad_by_jax
from tests.support.strategies import Network, Shape, dtypes, make_network, networks, seeds, shapes


@given(shape=shapes, dtype=dtypes, data=st.data())
def test_the_batch_agrees_with_the_sum_over_its_rows(
    shape: Shape, dtype: type[np.floating], data: st.DataObject, draws: int
) -> None:
    """Both are within the bound of the exact gradient, so within twice the bound of each other."""
    traced = Traced(loss_and_grad_by_jax, *make_network(shape, np.float64, seed=0))
    for _ in range(draws):
        params, X, y, weight_decay = network = data.draw(networks(shape, dtype))
        batch = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)
        rowwise = manual_nn.rowwise.loss_and_grad(params, X, y, weight_decay=weight_decay)
        for one, other, (_, bound) in zip(
            jax.tree.leaves(batch),
            jax.tree.leaves(rowwise),
            bounded_leaves(traced, network, dtype),
            strict=True,
        ):
            assert one.dtype == other.dtype == dtype
            assert one.shape == other.shape
            assert (abs(one.astype(np.float64) - other) <= 2 * bound).all()


STEP = 2.0**-17  # near the cube root of the unit roundoff, where the errors below are alike
UNIT_ROUNDOFF = 2.0**-53


@given(shape=shapes, seed=seeds, weight_decay=st.sampled_from([0.0, 0.1]))
def test_gradients_agree_with_central_differences(
    shape: Shape, seed: int, weight_decay: float
) -> None:
    """Compare (L(x + h) - L(x - h)) / 2h with the derivative at x; the bound is derived below."""
    network = make_network(shape, np.float64, seed=seed, weight_decay=weight_decay)
    values = Traced(loss_and_logits, *network)
    batch, rowwise = (
        [*jax.tree.leaves(gradient(*network[:3], weight_decay=weight_decay)[1])]
        for gradient in (manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad)
    )
    batch.append(manual_nn.input_grad(*network[:3], weight_decay=weight_decay))
    traced_gradient = Traced(gradient_and_input_grad, *network)
    bounds = [bound for _, bound in bounded_leaves(traced_gradient, network, np.float64)]
    rng = np.random.default_rng(seed)
    for place, leaf in enumerate([*jax.tree.leaves(network.params), network.X]):
        index = tuple(int(rng.integers(size)) for size in leaf.shape)
        above, below = (moved(network, place, index, step) for step in (STEP, -STEP))
        if same_side_of_every_kink(above, below):
            quotient, tolerance = central_difference(values, above, below, place, index)
            for gradient in (batch, rowwise)[: 2 if place < len(rowwise) else 1]:
                error = abs(gradient[place][index] - quotient)
                assert error <= tolerance + bounds[place][index], (place, index)


def central_difference(
    values: Traced, above: Network, below: Network, place: int, index: tuple[int, ...]
) -> tuple[float, float]:
    """Compute the quotient, and how far it may be from the derivative in the middle.

    Along one parameter or input x, while no ReLU changes sides, the logits are affine in x: row n's
    are z_n + t s_n. There L is the mean over n of ln sum_k exp(z_nk + t s_nk), less a part that is
    affine in t, plus a quadratic. The mean's second and third derivatives in t are the second and
    third central moments of s_nk under the probabilities p_nk, which for values in a range of width
    R_n = max_k s_nk - min_k s_nk are at most R_n^2 / 4 and R_n^3 / (6 sqrt 3). What remains:

    - by Taylor's theorem, h^2 / 6 * mean_n R_n^3 / (6 sqrt 3);
    - the rounding of L, within its bound at both ends, over 2h;
    - the rounding of x + h and x - h, by which the middle is off x by up to u |x|, times the second
      derivative, at most mean_n R_n^2 / 4 + 2 weight_decay;
    - the rounding of the three operations of the quotient.
    """
    x_above, x_below = (leaves_of(end)[place][index] for end in (above, below))
    width = x_above - x_below
    (z_above, e_above), (loss_above, r_above) = bounded_leaves(values, above, np.float64)
    (z_below, e_below), (loss_below, r_below) = bounded_leaves(values, below, np.float64)
    spread = np.ptp((z_above - z_below) / width, axis=1)  # (N,)
    spread += 2 * (e_above + e_below).max(axis=1) / width  # R_n, at most
    quotient = (loss_above - loss_below) / width
    taylor = (width / 2) ** 2 / 6 * np.mean(spread**3) / (6 * np.sqrt(3))
    rounding = (r_above + r_below) / width + 3 * UNIT_ROUNDOFF * abs(quotient)
    middle = UNIT_ROUNDOFF * abs(x_above) * (np.mean(spread**2) / 4 + 2 * above.weight_decay)
    return float(quotient), float(taylor + rounding + middle)


def loss_and_logits(params: Params, X: Array, y: Array, weight_decay: float) -> object:
    """Compute the loss from its definition, and the logits."""
    return {
        "logits": reference.logits(params, X),
        "loss": reference.loss(params, X, y, weight_decay=weight_decay),
    }


def gradient_and_input_grad(params: Params, X: Array, y: Array, weight_decay: float) -> object:
    """Compute the gradient in the parameters and in the inputs."""
    _, gradient = reference.loss_and_grad(params, X, y, weight_decay=weight_decay)
    return gradient, reference.input_grad(params, X, y, weight_decay=weight_decay)


def leaves_of(network: Network) -> list[Array]:
    """List the arrays that a derivative is taken in: weights, biases, inputs."""
    return [*jax.tree.leaves(network.params), network.X]


def moved(network: Network, place: int, index: tuple[int, ...], step: float) -> Network:
    """Copy a network with one number of one of its arrays moved by the step."""
    leaves = [leaf.copy() for leaf in leaves_of(network)]
    leaves[place][index] += step
    params = jax.tree.unflatten(jax.tree.structure(network.params), leaves[:-1])
    return network._replace(params=params, X=leaves[-1])


def same_side_of_every_kink(one: Network, other: Network) -> bool:
    """Say whether every ReLU is on the same side in both: then it is everywhere between them."""
    signs = [
        [activation > 0 for activation in mlp.forward(network.params, network.X)[1][1:]]
        for network in (one, other)
    ]
    return all(map(np.array_equal, *signs))
