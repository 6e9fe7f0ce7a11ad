"""Decisions that may be taken either way: which are worth evaluating, and where they lead."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reference.arrays import Array
from reference.noise.samples import Flips

ROUNDS = 16  # of other decisions, at most
ALONE = 10  # kinks whose sums are listed
SAME = 2.0**-10  # of sigma: by so little two compiled programs may differ
FEW = 4.0  # sigma: what moves no farther is rounded as the nominal value is


@dataclass(frozen=True)
class Freedom:
    """Where other decisions take a result.

    Attributes:
        low, high: between which values, both nominal where nothing moved it.
        sigma: how far rounding strays beyond these, made larger by as much as it is less certain
            than with the samples that there are in the end.
        moved: where a round has moved it.
        moves: by how much each round has moved these elements, without rounds if that was not to
            be kept; (rounds, elements moved).
    """

    low: Array
    high: Array
    sigma: Array
    moved: Array
    moves: Array


class Draw(NamedTuple):
    """What the random numbers of a sample are made of."""

    key: int
    row: int


class Decided(NamedTuple):
    """What a sample decides otherwise than the nominal one: see `Flips`."""

    draw: Draw
    flips: int
    outcome: int


def decided(draws: Sequence[Draw], flips: Flips) -> list[Decided]:
    """List what each of the samples decides."""
    each, outcome = np.asarray(flips.each).tolist(), np.asarray(flips.outcome).tolist()
    return [Decided(*sample) for sample in zip(draws, each, outcome, strict=True)]


def worth_evaluating(samples: Sequence[Decided]) -> tuple[list[list[Decided]], bool]:
    """Choose the outcomes that tell where all that the samples decide may lead.

    Returns:
        The samples of each outcome; and whether each kink is the only one to flip in one of these,
        so that every outcome is a sum of them, of which only the largest is evaluated besides.
    """
    groups: dict[int, list[Decided]] = {}
    for sample in samples:
        if sample.flips:
            groups.setdefault(sample.outcome, []).append(sample)
    alone = [group for group in groups.values() if group[0].flips == 1]
    joint = [group for group in groups.values() if group[0].flips > 1]
    if len(alone) > ALONE:
        return list(groups.values())[:ROUNDS], False
    sums = {0}
    for (_, _, outcome), *_ in alone:
        sums |= {(outcome + other) % 2**64 for other in sums}
    if not sums.issuperset(group[0].outcome for group in joint):
        return list(groups.values())[:ROUNDS], False
    joint.sort(key=lambda group: (group[0].flips, len(group)))
    return alone + joint[-1:], True


class Moved:
    """Where other decisions have taken an array so far.

    Args:
        nominal: its values.
        sigma: how far rounding strays from them.
        kept: whether each round's moves are kept.
    """

    def __init__(self, nominal: Array, sigma: Array, *, kept: bool) -> None:
        """Begin with the nominal values, which are one round of those seen."""
        self.shape = nominal.shape
        wide = np.result_type(nominal.dtype, np.float64)
        self.nominal = nominal.reshape(-1).astype(wide, copy=False)
        self.sigma = sigma.reshape(-1)
        self.same = SAME * self.sigma
        self.low, self.high = self.nominal.copy(), self.nominal.copy()
        self.falls, self.rises = np.zeros_like(self.nominal), np.zeros_like(self.nominal)
        self.total, self.squares = np.zeros_like(self.nominal), np.zeros_like(self.nominal)
        self.norm = np.zeros(self.nominal.shape)
        self.touched = np.zeros(self.nominal.shape, bool)
        self.rounds = 1
        self.kept: list[tuple[Array, Array]] | None = [] if kept else None

    def take(self, value: Array, norm: Array, *, alone: bool) -> None:
        """Take the values of one more round, and the norm of what its samples deviate from them.

        Args:
            value: of the array.
            norm: of the deviations, in which the largest of all rounds counts.
            alone: whether only one kink has flipped, which has not yet.
        """
        np.maximum(self.norm, norm.reshape(-1), out=self.norm)
        self.rounds += 1
        value = value.reshape(-1)
        with np.errstate(invalid="ignore", over="ignore"):
            moves = value - self.nominal
            elsewhere = ~(abs(moves) <= self.same)
            if self.kept is not None:  # beyond an exact tie 0 / 0 or infinity is no subgradient
                elsewhere &= np.isfinite(moves)
            at = np.flatnonzero(elsewhere)
            moves = moves[at]
            self.low[at] = np.minimum(self.low[at], value[at])
            self.high[at] = np.maximum(self.high[at], value[at])
            self.total[at] += moves
            self.squares[at] += moves * moves
            if alone:
                self.falls[at] += np.minimum(moves, 0)
                self.rises[at] += np.maximum(moves, 0)
        self.touched[at] = True
        if self.kept is not None:
            self.kept.append((at, moves))

    def freedom(self, *, beyond: float, added: bool, scale: float, uncertain: float) -> Freedom:
        """Enclose what was seen, and what more kinks at once may add; eq. (8).

        Args:
            beyond: by how many standard deviations of what was seen.
            added: whether all kinks have flipped alone, so that what they do is added up instead.
            scale: makes a standard deviation of the norm.
            uncertain: how many times as far as for (9) rounding may then stray.
        """
        at = np.flatnonzero(self.touched)
        nominal, low, high = self.nominal[at], self.low[at], self.high[at]
        sigma, own = self.sigma[at], scale * self.norm[at]
        with np.errstate(invalid="ignore", over="ignore"):
            if added:
                low = np.minimum(low, nominal + self.falls[at])
                high = np.maximum(high, nominal + self.rises[at])
            elif beyond:
                mean = self.total[at] / self.rounds
                variance = self.squares[at] / self.rounds - mean * mean
                more = beyond * np.sqrt(np.maximum(variance, 0))
                low, high = low - more, high + more
            little = high - low <= FEW * sigma
            own = np.where(little, np.maximum(own, sigma), uncertain * own)
        self.low[at], self.high[at] = low, high
        spread = self.sigma.copy()
        spread[at] = np.where(np.isnan(own), np.inf, own)
        places = np.cumsum(self.touched) - 1
        moves = np.zeros((len(self.kept or ()), at.size), nominal.dtype)
        for row, (moved, by) in zip(moves, self.kept or (), strict=True):
            row[places[moved]] = by
        return Freedom(
            low=self.low.reshape(self.shape),
            high=self.high.reshape(self.shape),
            sigma=spread.reshape(self.shape),
            moved=self.touched.reshape(self.shape),
            moves=moves,
        )
