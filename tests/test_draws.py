"""The random networks: each trait, layout and magnitude is what it says."""

import itertools

import numpy as np
import pytest

import manual_nn
from reference.draws import (
    LAYOUTS,
    MAGNITUDES,
    TRAITS,
    Shape,
    make_network,
    make_tangents,
    offset,
    read_only,
    strided,
    unaligned,
)

SHAPE = Shape((3, 4, 2), 5, soft=True)
DTYPES = (np.float32, np.float64)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3,), (3, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_layout_holds_the_same_numbers(
    layout: str, shape: tuple[int, ...], dtype: type[np.number]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    laid = LAYOUTS[layout](array)
    assert laid.dtype == dtype
    np.testing.assert_array_equal(laid, array)


def test_each_layout_is_what_it_is_called() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert LAYOUTS["Fortran order"](array).flags.f_contiguous
    assert all(step < 0 for step in strided(array).strides)
    assert not offset(array).flags.c_contiguous
    assert not unaligned(array).flags.aligned
    assert unaligned(array).flags.writeable
    assert not read_only(array).flags.writeable
    assert array.flags.writeable


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_arrays_of_a_network_have_the_layout(layout: str) -> None:
    network = make_network(SHAPE, np.float64, seed=0, layout=layout)
    plain = make_network(SHAPE, np.float64, seed=0)
    tangents = make_tangents(network.params, seed=0, layout=layout)
    pairs = [(network.X, plain.X), (network.y, plain.y)]
    for layer, tangent, plain_layer in zip(network.params, tangents, plain.params, strict=True):
        pairs += [*zip(layer, plain_layer, strict=True), *zip(tangent, plain_layer, strict=True)]
    for array, plain_array in pairs:
        laid = LAYOUTS[layout](plain_array)
        assert array.shape == plain_array.shape
        assert array.strides == laid.strides
        assert array.flags.aligned == laid.flags.aligned
        assert array.flags.writeable == laid.flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_trait_is_in_the_values(dtype: type[np.floating]) -> None:
    networks = {trait: make_network(SHAPE, dtype, seed=7, trait=trait) for trait in TRAITS}
    z = {
        trait: manual_nn.logits(network.params[:1], network.X)
        for trait, network in networks.items()
    }
    logits = {
        trait: manual_nn.logits(network.params, network.X) for trait, network in networks.items()
    }
    assert not z["dead units"][:, ::2].any()
    assert z["dead units"][:, 1::2].all()
    assert abs(z["on the kink"][0]).max() <= 8 * np.finfo(dtype).eps
    assert len(np.unique(networks["equal rows"].X, axis=0)) == 1
    assert len(np.unique(networks["equal rows"].y, axis=0)) == 1
    assert abs(logits["large logits"]).max() > 100 > abs(logits["plain"]).max()
    assert not logits["equal logits"].any()
    assert not any(array.any() for layer in networks["zero parameters"].params for array in layer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (2, 3, 3, 2)])
def test_balanced_magnitudes_leave_the_logits_to_the_bit(
    sizes: tuple[int, ...], dtype: type[np.floating]
) -> None:
    """What a power of 2 puts into a layer, the next takes out."""
    shape, moved = Shape(sizes, 4, soft=False), 0
    for seed in range(10):
        plain = make_network(shape, dtype, seed=seed)
        scaled = make_network(shape, dtype, seed=seed, magnitude="balanced")
        np.testing.assert_array_equal(
            manual_nn.logits(scaled.params, scaled.X), manual_nn.logits(plain.params, plain.X)
        )
        moved += not np.array_equal(scaled.X, plain.X)
    assert moved >= 8  # the power may be 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiny_is_smaller_huge_is_larger_and_all_by_powers_of_2(dtype: type[np.floating]) -> None:
    for seed in range(10):
        plain = make_network(SHAPE, dtype, seed=seed)
        arrays = [plain.X, *itertools.chain.from_iterable(plain.params)]
        for magnitude in MAGNITUDES:
            network = make_network(SHAPE, dtype, seed=seed, magnitude=magnitude)
            for array, other in zip(
                arrays, [network.X, *itertools.chain.from_iterable(network.params)], strict=True
            ):
                factors = np.unique(other / array)
                assert len(factors) == 1
                mantissa, exponent = np.frexp(factors[0])
                assert mantissa == 0.5
                reach = np.finfo(dtype).maxexp // 6
                lowest, highest = {
                    "ordinary": (0, 0),
                    "tiny": (-reach, 0),
                    "huge": (0, 3 * reach),
                    "balanced": (-2 * reach, 2 * reach),
                }[magnitude]
                assert lowest <= exponent - 1 <= highest


def test_a_shape_is_written_with_its_rows_and_targets() -> None:
    assert str(SHAPE) == "3-4-2, 5 rows, probabilities"
    assert str(Shape((3, 2), 1, soft=False)) == "3-2, 1 row, class numbers"
