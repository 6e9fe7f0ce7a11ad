"""Products of whole numbers, which are exact, in every order of memory that is compiled for."""

import itertools
from typing import Any

import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from manual_nn.arrays import Array
from manual_nn.compiled import products
from manual_nn.compiled.compiler import compiled
from manual_nn.compiled.products import product


def whole_numbers(
    rng: np.random.Generator, dtype: type[np.floating], *shapes: tuple[int, ...]
) -> list[Array]:
    return [rng.integers(-4, 5, size=shape).astype(dtype) for shape in shapes]


@compiled
def compiled_product(a: Array, b: Array, factor: float, kept: float, out: Array) -> None:
    product(a, b, factor, kept, out)


@pytest.mark.parametrize("function", [product, compiled_product])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_are_those_of_numpy(function: object, dtype: type[np.floating]) -> None:
    """With sizes of 1, which both orders have the same memory for, and others, on one thread."""
    assert callable(function)
    rng = np.random.default_rng(0)
    for sizes, transposed, (factor, kept) in itertools.product(
        [(2, 3, 4), (1, 3, 4), (2, 1, 4), (2, 3, 1), (1, 1, 1), (33, 17, 20), (64, 130, 128)],
        itertools.product([False, True], repeat=2),
        [(1.0, 0.0), (-2.0, 1.0), (0.5, 4.0)],
    ):
        I, K, J = sizes
        a, b, out = whole_numbers(rng, dtype, (I, K), (K, J), (I, J))
        want = factor * (a @ b) + kept * out
        a, b = (
            array.T.copy().T if turned else array
            for array, turned in zip((a, b), transposed, strict=True)
        )
        if kept == 0:
            out.fill(np.nan)
        with threadpool_limits(1, user_api="blas"):
            function(a, b, factor, kept, out)
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_of_narrow_products_add_up_to_all_of_them(
    dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, in C order, and terms, of a transpose, in three parts, of which the last is shorter.

    In Python it is a single one. Compiled code takes parts where the processor has AVX-512.
    """
    rng = np.random.default_rng(0)
    I, K, J = 2 * products.SMALL // (256 * 10) + 10, 256, 10
    assert I % 3  # compiled code has a shorter part, too
    assert I % 2
    x, W, d_z = whole_numbers(rng, dtype, (I, K), (K, J), (I, J))
    monkeypatch.setattr(products, "done_in_tiles", lambda *_: False)
    monkeypatch.setattr(products, "part_of", lambda length, _: length // 2)
    for a, b, by_parts in ((x, W, products.by_rows), (x.T, d_z, products.by_terms)):
        in_python = getattr(by_parts, "py_func", by_parts)
        for function, kept in itertools.product((in_python, compiled_product), (0.0, 2.0)):
            (out,) = whole_numbers(rng, dtype, (len(a), J))
            want = -2 * (a @ b) + kept * out
            if kept == 0:
                out.fill(np.nan)
            with threadpool_limits(1, user_api="blas"):
                function(a, b, -2.0, kept, out)
            np.testing.assert_array_equal(out, want)


def test_large_products_that_suit_tiles_are_done_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def suits(*sizes: int) -> bool:
        return sizes in {(64, 125, 125, 4), (64, 125, 126, 4)}

    done_in_tiles: Any = getattr(products.done_in_tiles, "py_func", products.done_in_tiles)
    monkeypatch.setattr(products, "suits_tiles", suits)
    rng = np.random.default_rng(0)
    for sizes, done in (
        ((64, 125, 126), True),
        ((64, 125, 125), False),  # a million
        ((64, 126, 126), False),  # does not suit
    ):
        I, K, J = sizes
        a, b, out = whole_numbers(rng, np.float32, (I, K), (K, J), (I, J))
        want = 2 * (a @ b) - out if done else out.copy()
        assert done_in_tiles(a, b, 2.0, -1.0, out) == done
        np.testing.assert_array_equal(out, want)


def test_products_are_in_equal_parts_that_blas_copies_nothing_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part_of: Any = getattr(products.part_of, "py_func", products.part_of)
    monkeypatch.setattr(products, "HAS_AVX512", True)
    monkeypatch.setattr(products, "threads", lambda: 1)
    times = 1000
    most = products.SMALL // times
    assert part_of(most, times) == most
    assert part_of(most + 2, times) == most // 2 + 1
    assert part_of(2 * most, times) == most
    assert part_of(2 * most + 1, times) == (2 * most + 3) // 3
    assert part_of(0, times) == part_of(0, 0) == 1  # a step, which cannot be 0
    assert part_of(5, 0) == 5
    assert part_of(products.SMALL, 1) == products.SMALL
    times = products.SMALL // products.LEAST
    assert part_of(10**4, times) == products.LEAST
    assert part_of(10**4, times + 1) == 10**4
    for name, value in (("threads", lambda: 2), ("HAS_AVX512", False)):
        with monkeypatch.context() as changed:
            changed.setattr(products, name, value)
            assert part_of(10**4, times) == 10**4
            assert part_of(1, times) == part_of(0, times) == 1


@pytest.mark.parametrize("function", [product, compiled_product])
@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((2, 3), (3, 4)), ((1, 3), (3, 5))])
@pytest.mark.parametrize("orders", ["CC", "FC", "CF", "FF"])
def test_shapes_that_do_not_fit_are_refused(function: Any, shapes: Any, orders: Any) -> None:
    """Before anything is written, where one size of the three is another than out, (2, 5), has."""
    a, b = (np.ones(shape, order=order) for shape, order in zip(shapes, orders, strict=True))
    out = np.zeros((2, 5))
    with pytest.raises(ValueError, match="must have the shapes"):
        function(a, b, 1.0, 0.0, out)
    assert not out.any()


def test_what_is_tested_is_compiled() -> None:
    assert numba.config.DISABLE_JIT or hasattr(compiled_product, "py_func")
