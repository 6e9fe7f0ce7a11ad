"""Windows on whole numbers, of which all sums are exact, beside the sums as they are defined."""

import itertools
from typing import Any

import numpy as np
import pytest

from manual_nn.compiled import windows as compiled
from manual_nn.compiled.products import SMALL
from manual_nn.compiled.windows import MANY, RUN, Windows, windows_of
from manual_nn.layers.convolution import geometry_of, places_of
from tests.support.compiled import in_python

BOTH = pytest.mark.parametrize(
    "module", [compiled, in_python(compiled)], ids=["compiled", "Python"]
)
GEOMETRIES = [  # size, window, stride, dilation: rows in a run, rows apart, runs of both lengths
    ((2 * RUN,), (3,), (1,), (2,)),
    ((9, 4), (3, 2), (2, 1), (1, 2)),
    ((3, RUN + 2), (2, 2), (1, 1), (1, 1)),
    ((7, 5), (2, 3), (1, 1), (3, 1)),
]


@BOTH
def test_sums_are_those_of_each_window_and_place(module: Any) -> None:
    """For blocks that are shorter and longer than a run, and all parts of a window."""
    rng = np.random.default_rng(0)
    N, C, K = 2, 3, 2
    for size, window, stride, dilation in GEOMETRIES:
        geometry = geometry_of(size, window, stride, dilation, "valid", name="window")
        rows = np.arange(N * np.prod(size)).reshape(N, *size)
        below = np.stack([rows[places].ravel() for _, places in places_of(geometry)], 1)  # (P, W)
        P, W = below.shape
        x, weight, y = (
            rng.integers(-4, 5, shape).astype(float)
            for shape in ((rows.size, C), (W, C, K), (P, K))
        )
        gathered = np.einsum("pwc,wck->pk", x[below], weight)
        products = np.einsum("pwc,pk->wck", x[below], y)
        scattered = x.copy()
        np.add.at(scattered, below, np.einsum("pk,wck->pwc", y, weight))
        found = windows_of(geometry, N, C, K)
        for places, together in itertools.product([5, RUN + 3, MANY], [1, 2, W]):
            cut = found._replace(places=places, together=together)
            out, of_weight, into = np.full_like(y, np.nan), np.full((W * C, K), np.nan), x.copy()
            module.gather(x, weight.reshape(-1, K), cut, out)
            np.testing.assert_array_equal(out, gathered)
            module.gather_products(x, y, cut, of_weight)
            np.testing.assert_array_equal(of_weight, products.reshape(-1, K))
            module.scatter(y, weight.reshape(-1, K), cut, into)
            np.testing.assert_array_equal(into, scattered)


@BOTH
def test_windows_beside_the_arrays_are_refused(module: Any) -> None:
    """What is given to them must fit, for nothing else says where they read and write."""
    x, weight, y = np.ones((4, 2)), np.ones((4, 3)), np.ones((3, 3))
    right = Windows(np.arange(3), np.arange(2), 8, 1)
    calls: list[Any] = [
        lambda windows: module.gather(x, weight, windows, y),
        lambda windows: module.gather_products(x, y, windows, weight),
        lambda windows: module.scatter(y, weight, windows, x),
    ]
    for windows, message in (
        (right._replace(first=np.arange(2)), "each row of y must have a window"),
        (right._replace(steps=np.arange(1)), "of as many places as weight"),
        (right._replace(first=np.arange(1, 4)), "must lie on the rows of x"),
        (right._replace(first=np.arange(-1, 2)), "must lie on the rows of x"),
        (right._replace(steps=np.arange(-1, 1)), "must lie on the rows of x"),
        (right._replace(steps=np.array([2, 0])), "must lie on the rows of x"),
    ):
        for call in calls:
            with pytest.raises(ValueError, match=message):
                call(windows)
    for call in (
        lambda: module.gather(x, weight, right, y[:, 1:].copy()),
        lambda: module.gather_products(x, y, right, np.ones((4, 2))),
        lambda: module.scatter(y, np.ones((4, 2)), right, x),
    ):
        with pytest.raises(ValueError, match="weight and y must have as many columns"):
            call()
    for array in (x, weight, y):
        np.testing.assert_array_equal(array, 1)


def test_a_block_is_as_long_as_products_are_small_or_else_many() -> None:
    geometry = geometry_of((56, 56), (3, 3), 1, 1, "same", name="window")
    for (C, K), (places, together) in {
        (64, 64): (SMALL // 64**2, 1),
        (128, 64): (SMALL // (128 * 64), 1),
        (256, 256): (MANY, 1),
        (3, 64): (MANY, 9),
        (16, 16): (MANY, 2),
    }.items():
        windows = windows_of(geometry, 1, C, K)
        assert (windows.places, windows.together) == (places, together)
