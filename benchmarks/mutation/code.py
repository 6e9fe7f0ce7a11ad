"""A module's text beside its syntax tree, and what operators ask of its nodes."""

import ast
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

OPERATIONS = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.Starred),
    ast.NamedExpr,
)
HOLDERS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr, ast.keyword, ast.Call)
UNTESTED = {"zip": "strict", "lru_cache": "maxsize"}  # keywords of calls


class Change(NamedTuple):
    """Characters of a module's text, from start to end, and what takes their place."""

    start: int
    end: int
    text: str


class Code:
    """A module's text beside its syntax tree.

    Attributes:
        nodes: the nodes that may be changed: not those of annotations, nor what f-strings hold,
            where Python 3.11 does not know the columns.
        untested: from where to where there is code that no test runs: annotations and the like.
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        self.text = text
        self.tree = ast.parse(text)
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = [line.encode() for line in text.splitlines()]
        self.parents = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }
        roots = list(_untested(self.tree))
        strings = [node for node in ast.walk(self.tree) if isinstance(node, ast.JoinedStr)]
        left_out = {id(node) for root in (*roots, *strings) for node in ast.walk(root)}
        self.nodes = [node for node in ast.walk(self.tree) if id(node) not in left_out]
        self.untested = [self.span(root) for root in roots]

    def offset(self, line: int, column: int) -> int:
        """Say where a line (from 1) and a column, in bytes, lie in the text."""
        return self._starts[line - 1] + len(self._lines[line - 1][:column].decode())

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Say from where to where in the text a node reaches."""
        at: Any = node
        start, end = (at.lineno, at.col_offset), (at.end_lineno, at.end_col_offset)
        return self.offset(*start), self.offset(*end)

    def of(self, node: ast.AST) -> str:
        """Give the text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def operand(self, node: ast.AST) -> str:
        """Give the text of a node, in brackets if it would else fall apart as an operand."""
        text = self.of(node)
        loose = isinstance(node, OPERATIONS) or (isinstance(node, ast.Tuple) and text[0] != "(")
        return f"({text})" if loose else text

    def changed(self, node: ast.AST, text: str) -> Change:
        """Put an expression in the place of a node, in brackets if it needs them there."""
        start, end = self.span(node)
        if isinstance(node, ast.expr) and not self._bracketed(start, end):
            falls_apart = isinstance(ast.parse(f"({text}\n)", mode="eval").body, OPERATIONS)
            if falls_apart and (not isinstance(self.parents[node], HOLDERS) or "\n" in text):
                text = f"({text})"
        return Change(start, end, text)

    def _bracketed(self, start: int, end: int) -> bool:
        """Say whether there are brackets around the place already."""
        return self.text[:start].rstrip().endswith("(") and self.text[end:].lstrip().startswith(")")

    def arguments_around(self, node: ast.AST) -> set[str]:
        """Name the arguments of the functions that a node is in."""
        names: set[str] = set()
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                given = node.args
                names |= {arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)}
        return names

    @functools.cached_property
    def loop_variables(self) -> set[str]:
        """Name what the loops of the module go through."""
        targets = [n.target for n in self.nodes if isinstance(n, ast.For | ast.comprehension)]
        return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}

    def is_within(self, node: ast.AST, kinds: type | tuple[type, ...]) -> bool:
        """Say whether a node is part of an expression of these kinds."""
        while node in self.parents and not isinstance(node, ast.stmt):
            node = self.parents[node]
            if isinstance(node, kinds):
                return True
        return False

    def is_index(self, node: ast.AST) -> bool:
        """Say whether a node is part of a subscript or of a range, where it counts places."""
        while node in self.parents and not isinstance(node, ast.stmt):
            parent = self.parents[node]
            if isinstance(parent, ast.Subscript) and node is parent.slice:
                return True
            if isinstance(parent, ast.Call) and name_of(parent) == "range":
                return True
            node = parent
        return False

    @functools.cached_property
    def has_jax_alone(self) -> bool:
        """Say whether the module computes with JAX and not with NumPy, by their usual names."""
        names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        return "jnp" in names and "np" not in names


def _untested(tree: ast.AST) -> Iterator[ast.AST]:
    """List what tells a type checker something, and is not run for its result.

    Likewise the strict of a zip, which asserts that lengths are equal that are so by construction,
    and how much a cache keeps.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call(keywords=keywords):
                left_out = UNTESTED.get(name_of(node), "")
                yield from (word.value for word in keywords if word.arg == left_out)
            case ast.arg(annotation=ast.AST() as annotation):
                yield annotation
            case ast.FunctionDef(returns=ast.AST() as returns):
                yield returns
            case ast.AnnAssign(annotation=annotation, value=value):
                yield annotation
                if value is not None and "TypeAlias" in ast.unparse(annotation):
                    yield value
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield node


def name_of(node: ast.AST) -> str:
    """Give the last part of the name of a variable, an attribute or a called function."""
    match node:
        case ast.Call(func=func):
            return name_of(func)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def number_in(node: ast.AST) -> int | float | None:
    """Give the number that a node is, with its sign."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            number = number_in(operand)
            return None if number is None else -number
        case ast.Constant(value=value) if type(value) in (int, float):
            return value  # type: ignore[return-value] # which type() has found out
    return None


def is_text(node: ast.AST) -> bool:
    """Say whether a node is a string, as far as its syntax tells."""
    match node:
        case ast.JoinedStr() | ast.Constant(value=str()):
            return True
        case ast.BinOp(left=left, right=right):
            return is_text(left) or is_text(right)
    return False


def moved(code: Code, node: ast.expr, by: int) -> str:
    """Add to a whole number, and write no more than is needed."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=ast.Constant(value=int(n))):
            total = (n if isinstance(op, ast.Add) else -n) + by
            sign = "-" if total < 0 else "+"
            return f"{code.of(left)} {sign} {abs(total)}" if total else code.of(left)
    number = number_in(node)
    if number is not None:
        return str(number + by)
    return f"{code.operand(node)} {'-' if by < 0 else '+'} {abs(by)}"
