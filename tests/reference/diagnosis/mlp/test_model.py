"""What the diagnosis and the report of a check take from the MLP, and that it costs little."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import manual_nn
import reference
from reference import Bounded, Cause, Code, GradientReport, Leaf, check_gradient
from reference.arrays import Array
from reference.bounds import tracing
from reference.diagnosis.causes import diagnose
from reference.diagnosis.difference import Difference
from reference.diagnosis.fitting import Interval
from reference.diagnosis.mlp import model, recognise
from reference.diagnosis.mlp.explanation import Explained
from reference.diagnosis.models import recognised
from tests.support.leaves import leaf_of
from tests.support.mlp_faults import FAULTS_PLANTED as FAULTS
from tests.support.regressions import regression
from tests.support.strategies import Shape, make_network

pytestmark = pytest.mark.usefixtures("no_lines")

NOT_ASKED: Any = object()  # a loss that could not even be called
WEIGHT = np.array([[1.0, -3.0], [8.0, 0.5], [2.0, -0.25]])
BIAS = np.array([2.0, -1.0])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Explained]:
    """Have the network recognised, with a decay of 0.5, and explained by this list."""
    answers: list[Explained] = []

    def recognised(difference: Difference) -> Bounded:
        assert difference.loss is NOT_ASKED
        return Bounded(np.array(0.5), np.array(0.0))

    def explained(gradient: Any, *_: Any) -> list[Explained]:
        assert [layer.weight.path for layer in gradient] == ["[0].weight"]
        assert [layer.bias.path for layer in gradient] == ["[0].bias"]
        return answers

    monkeypatch.setattr(model, "recognised_weight_decay", recognised)
    monkeypatch.setattr(model, "explain", explained)
    return answers


def difference_of(weight: Array, bias: Array, *, others: tuple[Any, ...] = ()) -> Difference:
    """Make the gradient of a softmax regression, which should be WEIGHT and BIAS."""
    leaves = (
        leaf_of(WEIGHT, weight, path="[0].weight"),
        leaf_of(BIAS, bias, path="[0].bias"),
    )
    return Difference(leaves, NOT_ASKED, (*regression(), *others), 0)


def fault_of(code: Code) -> Any:
    return next(fault for fault in FAULTS if fault.code == code)


def test_the_faults_come_first_with_each_code_once(answers: list[Explained]) -> None:
    first, second, third = (
        fault_of(code) for code in (Code.LABEL_SHIFTED, Code.SIGN_OF_DELTA, Code.SUM_NOT_MEAN)
    )
    answers += [
        Explained(first, 0.25, None),
        Explained(first, 0.5, None),
        Explained(second, 0.125, Interval(0.0999, 0.1001)),
        Explained(third, 0.5, None),
    ]
    difference = difference_of(4 * WEIGHT, 4 * BIAS)  # a sum over 4 rows, for a hypothesis, too
    start = "8 of 8 elements are farther from autodiff than rounding allows"
    explained = f"{start}; with this mistake all 8 are within its bound"
    assert diagnose(difference) == (
        Cause(
            Code.LABEL_SHIFTED,
            "The labels are off by one class. They are one too high.",
            f"{explained}, at most 0.25 of it off",
        ),
        Cause(
            Code.SIGN_OF_DELTA,
            f"{Code.SIGN_OF_DELTA.description} The learning rate is 0.1.",
            f"{explained}, at most 0.12 of it off",
        ),
        Cause(Code.SUM_NOT_MEAN, third.code.description, f"{explained}, at most 0.5 of it off"),
    )
    answers.pop()
    assert [cause.code for cause in diagnose(difference)] == [
        Code.LABEL_SHIFTED,
        Code.SIGN_OF_DELTA,
        Code.SUM_NOT_MEAN,
    ]


@pytest.mark.parametrize("numbers", [(), (2.0,)])
def test_the_decay_that_is_recognised_gives_the_penalty_its_code(
    numbers: Any, answers: list[Explained]
) -> None:
    """Whatever other numbers are among the arguments."""
    assert not answers
    weight = regression()[0][0].weight
    difference = difference_of(WEIGHT - weight, BIAS, others=numbers)
    leaves = (
        leaf_of(WEIGHT, WEIGHT - weight, np.full(WEIGHT.shape, 1e-12), "[0].weight"),
        difference.leaves[1],
    )
    cause, *_ = diagnose(Difference(leaves, NOT_ASKED, difference.args, 0))
    assert cause.code == Code.PENALTY_MISSING
    assert cause.sentence.startswith(Code.PENALTY_MISSING.description[:-1])
    assert cause.sentence.endswith("as if the penalty 0.5 ||parameter||^2 were missing).")


# What a check could not have seen


def right(want: Any, bound: Any) -> Leaf:
    return leaf_of(want, want, bound)


def test_a_decay_is_unseen_below_the_smallest_bound_over_twice_the_weight() -> None:
    params, X, y, _ = make_network(Shape((2, 2), 3, soft=False), np.float64, seed=0)
    np.copyto(params[0].weight, [[1, -2], [4, 0]])
    bound = np.array([[1, 1], [2, 0]])  # over twice the weight: 1/2, 1/4, 1/4 and anything

    def warnings(loss: Any) -> list[str]:
        (_, gradient) = manual_nn.loss_and_grad(params, X, y)
        leaves = (right(gradient[0].weight, bound), right(gradient[0].bias, [0, 0]))
        found = recognise(Difference(leaves, loss, (params, X, y), 0))
        assert found is not None
        return found.warnings()

    def with_decay(weight_decay: float) -> Any:
        return functools.partial(reference.loss, weight_decay=weight_decay)

    (warning,) = warnings(with_decay(0.125))
    assert "weight_decay 0.125, is lost in the bound" in warning
    assert "would only show from 0.25 on" in warning
    assert warnings(with_decay(0.25)) == []
    assert warnings(with_decay(0.0)) == []
    assert warnings(reference.loss) == []
    assert warnings(NOT_ASKED) == []  # whose decay nobody knows without its gradient
    assert warnings(functools.partial(manual_nn.loss, weight_decay=0.125)) == []


def network_report(weight_decay: float, *, mistake: float = 1.0) -> GradientReport:
    """Check our own float32 gradient, with the decay multiplied by the mistake."""
    rng = np.random.default_rng(0)
    params = manual_nn.init_params([6, 5, 3], rng=rng, dtype=np.float32)
    X, y = rng.normal(size=(8, 6)).astype(np.float32), rng.integers(3, size=8)

    def by_hand(params: Any, X: Array, y: Array) -> Any:
        return manual_nn.loss_and_grad(params, X, y, weight_decay=mistake * weight_decay)[1]

    by_jax = functools.partial(reference.loss, weight_decay=weight_decay)
    return check_gradient(by_hand, by_jax, params, X, y)


@pytest.mark.long
def test_a_decay_that_is_lost_is_warned_of_with_the_decay_that_would_not() -> None:
    """A decay of twice the figure is seen: rounding can hide no more than the bound of it."""
    report = network_report(1e-12)
    assert report.ok
    (warning,) = [text for text in report.warnings if "weight_decay" in text]
    visible = float(warning.split("show from ")[1].split()[0])
    assert network_report(1e-12, mistake=0).ok
    of_three_digits = 1.01
    assert not network_report(1e-12, mistake=2 * of_three_digits * visible / 1e-12).ok
    assert not any("weight_decay" in text for text in network_report(0.5).warnings)


# What a match costs


def test_a_match_traces_the_gradient_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the diagnosis knows of the model waits until something is wrong."""
    traced: list[Any] = []
    trace = tracing.Traced.__init__

    def counted(self: Any, function: Any, *args: Any) -> None:
        traced.append(function)
        trace(self, function, *args)

    monkeypatch.setattr(tracing.Traced, "__init__", counted)
    assert network_report(0.5).ok
    assert len(traced) == 1
    assert not network_report(0.5, mistake=0).ok
    assert len(traced) > 2


def test_another_model_is_left_to_the_hypotheses() -> None:
    """Its arguments are no layers that chain, so that nothing of the MLP is asked."""
    X = np.ones((4, 3))
    difference = Difference((), lambda w, X: jnp.sum(X @ w), (np.ones(3), X), 0)
    assert recognised(difference) is None
