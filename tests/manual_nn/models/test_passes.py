"""The pieces of a pass by themselves: in which precision they compute, and where they write.

Axes: N rows in the batch, D inputs, H hidden units, K classes.
"""

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn import Dense, Workspace, rowwise
from manual_nn.models import mlp
from tests.support.exact import ROOTS, SQUARES, TOTAL

DTYPES = (np.float32, np.float64)
GRADIENTS = [manual_nn.loss_and_grad, rowwise.loss_and_grad]
either_way = pytest.mark.parametrize("function", GRADIENTS, ids=["batch", "rowwise"])

# In float32 all the way. Three whole numbers whose squares float32 holds: it adds these up to the
# same in whatever order, and float64, rounded to float32 at the end, adds them up to another.


def test_float32_adds_the_squares_up_in_any_order_to_what_float64_does_not() -> None:
    for one, two, three in itertools.permutations(SQUARES):
        assert (one + two) + three == TOTAL
    assert np.float32(SQUARES.sum(dtype=np.float64)) != TOTAL


def layer32(weight: npt.ArrayLike, bias: npt.ArrayLike) -> Dense:
    return Dense(np.array(weight, np.float32), np.array(bias, np.float32))


@either_way
def test_pre_activations_are_computed_in_float32(function: Any) -> None:
    """Logits (z, 0) for the second class: the loss is z."""
    loss, _ = function((layer32([[1, 0]] * 3, [0, 0]),), SQUARES[None], [1])
    assert loss == TOTAL


@pytest.mark.parametrize("seed", range(9))
@either_way
def test_the_cross_entropy_is_computed_in_float32(function: Any, seed: int) -> None:
    """As NumPy takes an inner product of many float32 numbers, whatever its library adds up in."""
    rng = np.random.default_rng(seed)
    z, target = rng.normal(size=300).astype(np.float32), rng.dirichlet(np.ones(300))
    loss, _ = function((layer32([[0] * 300], z),), [[0.0]], target[None])
    shifted = z - z.max()
    assert loss == target.astype(np.float32) @ (np.log(np.exp(shifted).sum()) - shifted)


@pytest.mark.parametrize("exponent", [0, 62])  # 2^62 squared is nearly all that float32 holds
@pytest.mark.parametrize("seed", range(9))
def test_the_penalty_is_computed_in_float32(seed: int, exponent: int) -> None:
    """One class has no cross-entropy."""
    rng = np.random.default_rng(seed)
    weight = np.ldexp(rng.normal(size=(500, 1)).astype(np.float32), exponent)
    loss = manual_nn.loss((layer32(weight, [0]),), [[0.0] * 500], [0], weight_decay=2.0**-exponent)
    assert loss == np.vdot(np.ldexp(weight, -exponent), weight)


@pytest.mark.parametrize("exponent", [0, 60])
def test_the_penalty_is_computed_row_by_row_in_float32(exponent: int) -> None:
    params = (layer32(np.ldexp(ROOTS[:, None], exponent), [0]),)
    loss, _ = rowwise.loss_and_grad(params, [[0.0] * 3], [0], weight_decay=2.0**-exponent)
    assert loss == np.ldexp(TOTAL, exponent)


@pytest.mark.parametrize("seed", range(3))
@either_way
def test_probabilities_are_computed_in_float32(function: Any, seed: int) -> None:
    """In float64 the sum of the exponentials would be another, and most of the quotients too."""
    z = np.random.default_rng(seed).normal(size=300).astype(np.float32)
    _, ((_, d_bias),) = function((layer32([[0] * 300], z),), [[0.0]], [0])
    e = np.exp(z - z.max())
    np.testing.assert_array_equal(d_bias[1:], (e / e.sum())[1:])


def clipped(*batch: Any) -> tuple[None, Any]:
    return None, manual_nn.clipped_grad(*batch, max_norm=2.0**20)


@pytest.mark.parametrize("function", [*GRADIENTS, clipped])
def test_the_rows_are_added_up_in_float32(function: Any) -> None:
    """p = (1, 0): d_z of the second class is minus a quarter of its target, in each row."""
    second = [*np.ldexp(SQUARES.astype(float), -28), 0.0]
    target = [[1 - probability, probability] for probability in second]
    params = (layer32([[0, 0]], [2.0**30, 0]),)
    _, ((d_weight, d_bias),) = function(params, [[1.0]] * 4, target)
    assert d_weight[0, 1] == d_bias[1] == -np.ldexp(TOTAL, -30)


@either_way
def test_the_way_down_is_computed_in_float32(function: Any) -> None:
    """d_z_2 = (3, -1, -1, -1) / 4."""
    params = (layer32([[1, 1]], [0, 0]), layer32([[0, *SQUARES / 4]] * 2, [2.0**30, 0, 0, 0]))
    d_bias = function(params, [[1.0]], [[0.25] * 4])[1][0].bias
    np.testing.assert_array_equal(d_bias, [-TOTAL / 16] * 2)


@pytest.mark.parametrize("exponent", [0, 60])  # 2^60 squared is too large for float32
def test_norms_of_rows_are_computed_in_float32(exponent: int) -> None:
    """d_z = (1, 1, -1, -1) / 4, of norm 1/2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 300)).astype(np.float32)
    params, y = (layer32([[0] * 4] * 300, [0] * 4),), [[0.0, 0.0, 0.5, 0.5]] * 50
    norms = manual_nn.per_example_grad_norms(params, np.ldexp(X, exponent), y)
    with_bias = np.hypot(np.ldexp(np.sqrt(np.vecdot(X, X)), exponent), np.float32(1))
    np.testing.assert_array_equal(norms, with_bias / 2)


# Where results are written

LAYER = Dense(np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, 3.0]]), np.array([1.0, -1.0]))


@either_way
def test_inputs_and_targets_that_need_no_conversion_stay_as_they_are(function: Any) -> None:
    params = (Dense(np.eye(2), np.zeros(2)), LAYER._replace(weight=LAYER.weight[:2]))
    X, target = np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    function(params, X, target, weight_decay=0.5, sample_weight=np.array([1.0, 3.0]))
    np.testing.assert_array_equal(X, [[1, -2], [3, 0.5]])
    np.testing.assert_array_equal(target, [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_array_equal(params[0].weight, np.eye(2))
    np.testing.assert_array_equal(LAYER.weight, [[1, 2], [-1, 0.5], [0, 3]])


def test_the_gradient_and_the_decay_of_a_layer_are_written_where_they_are_given_a_place() -> None:
    a, d_z = np.array([[1.0, 0.0, 3.0], [2.0, 5.0, 0.25]]), np.array([[1.0, -2.0], [0.5, 4.0]])
    place, decay = Dense(np.empty((3, 2)), np.empty(2)), np.full((3, 2), np.nan)
    d_layer = mlp.layer_backward(LAYER, a, d_z, 0.5, out=place, decay_out=decay)
    assert d_layer.weight is place.weight
    assert d_layer.bias is place.bias
    np.testing.assert_array_equal(d_layer.weight, [[3, 8], [1.5, 20.5], [3.125, -2]])
    np.testing.assert_array_equal(d_layer.bias, [1.5, 2])
    np.testing.assert_array_equal(decay, LAYER.weight)
    for new, placed in zip(mlp.layer_backward(LAYER, a, d_z, 0.5), d_layer, strict=True):
        np.testing.assert_array_equal(new, placed)
        assert not np.shares_memory(new, placed)


def test_the_way_up_and_the_way_down_stay_in_the_arrays_of_a_workspace() -> None:
    params = manual_nn.init_params([3, 4, 5, 2], rng=np.random.default_rng(0))
    arrays = Workspace(params, 8).arrays(6)
    assert [z.shape for z in arrays.z] == [(6, 4), (6, 5), (6, 2)]
    assert [d_z.shape for d_z in arrays.d_z] == [(6, 4), (6, 5)]
    X, d_logits = np.ones((6, 3)), np.ones((6, 2))
    z, a = mlp.forward(params, X, out=arrays.z)
    assert a[0] is X
    for got, own in zip([*a[1:], z], arrays.z, strict=True):
        assert got is own
    d_z = mlp.backward(params, a, d_logits, out=arrays.d_z)
    for got, own in zip(d_z, [*arrays.d_z, d_logits], strict=True):
        assert got is own

    all_arrays = [*arrays.z, *arrays.d_z, *arrays.decay]
    for array in all_arrays:
        array.fill(np.nan)
    mlp.forward_and_backward(params, X, np.full((6, 2), 0.5), np.float64(1 / 6), 0.5, out=arrays)
    assert all(np.isfinite(array).all() for array in all_arrays)


# A workspace


@pytest.mark.parametrize("part", [slice(0, 1), slice(1, None), slice(None)])
def test_a_workspace_refuses_its_own_gradient_though_it_be_of_several_layers(part: slice) -> None:
    params = manual_nn.init_params([3, 3, 3], rng=np.random.default_rng(0))[part]
    X = np.ones((2, 3))
    workspace = Workspace(params, 2)
    _, gradient = manual_nn.loss_and_grad(params, X, [0, 1], workspace=workspace)
    mixed = (*params[:-1], gradient[-1])
    views = tuple(Dense(weight[:], bias[:]) for weight, bias in gradient)
    for own in (gradient, mixed, views):
        with pytest.raises(ValueError, match="params must not be the workspace's own gradient"):
            manual_nn.loss_and_grad(own, X, [0, 1], workspace=workspace)


OTHERS = {
    "wider": ([3, 4, 2], [3, 5, 2]),
    "deeper": ([3, 4, 2], [3, 4, 4, 2]),
    "with more classes": ([3, 4, 2], [3, 4, 3]),
    "one layer for two": ([3, 4, 2], [3, 2]),
    "two layers for one": ([3, 2], [3, 4, 2]),
}


@pytest.mark.parametrize(("sizes", "of_workspace"), OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_workspace_of_other_layers_is_refused_however_often(
    sizes: list[int], of_workspace: list[int], dtype: npt.DTypeLike
) -> None:
    rng = np.random.default_rng(0)
    params = manual_nn.init_params(sizes, rng=rng, dtype=dtype)
    workspace = Workspace(manual_nn.init_params(of_workspace, rng=rng, dtype=dtype), 2)
    shapes, shapes_got = (list(itertools.pairwise(widths)) for widths in (sizes, of_workspace))
    name = np.dtype(dtype).name
    said = f"of shapes {shapes} and {name}, like params, got one for {shapes_got} and {name}"
    for _ in range(2):
        assert not workspace.fits(params)
        with pytest.raises(ValueError, match=re.escape(said)):
            manual_nn.loss_and_grad(params, np.ones((2, 3)), [0, 1], workspace=workspace)


@pytest.mark.parametrize("rows", [2, 3])
def test_the_arrays_of_a_pass_are_apart_though_layers_be_of_equal_width(rows: int) -> None:
    params = manual_nn.init_params([4, 4, 4, 4], rng=np.random.default_rng(0))
    z, d_z, gradient, _ = Workspace(params, rows).arrays(2)
    arrays = [*z, *d_z, *(array for layer in gradient for array in layer)]
    for one, other in itertools.combinations(arrays, 2):
        assert not np.shares_memory(one, other)


def test_two_threads_may_compute_in_a_workspace_each() -> None:
    params = manual_nn.init_params([4, 4, 4], rng=np.random.default_rng(0))
    one, other = (
        [*z, *d_z, *(array for layer in gradient for array in layer), *decay]
        for z, d_z, gradient, decay in (Workspace(params, 2).arrays(2) for _ in range(2))
    )
    for pair in itertools.product(one, other):
        assert not np.shares_memory(*pair)


def test_a_workspace_fits_layers_of_arrays_in_its_dtype_alone() -> None:
    params = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0))
    single = manual_nn.init_params([3, 4, 2], rng=np.random.default_rng(0), dtype=np.float32)
    workspace = Workspace(params, 2)
    for _ in range(2):
        assert workspace.fits(params)
    assert workspace.fits(tuple(Dense(*map(np.copy, layer)) for layer in params))
    first, last = params
    for other in (
        single,
        list(params),
        (tuple(first), last),
        (first._replace(weight=single[0].weight), last),
        (first._replace(bias=single[0].bias), last),
        (first._replace(bias=first.bias[:1]), last),
        (first._replace(weight=first.weight.tolist()), last),
        (first, last._replace(bias=last.bias.tolist())),
    ):
        assert not workspace.fits(other)


# What is refused by name


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("l", [0, 1])
@either_way
def test_the_first_number_of_params_that_is_not_finite_is_named(
    function: Any, l: int, part: str
) -> None:
    params = manual_nn.init_params([3, 4, 4], rng=np.random.default_rng(0))
    array = getattr(params[l], part)
    array.flat[[1, 3]] = np.inf, np.nan
    index = [0, 1] if part == "weight" else [1]
    said = re.escape(f"params[{l}].{part} must be finite, got inf at {index}")
    with pytest.raises(ValueError, match=f"^{said}$"):
        function(params, np.ones((2, 3)), [0, 1])


@either_way
def test_the_first_input_that_is_not_finite_is_named(function: Any) -> None:
    params = manual_nn.init_params([2, 2], rng=np.random.default_rng(0))
    X = [[1.0, 1.0], [1.0, np.nan], [np.inf, 1.0], [1.0, -np.inf]]
    with pytest.raises(ValueError, match=r"^X must be finite, got nan at \[1, 1\]$"):
        function(params, X, [0] * 4)


@pytest.mark.parametrize("l", [1, 2, 3])
@either_way
def test_the_layer_whose_pre_activations_overflow_is_named(function: Any, l: int) -> None:
    params = [Dense(np.eye(2), np.zeros(2)) for _ in range(3)]
    params[l - 1] = Dense(np.full((2, 2), 1e200), np.zeros(2))
    with pytest.raises(ValueError, match=f"those of layer {l} exceed the largest float64"):
        function(params, [[1e200, 0.0]], [0])


@either_way
def test_one_pass_drops_what_overflows_at_a_unit_that_is_off(function: Any) -> None:
    """d_z_2 = (1, -1): d_a_1 is -2^1024 at the unit that is off, and -2 at the one that is on."""
    large = 2.0**1023
    params = (
        Dense(np.zeros((1, 2)), np.array([-1.0, 1.0])),
        Dense(np.array([[-large, large], [-1.0, 1.0]]), np.array([64.0 + 4096, 0.0])),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        _, (first, second) = function(params, [[1.0]], [1])
    np.testing.assert_array_equal(first.weight, [[0, -2]])
    np.testing.assert_array_equal(first.bias, [0, -2])
    np.testing.assert_array_equal(second.weight, [[0, 0], [1, -1]])


# Blocks of rows, and the layers that a network begins with


@pytest.mark.parametrize("size", [None, 1, 2, 3, 4, 5])
def test_the_losses_of_blocks_add_up(size: int | None) -> None:
    """Logits (x, 0) for the second class: the loss of a row is x; two weights of 1 are decayed."""
    params = (Dense(np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2)),)
    X = [[1024.0, 0.0], [2048.0, 0.0], [4096.0, 0.0], [8192.0, 0.0]]
    options: dict[str, Any] = {"weight_decay": 0.25, "chunk_size": size}
    assert manual_nn.loss(params, X, [1] * 4, **options) == 3840.5
    assert manual_nn.loss_and_grad(params, X, [1] * 4, **options)[0] == 3840.5
    assert rowwise.loss_and_grad(params, X, [1] * 4, weight_decay=0.25)[0] == 3840.5


def test_the_layers_of_new_parameters_share_no_memory() -> None:
    arrays = list(
        itertools.chain.from_iterable(
            manual_nn.init_params([3, 3, 3], rng=np.random.default_rng(0)) for _ in range(2)
        )
    )
    for one, other in itertools.combinations(itertools.chain.from_iterable(arrays), 2):
        assert not np.shares_memory(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "loss_and_grad", [manual_nn.loss_and_grad, manual_nn.rowwise.loss_and_grad]
)
def test_numbers_whose_squares_overflow_are_as_good_as_others(
    loss_and_grad: Callable[..., Any], dtype: type[np.floating]
) -> None:
    """Warnings fail a test."""
    large = np.ldexp(dtype(1), np.finfo(dtype).maxexp * 3 // 4)
    params = (Dense(np.zeros((1, 2), dtype), np.array([large, 0], dtype)),)
    value, ((d_weight, d_bias),) = loss_and_grad(params, np.array([[large]]), [0])
    assert value == 0
    assert not d_weight.any()
    assert not d_bias.any()
