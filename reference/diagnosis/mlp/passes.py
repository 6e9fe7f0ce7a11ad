"""The backward pass of the MLP as a chain of steps, of which a fault replaces one.

It runs on NumPy arrays, in their precision, and on JAX's, so that the rounding-error bounds of a
broken gradient follow from the same rules as those of the right one.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers. Here, unlike in the
equations, layers count from 0: layer l takes a[l] to z[l], and a[l + 1] = relu(z[l]).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from manual_nn import Dense
from reference.diagnosis.codes import Code

Array: TypeAlias = Any  # NumPy's or JAX's: the steps ask it for its namespace
Params: TypeAlias = tuple[Dense, ...]


class Pass(NamedTuple):
    """A network after its forward pass, and what else the backward pass needs.

    Attributes:
        params: the layers.
        a: the input of each layer; a[0] is X.
        z: the output of each before its ReLU; the last are the logits.
        y: (N,) class numbers or (N, K) probabilities.
        weight_decay: the factor of the penalty.
        learning_rate: for the fault that updates the weights too early.
    """

    params: Params
    a: tuple[Array, ...]
    z: tuple[Array, ...]
    y: Array
    weight_decay: Any
    learning_rate: Any


class Errors(NamedTuple):
    """dL/dz of each layer, and dL/da before the mask, which is the same for the last layer."""

    d_z: tuple[Array, ...]
    d_a: tuple[Array, ...]


def forward(
    params: Sequence[Any], X: Array, y: Array, weight_decay: Any, learning_rate: Any
) -> Pass:
    """Compute a and z of each layer."""
    layers = tuple(Dense(*layer) for layer in params)
    a, z = [X], []
    for weight, bias in layers:
        z.append(a[-1] @ weight + bias[None, :])
        a.append(X.__array_namespace__().maximum(z[-1], 0))
    return Pass(layers, tuple(a[:-1]), tuple(z), y, weight_decay, learning_rate)


# The steps, as they are right


def softmax(z: Array, axis: int | None = 1) -> Array:
    """p, the softmax of the logits; (N, K)."""
    xp = z.__array_namespace__()
    e = xp.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def one_hot(y: Array, p: Array) -> Array:
    """Give y as probabilities, (N, K)."""
    if y.ndim == 2:
        return y
    classes = p.__array_namespace__().arange(p.shape[1], dtype=y.dtype)
    return (y[:, None] == classes[None, :]).astype(p.dtype)


def logits_backward(p: Array, target: Array) -> Array:
    """(p - target) / N."""
    return (p - target) / len(p)


def input_backward(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:  # noqa: ARG001, a step's arguments
    """d_z W^T, the error at the input of layer l."""
    return d_z @ now.params[l].weight.T


def relu_backward(now: Pass, l: int, d_a: Array) -> Array:
    """d_a where z > 0, and 0 elsewhere."""
    return masked(d_a, now.z[l] > 0)


def weight_backward(now: Pass, l: int, d_z: Array) -> Array:
    """a^T d_z."""
    return now.a[l].T @ d_z


def bias_backward(d_z: Array, d_a: Array) -> Array:  # noqa: ARG001, a step's arguments
    """Column sums of d_z."""
    return d_z.sum(axis=0)


def weight_penalty(now: Pass, l: int) -> Array:
    """2 weight_decay W."""
    return 2 * now.weight_decay * now.params[l].weight


def masked(d_a: Array, mask: Array) -> Array:
    """d_a where the mask holds, and 0 elsewhere."""
    return d_a.__array_namespace__().where(mask, d_a, 0)


# The pass


@dataclass(frozen=True)
class Fault:
    """The backward pass, with steps that may be replaced by broken ones.

    As a callable it is a gradient: of params, X, y and weight_decay, shaped like params.

    Attributes:
        code: what is wrong; unknown if nothing is.
        how: which of several ways to get it wrong this is, as a sentence after the description.
    """

    code: Code = Code.UNKNOWN
    how: str = ""
    softmax: Callable[[Array], Array] = softmax
    target: Callable[[Array, Array], Array] = one_hot
    logits_backward: Callable[[Array, Array], Array] = logits_backward
    input_backward: Callable[[Pass, int, Array, Array], Array] = input_backward
    relu_backward: Callable[[Pass, int, Array], Array] = relu_backward
    weight_backward: Callable[[Pass, int, Array], Array] = weight_backward
    bias_backward: Callable[[Array, Array], Array] = bias_backward

    def __call__(
        self, params: Sequence[Any], X: Array, y: Array, weight_decay: Any, learning_rate: Any = 0.1
    ) -> Params:
        """Compute the broken gradient."""
        now = forward(params, X, y, weight_decay, learning_rate)
        errors, biases = self.errors(now)
        return tuple(map(Dense, self.weights(now, errors), biases))

    def errors(self, now: Pass) -> tuple[Errors, list[Array]]:
        """Go back down: the errors of all layers, and the gradients of the biases."""
        p = self.softmax(now.z[-1])
        d_z = d_a = self.logits_backward(p, self.target(now.y, p))
        down = [(d_z, d_a)]
        for l in reversed(range(1, len(now.params))):
            d_a = self.input_backward(now, l, d_z, d_a)
            d_z = self.relu_backward(now, l - 1, d_a)
            down.append((d_z, d_a))
        errors = Errors(*zip(*down[::-1], strict=True))
        return errors, list(map(self.bias_backward, *errors))

    def weights(self, now: Pass, errors: Errors) -> list[Array]:
        """Make the gradients of the weights from the errors."""
        return [
            self.weight_backward(now, l, d_z) + weight_penalty(now, l)
            for l, d_z in enumerate(errors.d_z)
        ]


RIGHT = Fault()
