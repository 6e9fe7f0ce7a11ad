"""The dictionary of broken gradients: each is a mismatch, and is named first.

The networks are such that each fault has an effect on them and no two have the same: hidden layers
as wide as X, dead units whose pre-activation is exactly 0, a weight decay, and a number of classes
that is neither that of the rows nor that of the units.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import manual_nn
from reference.arguments import Derivative
from reference.bounds.rounding import Bounded, Rounding
from reference.campaign.agreement import draw_example
from reference.compare import Comparer, Comparison, Verdict
from reference.diagnosis.causes import diagnose
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.diagnosis.fitting import fit
from reference.diagnosis.mlp import recognise
from reference.diagnosis.mlp.bounds import Bounds, is_bounded
from reference.diagnosis.mlp.passes import RIGHT, Fault
from reference.diagnosis.mlp.recognition import recognised_weight_decay
from tests.conftest import Tally, depth, half_of, part_for
from tests.support.mlp_faults import WITHOUT_OPERATIONS as FAULTS
from tests.support.strategies import Network, Shape, make_network

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("no_lines")]

NETWORKS = range(depth().networks)
SHAPES = (Shape((8, 8, 8, 8, 8, 4), 17, soft=False), Shape((7, 7, 7, 7, 3), 18, soft=True))


def loss(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """Our loss as somebody else may write it: the picked logit less the logarithm of a sum."""
    z: Any = X
    penalty: Any = 0.0
    for l, (weight, bias) in enumerate(params):
        z = (jax.nn.relu(z) if l else z) @ weight + bias[None, :]
        penalty = penalty + jnp.vdot(weight, weight)
    right = jnp.sum(y * z, axis=1) if y.ndim == 2 else z[jnp.arange(len(y)), y]
    return jnp.mean(jax.nn.logsumexp(z, axis=1) - right) + weight_decay * penalty


def derivative_of(loss: Any, *args: Any) -> Derivative:
    """Trace the gradient once, for comparisons by its bounds and for what knows the network."""
    derivative = Derivative(jax.grad(loss), args, traced=[0])
    derivative.measured = False
    return derivative


@functools.cache
def derivative_for(shape: Shape) -> Derivative:
    return derivative_of(loss, *make_network(shape, np.float64, seed=0))


def shape_of(network: Network) -> Shape:
    X, y = network.X, network.y
    return Shape((X.shape[1], *(bias.size for _, bias in network.params)), len(X), y.ndim == 2)


def network_for(seed: int, dtype: type[np.floating]) -> Network:
    """Make a network with dead units, a decay, and the other units' biases raised by 1/2.

    Without the latter a layer may let nothing through, and then a fault below it has no effect.
    """
    shape = SHAPES[seed % 2]
    network = make_network(shape, dtype, seed=seed, trait="dead units", weight_decay=0.01)
    for _, bias in network.params:
        bias[bias != 0] += 0.5
    return network


def compare(gradient: Any, network: Network) -> Comparison:
    return derivative_for(shape_of(network))(gradient, *network)


def causes_of(gradient: Any, network: Network) -> tuple[Cause, ...]:
    leaves, traced = compare(gradient, network).leaves, derivative_for(shape_of(network))
    return diagnose(Difference(leaves, loss, tuple(network), 0, gradient=traced))


def name_of(fault: Fault) -> str:
    return f"{fault.code}, {fault.how}" if fault.how else fault.code


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", NETWORKS)
def test_every_fault_is_a_mismatch_and_is_named_first(
    seed: int, dtype: type[np.floating], tally: Tally
) -> None:
    network = network_for(seed, dtype)
    for fault in part_for(dtype, FAULTS, turn=seed):
        gradient = fault(*network)
        tally.planted["planted faults"] += 1
        assert compare(gradient, network).verdict == Verdict.MISMATCH, name_of(fault)
        tally.planted["caught"] += 1
        causes = causes_of(gradient, network)
        assert causes[0].code == fault.code, (name_of(fault), causes)
        tally.planted["named first"] += 1


def apart(these: list[Bounded], those: list[Bounded]) -> bool:
    """Say whether no gradient can be within the bounds of both."""
    return any(
        bool((abs(a.value - b.value) > a.error + b.error).any())
        for a, b in zip(these, those, strict=True)
    )


@functools.cache
def derivative_of_example(seed: int) -> Derivative:
    return derivative_of(loss, *draw_example(seed).at(np.float64))


@pytest.mark.parametrize("seed", range(depth().seeds))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_on_any_network_what_can_be_told_apart_is_named_first(
    seed: int, dtype: type[np.floating]
) -> None:
    """Depth 1 to 4, widths to 64, up to 128 rows: a fault need not have an effect on each."""
    args = draw_example(seed).at(dtype)
    derivative = derivative_of_example(seed)
    bounds = Bounds(args[:3], Bounded(np.asarray(args[3]), np.zeros(())), Rounding(dtype))
    now = bounds.at_rate(Bounded(np.asarray(0.1), np.zeros(())))
    predicted = [
        (fault.code, jax.tree.leaves(bounds.gradient(fault, now), is_leaf=is_bounded))
        for fault in FAULTS
    ]
    told = 0
    for fault, (_, broken) in zip(FAULTS, predicted, strict=True):
        leaves = derivative(fault(*args), *args).leaves
        right = [Bounded(leaf.want, leaf.open_bound) for leaf in leaves]
        others = [other for code, other in predicted if code != fault.code]
        if all(apart(broken, other) for other in (right, *others)):
            causes = diagnose(Difference(leaves, loss, args, 0, gradient=derivative))
            assert [cause.code for cause in causes][:1] == [fault.code], name_of(fault)
            told += 1
    assert told > len(FAULTS) / 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_right_gradient_has_no_cause(dtype: type[np.floating], tally: Tally) -> None:
    for seed in NETWORKS:
        network = network_for(seed, dtype)
        by_hand = manual_nn.loss_and_grad(*network[:3], weight_decay=network.weight_decay)[1]
        row_by_row = manual_nn.rowwise.loss_and_grad(
            *network[:3], weight_decay=network.weight_decay
        )[1]
        for gradient in (by_hand, row_by_row, RIGHT(*network)):
            assert compare(gradient, network).verdict == Verdict.MATCH, seed
            assert causes_of(gradient, network) == ()
            tally.planted["right gradients without a cause"] += 1


def test_every_fault_runs_in_both_precisions_without_changing_them() -> None:
    for dtype in (np.float32, np.float64):
        network = network_for(0, dtype)
        for fault in FAULTS:
            for layer, parameter in zip(fault(*network), network.params, strict=True):
                assert layer.weight.dtype == layer.bias.dtype == dtype, fault.code
                assert layer.weight.shape == parameter.weight.shape
                assert layer.bias.shape == parameter.bias.shape


@pytest.mark.parametrize("rate", [1e-3, 0.1, 1.0])
def test_the_rate_of_an_early_update_is_found(rate: float) -> None:
    (fault,) = (fault for fault in FAULTS if fault.code == Code.WEIGHT_UPDATED_BEFORE_BACKWARD)
    network = network_for(0, np.float64)
    cause, *_ = causes_of(fault(*network, learning_rate=rate), network)
    assert cause.code == fault.code
    assert f"The learning rate is {rate:g}." in cause.sentence


@pytest.mark.parametrize(
    ("weight_decay", "known"),
    [
        pytest.param(weight_decay, known, id=f"{weight_decay}, known: {known}")
        for turn, weight_decay in enumerate([0.0, 1e-5, 0.01, 1 / 3])
        for known in half_of([True, False], turn)
    ],
)
def test_the_weight_decay_is_recognised(weight_decay: float, known: bool) -> None:
    """Where it is an argument, known, and where it is within the loss."""
    network = network_for(1, np.float64)._replace(weight_decay=weight_decay)
    args = tuple(network) if known else tuple(network[:3])

    def theirs(params: Any, X: Any, y: Any, factor: Any = weight_decay) -> Any:
        return loss(params, X, y, factor)

    derivative = derivative_of(theirs, *args)
    leaves = derivative(RIGHT(*network), *args).leaves
    found = recognised_weight_decay(Difference(leaves, theirs, args, 0))
    assert found is not None
    assert abs(found.value - weight_decay) <= found.error <= 1e-12
    assert known <= (found.error == 0)
    of_penalty = [
        fault for fault in FAULTS if "penalty" in fault.code or fault.code == Code.DECAY_SUBTRACTED
    ]
    others = [fault for fault in FAULTS if fault not in of_penalty]
    for fault in (*of_penalty, *others[: 2 * depth().networks]):
        leaves = derivative(fault(*network), *args).leaves
        causes = diagnose(Difference(leaves, theirs, args, 0, gradient=derivative))
        expected = [fault.code] if weight_decay or fault in others else []
        assert [cause.code for cause in causes][:1] == expected, (name_of(fault), causes)


def test_layers_may_be_any_pairs() -> None:
    params, *rest = network_for(0, np.float32)
    pairs = [list(layer) for layer in params]
    got = jax.tree.unflatten(jax.tree.structure(pairs), jax.tree.leaves(FAULTS[0](params, *rest)))
    leaves = Comparer(jax.grad(loss), pairs, *rest)(got, pairs, *rest).leaves
    assert diagnose(Difference(leaves, loss, (pairs, *rest), 0))[0].code == FAULTS[0].code


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fault_is_named_with_kinks_within_rounding(dtype: type[np.floating]) -> None:
    shape = SHAPES[0]
    named = 0
    for seed in NETWORKS:
        network = make_network(shape, dtype, seed=seed, trait="on the kink", weight_decay=0.01)
        z = network.X @ network.params[0].weight + network.params[0].bias
        others = tuple(layer._replace(bias=layer.bias + 1) for layer in network.params[1:])
        network = network._replace(params=(network.params[0], *others))
        assert abs(z[0]).max() < 1e-5
        for fault in FAULTS[::9]:
            causes = causes_of(fault(*network), network)
            named += bool(causes) and causes[0].code == fault.code
    assert named == len(FAULTS[::9]) * len(NETWORKS)


@pytest.mark.parametrize(
    "broken_args",
    [
        lambda params, X, y: (params[::-1], X, y),
        lambda params, X, y: (params, X[:, :-1], y),
        lambda params, X, y: (params, X, y[:-1]),
        lambda params, X, y: (params[0], X, y),
        lambda _params, X, y: ((), X, y),
        lambda params, X, _y: (params, X),
    ],
)
def test_other_arguments_are_not_recognised(broken_args: Any) -> None:
    network = make_network(Shape((4, 5, 3), 6, soft=False), np.float64, seed=0)

    def other(*_: Any) -> Any:
        raise AssertionError("the loss is not called")

    args = broken_args(*network[:3])
    assert recognise(Difference([], other, args, 0)) is None


def test_a_network_with_another_activation_is_not_recognised() -> None:
    """Nor is one with another penalty, or without the mean."""
    network = network_for(0, np.float64)

    def leaky(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
        negative = [(-weight, -bias) for weight, bias in params]
        return loss(params, X, y, weight_decay) + 1e-3 * loss(negative, X, y, 0.0)

    def summed(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
        return len(X) * loss(params, X, y, weight_decay)

    def on_biases(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
        return loss(params, X, y, weight_decay) + sum(jnp.sum(b**2) for _, b in params)

    def negative(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
        return loss(params, X, y, -weight_decay)

    for other in (leaky, summed, on_biases, negative):
        leaves = Comparer(jax.grad(other), *network)(RIGHT(*network), *network).leaves
        assert recognised_weight_decay(Difference(leaves, other, tuple(network), 0)) is None, other


def test_a_fault_without_an_effect_explains_nothing() -> None:
    """In softmax regression no error goes down, so that what goes wrong there is not named."""
    network = make_network(Shape((4, 3), 6, soft=False), np.float64, seed=0, weight_decay=0.1)
    derivative = derivative_of(loss, *network)
    for fault in FAULTS:
        leaves = derivative(fault(*network), *network).leaves
        difference = Difference(leaves, loss, tuple(network), 0, gradient=derivative)
        codes = [cause.code for cause in diagnose(difference)]
        assert codes[:1] in ([], [fault.code]), codes


def test_a_fit_is_the_intersection_of_what_the_elements_allow() -> None:
    assert fit([6.0, -9.0], [2.0, -3.0], 0.0, 0.0) == (3.0, 3.0)
    assert fit([-6.0, 9.0], [2.0, -3.0], [0.5, 0.3], 0.0) == (-3.1, -2.9)
    assert fit([6.0, -9.0], [2.0, 3.0], 0.1, 0.0) is None
    assert fit([6.0], [2.0], 0.0, 1.0) == (2.0, 6.0)  # 6 / (2 + 1) to 6 / (2 - 1)
    assert fit([0.0, 1.0], [0.0, 1.0], 0.0, 0.0) == (1.0, 1.0)
    assert fit([1.0, 1.0], [0.0, 1.0], 0.0, 0.0) is None
    assert fit([0.5], [0.0], 1.0, 0.0) == (-np.inf, np.inf)
    assert fit([np.nan], [1.0], 1.0, 0.0) is None
    assert fit([1.0], [1.0], np.inf, 0.0) is None
