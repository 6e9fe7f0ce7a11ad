"""What several calls of a gradient function show, whatever the values that it returns."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from reference.arguments import form
from reference.arrays import PRECISIONS, Array
from reference.compare import Comparison, Place, Verdict
from reference.diagnosis.codes import Cause, Code

MOVE = 1 + 2.0**-4  # to another point, at which a stale gradient differs


class Calls:
    """The calls of a gradient function: here, at another point, and here again."""

    def __init__(
        self,
        grad: Callable[..., Any],
        args: tuple[Any, ...],
        given: Any,
        places: Sequence[int],
        *,
        names: Sequence[str] = (),
        lent: Sequence[int] = (),
        result: str = "gradient",
    ) -> None:
        """Call the gradient three times, and note what each call does to what was there before.

        Args:
            grad: the function.
            args: its arguments.
            given: copies of them.
            places: the numbers of those that are moved to another point.
            names: of the arguments, for the report.
            lent: the numbers of those whose memory a result may share, as that of a residual
                branch shares its d_out's.
            result: what is returned, for the report.
        """
        self.args, self.given, self.result = args, given, result
        self.names = names or [f"args[{i}]" for i in range(len(args))]
        returned = grad(*args)
        self.first = jax.tree.map(copied, returned)
        self.by_jax = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(returned))
        self.mutated = self._restore()
        self.shared = self._shared_memory(returned, lent)
        self.moved = tuple(
            jax.tree.map(_moved, arg) if i in places else arg for i, arg in enumerate(args)
        )
        self.there: Any = None
        with contextlib.suppress(Exception):  # the gradient need not exist there
            self.there = jax.tree.map(copied, grad(*self.moved))
        self.overwritten = not _equal(returned, self.first)
        self.again = jax.tree.map(copied, grad(*args))
        self._restore()

    def _restore(self) -> list[str]:
        """Undo what a call did to its arguments, and name those that it changed."""
        structure: Any = jax.tree.structure(self.args)
        if structure != jax.tree.structure(self.given):
            return ["the structure of the arguments"]
        changed = []
        for (path, leaf), before in zip(
            jax.tree_util.tree_leaves_with_path(self.args), jax.tree.leaves(self.given), strict=True
        ):
            if not _equal(leaf, before):
                changed.append(self._name(path))
                if isinstance(leaf, np.ndarray) and leaf.shape == before.shape:
                    np.copyto(leaf, before)
        return changed

    def _shared_memory(self, returned: Any, lent: Sequence[int]) -> str:
        """Name a returned array that shares memory with an argument.

        Two that share it with each other do no harm: whoever adds two branches, hands the same
        gradient to both.
        """
        kept = tuple(None if i in lent else arg for i, arg in enumerate(self.args))
        for path, array in jax.tree_util.tree_leaves_with_path(returned):
            for place, other in jax.tree_util.tree_leaves_with_path(kept):
                if _both_numpy(array, other) and np.shares_memory(array, other):
                    return f"{self.result}{jax.tree_util.keystr(path)} and {self._name(place)}"
        return ""

    def _name(self, path: Any) -> str:
        """Name a leaf of the arguments."""
        first, *rest = path
        return self.names[first.idx] + jax.tree_util.keystr(tuple(rest))

    def faults(self, here: Place, comparison: Comparison) -> list[Cause]:
        """List what the calls have shown to be wrong, whatever values were returned.

        Args:
            here: compares what is called at the arguments.
            comparison: of the first call.
        """
        faults = []
        if self.mutated:
            faults.append(Cause.observed(Code.MUTATED_INPUT, ", ".join(self.mutated)))
        if not self.mutated:
            faults += self._unequal_calls(here, comparison)
        if self.overwritten:
            evidence = "a later call wrote into the arrays that an earlier one had returned"
            faults.append(Cause.observed(Code.ALIASED_OUTPUT, evidence))
        if self.shared:
            faults.append(Cause.observed(Code.ALIASED_OUTPUT, self.shared))
        return faults

    def _unequal_calls(self, here: Place, comparison: Comparison) -> list[Cause]:
        """Tell a gradient of an earlier call from one that changes at random, or by rounding."""
        if _equal(self.again, self.first):
            return self._stuck(here) if comparison.verdict.ok else []
        if self._accumulate():
            evidence = (
                "called at x, at y and at x again, the third result is the sum of the two before: "
                "what is returned is added up from call to call and never set back to 0"
            )
            return [Cause.observed(Code.NONDETERMINISTIC, evidence)]
        again = here(self.again)
        if comparison.verdict.ok and again.verdict.ok:
            return []  # right in any order of additions, which atomic ones change from call to call
        there = here.comparer.at(*self.moved, dtype=here.dtype)
        if not again.verdict.ok and there(self.again).verdict.ok:
            evidence = "called at x, at y and at x again, the third result is the gradient at y"
            return [Cause.observed(Code.STALE, evidence)]
        differences = [
            f"{self.result}{leaf.path} differs by up to {abs(leaf.got - other.got).max():.3g}"
            for leaf, other in zip(comparison.leaves, again.leaves, strict=True)
            if not np.array_equal(leaf.got, other.got)
        ]
        return [Cause.observed(Code.NONDETERMINISTIC, ", ".join(differences))]

    def _accumulate(self) -> bool:
        """Say whether each call adds its result to that of the call before."""
        both = self.first, self.there
        if self.there is None or form(self.there) != form(self.first):
            return False
        if not all(any(leaf.any() for leaf in jax.tree.leaves(result)) for result in both):
            return False
        return _equal(self.again, jax.tree.map(np.add, self.there, self.first))

    def _stuck(self, here: Place) -> list[Cause]:
        """Find a gradient that was computed once and is returned on every later call."""
        if self.there is None or not _equal(self.there, self.first):
            return []
        if here.comparer.at(*self.moved, dtype=here.dtype)(self.there).verdict != Verdict.MISMATCH:
            return []  # it is the same there, as a linear function's is, or nothing is known
        evidence = "called at x and then at y, it returned the result at x both times"
        return [Cause.observed(Code.STALE, evidence)]


def _moved(leaf: Any) -> Any:
    """Move to another point and keep the type: an array stays an array, a number a number."""
    return leaf * leaf.dtype.type(MOVE) if isinstance(leaf, np.ndarray) else leaf * MOVE


def copied(leaf: Any) -> Array:
    """Copy a leaf of a tree into an array of NumPy's."""
    return np.array(leaf)


def _equal(one: Any, other: Any) -> bool:
    """Compare two trees bit for bit, except for the payloads of NaNs."""
    structure: Any = jax.tree.structure(one)
    return bool(structure == jax.tree.structure(other)) and all(
        a is b or np.array_equal(a, b, equal_nan=np.asarray(b).dtype in PRECISIONS)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def _both_numpy(one: Any, other: Any) -> bool:
    return isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
