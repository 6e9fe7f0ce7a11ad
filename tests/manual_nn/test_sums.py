"""Sums over rows: the right ones, of every number of rows, and their digits in the layers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from manual_nn.layers import batch_norm, convolution, group_norm, layer_norm, rms_norm
from manual_nn.sums import BLOCK, sum_rows
from tests.support.compiled import implementations

LEVELS = 3  # of up to BLOCK^3 rows
PILED_UP = LEVELS * (BLOCK - 1) * 2.0**-24
WORST = PILED_UP / (1 - PILED_UP)  # of a sum in float32, as a part of the sum of the sizes


@pytest.mark.parametrize("rows", [0, 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 3 * BLOCK**2 + BLOCK + 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whole_numbers_add_up_exactly(rows: int, dtype: type[np.floating[Any]]) -> None:
    x = np.random.default_rng(rows).integers(-9, 9, (2, rows, 3)).astype(dtype)
    got = sum_rows(x)
    np.testing.assert_array_equal(got, x.sum(axis=1, dtype=float))
    np.testing.assert_array_equal(sum_rows(x[1]), got[1])
    assert got.dtype == dtype


def test_no_more_roundings_pile_up_than_a_block_has_rows_at_each_level() -> None:
    """Row after row float32 would lose three of its seven digits here."""
    x = np.full((2**20, 2), 0.1, np.float32)
    exact = len(x) * float(x[0, 0])
    assert (abs(sum_rows(x) - exact) <= WORST * exact).all()
    assert (abs(x.sum(axis=0) - exact) > 10 * WORST * exact).all()


ROWS, C = 2**18, 2
ONE, NONE = np.ones(C, np.float32), np.zeros(C, np.float32)
LAYERS: list[tuple[Any, Any, dict[str, Any]]] = [
    (batch_norm, batch_norm.BatchNorm(ONE, NONE), {}),
    (group_norm, group_norm.GroupNorm(ONE, NONE), {"groups": C}),
    (layer_norm, layer_norm.LayerNorm(ONE, NONE), {}),
    (rms_norm, rms_norm.RMSNorm(ONE), {}),
]


def alternating() -> Any:
    """Make 0.1 and 0.3 by turns in (1, ROWS, C), whose roundings all go one way."""
    x = np.full((1, ROWS, C), 0.1, np.float32)
    x[:, ::2, 0] = x[:, 1::2, 1] = 0.3
    return x


def by_name(case: tuple[Any, Any, dict[str, Any]]) -> str:
    return str(case[0].__name__).rpartition(".")[2]


@pytest.mark.parametrize("case", LAYERS, ids=by_name)
@pytest.mark.parametrize("way", range(2), ids=["NumPy", "compiled"])
def test_weights_and_biases_get_gradients_with_all_their_digits(case: Any, way: int) -> None:
    layer, params, options = case
    layer = implementations(layer)[way]
    normal, kept = layer.forward(params, alternating(), **options)  # weighted by 1
    d_out = alternating()
    d_params, _ = layer.backward(params, kept, d_out)
    terms = [d_out.astype(float) * normal, d_out.astype(float)]
    for got, of_rows in zip(d_params, terms, strict=False):
        exact, size = of_rows.sum(axis=(0, 1)), abs(of_rows).sum(axis=(0, 1))
        assert (abs(got - exact) <= (WORST + 2.0**-24) * size).all()


def test_so_does_the_bias_of_a_convolution() -> None:
    params = convolution.Convolution(np.ones((1, C, C), np.float32), NONE)
    _, kept = convolution.forward(params, alternating())
    (_, d_bias), _ = convolution.backward(params, kept, alternating())
    exact = alternating().sum(axis=(0, 1), dtype=float)
    assert (abs(d_bias - exact) <= WORST * exact).all()


def normal_of_the_batch(x: Any, way: int) -> tuple[Any, float]:
    layer = implementations(batch_norm)[way]
    _, kept = layer.forward(batch_norm.BatchNorm(ONE, NONE), x)
    return kept.normal, kept.eps


def normal_of_a_group(x: Any, way: int) -> tuple[Any, float]:
    layer = implementations(group_norm)[way]
    normal, _ = layer.forward(group_norm.GroupNorm(ONE, NONE), x, groups=C)
    return normal, 1e-5


@pytest.mark.parametrize("normal_of", [normal_of_the_batch, normal_of_a_group])
@pytest.mark.parametrize("way", range(2), ids=["NumPy", "compiled"])
def test_moments_have_all_their_digits(
    normal_of: Callable[[Any, int], tuple[Any, float]], way: int
) -> None:
    """The mean is 2 deviations; half of what its square, the variance, is off by, goes into it."""
    x = alternating()
    normal, eps = normal_of(x, way)
    exact = x.astype(float) - x.mean(axis=(0, 1), dtype=float)
    exact /= np.sqrt((exact**2).mean(axis=(0, 1)) + eps)
    few = 8 * 2.0**-24  # x less the mean, a square, sums of eps, a root, quotients
    assert (abs(normal - exact) <= 2 * WORST + WORST / 2 + few).all()
