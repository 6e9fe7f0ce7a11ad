"""Check a custom derivative rule, of jax.custom_vjp or jax.custom_jvp, against autodiff."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from reference.arguments import Argnums, precision
from reference.check_layer import Pullback, check_passes
from reference.limit import SECONDS
from reference.report import GradientReport


def check_custom_rule(
    function: Callable[..., Any],
    *args: Any,
    argnums: Argnums | None = None,
    explain_seconds: float = SECONDS,
) -> GradientReport:
    """Check the custom derivative rules in a function against autodiff of the function's body.

    |jax.vjp(function, *args)[1](d_out) - jax.vjp(body, *args)[1](d_out)| <= bound

    at several upstream gradients d_out, dense, sparse and one-hot ones, where `body` is the
    function without its rules; and likewise the outputs, for under differentiation the rule
    computes that too. The bound is that of `check_gradient`. The report is that of `check_layer`.

    Args:
        function: has a rule by `jax.custom_vjp`, `jax.custom_jvp` or `jax.custom_gradient`, or
            calls functions that have. The rules of JAX itself are left where they are.
        *args: where to check. Arrays of real numbers are in bfloat16, float16, float32 or float64;
            whatever is no array, such as a flag, an axis, a string or a function, is passed on
            unchanged.
        argnums: which arguments the function is differentiated in, by number or by name; by default
            those that hold an array of real numbers.
        explain_seconds: how long the causes of a mismatch are looked for, as for `check_gradient`.

    Returns:
        The report; `report.ok` says whether the rule is right.

    Raises:
        TypeError: an argument at argnums is in no such precision, or has no array; the function
            returns something that is not real.
        ValueError: there is no custom rule, or there are no arguments at argnums; explain_seconds
            is negative.

    >>> import numpy as np
    >>> @jax.custom_vjp
    ... def square(x):
    ...     return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, d_out: (3 * x * d_out,))  # it should be 2
    >>> report = check_custom_rule(square, np.array([1.0, -2.0]))
    >>> report.ok, report.causes[0].code.value
    (False, 'scaled')
    """
    subject = Pullback(function, args, argnums, explain_seconds)
    if not subject.rules:
        raise ValueError("the function has no custom rule, and calls none that has, but JAX's own")

    def forward(*args: Any) -> tuple[Any, Any]:
        with _in_precision(args):
            out, pull = jax.vjp(subject.of_chosen(function, args), *subject.chosen(args))
        return out, (out, pull, args)

    def backward(d_out: Any, kept: Any) -> Any:
        out, pull, args = kept
        with _in_precision(args):
            return pull(jax.tree.map(lambda d, z: jnp.asarray(d, z.dtype), d_out, out))

    def _in_precision(args: Any) -> Any:
        """Have JAX compute in float64 where that is the precision, and else as it would."""
        if precision(args, subject.places) == "float64":
            return jax.enable_x64()
        return contextlib.nullcontext()

    return check_passes(subject, forward, backward, what="custom rule", trusts_rules=False)
