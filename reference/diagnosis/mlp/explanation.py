"""Which faults of the MLP would give the gradient that was handed in."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from reference.bounds.rounding import Bounded
from reference.diagnosis.codes import Code
from reference.diagnosis.fitting import Interval, fit, worst_ratio
from reference.diagnosis.mlp.bounds import Bounds, kept_bounds
from reference.diagnosis.mlp.faults import FAULTS
from reference.diagnosis.mlp.passes import RIGHT, Fault

Gradient: TypeAlias = Sequence[Any]  # layers, of a leaf for the weight and one for the bias


class Explained(NamedTuple):
    """A fault whose gradient is the one that was handed in.

    Attributes:
        ratio: the largest distance from the fault's gradient, in parts of its bound.
        learning_rate: for a fault that has one, what was fitted.
    """

    fault: Fault
    ratio: float
    learning_rate: Interval | None


def explain(
    gradient: Gradient, args: Sequence[Any], weight_decay: Bounded, dtype: npt.DTypeLike
) -> list[Explained]:
    """List the faults whose gradient is what was handed in, for a network that was recognised.

    Kinks are first decided as the values say; only if that explains nothing are those that lie
    within rounding left open.

    Args:
        gradient: the arrays that were handed in, beside JAX's, layer by layer.
        args: where: params, X, y.
        weight_decay: with a bound on what is not known of it.
        dtype: in which precision.
    """
    decided = kept_bounds(args[:3], weight_decay, dtype, "decided")
    found = _explain(gradient, decided)
    if not found and decided.rounding.open_kinks:
        found = _explain(gradient, kept_bounds(args[:3], weight_decay, dtype, "open"))
    return found


def _explain(gradient: Gradient, bounds: Bounds) -> list[Explained]:
    if _ratio(gradient, bounds, RIGHT, None) <= 1:
        # It is right by the bounds of this pass: a fault without an effect would explain it.
        return []
    found = []
    for fault in FAULTS:
        rate = None
        if fault.code == Code.WEIGHT_UPDATED_BEFORE_BACKWARD:
            rate = _learning_rate(gradient, bounds, fault)
            if rate is None:
                continue
        ratio = _ratio(gradient, bounds, fault, rate)
        if ratio <= 1:
            found.append(Explained(fault, ratio, rate))
    return found


def _ratio(gradient: Gradient, bounds: Bounds, fault: Fault, rate: Interval | None) -> float:
    """Give the largest distance from the fault's gradient, in parts of its bound."""
    now = bounds.now
    if rate:
        half = np.asarray(rate.high - rate.middle)
        now = bounds.at_rate(Bounded(np.asarray(rate.middle), half))
    errors, biases = bounds.errors(fault, now)
    ratio = max(map(worst_ratio, [layer.bias for layer in gradient], biases))
    if ratio > 1:
        return ratio
    weights = bounds.weights(fault, now, errors)
    return max(ratio, *map(worst_ratio, [layer.weight for layer in gradient], weights))


def _learning_rate(gradient: Gradient, bounds: Bounds, fault: Fault) -> Interval | None:
    """Fit the rate, between 0 and 1, of an update that came too early.

    One layer below the top the error is affine in the rate. Its bound is made of absolute values,
    so it is convex in the rate, and the chord from 0 to 1 lies above it; ROUNDING.md (R7), (R8).
    """
    if len(bounds.now.params) < 2:
        return None
    ends = [
        bounds.gradient(fault, bounds.at_rate(bounds.rounding.given(rate)))[-2]
        for rate in (0.0, 1.0)
    ]
    differences, units, errors, unit_errors = [], [], [], []
    for leaf, none, full in zip(gradient[-2], *ends, strict=True):
        differences.append((leaf.got - none.value).ravel())
        units.append((full.value - none.value).ravel())
        errors.append(none.error.ravel())
        unit_errors.append(full.error.ravel())
    rate = fit(*map(np.concatenate, (differences, units, errors, unit_errors)))
    return rate if rate and 0 < rate.low <= 1 and math.isfinite(rate.high) else None
