"""The steps of the backward pass, right and broken, on numbers that can be worked out by hand."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import manual_nn
from manual_nn import Dense
from reference import Code
from reference.arrays import Array
from reference.diagnosis.mlp.passes import RIGHT, Fault, Pass, forward, softmax
from tests.support.cases import each
from tests.support.exact import dyadic_network
from tests.support.mlp_faults import FAULTS_PLANTED as FAULTS
from tests.support.mlp_faults import OfPenalty


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


@each(
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
        (OfPenalty(), 0.5),
        (fault_of(Code.PENALTY_WITHOUT_FACTOR_2), 0.25),
        (fault_of(Code.PENALTY_PER_ROW), 1.0),
        (fault_of(Code.DECAY_SUBTRACTED), -0.5),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else "",
)
def test_the_gradient_of_the_penalty(fault: OfPenalty, factor: float) -> None:
    assert fault.weight_penalty is not None
    for now in (pass_of(3, 4, 2), pass_of(3, 2)):
        for l, layer in enumerate(now.params):
            same(fault.weight_penalty(now, l), factor * layer.weight)


def test_the_penalty_is_not_on_the_biases() -> None:
    now = pass_of(3, 4, 2)
    on_bias, missing = fault_of(Code.PENALTY_ON_BIAS), fault_of(Code.PENALTY_MISSING)
    assert isinstance(on_bias, OfPenalty)
    assert isinstance(missing, OfPenalty)
    assert on_bias.bias_penalty is not None
    for l, layer in enumerate(now.params):
        same(on_bias.bias_penalty(now, l), layer.bias / 2)
    assert missing.weight_penalty is None


# The pass


@pytest.mark.parametrize("soft", [False, True])
def test_the_pass_is_the_gradient_of_manual_nn(soft: bool) -> None:
    network = dyadic_network(soft=soft)
    gradient = manual_nn.loss_and_grad(*network[:3], weight_decay=network[3])[1]
    assert all(layer.bias.any() for layer in gradient)
    for got, want in zip(RIGHT(*network), gradient, strict=True):
        assert isinstance(got, Dense)
        same(got.weight, want.weight)
        same(got.bias, want.bias)


def test_a_fault_is_the_pass_with_one_step_replaced() -> None:
    """And every kind of step is replaced by some."""
    right = vars(OfPenalty())
    steps = right.keys() - {"code", "how"}
    replaced = [
        {step for step in steps & vars(fault).keys() if vars(fault)[step] != right[step]}
        for fault in FAULTS
    ]
    assert all(len(one) == 1 for one in replaced)
    assert set().union(*replaced) == steps


def test_penalties_are_added_to_their_arrays() -> None:
    params, X, y, decay = dyadic_network()
    right = RIGHT(params, X, y, 0.0)
    missing = fault_of(Code.PENALTY_MISSING)(params, X, y, decay)
    both = fault_of(Code.PENALTY_ON_BIAS)(params, X, y, decay)
    for layer, none, two, one in zip(params, missing, both, right, strict=True):
        same(none.weight, one.weight)
        same(none.bias, one.bias)
        same(two.weight, one.weight + 2 * decay * layer.weight)
        same(two.bias, one.bias + 2 * decay * layer.bias)


def test_an_update_that_comes_too_early_has_a_rate_of_a_tenth_if_none_is_given() -> None:
    network = dyadic_network()
    fault = fault_of(Code.WEIGHT_UPDATED_BEFORE_BACKWARD)
    for got, want in zip(fault(*network), fault(*network, learning_rate=0.1), strict=True):
        same(got.weight, want.weight)
