"""Mistakes of several operations together, which lie between one array and another.

What normalises a row subtracts means along it, which may have been taken along another axis; what
is chosen by the largest is in `selections.py`.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from reference.diagnosis.edges.mistakes import Site
from reference.jaxprs import bind, closed, equations, functions_in, is_real, names_in, shape_of

JaxArray: TypeAlias = jax.Array

ELEMENTWISE = {
    "abs", "add", "add_any", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp",
    "convert_element_type", "copy", "cos", "cosh", "custom_jvp_call", "digamma", "div", "eq",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow",
    "is_finite", "jit", "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min", "mul",
    "ne", "neg", "pjit", "pow", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square",
    "stop_gradient", "sub", "tan", "tanh",
}  # fmt: skip
NORMALISING = ELEMENTWISE | {"reduce_sum", "reduce_max", "broadcast_in_dim", "reshape", "squeeze"}
FORMS = {"broadcast_in_dim", "reshape", "squeeze", "expand_dims"}
ENTRIES = 2**20  # of a Jacobian, at most
FORM = 1e-2  # of a row's derivative, within which it has a form, as where s is a root + 1e-5
AXES = 4  # at most, of an array that is normalised


@dataclass(frozen=True)
class Region:
    """What lies between an array and the result of an operation.

    Attributes:
        jaxpr: of these operations.
        source: the array.
        number: of the last operation.
        known: the arrays that are read on the way, and the result.
    """

    jaxpr: core.Jaxpr
    source: Any
    number: int
    known: Mapping[Any, Any]

    @functools.cached_property
    def numbers(self) -> list[int]:
        """The operations on all ways."""
        return between(self.jaxpr, self.source, self.number)

    @property
    def out(self) -> Any:
        """The result."""
        return self.jaxpr.eqns[self.number].outvars[0]

    def of(self, atom: Any) -> Any:
        """Give an array that is read, through which nothing is handed down."""
        return atom.val if isinstance(atom, core.Literal) else lax.stop_gradient(self.known[atom])

    def site(self, x: Any) -> Site:
        """Give all of it as one operation, with x in the place of the array."""

        def function(x: Any) -> JaxArray:
            found = {self.source: x}
            for i in self.numbers:
                eqn = self.jaxpr.eqns[i]
                operands = [found[y] if _is_in(y, found) else self.of(y) for y in eqn.invars]
                found.update(zip(eqn.outvars, bind(eqn, operands), strict=True))
            out: JaxArray = found[self.out]
            return out

        return Site(function, [self.of(self.source)], 0, x)

    @functools.cached_property
    def normalised(self) -> tuple[Any, tuple[int, ...]]:
        """The result, and the axes of the first sum on the way to it."""
        sums = (
            inner
            for i in self.numbers
            for inner in _all(self.jaxpr.eqns[i])
            if inner.primitive.name == "reduce_sum"
        )
        return self.of(self.out), tuple(next(sums).params["axes"])

    @functools.cached_property
    def jacobian(self) -> Any:
        """The derivative of each element of the result, one a row, in each of the array.

        Raises:
            NotImplementedError: if there are too many.
        """
        x, out = self.of(self.source), self.of(self.out)
        if x.size * out.size > ENTRIES:
            raise NotImplementedError(f"a Jacobian of {out.size} x {x.size}")
        units = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
        columns = jax.vmap(lambda unit: self.site(unit).tangent(x, unit).ravel())(units)
        return columns.T

    @functools.cached_property
    def direction(self) -> tuple[Any, Any]:
        """Any change of the array, and that of the result."""
        x = self.of(self.source)
        v = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        return v, self.site(v).tangent(x, v)


class Pattern(NamedTuple):
    """A mistake of several operations.

    Attributes:
        sentence: what is wrong with their derivative.
        places: lists where it can be made: an array, and the last operation.
        make: gives what is handed down, as the transpose of a linear map of x.
        beyond: whether for this it looks at operations that are not between the two.
    """

    sentence: str
    places: Callable[[core.Jaxpr], Iterable[tuple[Any, int]]]
    make: Callable[[Region, Any], JaxArray]
    beyond: bool = False


def between(jaxpr: core.Jaxpr, source: Any, number: int) -> list[int]:
    """List the operations on all ways from an array to the result of an operation."""
    reached, ahead = {source}, []
    for i, eqn in enumerate(jaxpr.eqns[: number + 1]):
        if any(_is_in(x, reached) for x in eqn.invars):
            reached.update(eqn.outvars)
            ahead.append(i)
    needed, found = set[Any](jaxpr.eqns[number].outvars), []
    for i in reversed(ahead):
        eqn = jaxpr.eqns[i]
        if needed.intersection(eqn.outvars):
            needed.update(x for x in eqn.invars if not isinstance(x, core.Literal))
            found.append(i)
    return found[::-1]


def _is_in(atom: Any, among: Any) -> bool:
    return not isinstance(atom, core.Literal) and atom in among


def _sources(
    jaxpr: core.Jaxpr, number: int, fits: Callable[[core.JaxprEqn], bool]
) -> tuple[set[Any], set[Any]]:
    """Go back through operations of a kind; give where that ends, and all arrays on the way."""
    made = {x: eqn for eqn in jaxpr.eqns for x in eqn.outvars}
    ends, seen = set[Any](), set[Any]()
    ahead: list[Any] = list(jaxpr.eqns[number].outvars[:1])
    while ahead:
        x = ahead.pop()
        if isinstance(x, core.Literal) or x in seen or not is_real(x):
            continue
        seen.add(x)
        if x not in made or not fits(made[x]):
            ends.add(x)
            continue
        ahead += made[x].invars
    return ends, seen


# Means along another axis


@functools.lru_cache(maxsize=1)  # some forty mistakes ask for those of one jaxpr
def normalising(jaxpr: core.Jaxpr) -> tuple[tuple[Any, int], ...]:
    """List arrays with what is made of them and of sums along them, element by element."""
    return tuple(_normalising(jaxpr))


def _normalising(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
    readers: dict[Any, int] = {}
    for x in (x for eqn in jaxpr.eqns for x in eqn.invars if not isinstance(x, core.Literal)):
        readers[x] = readers.get(x, 0) + 1
    exponents = {eqn.invars[0] for eqn in jaxpr.eqns if eqn.primitive.name == "exp"}
    sums = set[Any]()  # and what is made of them alone
    for number, eqn in enumerate(jaxpr.eqns):
        (out, *_), names = eqn.outvars, names_in(eqn)
        shape = shape_of(out)
        of_sums = [x for x in eqn.invars if _is_in(x, sums)]
        if not is_real(out) or not names <= NORMALISING or not (of_sums or "reduce_sum" in names):
            continue
        wide = [x for x in eqn.invars if shape_of(x) == shape and not _is_in(x, sums)]
        if not wide:
            sums.add(out)
        elif 1 < len(shape) <= AXES:
            ends, seen = _sources(jaxpr, number, lambda eqn: names_in(eqn) <= NORMALISING)
            for x in seen - {out} - sums:
                if shape_of(x) == shape and (readers[x] > 1 or x in ends | exponents):
                    yield x, number


def _spread(x: Any, axes: tuple[int, ...], others: tuple[int, ...]) -> Any:
    """Give the sum along other axes, for as many elements as there are along the right ones."""
    count, other = (np.prod([x.shape[i] for i in some]) for some in (axes, others))
    total = x.sum(axis=others, keepdims=True) * np.asarray(count / other, x.dtype)
    return jnp.broadcast_to(total, x.shape)


Sum: TypeAlias = Callable[[Any, tuple[int, ...]], Any]


def widened(
    jaxpr: core.Jaxpr, numbers: Sequence[int], found: dict[Any, Any], of: Callable[[Any], Any],
    total: Sum,
) -> None:  # fmt: skip
    """Evaluate operations with every sum as long as what is summed, so that it may be another one.

    Args:
        jaxpr: of the operations.
        numbers: which of them.
        found: the arrays of one shape that they begin with; those that are found are added.
        of: gives an array that they read otherwise.
        total: what is the sum of an array along some axes.

    Raises:
        NotImplementedError: if another operation than those of `normalising` is met.
    """
    shape = next(iter(found.values())).shape
    for i in numbers:
        eqn = jaxpr.eqns[i]
        name, (out, *_) = eqn.primitive.name, eqn.outvars
        operands = [found[x] if _is_in(x, found) else of(x) for x in eqn.invars]
        if functions_in(eqn) and name in {"jit", "pjit"}:
            inner = closed(eqn.params["jaxpr"])
            known = dict(zip(inner.jaxpr.invars, operands, strict=True))
            known |= dict(zip(inner.jaxpr.constvars, inner.consts, strict=True))
            wide = [
                x for x, y in zip(inner.jaxpr.invars, eqn.invars, strict=True) if _is_in(y, found)
            ]
            within = {x: known[x] for x in wide}
            _whole(inner.jaxpr, within, known, total)
            results = [within.get(x, known.get(x)) for x in inner.jaxpr.outvars]
            found.update(zip(eqn.outvars, results, strict=True))
        elif name == "reduce_sum" and shape_of(eqn.invars[0]) == shape:
            found[out] = total(operands[0], tuple(eqn.params["axes"]))
        elif name == "reduce_max" and shape_of(eqn.invars[0]) == shape:
            largest = operands[0].max(axis=eqn.params["axes"], keepdims=True)
            found[out] = jnp.broadcast_to(largest, shape)
        elif (name in FORMS and shape_of(eqn.invars[0]) != shape) or (
            name in FORMS and shape_of(out) == shape
        ):
            found[out] = operands[0]
        elif names_in(eqn) <= ELEMENTWISE:
            same = [jnp.broadcast_to(x, shape) for x in operands]
            found.update(zip(eqn.outvars, bind(eqn, same), strict=True))
        else:
            raise NotImplementedError(name)


def _whole(jaxpr: core.Jaxpr, found: dict[Any, Any], known: dict[Any, Any], total: Sum) -> None:
    """Evaluate a function: what does not depend on the arrays of one shape as it is."""
    for i, eqn in enumerate(jaxpr.eqns):
        if any(_is_in(x, found) for x in eqn.invars):
            widened(jaxpr, [i], found, lambda atom: _of(atom, known), total)
        else:
            results = bind(eqn, [_of(x, known) for x in eqn.invars])
            known.update(zip(eqn.outvars, results, strict=True))


def _of(atom: Any, known: dict[Any, Any]) -> Any:
    return atom.val if isinstance(atom, core.Literal) else known[atom]


def _all(eqn: core.JaxprEqn) -> list[core.JaxprEqn]:
    return [eqn, *(e for function in functions_in(eqn) for e in equations(function))]


def _mean(x: Any, axes: tuple[int, ...]) -> Any:
    return jnp.mean(x, axis=axes, keepdims=True)


def _standardised(region: Region, x: Any, axes: tuple[int, ...]) -> JaxArray:
    """d_x = (d - d.mean(axes) - n (d n).mean(axes)) / s in place of means along the right ones."""
    n, _ = region.normalised

    def bracket(d: Any, some: tuple[int, ...]) -> Any:
        return d - _mean(d, some) - n * _mean(d * n, some)

    return _divided(region, x, bracket, axes)


def _scaled_by_its_mean_square(region: Region, x: Any, axes: tuple[int, ...]) -> JaxArray:
    """d_x = (d - n (d n).mean(axes)) / s in place of a mean along the right ones."""
    n, _ = region.normalised
    return _divided(region, x, lambda d, some: d - n * _mean(d * n, some), axes)


def _divided(
    region: Region, x: Any, bracket: Callable[[Any, tuple[int, ...]], Any], axes: tuple[int, ...]
) -> JaxArray:
    """Apply a bracket to x / s, where J v = bracket(v) / s for any v; NaN where it is not."""
    _, right = region.normalised
    v, moved = region.direction
    u = bracket(v, right)
    one_over_s = _mean(u * moved, right) / _mean(u * u, right)
    near = FORM * abs(moved).max(axis=right, keepdims=True)
    is_form = (abs(u * one_over_s - moved) <= near).all()
    result: JaxArray = jnp.where(is_form, bracket(x * one_over_s, axes), jnp.nan)
    return result


def _softmax(region: Region, x: Any, axes: tuple[int, ...]) -> JaxArray:
    """d_z = p (d - (d p).sum(axes)) in place of a sum along the right ones."""
    p, _ = region.normalised
    result: JaxArray = p * (x - (p * x).sum(axis=axes, keepdims=True))
    return result


def _softmax_diagonal(region: Region, x: Any) -> JaxArray:
    """d_z = p (1 - p) d, as if no element of a row depended on the others."""
    p, _ = region.normalised
    result: JaxArray = p * (1 - p) * x
    return result


def _whole_along(region: Region, x: Any, axes: tuple[int, ...]) -> JaxArray:
    """d_x is the derivative of what is normalised along other axes."""

    def function(x: Any) -> Any:
        found = {region.source: x}
        widened(region.jaxpr, region.numbers, found, region.of, lambda y, a: _spread(y, a, axes))
        return found[region.out]

    point = region.of(region.source)
    return Site(function, [point], 0, x).tangent(point, x)


def _has_axes(axes: tuple[int, ...]) -> Callable[[core.Jaxpr], Iterator[tuple[Any, int]]]:
    def places(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
        for x, number in normalising(jaxpr):
            if max(axes) < len(shape_of(x)):
                yield x, number

    return places


# The statistics of another group


def grouped(jaxpr: core.Jaxpr) -> Iterator[tuple[Any, int]]:
    """List what is multiplied by an array that is normalised in groups of channels."""
    made = {x: eqn for eqn in jaxpr.eqns for x in eqn.outvars}
    normal: set[Any] = {jaxpr.eqns[number].outvars[0] for _, number in normalising(jaxpr)}
    for number, eqn in enumerate(jaxpr.eqns):
        if eqn.primitive.name == "mul":
            for own, other in (eqn.invars, eqn.invars[::-1]):
                of = made.get(other) if isinstance(other, core.Var) else None
                if of is None or of.primitive.name != "reshape":
                    continue
                if of.invars[0] in normal and isinstance(own, core.Var):
                    yield own, number


def _of_another_group(region: Region, x: Any) -> JaxArray:
    """d_weight = d_out (x - mean[c % G]) / s[c % G], where channel c is in group c // (C / G)."""
    eqns = region.jaxpr.eqns
    other = next(y for y in eqns[region.number].invars if y is not region.source)
    normal = next(eqn for eqn in eqns if other in eqn.outvars).invars[0]
    last = next(i for i, eqn in enumerate(eqns) if normal in eqn.outvars)
    source = next(y for y, number in normalising(region.jaxpr) if number == last)
    _, axes = Region(region.jaxpr, source, last, region.known).normalised
    shape = shape_of(normal)
    axis = max(i for i in range(len(shape)) if i not in axes)  # of the groups
    groups, rest = shape[axis], int(np.prod(shape[axis + 1 :]))
    in_channel = max(1, groups * rest // shape_of(other)[axis])
    channel = np.arange(groups * rest) // in_channel

    def moved(sums: Any) -> Any:
        wide = jnp.broadcast_to(sums, shape).reshape(*shape[:axis], -1)
        return wide[..., channel % groups * rest].reshape(shape)

    wide = {source: region.of(source)}
    for eqn in (eqns[i] for i in between(region.jaxpr, source, last)):
        if shape_of(eqn.outvars[0]) == shape:
            operands = [wide[y] if _is_in(y, wide) else moved(region.of(y)) for y in eqn.invars]
            wide.update(zip(eqn.outvars, bind(eqn, operands), strict=True))
    result: JaxArray = x * wide[normal].reshape(shape_of(other))
    return result


NORMALISED = {
    "of_another_group": Pattern(
        "has the statistics of group c % G, where those of c // (C / G) belong", grouped,
        _of_another_group, beyond=True,
    ),
}  # fmt: skip
NORMALISED["softmax_diagonal"] = Pattern(
    "is the diagonal of softmax's Jacobian alone", normalising, _softmax_diagonal
)
OTHER = ", not along those of the forward pass"
ALONG: dict[str, tuple[str, str, Callable[..., JaxArray]]] = {
    "means": ("has means along", OTHER, _standardised),
    "mean_square": ("has the mean along", OTHER, _scaled_by_its_mean_square),
    "sum": ("has the sum along", OTHER, _softmax),
    "all_sums": ("has all sums, of the forward pass too, along", "", _whole_along),
}
for _axes in itertools.chain.from_iterable(
    itertools.combinations(range(AXES), count) for count in (1, 2)
):
    _words = f"ax{'e' if len(_axes) > 1 else 'i'}s {' and '.join(map(str, _axes))}"
    for _name, (_before, _after, _make) in ALONG.items():
        NORMALISED[f"{_name}_along_{'_'.join(map(str, _axes))}"] = Pattern(
            f"{_before} {_words}{_after}",
            _has_axes(_axes),
            functools.partial(_make, axes=_axes),
        )
