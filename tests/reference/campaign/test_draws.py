"""The random networks: each trait, layout and magnitude is what it says."""

import itertools

import numpy as np
import pytest

import manual_nn
from reference.campaign.draws import (
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
from tests.support.cases import each

SHAPE = Shape((3, 4, 2), 5, soft=True)
DEEP = Shape((3, 4, 5, 2), 5, soft=True)
DTYPES = (np.float32, np.float64)


@each("layout", LAYOUTS)
@each("shape", [(3,), (3, 4)])
@each("dtype", [np.float32, np.float64, np.int64])
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


@each("layout", LAYOUTS)
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


def test_equal_rows_are_all_the_first() -> None:
    plain, equal = (
        make_network(SHAPE, np.float64, seed=7, trait=t) for t in ("plain", "equal rows")
    )
    np.testing.assert_array_equal(equal.X[0], plain.X[0])
    np.testing.assert_array_equal(equal.y[0], plain.y[0])


@pytest.mark.parametrize("soft", [False, True])
def test_every_array_hangs_on_the_seed_and_no_two_are_alike(*, soft: bool) -> None:
    shape = Shape((5, 5, 5), 5, soft=soft)
    arrays: list[np.ndarray] = []
    for seed in (1, 2):
        params, X, y, _ = make_network(shape, np.float64, seed=seed)
        arrays += [X, y, *itertools.chain(*params, *make_tangents(params, seed=seed + 10))]
    for one, other in itertools.combinations(arrays, 2):
        assert one.shape != other.shape or not np.array_equal(one, other)


@each("dtype", DTYPES)
@each("sizes", [(3, 2), (3, 4, 2), (2, 3, 3, 2)])
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


def test_the_powers_of_2_reach_to_both_ends() -> None:
    """The largest float32 is below 2^128, and two layers and the inputs share a half of that."""
    reach = 128 // 6
    ends = {"tiny": (-reach, 0), "huge": (0, 3 * reach), "balanced": (-reach, reach)}
    found: dict[tuple[str, str], set[int]] = {}
    for seed in range(300):
        plain = make_network(SHAPE, np.float32, seed=seed)
        for magnitude in ends:
            network = make_network(SHAPE, np.float32, seed=seed, magnitude=magnitude)
            pairs = {"inputs": (network.X, plain.X)}
            if magnitude != "balanced":  # where a layer makes up for the one below
                for l, (layer, other) in enumerate(zip(network.params, plain.params, strict=True)):
                    pairs[f"weight {l}"], pairs[f"bias {l}"] = zip(layer, other, strict=True)
            for name, (scaled, array) in pairs.items():
                exponent = int(np.log2(scaled.flat[0] / array.flat[0]))
                found.setdefault((magnitude, name), set()).add(exponent)
    for (magnitude, name), exponents in found.items():
        assert (min(exponents), max(exponents)) == ends[magnitude], name


@pytest.mark.parametrize("sizes", [(300, 200), (300, 200, 100)])
def test_values_are_normal_and_a_layer_keeps_the_size_of_what_comes_in(
    sizes: tuple[int, ...],
) -> None:
    """The mean square of n of them is 1 with a standard deviation of sqrt(2 / n)."""
    network = make_network(Shape(sizes, 100, soft=False), np.float64, seed=0)
    arrays = [weight * np.sqrt(len(weight)) for weight, _ in network.params]
    arrays += [network.X, *(bias for _, bias in network.params)]
    arrays += [array for layer in make_tangents(network.params, seed=1) for array in layer]
    for array in arrays:
        assert abs((array**2).mean() - 1) <= 6 * np.sqrt(2 / array.size)


@pytest.mark.parametrize(("trait", "factor"), [("large logits", 1000), ("equal logits", 0)])
def test_these_logits_are_multiples_of_those_of_the_same_seed(trait: str, factor: int) -> None:
    plain, made = (make_network(DEEP, np.float64, seed=0, trait=name) for name in ("plain", trait))
    for layer, plain_layer in zip(made.params[:-1], plain.params[:-1], strict=True):
        assert all(map(np.array_equal, layer, plain_layer))
    for last, plain_last in zip(made.params[-1], plain.params[-1], strict=True):
        np.testing.assert_array_equal(last, factor * plain_last)


def test_a_network_has_the_decay_that_it_is_given_and_else_none() -> None:
    assert make_network(DEEP, np.float64, seed=0).weight_decay == 0
    assert make_network(DEEP, np.float64, seed=0, weight_decay=0.5).weight_decay == 0.5


def test_the_targets_are_of_the_classes_of_the_last_layer() -> None:
    y = make_network(DEEP, np.float32, seed=0).y
    assert y.shape == (5, 2)
    assert y.dtype == np.float32
    y = make_network(DEEP._replace(N=100, soft=False), np.float64, seed=0).y
    assert set(y.tolist()) == {0, 1}
    assert y.dtype.kind == "i"


def test_every_hidden_layer_has_dead_units_and_the_last_has_none() -> None:
    *hidden, last = make_network(DEEP, np.float64, seed=0, trait="dead units").params
    for weight, bias in hidden:
        assert not weight[:, ::2].any()
        assert not bias[::2].any()
        assert weight[:, 1::2].all()
        assert bias[1::2].all()
    assert last.weight.all()
    assert last.bias.all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kink_that_overflows_is_left_out(dtype: type[np.floating]) -> None:
    for seed in range(50):
        network = make_network(SHAPE, dtype, seed=seed, trait="on the kink", magnitude="huge")
        assert all(np.isfinite(array).all() for layer in network.params for array in layer)


def test_a_strided_view_takes_every_other_place_from_behind() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert strided(array).strides == (-2 * 8 * array.itemsize, -2 * array.itemsize)


def test_a_shape_is_written_with_its_rows_and_targets() -> None:
    assert str(SHAPE) == "3-4-2, 5 rows, probabilities"
    assert str(Shape((3, 2), 2, soft=False)) == "3-2, 2 rows, class numbers"
    assert str(Shape((3, 2), 1, soft=False)) == "3-2, 1 row, class numbers"
