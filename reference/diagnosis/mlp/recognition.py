"""Recognising the MLP: by the shapes of its arguments, and then by its gradient."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from reference.arguments import Derivative
from reference.bounds.rounding import ROUNDINGS, Bounded, Rounding
from reference.diagnosis.difference import Difference
from reference.diagnosis.fitting import fit, positive_numbers
from reference.diagnosis.mlp.bounds import Bounds, is_bounded
from reference.diagnosis.mlp.passes import RIGHT


def like_ours(args: Sequence[Any]) -> bool:
    """Say whether these begin with layers that chain, X and y, by their shapes."""
    try:
        params, X, y = args[:3]
        shapes = [(np.shape(weight), np.shape(bias)) for weight, bias in params]
        (N, width), y_shape, y_kind = np.shape(X), np.shape(y), np.asarray(y).dtype.kind
        for (fan_in, fan_out), bias in shapes:
            if fan_in != width or bias != (fan_out,):
                return False
            width = fan_out
    except (TypeError, ValueError):  # too few of them, or no arrays
        return False
    if len(jax.tree.leaves(args[:3])) != 2 * len(shapes) + 2:  # lists of lists are no arrays
        return False
    of_classes = y_kind in "iu" and y_shape == (N,)
    of_probabilities = y_kind == "f" and y_shape == (N, width)
    return bool(shapes) and (of_classes or of_probabilities)


def recognised_weight_decay(difference: Difference) -> Bounded | None:
    """Say with which weight decay this is our network, if it is, for arguments like ours.

    It is our network if the loss's gradient, by JAX in float64, is our gradient for some weight
    decay, to within the bounds of both. The gradient tells the weight decay more sharply than the
    loss would. A number among the arguments is taken if it is possible, and else 0 if that is.
    """
    args = difference.args
    rounding = Rounding(np.float64, kinks="open")
    try:
        gradient = difference.gradient or Derivative(jax.grad(difference.loss), args, traced=[0])
        theirs = gradient.traced.bounded(*gradient.arrays(args), rounding=rounding)
    except NotImplementedError:  # no rule for a primitive of theirs
        return None
    ours = Bounds(args[:3], rounding.given(0.0), rounding).gradient(RIGHT)
    units: list[Any] = []
    for weight, bias in args[0]:
        units += [2 * np.asarray(weight, np.float64), np.zeros(np.shape(bias))]
    gradients = (jax.tree.leaves(x, is_leaf=is_bounded) for x in (ours, theirs))
    differences, errors = [], []
    for leaf, our, their in zip(difference.leaves, *gradients, strict=True):
        differences.append((leaf.want - our.value).ravel())
        errors.append((our.error + their.error).ravel())
    unit = np.concatenate([array.ravel() for array in units])
    slack = rounding.gamma(2 * ROUNDINGS) * abs(unit)  # of the product and the sum
    found = fit(np.concatenate(differences), unit, np.concatenate(errors), slack)
    numbers = positive_numbers(args[3:])
    if found is None or found.high < 0:
        return None
    known = [number for number in (*numbers, 0.0) if number in found]
    if known:
        return Bounded(np.asarray(known[0]), np.asarray(0.0))
    return Bounded(np.asarray(found.middle), np.asarray(found.high - found.middle))
