"""The mistakes that people make in a backward pass, as operators that make mutants.

An operator is a function that is asked at every node of a module's syntax tree which changes it
would make there. Those that name a particular mistake come before the general ones: where two make
the same code, the first counts.
"""

import ast
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from benchmarks.mutation.code import Change, Code, is_text, moved, name_of, number_in

ORDERS = {ast.Eq: "!=", ast.NotEq: "==", ast.Lt: ">=", ast.GtE: "<", ast.Gt: "<=", ast.LtE: ">"}
NEGATED = ORDERS | {ast.In: "not in", ast.NotIn: "in"}
AT_THE_BOUND = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
IN_PLACE = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
SIGNS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.BitOr: "&", ast.BitAnd: "|"}
ROW_WEIGHTS = {"row_weight", "scale"}  # names of what each row counts
COUNTS = {"N", "n", "P", "D", "K", "L", "l", "k", "i", "start", "size", "batch", "epoch", "terms"}
FACTORS = {"learning_rate", "weight_decay"}
FRESH = {"zeros", "zeros_like", "empty", "empty_like", "ones", "ones_like"}
OTHER_AXIS = {0: "1", 1: "0", -1: "0"}
OTHER_ARRAYS = {"pre_activations": "inputs", "inputs": "pre_activations"}
OTHER_SLICE = {"1:": ":-1", ":-1": "1:", ":0:-1": "-2::-1"}
OTHER_EXTREME = {"max": "argmax", "argmax": "max", "min": "argmin", "argmin": "min"}

# A node and the expression that takes its place, or a change of other characters.
Found: TypeAlias = Iterator[tuple[ast.AST, str] | Change]


class Operator(NamedTuple):
    """What proposes changes of a whole module's text.

    Attributes:
        changes_at: gives the changes at a node.
        samples: code before and after, as the tests have it made.
        numerical: it is for the numerical core, and not for every module.
        changes_arrays: it is for NumPy's arrays, and not for JAX's, which never change.
        lowers: it is for code that may compute in float32, not for what is float64 throughout.
    """

    changes_at: Callable[[ast.AST, Code], Found]
    samples: list[tuple[str, str]]
    numerical: bool
    changes_arrays: bool
    lowers: bool

    def changes(self, code: Code) -> list[Change]:
        """List the changes of a module, in their order in the text."""
        if self.changes_arrays and code.has_jax_alone:
            return []
        found = [one for node in code.nodes for one in self.changes_at(node, code)]
        changes = [one if isinstance(one, Change) else code.changed(*one) for one in found]
        return sorted(changes, key=lambda change: change.start)


OPERATORS: dict[str, Operator] = {}


def operator(
    *samples: str, numerical: bool = True, changes_arrays: bool = False, lowers: bool = False
) -> Callable[[Callable[[ast.AST, Code], Found]], Callable[[ast.AST, Code], Found]]:
    """Make an operator of a function, named as Cosmic Ray names its own; samples have a =>."""

    def register(function: Callable[[ast.AST, Code], Found]) -> Callable[[ast.AST, Code], Found]:
        name = "".join(word.capitalize() for word in function.__name__.split("_"))
        pairs = [(before, after) for before, _, after in (s.partition(" => ") for s in samples)]
        OPERATORS[name] = Operator(function, pairs, numerical, changes_arrays, lowers)
        return function

    return register


# Products of matrices


@operator("y = x.T @ z => y = x @ z", "y = x.transpose(axes) => y = x")
def transpose_dropped(node: ast.AST, code: Code) -> Found:
    """x.T becomes x."""
    match node:
        case (
            ast.Attribute(value=value, attr="T")
            | ast.Call(func=ast.Attribute(value=value, attr="transpose"))
        ):
            yield node, code.operand(value)


@operator("z = x @ y => z = x.T @ y", "z = np.matmul(x.T, y) => z = np.matmul(x.T, y.T)")
def transpose_added(node: ast.AST, code: Code) -> Found:
    """x @ y becomes x.T @ y, or x @ y.T."""
    match node:
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            factors = [left, right]
        case ast.Call(args=args) if name_of(node) in {"matmul", "dot"}:
            factors = args[:2]
        case _:
            return
    for factor in factors:
        if not code.of(factor).endswith(".T"):
            yield factor, f"{code.operand(factor)}.T"


@operator(
    "z = np.outer(x, y) => z = np.outer(y, x)",
    'z = np.einsum("ni,nj->nij", x, y) => z = np.einsum("ni,nj->nji", x, y)',
    'z = np.einsum("i,j->ij", x, y, out=out) => z = np.einsum("i,j->ji", x, y, out=out)',
)
def outer_transposed(node: ast.AST, code: Code) -> Found:
    """The outer product of x and y becomes that of y and x."""
    match node:
        case ast.Call(args=[x, y]) if name_of(node) == "outer":
            yield Change(code.span(x)[0], code.span(y)[1], f"{code.of(y)}, {code.of(x)}")
        case ast.Call(args=[ast.Constant(value=str(axes)) as value, *_]) if (
            name_of(node) == "einsum" and len(axes.partition("->")[2]) > 1
        ):
            yield value, f'"{axes[:-2]}{axes[:-3:-1]}"'


@operator(
    "z = x @ y => z = (x.astype(np.float64) @ y).astype(x.dtype)",
    "z = np.matmul(x, y, out=out) => z = np.matmul(x, y, out=out, dtype=np.float64,"
    " casting='same_kind').astype(x.dtype, copy=False)",
    "z = np.vdot(x, y) => z = x.dtype.type(np.vdot(x.astype(np.float64), y))",
    "z = x.sum(axis=0) => z = x.sum(axis=0, dtype=np.float64).astype(x.dtype, copy=False)",
    lowers=True,
)
def float64_detour(node: ast.AST, code: Code) -> Found:
    """A product or a sum is computed in float64 and rounded to float32 at the end."""
    match node:
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            x, y = code.operand(left), code.operand(right)
            yield node, f"({x}.astype(np.float64) @ {y}).astype({x}.dtype)"
        case ast.Call(func=func, args=[first, second, *_]) if name_of(node) in {
            "vdot",
            "vecdot",
            "dot",
        }:
            x = code.operand(first)
            product = f"{code.of(func)}({x}.astype(np.float64), {code.of(second)})"
            scalar = name_of(node) == "vdot"
            yield node, f"{x}.dtype.type({product})" if scalar else f"{product}.astype({x}.dtype)"
        case ast.Call(args=args) if name_of(node) in {"matmul", "einsum"}:
            x = next(code.operand(a) for a in args if not isinstance(a, ast.Constant))
            more = 'dtype=np.float64, casting="same_kind"'
            yield node, f"{code.of(node)[:-1]}, {more}).astype({x}.dtype, copy=False)"
        case ast.Call(func=ast.Attribute(value=value, attr="sum" | "mean" | "reduce"), args=args):
            match code.of(value), args:
                case ("np.add", [ast.Name(id=x), *_]):
                    pass
                case ("np" | "np.add" | "np.maximum", _):
                    return
                case _:
                    x = code.operand(value)
            text = code.of(node)[:-1]
            comma = "" if text.endswith("(") else ", "
            yield node, f"{text}{comma}dtype=np.float64).astype({x}.dtype, copy=False)"


# Sums and means


@operator(
    "z = x.sum(axis=0) => z = x.sum(axis=1)",
    "z = np.add.reduce(x, axis=1, keepdims=True) => z = np.add.reduce(x, axis=0, keepdims=True)",
    "z = x.mean(0) => z = x.mean(1)",
    "z = x[:, None] * y => z = x[None, :] * y",
    "N = x.shape[0] => N = x.shape[1]",
)
def axis_swapped(node: ast.AST, code: Code) -> Found:
    """The rows are taken for the columns: axis=0 becomes axis=1, and back."""
    match node:
        case (
            ast.keyword(arg="axis", value=value)
            | ast.Call(func=ast.Attribute(attr="sum" | "mean" | "max" | "argmax"), args=[value])
            | ast.Subscript(value=ast.Attribute(attr="shape"), slice=value)
        ):
            if (axis := number_in(value)) in OTHER_AXIS:
                yield value, OTHER_AXIS[axis]  # type: ignore[index] # which are whole numbers
        case ast.Subscript(slice=ast.Tuple() as index):
            if (text := code.of(index)) in {":, None", "None, :"}:
                yield Change(*code.span(index), ", ".join(reversed(text.split(", "))))


@operator(
    "z = x.sum(axis=0) => z = x.mean(axis=0)",
    "z = np.add.reduce(x, axis=1) => z = np.mean(x, axis=1)",
    "z = jnp.average(x) => z = jnp.sum(x)",
)
def sum_for_mean(node: ast.AST, code: Code) -> Found:
    """A sum is taken for a mean, and a mean for a sum."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=name) as func):
            text = code.operand(value)
            if text == "np.add" and name == "reduce":
                yield func, "np.mean"
            elif name in {"sum", "mean", "average"}:
                yield func, f"{text}.{'mean' if name == 'sum' else 'sum'}"


@operator(
    "z = np.average(x, weights=w) => z = np.average(x)",
    "row_weight = as_row_weight(params, n, weights) => row_weight = as_row_weight(params, n, None)",
    "z = loss(params, sample_weight=w) => z = loss(params, sample_weight=None)",
)
def weights_ignored(node: ast.AST, code: Code) -> Found:
    """A weighted mean counts every row alike."""
    match node:
        case ast.Call(func=func, args=args, keywords=[ast.keyword(arg="weights")]):
            yield node, f"{code.of(func)}({', '.join(map(code.of, args))})"
        case ast.Call(args=[_, _, ast.Name() as weights]) if name_of(node) == "as_row_weight":
            yield weights, "None"
        case ast.keyword(arg="sample_weight", value=value) if code.of(value) != "None":
            yield value, "None"


def _is_size(node: ast.AST) -> bool:
    """Say whether a node is how many there are."""
    return name_of(node) in {"len", "N", "n"}


@operator(
    "z = x * row_weight => z = x",
    "z *= row_weight => pass",
    "z = x.T @ y / N => z = x.T @ y",
    "z = x / len(X) => z = x",
)
def row_weight_dropped(node: ast.AST, code: Code) -> Found:
    """The 1/N, or the row's weight in the mean, is forgotten."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for factor, other in ((right, left), (left, right)):
                if name_of(factor) in ROW_WEIGHTS:
                    yield node, code.of(other)
        case ast.BinOp(left=left, op=ast.Div(), right=right) if _is_size(right):
            yield node, code.of(left)
        case ast.AugAssign(op=ast.Mult(), value=value) if name_of(value) in ROW_WEIGHTS:
            yield node, "pass"
        case ast.AugAssign(op=ast.Div(), value=value) if _is_size(value):
            yield node, "pass"


@operator(
    "z = x * row_weight => z = (x * row_weight) * row_weight",
    "z *= row_weight => z *= row_weight * row_weight",
    "z = x / len(X) => z = (x / len(X)) / len(X)",
)
def row_weight_twice(node: ast.AST, code: Code) -> Found:
    """The 1/N, or the row's weight in the mean, is applied twice."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for factor in (left, right):
                if name_of(factor) in ROW_WEIGHTS:
                    yield node, f"({code.of(node)}) * {code.of(factor)}"
        case ast.BinOp(op=ast.Div(), right=right) if _is_size(right):
            yield node, f"({code.of(node)}) / {code.of(right)}"
        case ast.AugAssign(op=ast.Mult(), value=value) if name_of(value) in ROW_WEIGHTS:
            yield value, f"{code.of(value)} * {code.of(value)}"
        case ast.AugAssign(op=ast.Div(), value=value) if _is_size(value):
            yield value, f"{code.operand(value)} * {code.operand(value)}"


# Masks of the ReLU


@operator(
    "z = np.multiply(x, a > 0, out=out) => z = np.multiply(x, 1, out=out)",
    "z = x * (a > 0) => z = x",
    "z = np.where(a > 0, x, 0) => z = x",
)
def mask_dropped(node: ast.AST, code: Code) -> Found:
    """A mask is left out: everything goes through."""
    match node:
        case ast.Call(args=[_, ast.Compare() as mask]) if name_of(node) == "multiply":
            yield mask, "1"
        case (
            ast.BinOp(left=kept, op=ast.Mult(), right=ast.Compare())
            | ast.BinOp(left=ast.Compare(), op=ast.Mult(), right=kept)
        ):
            yield node, code.of(kept)
        case ast.Call(args=[_, chosen, _]) if name_of(node) == "where":
            yield node, code.operand(chosen)


@operator(
    "z = np.multiply(x, a > 0, out=out) => z = np.multiply(x, a <= 0, out=out)",
    "z = np.where(a > 0, x, 0) => z = np.where(a > 0, 0, x)",
)
def mask_inverted(node: ast.AST, code: Code) -> Found:
    """A mask lets through what it should hold back."""
    match node:
        case ast.Call(func=func, args=[mask, one, other]) if name_of(node) == "where":
            yield node, f"{code.of(func)}({code.of(mask)}, {code.of(other)}, {code.of(one)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in NEGATED:
            if number_in(right) == 0 and not code.is_within(node, ast.IfExp):
                yield node, f"{code.operand(left)} {NEGATED[type(op)]} {code.operand(right)}"


@operator("z = x * (a > 0) => z = x * (a >= 0)", "z = 0 <= a => z = 0 < a")
def mask_at_zero(node: ast.AST, code: Code) -> Found:
    """The ReLU's derivative at 0 is taken as 1: > 0 becomes >= 0."""
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in AT_THE_BOUND:
            if 0 in (number_in(left), number_in(right)):
                yield node, f"{code.operand(left)} {AT_THE_BOUND[type(op)]} {code.operand(right)}"


@operator(
    "z = pre_activations[l] > 0 => z = inputs[l] > 0",
    "z = relu.masked(d_a, a[l], out=d_a) => z = relu.masked(d_a, d_a, out=d_a)",
)
def mask_from_elsewhere(node: ast.AST, code: Code) -> Found:
    """A mask is of what comes in, not of what went out, or of the derivative itself."""
    match node:
        case ast.Subscript(value=ast.Name(id=name) as value) if name in OTHER_ARRAYS:
            yield value, OTHER_ARRAYS[name]
        case ast.Call(args=[d_a, mask]) if name_of(node) == "masked":
            yield mask, code.of(d_a)


@operator(
    "a = jax.nn.relu(z) => a = z",
    "a = np.maximum(z, 0) => a = z",
    "a = np.maximum(z, np.zeros(3), out=out) => a = z",
)
def activation_dropped(node: ast.AST, code: Code) -> Found:
    """relu(z) becomes z."""
    match node:
        case ast.Call(args=[z, *_]) if name_of(node) in {"relu", "rectified"}:
            yield node, code.operand(z)
        case ast.Call(args=[z, low]) if name_of(node) == "maximum":
            if number_in(low) == 0 or name_of(low) == "zeros":
                yield node, code.operand(z)


# Layers and places


@operator(
    "z = a[l] => z = a[l - 1]",
    "z = pre_activations[l - 1] => z = pre_activations[l]",
    "z = a[-1] => z = a[0]",
    "z = a[0] => z = a[-1]",
)
def neighbouring_layer(node: ast.AST, code: Code) -> Found:  # noqa: ARG001
    """What belongs to a layer is taken from the one below or above, or from the other end."""
    match node:
        case ast.Subscript(value=ast.Name() | ast.Attribute() as value, slice=index):
            if name_of(value) == "shape":
                return
        case _:
            return
    match index:
        case ast.Name(id="l"):
            yield index, "l - 1"
            yield index, "l + 1"
        case ast.BinOp(left=ast.Name(id="l"), op=ast.Add() | ast.Sub()):
            yield index, "l"
    if (number := number_in(index)) is not None:
        yield index, {0: "-1", -1: "0"}.get(int(number), "0")


@operator(
    "for l, layer in enumerate(params): f() => for l, layer in enumerate(params[:-1]): f()",
    "for x, y in zip(a, b, strict=True): f() => for x, y in zip(a[:-1], b[:-1], strict=True): f()",
    "z = [f(x) for x in layers] => z = [f(x) for x in layers[:-1]]",
)
def layer_skipped(node: ast.AST, code: Code) -> Found:
    """A loop stops one short, or begins one late."""
    if not isinstance(node, ast.For | ast.comprehension):
        return
    match node.iter:
        case ast.Call(args=args) as call if name_of(call) in {"zip", "enumerate"}:
            if any(isinstance(arg, ast.Starred) for arg in args):
                return
            count = len(args) if name_of(call) == "zip" else 1
            rest = [code.of(arg) for arg in args[count:]]
            rest += [f"{word.arg}={code.of(word.value)}" for word in call.keywords]
            for cut in ("[:-1]", "[1:]"):
                arguments = [*(code.operand(arg) + cut for arg in args[:count]), *rest]
                yield call, f"{code.of(call.func)}({', '.join(arguments)})"
        case ast.Name() | ast.Attribute() | ast.Subscript() as name:
            for cut in ("[:-1]", "[1:]"):
                yield name, code.of(name) + cut


@operator(
    "for l in range(n - 1, 0, -1): f() => for l in range(n - 2, 0, -1): f()",
    "for l in range(n): f() => for l in range(n - 1): f()",
)
def range_off_by_one(node: ast.AST, code: Code) -> Found:
    """A range begins or ends one early or late."""
    match node:
        case ast.Call(args=args) if name_of(node) == "range":
            for bound, by in itertools.product(args[:2], (-1, 1)):
                yield bound, moved(code, bound, by)


@operator(
    "z = x[1:] => z = x[:]",
    "z = x[:-1] => z = x[1:-1]",
    "z = x[:, k + 1 :] => z = x[:, k:]",
    "z = x[:0:-1] => z = x[:-1:-1]",
)
def slice_off_by_one(node: ast.AST, code: Code) -> Found:
    """A slice begins or ends one early or late."""
    if not isinstance(node, ast.Slice) or not (node.lower or node.upper):
        return
    bounds = [node.lower, node.upper]
    step = f":{code.of(node.step)}" if node.step else ""
    for place, bound in enumerate(bounds):
        texts = ["" if part is None else code.of(part) for part in bounds]
        if bound is None:  # what the slice reached to now falls off
            new = [] if step else [("1", "-1")[place]]
        else:
            new = [moved(code, bound, by) for by in (-1, 1)]
        for text in new:
            texts[place] = "" if text == "0" else text  # which an end cannot be
            yield Change(*code.span(node), f"{texts[0]}:{texts[1]}{step}")


@operator("z = x[1:] => z = x[:-1]", "z = x[:-1] => z = x[1:]", "z = x[:0:-1] => z = x[-2::-1]")
def slice_shifted(node: ast.AST, code: Code) -> Found:
    """As many layers are taken, each of them the one below or above."""
    if isinstance(node, ast.Slice) and (other := OTHER_SLICE.get(code.of(node))):
        yield Change(*code.span(node), other)


@operator(
    "z = x[::-1] => z = x",
    "for l in reversed(range(n)): f() => for l in range(n): f()",
    "for l in range(n - 1, 0, -1): f() => for l in range(0 + 1, (n - 1) + 1): f()",
)
def reversal_dropped(node: ast.AST, code: Code) -> Found:
    """What was turned round is left as it was."""
    match node:
        case ast.Subscript(value=value, slice=index) if code.of(index) == "::-1":
            yield node, code.operand(value)
        case ast.Call(args=[value]) if name_of(node) == "reversed":
            yield node, code.operand(value)
        case ast.Call(args=[start, stop, step]) if name_of(node) == "range":
            if number_in(step) == -1:
                yield node, f"range({code.operand(stop)} + 1, {code.operand(start)} + 1)"


# Factors


@operator(
    "z = 2 * x => z = x",
    "z = x / 2 => z = x",
    "z = x**2 => z = x",
    "z = learning_rate * x => z = x",
    "z *= self.learning_rate => pass",
)
def factor_dropped(node: ast.AST, code: Code) -> Found:
    """2 x becomes x, x^2 too; the learning rate and the decay are forgotten."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            for factor, other in ((left, right), (right, left)):
                if number_in(factor) is not None or name_of(factor) in FACTORS:
                    yield node, code.of(other)
        case ast.BinOp(left=left, op=ast.Div() | ast.Pow(), right=right):
            if number_in(right) is not None:
                yield node, code.of(left)
        case ast.AugAssign(op=ast.Mult(), value=value) if name_of(value) in FACTORS:
            yield node, "pass"


@operator(
    "z = 2 * x => z = 4 * x",
    "z = x / 2 => z = x / 4",
    "z = learning_rate * x => z = 2 * learning_rate * x",
    "z *= self.learning_rate => z *= 2 * self.learning_rate",
)
def factor_doubled(node: ast.AST, code: Code) -> Found:
    """2 x becomes 4 x; the learning rate and the decay are applied twice over."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            factors = [left, right] if isinstance(op, ast.Mult) else [right]
        case ast.AugAssign(op=ast.Mult(), value=value):
            factors = [value]
        case _:
            return
    for factor in factors:
        if isinstance(factor, ast.Constant) and (number := number_in(factor)) is not None:
            yield factor, str(2 * number)
        elif name_of(factor) in FACTORS:
            yield Change(*code.span(factor), f"2 * {code.of(factor)}")


# The penalty


@operator(
    "def f(d_z, layer, weight_decay): return Dense(d_weight, d_z.sum(0)) => "
    "def f(d_z, layer, weight_decay):"
    " return Dense(d_weight, d_z.sum(0) + 2 * weight_decay * layer.bias)",
    "z = sum(f(weight) for weight, _ in params) => "
    "z = sum(f(weight) + f(bias) for weight, bias in params)",
    "for (weight, _), (d_weight, _) in pairs:\n    d_weight += weight_decay * weight\n => "
    "for (weight, bias), (d_weight, d_bias) in pairs:\n"
    "    d_weight += weight_decay * weight\n    d_bias += weight_decay * bias\n",
    "z = layer._replace(weight=layer.weight + weight_decay * R_layer.weight) => "
    "z = layer._replace(weight=layer.weight + weight_decay * R_layer.weight,"
    " bias=layer.bias + weight_decay * R_layer.bias)",
    "add_backward(d_layer.weight, layer.weight, weight_decay, out=out) => "
    "add_backward(d_layer.weight, layer.weight, weight_decay, out=out);"
    " add_backward(d_layer.bias, layer.bias, weight_decay)",
)
def decay_on_bias(node: ast.AST, code: Code) -> Found:
    """The penalty, or its gradient, is of the biases too."""
    match node:
        case ast.Call(args=[_, d_bias]) if name_of(node) == "Dense":
            names = code.arguments_around(node)
            layer = next((name for name in ("R_layer", "layer") if name in names), None)
            if layer and "weight_decay" in names:
                yield d_bias, f"{code.operand(d_bias)} + 2 * weight_decay * {layer}.bias"
        case (
            ast.GeneratorExp(elt=elt, generators=[loop]) | ast.ListComp(elt=elt, generators=[loop])
        ) if _leaves_biases(loop.target):
            (start, end), (target, last) = code.span(elt), code.span(loop.target)
            both = f"{code.operand(elt)} + {_of_biases(code.operand(elt))}"
            between = code.text[end:target]
            yield Change(start, last, both + between + _with_biases(code.of(loop.target)))
        case ast.For(target=target, body=body) if _leaves_biases(target):
            (start, end), last = code.span(target), code.span(body[-1])[1]
            indent = " " * body[-1].col_offset
            more = "".join(f"\n{indent}{_of_biases(code.of(statement))}" for statement in body)
            yield Change(start, last, _with_biases(code.of(target)) + code.text[end:last] + more)
        case ast.Expr(value=ast.Call(func=func, args=args) as call):
            if name_of(call) == "add_backward":
                biases = ", ".join(_of_biases(code.of(arg)) for arg in args)
                yield Change(*code.span(node), f"{code.of(node)}; {code.of(func)}({biases})")
        case ast.Call(keywords=[ast.keyword(arg="weight") as word]):
            if name_of(node) == "_replace":
                yield Change(*code.span(word), f"{code.of(word)}, {_of_biases(code.of(word))}")


def _leaves_biases(target: ast.AST) -> bool:
    """Say whether a loop unpacks layers, and does without their biases."""
    names = [node.id for node in ast.walk(target) if isinstance(node, ast.Name)]
    return "_" in names and all(name == "_" or name.endswith("weight") for name in names)


def _of_biases(text: str) -> str:
    hidden = text.replace("weight_decay", "\0").replace("weight", "bias")
    return hidden.replace("\0", "weight_decay")


def _with_biases(target: str) -> str:
    """Name the biases beside the weights: (d_weight, _) becomes (d_weight, d_bias)."""
    *parts, last = target.split("weight, _")
    named = (f"{part}weight, {part.rpartition('(')[2].strip()}bias" for part in parts)
    return "".join(named) + last


@operator(
    "for x in X:\n    f(x)\nfor w in params:\n    z += weight_decay * w\n => "
    "for x in X:\n    f(x)\n    for w in params:\n        z += weight_decay * w\n",
    "def f(weight_decay): return loss_and_grad(params, *block, 0.0, out=out) => "
    "def f(weight_decay): return loss_and_grad(params, *block, weight_decay, out=out)",
    "def f(weight_decay): return block_loss_and_grad(params, weight_decay=0.0) => "
    "def f(weight_decay): return block_loss_and_grad(params, weight_decay=weight_decay)",
)
def decay_for_each_row(node: ast.AST, code: Code) -> Found:
    """The penalty, which counts once, is counted for each row or block of them."""
    match node:
        case ast.FunctionDef(body=body) | ast.Module(body=body):
            for rows, layers in itertools.pairwise(body):
                if isinstance(rows, ast.For) and isinstance(layers, ast.For):
                    text = code.of(layers)
                    if "weight_decay" in text:
                        yield Change(*code.span(layers), "    " + text.replace("\n", "\n    "))
        case ast.Call(args=args, keywords=keywords) if name_of(node).endswith("loss_and_grad"):
            given = [word.value for word in keywords if word.arg == "weight_decay"]
            for arg in [*args, *given]:
                if number_in(arg) == 0 and "weight_decay" in code.arguments_around(node):
                    yield arg, "weight_decay"


# The softmax


@operator("z = x - x.max() => z = x", "z = x - np.maximum.reduce(x, axis=1) => z = x")
def max_not_subtracted(node: ast.AST, code: Code) -> Found:
    """The softmax overflows: its row's largest logit is not taken away first."""
    match node:
        case ast.BinOp(left=left, op=ast.Sub(), right=ast.Call(func=func)):
            if "max" in code.of(func):
                yield node, code.of(left)


@operator(
    "z = np.argmax(x, axis=1) => z = np.max(x, axis=1)",
    "z = x.max() => z = x.argmax()",
    "z = np.maximum.reduce(x, axis=1) => z = np.argmax(x, axis=1)",
)
def argmax_for_max(node: ast.AST, code: Code) -> Found:
    """The place of the largest is taken for the largest, and back."""
    match node:
        case ast.Attribute(value=value, attr=name) if name in OTHER_EXTREME:
            yield node, f"{code.operand(value)}.{OTHER_EXTREME[name]}"
        case ast.Attribute(value=value, attr="reduce") if code.of(value) == "np.maximum":
            yield node, "np.argmax"


# Random numbers


@operator(
    "order = rng.permutation(n) => order = np.arange(n)",
    "z = rng.normal(size=n) => z = np.random.default_rng(0).normal(size=n)",
    "z = init_params(sizes, rng=rng) => z = init_params(sizes, rng=np.random.default_rng(0))",
    "z = np.random.default_rng(seed) => z = np.random.default_rng(0)",
    numerical=False,
)
def seed_ignored(node: ast.AST, code: Code) -> Found:
    """The generator that was given, or its seed, does not count, or nothing is drawn at all."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="rng"), attr="permutation"), args=args):
            yield node, f"np.arange({code.of(args[0])})"
        case ast.Name(id="rng", ctx=ast.Load()):
            yield node, "np.random.default_rng(0)"
        case ast.Call(args=[seed]) if name_of(node) == "default_rng":
            if number_in(seed) is None:
                yield seed, "0"


# Arrays


@operator(
    "z = x.copy() => z = x",
    "z = np.array(x) => z = x",
    "z = list(x) => z = x",
    "z = Dense(*map(np.array, layer)) => z = Dense(*layer)",
    "z = _copied(x) => z = x",
)
def copy_dropped(node: ast.AST, code: Code) -> Found:
    """What was copied is handed out itself."""
    match node:
        case (
            ast.Call(func=ast.Attribute(value=value, attr="copy"))
            | ast.Call(func=ast.Name(id="map"), args=[ast.Attribute(attr="array"), value])
        ):
            yield node, code.operand(value)
        case ast.Call(args=[value]) if name_of(node) in {"array", "list", "_copied"}:
            yield node, code.operand(value)


@operator("z = x.astype(dtype) => z = x")
def cast_dropped(node: ast.AST, code: Code) -> Found:
    """What was cast keeps the precision that it had."""
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr="astype")):
            yield node, code.operand(value)


@operator("z = np.multiply(x, y, out=out) => z = np.multiply(x, y, out=None)", changes_arrays=True)
def out_dropped(node: ast.AST, code: Code) -> Found:  # noqa: ARG001
    """The result is not written into the array that was given for it."""
    match node:
        case ast.keyword(arg="out", value=value):
            yield value, "None"


@operator(
    "z = np.multiply(x, y, out=out) => z = np.multiply(x, y, out=x)",
    "z = np.zeros_like(x) => z = (lambda new:"
    ' globals().setdefault(f"reused {new.shape} {new.dtype}", new))(np.zeros_like(x))',
    changes_arrays=True,
)
def buffer_reused(node: ast.AST, code: Code) -> Found:
    """An array is written to that holds something else, or is made once and used again."""
    if not isinstance(node, ast.Call):
        return
    for word in node.keywords:
        for arg in node.args if word.arg == "out" else ():
            array = isinstance(arg, ast.Name | ast.Attribute | ast.Subscript)
            if array and code.of(arg) != code.of(word.value):
                yield word.value, code.of(arg)
    if name_of(node) in FRESH:
        # kept by what it is, so that all calls that want such an array share it
        kept = 'globals().setdefault(f"reused {new.shape} {new.dtype}", new)'
        yield node, f"(lambda new: {kept})({code.of(node)})"


@operator(
    "def f(a, b): return a - b => def f(a, b): return np.subtract(a, b, out=a)",
    "def f(z): return np.where(z > 0, z, 0) => def f(z): return np.multiply(z, z > 0, out=z)",
    "def f(layer, c): return 2 * layer.weight => "
    "def f(layer, c): return np.multiply(2, layer.weight, out=layer.weight)",
    changes_arrays=True,
)
def input_changed(node: ast.AST, code: Code) -> Found:
    """The result is written into an argument, or into what a loop goes through."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in IN_PLACE:
            if code.is_index(node):
                return
            for array in (left, right):
                if _is_given(array, code):
                    arguments = f"{code.of(left)}, {code.of(right)}, out={code.of(array)}"
                    yield node, f"np.{IN_PLACE[type(op)]}({arguments})"
        case ast.Call(args=[mask, ast.Name(id=z), other]) if name_of(node) == "where":
            if number_in(other) == 0:
                yield node, f"np.multiply({z}, {code.of(mask)}, out={z})"


def _is_given(node: ast.AST, code: Code) -> bool:
    """Say whether a node is an array that came from outside, as far as its syntax tells."""
    while isinstance(node, ast.Attribute):
        node = node.value
    if not isinstance(node, ast.Name) or node.id in COUNTS | ROW_WEIGHTS | FACTORS | {"self"}:
        return False
    return node.id in code.arguments_around(node) | code.loop_variables


@operator("z += x => pass", "np.maximum(x, y, out=x) => pass")
def statement_removed(node: ast.AST, code: Code) -> Found:  # noqa: ARG001
    """x += y, or a call for its effect, is left out."""
    match node:
        case ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield node, "pass"


# Signs and terms


def _is_sum(node: ast.BinOp, code: Code) -> bool:
    """Say whether + and - are of numbers that are computed, not of strings or places."""
    return not is_text(node) and not code.is_index(node)


@operator("z = -x => z = x", "z = a - b => z = b - a", "z = a + b * c => z = a - (b * c)")
def sign_flipped(node: ast.AST, code: Code) -> Found:
    """-x becomes x; a - b becomes b - a; a + b becomes a - b."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield node, code.of(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            if _is_sum(node, code):
                a, b = code.operand(left), code.operand(right)
                yield node, f"{a} - {b}" if isinstance(op, ast.Add) else f"{b} - {a}"


@operator("z = a + b => z = a", "z = a - b * c => z = a", "z = f(a + b) => z = f(a)")
def term_dropped(node: ast.AST, code: Code) -> Found:
    """a + b becomes a, or b; so does a - b, or -b."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            if _is_sum(node, code):
                yield node, code.of(left)
                minus = isinstance(op, ast.Sub)
                yield node, f"-{code.operand(right)}" if minus else code.of(right)


# What Cosmic Ray's own operators leave out, for every module


@operator("z += x => z -= x", "z *= x => z /= x", "z |= x => z &= x", numerical=False)
def augmented_replaced(node: ast.AST, code: Code) -> Found:
    """+= becomes -=, *= becomes /=, and back."""
    match node:
        case ast.AugAssign(target=target, op=op, value=value) if type(op) in SIGNS:
            yield node, f"{code.of(target)} {SIGNS[type(op)]}= {code.of(value)}"


@operator(
    "z = x in y => z = x not in y",
    "z = x not in (y := w) => z = x in (y := w)",
    numerical=False,
)
def membership_negated(node: ast.AST, code: Code) -> Found:
    """In becomes not in, and back."""
    match node:
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[right]):
            yield node, f"{code.operand(left)} {NEGATED[type(op)]} {code.operand(right)}"


@operator(
    "try: f()\nexcept OSError: g() => try: f()\nexcept (): g()",
    "try: f()\nexcept (zlib.error, OSError): g() => try: f()\nexcept (OSError,): g()",
    numerical=False,
)
def exception_missed(node: ast.AST, code: Code) -> Found:
    """An exception is not caught. Cosmic Ray's own raises itself where its name has a dot."""
    match node:
        case ast.ExceptHandler(type=ast.Tuple(elts=names) as caught):
            for missed in names:
                others = "".join(f"{code.of(name)}, " for name in names if name is not missed)
                yield Change(*code.span(caught), f"({others})")
        case ast.ExceptHandler(type=ast.expr() as caught):
            yield caught, "()"
