"""Compare results with JAX, element by element, under what rounding can make of a right one.

Two witnesses say how much that is: the proven bound of `reference.bounds`, and the rounding that
`reference.noise` measures. An element disagrees when it is farther from JAX's value than the finer
of the witnesses that were asked allows. If it is back within that once every kink that lies within
rounding (a ReLU whose pre-activation may be on either side of 0) is left open, it is ambiguous, and
else it is wrong.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import numpy.typing as npt
from jax.tree_util import keystr, tree_leaves_with_path

from reference.arrays import PRECISIONS, Array
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.tracing import Traced
from reference.noise.decisions import Freedom
from reference.noise.measure import Measurement, Witness
from reference.noise.statistics import MORE_SAMPLES, SAMPLES

EPS = float(np.finfo(np.float64).eps)

# Beyond so many operations in a row the bound exceeds what it bounds, so that nothing is learned
# from it: at 30 it is some 1e-4 of a gradient in float32, at 50 a tenth, at 90 a hundred times.
PROVEN_PATH = 64
PROVEN_ELEMENTS = 2**22  # of all operations together, which NumPy evaluates in some seconds


# Sigma of 16 samples beside that of 64: by chance it is 8 times as large or as small less than once
# in 10^11 elements; what has saturated is as large for all disturbances, so 64 times in proportion.
PROPORTION = 8.0


class Verdict(enum.StrEnum):
    """What a comparison has found, best first, and what keeps a gradient from being compared."""

    MATCH = "match"
    LOSES_DIGITS = "loses digits"
    AMBIGUOUS = "ambiguous"
    BLIND = "blind"
    NOT_COMPARABLE = "not comparable"
    MISMATCH = "mismatch"
    WRONG_FORWARD = "wrong forward"
    NON_FINITE = "not finite"
    WRONG_STRUCTURE = "wrong structure"
    WRONG_SHAPE = "wrong shape"
    WRONG_DTYPE = "wrong dtype"
    MUTATED_INPUT = "mutated input"
    NONDETERMINISTIC = "nondeterministic"
    STALE = "stale"
    ALIASED_OUTPUT = "aliased output"

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong: every element agrees, but for a kink or lost digits."""
        return self in {Verdict.MATCH, Verdict.LOSES_DIGITS, Verdict.AMBIGUOUS}


@dataclass(frozen=True)
class Leaf:
    """One array of a result beside JAX's.

    Attributes:
        path: where it stands in the result, as JAX writes it: `['params'][0].weight`.
        got: the result that was handed in.
        want: JAX's, float64.
        bound: how far apart the two may be with the kinks decided as the values say, float64; by
            the finer witness.
        low, high: between which `got` may be with every kink within rounding left open, float64.
        proven: the proven bound, None if it was not computed.
        sigma: how far rounding strays by measurement, None if it was not measured.
        tie_low, tie_high: between which `got` may be with every exact tie decided either way.
        lost: where digits are lost that JAX's formula keeps, though the derivative is right.
        scale: the largest element of the whole result.
    """

    path: str
    got: Array
    want: Array
    bound: Array
    low: Array
    high: Array
    _: KW_ONLY
    proven: Array | None = None
    sigma: Array | None = None
    tie_low: Array | None = None
    tie_high: Array | None = None
    lost: Array | None = None
    scale: float = 0.0

    @property
    def error(self) -> Array:
        """|got - want|, and infinite where got is not a number."""
        if self.want.dtype.kind != "f":
            return (self.got != self.want).astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = abs(self.got - self.want)
        return np.where(self.got == self.want, 0.0, np.where(np.isnan(error), np.inf, error))

    @property
    def wrong(self) -> Array:
        """Say which elements are neither within their bound nor between low and high."""
        between = (self.low <= self.got) & (self.got <= self.high)
        wrong = (self.error > self.bound) & ~between & ~self.tied
        return wrong if self.lost is None else wrong & ~self.lost

    @property
    def tied(self) -> Array:
        """Say which elements are within bounds if an exact tie is decided the other way."""
        if self.tie_low is None or self.tie_high is None:
            return np.zeros(self.want.shape, bool)
        between = (self.tie_low <= self.got) & (self.got <= self.tie_high)
        return (self.error > self.bound) & between

    @property
    def sigmas(self) -> Array:
        """The error in units of sigma, 0 where there is none; only if it was measured."""
        assert self.sigma is not None  # noqa: S101, asked by those who have looked
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.error == 0, 0.0, self.error / self.sigma)

    @property
    def blind(self) -> bool:
        """Whether an error of the size of the value itself would be unseen at half of the array.

        An array that is 0 but for rounding is none: there an error shows that is small beside the
        largest element of the whole result, by half of the digits. In float64 nobody can tell such
        an array from one of which rounding leaves nothing; in float32 float64's value does, which
        rounds so much less. A result that is 0 everywhere has no size; the report says from where
        on errors show. Where rounding was not measured, nobody knows.
        """
        if self.sigma is None or self.want.dtype.kind != "f" or not np.isfinite(self.bound).all():
            return False
        if self.scale == 0:
            return False
        info = ml_dtypes.finfo(self.got.dtype)
        eps, tiny = float(info.eps), float(info.tiny)
        unseen = self.bound >= abs(self.want)
        not_zero = abs(self.want) > EPS / eps * self.bound
        unseen &= not_zero | (self.bound > np.sqrt(eps) * self.scale + tiny)
        return bool(unseen.size and unseen.mean() >= 0.5)

    @property
    def ambiguous(self) -> Array:
        """Say which elements are within bounds only if the kinks are left open."""
        ambiguous = (self.error > self.bound) & ~self.wrong & ~self.tied
        return ambiguous if self.lost is None else ambiguous & ~self.lost

    @property
    def hanging(self) -> Array:
        """Say which elements hang on a kink within rounding: low and high are not the bound's."""
        with np.errstate(invalid="ignore"):  # computed as `_leaf` does, so that equal is equal
            low, high = self.want - self.bound, self.want + self.bound
        return np.isfinite(self.bound) & ((self.low != low) | (self.high != high))

    @property
    def open_bound(self) -> Array:
        """How far `got` may be from `want` with every kink within rounding left open."""
        with np.errstate(invalid="ignore"):
            reach = np.maximum(self.high - self.want, self.want - self.low)
        reach = np.where(np.isnan(reach), np.inf, np.maximum(self.bound, reach))
        return np.where(self.hanging, reach, self.bound)

    @property
    def ratio(self) -> Array:
        """error / bound, 0 where there is no error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = self.error / self.bound
        return np.where(np.isnan(ratio), 0.0, ratio)  # both 0, or both infinite: not comparable

    @property
    def worst_index(self) -> tuple[int, ...]:
        """Where the ratio of error to bound is largest."""
        return tuple(int(i) for i in np.unravel_index(self.ratio.argmax(), self.ratio.shape))

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of an element."""
        if self.wrong.any():
            return Verdict.MISMATCH
        if not np.isfinite(self.bound).all():
            return Verdict.NOT_COMPARABLE
        if self.blind:
            return Verdict.BLIND
        if self.ambiguous.any():
            return Verdict.AMBIGUOUS
        if self.lost is not None and self.lost.any():
            return Verdict.LOSES_DIGITS
        return Verdict.MATCH

    def verdicts(self) -> list[Verdict]:
        """Say the worst verdict of each element along the first axis, which has many results."""
        order = list(Verdict)
        worst = np.zeros(len(self.want), int)
        for verdict, elements in (
            (Verdict.AMBIGUOUS, self.ambiguous),
            (Verdict.NOT_COMPARABLE, ~np.isfinite(self.bound)),
            (Verdict.MISMATCH, self.wrong),
        ):
            worst[elements.any(axis=tuple(range(1, elements.ndim)))] = order.index(verdict)
        return [order[place] for place in worst.tolist()]

    def of_row(self, row: int) -> "Leaf":
        """Give one element of the first axis alone."""
        arrays = (self.got, self.want, self.bound, self.low, self.high)
        got, want, bound, low, high = (np.asarray(array[row]) for array in arrays)
        return Leaf(self.path, got, want, bound, low, high)

    @property
    def ulps(self) -> float:
        """The largest error in units of the last place of the leaf's largest entry."""
        if self.want.dtype.kind != "f":
            return float(self.error.max(initial=0))
        largest = np.asarray(abs(self.want).max(initial=0)).astype(self.got.dtype)
        return float(self.error.max(initial=0) / np.spacing(largest))


@dataclass(frozen=True)
class Comparison:
    """The leaves of a result beside JAX's, and how many kinks lay within rounding.

    Attributes:
        leaves: of the result.
        open_kinks: how many comparisons lie within the rounding of their sides.
        measurement: of the rounding, None if only the bound was asked.
        parting: at how many elements the evaluation that the proven bound belongs to is not XLA's.
    """

    leaves: tuple[Leaf, ...]
    open_kinks: int
    measurement: Measurement | None = None
    parting: int = 0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of a leaf."""
        return worst_verdict(self.leaves)

    def by_key(self) -> dict[str, list[Leaf]]:
        """Group the leaves of a result that is a dictionary by its keys."""
        groups: dict[str, list[Leaf]] = {}
        for leaf in self.leaves:
            groups.setdefault(leaf.path.split("'")[1], []).append(leaf)
        return groups


def worst_verdict(leaves: Iterable[Leaf]) -> Verdict:
    """Say the worst that was found of any of these leaves."""
    return max((leaf.verdict for leaf in leaves), key=list(Verdict).index)


def differentiated(args: Sequence[Any], places: Sequence[int]) -> list[bool]:
    """Say of each array among the arguments whether it is in one of those at these places."""
    return [i in places for i, arg in enumerate(args) for _ in jax.tree.leaves(arg)]


class Comparer:
    """A JAX function, traced once for its arguments' shapes, to compare results with.

    Args:
        function: any function of arrays that JAX can trace.
        args: example arguments, for their shapes.
        measured: whether rounding is measured; else the proven bound alone is asked.
        differentiated: for each of the flattened arguments whether the function is a derivative in
            it, so that it may be moved off an exact tie; all, by default.
        sparing: compile as little as possible, as for many comparisons of which few are measured:
            numbers are taken to be rounded whatever they are, so that one program serves all of
            them, and what hangs on kinks is not asked where nothing is wrong.

    Attributes:
        names: of the flattened arguments.

    >>> comparer = Comparer(lambda x: x**2, np.float32(3))
    >>> comparer(np.float32(9), np.float32(3)).verdict
    <Verdict.MATCH: 'match'>
    >>> comparer(np.float32(9.00001), np.float32(3)).verdict
    <Verdict.MISMATCH: 'mismatch'>
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *args: Any,
        measured: bool = False,
        differentiated: Sequence[bool] | None = None,
        sparing: bool = False,
    ) -> None:
        """Trace the function at the shapes of these arguments."""
        self.sparing = sparing
        self._numbers = [not np.ndim(leaf) for leaf in jax.tree.leaves(args)]
        self.names = [f"args{keystr(path)}" for path, _ in tree_leaves_with_path(args)]
        self.traced = Traced(function, *args)
        self.measured = measured
        self.differentiated = differentiated
        self._witnesses: dict[str, Witness] = {}

    def __call__(
        self, got: Any, *args: Any, dtype: npt.DTypeLike | None = None, compiled: bool = True
    ) -> Comparison:
        """Compare `got`, computed in `dtype` (by default its own), with the function's result.

        Args:
            got: a result, in the function's structure.
            *args: where it was computed.
            dtype: in which precision.
            compiled: take the function's result from XLA, which compiles it for a second or more;
                else from the evaluation of JAX's operations by NumPy that the bounds belong to.

        Raises:
            ValueError: the result has another structure or shape than the function's.
            NotImplementedError: rounding is not measured, and no bound is known for an operation.
        """
        if dtype is None:
            arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(got)]
            dtype = np.result_type(*(array for array in arrays if array.dtype in PRECISIONS))
        return self.at(*args, dtype=dtype, compiled=compiled)(got)

    def at(self, *args: Any, dtype: npt.DTypeLike, compiled: bool = True) -> "Place":
        """Fix the arguments, so that several results can be compared there; see `__call__`.

        Returns:
            What compares a result; all that does not depend on it is computed once.
        """
        proven = self._proven(args, dtype)
        wanted = (
            jax.tree.leaves(self.traced.by_xla(*args))
            if compiled or not proven
            else [bounded.value for bounded in proven.decided]
        )
        parting = self._parting(args, dtype, wanted, proven) if proven and self.measured else 0
        bound = None if parting else proven
        return Place(self, args, dtype, wanted, bound, parting=parting)

    def witness(self, dtype: npt.DTypeLike) -> Witness:
        """Give the witness that measures the rounding of this precision."""
        name = str(np.dtype(dtype))
        if name not in self._witnesses:
            rounded = self._numbers if self.sparing and name == "float32" else None
            self._witnesses[name] = Witness(self.traced, name, self.differentiated, rounded)
        return self._witnesses[name]

    def _proven(self, args: tuple[Any, ...], dtype: npt.DTypeLike) -> "_Proven | None":
        """Compute the bound where it can tell something; it is None where it cannot."""
        if not self.measured:
            return self._both_bounds(args, dtype)
        witness = self.witness(dtype)
        if witness.path > PROVEN_PATH or witness.elements > PROVEN_ELEMENTS:
            return None
        rounding = Rounding(dtype)
        try:
            decided = self._bounded(args, rounding)  # what is open has been measured
        except NotImplementedError:  # no rule for an operation
            return None
        return _Proven(decided, decided, rounding.open_kinks)

    def _parting(
        self, args: tuple[Any, ...], dtype: npt.DTypeLike, wanted: list[Array], proven: "_Proven"
    ) -> int:
        """Count the elements at which XLA's value is beyond the bound of ours.

        Then one of our rules is wrong, and the bound says nothing. Where a kink is open, the two
        may have gone to either side of it.
        """
        parting = _beyond(wanted, proven.decided)
        if parting and proven.open_kinks:
            parting = _beyond(wanted, self._bounded(args, Rounding(dtype, kinks="open")))
        return parting

    def _both_bounds(self, args: tuple[Any, ...], dtype: npt.DTypeLike) -> "_Proven":
        rounding = Rounding(dtype)
        decided = opened = self._bounded(args, rounding)
        if rounding.open_kinks:
            opened = self._bounded(args, Rounding(dtype, kinks="open"))
        return _Proven(decided, opened, rounding.open_kinks)

    def _bounded(self, args: tuple[Any, ...], rounding: Rounding) -> list[Bounded]:
        result = self.traced.bounded(*args, rounding=rounding)
        return jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Bounded))


class Place:
    """Where results are compared: the function's value there, and how far rounding strays."""

    def __init__(
        self,
        comparer: Comparer,
        args: tuple[Any, ...],
        dtype: npt.DTypeLike,
        wanted: list[Array],
        proven: "_Proven | None",
        *,
        parting: int = 0,
    ) -> None:
        """Take the function's value at the arguments, and the bounds if they are known."""
        self.comparer, self.args, self.dtype = comparer, args, dtype
        self.wanted, self.proven, self.parting = wanted, proven, parting
        self._measured: dict[tuple[int, bool], Measurement] = {}
        self._fraction: list[Array] | None = None

    def of_row(self, row: int, comparer: Comparer, *args: Any) -> "Place":
        """Fix the arguments of one element of the first axis, which `comparer` has traced alone."""
        assert self.proven  # noqa: S101, as it is where rounding is not measured
        return Place(
            comparer,
            args,
            self.dtype,
            [np.asarray(want[row]) for want in self.wanted],
            self.proven.of_row(row),
        )

    def __call__(self, got: Any) -> Comparison:
        """Compare a result.

        Raises:
            ValueError: the result has another structure or shape than the function's.
        """
        structure: Any = jax.tree.structure(got)
        wanted: Any = self.comparer.traced.structure
        if structure != wanted:
            raise ValueError(f"got has structure {structure}, expected {wanted}")
        paths = [keystr(path) for path, _ in tree_leaves_with_path(got)]
        results = [np.asarray(leaf) for leaf in jax.tree.leaves(got)]
        for path, result, want in zip(paths, results, self.wanted, strict=True):
            if result.shape != want.shape:
                raise ValueError(f"got{path} has shape {result.shape}, expected {want.shape}")
        if not self.comparer.measured:
            proven = self.proven
            assert proven  # noqa: S101, it is only left out where rounding is measured
            triples = zip(paths, results, self.wanted, proven.decided, proven.opened, strict=True)
            return Comparison(tuple(_leaf(*parts) for parts in triples), proven.open_kinks)
        ways = [(SAMPLES, True), (MORE_SAMPLES, True)]
        if self.comparer.sparing:
            ways.insert(0, (SAMPLES, False))
        for samples, decisions in ways:
            measurement = self._measurement(samples, decisions=decisions)
            leaves = measured_leaves(paths, results, self.wanted, measurement, self.proven)
            if not any(leaf.wrong.any() for leaf in leaves):
                break
        else:
            leaves = self._in_proportion(leaves)
        return Comparison(leaves, measurement.open_kinks, measurement, self.parting)

    def _in_proportion(self, leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
        """Take a wrong array for not comparable if it strays out of proportion; NOISE.md (11).

        There a few samples do not say how far it may stray: what a softmax gives to one of several
        classes of which rounding leaves none the likeliest is 1 in some samples and 0 in others.
        """
        if self._fraction is None:
            witness = self.comparer.witness(self.dtype)
            self._fraction = witness.fraction(*self.args, samples=SAMPLES, seed=SAMPLES)
        return tuple(
            _unknown(leaf) if leaf.wrong.any() and out_of_proportion(leaf, fraction) else leaf
            for leaf, fraction in zip(leaves, self._fraction, strict=True)
        )

    def _measurement(self, samples: int, *, decisions: bool) -> Measurement:
        """Measure with so many samples, and where other decisions lead, once."""
        way = samples, decisions
        if way not in self._measured:
            witness = self.comparer.witness(self.dtype)
            self._measured[way] = witness.measure(
                *self.args, samples=samples, seed=samples, decisions=decisions
            )
        return self._measured[way]


def _leaf(path: str, got: Array, want: Array, decided: Bounded, opened: Bounded) -> Leaf:
    """Take the interval that open kinks leave to what depends on them; ROUNDING.md (R10)."""
    if want.dtype.kind != "f":
        bound = decided.error.astype(np.float64)
        anything = np.where(opened.error, np.inf, bound)
        return Leaf(path, got, want, bound, want - anything, want + anything)
    with np.errstate(invalid="ignore"):
        depends = (opened.error != decided.error) | (opened.value != decided.value)
        low = np.where(depends, opened.value - opened.error, want - decided.error)
        high = np.where(depends, opened.value + opened.error, want + decided.error)
    unknown = np.isnan(low) | np.isnan(high)
    low, high = np.where(unknown, -np.inf, low), np.where(unknown, np.inf, high)
    return Leaf(path, got, want, decided.error, low, high)


class _Proven(NamedTuple):
    """The bounds with the kinks decided as the values say, and left open."""

    decided: list[Bounded]
    opened: list[Bounded]
    open_kinks: int

    def of_row(self, row: int) -> "_Proven":
        """Give those of one element of the first axis; kinks are not counted for it alone."""
        decided, opened = (
            [Bounded(np.asarray(x.value[row]), np.asarray(x.error[row])) for x in bounds]
            for bounds in (self.decided, self.opened)
        )
        return _Proven(decided, opened, self.open_kinks)


def measured_leaves(
    paths: list[str],
    results: list[Array],
    wanted: list[Array],
    measurement: Measurement,
    proven: _Proven | None,
) -> tuple[Leaf, ...]:
    """Allow each element as many sigma as the measurement says, or the bound, if that is less."""
    real = [abs(want[np.isfinite(want)]) for want in wanted if want.dtype.kind == "f"]
    scale = max((float(values.max(initial=0)) for values in real), default=0.0)
    leaves = []
    for i, (path, got, want, noise) in enumerate(
        zip(paths, results, wanted, measurement.leaves, strict=True)
    ):
        bound = proven.decided[i].error.astype(np.float64) if proven else None
        allowed = tolerance(want, noise.sigma, measurement.multiple, got.dtype)
        finest = allowed if bound is None else np.fmin(allowed, bound)
        around = _around(want, finest, noise.kinks, measurement.multiple, got.dtype)
        ties = noise.ties and _around(want, finest, noise.ties, measurement.multiple, got.dtype)
        leaf = Leaf(path, got, want, finest, *around, proven=bound, sigma=noise.sigma, scale=scale)
        leaves.append(replace(leaf, tie_low=ties[0], tie_high=ties[1]) if ties else leaf)
    return _in_one_choice(leaves, measurement)


def tolerance(want: Array, sigma: Array, multiple: float, dtype: npt.DTypeLike) -> Array:
    """Compute how far a right element may be off: so many sigma, and the rounding of the result.

    Where nothing rounds and the precision holds the value, a right result is equal, but for less
    than the smallest normal number, which may have been flushed to 0.
    """
    if want.dtype.kind != "f":
        return np.zeros(want.shape)
    info = ml_dtypes.finfo(np.dtype(dtype))
    half_eps, tiny = float(info.eps) / 2, float(info.tiny)
    with np.errstate(over="ignore", invalid="ignore"):
        rounds = (sigma > 0) | (want.astype(info.dtype) != want)
        last = np.where(rounds, half_eps * abs(want), 0.0) + tiny
        allowed = multiple * sigma + last
    return np.where(np.isfinite(want) & ~np.isnan(allowed), allowed, np.inf)


def _beyond(values: Sequence[Array], bounds: Sequence[Bounded]) -> int:
    """Count the elements that lie beyond the bound of ours."""
    count = 0
    for value, ours in zip(values, bounds, strict=True):
        apart = value != ours.value
        if ours.error.dtype == bool:
            apart &= ~ours.error
        else:
            with np.errstate(invalid="ignore"):
                apart &= ~(abs(value - ours.value) <= ours.error) & np.isfinite(ours.error)
            apart &= ~(np.isnan(value) & np.isnan(ours.value))
        count += int(apart.sum())
    return count


def _unknown(leaf: Leaf) -> Leaf:
    """Let an array be anything, for nothing is known of it."""
    anything = np.full(leaf.want.shape, np.inf)
    return replace(leaf, bound=anything, low=-anything, high=anything)


def out_of_proportion(leaf: Leaf, fraction: Array) -> bool:
    """Say whether a wrong array strays otherwise than in proportion to disturbances; NOISE.md (11).

    It does where sigma by small disturbances, in proportion, is another, by far more than so few
    samples leave open, and where it strays as far as what has been called wrong.
    """
    assert leaf.sigma is not None  # noqa: S101, asked by those who have measured
    worst = leaf.error[leaf.wrong].max()
    larger, smaller = np.maximum(leaf.sigma, fraction), np.minimum(leaf.sigma, fraction)
    return bool(((larger > PROPORTION * smaller) & (PROPORTION * larger >= worst)).any())


def _around(
    want: Array, bound: Array, freedom: Freedom | None, multiple: float, dtype: npt.DTypeLike
) -> tuple[Array, Array]:
    """Give the interval that other decisions leave, or else the bound's around JAX's value."""
    with np.errstate(invalid="ignore"):
        low, high = want - bound, want + bound
        if freedom is not None:
            more = tolerance(want, freedom.sigma, multiple, dtype)
            low = np.where(freedom.moved, np.minimum(low, freedom.low - more), low)
            high = np.where(freedom.moved, np.maximum(high, freedom.high + more), high)
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)


def _as_kinks(leaf: Leaf) -> Leaf:
    """Take what exact ties leave open for what kinks within rounding do."""
    if leaf.tie_low is None or leaf.tie_high is None:
        return leaf
    low, high = np.fmin(leaf.low, leaf.tie_low), np.fmax(leaf.high, leaf.tie_high)
    return replace(leaf, low=low, high=high, tie_low=None, tie_high=None)


def _in_one_choice(leaves: list[Leaf], measurement: Measurement) -> tuple[Leaf, ...]:
    """Let exact ties explain a result only if they do so for all of its elements at once.

    What the sides of ties can move lies in the space that the rounds of other decisions span: two
    equal maxima share a gradient, they do not both get all of it. If there are as many ties as
    rounds the space says nothing: then each element is as open as where it hangs on a kink.
    """
    moved = [i for i, noise in enumerate(measurement.leaves) if noise.ties]
    if not moved:
        return tuple(leaves)
    places = [noise.ties.moved for noise in (measurement.leaves[i] for i in moved) if noise.ties]
    ties = [noise.ties for noise in (measurement.leaves[i] for i in moved) if noise.ties]
    moves = np.concatenate([tie.moves for tie in ties], axis=1)
    errors = np.concatenate(
        [(leaves[i].got - leaves[i].want)[place] for i, place in zip(moved, places, strict=True)]
    )
    allowed = np.concatenate(
        [
            leaves[i].bound[place]
            + tolerance(leaves[i].want, tie.sigma, measurement.multiple, leaves[i].got.dtype)[place]
            for i, place, tie in zip(moved, places, ties, strict=True)
        ]
    )
    if not moves.size:
        return tuple(leaves)
    if not np.isfinite(errors).all():
        return tuple(replace(leaf, tie_low=None, tie_high=None) for leaf in leaves)
    rank = int(np.linalg.matrix_rank(moves, tol=np.sqrt(EPS) * abs(moves).max(initial=0)))
    if rank >= len(moves) - 1:
        return tuple(map(_as_kinks, leaves))
    fitted = moves.T @ np.linalg.lstsq(moves.T, errors, rcond=np.sqrt(EPS))[0]
    numerical = np.sqrt(EPS) * abs(moves).max()  # of the fit, where the elements are exact
    wrong = abs(errors - fitted) > allowed * np.sqrt(len(moves)) + numerical
    if not wrong.any():
        return tuple(leaves)
    return tuple(replace(leaf, tie_low=None, tie_high=None) for leaf in leaves)
