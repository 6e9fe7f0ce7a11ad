"""The handwritten network against JAX on random shapes: everything public, every element."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import manual_nn
from manual_nn.training.evaluation import evaluate
from reference.campaign.quantities import gradient_by_hand, gradient_by_jax
from reference.compare import Comparer, Verdict
from tests.conftest import Tally, depth
from tests.support.strategies import TRAITS, Network, Shape, make_network, networks, shapes

DTYPES = (np.float32, np.float64)


def gradients_by_hand(network: Network) -> dict[str, dict[str, Any]]:
    """Compute everything by hand: with NumPy's pass, and with the compiled one in its place."""
    by_numpy = gradient_by_hand(*network)
    params, X, y, weight_decay = network
    workspace = manual_nn.Workspace(params, len(X), backend="numba")
    value, gradient = manual_nn.loss_and_grad(
        params, X, y, weight_decay=weight_decay, workspace=workspace
    )
    d_weights, d_biases = zip(*gradient, strict=True)
    loss, _ = evaluate(params, X, y, weight_decay=weight_decay, backend="numba")
    compiled = {
        "loss": params[0].weight.dtype.type(loss),
        "loss_and_grad, loss": value,
        "loss_and_grad, weights": d_weights,
        "loss_and_grad, biases": d_biases,
    }
    assert compiled.keys() <= by_numpy.keys()
    return {"numpy": by_numpy, "numba": by_numpy | compiled}


@given(shape=shapes, data=st.data())
def test_everything_agrees_with_jax(
    shape: Shape, data: st.DataObject, draws: int, tally: Tally
) -> None:
    comparer = Comparer(gradient_by_jax, *make_network(shape, np.float64, seed=0))
    tally.shapes += 1
    for draw in range(draws):
        dtype = DTYPES[draw % 2]
        network = data.draw(networks(shape, dtype))
        for backend, got in gradients_by_hand(network).items():
            comparison = comparer(got, *network, dtype=dtype)
            tally.add(comparison)
            allowed = (
                {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
            )
            assert comparison.verdict in allowed, (backend, comparison)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(Shape((1, 1), 1, soft=False), id="smallest"),
        pytest.param(Shape((3, 1), 4, soft=True), id="one class, softmax regression"),
        pytest.param(Shape((3, 4, 1), 4, soft=False), id="one class"),
        pytest.param(Shape((2, 3, 2), 1, soft=True), id="one row"),
        pytest.param(Shape((1, 1, 1, 1, 2), 2, soft=False), id="widths of one"),
        pytest.param(Shape((30, 20, 10), 40, soft=False), id="larger"),
    ],
)
def test_every_trap_agrees_with_jax(shape: Shape) -> None:
    comparer = Comparer(gradient_by_jax, *make_network(shape, np.float64, seed=0))
    for (seed, trait), dtype in itertools.product(enumerate(TRAITS), DTYPES):
        network = make_network(shape, dtype, seed=seed, trait=trait, weight_decay=0.1)
        for backend, got in gradients_by_hand(network).items():
            comparison = comparer(got, *network, dtype=dtype, compiled=depth().compiled)
            allowed = (
                {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
            )
            assert comparison.verdict in allowed, (backend, trait, dtype, comparison)
