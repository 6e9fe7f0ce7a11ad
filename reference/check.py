"""Check a gradient that somebody has written by hand against JAX autodiff."""

import contextlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from reference.compare import Comparer, Comparison, Leaf, Verdict
from reference.diagnosis.causes import Cause, Difference, diagnose
from reference.diagnosis.codes import Code
from reference.diagnosis.mlp import recognised_weight_decay
from reference.report import GradientReport, sensitivity

Array = npt.NDArray[Any]

RIGHT = {Verdict.MATCH, Verdict.AMBIGUOUS}
MOVE = 1 + 2.0**-4  # to another point, at which a stale gradient differs


def check_gradient(
    grad: Any, loss: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0
) -> GradientReport:
    """Check a gradient against JAX's, element by element, under a derived error bound.

    |grad(*args) - jax.grad(loss, argnums)(*args)| <= bound, for each element, where the bound is
    what rounding in the precision of the arguments can make of a right gradient; ROUNDING.md
    derives it. Before that the check looks for what makes a comparison pointless: another
    structure, shape or precision, modified inputs, results that differ between calls or share
    memory. JAX computes in float64, whatever its settings are.

    Args:
        grad: a function of the same arguments as the loss that returns its gradient, with the
            structure of the arguments at argnums; or its result, which leaves out the checks that
            need several calls.
        loss: any scalar function that JAX can trace.
        *args: where to check; those at argnums are float32 or float64. JAX traces all of them, so
            what is no number or array belongs into the loss, not among its arguments.
        argnums: which arguments the gradient is taken in, as for jax.grad.

    Returns:
        The report; `report.ok` says whether the gradient is right.

    Raises:
        TypeError: the arguments at argnums are not float32 or float64, or have no array, or the
            loss is no scalar.
        ValueError: there are no arguments at argnums.
        NotImplementedError: no error bound is known for an operation of the loss.

    >>> def loss(w, X, y):
    ...     return ((X @ w - y) ** 2).mean()
    >>> def my_grad(w, X, y):  # the 2 is missing
    ...     return X.T @ (X @ w - y) / len(X)
    >>> rng = np.random.default_rng(0)
    >>> w, X, y = rng.normal(size=3), rng.normal(size=(5, 3)), rng.normal(size=5)
    >>> report = check_gradient(my_grad, loss, w, X, y)
    >>> report.ok, report.causes[0].code.value, report.causes[0].evidence
    (False, 'scaled', '...')
    """
    one = not isinstance(argnums, Sequence)
    places = _places(argnums, len(args))
    argnums = places[0] if one else places
    dtype = _precision(args, places)
    given = jax.tree.map(_copied, args)  # whatever grad does to its arguments
    target = given[places[0]] if one else tuple(given[i] for i in places)
    calls = _Calls(grad, args, given, places, dtype) if callable(grad) else None
    result = calls.first if calls else grad
    if fault := _wrong_form(result, target):
        return GradientReport(Verdict[fault.code.name], (), (fault,), (), dtype)
    comparer = Comparer(jax.grad(loss, argnums=argnums), *given)
    comparison = comparer(result, *given, dtype=dtype)
    faults = [
        *(calls.faults(comparer, comparison) if calls else []),
        *_not_finite(comparison.leaves),
    ]
    verdict = Verdict[faults[0].code.name] if faults else comparison.verdict
    causes = tuple(faults)
    if verdict == Verdict.MISMATCH:
        causes = diagnose(Difference(comparison.leaves, loss, given, argnums))
    warnings = blind_spots(comparison.leaves)
    warnings += unseen_decay(comparison.leaves, loss, given, argnums)
    return GradientReport(verdict, comparison.leaves, causes, tuple(warnings), dtype)


class _Calls:
    """The calls of a gradient function: here, at another point, and here again."""

    def __init__(
        self,
        grad: Callable[..., Any],
        args: tuple[Any, ...],
        given: Any,
        places: Sequence[int],
        dtype: str,
    ) -> None:
        self.args, self.given, self.dtype = args, given, dtype
        returned = grad(*args)
        self.first = jax.tree.map(_copied, returned)
        self.mutated = self._restore()
        self.shared = _shared_memory(returned, args)
        self.moved = tuple(
            jax.tree.map(_moved, arg) if i in places else arg for i, arg in enumerate(args)
        )
        self.there: Any = None
        with contextlib.suppress(Exception):  # nobody said that the gradient exists there
            self.there = jax.tree.map(_copied, grad(*self.moved))
        self.overwritten = not _equal(returned, self.first)
        self.again = jax.tree.map(_copied, grad(*args))
        self._restore()

    def _restore(self) -> list[str]:
        """Undo what the call has done to its arguments, and name those that it has changed."""
        structure: Any = jax.tree.structure(self.args)
        if structure != jax.tree.structure(self.given):
            return ["the structure of the arguments"]
        changed = []
        for (path, leaf), before in zip(
            jax.tree_util.tree_leaves_with_path(self.args), jax.tree.leaves(self.given), strict=True
        ):
            if not _equal(leaf, before):
                changed.append("args" + jax.tree_util.keystr(path))
                if isinstance(leaf, np.ndarray) and leaf.shape == before.shape:
                    np.copyto(leaf, before)
        return changed

    def faults(self, comparer: Comparer, comparison: Comparison) -> list[Cause]:
        """List what the calls have shown to be wrong, whatever the values."""
        faults = []
        if self.mutated:
            faults.append(_fault(Code.MUTATED_INPUT, ", ".join(self.mutated)))
        if not self.mutated:
            faults += self._unequal_calls(comparer, comparison)
        if self.overwritten:
            evidence = "a later call wrote into the arrays that an earlier one had returned"
            faults.append(_fault(Code.ALIASED_OUTPUT, evidence))
        if self.shared:
            faults.append(_fault(Code.ALIASED_OUTPUT, self.shared))
        return faults

    def _unequal_calls(self, comparer: Comparer, comparison: Comparison) -> list[Cause]:
        """Tell a gradient of the call before from one that changes at random, or by rounding."""
        if _equal(self.again, self.first):
            return self._stuck(comparer)
        again = comparer(self.again, *self.given, dtype=self.dtype)
        if {comparison.verdict, again.verdict} <= RIGHT:
            return []  # sums in another order each time, as with atomic additions: all are right
        if comparer(self.again, *self.moved, dtype=self.dtype).verdict in RIGHT:
            evidence = "called at x, at y and at x again, the third result is the gradient at y"
            return [_fault(Code.STALE, evidence)]
        differences = [
            f"gradient{leaf.path} differs by up to {abs(leaf.got - other.got).max():.3g}"
            for leaf, other in zip(comparison.leaves, again.leaves, strict=True)
            if not np.array_equal(leaf.got, other.got)
        ]
        return [_fault(Code.NONDETERMINISTIC, ", ".join(differences))]

    def _stuck(self, comparer: Comparer) -> list[Cause]:
        """Find a gradient that was computed once and is given out for ever."""
        if self.there is None or not _equal(self.there, self.first):
            return []
        if comparer(self.there, *self.moved, dtype=self.dtype).verdict != Verdict.MISMATCH:
            return []  # it is the same there, as that of a linear function is, or nobody knows
        evidence = "called at x and then at y, the second result is the first again"
        return [_fault(Code.STALE, evidence)]


def _moved(leaf: Any) -> Any:
    """Move to another point, and keep the type: an array stays one, a number a number."""
    return leaf * leaf.dtype.type(MOVE) if isinstance(leaf, np.ndarray) else leaf * MOVE


def _places(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """List the arguments' numbers, counted from 0."""
    given = argnums if isinstance(argnums, Sequence) else (argnums,)
    places = tuple(operator.index(place) for place in given)
    for place in places:
        if not -count <= place < count:
            msg = f"argnums must be from 0 to {count - 1} for {count} arguments, got {place}"
            raise ValueError(msg)
    return tuple(place % count for place in places)


def _precision(args: tuple[Any, ...], places: Sequence[int]) -> str:
    """Find the coarsest precision among the arguments at places, after checking them."""
    dtypes = set()
    for place in places:
        for path, leaf in jax.tree_util.tree_leaves_with_path(args[place]):
            dtype = str(np.asarray(leaf).dtype)
            if dtype not in {"float32", "float64"}:
                where = f"args[{place}]{jax.tree_util.keystr(path)}"
                raise TypeError(f"{where} must be float32 or float64, got {dtype}")
            dtypes.add(dtype)
    if not dtypes:
        raise TypeError(f"the arguments at argnums {tuple(places)} have no arrays")
    return min(dtypes)  # float32 if any is


def _fault(code: Code, evidence: str) -> Cause:
    return Cause(code, code.description, evidence)


def _copied(leaf: Any) -> Array:
    return np.array(leaf)


def _equal(one: Any, other: Any) -> bool:
    """Compare two trees bit for bit, but for what NaN holds."""
    structure: Any = jax.tree.structure(one)
    return bool(structure == jax.tree.structure(other)) and all(
        np.array_equal(a, b, equal_nan=np.asarray(b).dtype.kind == "f")
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def _wrong_form(result: Any, target: Any) -> Cause | None:
    """Say what keeps the result from being a gradient in the target, if anything."""
    got: Any = jax.tree.structure(result)
    want: Any = jax.tree.structure(target)
    if got != want:
        return _fault(Code.WRONG_STRUCTURE, f"got {got}, expected {want}")
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(result), jax.tree.leaves(target), strict=True
    ):
        name = "gradient" + jax.tree_util.keystr(path)
        got_array, want_array = np.asarray(leaf), np.asarray(wanted)
        if got_array.shape != want_array.shape:
            evidence = f"{name} has shape {got_array.shape}, expected {want_array.shape}"
            return _fault(Code.WRONG_SHAPE, evidence)
        if got_array.dtype != want_array.dtype:
            evidence = f"{name} is {got_array.dtype}, expected {want_array.dtype}"
            return _fault(Code.WRONG_DTYPE, evidence)
    return None


def _shared_memory(returned: Any, args: tuple[Any, ...]) -> str:
    """Name two arrays that share memory, of which one at least was returned."""
    outputs = [
        ("gradient" + jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(returned)
    ]
    inputs = [
        ("args" + jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(args)
    ]
    for i, (name, array) in enumerate(outputs):
        for other_name, other in outputs[i + 1 :] + inputs:
            if _both_numpy(array, other) and np.shares_memory(array, other):
                return f"{name} and {other_name}"
    return ""


def _both_numpy(one: Any, other: Any) -> bool:
    return isinstance(one, np.ndarray) and isinstance(other, np.ndarray)


def _not_finite(leaves: Sequence[Leaf]) -> list[Cause]:
    """Say where the gradient is not finite although JAX's is, and no overflow is possible."""
    wrong = {}
    for leaf in leaves:
        bad = ~np.isfinite(leaf.got) & np.isfinite(leaf.want) & np.isfinite(leaf.open_bound)
        if bad.any():
            index = tuple(int(i) for i in np.argwhere(bad)[0])
            wrong[leaf.path] = f"{int(bad.sum())} of {bad.size}, the first at {index}"
    if not wrong:
        return []
    evidence = "; ".join(f"gradient{path}: {count}" for path, count in wrong.items())
    return [_fault(Code.NON_FINITE, evidence)]


def blind_spots(leaves: Sequence[Leaf]) -> list[str]:
    """Say where the check is nearly blind: at half of a leaf it loses half the digits or more."""
    blind = []
    for leaf in leaves:
        subnormal = (leaf.want != 0) & (abs(leaf.want) < np.finfo(str(leaf.got.dtype)).tiny)
        if subnormal.any():
            blind.append(
                f"gradient{leaf.path} has {int(subnormal.sum())} elements too small for a normal "
                f"{leaf.got.dtype}, which may be flushed to 0"
            )
        if leaf.hanging.any():
            hanging = float(np.mean(leaf.hanging))
            blind.append(
                f"{hanging:.1%} of gradient{leaf.path} hangs on kinks within rounding: what is "
                "wrong there may pass as ambiguous"
            )
        if not np.isfinite(leaf.bound).all():
            continue
        if not leaf.want.any() and leaf.bound.any():
            blind.append(f"gradient{leaf.path} is 0: only errors above {leaf.bound.max():.2g} show")
        elif sensitivity(leaf, 0.5) > np.sqrt(np.finfo(str(leaf.got.dtype)).eps):
            blind.append(
                f"at half of gradient{leaf.path} an element could be off by "
                f"{sensitivity(leaf, 0.5):.1g} of itself or more unseen"
            )
    return blind


def unseen_decay(
    leaves: Sequence[Leaf], loss: Callable[..., Any], args: tuple[Any, ...], argnums: Any
) -> list[str]:
    """For a network like ours, say if its weight decay's gradient, 2 decay W, is below the bound.

    It shows from where it leaves the bound at one weight: at the smallest bound / (2 |W|).
    """
    recognised = recognised_weight_decay(leaves, loss, args, argnums)
    if recognised is None or not recognised.value > 0:
        return []
    weight_decay = float(recognised.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = [
            leaf.bound / (2 * abs(np.asarray(weight, np.float64)))
            for leaf, weight in zip(leaves, jax.tree.leaves(args[0]), strict=True)
            if leaf.want.ndim == 2
        ]
    visible = min(float(np.nanmin(array)) for array in needed)
    if weight_decay >= visible:
        return []
    warning = (
        f"the gradient of the penalty, weight_decay {weight_decay:.3g}, drowns in the bound: "
        f"a mistake in it shows from {visible:.3g} on"
    )
    return [warning]
