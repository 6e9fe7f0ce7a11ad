"""Softmax regressions, with the leaves of their right gradient, for the diagnosis of the MLP."""

from typing import Any

import jax
import numpy as np

import manual_nn
import reference
from manual_nn import Dense
from reference import Leaf
from reference.arrays import Array
from tests.support.leaves import leaf_of


def regression(*, soft: bool = False) -> tuple[Any, Array, Array]:
    """Make a softmax regression of ordinary numbers, with a bias."""
    rng = np.random.default_rng(3)
    y: Array = rng.dirichlet(np.ones(2), size=4) if soft else rng.integers(2, size=4)
    return (Dense(rng.normal(size=(3, 2)), rng.normal(size=2)),), rng.normal(size=(4, 3)), y


def ours(params: Any, X: Any, y: Any, weight_decay: Any = 0.0) -> Any:
    return reference.loss(params, X, y, weight_decay=weight_decay)


def wanted(params: Any, X: Any, y: Any, weight_decay: float = 0.0) -> list[Leaf]:
    """Make the leaves of a right gradient, which no bound is needed for here."""
    gradient = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)[1]
    return [leaf_of(leaf, leaf) for leaf in jax.tree.leaves(gradient)]
