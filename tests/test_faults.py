"""The test of the tests: a comparison that is handed a gradient with a fault in it fails."""

import numpy as np
import pytest

from reference.comparison import Comparer, Verdict
from tests.faults import FAULTS, gradient_with
from tests.strategies import Network, Shape, make_network
from tests.test_witnesses import loss_and_grad

# Square hidden layers, so that a transposed weight and another layer's mask fit; dead units, whose
# pre-activation is exactly 0, so that >= is another mask than >.
SHAPE = Shape((5, 8, 8, 8, 3), 8, soft=False)
COMPARER = Comparer(lambda *args: loss_and_grad(*args)[1], *make_network(SHAPE, np.float64, seed=0))
NETWORKS = range(20)


def network_for(seed: int, dtype: type[np.floating]) -> Network:
    """Make a network with dead units, a decay, and the other units' biases raised by 1.

    Without the latter a layer may let nothing through, and then a fault below it has no effect.
    """
    network = make_network(SHAPE, dtype, seed=seed, trait="dead units", weight_decay=0.01)
    for _, bias in network.params:
        bias[bias != 0] += 1
    return network


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_a_mismatch(fault: str, dtype: type[np.floating]) -> None:
    for seed in NETWORKS:
        network = network_for(seed, dtype)
        comparison = COMPARER(gradient_with(fault, *network), *network)
        assert comparison.verdict == Verdict.MISMATCH, seed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_pass_without_a_fault_is_a_match(dtype: type[np.floating]) -> None:
    for seed in NETWORKS:
        network = network_for(seed, dtype)
        comparison = COMPARER(gradient_with("", *network), *network)
        assert comparison.verdict == Verdict.MATCH, seed
