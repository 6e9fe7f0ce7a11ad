"""Make the mutants of a module, and match them with the list of those that compute the same.

A mutant is a module with one change, made by an operator: one of Cosmic Ray's own, which know
Python, or one of `operators.py`, which know the mistakes of a backward pass.
"""

import ast
import difflib
import functools
import hashlib
import json
import pickle
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor

from benchmarks.mutation.code import Code, name_of
from benchmarks.mutation.operators import OPERATORS
from benchmarks.mutation.selection import NotReadyError, is_numerical

EQUIVALENT = Path("benchmarks/mutation/equivalent_mutants.toml")
ENTRY = ("module", "function", "operator", "before", "after")  # of the list, without the reason
OURS = "gradient"  # before the names of our operators
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef

# Of Cosmic Ray's operators that replace one thing by another, the opposite and a neighbour. A shift
# raises at the first float, and * in place of ** tells as much as // does.
CORE = re.compile(
    r"ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul)|"
    r"ReplaceBinaryOperator_(BitAnd_BitOr|BitOr_BitAnd|BitXor_BitAnd)|"
    r"ReplaceBinaryOperator_(LShift_RShift|RShift_LShift)|"
    r"ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is)|"
    r"ReplaceComparisonOperator_(Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt)|"
    r"ReplaceUnaryOperator_(USub_UAdd|Delete_Invert|Delete_Not)|"
    r"Replace(AndWithOr|OrWithAnd|TrueWithFalse|FalseWithTrue|BreakWithContinue|ContinueWithBreak)|"
    r"AddNot|NumberReplacer|RemoveDecorator|ZeroIterationForLoop"
)


class Mutant(NamedTuple):
    """A module with one change."""

    module: str
    function: str  # with those and the classes that it is in; "" for the module itself
    operator: str
    line: int
    before: str  # the changed lines, each without the space around it
    after: str
    text: str  # the whole module
    identity: str  # which the module's code, as it is, and the change make

    @property
    def is_ours(self) -> bool:
        """Say whether it was made by one of our operators, and not by Cosmic Ray's."""
        return self.operator.startswith(f"{OURS}/")

    @property
    def key(self) -> tuple[str, ...]:
        """Say what an entry of the list of equivalent ones must have."""
        return self.module, self.function, self.operator, self.before, self.after

    def __str__(self) -> str:
        """Say which it is, in a line."""
        before, after = (text.replace("\n", " ⏎ ") for text in (self.before, self.after))
        return f"{self.module}:{self.line} {self.operator}: {before}  ->  {after}"


class _Changed(NamedTuple):
    """A module with one change, which may or may not be a mutant."""

    operator: str
    start: int  # of the change, in characters
    text: str  # the whole module


class _Statement(NamedTuple):
    """A statement of a module, which is parsed for each mutant anew, and so alone."""

    start: int
    text: str
    tree: bytes  # pickled, for Cosmic Ray's operators change the tree that they are given
    nodes: list[Any]


class _Module:
    """The text of a module, with what is looked up in it again and again."""

    def __init__(self, text: str) -> None:
        self.code = Code(text)
        self.definitions = list(_definitions(self.code.tree))

    @functools.cached_property
    def statements(self) -> list[_Statement]:
        """Split the text into the statements of the module, with the space before each."""
        found, start = [], 0
        for node in get_ast(self.code.text).children:
            text = node.get_code()
            tree = get_ast(text)
            found.append(_Statement(start, text, pickle.dumps(tree), list(ast_nodes(tree))))
            start += len(text)
        return found

    @functools.cached_property
    def codes(self) -> list[str]:
        """Write each statement out without comments and docstrings."""
        return [_code_of(ast.parse(statement.text)) for statement in self.statements]

    def line(self, start: int) -> int:
        """Say which line a character is in."""
        return self.code.text.count("\n", 0, start) + 1

    def function(self, start: int) -> str:
        """Name the innermost function or class that a character is in, decorators included."""
        line, inside = self.line(start), ""
        for first, last, name in self.definitions:
            if first <= line <= last:
                inside = name
        return inside


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[int, int, str]]:
    """Give the first and the last line of each function and class, the inner after the outer."""
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
            yield first, child.end_lineno or first, prefix + child.name
            inner = f"{prefix}{child.name}."
        yield from _definitions(child, inner)


def make_mutants(root: Path, module: str, functions: Collection[str] | None = None) -> list[Mutant]:
    """Make the mutants of a module that differ from it and from each other, and compile.

    Args:
        root: of the tree.
        module: its path in the tree.
        functions: make no more than those of these, which is faster; all, by default.
    """
    original = (root / module).read_text(encoding="utf-8")
    parsed = _Module(original)
    known: dict[int, set[str]] = {}
    mutants = []
    for operator, start, text in _all_changes(parsed, module, functions):
        # of a long module the statement that differs is looked at, which is much faster
        at, (begin, old, *_) = next(
            (at, s) for at, s in enumerate(parsed.statements) if start < s.start + len(s.text)
        )
        new = text[begin : begin + len(old) + len(text) - len(original)]
        try:
            tree = ast.parse(new)
            compile(tree, module, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            continue
        if (code := _code_of(tree)) not in known.setdefault(at, {parsed.codes[at]}):
            known[at].add(code)
            before, after = _difference(old, new)
            place = parsed.function(start), operator, parsed.line(start)
            told = "\0".join([module, *parsed.codes, str(at), code])
            identity = hashlib.sha256(told.encode()).hexdigest()
            mutants.append(Mutant(module, *place, before, after, text, identity[:32]))
    return mutants


def _code_of(tree: ast.Module) -> str:
    """Write a tree out without its docstrings: what they test may change, as other tests may.

    To reshape's any number below 0 is -1.
    """
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        if isinstance(node, ast.Call) and name_of(node) == "reshape":
            for size in node.args:
                match size:
                    case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(n)) as number):
                        number.value = min(n, 1)
    return ast.dump(tree)


def _difference(old: str, new: str) -> list[str]:
    """Give the lines that differ, before and after."""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0))[2:]
    return ["\n".join(line[1:].strip() for line in lines if line[0] == sign) for sign in ("-", "+")]


def _all_changes(
    parsed: _Module, module: str, functions: Collection[str] | None
) -> Iterator[_Changed]:
    """Give each change by each operator that there is for the module, in these functions.

    Operators of gradients come first: a change that one of Cosmic Ray's own makes too is theirs.
    """
    original = parsed.code.text
    for short, operator in OPERATORS.items():
        name = f"{OURS}/{short}"
        if operator.numerical and not is_numerical(module):
            continue
        if operator.lowers and not module.startswith("manual_nn/"):
            continue
        for start, end, new in operator.changes(parsed.code):
            if functions is None or parsed.function(start) in functions:
                yield _Changed(name, start, original[:start] + new + original[end:])
    for short in filter(CORE.fullmatch, cosmic_ray.plugins.OPERATOR_PROVIDERS["core"]):
        yield from _changes_by_cosmic_ray(parsed, f"core/{short}", functions)


def _changes_by_cosmic_ray(
    parsed: _Module, name: str, functions: Collection[str] | None
) -> Iterator[_Changed]:
    """Give the changes by one of Cosmic Ray's own operators, but for those of annotations."""
    operator, original = cosmic_ray.plugins.get_operator(name)(), parsed.code.text
    for start, text, tree, nodes in parsed.statements:
        lines = text.splitlines(keepends=True)
        positions = [(node, at) for node in nodes for at in operator.mutation_positions(node)]
        for place, (node, ((line, column), _)) in enumerate(positions):
            offset = start + sum(map(len, lines[: line - 1])) + column
            if _is_untested(node, offset, parsed.code):
                continue
            if functions is None or parsed.function(offset) in functions:
                visitor = MutationVisitor(place, operator)
                mutated = visitor.walk(pickle.loads(tree)).get_code()  # noqa: S301
                rest = original[start + len(text) :]
                yield _Changed(name, offset, original[:start] + mutated + rest)


def _is_untested(node: Any, offset: int, code: Code) -> bool:
    """Say whether a place is in an annotation, or the * or / among a function's parameters."""
    mark = node.type == "operator" and node.parent.type in {"parameters", "lambdef"}
    return mark or any(start <= offset < end for start, end in code.untested)


# What computes the same


def read_equivalents(root: Path) -> list[dict[str, str]]:
    """Read the list of equivalent mutants."""
    with (root / EQUIVALENT).open("rb") as file:
        entries = tomllib.load(file).get("equivalent", [])
    for entry in entries:
        missing = {*ENTRY, "reason"} - set(entry)
        if missing or not entry["reason"].strip():
            what = ", ".join(sorted(missing)) or "reason"
            raise NotReadyError(f"{EQUIVALENT}: {what} is missing from {entry}")
    return entries


def match_equivalents(
    mutants: Iterable[Mutant], entries: Iterable[Mapping[str, str]]
) -> dict[tuple[str, ...], str]:
    """Find the reason of each equivalent mutant, by its key; entries of none are an error."""
    keys = {mutant.key for mutant in mutants}
    reasons: dict[tuple[str, ...], str] = {}
    wrong = []
    for entry in entries:
        key = tuple(entry[name] for name in ENTRY)
        if key not in keys or key in reasons:
            what = "twice" if key in reasons else "no mutant is"
            wrong.append(f"{what}\n{entry_text(*key, entry['reason'])}")
        reasons[key] = entry["reason"]
    if wrong:
        raise NotReadyError("\n".join([f"{EQUIVALENT}:", *wrong]))
    return reasons


def entry_text(*values: str) -> str:
    """Write an entry of the list of equivalent mutants; a string of JSON is one of TOML."""
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}"
        for name, value in zip((*ENTRY, "reason"), values, strict=True)
    ]
    return "\n".join(["[[equivalent]]", *lines, ""])
