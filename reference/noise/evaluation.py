"""Evaluate a jaxpr for several samples at once, each operation disturbed by its own rounding."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from jax.extend import core
from jax.interpreters import partial_eval

from reference.jaxprs import bind
from reference.noise.samples import JaxArray, Sampled, Samples, holds, over_samples, rounds

Rule: TypeAlias = Callable[..., list[Sampled]]
RULES: dict[str, Rule] = {}
CALLS: dict[str, Rule] = {}

LONGEST_CHAIN = 12  # of operations that XLA may fuse
# Whose results XLA stores.
STORED = {
    "cholesky", "cond", "conv_general_dilated", "dot_general", "eigh", "fft", "lu",
    "reduce_window_sum", "scan", "scatter-add", "select_and_scatter_add", "sort", "svd",
    "triangular_solve", "while",
}  # fmt: skip
# What is all change within STEEP of 0, and nothing or infinite beyond.
STEEP_FUNCTIONS = {
    "cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "logistic", "sin", "sinh", "tan", "tanh",
}  # fmt: skip


def disturbs(*primitives: str) -> Callable[[Rule], Rule]:
    """Register how the result of these primitives is disturbed: rule(samples, eqn, *operands)."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, rule))
        return rule

    return register


def calls(*primitives: str) -> Callable[[Rule], Rule]:
    """Register how the functions within these primitives are evaluated."""

    def register(rule: Rule) -> Rule:
        CALLS.update(dict.fromkeys(primitives, rule))
        return rule

    return register


def evaluate_closed(samples: Samples, jaxpr: Any, operands: Sequence[Sampled]) -> list[Sampled]:
    """Evaluate a jaxpr that may have its constants with it."""
    if not hasattr(jaxpr, "consts"):
        return evaluate(samples, jaxpr, [], operands)
    consts = [
        samples.given(const, held=not rounds(const.dtype) or holds(samples.dtype, const))
        for const in jaxpr.consts
    ]
    return evaluate(samples, jaxpr.jaxpr, consts, operands)


def evaluate(
    samples: Samples,
    jaxpr: core.Jaxpr,
    consts: Sequence[Sampled],
    inputs: Sequence[Sampled],
) -> list[Sampled]:
    """Evaluate what the results of a jaxpr need, operation by operation."""
    known: dict[Any, Sampled] = {}

    def read(atom: Any) -> Sampled:
        if isinstance(atom, core.Literal):
            aval: Any = atom.aval
            return samples.literal(atom.val, aval.dtype)
        return known[atom]

    known.update(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))
    chain: dict[Any, int] = {}
    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        outs = operation(samples, eqn, operands)
        if eqn.primitive.name in STORED:
            length = 0
        else:
            before = (chain.get(x, 0) for x in eqn.invars if not isinstance(x, core.Literal))
            length = 1 + max(before, default=0)
        if length > LONGEST_CHAIN:
            length, outs = 0, [samples.stored(x) if x.spread else x for x in outs]
        chain.update(dict.fromkeys(eqn.outvars, length))
        known.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def operation(samples: Samples, eqn: core.JaxprEqn, operands: Sequence[Sampled]) -> list[Sampled]:
    """Evaluate one operation and disturb its result."""
    name = eqn.primitive.name
    if samples.unknowing is not None and name in STEEP_FUNCTIONS:
        operands = [samples.unknown(x) for x in operands]
    if name in CALLS:
        return CALLS[name](samples, eqn, *operands)
    if not any(rounds(getattr(variable.aval, "dtype", bool)) for variable in eqn.outvars):
        # The bits of a number are no decision; what is decided by them will be compared.
        return samples.decide(bound(eqn), *operands, kink=name != "bitcast_convert_type")
    if name in RULES:
        return RULES[name](samples, eqn, *operands)
    return generic(samples, eqn, *operands)


def bound(eqn: core.JaxprEqn) -> Callable[..., Sequence[JaxArray]]:
    """Give the operation as a function of arrays that returns a list of them."""

    def function(*arrays: Any) -> Sequence[JaxArray]:
        return bind(eqn, arrays)

    return function


def undisturbed(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """Evaluate an operation for all samples; what it decides, as the decider has it."""
    outs = over_samples(bound(eqn), *operands)
    return [
        out if out.is_real or not out.spread else Sampled(out.array[samples.decider])
        for out in outs
    ]


def generic(samples: Samples, eqn: core.JaxprEqn, *operands: Sampled) -> list[Sampled]:
    """Disturb the operands and the results of what nobody has listed by one rounding."""
    samples.generic.add(eqn.primitive.name)
    moved = [samples.relative(x) if x.is_real else x for x in operands]
    outs = undisturbed(samples, eqn, *moved)
    return [samples.relative(out) if out.is_real else out for out in outs]


def without_dead_code(jaxpr: core.Jaxpr) -> core.Jaxpr:
    """Leave out what no result depends on, in loops and branches too; the inputs stay."""
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    return needed
