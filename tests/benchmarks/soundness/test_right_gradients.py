"""The error bounds hold for XLA and NumPy in both precisions, on losses of many kinds."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.soundness.losses import (
    LOSSES,
    Draw,
    Loss,
    Shape,
    absolute,
    logistic,
    rounded,
    sigmoid,
)
from benchmarks.soundness.right_gradients import Witnesses
from benchmarks.soundness.subjects import of_loss
from benchmarks.soundness.tally import DTYPES
from reference.compare import Comparer, Verdict
from tests.conftest import depth
from tests.support.strategies import seeds

shapes = st.builds(Shape, *[st.integers(1, 8)] * 4)
FEWER = settings(max_examples=2 * depth().compilations // 3)  # shapes for each loss


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@given(shape=shapes, data=st.data())
@FEWER
def test_no_right_implementation_is_outside_of_the_bounds(
    loss: Loss, shape: Shape, data: st.DataObject, draws: int
) -> None:
    """XLA, NumPy with sums in any order, and gradients by hand: several draws a shape."""
    subject = of_loss(loss, shape)
    witnesses = Witnesses(subject, *subject.draw(np.random.default_rng(0)), measured=False)
    for draw in range(4 * draws):
        dtype = DTYPES[draw % 2]
        rng = np.random.default_rng(data.draw(seeds))
        args = rounded(loss.arguments(Draw(rng), shape), dtype)
        right = witnesses.right(args, dtype, rng)
        for name, comparison in witnesses.compare(right, args, dtype).items():
            allowed = {Verdict.MATCH, *([Verdict.AMBIGUOUS] if comparison.open_kinks else [])}
            assert comparison.verdict in allowed, (name, comparison)


def test_every_loss_has_a_gradient_by_hand() -> None:
    assert all(loss.by_hand for loss in LOSSES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_difference_that_has_cancelled_is_not_the_gradient(dtype: str) -> None:
    """sigmoid(z) - 1 is 0 where sigmoid(z) rounds to 1, and the derivative is not."""
    one = np.ones((1, 1), dtype)
    comparer = Comparer(jax.grad(logistic), one, one, one)
    assert comparer(sigmoid(one) - 1, one, one, one).verdict == Verdict.MATCH
    X = -np.log(np.finfo(dtype).eps / 4 * one)
    assert sigmoid(X) == 1
    assert comparer((sigmoid(X) - 1) * X, one, X, one).verdict == Verdict.MISMATCH
    assert comparer(-sigmoid(-X) * X, one, X, one).verdict == Verdict.MATCH


@pytest.mark.parametrize("dtype", DTYPES)
def test_at_an_exact_kink_the_derivative_is_as_in_jax(dtype: str) -> None:
    """That of |x| is 1 at 0 there, and the sign is 0; both are subgradients."""
    zero, one = np.zeros((1, 1), dtype), np.ones((1, 1), dtype)
    comparer = Comparer(jax.grad(absolute, 1), zero, zero, zero)
    for y, verdict in ((zero, Verdict.MISMATCH), (one, Verdict.MATCH)):
        W, X = one, zero
        assert comparer(np.sign(X @ W - y), W, X, y).verdict == verdict
    assert comparer(one, one, zero, zero).verdict == Verdict.MATCH
