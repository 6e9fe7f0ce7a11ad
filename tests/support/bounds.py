"""The bounds of the loss and the gradient, for results that are compared with one another."""

from typing import Any

import jax
import numpy.typing as npt

import reference
from manual_nn.arrays import Array
from manual_nn.layers.dense import Params
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.tracing import Traced
from tests.support.strategies import Network


def loss_and_grad_by_jax(
    params: Params, X: Array, y: Array, weight_decay: float
) -> tuple[Any, Params]:
    """Take weight_decay by position, as a traced argument."""
    return reference.loss_and_grad(params, X, y, weight_decay=weight_decay)


def bounded_leaves(traced: Traced, args: tuple[Any, ...], dtype: npt.DTypeLike) -> list[Bounded]:
    """List the leaves of a traced function of these, with open kinks left open."""
    bounded = traced.bounded(*args, rounding=Rounding(dtype, kinks="open"))
    return jax.tree.leaves(bounded, is_leaf=lambda leaf: isinstance(leaf, Bounded))


def bounds_of(network: Network, dtype: npt.DTypeLike) -> list[Array]:
    """List the bounds of the loss and of each array of the gradient."""
    traced = Traced(loss_and_grad_by_jax, *network)
    return [bound for _, bound in bounded_leaves(traced, network, dtype)]
