"""The test of the tests: a comparison that is handed a derivative with a fault in it fails."""

import functools
import itertools

import numpy as np
import pytest

import manual_nn
from reference.campaign.agreement import directed_by_jax
from reference.compare import Comparer, Place, Verdict, worst_verdict
from tests.conftest import depth, part_for
from tests.support.derivative_faults import FAULTS, derivatives_with
from tests.support.strategies import DirectedNetwork, Shape, make_directed_network

SHAPE = Shape((4, 5, 5, 3), 6, soft=False)
NETWORKS = range(depth().seeds)


@functools.cache
def comparer() -> Comparer:
    return Comparer(directed_by_jax, *make_directed_network(SHAPE, np.float64, seed=0))


@functools.cache
def place(seed: int, dtype: str) -> Place:
    """Compute what all faults are compared with once."""
    return comparer().at(*network_for(seed, np.dtype(dtype).type), dtype=dtype)


def network_for(seed: int, dtype: type[np.floating]) -> DirectedNetwork:
    """Make a network with a decay, with raised biases, so that most units let something through.

    Half of the rows' gradients are longer than max_norm.
    """
    network = make_directed_network(SHAPE, dtype, seed=seed, weight_decay=0.01)
    for _, bias in network.params:
        bias += 0.5
    norms = manual_nn.per_example_grad_norms(network.params, network.X, network.y)
    return network._replace(max_norm=float(np.median(norms)))


def verdicts(fault: str, seed: int, dtype: type[np.floating]) -> dict[str, Verdict]:
    derivatives = derivatives_with(fault, *network_for(seed, dtype))
    comparison = place(seed, np.dtype(dtype).name)(derivatives)
    return {name: worst_verdict(leaves) for name, leaves in comparison.by_key().items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fault_is_a_mismatch_of_what_it_makes_wrong_and_of_nothing_else(
    dtype: type[np.floating],
) -> None:
    for fault, seed in itertools.product(part_for(dtype, list(FAULTS)), NETWORKS):
        found = verdicts(fault, seed, dtype)
        wrong = {name for name in found if found[name] == Verdict.MISMATCH}
        assert wrong == FAULTS[fault], (fault, seed)
        assert set(found.values()) == {Verdict.MATCH, Verdict.MISMATCH}, (fault, seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_derivatives_without_a_fault_are_a_match(dtype: type[np.floating]) -> None:
    for seed in range(5 * depth().seeds):
        found = verdicts("", seed, dtype)
        assert set(found.values()) == {Verdict.MATCH}, seed


def test_every_derivative_has_faults() -> None:
    network = network_for(0, np.float64)
    quantities = set(derivatives_with("", *network)) - {"jvp, loss"}  # `loss`, with its own faults
    assert set.union(*FAULTS.values()) == quantities
