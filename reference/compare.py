"""Compare results with JAX, element by element, under the derived error bound.

An element disagrees when it is farther from JAX's value than the bound of
`reference.bounds.rounding` allows. If it is back within the bound once every kink that lies within
rounding (a ReLU whose pre-activation may be on either side of 0) is left open, it is ambiguous, and
else it is wrong.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from reference.arrays import Array
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.tracing import Traced


class Verdict(enum.StrEnum):
    """What a comparison has found, best first, and what keeps a gradient from being compared."""

    MATCH = "match"
    AMBIGUOUS = "ambiguous"
    NOT_COMPARABLE = "not comparable"
    MISMATCH = "mismatch"
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
        """Whether nothing is wrong: every element agrees, or would but for an open kink."""
        return self in {Verdict.MATCH, Verdict.AMBIGUOUS}


@dataclass(frozen=True)
class Leaf:
    """One array of a result beside JAX's.

    Attributes:
        path: where it stands in the result, as JAX writes it: `[0].weight`.
        got: the result that was handed in.
        want: JAX's, float64.
        bound: how far apart the two may be with the kinks decided as the values say, float64.
        low, high: between which `got` may be with every kink within rounding left open, float64.
    """

    path: str
    got: Array
    want: Array
    bound: Array
    low: Array
    high: Array

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
        return (self.error > self.bound) & ~between

    @property
    def ambiguous(self) -> Array:
        """Say which elements are within bounds only if the kinks are left open."""
        return (self.error > self.bound) & ~self.wrong

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
        if self.ambiguous.any():
            return Verdict.AMBIGUOUS
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
        return Leaf(self.path, *(np.asarray(array[row]) for array in arrays))

    @property
    def ulps(self) -> float:
        """The largest error in units of the last place of the leaf's largest entry."""
        if self.want.dtype.kind != "f":
            return float(self.error.max(initial=0))
        largest = np.asarray(abs(self.want).max(initial=0)).astype(self.got.dtype)
        return float(self.error.max(initial=0) / np.spacing(largest))


@dataclass(frozen=True)
class Comparison:
    """The leaves of a result beside JAX's, and how many kinks lay within rounding."""

    leaves: tuple[Leaf, ...]
    open_kinks: int

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


class Comparer:
    """A JAX function, traced once for its arguments' shapes, to compare results with.

    Args:
        function: any function of arrays that JAX can trace.
        args: example arguments, for their shapes.

    >>> comparer = Comparer(lambda x: x**2, np.float32(3))
    >>> comparer(np.float32(9), np.float32(3)).verdict
    <Verdict.MATCH: 'match'>
    >>> comparer(np.float32(9.00001), np.float32(3)).verdict
    <Verdict.MISMATCH: 'mismatch'>
    """

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        """Trace the function at the shapes of these arguments."""
        self.traced = Traced(function, *args)

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
        """
        structure: Any = jax.tree.structure(got)
        if structure != self.traced.structure:
            raise ValueError(f"got has structure {structure}, expected {self.traced.structure}")
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(got)]
        results = [np.asarray(leaf) for leaf in jax.tree.leaves(got)]
        if dtype is None:
            dtype = np.result_type(*(result for result in results if result.dtype.kind == "f"))
        rounding = Rounding(dtype)
        decided = opened = self._bounded(args, rounding)
        wanted = (
            jax.tree.leaves(self.traced.by_xla(*args))
            if compiled
            else [bounded.value for bounded in decided]
        )
        if rounding.open_kinks:
            opened = self._bounded(args, Rounding(dtype, kinks="open"))
        leaves = []
        for path, result, want, one, other in zip(
            paths, results, wanted, decided, opened, strict=True
        ):
            if result.shape != want.shape:
                raise ValueError(f"got{path} has shape {result.shape}, expected {want.shape}")
            leaves.append(_leaf(path, result, want, one, other))
        return Comparison(tuple(leaves), rounding.open_kinks)

    def _bounded(self, args: tuple[Any, ...], rounding: Rounding) -> list[Bounded]:
        result = self.traced.bounded(*args, rounding=rounding)
        return jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Bounded))


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
