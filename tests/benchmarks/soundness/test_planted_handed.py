"""An operation does wrongly with what it is handed what each mistake says.

Axes: N rows of H pairs of D features.
"""

from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.soundness.planted_handed import two_of_one
from benchmarks.soundness.planted_operations import WRONG
from benchmarks.soundness.planting import Plant, Tape
from reference.arrays import Array

N, H, D = 2, 3, 2
x = np.array([[1.0, -2.0, 3.0, -4.0, 5.0, 6.0], [-1.0, 2.0, -3.0, 4.0, -5.0, -6.0]])
t = np.arange(12.0).reshape(N, H * D) - 5
bias = np.zeros(H * D)


def loss(x: Any, bias: Any) -> Any:
    heads = (x + bias[None, :]).reshape(N, H, D)
    return (jax.nn.relu(heads).reshape(N, H * D) * t).sum()


TAPE = Tape(loss, (x, bias), (0, 1))
MASK = x > 0


def of_the_other(array: Array) -> Array:
    """Take features (D, H) for (H, D)."""
    return array.reshape(N, D, H).swapaxes(1, 2).reshape(N, H * D)


def back(array: Array) -> Array:
    return array.reshape(N, H, D).swapaxes(1, 2).reshape(N, H * D)


@pytest.mark.parametrize(
    ("kind", "d_x"),
    [
        ("forgotten_upstream", MASK * 1.0),
        ("applied_to_upstream", np.maximum(t, 0)),
        ("split_in_another_order", back(t * MASK)),
        ("joined_in_another_order", of_the_other(t) * MASK),
    ],
)
def test_each_mistake_is_what_it_says(kind: str, d_x: Array) -> None:
    edge = next(edge for edge in TAPE.edges() if WRONG[kind].fits(edge))
    got = TAPE.gradient([Plant(edge.path, edge.operand, kind)])
    np.testing.assert_array_equal(got[0], d_x)
    np.testing.assert_array_equal(got[1], d_x.sum(0))


def test_a_sum_over_rows_may_be_one_over_everything() -> None:
    (edge,) = (edge for edge in TAPE.edges() if WRONG["summed_over_all"].fits(edge))
    got = TAPE.gradient([Plant(edge.path, edge.operand, "summed_over_all")])
    np.testing.assert_array_equal(got[0], t * MASK)
    np.testing.assert_array_equal(got[1], np.full(H * D, (t * MASK).sum()))


def test_two_axes_are_one_in_another_shape() -> None:
    assert two_of_one((4, 6), (4, 3, 2)) == 1
    assert two_of_one((6, 4), (3, 2, 4)) == 0
    assert two_of_one((4, 6), (4, 1, 6)) is None
    assert two_of_one((4, 6), (2, 2, 2, 3)) is None


@pytest.mark.parametrize(("other", "is_activation"), [(0.0, True), (1.0, False), (x, False)])
def test_a_maximum_is_an_activation_beside_0(other: Any, is_activation: bool) -> None:
    tape = Tape(lambda x: (jax.numpy.maximum(x, other) * t).sum(), (x,), (0,))
    assert any(map(WRONG["forgotten_upstream"].fits, tape.edges())) == is_activation
