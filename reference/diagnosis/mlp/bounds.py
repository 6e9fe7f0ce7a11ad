"""The gradient of a fault of the MLP with its rounding-error bounds, step by step."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from manual_nn import Dense
from reference.bounds.rounding import Bounded, Kinks, Rounding
from reference.bounds.tracing import Traced, evaluate, precise_jax
from reference.diagnosis.mlp.passes import Errors, Fault, Pass, forward


class Bounds:
    """The gradient of each fault for one network, with its error bounds, computed in steps.

    The forward pass is shared, and the gradients of the weights, which cost most, are computed only
    for the faults that the biases do not rule out.

    Args:
        args: params, X, y.
        weight_decay: with a bound on what is not known of it.
        rounding: the arithmetic of the implementation.
    """

    def __init__(self, args: Sequence[Any], weight_decay: Bounded, rounding: Rounding) -> None:
        """Compute the forward pass."""
        self.rounding = rounding
        given = jax.tree.map(rounding.given, tuple(args))
        nothing = rounding.given(0.0)
        self.now: Pass = _bounded("forward", None, rounding, *given, weight_decay, nothing)
        self._errors: dict[Fault, tuple[Errors, list[Bounded]]] = {}
        self._weights: dict[Fault, list[Bounded]] = {}

    def at_rate(self, learning_rate: Bounded) -> Pass:
        """Give the forward pass with a learning rate."""
        return self.now._replace(learning_rate=learning_rate)

    def errors(self, fault: Fault, now: Pass) -> tuple[Errors, list[Bounded]]:
        """Compute the errors of all layers and the gradients of the biases."""
        if now is not self.now:
            return _bounded("errors", fault, self.rounding, now)
        if fault not in self._errors:
            self._errors[fault] = _bounded("errors", fault, self.rounding, now)
        return self._errors[fault]

    def weights(self, fault: Fault, now: Pass, errors: Errors) -> list[Bounded]:
        """Compute the gradients of the weights."""
        if now is not self.now:
            return _bounded("weights", fault, self.rounding, now, errors)
        if fault not in self._weights:
            self._weights[fault] = _bounded("weights", fault, self.rounding, now, errors)
        return self._weights[fault]

    def gradient(self, fault: Fault, now: Pass | None = None) -> list[Dense]:
        """Compute the gradients of all weights and biases."""
        now = now or self.now
        errors, biases = self.errors(fault, now)
        dense: Any = Dense  # of bounded arrays
        return list(map(dense, self.weights(fault, now, errors), biases))


def kept_bounds(
    args: Sequence[Any], weight_decay: Bounded, dtype: npt.DTypeLike, kinks: Kinks
) -> Bounds:
    """Give the bounds for this network, those of before if it is one of the last.

    Whoever looks for a mistake checks again and again at the same arguments.

    Args:
        args: params, X, y.
        weight_decay: with a bound on what is not known of it.
        dtype: the precision of the implementation, which rounds the weight decay, too.
        kinks: whether kinks are decided, or those within rounding left open.
    """
    leaves, structure = jax.tree.flatten((tuple(args), tuple(weight_decay)))
    arrays = [np.asarray(leaf) for leaf in leaves]
    contents = tuple((array.dtype, array.shape, array.tobytes()) for array in arrays)
    return _bounds(structure, contents, np.dtype(dtype), kinks)


@functools.lru_cache(maxsize=4)  # a network in two precisions, with kinks decided and open
def _bounds(
    structure: Any, contents: tuple[Any, ...], dtype: np.dtype[Any], kinks: Kinks
) -> Bounds:
    arrays = [np.ndarray(shape, of, content) for of, shape, content in contents]
    args, (value, error) = jax.tree.unflatten(structure, arrays)
    rounding = Rounding(dtype, kinks=kinks)
    rounded = rounding.given(value)
    return Bounds(args, Bounded(rounded.value, rounded.error + error), rounding)


def is_bounded(node: object) -> bool:
    """Say whether a node of a tree is an array with error bounds, and so a leaf."""
    return isinstance(node, Bounded)


def _bounded(step: str, fault: Fault | None, rounding: Rounding, *args: Any) -> Any:
    """Evaluate a step on arguments that already have error bounds."""
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
