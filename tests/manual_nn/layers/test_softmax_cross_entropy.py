"""The softmax and its cross-entropy: values, invariants, and arguments that stay as they are.

Axes: N rows, K classes.
"""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_nn.arrays import Array
from manual_nn.layers import softmax_cross_entropy
from manual_nn.layers.softmax_cross_entropy import (
    backward,
    cross_entropy,
    forward,
    log_softmax,
    softmax,
)
from reference.compare import Comparer, Verdict
from reference.layers import softmax_cross_entropy as twin
from tests.support.layer_proof import FEW, Subject, prove, refute
from tests.support.strategies import Shape, dtypes, make_network, seeds


def integers(rng: np.random.Generator, *shape: int, dtype: npt.DTypeLike) -> Array:
    """Draw small integers, which are exact, and whose sums are."""
    return rng.integers(-4, 5, size=shape).astype(dtype)


@given(seed=seeds, N=st.integers(1, 9), K=st.integers(1, 9), dtype=dtypes, soft=st.booleans())
def test_the_rows_of_d_logits_sum_to_zero(
    seed: int, N: int, K: int, dtype: type[np.floating], soft: bool
) -> None:
    """Compared with JAX's own sum of its rows, which is 0 but for rounding, under its bound."""
    network = make_network(Shape((K, K), N, soft=soft), dtype, seed=seed)
    target = network.y if soft else np.eye(K, dtype=dtype)[network.y]
    _, kept = forward((), network.X, target=target, row_weight=dtype(1 / N))
    _, d_logits = backward((), kept)

    def row_sums_by_jax(z: Array, target: Array) -> object:
        def cross_entropy(z: Array) -> jax.Array:
            return -(target * jax.nn.log_softmax(z)).sum() / N

        return jax.grad(cross_entropy)(z).sum(axis=1)

    comparer = Comparer(row_sums_by_jax, network.X, target)
    comparison = comparer(d_logits.sum(axis=1), network.X, target)
    assert comparison.verdict == Verdict.MATCH
    assert (comparison.leaves[0].bound < np.sqrt(np.finfo(dtype).eps)).all()  # half the digits


@given(
    seed=seeds, N=st.integers(1, 9), K=st.integers(1, 9), dtype=dtypes, shift=st.integers(-99, 99)
)
def test_shifting_all_logits_of_a_row_changes_nothing(
    seed: int, N: int, K: int, dtype: type[np.floating], shift: int
) -> None:
    """Bit for bit, because integers are shifted without rounding."""
    z = integers(np.random.default_rng(seed), N, K, dtype=dtype)
    shifts = shift * np.arange(1, N + 1, dtype=dtype)[:, None]
    for function in (softmax, log_softmax):
        np.testing.assert_array_equal(function(z + shifts), function(z))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, -7.0, 1e30])
def test_equal_logits_are_equally_likely(dtype: type[np.floating], value: float) -> None:
    log_p = log_softmax(np.full((3, 4), value, dtype))
    np.testing.assert_array_equal(log_p, np.full((3, 4), -np.log(dtype(4))))


@given(
    seed=seeds,
    N=st.integers(1, 9),
    K=st.integers(1, 9),
    dtype=dtypes,
    scale=st.sampled_from([1, 30, 1e4]),
)
def test_one_pass_for_both_gives_the_bits_of_two(
    seed: int, N: int, K: int, dtype: type[np.floating], scale: float
) -> None:
    rng = np.random.default_rng(seed)
    z = (scale * rng.normal(size=(N, K))).astype(dtype)
    target = rng.dirichlet(np.ones(K), size=N).astype(dtype)
    row_weight = rng.dirichlet(np.ones(N)).astype(dtype)[:, None]
    loss, kept = forward((), z, target=target, row_weight=row_weight)
    np.testing.assert_array_equal(loss, cross_entropy(log_softmax(z), target, row_weight))
    np.testing.assert_array_equal(kept.p, softmax(z))
    assert kept.target is target
    assert kept.row_weight is row_weight


def test_the_passes_leave_their_arguments_alone() -> None:
    z, target, row_weight = np.array([[0.0, 4096.0]]), np.array([[0.5, 0.5]]), np.float64(0.5)
    loss, kept = forward((), z, target=target, row_weight=row_weight)
    assert loss == 1024
    _, d_logits = backward((), kept)
    np.testing.assert_array_equal(d_logits, [[-0.25, 0.25]])
    for d_out in (-2.0, 0.0, 2.0):
        np.testing.assert_array_equal(backward((), kept, d_out)[1], d_out * d_logits)
    np.testing.assert_array_equal(softmax(z), [[0, 1]])
    np.testing.assert_array_equal(log_softmax(z), [[-4096, 0]])
    log_p = np.array([[-4096.0, 0.0]])
    assert cross_entropy(log_p, target, row_weight) == 1024
    np.testing.assert_array_equal(log_p, [[-4096, 0]])
    np.testing.assert_array_equal(z, [[0, 4096]])
    np.testing.assert_array_equal(kept.p, [[0, 1]])
    np.testing.assert_array_equal(target, [[0.5, 0.5]])


def subject_of(N: int, K: int, seed: int) -> Subject:
    """Make logits against class numbers, as probabilities; every row has the weight 1/N."""
    classes = np.random.default_rng(seed).integers(K, size=N)
    options = {"target": np.eye(K)[classes], "row_weight": 1 / N}
    return Subject(lambda draw, _: ((), draw(N, K)), options)


def mean_by_jax(params: Any, x: Any, *, target: Any, row_weight: float) -> Any:
    """Take the mean as the twin does, which needs no weights for that."""
    assert row_weight == 1 / len(target)
    return twin.forward(params, x, target=target)


MEAN_BY_JAX: Any = SimpleNamespace(forward=mean_by_jax)


@given(N=st.integers(1, 6), K=st.integers(1, 6), seed=seeds)
@FEW
def test_values_and_gradients_agree_with_jax(N: int, K: int, seed: int) -> None:
    prove(softmax_cross_entropy, MEAN_BY_JAX, subject_of(N, K, seed), seed)


def without_the_mean(params: tuple[()], kept: Any, d_out: Any) -> Any:  # noqa: ARG001
    return (), (kept.p - kept.target) * d_out


def with_the_diagonal_of_the_jacobian(params: tuple[()], kept: Any, d_out: Any) -> Any:  # noqa: ARG001
    return (), kept.target * (kept.p - 1) * kept.row_weight * d_out


def test_the_mistakes_that_people_make_are_seen() -> None:
    refute(
        softmax_cross_entropy,
        MEAN_BY_JAX,
        subject_of(4, 5, 0),
        without_the_mean,
        with_the_diagonal_of_the_jacobian,
    )


def test_the_twin_takes_class_numbers_for_probabilities_and_weighs_the_rows() -> None:
    """Of two rows and three classes one is certain of another class, and counts three times."""
    x = np.array([[0.0, 0.0, 0.0], [-1e3, 0.0, -1e3]])
    of_rows = np.log(3), 1e3
    for target in (np.array([1, 2]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])):
        for weights, loss in (
            (None, sum(of_rows) / 2),
            (np.array([1.0, 3.0]), np.log(3) / 4 + 750),
        ):
            value = twin.forward((), x, target=target, sample_weight=weights)
            assert value == pytest.approx(loss, rel=1e-6)  # of float32
