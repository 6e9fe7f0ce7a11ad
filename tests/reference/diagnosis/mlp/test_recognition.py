"""The MLP is recognised by its arguments and its gradient, with its weight decay."""

from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

from manual_nn import Dense
from reference.arrays import Array
from reference.diagnosis.difference import Difference
from reference.diagnosis.mlp import recognise
from reference.diagnosis.mlp.passes import RIGHT
from reference.diagnosis.mlp.recognition import like_ours, recognised_weight_decay
from tests.support.cases import each
from tests.support.leaves import leaf_of
from tests.support.regressions import ours, regression, wanted

UNIT_ROUNDOFF = 2.0**-51  # of float64, once for each of the two that are compared and beside each


W, B = np.zeros((3, 2)), np.zeros(2)
CLASSES, SOFT = np.array([0, 1, 1, 0]), np.full((4, 2), 0.5)


@pytest.mark.parametrize("y", [CLASSES, CLASSES.astype(np.uint8), SOFT, SOFT.astype(np.float32)])
@pytest.mark.parametrize("rest", [(), (0.5,)])
def test_layers_that_chain_with_data_and_targets_are_like_ours(y: Array, rest: Any) -> None:
    X = np.zeros((4, 3))
    assert like_ours(([(W, B)], X, y, *rest))
    assert like_ours((((W, B), [np.zeros((2, 2)), B]), X, y, *rest))


@each(
    "args",
    [
        ([(W, B)], np.zeros((4, 2)), CLASSES),  # another width
        ([(W, B), (W, B)], np.zeros((4, 3)), CLASSES),
        ([(W, np.zeros(3))], np.zeros((4, 3)), CLASSES),
        ([(W, np.zeros((2, 1)))], np.zeros((4, 3)), CLASSES),
        ([(W, B)], np.zeros((4, 3)), CLASSES[:3]),
        ([(W, B)], np.zeros((4, 3)), CLASSES.astype(float)),  # no classes
        ([(W, B)], np.zeros((4, 3)), SOFT.astype(int)),  # no probabilities
        ([(W, B)], np.zeros((4, 3)), SOFT[:, :1]),
        ([(W, B)], np.zeros((4, 3)), CLASSES.astype(bool)),
        ([], np.zeros((4, 2)), SOFT),
        ([(W,)], np.zeros((4, 3)), CLASSES),
        ([(W, B)], np.zeros(4), CLASSES),
        ([(W, B)], np.zeros((4, 3))),
        (1.0, np.zeros((4, 3)), CLASSES),
        ([([[0.0, 0.0]], [0.0, 0.0])], np.zeros((4, 1)), CLASSES),  # lists, of numbers
        ([(W, B)], [[0.0, 0.0, 0.0]], CLASSES[:1]),
    ],
)
def test_other_arguments_are_not(args: Any) -> None:
    assert not like_ours(args)


@pytest.mark.parametrize("weight_decay", [0.25, 2.0, 1e-20])
def test_a_decay_among_the_arguments_is_recognised_as_that_number(weight_decay: float) -> None:
    """Of those that are possible the first, which for a tiny one is 0, too."""
    args = (*regression(), weight_decay)
    found = recognised_weight_decay(Difference(wanted(*args), ours, args, 0))
    assert found is not None
    assert (float(found.value), float(found.error)) == (weight_decay, 0)


@pytest.mark.parametrize("argnums", [0, (0,), [0], 1, (1,), [1], -1, (0, 1)])
def test_a_network_is_one_of_parameters(argnums: Any) -> None:
    args = (*regression(soft=True), 0.25)
    found = recognise(Difference(wanted(*args), ours, args, argnums))
    assert (found is not None) == (argnums in (0, (0,), [0]))


def test_a_decay_within_the_loss_is_known_to_the_error_of_the_gradient() -> None:
    args = regression()

    def decayed(params: Any, X: Any, y: Any) -> Any:
        return ours(params, X, y, 0.25)

    found = recognised_weight_decay(Difference(wanted(*args, 0.25), decayed, args, 0))
    assert found is not None
    assert abs(found.value - 0.25) <= found.error < 2.0**-40
    assert found.error > 0
    none = recognised_weight_decay(Difference(wanted(*args), ours, args, 0))
    assert none is not None
    assert (float(none.value), float(none.error)) == (0, 0)


def test_a_negative_decay_is_not_ours() -> None:
    args = regression()

    def raised(params: Any, X: Any, y: Any) -> Any:
        return ours(params, X, y, -0.125)

    leaves = [leaf_of(leaf, leaf) for leaf in jax.tree.leaves(RIGHT(*args, -0.125))]
    assert recognised_weight_decay(Difference(leaves, raised, args, 0)) is None


def test_a_loss_of_operations_without_a_bound_is_not_ours() -> None:
    args = regression()

    def gamma(params: Any, X: Any, y: Any) -> Any:
        return ours(params, X, y) + jax.lax.lgamma(params[0].bias).sum()

    assert recognised_weight_decay(Difference(wanted(*args), gamma, args, 0)) is None


def flat_regression(param: npt.ArrayLike) -> tuple[Any, Array, Array]:
    """Make one whose data is 0, so that the gradient of the weights is that of the penalty."""
    return (Dense(np.asarray(param, float), np.zeros(2)),), np.zeros((2, 1)), np.array([0, 1])


def test_without_data_and_decay_the_decay_is_0_and_nothing_else() -> None:
    args = flat_regression([[4, 4]])
    found = recognised_weight_decay(Difference(wanted(*args), ours, args, 0))
    assert found is not None
    assert (float(found.value), float(found.error)) == (0, 0)


def test_a_decay_may_be_off_by_four_roundings_at_each_weight_and_no_more() -> None:
    """Of the product 2 d W and of its addition, twice each: gamma_4; eq. (R1)."""
    args = flat_regression([[4, 4]])
    bias = wanted(*args)[1]
    for part, recognised in ((0.75, True), (1.25, False)):
        gradient = 2.0 * np.array([[1, 1 + part * 2 * 4 * UNIT_ROUNDOFF]])
        found = recognised_weight_decay(
            Difference([leaf_of(gradient, gradient), bias], ours, args, 0)
        )
        assert (found is not None) == recognised
