"""Functions within functions: calls are written out, loops and branches carry the samples."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend import core

from reference.bounds.rules.calls import scan_counts
from reference.jaxprs import is_exp_neg_sq
from reference.noise.evaluation import calls, evaluate_closed
from reference.noise.samples import Sampled, Samples, over_samples


@calls("jit", "pjit", "closed_call", "remat", "remat2", "checkpoint", "core_call")
def _call(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    return evaluate_closed(samples, eqn.params["jaxpr"], operands)


@calls("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
def _custom_call(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    jaxpr = eqn.params.get("call_jaxpr") or eqn.params["fun_jaxpr"]
    if is_exp_neg_sq(jaxpr):  # splits x by its bits
        (out,) = over_samples(lambda x: [jnp.exp(-x * x)], *operands)
        (x,) = operands
        size = abs(out.array) * (4 + jnp.square(x.array))
        return [samples.disturbed(out, size, common="exp")]
    return evaluate_closed(samples, jaxpr, operands)


@calls("scan")
def _scan(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    params = eqn.params
    num_consts, num_carry = scan_counts(params)
    consts = operands[:num_consts]
    carry = [samples.everywhere(x) for x in operands[num_consts : num_consts + num_carry]]
    sequences = operands[num_consts + num_carry :]
    steps_first = [jnp.moveaxis(x.array, 1, 0) if x.spread else x.array for x in sequences]
    spread_outputs: list[bool] = []

    def step(state: Any, elements: Any) -> Any:
        number, flips, arrays = state
        inner = samples.step(number)
        inner.flips = flips
        carried = [Sampled(a, x.spread) for a, x in zip(arrays, carry, strict=True)]
        taken = [Sampled(a, x.spread) for a, x in zip(elements, sequences, strict=True)]
        results = evaluate_closed(inner, params["jaxpr"], [*consts, *carried, *taken])
        spread_outputs[:] = [x.spread for x in results[num_carry:]]
        passed = [samples.everywhere(x).array for x in results[:num_carry]]
        return (number + 1, inner.flips, passed), [x.array for x in results[num_carry:]]

    begin = (jnp.int32(0), samples.flips, [x.array for x in carry])
    (_, samples.flips, last), stacked = lax.scan(
        step, begin, steps_first, length=params["length"], reverse=params["reverse"]
    )
    carried = [Sampled(a, x.spread) for a, x in zip(last, carry, strict=True)]
    outputs = [
        Sampled(jnp.moveaxis(array, 0, 1) if spread else array, spread)
        for array, spread in zip(stacked, spread_outputs, strict=True)
    ]
    return carried + outputs


@calls("while")
def _while(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """Go on as long as the decider does."""
    params = eqn.params
    ends = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond_consts, body_consts = operands[: ends[0]], operands[ends[0] : ends[1]]
    carry = [samples.everywhere(x) for x in operands[ends[1] :]]

    def known(arrays: Any) -> list[Sampled]:
        return [Sampled(a, x.spread) for a, x in zip(arrays, carry, strict=True)]

    def goes_on(state: Any) -> Any:
        number, flips, arrays = state
        inner = samples.step(number)
        inner.flips = flips
        (result,) = evaluate_closed(inner, params["cond_jaxpr"], [*cond_consts, *known(arrays)])
        return result.array

    def step(state: Any) -> Any:
        number, flips, arrays = state
        inner = samples.step(number)
        inner.flips = flips
        evaluate_closed(inner, params["cond_jaxpr"], [*cond_consts, *known(arrays)])  # counts
        results = evaluate_closed(inner, params["body_jaxpr"], [*body_consts, *known(arrays)])
        return number + 1, inner.flips, [samples.everywhere(x).array for x in results]

    begin = (jnp.int32(0), samples.flips, [x.array for x in carry])
    _, samples.flips, last = lax.while_loop(goes_on, step, begin)
    return known(last)


@calls("cond")
def _cond(
    samples: Samples, eqn: core.JaxprEqn, which: Sampled, *operands: Sampled
) -> list[Sampled]:
    """Take the branch that the decider takes."""
    kinds: list[bool] = []

    def taken(branch: Any) -> Any:
        def function(flips: Any, arrays: Any) -> Any:
            inner = samples.step(jnp.int32(0))
            inner.flips = flips
            inputs = [Sampled(a, x.spread) for a, x in zip(arrays, operands, strict=True)]
            results = [samples.everywhere(x) for x in evaluate_closed(inner, branch, inputs)]
            kinds[:] = [x.spread for x in results]
            return inner.flips, [x.array for x in results]

        return function

    branches = [taken(branch) for branch in eqn.params["branches"]]
    arrays = [x.array for x in operands]
    samples.flips, outs = lax.switch(which.array, branches, samples.flips, arrays)
    return [Sampled(array, spread) for array, spread in zip(outs, kinds, strict=True)]
