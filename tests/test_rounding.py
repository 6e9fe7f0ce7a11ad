"""The error bounds are sound for XLA and NumPy in both precisions, on losses of many kinds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.losses import LOSSES, Draw, Loss, Shape, rounded
from benchmarks.soundness import DTYPES, Witnesses
from reference.comparison import Verdict
from tests.strategies import seeds

shapes = st.builds(Shape, *[st.integers(1, 8)] * 4)
FEWER = settings(max_examples=max(1, settings().max_examples // 15))  # shapes for each loss


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@given(shape=shapes, data=st.data())
@FEWER
def test_no_right_implementation_is_outside_of_the_bounds(
    loss: Loss, shape: Shape, data: st.DataObject, draws: int
) -> None:
    """XLA, NumPy with sums in any order and, for our network, by hand: several draws a shape."""
    witnesses = Witnesses(loss, *loss.arguments(Draw(np.random.default_rng(0)), shape))
    for draw in range(4 * draws):
        dtype = DTYPES[draw % 2]
        rng = np.random.default_rng(data.draw(seeds))
        args = rounded(loss.arguments(Draw(rng), shape), dtype)
        for name, comparison in witnesses.compare(args, dtype, rng).items():
            allowed = {Verdict.MATCH, *([Verdict.AMBIGUOUS] if comparison.open_kinks else [])}
            assert comparison.verdict in allowed, (name, comparison)
