"""The rules by which error bounds pass through JAX's primitives, looked up by name."""

from collections.abc import Callable
from typing import TypeVar

from reference.bounds.rounding import Bounded

Rule = TypeVar("Rule", bound=Callable[..., Bounded | list[Bounded]])
RULES: dict[str, Callable[..., Bounded | list[Bounded]]] = {}


def register_rule(*primitives: str) -> Callable[[Rule], Rule]:
    """Register the error bound of a JAX primitive.

    The rule is called as rule(rounding, *operands, **params), where the operands are `Bounded`
    and the params those of the primitive, and returns the `Bounded` result, or a list of them.

    Args:
        primitives: the names, as a jaxpr prints them.

    >>> @register_rule("my_floor")  # of a primitive of your own
    ... def my_floor(rounding, x, **_):
    ...     lowest, highest = np.floor(x.value - x.error), np.floor(x.value + x.error)
    ...     which = rounding.opened(np.zeros(lowest.shape, int), lowest != highest)
    ...     if not which.error.any():  # every kink is decided, as the values say
    ...         return Bounded(np.floor(x.value), np.zeros(lowest.shape))
    ...     return Bounded((lowest + highest) / 2, (highest - lowest) / 2)
    """

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, rule))
        return rule

    return register
