"""Compare results with JAX, element by element, under the derived error bound.

An element disagrees when it is farther from JAX's value than the bound of `reference.rounding`
allows. If it is back within the bound once every kink that lies within rounding (a ReLU whose
pre-activation may be on either side of 0) is left open, it is ambiguous, and else it is wrong.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
import numpy.typing as npt

from reference.rounding import Bounded, Rounding, Traced

Array: TypeAlias = npt.NDArray[Any]


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


@dataclass(frozen=True)
class Leaf:
    """One array of a result beside JAX's.

    Attributes:
        path: where it stands in the result, as JAX writes it: `[0].weight`.
        got: the result that was handed in.
        want: JAX's, float64.
        bound: how far apart the two may be with the kinks decided as JAX has them, float64.
        open_bound: the same with every kink within rounding left open.
    """

    path: str
    got: Array
    want: Array
    bound: Array
    open_bound: Array

    @property
    def error(self) -> Array:
        """|got - want|, and infinite where got is not a number."""
        if self.want.dtype.kind != "f":
            return (self.got != self.want).astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = abs(self.got.astype(np.float64) - self.want)
        return np.where(self.got == self.want, 0.0, np.where(np.isnan(error), np.inf, error))

    @property
    def share(self) -> Array:
        """error / bound, 0 where there is no error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(self.error == 0, 0.0, self.error / self.bound)
        return np.where(np.isnan(share), 0.0, share)  # both infinite: not comparable

    @property
    def worst_index(self) -> tuple[int, ...]:
        """Where the error is the largest part of its bound."""
        return tuple(int(i) for i in np.unravel_index(self.share.argmax(), self.share.shape))

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of an element."""
        if (self.error > self.open_bound).any():
            return Verdict.MISMATCH
        if not np.isfinite(self.bound).all():
            return Verdict.NOT_COMPARABLE
        if (self.error > self.bound).any():
            return Verdict.AMBIGUOUS
        return Verdict.MATCH

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

    def __call__(self, got: Any, *args: Any, dtype: npt.DTypeLike | None = None) -> Comparison:
        """Compare `got`, computed in `dtype` (by default its own), with the function's result.

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
        wanted = jax.tree.leaves(self.traced.by_xla(*args))
        bounds = opened = self._bounds(args, rounding)
        if rounding.open_kinks:
            opened = self._bounds(args, Rounding(dtype, kinks="open"))
        leaves = []
        for path, result, want, bound, wide in zip(
            paths, results, wanted, bounds, opened, strict=True
        ):
            if result.shape != want.shape:
                raise ValueError(f"got{path} has shape {result.shape}, expected {want.shape}")
            # At an open kink either side may have gone another way than our evaluation, eq. (R10).
            open_bound = np.where(wide > bound, 2 * wide, bound)
            leaves.append(Leaf(path, result, want, bound, open_bound))
        return Comparison(tuple(leaves), rounding.open_kinks)

    def _bounds(self, args: tuple[Any, ...], rounding: Rounding) -> list[Array]:
        result = self.traced.bounded(*args, rounding=rounding)
        leaves = jax.tree.leaves(result, is_leaf=lambda leaf: isinstance(leaf, Bounded))
        return [leaf.error for leaf in leaves]
