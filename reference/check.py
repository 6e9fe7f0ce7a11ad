"""Check a gradient that somebody has written by hand against JAX autodiff."""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from reference.calls import Calls, copied
from reference.compare import Comparer, Comparison, Leaf, Verdict, differentiated
from reference.diagnosis.causes import diagnose
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.digits import Judged, digits, lost_digits
from reference.noise.finite import first_not_finite
from reference.report import GradientReport
from reference.sensitivity import blind_spots, faults_of_ours


def check_gradient(
    grad: Any, loss: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0
) -> GradientReport:
    """Check a gradient against JAX's, element by element, under what rounding can make of it.

    |grad(*args) - jax.grad(loss, argnums)(*args)| <= bound, for each element, where the bound is
    how far rounding in the precision of the arguments may take a right gradient. Two witnesses
    say how far that is, and the finer of them counts: it is measured, by disturbing every operation
    (NOISE.md), and it is proven, where the proof can tell something (ROUNDING.md).
    Before that the check looks for what makes a comparison pointless: another structure, shape or
    precision, modified inputs, results that differ between calls or share memory. JAX computes in
    float64, whatever its settings are.

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
    given = jax.tree.map(copied, args)  # whatever grad does to its arguments
    target = given[places[0]] if one else tuple(given[i] for i in places)
    calls = Calls(grad, args, given, places) if callable(grad) else None
    result = calls.first if calls else grad
    if fault := _wrong_form(result, target):
        return GradientReport(fault.code.verdict, (), (fault,), (), dtype)
    comparer = Comparer(
        jax.grad(loss, argnums=argnums),
        *given,
        measured=True,
        differentiated=differentiated(given, places),
    )
    here = comparer.at(*given, dtype=dtype)
    comparison = here(result)
    faults = [
        *(calls.faults(here, comparison) if calls else []),
        *_not_finite(comparison.leaves),
    ]
    judged = Judged(comparison)
    if not faults and comparison.verdict == Verdict.MISMATCH:
        function = grad if callable(grad) else None
        judged = lost_digits(comparison, comparer, function, given, dtype)
        comparison = judged.comparison
    verdict = faults[0].code.verdict if faults else comparison.verdict
    causes = tuple(faults)
    difference = Difference(comparison.leaves, loss, given, argnums, judged.undecided)
    if verdict == Verdict.MISMATCH:
        causes = diagnose(difference)
    elif not faults:
        causes = tuple(_remarks(comparison, comparer, given, dtype, judged.how))
    warnings = [*faults_of_ours(comparison), *blind_spots(comparison.leaves)]
    warnings += difference.model.warnings() if difference.model else []
    measurement = comparison.measurement
    return GradientReport(
        verdict, comparison.leaves, causes, warnings, dtype, measurement=measurement
    )


def _remarks(
    comparison: Comparison, comparer: Comparer, args: tuple[Any, ...], dtype: str, how: str
) -> Iterator[Cause]:
    """Say what there is to say of a gradient in which nothing is wrong."""
    if comparison.verdict == Verdict.NOT_COMPARABLE:
        where = first_not_finite(comparer.traced, *args, dtype=dtype)
        evidence = (
            f"the first result that {dtype} cannot hold is that of {where}; rewrite it, or check "
            f"at a point or in a precision where it is finite"
            if where
            else "no operation leaves the range of the precision, but one does if it is disturbed; "
            "check at another point"
        )
        yield Cause.observed(Code.NOT_COMPARABLE, evidence)
    if comparison.verdict == Verdict.BLIND:
        names = ", ".join(f"gradient{leaf.path}" for leaf in comparison.leaves if leaf.blind)
        other = "in float64, " if dtype == "float32" else ""
        evidence = (
            f"at half of {names} or more, an error of the size of the value itself would be "
            f"unseen; check {other}with a smaller case or at another point"
        )
        yield Cause.observed(Code.BLIND, evidence)
    if how:
        evidence = f"{digits(comparison.leaves)}; {how}"
        yield Cause.observed(Code.LOST_DIGITS, evidence)
    if any(leaf.tied.any() for leaf in comparison.leaves):
        counts = ", ".join(
            f"{int(leaf.tied.sum())} of {leaf.tied.size} elements of gradient{leaf.path}"
            for leaf in comparison.leaves
            if leaf.tied.any()
        )
        yield Cause.observed(Code.EXACT_TIE, counts)


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


def _wrong_form(result: Any, target: Any) -> Cause | None:
    """Say what keeps the result from being a gradient in the target, if anything."""
    got: Any = jax.tree.structure(result)
    want: Any = jax.tree.structure(target)
    if got != want:
        return Cause.observed(Code.WRONG_STRUCTURE, f"got {got}, expected {want}")
    for (path, leaf), wanted in zip(
        jax.tree_util.tree_leaves_with_path(result), jax.tree.leaves(target), strict=True
    ):
        name = "gradient" + jax.tree_util.keystr(path)
        got_array, want_array = np.asarray(leaf), np.asarray(wanted)
        if got_array.shape != want_array.shape:
            evidence = f"{name} has shape {got_array.shape}, expected {want_array.shape}"
            return Cause.observed(Code.WRONG_SHAPE, evidence)
        if got_array.dtype != want_array.dtype:
            evidence = f"{name} is {got_array.dtype}, expected {want_array.dtype}"
            return Cause.observed(Code.WRONG_DTYPE, evidence)
    return None


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
    return [Cause.observed(Code.NON_FINITE, evidence)]
