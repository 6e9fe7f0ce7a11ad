"""Broken backward passes of the MLP, to be planted: those of the dictionary, and all others.

The others are not in the dictionary, for the hypotheses for any loss find them, or the search of
its operations does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from reference.diagnosis.codes import Code
from reference.diagnosis.mlp.faults import FAULTS
from reference.diagnosis.mlp.passes import (
    Array,
    Errors,
    Fault,
    Pass,
    input_backward,
    logits_backward,
    masked,
)

Penalty = Callable[[Pass, int], Any]


def penalty_on(array: int, factor: float) -> Penalty:
    """Make the gradient of weight_decay ||W||^2, or of the same of b, times a factor."""
    return lambda now, l: factor * (2 * now.weight_decay * now.params[l][array])


weight_penalty = penalty_on(0, 1.0)


@dataclass(frozen=True)
class OfPenalty(Fault):
    """A backward pass that is right but for its penalties, which are 0 if they are None."""

    weight_penalty: Penalty | None = weight_penalty
    bias_penalty: Penalty | None = None

    def errors(self, now: Pass) -> tuple[Errors, list[Array]]:
        """Add what is added to the gradients of the biases."""
        errors, biases = super().errors(now)
        if self.bias_penalty:
            biases = [bias + self.bias_penalty(now, l) for l, bias in enumerate(biases)]
        return errors, biases

    def weights(self, now: Pass, errors: Errors) -> list[Array]:
        """Add what is added to the gradients of the weights."""
        weights = [self.weight_backward(now, l, d_z) for l, d_z in enumerate(errors.d_z)]
        if self.weight_penalty:
            weights = [weight + self.weight_penalty(now, l) for l, weight in enumerate(weights)]
        return weights


OF_ANY_LOSS: tuple[Fault, ...] = (
    Fault(Code.SIGN_OF_DELTA, logits_backward=lambda p, target: (target - p) / len(p)),
    Fault(Code.SUM_NOT_MEAN, logits_backward=lambda p, target: p - target),
    Fault(
        Code.ONE_OVER_N_TWICE, logits_backward=lambda p, target: logits_backward(p, target) / len(p)
    ),
    Fault(Code.MEAN_OVER_CLASSES_TOO, logits_backward=lambda p, target: (p - target) / p.size),
    Fault(Code.BIAS_LAST_ROW_ONLY, bias_backward=lambda d_z, _d_a: d_z[-1]),
    Fault(Code.BIAS_GRADIENT_AVERAGED, bias_backward=lambda d_z, _d_a: d_z.mean(axis=0)),
    OfPenalty(Code.PENALTY_MISSING, weight_penalty=None),
    OfPenalty(Code.PENALTY_WITHOUT_FACTOR_2, weight_penalty=penalty_on(0, 0.5)),
    OfPenalty(Code.PENALTY_ON_BIAS, bias_penalty=penalty_on(1, 1.0)),
    OfPenalty(
        Code.PENALTY_PER_ROW,
        weight_penalty=lambda now, l: len(now.a[0]) * weight_penalty(now, l),
    ),
    OfPenalty(Code.DECAY_SUBTRACTED, weight_penalty=penalty_on(0, -1.0)),
)


def derivative_on_top(p: Array, target: Array) -> Array:
    """(p - y) p (1 - p) / N."""
    return logits_backward(p, target) * p * (1 - p)


def active(now: Pass, l: int, d_a: Array) -> Array:
    """1 where z > 0."""
    return (now.z[l] > 0).astype(d_a.dtype)


def times_activation(now: Pass, l: int, d_a: Array) -> Array:
    """d_a relu(z)."""
    return d_a * now.a[l + 1]


def times_sigmoid_derivative(now: Pass, l: int, d_a: Array) -> Array:
    """d_a a (1 - a)."""
    return d_a * now.a[l + 1] * (1 - now.a[l + 1])


def through_untransposed(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:
    """d_z W where W is square."""
    weight = now.params[l].weight
    return d_z @ weight if weight.shape[0] == weight.shape[1] else input_backward(now, l, d_z, d_a)


def summed_over_units(d_z: Array, d_a: Array) -> Array:  # noqa: ARG001
    """Give each unit the sum of all."""
    return d_z.__array_namespace__().full(d_z.shape[1:], d_z.sum())


OF_OPERATIONS: tuple[Fault, ...] = (
    Fault(Code.RELU_MASK_MISSING, relu_backward=lambda _now, _l, d_a: d_a),
    Fault(Code.RELU_MASK_INVERTED, relu_backward=lambda now, l, d_a: masked(d_a, ~(now.z[l] > 0))),
    Fault(
        Code.RELU_MASK_INCLUDES_ZERO, relu_backward=lambda now, l, d_a: masked(d_a, now.z[l] >= 0)
    ),
    Fault(Code.RELU_APPLIED_TO_GRADIENT, relu_backward=lambda _now, _l, d_a: masked(d_a, d_a > 0)),
    Fault(Code.DELTA_TIMES_ACTIVATION, relu_backward=times_activation),
    Fault(Code.SIGMOID_DERIVATIVE_ON_RELU, relu_backward=times_sigmoid_derivative),
    Fault(Code.UPSTREAM_GRADIENT_DROPPED, relu_backward=active),
    Fault(Code.SOFTMAX_DERIVATIVE_ON_TOP, logits_backward=derivative_on_top),
    Fault(Code.WEIGHT_TRANSPOSED_IN_BACKWARD, input_backward=through_untransposed),
    Fault(Code.BIAS_GRADIENT_SUMMED_OVER_UNITS, bias_backward=summed_over_units),
)
WITHOUT_OPERATIONS: tuple[Fault, ...] = (*FAULTS, *OF_ANY_LOSS)
FAULTS_PLANTED: tuple[Fault, ...] = (*WITHOUT_OPERATIONS, *OF_OPERATIONS)
