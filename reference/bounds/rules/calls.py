"""Functions within functions: calls, loops and branches."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reference.bounds.registry import register_rule
from reference.bounds.rounding import Bounded, Rounding
from reference.bounds.rules.arithmetic import neg, square
from reference.bounds.rules.choices import select_n
from reference.bounds.rules.elementary import exp
from reference.bounds.tracing import evaluate
from reference.jaxprs import is_exp_neg_sq


@register_rule("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "core_call")
def _call(rounding: Rounding, *operands: Bounded, jaxpr: Any, **_: Any) -> list[Bounded]:
    if not hasattr(jaxpr, "consts"):
        return evaluate(jaxpr, [], operands, rounding)
    consts = list(map(rounding.given, jaxpr.consts))
    return evaluate(jaxpr.jaxpr, consts, operands, rounding)


@register_rule("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
def _custom_call(rounding: Rounding, *operands: Bounded, **params: Any) -> list[Bounded]:
    jaxpr = params.get("call_jaxpr") or params["fun_jaxpr"]
    if is_exp_neg_sq(jaxpr):
        (x,) = operands
        return [exp(rounding, neg(rounding, square(rounding, x)))]
    return _call(rounding, *operands, jaxpr=jaxpr)


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """Give how many of a scan's operands are constants, and how many are carried on."""
    if "ft_in" in params:  # newer versions of JAX give this instead of the two numbers
        consts, carry = params["ft_in"].unpack()[:2]
        return len(consts), len(carry)
    return params["num_consts"], params["num_carry"]


@register_rule("scan")
def _scan(
    rounding: Rounding,
    *operands: Bounded,
    jaxpr: Any,
    length: int,
    reverse: bool,
    **params: Any,
) -> list[Bounded]:
    num_consts, num_carry = scan_counts(params)
    consts = operands[:num_consts]
    carry = list(operands[num_consts : num_consts + num_carry])
    sequences = operands[num_consts + num_carry :]
    steps = range(length)[::-1] if reverse else range(length)
    outputs: dict[int, list[Bounded]] = {}
    for step in steps:
        elements = [Bounded(x.value[step], x.error[step]) for x in sequences]
        results = _call(rounding, *consts, *carry, *elements, jaxpr=jaxpr)
        carry, outputs[step] = results[:num_carry], results[num_carry:]
    stacked = [
        Bounded(np.stack([x.value for x in column]), np.stack([x.error for x in column]))
        for column in zip(*(outputs[step] for step in range(length)), strict=True)
    ]
    return carry + stacked


@register_rule("cond")
def _cond(
    rounding: Rounding, which: Bounded, *operands: Bounded, branches: tuple[Any, ...], **_: Any
) -> list[Bounded]:
    """Take the branch that is chosen; if any may be, take the interval that holds them all."""
    chosen = min(max(int(which.value), 0), len(branches) - 1)
    results = _call(rounding, *operands, jaxpr=branches[chosen])
    if not which.error:
        return results
    others = [_call(rounding, *operands, jaxpr=branch) for branch in branches]
    return [
        select_n(rounding, Bounded(np.asarray(chosen), which.error), *cases)
        for cases in zip(*others, strict=True)
    ]


@register_rule("while")
def _while(
    rounding: Rounding,
    *operands: Bounded,
    cond_jaxpr: Any,
    body_jaxpr: Any,
    cond_nconsts: int,
    body_nconsts: int,
    **_: Any,
) -> list[Bounded]:
    """Go on as long as our values do; nothing is known of the results if others may not."""
    cond_consts = operands[:cond_nconsts]
    body_consts = operands[cond_nconsts : cond_nconsts + body_nconsts]
    carry = list(operands[cond_nconsts + body_nconsts :])
    unsure = False
    while True:
        (goes_on,) = _call(rounding, *cond_consts, *carry, jaxpr=cond_jaxpr)
        unsure |= bool(goes_on.error)
        if not goes_on.value:
            break
        carry = _call(rounding, *body_consts, *carry, jaxpr=body_jaxpr)
    if not unsure:
        return carry
    return [
        Bounded(x.value, np.full_like(x.error, np.True_ if x.error.dtype == bool else np.inf))
        for x in carry
    ]
