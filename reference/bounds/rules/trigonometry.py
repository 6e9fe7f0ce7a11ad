"""The tangent, and angles: inverse functions, whose slope grows without end; ROUNDING.md (R12)."""

from typing import Any

import numpy as np

from reference.arrays import Array
from reference.bounds.registry import register_rule
from reference.bounds.rounding import EPS, Bounded, Rounding
from reference.bounds.rules.arithmetic import nearest_zero

STEPS = 3.0  # of asin and acos, by way of atan2; ROUNDING.md (R12)


@register_rule("tan")
def _tan(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """The difference of two tangents is sin(x - y) / (cos x cos y); infinite where a pole is."""
    middle, ends = np.cos(x.value), [np.cos(x.value + x.error), np.cos(x.value - x.error)]
    lost = 4 * EPS * (1 + abs(x.value) + x.error)  # of a cosine near 0
    smallest = np.maximum(np.minimum(*map(abs, ends)) - lost, 0)
    no_pole = (x.error < np.pi / 2) & (middle * ends[0] > 0) & (middle * ends[1] > 0)
    spread = np.where(no_pole, np.sin(x.error) / (abs(middle) * smallest), np.inf)
    return rounding.function(np.tan(x.value), np.where(x.error == 0, 0.0, spread))


def _inverse_spread(x: Array, e: Array) -> Array:
    """Bound how much asin or acos changes within e of x; NaN where that leaves -1 to 1."""
    near, far = abs(x), abs(x) + e
    spread = 2 * e / (np.sqrt(1 + near) * (np.sqrt(1 - near) + np.sqrt(1 - far)))
    return np.where(e == 0, 0.0, spread)


@register_rule("asin")
def _asin(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or 2 atan2(x, 1 + sqrt((1 - x) (1 + x)))."""
    return rounding.function(np.arcsin(x.value), _inverse_spread(*x), steps=STEPS)


@register_rule("acos")
def _acos(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    """By a library, or atan2(sqrt((1 - x) (1 + x)), x)."""
    return rounding.function(np.arccos(x.value), _inverse_spread(*x), steps=STEPS)


@register_rule("atan")
def _atan(rounding: Rounding, x: Bounded, **_: Any) -> Bounded:
    spread = x.error / (1 + nearest_zero(*x) ** 2)
    return rounding.function(np.arctan(x.value), spread)


@register_rule("atan2")
def _atan2(rounding: Rounding, y: Bounded, x: Bounded, **_: Any) -> Bounded:
    """The angle of (x, y), which errors turn by at most asin(off / distance).

    It may be any where they reach the origin, or the other side of the negative axis, on which a
    zero of either sign is.
    """
    distance = np.hypot(x.value, y.value)
    nearest = distance - np.hypot(x.error, y.error)
    across = abs(x.value / distance) * y.error + abs(y.value / distance) * x.error
    sine = np.where(nearest > 0, across / nearest, np.inf)
    turned = np.where(sine < 0.9, np.arcsin(np.minimum(sine, 0.9)), 2 * np.pi)
    turned = np.where((x.error == 0) & (y.error == 0), 0.0, turned)
    cut = (abs(y.value) <= y.error) & (x.value - x.error <= 0)
    return rounding.function(np.arctan2(y.value, x.value), np.where(cut, 2 * np.pi, turned))
