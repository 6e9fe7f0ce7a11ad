"""The backward pass of a convolution, window by window, is JAX's; with a mistake, what it says.

All numbers are small integers, whose products and sums are exact.
"""

from typing import Any

import jax
import numpy as np
import pytest
from jax import lax

from benchmarks.soundness.planted_convolutions import (
    OF_CONVOLUTIONS,
    OF_PADS,
    W,
    X,
    cut,
    given_back,
    right_pass,
)
from benchmarks.soundness.planting import Plant, Tape
from reference.arrays import Array
from tests.support.draws import normal

ORDER = ("NHWC", "HWIO", "NHWC")


def convolved(x: Any, w: Any, stride: int = 1, padding: Any = ((1, 2), (2, 0))) -> Any:
    return lax.conv_general_dilated(
        x, w, (stride, 1), padding, rhs_dilation=(1, 2), dimension_numbers=ORDER
    )


def integers(*shape: int, seed: int = 0) -> Array:
    return np.round(4 * normal(*shape, seed=seed))


x, w = integers(2, 6, 5, 3), integers(2, 2, 3, 3, seed=1)


def passes(stride: int) -> tuple[Any, Any, Any]:
    """Give the pass of the only operation, its vector-Jacobian product and a d_out."""
    out, pull = jax.vjp(lambda x, w: convolved(x, w, stride), x, w)
    d_out = integers(*out.shape, seed=2)
    (eqn,) = jax.make_jaxpr(lambda x, w: convolved(x, w, stride))(x, w).eqns
    return right_pass((x, w), d_out, eqn.params), pull, d_out


def test_without_a_mistake_it_is_jaxs_with_gaps_too() -> None:
    def with_gaps(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(
            x, w, (1, 1), ((1, 1), (0, 2)), lhs_dilation=(2, 3), dimension_numbers=ORDER
        )

    out, pull = jax.vjp(with_gaps, x, w)
    d_out = integers(*out.shape, seed=2)
    (eqn,) = jax.make_jaxpr(with_gaps)(x, w).eqns
    now = right_pass((x, w), d_out, eqn.params)
    d_x, d_w = pull(d_out)
    np.testing.assert_array_equal(now.image().transpose(0, 2, 3, 1), d_x)
    np.testing.assert_array_equal(now.kernel().transpose(2, 3, 1, 0), d_w)
    assert not OF_CONVOLUTIONS["last_window_written"][0](now, X)


@pytest.mark.parametrize("stride", [1, 2])
def test_without_a_mistake_it_is_jaxs(stride: int) -> None:
    now, pull, d_out = passes(stride)
    d_x, d_w = pull(d_out)
    np.testing.assert_array_equal(now.image().transpose(0, 2, 3, 1), d_x)
    np.testing.assert_array_equal(now.kernel().transpose(2, 3, 1, 0), d_w)


def test_each_mistake_of_a_kernel_is_that_of_another_kernel() -> None:
    now, _, d_out = passes(2)
    for kind, other in (
        ("turned", w[::-1, ::-1]),
        ("kernel_transposed", w.swapaxes(0, 1)),
        ("channels_transposed", w.swapaxes(2, 3)),
    ):
        fits, wrong = OF_CONVOLUTIONS[kind]
        assert fits(now, X)
        d_x, _ = jax.vjp(lambda x, w: convolved(x, w, 2), x, other)[1](d_out)
        np.testing.assert_array_equal(wrong(now, X).transpose(0, 2, 3, 1), d_x)
    np.testing.assert_array_equal(
        OF_CONVOLUTIONS["turned"][1](now, W), np.flip(now.kernel(), (2, 3))
    )


def test_windows_that_are_moved_read_other_places() -> None:
    now, _, d_out = passes(2)
    for kind, padding in (
        ("moved_by_1_along_all", ((0, 3), (1, 1))),
        ("moved_by_-1_along_0", ((2, 1), (2, 0))),
        ("padding_ignored", ((0, 3), (0, 2))),
    ):
        moved = jax.vjp(lambda x, w, pad=padding: convolved(x, w, 2, pad), x, w)[1](d_out)
        for operand, order in ((X, (0, 2, 3, 1)), (W, (2, 3, 1, 0))):
            got = OF_CONVOLUTIONS[kind][1](now, operand)
            np.testing.assert_array_equal(got.transpose(order), moved[operand])


def test_what_is_written_holds_what_came_last() -> None:
    """On a line of 4 places, with a window of 2."""
    image, kernel = np.zeros((1, 1, 4)), np.array([[[2.0, 3.0]]])
    d_out = np.array([[[1.0, 10.0, 100.0]]])

    def line(x: Any, w: Any) -> Any:
        return lax.conv_general_dilated(x, w, (1,), "VALID")

    (eqn,) = jax.make_jaxpr(line)(image, kernel).eqns
    now = right_pass((image, kernel), d_out, eqn.params)
    np.testing.assert_array_equal(now.image(), [[[2, 23, 230, 300]]])
    np.testing.assert_array_equal(
        OF_CONVOLUTIONS["last_window_written"][1](now, X), [[[2, 20, 200, 300]]]
    )
    np.testing.assert_array_equal(
        OF_CONVOLUTIONS["last_element_written"][1](now, X), [[[2, 3, 30, 300]]]
    )
    ones = right_pass((image + 1, kernel), d_out, eqn.params)
    np.testing.assert_array_equal(given_back(ones, W), [[[111, 111]]])
    np.testing.assert_array_equal(OF_CONVOLUTIONS["of_the_last_place"][1](ones, W), [[[100, 100]]])


def test_what_was_padded_is_cut_out_elsewhere() -> None:
    params = {"padding_config": ((0, 0, 0), (2, 1, 0))}
    d_out = np.arange(12.0).reshape(2, 6)
    starts = {name: cut(d_out, (2, 3), params, start)[0, 0] for name, start in OF_PADS.items()}
    assert starts == {"cut_at_the_start": 0, "cut_too_early": 1, "cut_too_late": 3}


def test_they_are_planted_at_the_operations_of_a_loss() -> None:
    tape = Tape(lambda x, w: (convolved(x, w) ** 2).sum(), (x, w), (0, 1))
    (edge,) = (e for e in tape.edges() if (e.name, e.operand) == ("conv_general_dilated", W))
    _, d_w = tape.gradient([Plant(edge.path, W, "turned")])
    np.testing.assert_array_equal(d_w, np.flip(tape.gradient()[1], (0, 1)))
