"""What people get wrong in the backward pass of an MLP, and no search of operations would name.

The mistakes at one operation of the loss, or at all of its name, are found by the search for any
loss, and given their code by `model.py`. What is left here is no such mistake, in one or another
way to write this loss:

- A mask, an input or a weight of another layer: another array at each layer, and the right one
  where there is no other. In a network of two or three layers the search would find one.
- The unmasked error, passed on or summed for the biases: the layer's own weight has the right one,
  so that at no edge, but between one edge and another, a mask is missing, and so at each layer.
- Labels that are off by one, which no derivative goes to, and labels that are missing: where p is
  written out and the loss picks p_y, and not a logit, they go through no operation alone.
- The softmax along other axes, and the diagonal of its Jacobian: the loss need not have a softmax,
  but the logarithm of a sum.
- An update that came too early: where the penalty is a product of a weight with itself, its
  derivative is not that of an updated weight, but the search tries one weight, or all products.

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


def mask_of(offset: int) -> Callable[[Pass, int, Array], Array]:
    """Make the step that masks by a neighbouring layer, if there is one of the same width."""

    def step(now: Pass, l: int, d_a: Array) -> Array:
        other = l + offset
        fits = other >= 0 and now.z[other].shape == d_a.shape
        return masked(d_a, now.z[other if fits else l] > 0)

    return step


def without_mask(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:  # noqa: ARG001
    """d_a W^T: the error from above is passed on before it is masked."""
    return d_a @ now.params[l].weight.T


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


FAULTS: tuple[Fault, ...] = (
    Fault(
        Code.RELU_MASK_WRONG_LAYER, "The mask is that of the layer above.", relu_backward=mask_of(1)
    ),
    Fault(
        Code.RELU_MASK_WRONG_LAYER,
        "The mask is that of the layer below.",
        relu_backward=mask_of(-1),
    ),
    Fault(Code.UNMASKED_ERROR_PROPAGATED, input_backward=without_mask),
    Fault(Code.LABEL_SHIFTED, "They are one too high.", target=shifted(1)),
    Fault(Code.LABEL_SHIFTED, "They are one too low.", target=shifted(-1)),
    Fault(Code.LABEL_TERM_MISSING, logits_backward=lambda p, _target: p / len(p)),
    Fault(Code.SOFTMAX_WRONG_AXIS, "It normalises over the rows.", softmax=softmax_of_columns),
    Fault(Code.SOFTMAX_WRONG_AXIS, "It normalises over the whole batch.", softmax=softmax_of_all),
    Fault(Code.SOFTMAX_JACOBIAN_DIAGONAL_ONLY, logits_backward=diagonal_only),
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
    Fault(Code.WEIGHT_UPDATED_BEFORE_BACKWARD, input_backward=through_updated),
    Fault(Code.BIAS_GRADIENT_FROM_UNMASKED_DELTA, bias_backward=lambda _d_z, d_a: d_a.sum(axis=0)),
)
