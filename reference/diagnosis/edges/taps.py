"""What a tap is: a change of what an operation of a loss hands down to one of its operands.

Its setting is a number: at 0 the derivative is the right one, and at 1 it is twice that, or what a
mistake of `mistakes.py` makes of it.
"""

from typing import NamedTuple

EVERY, FIRST, LAST = "every", "first", "last"  # steps of a loop
FACTOR = "factor"  # on what is handed down


class Edge(NamedTuple):
    """Where an operation hands a derivative down to one of its operands.

    Attributes:
        path: the operation's place in the loss: its number, and the numbers in what it calls.
        operand: the number of the operand.
    """

    path: tuple[int, ...]
    operand: int


class Value(NamedTuple):
    """An array of the loss, by where it is made.

    Attributes:
        path: the place of the operation whose result it is; or of the loop, or () for the loss,
            whose input or constant it is.
        result: the number of the result; from -1 downwards that of an input or constant.
    """

    path: tuple[int, ...]
    result: int


class Swap(NamedTuple):
    """What takes the place of an array, or of a factor, in a derivative.

    Attributes:
        value: an array of the loss.
        formula: the name of what is computed of it.
        operand: the number of the operand whose place it takes, or else of that of the edge.
        updated: whether the array is computed again, of parameters less their gradients.
    """

    value: Value
    formula: str
    operand: int
    updated: bool = False


class Tap(NamedTuple):
    """A change of what is handed down on an edge.

    Attributes:
        edge: where.
        kind: FACTOR, or the name of a mistake.
        steps: which steps of the loop that the edge is in; EVERY outside of loops.
        swap: what takes the place of what, if that is the mistake.
        source: the array that a wrong derivative is handed down to, if it is no operand of the
            operation but lies further back.
        others: what takes the place of which statistics, if that is the mistake.
    """

    edge: Edge
    kind: str = FACTOR
    steps: str = EVERY
    swap: Swap | None = None
    source: Value | None = None
    others: tuple[tuple[Value, Value], ...] = ()

    @property
    def skips_calls(self) -> bool:
        """Whether the array is an input of the loss, and the operation within a function."""
        return self.source is not None and not self.source.path and len(self.edge.path) > 1
