"""The handwritten network against JAX on random shapes: everything public, every element."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.campaign.quantities import gradient_by_hand, gradient_by_jax
from reference.compare import Comparer, Verdict
from tests.conftest import Tally, depth
from tests.support.strategies import TRAITS, Shape, make_network, networks, shapes

DTYPES = (np.float32, np.float64)


@given(shape=shapes, data=st.data())
def test_everything_agrees_with_jax(
    shape: Shape, data: st.DataObject, draws: int, tally: Tally
) -> None:
    comparer = Comparer(gradient_by_jax, *make_network(shape, np.float64, seed=0))
    tally.shapes += 1
    for draw in range(draws):
        dtype = DTYPES[draw % 2]
        network = data.draw(networks(shape, dtype))
        comparison = comparer(gradient_by_hand(*network), *network, dtype=dtype)
        tally.add(comparison)
        allowed = {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
        assert comparison.verdict in allowed, comparison


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
        got = gradient_by_hand(*network)
        comparison = comparer(got, *network, dtype=dtype, compiled=depth().compiled)
        allowed = {Verdict.MATCH, Verdict.AMBIGUOUS} if comparison.open_kinks else {Verdict.MATCH}
        assert comparison.verdict in allowed, (trait, dtype, comparison)
