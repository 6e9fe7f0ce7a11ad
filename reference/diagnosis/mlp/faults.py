"""What people get wrong in the backward pass of an MLP: a dictionary of broken gradients.

The faults were collected from public exercises, issues and question threads, among them
rasbt/stat453-deep-learning-ss21#5, VikParuchuri/zero_to_gpt#12,
CodingTrain/Toy-Neural-Network-JS#72, joelgrus/data-science-from-scratch#31,
makeyourownneuralnetwork/makeyourownneuralnetwork#88, deeplearning4j/libnd4j#440, emer/axon#12,
chainer/chainer#261, andersbll/deeppy#17, jeffheaton/encog-dotnet-core#124,
arthurdouillard/deepcourse#9, haifengl/smile#528 and d2l-ai/d2l-en#1000.

Axes: as in `passes.py`, with layers that count from 0.
"""

from collections.abc import Callable

from reference.diagnosis.codes import Code
from reference.diagnosis.mlp.passes import (
    Array,
    Fault,
    Pass,
    input_backward,
    logits_backward,
    masked,
    one_hot,
    softmax,
    weight_backward,
    weight_penalty,
)


def softmax_of_columns(z: Array) -> Array:
    """Normalise over the rows."""
    return softmax(z, axis=0)


def softmax_of_all(z: Array) -> Array:
    """Normalise over everything."""
    return softmax(z, axis=None)


def shifted(by: int) -> Callable[[Array, Array], Array]:
    """Make labels that are off by one."""
    return lambda y, p: p.__array_namespace__().roll(one_hot(y, p), by, axis=1)


def diagonal_only(p: Array, target: Array) -> Array:
    """-y / p times the diagonal of the softmax's Jacobian, p (1 - p)."""
    return -target * (1 - p) / len(p)


def derivative_on_top(p: Array, target: Array) -> Array:
    """(p - y) p (1 - p) / N."""
    return logits_backward(p, target) * p * (1 - p)


def mask_of(offset: int) -> Callable[[Pass, int, Array], Array]:
    """Make the step that masks by a neighbouring layer, if there is one of the same width."""

    def step(now: Pass, l: int, d_a: Array) -> Array:
        other = l + offset
        fits = other >= 0 and now.z[other].shape == d_a.shape
        return masked(d_a, now.z[other if fits else l] > 0)

    return step


def active(now: Pass, l: int, d_a: Array) -> Array:
    """1 where z > 0."""
    return (now.z[l] > 0).astype(d_a.dtype)


def times_activation(now: Pass, l: int, d_a: Array) -> Array:
    """d_a relu(z)."""
    return d_a * now.a[l + 1]


def times_sigmoid_derivative(now: Pass, l: int, d_a: Array) -> Array:
    """d_a a (1 - a)."""
    return d_a * now.a[l + 1] * (1 - now.a[l + 1])


def without_mask(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:  # noqa: ARG001
    """d_a W^T: the error from above is passed on before it is masked."""
    return d_a @ now.params[l].weight.T


def through_untransposed(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:
    """d_z W where W is square."""
    weight = now.params[l].weight
    return d_z @ weight if weight.shape[0] == weight.shape[1] else input_backward(now, l, d_z, d_a)


def through_other(offset: int) -> Callable[[Pass, int, Array, Array], Array]:
    """Make the step that uses the next layer up or down whose weight has the same shape."""

    def step(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:
        other = l + offset
        while 0 <= other < len(now.params):
            if now.params[other].weight.shape == now.params[l].weight.shape:
                return input_backward(now, other, d_z, d_a)
            other += offset
        return input_backward(now, l, d_z, d_a)

    return step


def through_updated(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:  # noqa: ARG001
    """d_z (W - rate d_W)^T."""
    gradient = weight_backward(now, l, d_z) + weight_penalty(now, l)
    return d_z @ (now.params[l].weight - now.learning_rate * gradient).T


def from_output(now: Pass, l: int, d_z: Array) -> Array:
    """Mistake the output of a square hidden layer for its input."""
    own = l + 1 < len(now.a) and now.a[l + 1].shape == now.a[l].shape
    return now.a[l + own].T @ d_z


def from_X(now: Pass, l: int, d_z: Array) -> Array:  # noqa: N802, X is a matrix
    """Mistake X for the input of a layer of the same width."""
    return now.a[0 if now.a[0].shape == now.a[l].shape else l].T @ d_z


def from_pre_activation(now: Pass, l: int, d_z: Array) -> Array:
    """z^T d_z with the z below."""
    return (now.z[l - 1] if l > 0 else now.a[0]).T @ d_z


def summed_over_units(d_z: Array, d_a: Array) -> Array:  # noqa: ARG001
    """Give each unit the sum of all."""
    return d_z.__array_namespace__().full(d_z.shape[1:], d_z.sum())


FAULTS: tuple[Fault, ...] = (
    Fault(Code.RELU_MASK_MISSING, relu_backward=lambda _now, _l, d_a: d_a),
    Fault(Code.RELU_MASK_INVERTED, relu_backward=lambda now, l, d_a: masked(d_a, ~(now.z[l] > 0))),
    Fault(
        Code.RELU_MASK_INCLUDES_ZERO, relu_backward=lambda now, l, d_a: masked(d_a, now.z[l] >= 0)
    ),
    Fault(
        Code.RELU_MASK_WRONG_LAYER, "The mask is that of the layer above.", relu_backward=mask_of(1)
    ),
    Fault(
        Code.RELU_MASK_WRONG_LAYER,
        "The mask is that of the layer below.",
        relu_backward=mask_of(-1),
    ),
    Fault(Code.RELU_APPLIED_TO_GRADIENT, relu_backward=lambda _now, _l, d_a: masked(d_a, d_a > 0)),
    Fault(Code.DELTA_TIMES_ACTIVATION, relu_backward=times_activation),
    Fault(Code.SIGMOID_DERIVATIVE_ON_RELU, relu_backward=times_sigmoid_derivative),
    Fault(Code.UPSTREAM_GRADIENT_DROPPED, relu_backward=active),
    Fault(Code.UNMASKED_ERROR_PROPAGATED, input_backward=without_mask),
    Fault(Code.LABEL_SHIFTED, "They are one too high.", target=shifted(1)),
    Fault(Code.LABEL_SHIFTED, "They are one too low.", target=shifted(-1)),
    Fault(Code.LABEL_TERM_MISSING, logits_backward=lambda p, _target: p / len(p)),
    Fault(Code.SOFTMAX_WRONG_AXIS, "It normalises over the rows.", softmax=softmax_of_columns),
    Fault(Code.SOFTMAX_WRONG_AXIS, "It normalises over the whole batch.", softmax=softmax_of_all),
    Fault(Code.SOFTMAX_JACOBIAN_DIAGONAL_ONLY, logits_backward=diagonal_only),
    Fault(Code.SOFTMAX_DERIVATIVE_ON_TOP, logits_backward=derivative_on_top),
    Fault(
        Code.INPUT_AND_WEIGHT_CONFUSED,
        "The input is the layer's own output.",
        weight_backward=from_output,
    ),
    Fault(
        Code.INPUT_AND_WEIGHT_CONFUSED, "The input is that of the network.", weight_backward=from_X
    ),
    Fault(
        Code.INPUT_AND_WEIGHT_CONFUSED,
        "The weight is that of the next layer up with the same shape.",
        input_backward=through_other(1),
    ),
    Fault(
        Code.INPUT_AND_WEIGHT_CONFUSED,
        "The weight is that of the next layer down with the same shape.",
        input_backward=through_other(-1),
    ),
    Fault(Code.PRE_ACTIVATION_AS_LAYER_INPUT, weight_backward=from_pre_activation),
    Fault(Code.WEIGHT_TRANSPOSED_IN_BACKWARD, input_backward=through_untransposed),
    Fault(Code.WEIGHT_UPDATED_BEFORE_BACKWARD, input_backward=through_updated),
    Fault(Code.BIAS_GRADIENT_SUMMED_OVER_UNITS, bias_backward=summed_over_units),
    Fault(Code.BIAS_GRADIENT_FROM_UNMASKED_DELTA, bias_backward=lambda _d_z, d_a: d_a.sum(axis=0)),
)
