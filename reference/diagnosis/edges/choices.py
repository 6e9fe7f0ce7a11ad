"""What a mistake may be set to: any number that is fitted, or one of those that have a name.

The setting of a factor f is f - 1. The fewer and the simpler the numbers that a setting was chosen
from, the likelier it is what somebody wrote.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reference.diagnosis.edges.changes import Mistake
from reference.diagnosis.edges.orders import ORDERS
from reference.diagnosis.edges.patterns import OF_TIES
from reference.diagnosis.edges.swaps import UPDATED
from reference.diagnosis.edges.tapped import Tapped
from reference.diagnosis.edges.taps import EVERY, FACTOR, Tap

STEPPED = (-1.0, -2.0, 1.0, -0.5)  # factors 0, -1, 2 and 1/2 less 1, where no fit is possible
TIDY = {float(f"{digit}e{-n}") for digit in range(1, 10) for n in range(7)}  # learning rates
FITTED = {FACTOR, UPDATED}  # kinds whose setting is any number
STEPS = 12  # of a fit of settings in which a change is a polynomial
OF_KINDS = 4.0  # how simple a mistake is that is no factor; the smaller the simpler


class Choices:
    """The settings that the mistakes of one loss may have.

    Args:
        tapped: the loss.
    """

    def __init__(self, tapped: Tapped) -> None:
        """Take the loss, whose arrays have lengths."""
        self.tapped = tapped

    @functools.cached_property
    def simple(self) -> tuple[float, ...]:
        """List the settings whose factors are simple, or have a name."""
        return *STEPPED, *(factor - 1 for factor in named_factors(self.tapped))

    def nearest(self, setting: float) -> float:
        """Find the simple setting that is nearest to one that was fitted."""
        return min(self.simple, key=lambda simple: abs(simple - setting))

    def rounded(self, mistake: Mistake, setting: float) -> list[Mistake]:
        """Give the mistakes that a fitted setting may stand for."""
        if mistake.kind not in FITTED:
            return [Mistake(mistake.taps, 1.0)]
        settings = [float(setting)]
        if mistake.kind == FACTOR:
            settings = [self.nearest(setting), *settings]
        return [Mistake(mistake.taps, setting) for setting in settings]

    def is_affine(self, taps: Sequence[Tap]) -> bool:
        """Say whether a path goes through these taps no more than once."""
        looped = self.tapped.operations[taps[0].edge.path].looped
        return len(taps) == 1 and not (looped and taps[0].steps == EVERY)

    def is_linear(self, mistake: Mistake) -> bool:
        """Say whether a mistake has one setting alone, or what it changes is affine in it."""
        return mistake.kind != FACTOR or self.is_affine(mistake.taps)

    def chosen_from(self, mistakes: Iterable[Mistake]) -> int:
        """Count the settings that each of these was taken from, without those that were fitted."""
        mistakes = list(mistakes)
        tidy = sum(m.kind == UPDATED and m.setting in TIDY for m in mistakes)
        settings = (mistake.setting for mistake in mistakes if mistake.kind == FACTOR)
        named = (setting for setting in settings if setting in self.simple)
        of_factors = math.prod(len(STEPPED if n in STEPPED else self.simple) for n in named)
        return of_factors * len(TIDY) ** tidy

    def fitted_in(self, mistakes: Iterable[Mistake]) -> int:
        """Count the settings that were fitted, and have no name."""
        named = {FACTOR: self.simple, UPDATED: TIDY}
        return sum(m.kind in FITTED and m.setting not in named[m.kind] for m in mistakes)

    def simplicity(self, mistake: Mistake) -> tuple[float, int, int, tuple[int, ...]]:
        """Order mistakes from the simplest; of equal ones the nearest to the loss's value first.

        On a chain of edges the derivative enters at the operation that the loss comes to last, so
        that is where a path branches off.
        """
        if mistake.kind in OF_TIES:  # nothing else is likely to be seen at ties alone
            level = -1.0
        elif mistake.kind in ORDERS:  # which that of copies, or of heads, is too
            level = OF_KINDS + 0.25
        elif mistake.kind != FACTOR:
            of_source = self.tapped.operations[mistake.taps[0].edge.path].of_source
            level = OF_KINDS + 0.5 if of_source else OF_KINDS
        elif mistake.setting in self.simple:
            level = {0.0: 0, -1.0: 1, 2.0: 2, 0.5: 2}.get(mistake.factor, 3)
        else:
            level = 5
        steps = 0 if mistake.taps[0].steps == EVERY else 1
        return level, steps, len(mistake.taps), tuple(-n for n in mistake.taps[-1].edge.path)


def named_factors(tapped: Tapped) -> dict[float, str]:
    """Name what may have been forgotten or counted twice: lengths of axes, sizes of sums, roots."""
    lengths = {n for x in tapped.inputs for n in np.shape(x) if n > 1}
    summed = {n for operation in tapped.operations.values() if (n := _summed(operation.eqn)) > 1}
    named: dict[float, str] = {}
    for n in sorted(lengths | summed):
        what = "length of an axis" if n in lengths else "number of elements of a sum"
        of: list[tuple[float, str]] = [
            (n, f"{n}, the {what}"),
            (1 / n, f"1/{n}, 1 over the {what}"),
            (float(np.sqrt(n)), f"{np.sqrt(n):.4g}, the square root of {n}"),
            (1 / float(np.sqrt(n)), f"{1 / np.sqrt(n):.4g}, 1 over the square root of {n}"),
            (n / (n - 1), f"{n}/{n - 1}"),
            ((n - 1) / n, f"{n - 1}/{n}"),
        ]
        for number, text in of:
            named.setdefault(float(number), text)
    for n in sorted({np.size(x) for x in tapped.inputs if np.size(x) > 1}):
        named.setdefault(float(n), f"{n}, the number of elements of an array")
        named.setdefault(1 / n, f"1/{n}, 1 over the number of elements of an array")
    return named


def _summed(eqn: Any) -> int:
    """Count the elements of each sum; 1 of what is no sum over several axes."""
    axes = eqn.params["axes"] if eqn.primitive.name == "reduce_sum" else ()
    return math.prod(eqn.invars[0].aval.shape[axis] for axis in axes) if len(axes) > 1 else 1
