"""The mistakes that people make in a backward pass, as operators that make mutants.

An operator proposes changes of a module's text, found in its syntax tree. `OPERATORS` holds the
telling ones before the general ones, because of two that make the same code the first one counts.
"""

import ast
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

OPERATIONS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Lambda, ast.Starred)
HOLDERS = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr, ast.keyword, ast.Call)
NEGATED = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: ">=",
    ast.GtE: "<",
    ast.Gt: "<=",
    ast.LtE: ">",
    ast.In: "not in",
    ast.NotIn: "in",
}
AT_THE_BOUND = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
IN_PLACE = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
SHARES = {"share", "scale"}  # names of what each row counts
COUNTS = {"N", "n", "P", "D", "K", "L", "l", "k", "i", "start", "size", "batch", "epoch", "terms"}
FACTORS = {"learning_rate", "weight_decay"}
UNTESTED = {"zip": "strict", "lru_cache": "maxsize"}  # keywords of calls
FRESH = {"zeros", "zeros_like", "empty", "empty_like", "ones", "ones_like"}


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

    def functions_around(self, node: ast.AST) -> Iterator[ast.FunctionDef | ast.Lambda]:
        """List the functions that a node is in, the innermost first."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                yield node

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


class GradientOperator:
    """What proposes changes of a whole module's text.

    Attributes:
        numerical: it is for the numerical core, and not for every module.
        changes_arrays: it is for NumPy's arrays, and not for JAX's, which never change.
        lowers: it is for code that may compute in float32, not for what is float64 throughout.
        samples: code before and after, as the tests have it made.
    """

    numerical: ClassVar[bool] = True
    changes_arrays: ClassVar[bool] = False
    lowers: ClassVar[bool] = False
    samples: ClassVar[tuple[tuple[str, str], ...]] = ()

    def changes(self, code: Code) -> list[Change]:
        """List the changes of a module, in their order in the text."""
        if self.changes_arrays and code.has_jax_alone:
            return []
        found = [change for node in code.nodes for change in self.changes_at(node, code)]
        return sorted(found, key=lambda change: change.start)

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:  # noqa: ARG002
        """List the changes at a node."""
        return ()


# Products of matrices


class TransposeDropped(GradientOperator):
    """x.T becomes x."""

    samples = (("y = x.T @ z", "y = x @ z"), ("y = x.transpose(axes)", "y = x"))

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Attribute(value=value, attr="T"):
                yield code.changed(node, code.operand(value))
            case ast.Call(func=ast.Attribute(value=value, attr="transpose")):
                yield code.changed(node, code.operand(value))


class TransposeAdded(GradientOperator):
    """x @ y becomes x.T @ y, or x @ y.T."""

    samples = (("z = x @ y", "z = x.T @ y"), ("z = np.matmul(x.T, y)", "z = np.matmul(x.T, y.T)"))

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.MatMult(), right=right):
                factors = [left, right]
            case ast.Call(args=args) if name_of(node) in {"matmul", "dot"}:
                factors = args[:2]
            case _:
                return
        for factor in factors:
            if not code.of(factor).endswith(".T"):
                yield code.changed(factor, f"{code.operand(factor)}.T")


class OuterTransposed(GradientOperator):
    """The outer product of x and y becomes that of y and x."""

    samples = (
        ("z = np.outer(x, y)", "z = np.outer(y, x)"),
        ('z = np.einsum("ni,nj->nij", x, y)', 'z = np.einsum("ni,nj->nji", x, y)'),
        ('z = np.einsum("i,j->ij", x, y, out=out)', 'z = np.einsum("i,j->ji", x, y, out=out)'),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(args=[x, y]) if name_of(node) == "outer":
                start, end = code.span(x)[0], code.span(y)[1]
                yield Change(start, end, f"{code.of(y)}, {code.of(x)}")
            case ast.Call(args=[ast.Constant(value=str(axes)) as value, *_]) if (
                name_of(node) == "einsum"
            ):
                _, _, out = axes.partition("->")
                if len(out) > 1:
                    yield code.changed(value, f'"{axes[:-2]}{axes[:-3:-1]}"')


class Float64Detour(GradientOperator):
    """A product or a sum is computed in float64 and rounded to float32 at the end."""

    lowers = True
    samples = (
        ("z = x @ y", "z = (x.astype(np.float64) @ y).astype(x.dtype)"),
        (
            "z = np.matmul(x, y, out=out)",
            (
                "z = np.matmul(x, y, out=out, dtype=np.float64, casting='same_kind')"
                ".astype(x.dtype, copy=False)"
            ),
        ),
        ("z = np.vdot(x, y)", "z = x.dtype.type(np.vdot(x.astype(np.float64), y))"),
        ("z = x.sum(axis=0)", "z = x.sum(axis=0, dtype=np.float64).astype(x.dtype, copy=False)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.MatMult(), right=right):
                x, y = code.operand(left), code.operand(right)
                yield code.changed(node, f"({x}.astype(np.float64) @ {y}).astype({x}.dtype)")
            case ast.Call(func=func, args=[first, second, *_]) if name_of(node) in {
                "vdot",
                "vecdot",
                "dot",
            }:
                x, y = code.operand(first), code.of(second)
                new = f"{x}.dtype.type({code.of(func)}({x}.astype(np.float64), {y}))"
                if name_of(node) != "vdot":
                    new = f"{code.of(func)}({x}.astype(np.float64), {y}).astype({x}.dtype)"
                yield code.changed(node, new)
            case ast.Call(args=args) if name_of(node) in {"matmul", "einsum"}:
                x = next(code.operand(a) for a in args if not isinstance(a, ast.Constant))
                more = 'dtype=np.float64, casting="same_kind"'
                new = f"{code.of(node)[:-1]}, {more}).astype({x}.dtype, copy=False)"
                yield code.changed(node, new)
            case ast.Call(func=ast.Attribute(value=value, attr="sum" | "mean" | "reduce")):
                match code.of(value), getattr(node, "args"):  # noqa: B009, narrowed too far
                    case ("np.add", [ast.Name(id=x), *_]):
                        pass
                    case ("np" | "np.add" | "np.maximum", _):
                        return
                    case _:
                        x = code.operand(value)
                more = "dtype=np.float64"
                between = "" if code.of(node).endswith("()") else ", "
                new = f"{code.of(node)[:-1]}{between}{more}).astype({x}.dtype, copy=False)"
                yield code.changed(node, new)


# Sums and means


class AxisSwapped(GradientOperator):
    """The rows are taken for the columns: axis=0 becomes axis=1, and back."""

    samples = (
        ("z = x.sum(axis=0)", "z = x.sum(axis=1)"),
        (
            "z = np.add.reduce(x, axis=1, keepdims=True)",
            "z = np.add.reduce(x, axis=0, keepdims=True)",
        ),
        ("z = x.mean(0)", "z = x.mean(1)"),
        ("z = x[:, None] * y", "z = x[None, :] * y"),
        ("N = x.shape[0]", "N = x.shape[1]"),
    )
    OTHER: ClassVar[dict[object, str]] = {0: "1", 1: "0", -1: "0"}

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.keyword(arg="axis", value=value) if (axis := number_in(value)) in self.OTHER:
                yield code.changed(value, self.OTHER[axis])
            case ast.Call(func=ast.Attribute(attr="sum" | "mean" | "max" | "argmax"), args=[value]):
                if (axis := number_in(value)) in self.OTHER:
                    yield code.changed(value, self.OTHER[axis])
            case ast.Subscript(value=ast.Attribute(attr="shape"), slice=value):
                if (axis := number_in(value)) in self.OTHER:
                    yield code.changed(value, self.OTHER[axis])
            case ast.Subscript(slice=ast.Tuple() as index) if code.of(index) == ":, None":
                yield Change(*code.span(index), "None, :")
            case ast.Subscript(slice=ast.Tuple() as index) if code.of(index) == "None, :":
                yield Change(*code.span(index), ":, None")


class SumForMean(GradientOperator):
    """A sum is taken for a mean, and a mean for a sum."""

    samples = (
        ("z = x.sum(axis=0)", "z = x.mean(axis=0)"),
        ("z = np.add.reduce(x, axis=1)", "z = np.mean(x, axis=1)"),
        ("z = jnp.average(x)", "z = jnp.sum(x)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=name) as func):
                text = code.operand(value)
                if text == "np.add" and name == "reduce":
                    yield code.changed(func, "np.mean")
                elif name in {"sum", "mean", "average"}:
                    yield code.changed(func, f"{text}.{'mean' if name == 'sum' else 'sum'}")


class WeightsIgnored(GradientOperator):
    """A weighted mean counts every row alike."""

    samples = (
        ("z = np.average(x, weights=w)", "z = np.average(x)"),
        ("share = as_row_weight(params, n, weights)", "share = as_row_weight(params, n, None)"),
        ("z = loss(params, sample_weight=w)", "z = loss(params, sample_weight=None)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(func=func, args=args, keywords=[ast.keyword(arg="weights")]):
                args_text = ", ".join(map(code.of, args))
                yield code.changed(node, f"{code.of(func)}({args_text})")
            case ast.Call(args=[_, _, ast.Name() as weights]) if name_of(node) == "as_row_weight":
                yield code.changed(weights, "None")
            case ast.keyword(arg="sample_weight", value=value) if code.of(value) != "None":
                yield code.changed(value, "None")


class ShareDropped(GradientOperator):
    """The 1/N, or the row's share of the mean, is forgotten."""

    samples = (
        ("z = x * share", "z = x"),
        ("z *= share", "pass"),
        ("z = x.T @ y / N", "z = x.T @ y"),
        ("z = x / len(X)", "z = x"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                for share, other in ((right, left), (left, right)):
                    if name_of(share) in SHARES:
                        yield code.changed(node, code.of(other))
            case ast.BinOp(left=left, op=ast.Div(), right=right) if is_size(right):
                yield code.changed(node, code.of(left))
            case ast.AugAssign(op=ast.Mult(), value=value) if name_of(value) in SHARES:
                yield code.changed(node, "pass")
            case ast.AugAssign(op=ast.Div(), value=value) if is_size(value):
                yield code.changed(node, "pass")


class ShareTwice(GradientOperator):
    """The 1/N, or the row's share of the mean, is applied twice."""

    samples = (
        ("z = x * share", "z = (x * share) * share"),
        ("z *= share", "z *= share * share"),
        ("z = x / len(X)", "z = (x / len(X)) / len(X)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                for share in (left, right):
                    if name_of(share) in SHARES:
                        yield code.changed(node, f"({code.of(node)}) * {code.of(share)}")
            case ast.BinOp(op=ast.Div(), right=right) if is_size(right):
                yield code.changed(node, f"({code.of(node)}) / {code.of(right)}")
            case ast.AugAssign(op=ast.Mult(), value=value) if name_of(value) in SHARES:
                yield code.changed(value, f"{code.of(value)} * {code.of(value)}")
            case ast.AugAssign(op=ast.Div(), value=value) if is_size(value):
                yield code.changed(value, f"{code.operand(value)} * {code.operand(value)}")


def is_size(node: ast.AST) -> bool:
    """Say whether a node is how many there are."""
    return name_of(node) in {"len", "N", "n"}


# Masks of the ReLU


class MaskDropped(GradientOperator):
    """A mask is left out: everything goes through."""

    samples = (
        ("z = np.multiply(x, a > 0, out=out)", "z = np.multiply(x, 1, out=out)"),
        ("z = x * (a > 0)", "z = x"),
        ("z = np.where(a > 0, x, 0)", "z = x"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(args=[_, ast.Compare() as mask]) if name_of(node) == "multiply":
                yield code.changed(mask, "1")
            case ast.BinOp(left=left, op=ast.Mult(), right=ast.Compare()):
                yield code.changed(node, code.of(left))
            case ast.BinOp(left=ast.Compare(), op=ast.Mult(), right=right):
                yield code.changed(node, code.of(right))
            case ast.Call(args=[_, chosen, _]) if name_of(node) == "where":
                yield code.changed(node, code.operand(chosen))


class MaskInverted(GradientOperator):
    """A mask lets through what it should hold back."""

    samples = (
        ("z = np.multiply(x, a > 0, out=out)", "z = np.multiply(x, a <= 0, out=out)"),
        ("z = np.where(a > 0, x, 0)", "z = np.where(a > 0, 0, x)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(func=func, args=[mask, one, other]) if name_of(node) == "where":
                arguments = f"{code.of(mask)}, {code.of(other)}, {code.of(one)}"
                yield code.changed(node, f"{code.of(func)}({arguments})")
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in NEGATED:
                if number_in(right) == 0 and not code.is_within(node, ast.IfExp):
                    negated = NEGATED[type(op)]
                    yield code.changed(node, f"{code.of(left)} {negated} {code.of(right)}")


class MaskAtZero(GradientOperator):
    """The ReLU's derivative at 0 is taken as 1: > 0 becomes >= 0."""

    samples = (("z = x * (a > 0)", "z = x * (a >= 0)"), ("z = 0 <= a", "z = 0 < a"))

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in AT_THE_BOUND:
                if 0 in (number_in(left), number_in(right)):
                    new = AT_THE_BOUND[type(op)]
                    yield code.changed(node, f"{code.of(left)} {new} {code.of(right)}")


class MaskFromElsewhere(GradientOperator):
    """A mask is of what comes in, not of what went out, or of the derivative itself."""

    samples = (
        ("z = pre_activations[l] > 0", "z = inputs[l] > 0"),
        ("z = relu_backward(d_a, a[l], out=d_a)", "z = relu_backward(d_a, d_a, out=d_a)"),
    )
    OTHER: ClassVar[dict[str, str]] = {"pre_activations": "inputs", "inputs": "pre_activations"}

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Subscript(value=ast.Name(id=name) as value) if name in self.OTHER:
                yield code.changed(value, self.OTHER[name])
            case ast.Call(args=[d_a, mask]) if name_of(node) == "relu_backward":
                yield code.changed(mask, code.of(d_a))


class ActivationDropped(GradientOperator):
    """relu(z) becomes z."""

    samples = (
        ("a = jax.nn.relu(z)", "a = z"),
        ("a = np.maximum(z, 0)", "a = z"),
        ("a = np.maximum(z, np.zeros(3), out=out)", "a = z"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(args=[z, *_]) if name_of(node) in {"relu", "relu_forward"}:
                yield code.changed(node, code.operand(z))
            case ast.Call(args=[z, low]) if name_of(node) == "maximum":
                if number_in(low) == 0 or name_of(low) == "zeros":
                    yield code.changed(node, code.operand(z))


# Layers and places


class NeighbouringLayer(GradientOperator):
    """What belongs to a layer is taken from the one below or above, or from the other end."""

    samples = (
        ("z = a[l]", "z = a[l - 1]"),
        ("z = pre_activations[l - 1]", "z = pre_activations[l]"),
        ("z = a[-1]", "z = a[0]"),
        ("z = a[0]", "z = a[-1]"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Subscript(value=ast.Name() | ast.Attribute() as value, slice=index):
                if name_of(value) == "shape":
                    return
            case _:
                return
        match index:
            case ast.Name(id="l"):
                yield code.changed(index, "l - 1")
                yield code.changed(index, "l + 1")
            case ast.BinOp(left=ast.Name(id="l"), op=ast.Add() | ast.Sub()):
                yield code.changed(index, "l")
        number = number_in(index)
        if number is not None:
            yield code.changed(index, {0: "-1", -1: "0"}.get(int(number), "0"))


class LayerSkipped(GradientOperator):
    """A loop stops one short, or begins one late."""

    samples = (
        ("for l, layer in enumerate(params): f()", "for l, layer in enumerate(params[:-1]): f()"),
        (
            "for x, y in zip(a, b, strict=True): f()",
            "for x, y in zip(a[:-1], b[:-1], strict=True): f()",
        ),
        ("z = [f(x) for x in layers]", "z = [f(x) for x in layers[:-1]]"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        if not isinstance(node, ast.For | ast.comprehension):
            return
        match node.iter:
            case ast.Call(args=args) as call if name_of(call) in {"zip", "enumerate"}:
                if any(isinstance(arg, ast.Starred) for arg in args):
                    return
                count = len(args) if name_of(call) == "zip" else 1
                for cut in ("[:-1]", "[1:]"):
                    cut_args = [code.operand(arg) + cut for arg in args[:count]]
                    others = [code.of(arg) for arg in args[count:]]
                    keywords = [f"{word.arg}={code.of(word.value)}" for word in call.keywords]
                    text = ", ".join([*cut_args, *others, *keywords])
                    yield code.changed(call, f"{code.of(call.func)}({text})")
            case ast.Name() | ast.Attribute() | ast.Subscript() as name:
                for cut in ("[:-1]", "[1:]"):
                    yield code.changed(name, code.of(name) + cut)


class RangeOffByOne(GradientOperator):
    """A range begins or ends one early or late."""

    samples = (
        ("for l in range(n - 1, 0, -1): f()", "for l in range(n - 2, 0, -1): f()"),
        ("for l in range(n): f()", "for l in range(n - 1): f()"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(args=args) if name_of(node) == "range":
                for bound in args[:2]:
                    for by in (-1, 1):
                        yield code.changed(bound, moved(code, bound, by))


class SliceOffByOne(GradientOperator):
    """A slice begins or ends one early or late."""

    samples = (
        ("z = x[1:]", "z = x[:]"),
        ("z = x[:-1]", "z = x[1:-1]"),
        ("z = x[:, k + 1 :]", "z = x[:, k:]"),
        ("z = x[:0:-1]", "z = x[:-1:-1]"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        if not isinstance(node, ast.Slice) or not (node.lower or node.upper):
            return
        bounds = [node.lower, node.upper]
        step = f":{code.of(node.step)}" if node.step else ""
        for place, bound in enumerate(bounds):
            texts = ["" if part is None else code.of(part) for part in bounds]
            if bound is None:
                outer = ("1", "-1")[place]  # what the slice reached to now falls off
                new = [] if step else [outer]
            else:
                new = [moved(code, bound, by) for by in (-1, 1)]
                new = ["" if text == "0" else text for text in new]  # which an end cannot be
            for text in new:
                texts[place] = text
                yield Change(*code.span(node), f"{texts[0]}:{texts[1]}{step}")


class SliceShifted(GradientOperator):
    """As many layers are taken, each of them the one below or above."""

    samples = (
        ("z = x[1:]", "z = x[:-1]"),
        ("z = x[:-1]", "z = x[1:]"),
        ("z = x[:0:-1]", "z = x[-2::-1]"),
    )
    OTHER: ClassVar[dict[str, str]] = {"1:": ":-1", ":-1": "1:", ":0:-1": "-2::-1"}

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        if isinstance(node, ast.Slice) and (other := self.OTHER.get(code.of(node))):
            yield Change(*code.span(node), other)


class ReversalDropped(GradientOperator):
    """What was turned round is left as it was."""

    samples = (
        ("z = x[::-1]", "z = x"),
        ("for l in reversed(range(n)): f()", "for l in range(n): f()"),
        ("for l in range(n - 1, 0, -1): f()", "for l in range(0 + 1, (n - 1) + 1): f()"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Subscript(value=value, slice=index) if code.of(index) == "::-1":
                yield code.changed(node, code.operand(value))
            case ast.Call(args=[value]) if name_of(node) == "reversed":
                yield code.changed(node, code.operand(value))
            case ast.Call(args=[start, stop, step]) if name_of(node) == "range":
                if number_in(step) == -1:
                    new = f"range({code.operand(stop)} + 1, {code.operand(start)} + 1)"
                    yield code.changed(node, new)


# Factors, terms and signs


class FactorDropped(GradientOperator):
    """2 x becomes x, x^2 too; the learning rate and the decay are forgotten."""

    samples = (
        ("z = 2 * x", "z = x"),
        ("z = x / 2", "z = x"),
        ("z = x**2", "z = x"),
        ("z = learning_rate * x", "z = x"),
        ("z *= self.learning_rate", "pass"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                for factor, other in ((left, right), (right, left)):
                    if number_in(factor) is not None or name_of(factor) in FACTORS:
                        yield code.changed(node, code.of(other))
            case ast.BinOp(left=left, op=ast.Div() | ast.Pow(), right=right):
                if number_in(right) is not None:
                    yield code.changed(node, code.of(left))
            case ast.AugAssign(op=ast.Mult(), value=value) if name_of(value) in FACTORS:
                yield code.changed(node, "pass")


class FactorDoubled(GradientOperator):
    """2 x becomes 4 x; the learning rate and the decay are applied twice over."""

    samples = (
        ("z = 2 * x", "z = 4 * x"),
        ("z = x / 2", "z = x / 4"),
        ("z = learning_rate * x", "z = 2 * learning_rate * x"),
        ("z *= self.learning_rate", "z *= 2 * self.learning_rate"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
                factors = [left, right] if isinstance(op, ast.Mult) else [right]
            case ast.AugAssign(op=ast.Mult(), value=value):
                factors = [value]
            case _:
                return
        for factor in factors:
            if isinstance(factor, ast.Constant) and (number := number_in(factor)) is not None:
                yield code.changed(factor, str(2 * number))
            elif name_of(factor) in FACTORS:
                start, end = code.span(factor)
                yield Change(start, end, f"2 * {code.of(factor)}")


class MaxNotSubtracted(GradientOperator):
    """The softmax overflows: its row's largest logit is not taken away first."""

    samples = (
        ("z = x - x.max()", "z = x"),
        ("z = x - np.maximum.reduce(x, axis=1)", "z = x"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.Sub(), right=ast.Call(func=func)):
                if "max" in code.of(func):
                    yield code.changed(node, code.of(left))


class ArgmaxForMax(GradientOperator):
    """The place of the largest is taken for the largest, and back."""

    samples = (
        ("z = np.argmax(x, axis=1)", "z = np.max(x, axis=1)"),
        ("z = x.max()", "z = x.argmax()"),
        ("z = np.maximum.reduce(x, axis=1)", "z = np.argmax(x, axis=1)"),
    )
    OTHER: ClassVar[dict[str, str]] = {
        "max": "argmax",
        "argmax": "max",
        "min": "argmin",
        "argmin": "min",
    }

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Attribute(value=value, attr=name) if name in self.OTHER:
                yield code.changed(node, f"{code.operand(value)}.{self.OTHER[name]}")
            case ast.Attribute(value=value, attr="reduce") if code.of(value) == "np.maximum":
                yield code.changed(node, "np.argmax")


class TermDropped(GradientOperator):
    """a + b becomes a, or b; so does a - b, or -b."""

    samples = (("z = a + b", "z = a"), ("z = a - b * c", "z = a"), ("z = f(a + b)", "z = f(a)"))

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                if is_text(node) or code.is_index(node):
                    return
                yield code.changed(node, code.of(left))
                minus = isinstance(op, ast.Sub)
                yield code.changed(node, f"-{code.operand(right)}" if minus else code.of(right))


class SignFlipped(GradientOperator):
    """-x becomes x; a - b becomes b - a; a + b becomes a - b."""

    samples = (
        ("z = -x", "z = x"),
        ("z = a - b", "z = b - a"),
        ("z = a + b * c", "z = a - (b * c)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                yield code.changed(node, code.of(operand))
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                if is_text(node) or code.is_index(node):
                    return
                a, b = code.operand(left), code.operand(right)
                yield code.changed(node, f"{a} - {b}" if isinstance(op, ast.Add) else f"{b} - {a}")


# The penalty


class DecayOnBias(GradientOperator):
    """The penalty, or its gradient, is of the biases too."""

    samples = (
        (
            "def f(d_z, layer, weight_decay): return Dense(d_weight, d_z.sum(0))",
            (
                "def f(d_z, layer, weight_decay):"
                " return Dense(d_weight, d_z.sum(0) + 2 * weight_decay * layer.bias)"
            ),
        ),
        (
            "z = sum(f(weight) for weight, _ in params)",
            "z = sum(f(weight) + f(bias) for weight, bias in params)",
        ),
        (
            "for (weight, _), (d_weight, _) in pairs:\n    d_weight += weight_decay * weight\n",
            (
                "for (weight, bias), (d_weight, d_bias) in pairs:\n"
                "    d_weight += weight_decay * weight\n    d_bias += weight_decay * bias\n"
            ),
        ),
        (
            "z = layer._replace(weight=layer.weight + weight_decay * R_layer.weight)",
            (
                "z = layer._replace(weight=layer.weight + weight_decay * R_layer.weight,"
                " bias=layer.bias + weight_decay * R_layer.bias)"
            ),
        ),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(args=[_, d_bias]) if name_of(node) == "Dense":
                names = {arg.arg for f in code.functions_around(node) for arg in _arguments(f)}
                layer = next((name for name in ("R_layer", "layer") if name in names), None)
                if layer and "weight_decay" in names:
                    text = f"{code.operand(d_bias)} + 2 * weight_decay * {layer}.bias"
                    yield code.changed(d_bias, text)
            case (
                ast.GeneratorExp(elt=elt, generators=[loop])
                | ast.ListComp(elt=elt, generators=[loop])
            ) if _leaves_biases(loop.target):
                start, end = code.span(elt)[0], code.span(loop.target)[1]
                both = f"{code.operand(elt)} + {_of_biases(code.operand(elt))}"
                between = code.text[code.span(elt)[1] : code.span(loop.target)[0]]
                yield Change(start, end, both + between + _with_biases(code.of(loop.target)))
            case ast.For(target=target, body=body) if _leaves_biases(target):
                start, end = code.span(target)[0], code.span(body[-1])[1]
                between = code.text[code.span(target)[1] : end]
                last = body[-1]
                indent = " " * last.col_offset
                more = "".join(f"\n{indent}{_of_biases(code.of(statement))}" for statement in body)
                yield Change(start, end, _with_biases(code.of(target)) + between + more)
            case ast.Call(keywords=[ast.keyword(arg="weight") as word]) if (
                name_of(node) == "_replace"
            ):
                text = f"{code.of(word)}, {_of_biases(code.of(word))}"
                yield Change(*code.span(word), text)


def _arguments(function: ast.FunctionDef | ast.Lambda) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def _leaves_biases(target: ast.AST) -> bool:
    """Say whether a loop unpacks layers, and does without their biases."""
    names = [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
    return "_" in names and all(name == "_" or name.endswith("weight") for name in names)


def _of_biases(text: str) -> str:
    return (
        text.replace("weight_decay", "\0").replace("weight", "bias").replace("\0", "weight_decay")
    )


def _with_biases(target: str) -> str:
    """Name the biases beside the weights: (d_weight, _) becomes (d_weight, d_bias)."""
    parts = target.split("weight, _")
    return (
        "".join(f"{part}weight, {part.rpartition('(')[2].strip()}bias" for part in parts[:-1])
        + parts[-1]
    )


class DecayForEachRow(GradientOperator):
    """The penalty, which counts once, is counted for each row or block of them."""

    samples = (
        (
            "for x in X:\n    f(x)\nfor w in params:\n    z += weight_decay * w\n",
            "for x in X:\n    f(x)\n    for w in params:\n        z += weight_decay * w\n",
        ),
        (
            "def f(weight_decay): return loss_and_grad(params, *block, 0.0, out=out)",
            "def f(weight_decay): return loss_and_grad(params, *block, weight_decay, out=out)",
        ),
        (
            "def f(weight_decay): return block_loss_and_grad(params, weight_decay=0.0)",
            "def f(weight_decay): return block_loss_and_grad(params, weight_decay=weight_decay)",
        ),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.FunctionDef(body=body) | ast.Module(body=body):
                for rows, layers in itertools.pairwise(body):
                    if not isinstance(rows, ast.For) or not isinstance(layers, ast.For):
                        continue
                    if "weight_decay" in code.of(layers):
                        start, end = code.span(layers)
                        text = code.of(layers).replace("\n", "\n    ")
                        yield Change(start, end, "    " + text)
            case ast.Call(args=args, keywords=keywords) if name_of(node).endswith("loss_and_grad"):
                names = {arg.arg for f in code.functions_around(node) for arg in _arguments(f)}
                given = [word.value for word in keywords if word.arg == "weight_decay"]
                for arg in [*args, *given]:
                    if number_in(arg) == 0 and "weight_decay" in names:
                        yield code.changed(arg, "weight_decay")


# Arrays


class BufferReused(GradientOperator):
    """An array is written to that holds something else, or is made once and used again."""

    changes_arrays = True
    samples = (
        ("z = np.multiply(x, y, out=out)", "z = np.multiply(x, y, out=x)"),
        (
            "z = np.zeros_like(x)",
            (
                'z = (lambda new: globals().setdefault(f"reused {new.shape} {new.dtype}", new))'
                "(np.zeros_like(x))"
            ),
        ),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(args=args, keywords=keywords):
                for word in keywords:
                    for arg in args if word.arg == "out" else ():
                        array = isinstance(arg, ast.Name | ast.Attribute | ast.Subscript)
                        if array and code.of(arg) != code.of(word.value):
                            yield code.changed(word.value, code.of(arg))
                if name_of(node) in FRESH:
                    # kept by what it is, so that all calls that want such an array share it
                    kept = 'globals().setdefault(f"reused {new.shape} {new.dtype}", new)'
                    yield code.changed(node, f"(lambda new: {kept})({code.of(node)})")


class OutDropped(GradientOperator):
    """The result is not written into the array that was given for it."""

    changes_arrays = True
    samples = (("z = np.multiply(x, y, out=out)", "z = np.multiply(x, y, out=None)"),)

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.keyword(arg="out", value=value):
                yield code.changed(value, "None")


class CopyDropped(GradientOperator):
    """What was copied is handed out itself."""

    samples = (
        ("z = x.copy()", "z = x"),
        ("z = np.array(x)", "z = x"),
        ("z = list(x)", "z = x"),
        ("z = Dense(*map(np.array, layer))", "z = Dense(*layer)"),
        ("z = _copied(x)", "z = x"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="copy")):
                yield code.changed(node, code.operand(value))
            case ast.Call(args=[value]) if name_of(node) in {"array", "list", "_copied"}:
                yield code.changed(node, code.operand(value))
            case ast.Call(func=ast.Name(id="map"), args=[ast.Attribute(attr="array"), value]):
                yield code.changed(node, code.operand(value))


class CastDropped(GradientOperator):
    """What was cast keeps the precision that it had."""

    samples = (("z = x.astype(dtype)", "z = x"),)

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="astype")):
                yield code.changed(node, code.operand(value))


class InputChanged(GradientOperator):
    """The result is written into an argument, or into what a loop goes through."""

    changes_arrays = True
    samples = (
        ("def f(a, b): return a - b", "def f(a, b): return np.subtract(a, b, out=a)"),
        (
            "def f(z): return np.where(z > 0, z, 0)",
            "def f(z): return np.multiply(z, z > 0, out=z)",
        ),
        (
            "def f(layer, c): return 2 * layer.weight",
            "def f(layer, c): return np.multiply(2, layer.weight, out=layer.weight)",
        ),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in IN_PLACE:
                if code.is_index(node):
                    return
                for array in (left, right):
                    if self._given(array, code):
                        arguments = f"{code.of(left)}, {code.of(right)}, out={code.of(array)}"
                        yield code.changed(node, f"np.{IN_PLACE[type(op)]}({arguments})")
            case ast.Call(args=[mask, z, other]) if name_of(node) == "where":
                if number_in(other) == 0 and isinstance(z, ast.Name):
                    text = f"np.multiply({code.of(z)}, {code.of(mask)}, out={code.of(z)})"
                    yield code.changed(node, text)

    @staticmethod
    def _given(node: ast.AST, code: Code) -> bool:
        """Say whether a node is an array that came from outside, as far as its syntax tells."""
        while isinstance(node, ast.Attribute):
            node = node.value
        if not isinstance(node, ast.Name) or node.id in COUNTS | SHARES | FACTORS:
            return False
        names = {arg.arg for f in code.functions_around(node) for arg in _arguments(f)}
        for loop in code.nodes:
            if isinstance(loop, ast.For | ast.comprehension):
                names |= {name.id for name in ast.walk(loop.target) if isinstance(name, ast.Name)}
        return node.id in names - {"self"}


class StatementRemoved(GradientOperator):
    """x += y, or a call for its effect, is left out."""

    samples = (("z += x", "pass"), ("np.maximum(x, y, out=x)", "pass"))

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.AugAssign() | ast.Expr(value=ast.Call()):
                yield code.changed(node, "pass")


class SeedIgnored(GradientOperator):
    """The generator that was given, or its seed, does not count, or nothing is drawn at all."""

    numerical = False
    samples = (
        ("order = rng.permutation(n)", "order = np.arange(n)"),
        ("z = rng.normal(size=n)", "z = np.random.default_rng(0).normal(size=n)"),
        ("z = init_params(sizes, rng=rng)", "z = init_params(sizes, rng=np.random.default_rng(0))"),
        ("z = np.random.default_rng(seed)", "z = np.random.default_rng(0)"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="rng"), attr=drawn), args=args):
                if drawn == "permutation":
                    yield code.changed(node, f"np.arange({code.of(args[0])})")
            case ast.Name(id="rng", ctx=ast.Load()):
                yield code.changed(node, "np.random.default_rng(0)")
            case ast.Call(args=[seed]) if name_of(node) == "default_rng":
                if number_in(seed) is None:
                    yield code.changed(seed, "0")


# What Cosmic Ray's own operators leave out, for every module


class AugmentedReplaced(GradientOperator):
    """+= becomes -=, *= becomes /=, and back."""

    numerical = False
    samples = (("z += x", "z -= x"), ("z *= x", "z /= x"), ("z |= x", "z &= x"))
    OTHER: ClassVar[dict[type, str]] = {
        ast.Add: "-",
        ast.Sub: "+",
        ast.Mult: "/",
        ast.Div: "*",
        ast.BitOr: "&",
        ast.BitAnd: "|",
    }

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.AugAssign(target=target, op=op, value=value) if type(op) in self.OTHER:
                text = f"{code.of(target)} {self.OTHER[type(op)]}= {code.of(value)}"
                yield code.changed(node, text)


class MembershipNegated(GradientOperator):
    """In becomes not in, and back."""

    numerical = False
    samples = (("z = x in y", "z = x not in y"), ("z = x not in y", "z = x in y"))

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[right]):
                new = f"{code.of(left)} {NEGATED[type(op)]} {code.of(right)}"
                yield code.changed(node, new)


class ExceptionMissed(GradientOperator):
    """An exception is not caught. Cosmic Ray's own raises itself where its name has a dot."""

    numerical = False
    samples = (
        ("try: f()\nexcept OSError: g()", "try: f()\nexcept (): g()"),
        ("try: f()\nexcept (zlib.error, OSError): g()", "try: f()\nexcept (OSError,): g()"),
    )

    def changes_at(self, node: ast.AST, code: Code) -> Iterable[Change]:
        """See the class."""
        match node:
            case ast.ExceptHandler(type=ast.Tuple(elts=names) as caught):
                for missed in names:
                    others = "".join(f"{code.of(name)}, " for name in names if name is not missed)
                    yield Change(*code.span(caught), f"({others})")
            case ast.ExceptHandler(type=ast.expr() as caught):
                yield code.changed(caught, "()")


OPERATORS: dict[str, type[GradientOperator]] = {
    operator.__name__: operator
    for operator in (
        TransposeDropped,
        TransposeAdded,
        OuterTransposed,
        Float64Detour,
        AxisSwapped,
        SumForMean,
        WeightsIgnored,
        ShareDropped,
        ShareTwice,
        MaskDropped,
        MaskInverted,
        MaskAtZero,
        MaskFromElsewhere,
        ActivationDropped,
        NeighbouringLayer,
        LayerSkipped,
        RangeOffByOne,
        SliceOffByOne,
        SliceShifted,
        ReversalDropped,
        FactorDropped,
        FactorDoubled,
        DecayOnBias,
        DecayForEachRow,
        MaxNotSubtracted,
        ArgmaxForMax,
        SeedIgnored,
        CopyDropped,
        CastDropped,
        OutDropped,
        BufferReused,
        InputChanged,
        StatementRemoved,
        SignFlipped,
        TermDropped,
        AugmentedReplaced,
        MembershipNegated,
        ExceptionMissed,
    )
}
