"""What people get wrong in the backward pass of a network: a dictionary of broken gradients.

The gradient of the network of `reference.models.mlp` is written out once, as a pass whose steps are
functions; a fault is that pass with one step replaced. It runs on NumPy arrays, in their precision,
and on JAX's, so that the rounding-error bounds of a broken gradient follow from the same rules as
those of the right one. What was handed in is explained by a fault if every element of it is within
the bound of the broken gradient.

The faults were collected from public exercises, issues and question threads, among them
rasbt/stat453-deep-learning-ss21#5, VikParuchuri/zero_to_gpt#12,
CodingTrain/Toy-Neural-Network-JS#72, joelgrus/data-science-from-scratch#31,
makeyourownneuralnetwork/makeyourownneuralnetwork#88, deeplearning4j/libnd4j#440, emer/axon#12,
chainer/chainer#261, andersbll/deeppy#17, jeffheaton/encog-dotnet-core#124,
arthurdouillard/deepcourse#9, haifengl/smile#528 and d2l-ai/d2l-en#1000.

Axes: N rows in the batch, D inputs, H hidden units, K classes, L layers. Here, unlike in the
equations, layers count from 0: layer l takes a[l] to z[l], and a[l + 1] = relu(z[l]).
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import numpy.typing as npt

from manual_nn import Dense
from reference.bounds.rounding import ROUNDINGS, Bounded, Rounding
from reference.bounds.tracing import Traced, evaluate, precise_jax
from reference.compare import Leaf
from reference.diagnosis.codes import Code

Array: TypeAlias = Any  # NumPy's or JAX's
Params: TypeAlias = tuple[Dense, ...]


class Pass(NamedTuple):
    """A network after its forward pass, and what else the backward pass needs.

    Attributes:
        params: the layers.
        a: what goes into each layer; a[0] is X.
        z: what comes out of each; the last are the logits.
        y: (N,) class numbers or (N, K) probabilities.
        weight_decay: the factor of the penalty.
        learning_rate: for the one fault that updates too early.
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
    """d_z W^T, the error in what goes into layer l."""
    return d_z @ now.params[l].weight.T


def relu_backward(now: Pass, l: int, d_a: Array) -> Array:
    """d_a where z > 0 and else 0."""
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
    """d_a where the mask says so and else 0."""
    return d_a.__array_namespace__().where(mask, d_a, 0)


# The pass


@dataclass(frozen=True)
class Fault:
    """The backward pass, with steps that may be replaced by broken ones.

    As a callable it is a gradient: of params, X, y and weight_decay, shaped like params.

    Attributes:
        code: what is wrong; unknown if nothing is.
        how: which of several ways to get it wrong this is, to follow the code's description.
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
    weight_penalty: Callable[[Pass, int], Array] | None = weight_penalty
    bias_penalty: Callable[[Pass, int], Array] | None = None

    def __call__(
        self, params: Sequence[Any], X: Array, y: Array, weight_decay: Any, learning_rate: Any = 0.1
    ) -> Params:
        """Compute the broken gradient."""
        now = forward(params, X, y, weight_decay, learning_rate)
        errors, biases = self.errors(now)
        return tuple(map(Dense, self.weights(now, errors), biases))

    def errors(self, now: Pass) -> tuple[Errors, list[Array]]:
        """Go down: the errors of all layers, and the gradients of the biases."""
        p = self.softmax(now.z[-1])
        d_z = d_a = self.logits_backward(p, self.target(now.y, p))
        down = [(d_z, d_a)]
        for l in reversed(range(1, len(now.params))):
            d_a = self.input_backward(now, l, d_z, d_a)
            d_z = self.relu_backward(now, l - 1, d_a)
            down.append((d_z, d_a))
        errors = Errors(*zip(*down[::-1], strict=True))
        biases = list(map(self.bias_backward, *errors))
        if self.bias_penalty:
            biases = [bias + self.bias_penalty(now, l) for l, bias in enumerate(biases)]
        return errors, biases

    def weights(self, now: Pass, errors: Errors) -> list[Array]:
        """Make the gradients of the weights from the errors."""
        weights = [self.weight_backward(now, l, d_z) for l, d_z in enumerate(errors.d_z)]
        if self.weight_penalty:
            weights = [weight + self.weight_penalty(now, l) for l, weight in enumerate(weights)]
        return weights


RIGHT = Fault()

# The steps, as they are broken


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
    """Make the step that masks by a neighbouring layer, where there is one as wide."""

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
    """d_a W^T: what comes from above goes on before it is masked."""
    return d_a @ now.params[l].weight.T


def through_untransposed(now: Pass, l: int, d_z: Array, d_a: Array) -> Array:
    """d_z W where W is square."""
    weight = now.params[l].weight
    return d_z @ weight if weight.shape[0] == weight.shape[1] else input_backward(now, l, d_z, d_a)


def through_other(offset: int) -> Callable[[Pass, int, Array, Array], Array]:
    """Make the step that takes the next layer up or down whose weight has the shape."""

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
    """Take what comes out of a square hidden layer for what goes in."""
    own = l + 1 < len(now.a) and now.a[l + 1].shape == now.a[l].shape
    return now.a[l + own].T @ d_z


def from_X(now: Pass, l: int, d_z: Array) -> Array:  # noqa: N802, X is a matrix
    """Take X for what goes into a layer as wide."""
    return now.a[0 if now.a[0].shape == now.a[l].shape else l].T @ d_z


def from_pre_activation(now: Pass, l: int, d_z: Array) -> Array:
    """z^T d_z with the z below."""
    return (now.z[l - 1] if l > 0 else now.a[0]).T @ d_z


def summed_over_units(d_z: Array, d_a: Array) -> Array:  # noqa: ARG001
    """Give each unit the sum of all."""
    return d_z.__array_namespace__().full(d_z.shape[1:], d_z.sum())


def bias_penalty(now: Pass, l: int) -> Array:
    """2 weight_decay b."""
    return 2 * now.weight_decay * now.params[l].bias


FAULTS: tuple[Fault, ...] = (
    Fault(Code.RELU_MASK_MISSING, relu_backward=lambda _now, _l, d_a: d_a),
    Fault(Code.RELU_MASK_INVERTED, relu_backward=lambda now, l, d_a: masked(d_a, ~(now.z[l] > 0))),
    Fault(
        Code.RELU_MASK_INCLUDES_ZERO, relu_backward=lambda now, l, d_a: masked(d_a, now.z[l] >= 0)
    ),
    Fault(Code.RELU_MASK_WRONG_LAYER, "The mask is of the layer above.", relu_backward=mask_of(1)),
    Fault(Code.RELU_MASK_WRONG_LAYER, "The mask is of the layer below.", relu_backward=mask_of(-1)),
    Fault(Code.RELU_APPLIED_TO_GRADIENT, relu_backward=lambda _now, _l, d_a: masked(d_a, d_a > 0)),
    Fault(Code.DELTA_TIMES_ACTIVATION, relu_backward=times_activation),
    Fault(Code.SIGMOID_DERIVATIVE_ON_RELU, relu_backward=times_sigmoid_derivative),
    Fault(Code.UPSTREAM_GRADIENT_DROPPED, relu_backward=active),
    Fault(Code.UNMASKED_ERROR_PROPAGATED, input_backward=without_mask),
    Fault(Code.LABEL_SHIFTED, "They are one too high.", target=shifted(1)),
    Fault(Code.LABEL_SHIFTED, "They are one too low.", target=shifted(-1)),
    Fault(Code.LABEL_TERM_MISSING, logits_backward=lambda p, _target: p / len(p)),
    Fault(Code.SOFTMAX_WRONG_AXIS, "It is over the rows.", softmax=softmax_of_columns),
    Fault(Code.SOFTMAX_WRONG_AXIS, "It is over the whole batch.", softmax=softmax_of_all),
    Fault(Code.SOFTMAX_JACOBIAN_DIAGONAL_ONLY, logits_backward=diagonal_only),
    Fault(Code.SOFTMAX_DERIVATIVE_ON_TOP, logits_backward=derivative_on_top),
    Fault(Code.SIGN_OF_DELTA, logits_backward=lambda p, target: (target - p) / len(p)),
    Fault(Code.SUM_NOT_MEAN, logits_backward=lambda p, target: p - target),
    Fault(
        Code.ONE_OVER_N_TWICE, logits_backward=lambda p, target: logits_backward(p, target) / len(p)
    ),
    Fault(Code.MEAN_OVER_CLASSES_TOO, logits_backward=lambda p, target: (p - target) / p.size),
    Fault(Code.PENALTY_MISSING, weight_penalty=None),
    Fault(
        Code.PENALTY_WITHOUT_FACTOR_2,
        weight_penalty=lambda now, l: now.weight_decay * now.params[l].weight,
    ),
    Fault(Code.PENALTY_ON_BIAS, bias_penalty=bias_penalty),
    Fault(
        Code.PENALTY_PER_ROW, weight_penalty=lambda now, l: len(now.a[0]) * weight_penalty(now, l)
    ),
    Fault(Code.DECAY_SUBTRACTED, weight_penalty=lambda now, l: -weight_penalty(now, l)),
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
        "The weight is of the next layer up of its shape.",
        input_backward=through_other(1),
    ),
    Fault(
        Code.INPUT_AND_WEIGHT_CONFUSED,
        "The weight is of the next layer down of its shape.",
        input_backward=through_other(-1),
    ),
    Fault(Code.PRE_ACTIVATION_AS_LAYER_INPUT, weight_backward=from_pre_activation),
    Fault(Code.WEIGHT_TRANSPOSED_IN_BACKWARD, input_backward=through_untransposed),
    Fault(Code.WEIGHT_UPDATED_BEFORE_BACKWARD, input_backward=through_updated),
    Fault(Code.BIAS_LAST_ROW_ONLY, bias_backward=lambda d_z, _d_a: d_z[-1]),
    Fault(Code.BIAS_GRADIENT_AVERAGED, bias_backward=lambda d_z, _d_a: d_z.mean(axis=0)),
    Fault(Code.BIAS_GRADIENT_SUMMED_OVER_UNITS, bias_backward=summed_over_units),
    Fault(Code.BIAS_GRADIENT_FROM_UNMASKED_DELTA, bias_backward=lambda _d_z, d_a: d_a.sum(axis=0)),
)


# Fitting a number to a difference


class Interval(NamedTuple):
    """The numbers from `low` to `high`."""

    low: float
    high: float

    def __contains__(self, number: object) -> bool:
        """Say whether the number is one of them."""
        return isinstance(number, (int, float)) and self.low <= number <= self.high

    @property
    def middle(self) -> float:
        """The number in the middle."""
        return self.low + (self.high - self.low) / 2


def fit(
    got: npt.ArrayLike, unit: npt.ArrayLike, error: npt.ArrayLike, unit_error: npt.ArrayLike
) -> Interval | None:
    """Find all c with |got - c unit| <= error + |c| unit_error in every element.

    Each element allows an interval of c, since either side of the inequality is linear in c on
    each side of 0; what all allow is their intersection, and its width is the uncertainty of c.

    Returns:
        the interval, which may reach to infinity, or None if it is empty.

    >>> fit([2.0, 4.25], [1.0, 2.0], 0.25, 0.0)
    Interval(low=2.0, high=2.25)
    >>> fit([2.0, 5.25], [1.0, 2.0], 0.25, 0.0) is None
    True
    """
    columns = (np.asarray(x, np.float64) for x in (got, unit, error, unit_error))
    return _fit(*(column.ravel() for column in np.broadcast_arrays(*columns)))


def _fit(
    got: npt.NDArray[Any],
    unit: npt.NDArray[Any],
    error: npt.NDArray[Any],
    unit_error: npt.NDArray[Any],
) -> Interval | None:
    bounded = np.isfinite(error) & np.isfinite(unit_error)
    if not np.isfinite(got).all() or not bounded.any():
        return None
    got, unit, error, unit_error = (x[bounded] for x in (got, unit, error, unit_error))
    above = _not_negative(got, unit, error, unit_error)
    below = _not_negative(got, -unit, error, unit_error)
    if above and below:
        return Interval(-below.high, above.high)
    return Interval(-below.high, -below.low) if below else above


def _not_negative(
    got: npt.NDArray[Any],
    unit: npt.NDArray[Any],
    error: npt.NDArray[Any],
    unit_error: npt.NDArray[Any],
) -> Interval | None:
    """Find the c >= 0; both inequalities have the form slope c <= limit."""
    slope = np.concatenate([unit - unit_error, -unit - unit_error])
    limit = np.concatenate([error + got, error - got])
    if (limit[slope == 0] < 0).any():
        return None
    with np.errstate(over="ignore"):
        high = (limit[slope > 0] / slope[slope > 0]).min(initial=np.inf)
        low = (limit[slope < 0] / slope[slope < 0]).max(initial=0.0)
    return Interval(float(low), float(high)) if low <= high else None


# Recognising a network, and explaining a gradient of it


class Explained(NamedTuple):
    """A fault whose gradient is what was handed in.

    Attributes:
        share: the largest distance from the fault's gradient, in parts of its bound.
        learning_rate: for a fault that has one, what was fitted.
    """

    fault: Fault
    share: float
    learning_rate: Interval | None


class Bounds:
    """The gradient of each fault for one network, with its error bounds, computed in steps.

    The forward pass is shared, and the gradients of the weights, which cost most, are computed for
    the faults alone that the biases do not rule out.

    Args:
        args: params, X, y.
        weight_decay: with the error of what is known of it.
        rounding: the arithmetic of the implementation.
    """

    def __init__(self, args: Sequence[Any], weight_decay: Bounded, rounding: Rounding) -> None:
        """Compute the forward pass."""
        self.rounding = rounding
        given = jax.tree.map(rounding.given, tuple(args))
        nothing = rounding.given(0.0)
        self.now: Pass = _bounded("forward", None, rounding, *given, weight_decay, nothing)

    def at_rate(self, learning_rate: Bounded) -> Pass:
        """Give the network with a learning rate."""
        return self.now._replace(learning_rate=learning_rate)

    def errors(self, fault: Fault, now: Pass) -> tuple[Errors, list[Bounded]]:
        """Compute the errors of all layers and the gradients of the biases."""
        return _bounded("errors", fault, self.rounding, now)

    def weights(self, fault: Fault, now: Pass, errors: Errors) -> list[Bounded]:
        """Compute the gradients of the weights."""
        return _bounded("weights", fault, self.rounding, now, errors)

    def gradient(self, fault: Fault, now: Pass | None = None) -> list[Dense]:
        """Compute it all."""
        now = now or self.now
        errors, biases = self.errors(fault, now)
        dense: Any = Dense  # of bounded arrays
        return list(map(dense, self.weights(fault, now, errors), biases))


def is_bounded(node: object) -> bool:
    """Say where a tree of arrays with error bounds has its leaves."""
    return isinstance(node, Bounded)


def _bounded(step: str, fault: Fault | None, rounding: Rounding, *args: Any) -> Any:
    """Evaluate a step on arguments that have error bounds already."""
    leaves, structure = jax.tree.flatten(args, is_leaf=is_bounded)
    shapes = tuple((np.shape(leaf.value), np.asarray(leaf.value).dtype.str) for leaf in leaves)
    traced = _traced(step, fault, structure, shapes)
    consts = [rounding.given(np.asarray(const)) for const in traced.jaxpr.consts]
    with np.errstate(all="ignore"), precise_jax():
        outputs = evaluate(traced.jaxpr.jaxpr, consts, leaves, rounding)
    return jax.tree.unflatten(traced.structure, outputs)


@functools.lru_cache(maxsize=1024)
def _traced(step: str, fault: Fault | None, structure: Any, shapes: tuple[Any, ...]) -> Traced:
    """Trace a step once for these shapes."""
    function = getattr(fault, step) if fault else forward
    args = jax.tree.unflatten(structure, [np.zeros(shape, dtype) for shape, dtype in shapes])
    return Traced(function, *args)


def recognised_weight_decay(
    leaves: Sequence[Leaf],
    loss: Callable[..., Any],
    args: Sequence[Any],
    argnums: int | Sequence[int],
) -> Bounded | None:
    """Say with which weight decay this is our network, if it is.

    It is if the arguments are those of our loss and the loss's gradient, by JAX in float64, is our
    gradient for some weight decay, to within the bounds of both. Which one follows from the
    gradient more sharply than from the value. If a number among the arguments is possible, it is
    that; if none is and 0 is possible, it is 0.
    """
    if argnums not in (0, (0,), [0]) or not like_ours(args):
        return None
    rounding = Rounding(np.float64, kinks="open")
    try:
        theirs = Traced(jax.grad(loss, argnums=0), *args).bounded(*args, rounding=rounding)
    except NotImplementedError:  # no rule for a primitive of theirs
        return None
    ours = Bounds(args[:3], rounding.given(0.0), rounding).gradient(RIGHT)
    differences, units, errors = [], [], []
    for i, (leaf, our, their) in enumerate(
        zip(leaves, *(jax.tree.leaves(x, is_leaf=is_bounded) for x in (ours, theirs)), strict=True)
    ):
        weight = np.asarray(jax.tree.leaves(args[0])[i], np.float64)
        units.append((2 * weight if weight.ndim == 2 else 0 * weight).ravel())
        differences.append((leaf.want - our.value).ravel())
        errors.append((our.error + their.error).ravel())
    unit = np.concatenate(units)
    slack = rounding.gamma(2 * ROUNDINGS) * abs(unit)  # of the product and the sum
    found = fit(np.concatenate(differences), unit, np.concatenate(errors), slack)
    numbers = scalars(args[3:])
    if found is None or found.high < 0:
        return None
    known = [number for number in (*numbers, 0.0) if number in found]
    if known:
        return Bounded(np.asarray(known[0]), np.asarray(0.0))
    return Bounded(np.asarray(found.middle), np.asarray(found.high - found.middle))


def like_ours(args: Sequence[Any]) -> bool:
    """Say whether these are layers that chain, X and y."""
    try:
        params, X, y = args[:3]
        shapes = [(np.shape(weight), np.shape(bias)) for weight, bias in params]
        (N, width), y_shape, y_kind = np.shape(X), np.shape(y), np.asarray(y).dtype.kind
        for (fan_in, fan_out), bias in shapes:
            if fan_in != width or bias != (fan_out,):
                return False
            width = fan_out
    except (TypeError, ValueError):  # not so many, or not arrays
        return False
    of_classes = y_kind in "iu" and y_shape == (N,)
    of_probabilities = y_kind == "f" and y_shape == (N, width)
    return bool(shapes) and (of_classes or of_probabilities)


def scalars(args: Sequence[Any]) -> list[float]:
    """List the positive real numbers among these arguments."""
    leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(tuple(args)))
    return [
        float(leaf) for leaf in leaves if leaf.ndim == 0 and leaf.dtype.kind == "f" and leaf > 0
    ]


def explain(
    leaves: Sequence[Leaf], args: Sequence[Any], weight_decay: Bounded, dtype: npt.DTypeLike
) -> list[Explained]:
    """List the faults whose gradient is what was handed in, for a recognised network.

    First with every kink decided as the values say; only if nothing is found so, with those open
    that lie within rounding.
    """
    decided = Rounding(dtype)
    found = _explain(leaves, args, weight_decay, decided)
    if not found and decided.open_kinks:
        found = _explain(leaves, args, weight_decay, Rounding(dtype, kinks="open"))
    return found


def _explain(
    leaves: Sequence[Leaf], args: Sequence[Any], weight_decay: Bounded, rounding: Rounding
) -> list[Explained]:
    rounded = rounding.given(weight_decay.value)
    known = Bounded(rounded.value, rounded.error + weight_decay.error)
    bounds = Bounds(args[:3], known, rounding)
    if _share(leaves, bounds, RIGHT, None) <= 1:
        # Right by the bounds of this pass: then a fault without an effect here would explain it.
        return []
    found = []
    for fault in FAULTS:
        rate = None
        if fault.code == Code.WEIGHT_UPDATED_BEFORE_BACKWARD:
            rate = _learning_rate(leaves, bounds, fault)
            if rate is None:
                continue
        share = _share(leaves, bounds, fault, rate)
        if share <= 1:
            found.append(Explained(fault, share, rate))
    return found


def _share(leaves: Sequence[Leaf], bounds: Bounds, fault: Fault, rate: Interval | None) -> float:
    """Give the largest distance from the fault's gradient in parts of its bound."""
    now = bounds.now
    if rate:
        half = np.asarray(rate.high - rate.middle)
        now = bounds.at_rate(Bounded(np.asarray(rate.middle), half))
    errors, biases = bounds.errors(fault, now)
    share = max(map(worst_share, leaves[1::2], biases))
    if share > 1:
        return share
    return max(share, *map(worst_share, leaves[::2], bounds.weights(fault, now, errors)))


def worst_share(leaf: Leaf, predicted: Bounded) -> float:
    """Give the largest |got - predicted| in parts of the bound.

    It is infinite if got is not finite, or if the bound is not where got differs from JAX's:
    nothing would be explained.
    """
    if not np.isfinite(leaf.got).all():
        return math.inf
    distance = abs(leaf.got.astype(np.float64) - predicted.value)
    if (~np.isfinite(predicted.error) & (leaf.error > leaf.open_bound)).any():
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        share = distance / predicted.error
    return float(np.where(np.isnan(share), 0.0, share).max(initial=0))


def _learning_rate(leaves: Sequence[Leaf], bounds: Bounds, fault: Fault) -> Interval | None:
    """Fit the rate of an update that came too early, between 0 and 1.

    One layer below the top the error is affine in the rate, and its bound is convex in it, being
    made of absolute values, so that the chord from 0 to 1 is above it; eq. (R7), (R8).
    """
    if len(bounds.now.params) < 2:
        return None
    gradients = [
        bounds.gradient(fault, bounds.at_rate(bounds.rounding.given(rate)))[-2]
        for rate in (0.0, 1.0)
    ]
    differences, units, errors, unit_errors = [], [], [], []
    for leaf, none, full in zip(leaves[-4:-2], *gradients, strict=True):
        differences.append((leaf.got - none.value).ravel())
        units.append((full.value - none.value).ravel())
        errors.append(none.error.ravel())
        unit_errors.append(full.error.ravel())
    rate = fit(*map(np.concatenate, (differences, units, errors, unit_errors)))
    return rate if rate and 0 < rate.low <= 1 and math.isfinite(rate.high) else None
