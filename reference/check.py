"""Check a gradient that somebody has written by hand against JAX autodiff."""

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax

from reference.arguments import (
    Argnums,
    Derivative,
    argument_names,
    as_function,
    copies,
    form,
    fresh,
    is_one,
    names_in_words,
    places_of,
    precision,
    returning_a_scalar,
)
from reference.calls import Calls
from reference.compare import Verdict
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.foreign import Exchange, at_home
from reference.limit import SECONDS, Limit
from reference.report import GradientReport
from reference.structures import by_key, like, structure_in_words
from reference.walk import find, in_its_precision, report_on, through_bodies, wrong_form


def check_gradient(
    grad: Any,
    loss: Callable[..., Any],
    *args: Any,
    argnums: Argnums | None = 0,
    explain_seconds: float = SECONDS,
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
            structure of the arguments at argnums, a tuple of several or a dictionary by their
            names; or its result, which leaves out the checks that need several calls.
        loss: any scalar function that JAX can trace. Where it calls a function with a custom rule
            of yours, the derivative is taken through the function's body, and a warning says so: a
            rule must not be its own witness. A gradient that is meant to be another, as of a
            straight-through estimator, is written as such: x + stop_gradient(round(x) - x).
        *args: where to check: arrays of NumPy's, of JAX's, or of any library that speaks DLPack,
            such as PyTorch; `grad` is called with these, and the loss with JAX's. Those at argnums
            are in bfloat16, float16, float32 or float64. What is neither an array nor a number,
            such as a flag, an axis, a string or a function, is passed on unchanged.
        argnums: which arguments the gradient is taken in, as for jax.grad, or their names; None for
            all that hold an array of real numbers.
        explain_seconds: how long the causes of a mismatch are looked for; then the best that were
            found until then are given, and a warning says what was left out. 0 for no search.

    Returns:
        The report; `report.ok` says whether the gradient is right.

    Raises:
        TypeError: there are no arguments, those at argnums are in no such precision or have no
            array, or the loss is no function or no scalar.
        ValueError: there are no arguments at argnums, or one of them twice; explain_seconds is
            negative.

    >>> import numpy as np
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
    as_function(loss, name="loss")
    limit = Limit(explain_seconds)
    exchange = Exchange(args)
    args = exchange.args
    grad = exchange.hosted(grad) if callable(grad) else at_home(grad)
    places = places_of(argnums, loss, args)
    alone = len(places) == 1 if argnums is None else is_one(argnums)
    argnums = places[0] if alone else places
    dtype = precision(args, places)
    given = copies(args, places)  # whatever grad does to its arguments
    named = argument_names(loss, len(args))
    by_name = OrderedDict((named[place] or place, given[place]) for place in places)
    target = given[places[0]] if alone else by_name

    def of_target(result: Any) -> Any:
        return like(result, target) if alone else by_key(result, by_name)

    function = (lambda *args: of_target(grad(*args))) if callable(grad) else None
    calls = Calls(function, args, given, places) if function else None
    result = calls.first if calls else of_target(grad)

    def structure(got: Any) -> str:
        return structure_in_words(got, target, given, places, one=alone)

    wanted, dtype, said = in_its_precision(
        result, target, dtype, by_jax=calls is not None and calls.by_jax
    )
    if fault := wrong_form(result, wanted, structure=structure):
        if function and _returns(lambda *args: of_target(loss(*args)), fresh(given), target):
            order = "the gradient comes first, check_gradient(grad, loss, *args)"
            evidence = f"{fault.evidence}; the loss returns what the gradient should: {order}"
            fault = replace(fault, evidence=evidence)
        return GradientReport(fault.code.verdict, (), (fault,), (), dtype)
    scalar, names = returning_a_scalar(loss), names_in_words(loss, len(args))

    def derive(loss: Callable[..., Any]) -> Derivative:
        by_jax = jax.grad(loss, argnums)

        @functools.wraps(by_jax)
        def of_arguments(*args: Any) -> Any:
            return of_target(by_jax(*args))

        return Derivative(of_arguments, given, traced=places, names=names)

    derivative, bodies, notes = through_bodies(scalar, derive)
    finding = find(
        derivative.at(*given, dtype=dtype), result, given, function=function, calls=calls
    )
    known = []
    if bodies.rules and finding.verdict == Verdict.MISMATCH:
        by_rules = derive(scalar).at(*given, dtype=dtype)
        if by_rules(result).verdict.ok:
            evidence = (
                f"with the rule of {', '.join(bodies.rules)} every element is within its bound"
            )
            known = [Cause.observed(Code.CUSTOM_RULE, evidence)]
    leaves, undecided = finding.comparison.leaves, finding.judged.undecided
    explained = bodies if bodies.rules else loss
    difference = Difference(
        leaves, explained, given, argnums, undecided, limit=limit, gradient=derivative
    )
    return report_on(finding, difference, notes=[*said, *notes], known=known)


def _returns(loss: Callable[..., Any], args: Sequence[Any], target: Any) -> bool:
    """Say whether what was handed in as the loss returns arrays of the gradient's form."""
    with contextlib.suppress(Exception):  # it need not take arrays of NumPy's
        return form(loss(*args)) == form(target) != form(0.0)
    return False
