"""Find the expression of the source that an operation of a loss comes from."""

import ast
import functools
import itertools
import linecache
from typing import Any, NamedTuple

from jax.extend import core

from reference.diagnosis.codes import Line
from reference.jaxprs import user_frame

LONGEST = 40  # characters of an expression that is quoted
_Place = tuple[int | None, int | None, int | None, int | None]  # first and last line and column


class Expression(NamedTuple):
    """An expression of a file.

    Attributes:
        file: where it is.
        place: its first line and column, and its last ones.
    """

    file: str
    place: tuple[int, int, int, int]

    def assigned(self, number: int, of: int) -> str:
        """Name the variable that this is assigned to, or that one of several results is."""
        names = _source(self.file).targets.get(self.place, ())
        return names[number] if len(names) == of else ""

    @property
    def text(self) -> str:
        """Write it, unless it is long."""
        node = _source(self.file).nodes.get(self.place)
        text = "" if node is None else ast.unparse(node)
        return text if len(text) <= LONGEST else ""


def places_of(eqn: core.JaxprEqn) -> tuple[Line | Expression, ...]:
    """Give the line that an operation comes from, then the expression on it; what is known."""
    frame = user_frame(eqn)
    if frame is None:
        return ()
    at = Line(frame.file_name, frame.line_num, "")
    expression = expression_of(eqn, at)
    return (at,) if expression is None else (at, expression)


def instructions(eqn: core.JaxprEqn) -> tuple[Any, ...]:
    """Give the instructions that made an operation, from JAX's own to that of the user's line.

    Each is the code and the place in it; nothing where JAX has kept no stack.
    """
    traceback: Any = eqn.source_info.traceback
    frame = user_frame(eqn)
    if frame is None or traceback is None:
        return ()
    found = []
    for code, offset in zip(*traceback.raw_frames(), strict=True):
        found.append((code, offset))
        if code.co_filename == frame.file_name:
            break
    return tuple(found)


class _Source(NamedTuple):
    nodes: dict[_Place, ast.expr]
    targets: dict[_Place, list[str]]


def expression_of(eqn: core.JaxprEqn, at: Line) -> Expression | None:
    """Find the expression on a line that an operation comes from; None if that is not known."""
    traceback: Any = eqn.source_info.traceback
    if traceback is None:
        return None
    for code, offset in zip(*traceback.raw_frames(), strict=True):
        if code.co_filename == at.file:
            # the instruction has one place for each two bytes
            first, last, start, end = next(
                itertools.islice(code.co_positions(), offset // 2, None), (None,) * 4
            )
            if first is None or last is None or start is None or end is None:
                continue
            if first <= at.number <= last:
                return Expression(at.file, (first, start, last, end))
    return None


@functools.lru_cache(maxsize=32)
def _parsed(text: str) -> _Source:
    nodes: dict[_Place, ast.expr] = {}
    targets: dict[_Place, list[str]] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a cell with a command in it, say
        return _Source(nodes, targets)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            nodes[_place(node)] = node
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                if len(names) == len(values):
                    pairs = zip(names, values, strict=True)
                    targets.update((_place(value), [ast.unparse(name)]) for name, value in pairs)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=value):
                targets[_place(value)] = [ast.unparse(name) for name in names]
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                targets[_place(value)] = [name]
    return _Source(nodes, targets)


def _source(file: str) -> _Source:
    return _parsed("".join(linecache.getlines(file)))


def _place(node: ast.expr) -> _Place:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
