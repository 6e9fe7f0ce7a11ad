"""A gradient is explained by the faults whose bounds hold every element of it, and by no other."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import pytest

from manual_nn import Dense
from reference import Bounded, Code, Rounding
from reference.arrays import Array
from reference.diagnosis.mlp import explanation
from reference.diagnosis.mlp.bounds import Bounds, is_bounded, kept_bounds
from reference.diagnosis.mlp.explanation import explain
from reference.diagnosis.mlp.passes import RIGHT, Fault, forward
from tests.support.leaves import leaf_of
from tests.support.mlp_faults import FAULTS_PLANTED as FAULTS
from tests.support.regressions import regression, wanted


def fault_of(code: Code, how: str = "") -> Fault:
    (fault,) = (fault for fault in FAULTS if fault.code == code and how in fault.how)
    return fault


def same(got: Any, want: npt.ArrayLike) -> None:
    np.testing.assert_array_equal(got, np.asarray(want, float), strict=True)


def explained(
    gradient: Any,
    args: Any,
    *dictionary: Fault,
    monkeypatch: pytest.MonkeyPatch,
    weight_decay: float = 0.25,
    error: float = 0.0,
) -> list[tuple[Code, Any]]:
    """Ask a dictionary of these faults alone."""
    monkeypatch.setattr(explanation, "FAULTS", dictionary)
    params, X, y = args[:3]
    right = wanted(params, X, y, weight_decay)
    got = jax.tree.leaves(gradient)
    leaves = [leaf_of(leaf.want, one) for leaf, one in zip(right, got, strict=True)]
    decay = Bounded(np.asarray(weight_decay), np.asarray(error))
    layers = list(itertools.starmap(Dense, zip(leaves[::2], leaves[1::2], strict=True)))
    found = explain(layers, args, decay, np.float64)
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
    for ratio, found in ((1, [(Code.PENALTY_ON_BIAS, None)]), (2, []), (1.5, [])):
        gradient = [(ratio * weight.error, bias.value)]
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
        ratios = iter([2.0, 1.0, at_weight])  # right biases, and the fault's biases and weights
        monkeypatch.setattr(explanation, "worst_ratio", lambda *_, ratios=ratios: next(ratios))
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


def test_bounds_are_kept_for_the_same_network_and_precision_alone() -> None:
    params, X, y = regression()
    decay = Bounded(np.asarray(0.25), np.asarray(0.0))
    kept = kept_bounds((params, X, y), decay, np.float64, "decided")
    again = kept_bounds((params, X.copy(), y), decay, np.float64, "decided")
    assert again is kept
    moved = X.copy()
    moved[0, 0] = np.nextafter(moved[0, 0], 9)
    unsure = decay._replace(error=np.asarray(0.5))
    others: list[tuple[Any, Bounded, Any, Any]] = [
        ((params, moved, y), decay, np.float64, "decided"),
        ((params, X, y[::-1]), decay, np.float64, "decided"),
        ((params, X, y), unsure, np.float64, "decided"),
        ((params, X, y), decay, np.float32, "decided"),
        ((params, X, y), decay, np.float64, "open"),
    ]
    for other in others:
        assert kept_bounds(*other) is not kept
    for fault in (RIGHT, SUBTRACTED, RIGHT):
        fresh = bounds_of(fault, (params, X, y), 0.25)
        kept = kept_bounds((params, X, y), decay, np.float64, "decided")
        layers: Any = kept.gradient(fault)
        ((weight, bias),) = layers
        for got, want in zip((weight, bias), fresh, strict=True):
            same(got.value, want.value)
            same(got.error, want.error)


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
