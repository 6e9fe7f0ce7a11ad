"""What a mistake is planted at: an operation as it was evaluated, an edge, and what is handed down.

Axes: of an operation's arrays any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
from jax.extend import core

Path_: TypeAlias = tuple[int, ...]


@dataclass
class Step:
    """An operation that was evaluated, or the entry of a call or a loop.

    Attributes:
        path: where in the loss it stands: its number, after those of what it is called by.
        eqn: the operation.
        function: gives its results for operands.
        operands: the values that it was given.
        reads: the numbers of these values.
        ins: the same, but None for what no derivative goes to.
        outs: the numbers of its results; for an entry of a call, of the values within.
        result: the number of the first result, seen from outside.
        pull: hands derivatives in the results down to all real operands; None for an entry.
        when: `planting.EVERY` outside of loops; else the steps of the loop that this is one of.
        turn: how many times it was evaluated before.
    """

    path: Path_
    eqn: core.JaxprEqn
    function: Callable[..., Any]
    operands: list[Any]
    reads: Sequence[int]
    ins: Sequence[int | None]
    outs: Sequence[int]
    result: int | None
    pull: Callable[..., Any] | None
    when: tuple[str, ...]
    turn: int = 0


class Edge(NamedTuple):
    """Where an operation hands a derivative down, and the line that it is on."""

    path: Path_
    operand: int
    name: str
    file: str
    line: int
    step: Step
    looped: bool

    @property
    def out(self) -> Any:
        """What the result looks like."""
        return self.step.eqn.outvars[0].aval


class Given(NamedTuple):
    """What a wrong rule has to work with.

    Attributes:
        step: the operation.
        operand: whose derivative is asked for.
        x: its value.
        d_out: the derivative in the operation's result.
        right: what should be handed down.
    """

    step: Step
    operand: int
    x: Any
    d_out: Any
    right: Any

    def first(self, *operands: Any) -> Any:
        """Give the operation's first result."""
        return self.step.function(*operands)[0]

    def pull(self, d_out: Any, **replaced: Any) -> Any:
        """Hand another derivative down, or at other operands: `x` and `other`."""
        operands = list(self.step.operands)
        if "other" in replaced:
            operands[1 - self.operand] = replaced["other"]
        x = replaced.get("x", self.x)

        def of_x(x: Any) -> Any:
            return self.first(*operands[: self.operand], x, *operands[self.operand + 1 :])

        return jax.vjp(of_x, x)[1](d_out)[0]
