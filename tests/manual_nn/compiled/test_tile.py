"""One tile of a product of whole numbers, which is exact, and nothing beside it is written.

Axes: I rows and J columns of the product, K what is summed over.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from manual_nn.arrays import Array
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.tile import BYTES, NARROW, ROWS, WIDE, narrow_tile, wide_tile
from tests.support.cases import each


@compiled
def compiled_wide_tile(
    a: Array, i: int, b: Array, j: int, factor: Any, kept: Any, other: Array, out: Array
) -> None:
    wide_tile(a, i, b, j, factor, kept, other, out)


@compiled
def compiled_narrow_tile(
    a: Array, i: int, b: Array, j: int, factor: Any, kept: Any, other: Array, out: Array
) -> None:
    narrow_tile(a, i, b, j, factor, kept, other, out)


@pytest.mark.parametrize(
    ("tile", "vectors"),
    [
        (wide_tile, WIDE),
        (compiled_wide_tile, WIDE),
        (narrow_tile, NARROW),
        (compiled_narrow_tile, NARROW),
    ],
)
@each("kept", [0.0, 0.5])
@each("i", [0, ROWS])
@each("own", [False, True])
def test_a_tile_is_a_part_of_the_product(
    tile: Callable[..., None], vectors: int, i: int, kept: float, *, own: bool
) -> None:
    rng, width = np.random.default_rng(0), vectors * BYTES // 4
    I, K, J, j = ROWS + 3, 5, width + 4, 3
    drawn: list[Array] = [
        rng.integers(-3, 4, size=shape).astype(np.float32)
        for shape in ((I, K), (K, J), (I, J), (I, J))
    ]
    a, b, other, out = drawn
    other = out if own else other
    want, part = out.copy(), (slice(i, i + ROWS), slice(j, j + width))
    want[part] = (2 * (a @ b) + kept * other)[part]
    if kept == 0 and not own:
        other[:] = np.nan
    tile(a, i, b, j, np.float32(2), np.float32(kept), other, out)
    np.testing.assert_array_equal(out, want)
