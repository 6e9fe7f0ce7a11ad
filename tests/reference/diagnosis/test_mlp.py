"""The dictionary's parts, on numbers small enough to be worked out by hand.

Each step of the backward pass, right and broken; the fit of a number; what a bound explains; and
the recognition of a network, on the smallest that have what is looked at.
`test_fault_dictionary.py` plants each fault in networks of ordinary size.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
import reference
from manual_nn import Dense
from reference import Bounded, Code, Leaf, Rounding
from reference.diagnosis import mlp
from reference.diagnosis.mlp import (
    FAULTS,
    RIGHT,
    Bounds,
    Fault,
    Interval,
    Pass,
    explain,
    fit,
    forward,
    is_bounded,
    like_ours,
    recognised_weight_decay,
    scalars,
    softmax,
    worst_share,
)
from tests.support.leaves import leaf_of

Array = npt.NDArray[Any]

UNIT_ROUNDOFF = 2.0**-51  # of float64, once for each of the two that are compared and beside each


def fault_of(code: Code, how: str = "") -> Fault:
    (fault,) = (fault for fault in FAULTS if fault.code == code and how in fault.how)
    return fault


def same(got: Any, want: npt.ArrayLike) -> None:
    np.testing.assert_array_equal(got, np.asarray(want, float), strict=True)


# The steps

INTS = np.random.default_rng(0)


def ints(*shape: int) -> Array:
    """Draw small integers, none of them 0."""
    return INTS.choice([-3, -2, -1, 1, 2, 3], size=shape).astype(float)


def pass_of(*sizes: int, weight_decay: float = 0.25, learning_rate: float = 0.5) -> Pass:
    """Take two rows through layers of these sizes."""
    params = [Dense(ints(m, n), ints(n)) for m, n in itertools.pairwise(sizes)]
    return forward(params, ints(2, sizes[0]), np.array([0, 1]), weight_decay, learning_rate)


def test_the_forward_pass_keeps_what_goes_in_and_what_comes_out() -> None:
    X, y = np.array([[1.0, -2.0]]), np.array([1])
    first = [np.array([[1.0, 0.25, -1.0], [0.0, 0.5, 1.0]]), np.array([0.5, 0.0, 9.0])]
    second = [np.array([[1.0, 1.0], [5.0, 5.0], [2.0, 1.0]]), np.array([0.25, -16.0])]
    now = forward([first, second], X, y, 0.125, 0.5)
    assert now.params == (Dense(*first), Dense(*second))
    assert now.y is y
    assert (now.weight_decay, now.learning_rate) == (0.125, 0.5)
    assert now.a[0] is X
    same(now.z[0], [[1.5, -0.75, 6]])
    same(now.a[1], [[1.5, 0, 6]])
    same(now.z[1], [[13.75, -8.5]])
    assert len(now.a) == len(now.z) == 2


def test_the_softmax_is_over_the_classes_and_overflows_nowhere() -> None:
    z = np.array([[1000.0, 1000.0, 1000.0, 1000.0], [-1000.0, -1000.0, -2000.0, -3000.0]])
    same(softmax(z), [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    columns, whole = (fault_of(Code.SOFTMAX_WRONG_AXIS, how) for how in ("rows", "batch"))
    same(RIGHT.softmax(z), softmax(z))
    same(columns.softmax(z), np.repeat([[1], [0]], 4, axis=1))
    same(whole.softmax(z), np.repeat([[0.25], [0]], 4, axis=1))


TARGET = [[0, 0, 1, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("fault", "target"),
    [
        (RIGHT, TARGET),
        (fault_of(Code.LABEL_SHIFTED, "high"), [[0, 0, 0, 1], [0, 1, 0, 0]]),
        (fault_of(Code.LABEL_SHIFTED, "low"), [[0, 1, 0, 0], [0, 0, 0, 1]]),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_the_target_is_the_class_or_the_one_beside_it(
    fault: Fault, target: Any, soft: bool
) -> None:
    y = np.array(TARGET, float) if soft else np.array([2, 0])
    same(fault.target(y, np.zeros((2, 4))), target)


P = np.array([[0.5, 0.25, 0.25, 0.0], [0.125, 0.75, 0.125, 0.0]])
T = np.array([[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (RIGHT, [[0.25, -0.375, 0.125, 0], [-0.1875, 0.375, -0.1875, 0]]),
        (fault_of(Code.LABEL_TERM_MISSING), P / 2),
        (
            fault_of(Code.SOFTMAX_JACOBIAN_DIAGONAL_ONLY),
            [[0, -0.375, 0, 0], [-0.21875, 0, -0.21875, 0]],
        ),
        (
            fault_of(Code.SOFTMAX_DERIVATIVE_ON_TOP),
            [[0.0625, -0.0703125, 0.0234375, 0], [-0.0205078125, 0.0703125, -0.0205078125, 0]],
        ),
        (fault_of(Code.SIGN_OF_DELTA), (T - P) / 2),
        (fault_of(Code.SUM_NOT_MEAN), P - T),
        (fault_of(Code.ONE_OVER_N_TWICE), (P - T) / 4),
        (fault_of(Code.MEAN_OVER_CLASSES_TOO), (P - T) / 8),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_the_error_at_the_logits(fault: Fault, error: npt.ArrayLike) -> None:
    same(fault.logits_backward(P, T), error)


Z = np.array([[-0.5, 0.0, 0.5, 2.0]])
BELOW, ABOVE = np.array([[1.0, 0.0, -0.5, 0.5]]), np.array([[0.5, 2.0, 0.0, -0.5]])
D_A = np.array([[8.0, 0.5, -0.5, 32.0]])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (RIGHT, [[0, 0, -0.5, 32]]),
        (fault_of(Code.RELU_MASK_MISSING), D_A),
        (fault_of(Code.RELU_MASK_INVERTED), [[8, 0.5, 0, 0]]),
        (fault_of(Code.RELU_MASK_INCLUDES_ZERO), [[0, 0.5, -0.5, 32]]),
        (fault_of(Code.RELU_MASK_WRONG_LAYER, "above"), [[8, 0.5, 0, 0]]),
        (fault_of(Code.RELU_MASK_WRONG_LAYER, "below"), [[8, 0, 0, 32]]),
        (fault_of(Code.RELU_APPLIED_TO_GRADIENT), [[8, 0.5, 0, 32]]),
        (fault_of(Code.DELTA_TIMES_ACTIVATION), [[0, 0, -0.25, 64]]),
        (fault_of(Code.SIGMOID_DERIVATIVE_ON_RELU), [[0, 0, -0.125, -64]]),
        (fault_of(Code.UPSTREAM_GRADIENT_DROPPED), [[0, 0, 1, 1]]),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_the_error_through_a_relu(fault: Fault, error: npt.ArrayLike) -> None:
    z = (BELOW, Z, ABOVE)
    a = (np.full((1, 4), 9.0), np.maximum(BELOW, 0), np.maximum(Z, 0))
    same(fault.relu_backward(Pass((), a, z, None, None, None), 1, D_A), error)


@pytest.mark.parametrize("how", ["above", "below"])
def test_a_mask_is_of_the_layer_itself_where_the_other_is_missing_or_as_wide(how: str) -> None:
    """The layer below the lowest is not the highest."""
    step = fault_of(Code.RELU_MASK_WRONG_LAYER, how).relu_backward
    for z in ((Z, np.ones((1, 3))), (Z, np.ones((1, 3)), np.ones((1, 4)))):
        same(step(Pass((), (), z, None, None, None), 0, D_A), [[0, 0, -0.5, 32]])


def test_the_error_goes_back_through_the_transposed_weight() -> None:
    now = pass_of(2, 3, 3)
    d_z, d_a = ints(2, 3), ints(2, 3)
    for l in (0, 1):
        weight = now.params[l].weight
        through = fault_of(Code.WEIGHT_TRANSPOSED_IN_BACKWARD).input_backward(now, l, d_z, d_a)
        same(RIGHT.input_backward(now, l, d_z, d_a), d_z @ weight.T)
        same(
            fault_of(Code.UNMASKED_ERROR_PROPAGATED).input_backward(now, l, d_z, d_a),
            d_a @ weight.T,
        )
        same(through, d_z @ weight if l else d_z @ weight.T)
        updated = weight - 0.5 * (now.a[l].T @ d_z + 0.5 * weight)
        same(
            fault_of(Code.WEIGHT_UPDATED_BEFORE_BACKWARD).input_backward(now, l, d_z, d_a),
            d_z @ updated.T,
        )


def test_a_wide_weight_is_transposed_in_backward() -> None:
    now = pass_of(3, 2, 2, 3)
    step = fault_of(Code.WEIGHT_TRANSPOSED_IN_BACKWARD).input_backward
    for l, width in ((0, 2), (2, 3)):
        d_z = ints(2, width)
        same(step(now, l, d_z, d_z), d_z @ now.params[l].weight.T)


@pytest.mark.parametrize(
    ("sizes", "up", "down"),
    [
        ((2, 2, 3, 2, 2, 2), [3, 1, 2, 4, 4], [0, 1, 2, 0, 3]),
        ((2, 3, 2), [0, 1], [0, 1]),
    ],
)
def test_the_weight_of_another_layer_is_the_next_of_its_shape(
    sizes: Sequence[int], up: list[int], down: list[int]
) -> None:
    """Up or down, or its own if there is none: from the lowest down there is none."""
    now = pass_of(*sizes)
    for how, others in (("layer up", up), ("layer down", down)):
        step = fault_of(Code.INPUT_AND_WEIGHT_CONFUSED, how).input_backward
        for l, other in enumerate(others):
            d_z = ints(2, sizes[l + 1])
            same(step(now, l, d_z, d_z), d_z @ now.params[other].weight.T)


def test_the_gradient_of_a_weight_takes_what_goes_in() -> None:
    """Or what comes out or the data, where they are as wide; or what went into the ReLU below."""
    own, data, z = (
        fault_of(Code.INPUT_AND_WEIGHT_CONFUSED, "own output").weight_backward,
        fault_of(Code.INPUT_AND_WEIGHT_CONFUSED, "of the network").weight_backward,
        fault_of(Code.PRE_ACTIVATION_AS_LAYER_INPUT).weight_backward,
    )
    for sizes, outputs, inputs in (
        ((2, 2, 2, 2), [1, 2, 2], [0, 0, 0]),
        ((2, 2, 3, 2), [1, 1, 2], [0, 0, 2]),
        ((3, 2, 2, 3, 3), [0, 2, 2, 3], [0, 1, 2, 0]),
    ):
        now = pass_of(*sizes)
        for l in range(len(sizes) - 1):
            d_z = ints(2, sizes[l + 1])
            same(RIGHT.weight_backward(now, l, d_z), now.a[l].T @ d_z)
            same(own(now, l, d_z), now.a[outputs[l]].T @ d_z)
            same(data(now, l, d_z), now.a[inputs[l]].T @ d_z)
            same(z(now, l, d_z), (now.z[l - 1] if l else now.a[0]).T @ d_z)


D_Z = np.array([[1.0, -2.0, 4.0], [8.0, 16.0, -32.0]])


@pytest.mark.parametrize(
    ("fault", "gradient"),
    [
        (RIGHT, [9, 14, -28]),
        (fault_of(Code.BIAS_LAST_ROW_ONLY), [8, 16, -32]),
        (fault_of(Code.BIAS_GRADIENT_AVERAGED), [4.5, 7, -14]),
        (fault_of(Code.BIAS_GRADIENT_SUMMED_OVER_UNITS), [-5, -5, -5]),
        (fault_of(Code.BIAS_GRADIENT_FROM_UNMASKED_DELTA), [90, 140, -280]),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_the_gradient_of_a_bias(fault: Fault, gradient: npt.ArrayLike) -> None:
    same(fault.bias_backward(D_Z, 10 * D_Z), gradient)


def test_the_last_of_three_rows_is_the_last() -> None:
    same(fault_of(Code.BIAS_LAST_ROW_ONLY).bias_backward(np.vstack([D_Z, D_Z[:1]]), D_Z), D_Z[0])


@pytest.mark.parametrize(
    ("fault", "factor"),
    [
        (RIGHT, 0.5),
        (fault_of(Code.PENALTY_WITHOUT_FACTOR_2), 0.25),
        (fault_of(Code.PENALTY_PER_ROW), 1.0),
        (fault_of(Code.DECAY_SUBTRACTED), -0.5),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_the_gradient_of_the_penalty(fault: Fault, factor: float) -> None:
    assert fault.weight_penalty is not None
    for now in (pass_of(3, 4, 2), pass_of(3, 2)):
        for l, layer in enumerate(now.params):
            same(fault.weight_penalty(now, l), factor * layer.weight)


def test_the_penalty_is_not_on_the_biases() -> None:
    now = pass_of(3, 4, 2)
    on_bias = fault_of(Code.PENALTY_ON_BIAS).bias_penalty
    assert RIGHT.bias_penalty is None
    assert on_bias is not None
    for l, layer in enumerate(now.params):
        same(on_bias(now, l), layer.bias / 2)
    assert fault_of(Code.PENALTY_MISSING).weight_penalty is None


# The pass


def exact_network(*, soft: bool = False) -> tuple[Any, Array, Array, float]:
    """Make one whose logits are equal in each row, so that every number is dyadic.

    The columns of the last weight differ by what is orthogonal to both rows of what goes in.
    """
    rng = np.random.default_rng(13)
    params = [
        Dense(rng.integers(-2, 3, size=(3, 3)) / 2, rng.integers(-1, 2, size=3) / 2)
        for _ in range(2)
    ]
    X = rng.integers(1, 4, size=(2, 3)) / 1.0
    a = X
    for weight, bias in params:
        a = np.maximum(a @ weight + bias, 0)
    apart = np.outer(np.cross(*a), [0, 1, -2, 0.5])
    top = Dense(np.array([[0.5], [-1], [2]]) + apart, np.full(4, 0.25))
    soft_y = np.array([[0.25, 0.25, 0.5, 0], [0, 0.75, 0.125, 0.125]])
    return (*params, top), X, soft_y if soft else np.array([1, 3]), 0.125


@pytest.mark.parametrize("soft", [False, True])
def test_the_pass_is_the_gradient_of_manual_nn(soft: bool) -> None:
    network = exact_network(soft=soft)
    gradient = manual_nn.loss_and_grad(*network[:3], weight_decay=network[3])[1]
    assert all(layer.bias.any() for layer in gradient)
    for got, want in zip(RIGHT(*network), gradient, strict=True):
        assert isinstance(got, Dense)
        same(got.weight, want.weight)
        same(got.bias, want.bias)


def test_a_fault_is_the_pass_with_one_step_replaced() -> None:
    """And every kind of step is replaced by some."""
    steps = set(vars(RIGHT)) - {"code", "how"}
    replaced = [
        {step for step in steps if getattr(fault, step) != getattr(RIGHT, step)} for fault in FAULTS
    ]
    assert all(len(one) == 1 for one in replaced)
    assert set().union(*replaced) == steps


def test_penalties_are_added_to_their_arrays() -> None:
    params, X, y, decay = exact_network()
    right = RIGHT(params, X, y, 0.0)
    missing = fault_of(Code.PENALTY_MISSING)(params, X, y, decay)
    both = fault_of(Code.PENALTY_ON_BIAS)(params, X, y, decay)
    for layer, none, two, one in zip(params, missing, both, right, strict=True):
        same(none.weight, one.weight)
        same(none.bias, one.bias)
        same(two.weight, one.weight + 2 * decay * layer.weight)
        same(two.bias, one.bias + 2 * decay * layer.bias)


def test_an_update_that_comes_too_early_has_a_rate_of_a_tenth_if_none_is_given() -> None:
    network = exact_network()
    fault = fault_of(Code.WEIGHT_UPDATED_BEFORE_BACKWARD)
    for got, want in zip(fault(*network), fault(*network, learning_rate=0.1), strict=True):
        same(got.weight, want.weight)


# Fitting a number


def test_an_interval_has_its_ends_and_what_is_between() -> None:
    interval = Interval(1.0, 4.0)
    assert interval.middle == 2.5
    assert [number in interval for number in (0.5, 1, 2, 4.0, 4.5)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert not interval.__contains__("2")


@pytest.mark.parametrize(
    ("got", "unit", "error", "unit_error", "low", "high"),
    [
        (0.75, 1, 0.25, 0, 0.5, 1),
        (-6, 2, 0.5, 0, -3.25, -2.75),
        (0.5, 1, 1, 0, -0.5, 1.5),
        (0.5, 3, 0.25, 1, 0.0625, 0.375),  # 0.25 / (3 + 1) to 0.75 / (3 - 1)
        (-0.5, 3, 0.25, 1, -0.375, -0.0625),
        ([8, 2], [4, 0.5], [1, 0.25], 0, 3.5, 2.25),
        ([8, 1], [4, 0.5], [1, 0.25], 0, 1.75, 2.25),
        (3, 1, 0, 1, 1.5, np.inf),  # |3 - c| <= |c|
        (-3, 1, 0, 1, -np.inf, -1.5),
        (0.5, 1, 0, 1, 0.25, np.inf),
        (-0.5, 1, 0, 1, -np.inf, -0.25),
        (0, 1, 0, 1, -np.inf, np.inf),
        ([1, 5], 1, [np.inf, 0], 0, 5, 5),
        ([1, 5], 1, 0, [np.inf, 0], 5, 5),
    ],
)
def test_a_fit_gives_the_ends_of_what_all_elements_allow(
    got: Any, unit: Any, error: Any, unit_error: Any, low: float, high: float
) -> None:
    found = fit(got, unit, error, unit_error)
    assert found == ((low, high) if low <= high else None)


def test_nothing_is_fitted_to_what_is_infinite_or_without_a_bound() -> None:
    assert fit([np.inf], [1.0], 1.0, 0.0) is None
    assert fit([np.nan, 1.0], [1.0, 1.0], [np.inf, 0.0], 0.0) is None
    assert fit([1.0], [1.0], np.inf, 0.0) is None
    assert fit([1.0], [1.0], 0.0, np.inf) is None


# What a bound explains


def share_of(leaf: Leaf, value: npt.ArrayLike, error: npt.ArrayLike) -> float:
    return worst_share(leaf, Bounded(np.asarray(value, float), np.asarray(error, float)))


def test_the_worst_share_is_of_the_element_that_is_farthest_in_parts_of_its_bound() -> None:
    leaf = leaf_of([0, 0], [1, 2])
    assert share_of(leaf, [1.25, 2], [0.5, 0.25]) == 0.5
    assert share_of(leaf, [0.5, 2.25], [0.25, 1]) == 2
    assert share_of(leaf, [1, 2], [0, 0]) == 0
    assert share_of(leaf, [1, 2.5], [0, 0]) == np.inf
    assert share_of(leaf_of([], []), [], []) == 0


def test_what_is_infinite_or_may_be_anything_explains_only_what_is_right() -> None:
    assert share_of(leaf_of([1, 2], [np.nan, 2]), [1, 2], [1, 1]) == np.inf
    assert share_of(leaf_of([1, 2], [1.5, 2], 0.25), [0, 2], [np.inf, 1]) == np.inf
    assert share_of(leaf_of([1, 2], [1.25, 2], 0.25), [np.nan, 2], [np.inf, 1]) == 0
    assert share_of(leaf_of([1, 2], [1, 2]), [7, 2], [np.inf, 1]) == 0


# Recognising a network


def test_scalars_are_the_positive_real_numbers() -> None:
    args = (0.5, 3, -1.0, 0.0, np.array([4.0]), {"a": np.float32(2), "b": [np.array(0.25)]}, "")[:6]
    assert scalars(args) == [0.5, 2.0, 0.25]


W, B = np.zeros((3, 2)), np.zeros(2)
CLASSES, SOFT = np.array([0, 1, 1, 0]), np.full((4, 2), 0.5)


@pytest.mark.parametrize("y", [CLASSES, CLASSES.astype(np.uint8), SOFT, SOFT.astype(np.float32)])
@pytest.mark.parametrize("rest", [(), (0.5,)])
def test_layers_that_chain_with_data_and_targets_are_like_ours(y: Array, rest: Any) -> None:
    X = np.zeros((4, 3))
    assert like_ours(([(W, B)], X, y, *rest))
    assert like_ours((((W, B), [np.zeros((2, 2)), B]), X, y, *rest))


@pytest.mark.parametrize(
    "args",
    [
        ([(W, B)], np.zeros((4, 2)), CLASSES),  # another width
        ([(W, B), (W, B)], np.zeros((4, 3)), CLASSES),
        ([(W, np.zeros(3))], np.zeros((4, 3)), CLASSES),
        ([(W, np.zeros((2, 1)))], np.zeros((4, 3)), CLASSES),
        ([(W, B)], np.zeros((4, 3)), CLASSES[:3]),
        ([(W, B)], np.zeros((4, 3)), CLASSES.astype(float)),  # no classes
        ([(W, B)], np.zeros((4, 3)), SOFT.astype(int)),  # no probabilities
        ([(W, B)], np.zeros((4, 3)), SOFT[:, :1]),
        ([(W, B)], np.zeros((4, 3)), CLASSES.astype(bool)),
        ([], np.zeros((4, 2)), SOFT),
        ([(W,)], np.zeros((4, 3)), CLASSES),
        ([(W, B)], np.zeros(4), CLASSES),
        ([(W, B)], np.zeros((4, 3))),
        (1.0, np.zeros((4, 3)), CLASSES),
    ],
)
def test_other_arguments_are_not(args: Any) -> None:
    assert not like_ours(args)


def regression(*, soft: bool = False) -> tuple[Any, Array, Array]:
    """Make a softmax regression of ordinary numbers, with a bias."""
    rng = np.random.default_rng(3)
    y: Array = rng.dirichlet(np.ones(2), size=4) if soft else rng.integers(2, size=4)
    return (Dense(rng.normal(size=(3, 2)), rng.normal(size=2)),), rng.normal(size=(4, 3)), y


def ours(params: Any, X: Any, y: Any, weight_decay: Any = 0.0) -> Any:
    return reference.loss(params, X, y, weight_decay=weight_decay)


def wanted(params: Any, X: Any, y: Any, weight_decay: float = 0.0) -> list[Leaf]:
    """Make the leaves of a right gradient, which no bound is needed for here."""
    gradient = manual_nn.loss_and_grad(params, X, y, weight_decay=weight_decay)[1]
    return [leaf_of(leaf, leaf) for leaf in jax.tree.leaves(gradient)]


@pytest.mark.parametrize("weight_decay", [0.25, 2.0, 1e-20])
def test_a_decay_among_the_arguments_is_recognised_as_that_number(weight_decay: float) -> None:
    """Of those that are possible the first, which for a tiny one is 0, too."""
    args = (*regression(), weight_decay)
    found = recognised_weight_decay(wanted(*args), ours, args, 0)
    assert found is not None
    assert (float(found.value), float(found.error)) == (weight_decay, 0)


@pytest.mark.parametrize("argnums", [0, (0,), [0], 1, (1,), [1], -1, (0, 1)])
def test_a_network_is_one_of_parameters(argnums: Any) -> None:
    args = (*regression(soft=True), 0.25)
    found = recognised_weight_decay(wanted(*args), ours, args, argnums)
    assert (found is not None) == (argnums in (0, (0,), [0]))


def test_a_decay_within_the_loss_is_known_to_the_error_of_the_gradient() -> None:
    args = regression()

    def decayed(params: Any, X: Any, y: Any) -> Any:
        return ours(params, X, y, 0.25)

    found = recognised_weight_decay(wanted(*args, 0.25), decayed, args, 0)
    assert found is not None
    assert abs(found.value - 0.25) <= found.error < 2.0**-40
    assert found.error > 0
    none = recognised_weight_decay(wanted(*args), ours, args, 0)
    assert none is not None
    assert (float(none.value), float(none.error)) == (0, 0)


def test_a_negative_decay_is_not_ours() -> None:
    args = regression()

    def raised(params: Any, X: Any, y: Any) -> Any:
        return ours(params, X, y, -0.125)

    leaves = [leaf_of(leaf, leaf) for leaf in jax.tree.leaves(RIGHT(*args, -0.125))]
    assert recognised_weight_decay(leaves, raised, args, 0) is None


def test_a_loss_of_operations_without_a_bound_is_not_ours() -> None:
    args = regression()

    def gamma(params: Any, X: Any, y: Any) -> Any:
        return ours(params, X, y) + jax.lax.lgamma(params[0].bias).sum()

    assert recognised_weight_decay(wanted(*args), gamma, args, 0) is None


def flat_regression(param: npt.ArrayLike) -> tuple[Any, Array, Array]:
    """Make one whose data is 0, so that the gradient of the weights is that of the penalty."""
    return (Dense(np.asarray(param, float), np.zeros(2)),), np.zeros((2, 1)), np.array([0, 1])


def test_without_data_and_decay_the_decay_is_0_and_nothing_else() -> None:
    args = flat_regression([[4, 4]])
    found = recognised_weight_decay(wanted(*args), ours, args, 0)
    assert found is not None
    assert (float(found.value), float(found.error)) == (0, 0)


def test_a_decay_may_be_off_by_four_roundings_at_each_weight_and_no_more() -> None:
    """Of the product 2 d W and of its addition, twice each: gamma_4; eq. (R1)."""
    args = flat_regression([[4, 4]])
    bias = wanted(*args)[1]
    for share, recognised in ((0.75, True), (1.25, False)):
        gradient = 2.0 * np.array([[1, 1 + share * 2 * 4 * UNIT_ROUNDOFF]])
        found = recognised_weight_decay([leaf_of(gradient, gradient), bias], ours, args, 0)
        assert (found is not None) == recognised


# Explaining a gradient


def explained(
    gradient: Any,
    args: Any,
    *dictionary: Fault,
    monkeypatch: pytest.MonkeyPatch,
    weight_decay: float = 0.25,
    error: float = 0.0,
) -> list[tuple[Code, Any]]:
    """Ask a dictionary of these faults alone."""
    monkeypatch.setattr(mlp, "FAULTS", dictionary)
    params, X, y = args[:3]
    right = wanted(params, X, y, weight_decay)
    got = jax.tree.leaves(gradient)
    leaves = [leaf_of(leaf.want, one) for leaf, one in zip(right, got, strict=True)]
    decay = Bounded(np.asarray(weight_decay), np.asarray(error))
    found = explain(leaves, args, decay, np.float64)
    return [(one.fault.code, one.learning_rate) for one in found]


WITHOUT_EFFECT = fault_of(Code.RELU_MASK_MISSING)  # on a softmax regression
ON_BIAS, SUBTRACTED, MISSING = (
    fault_of(code) for code in (Code.PENALTY_ON_BIAS, Code.DECAY_SUBTRACTED, Code.PENALTY_MISSING)
)
UPDATED = fault_of(Code.WEIGHT_UPDATED_BEFORE_BACKWARD)


def bounds_of(fault: Fault, args: Any, weight_decay: float) -> tuple[Bounded, Bounded]:
    """Give the weight and the bias of the only layer, with their bounds."""
    rounding = Rounding(np.float64)
    layers: Any = Bounds(args[:3], rounding.given(weight_decay), rounding).gradient(fault)
    ((weight, bias),) = layers
    return weight, bias


def test_a_gradient_that_is_right_by_rounding_is_explained_by_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = regression()
    gradient = RIGHT(*args, 0.25)
    gradient[0].weight[0, 0] *= 1 + 2.0**-52
    assert explained(gradient, args, WITHOUT_EFFECT, monkeypatch=monkeypatch) == []


def test_a_fault_explains_up_to_its_bound_and_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal logits and rows the gradient is 0, so that its distance is exactly its bound."""
    params = (Dense(np.zeros((1, 2)), np.full(2, 4.0)),)
    args = params, np.ones((2, 1)), np.array([0, 1])
    weight, bias = bounds_of(ON_BIAS, args, 0.25)
    assert weight.error.all()
    assert bias.error.all()
    same(weight.value, [[0, 0]])
    same(bias.value, [2, 2])
    for share, found in ((1, [(Code.PENALTY_ON_BIAS, None)]), (2, []), (1.5, [])):
        gradient = [(share * weight.error, bias.value)]
        assert explained(gradient, args, ON_BIAS, monkeypatch=monkeypatch) == found
    for at_weight, at_bias in (
        (4, 0),
        (4, 0.5),
        (4, 1),
    ):  # a bias within its bound excuses no weight
        gradient = [(at_weight * weight.error, bias.value + at_bias * bias.error)]
        assert explained(gradient, args, ON_BIAS, monkeypatch=monkeypatch) == []
    weight, bias = bounds_of(RIGHT, args, 0.25)
    same(bias.value, [0, 0])
    gradient = [(weight.value, bias.error)]  # right, with nothing to spare
    assert explained(gradient, args, WITHOUT_EFFECT, monkeypatch=monkeypatch) == []
    gradient = [(4 * weight.error, bias.error)]
    assert explained(gradient, args, WITHOUT_EFFECT, monkeypatch=monkeypatch) == []


def test_biases_at_their_very_bound_excuse_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    args = regression()
    gradient = RIGHT(*args, 0.25)
    for at_weight, found in ((2.0, []), (1.0, [(Code.PENALTY_ON_BIAS, None)])):
        shares = iter([2.0, 1.0, at_weight])  # right biases, and the fault's biases and weights
        monkeypatch.setattr(mlp, "worst_share", lambda *_, shares=shares: next(shares))
        assert explained(gradient, args, ON_BIAS, monkeypatch=monkeypatch) == found


def test_a_decay_that_just_leaves_the_bound_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    params = (Dense(np.ones((1, 2)), np.zeros(2)),)
    args = params, np.ones((2, 1)), np.array([0, 1])
    weight, bias = bounds_of(RIGHT, args, 0.0)
    weight_decay = 0.75 * float(weight.error.max())  # 2 d W is 1.5 times the bound
    gradient = [(weight.value, bias.value)]
    found = explained(gradient, args, MISSING, monkeypatch=monkeypatch, weight_decay=weight_decay)
    assert found == [(Code.PENALTY_MISSING, None)]


def test_a_decay_that_is_not_known_exactly_may_be_any_within_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = (*regression(), 0.25)
    for decay, error, found in (
        (0.28125, 0.0625, [(Code.DECAY_SUBTRACTED, None)]),
        (0.375, 0.0625, []),
    ):
        gradient = SUBTRACTED(*args[:3], decay)
        assert explained(gradient, args, SUBTRACTED, monkeypatch=monkeypatch, error=error) == found


def deep(*sizes: int) -> tuple[Any, Array, Array]:
    """Make a network whose hidden units are all active."""
    rng = np.random.default_rng(5)
    params = tuple(
        Dense(rng.normal(size=(m, n)), np.full(n, 8.0)) for m, n in itertools.pairwise(sizes)
    )
    return params, rng.normal(size=(3, sizes[0])), np.array([0, 1, 1])


def test_every_bias_and_every_weight_must_be_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    args = deep(2, 2, 2)
    right = SUBTRACTED(*args, 0.25)
    assert explained(right, args, SUBTRACTED, monkeypatch=monkeypatch) == [
        (Code.DECAY_SUBTRACTED, None)
    ]
    for leaf in range(4):
        leaves = [np.array(one) for one in jax.tree.leaves(right)]
        leaves[leaf][0] += 1
        assert explained(leaves, args, SUBTRACTED, monkeypatch=monkeypatch) == []


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 2, 2)])
@pytest.mark.parametrize(("rate", "found"), [(0.5, True), (1.0, True), (-0.5, False), (1.5, False)])
def test_an_early_update_is_found_with_its_rate_between_0_and_1(
    sizes: Sequence[int], rate: float, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = deep(*sizes)
    gradient = UPDATED(*args, 0.25, rate)
    answers = explained(gradient, args, UPDATED, monkeypatch=monkeypatch)
    assert [code for code, _ in answers] == [UPDATED.code] * found
    for _, interval in answers:
        assert rate in interval


def test_the_layers_below_must_have_the_same_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    args = deep(2, 3, 2, 2)
    gradient = UPDATED(*args, 0.25, 0.5)
    gradient[0].weight[:] *= 1 + 2.0**-30
    assert explained(gradient, args, UPDATED, monkeypatch=monkeypatch) == []


def test_where_no_layer_is_below_no_update_is_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    args = regression()
    gradient = SUBTRACTED(*args, 0.25)
    found = explained(gradient, args, UPDATED, SUBTRACTED, monkeypatch=monkeypatch)
    assert found == [(Code.DECAY_SUBTRACTED, None)]


def test_bounds_take_the_rate_that_they_are_given_and_else_none() -> None:
    """The logits of a row are equal, so that p is 1/2 and all numbers are dyadic, and exact."""
    first = Dense(np.array([[1.0, 2.0], [3.0, -1.0]]), np.full(2, 8.0))
    second = Dense(np.array([[1.0, 1.0], [2.0, 2.0]]), np.full(2, 4.0))
    args = (first, second), np.array([[1.0, -2.0], [2.0, 1.0]]), np.array([0, 1])
    rounding = Rounding(np.float64)
    bounds = Bounds(args, rounding.given(0.25), rounding)
    at_half = bounds.gradient(UPDATED, bounds.at_rate(rounding.given(0.5)))
    for rate, bounded in ((0.0, bounds.gradient(UPDATED)), (0.5, at_half)):
        got, want = jax.tree.leaves(bounded, is_leaf=is_bounded), UPDATED(*args, 0.25, rate)
        for leaf, exact in zip(got, jax.tree.leaves(want), strict=True):
            same(leaf.value, exact)
    assert not np.array_equal(
        UPDATED(*args, 0.25, 0.5)[0].weight, UPDATED(*args, 0.25, 0.0)[0].weight
    )


# Kinks within rounding


def network_on_a_kink() -> tuple[Any, Array, Array]:
    """Make one whose first hidden unit's pre-activation is 0 or 5e-17; the second is active."""
    X = np.array([[0.1, 0.2, -0.3]])
    first = Dense(np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 0.0]]), np.zeros(2))
    return (first, Dense(np.array([[1.0, -2.0], [4.0, 2.0]]), np.zeros(2))), X, np.array([0])


def off_the_kink(gradient: Any) -> Any:
    """Let nothing through the first hidden unit."""
    first, second = gradient
    return Dense(first.weight * [0, 1], first.bias * [0, 1]), second


def test_a_kink_is_as_the_values_say_if_that_explains_the_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it may be on the other side."""
    args = network_on_a_kink()
    now = forward(*args, 0.0, 0.0)
    assert abs(now.z[0][0, 0]) < 2.0**-50
    active = bool(now.z[0][0, 0] > 0)
    one_side = Fault(
        Code.RELU_MASK_INVERTED,
        relu_backward=lambda _now, _l, d_a: d_a * np.array([[1.0 - active, 1.0]]),
    )
    gradient = one_side(*args, 0.0)
    found = explained(gradient, args, one_side, monkeypatch=monkeypatch, weight_decay=0.0)
    assert found == [(Code.RELU_MASK_INVERTED, None)]
    sign = fault_of(Code.SIGN_OF_DELTA)
    for broken in (sign(*args, 0.0), off_the_kink(sign(*args, 0.0))):
        found = explained(broken, args, sign, monkeypatch=monkeypatch, weight_decay=0.0)
        assert found == [(Code.SIGN_OF_DELTA, None)]
