"""Check a handwritten backward pass that has no loss, a layer's, against JAX autodiff."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from reference.along import along, inner
from reference.arguments import (
    Argnums,
    Subject,
    as_function,
    fresh,
    in_words,
    real_places,
    same_structure,
)
from reference.compare import Leaf
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.directions import directions
from reference.foreign import at_home
from reference.limit import SECONDS
from reference.report import GradientReport
from reference.walk import Finding, find, in_its_precision, wrong_form

MANY = 1000  # arguments, which only a function of *args takes


def check_layer(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    twin: Callable[..., Any],
    *args: Any,
    argnums: Argnums | None = None,
    explain_seconds: float = SECONDS,
) -> GradientReport:
    """Check both passes of a layer against its JAX twin, element by element.

    The output of `forward` is compared with the twin's, and then the backward pass at several
    upstream gradients, dense, sparse and one-hot ones:

        |backward(d_out, kept) - jax.vjp(twin, *args)[1](d_out)| <= bound

    The bound is that of `check_gradient`. The report shows the worst upstream gradient, which is
    `report.direction.value`, and has a section of its own for the forward pass.

    Args:
        forward: the handwritten forward pass; takes the arguments, and returns `(out, kept)`, where
            `kept` is whatever the backward pass needs, or `out` alone.
        backward: the handwritten backward pass; takes `(d_out, kept)` or else `(d_out, *args)`, and
            returns the gradient in each argument at argnums, of its shape and dtype, in order. It
            may return the gradients in the other arguments too, or None for them. Where both forms
            fit it gets `kept`, but for a function of any number of arguments.
        twin: the forward pass for JAX; takes the arguments, and returns `out`, any tree of arrays.
        *args: where to check: arrays of NumPy's, of JAX's, or of any library that speaks DLPack,
            such as PyTorch, as the passes take them. Those of real numbers are in bfloat16,
            float16, float32 or float64. Whatever is no array, such as a flag, an axis, a string or
            a function, is passed on unchanged to all three.
        argnums: which arguments the gradient is taken in, by number or by name; by default those
            that hold an array of real numbers.
        explain_seconds: how long the causes of a mismatch are looked for, as for `check_gradient`.

    Returns:
        The report; `report.ok` says whether both passes are right.

    Raises:
        TypeError: an argument at argnums is in no such precision, or has no array; the twin
            returns something that is not real; `backward` takes other arguments.
        ValueError: there are no arguments at argnums; explain_seconds is negative.

    >>> def forward(x, weight):
    ...     out = np.tanh(x @ weight)
    ...     return out, (x, weight, out)
    >>> def backward(d_out, kept):
    ...     x, weight, out = kept
    ...     d_z = d_out * (1 - out**2)
    ...     return d_z @ weight, x.T @ d_z  # weight is not transposed
    >>> def twin(x, weight):
    ...     return jax.numpy.tanh(x @ weight)
    >>> rng = np.random.default_rng(0)
    >>> report = check_layer(forward, backward, twin, rng.normal(size=(4, 3)), np.eye(3) + 0.5)
    >>> report.ok  # for this weight is symmetric
    True
    >>> report = check_layer(forward, backward, twin, *rng.normal(size=(2, 3, 3)))
    >>> print(report.verdict.value, [leaf.path for leaf in report.leaves if leaf.wrong.any()])
    mismatch ["['x']"]
    """
    for name, function in (("forward", forward), ("backward", backward), ("twin", twin)):
        as_function(function, name=name)
    layer = Pullback(twin, args, argnums, explain_seconds)
    return check_passes(layer, forward, backward, what="layer")


def check_vjp(
    vjp: Callable[..., Any],
    function: Callable[..., Any],
    *args: Any,
    argnums: Argnums | None = None,
    explain_seconds: float = SECONDS,
) -> GradientReport:
    """Check a handwritten vector-Jacobian product against JAX's, element by element.

        |vjp(d_out, *args) - jax.vjp(function, *args)[1](d_out)| <= bound

    at several upstream gradients d_out, dense, sparse and one-hot ones. The bound is that of
    `check_gradient`. The report shows the worst of them, which is `report.direction.value`.

    Args:
        vjp: takes `(d_out, *args)`, and returns the gradient in each argument at argnums, of its
            shape and dtype, in order. It may return the gradients in the other arguments too, or
            None for them.
        function: any function that JAX can trace; takes the arguments, and returns any tree of
            arrays, whose shapes d_out has.
        *args: where to check, as for `check_layer`.
        argnums: which arguments the gradient is taken in, by number or by name; by default those
            that hold an array of real numbers.
        explain_seconds: how long the causes of a mismatch are looked for, as for `check_gradient`.

    Returns:
        The report; `report.ok` says whether the product is right.

    Raises:
        TypeError: an argument at argnums is in no such precision, or has no array; the function
            returns something that is not real.
        ValueError: there are no arguments at argnums; explain_seconds is negative.

    >>> def cumsum_vjp(d_out, x):
    ...     return np.cumsum(d_out[::-1])[::-1]
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> check_vjp(cumsum_vjp, jax.numpy.cumsum, x).ok
    True
    >>> check_vjp(lambda d_out, x: np.cumsum(d_out), jax.numpy.cumsum, x).verdict.value
    'mismatch'
    """
    as_function(vjp, name="vjp")
    as_function(function, name="function")
    pullback = Pullback(function, args, argnums, explain_seconds)
    return pullback.check(pullback.exchange.hosted(vjp), what="vjp")


class Pullback(Subject):
    """A function at its arguments, and how JAX takes a d_out back through it."""

    direction = "d_out"
    nothing: frozenset[int] = frozenset()  # the gradients in whose place None was returned

    @property
    def along(self) -> Any:
        """What the directions are shaped like."""
        return self.out

    def by_jax(self, d_out: Any, *args: Any) -> "OrderedDict[str | int, Any]":
        """Take a d_out back to each argument."""
        out, pull = jax.vjp(self.of_chosen(self.body, args), *self.chosen(args))
        cast = jax.tree.map(lambda d, z: jnp.asarray(d, jnp.result_type(z)), d_out, out)
        return OrderedDict(zip(self.keys, pull(cast), strict=True))

    def product(self, d_out: Any, *args: Any) -> Any:
        """Give <d_out, out>, whose gradient in the arguments is what d_out is taken back to."""
        return inner(d_out, self.body(*args))

    def gathered(self, result: Any) -> Any:
        """Give each gradient its key; what cannot be told apart stays as it is."""
        parts = self._parts(result)
        return result if parts is None else OrderedDict(zip(self.keys, parts, strict=True))

    def _parts(self, result: Any) -> list[Any] | None:
        if len(self.places) == 1 and same_structure(result, *self.chosen(self.given)):
            return [result]
        if isinstance(result, Mapping) and set(self.keys) <= set(result):
            return [result[key] for key in self.keys]
        if not isinstance(result, (tuple, list)):
            return None
        for among in (self.places, real_places(self.args), tuple(range(len(self.args)))):
            if len(result) == len(among) and set(self.places) <= set(among):
                return [result[among.index(place)] for place in self.places]
        return None

    def expected(self, result: Any) -> str:
        """Say which gradients should have been returned, and what was."""
        places, got = self.places, result
        if isinstance(result, OrderedDict) and list(result) == self.keys:
            for place, part in zip(self.places, result.values(), strict=True):
                if not same_structure(part, self.given[place]):
                    places, got = (place,), part
                    break
        many = f"a tuple of {len(places)} gradients"
        if len(places) == 1:
            many = f"{in_words(self.given[places[0]])}, the gradient"
        hint = "; argnums says in which arguments it is taken" if got is result else ""
        return f"expected {many} in {', '.join(map(self.name, places))}, got {in_words(got)}{hint}"

    def difference(
        self, leaves: Sequence[Leaf], inputs: tuple[Any, ...], undecided: frozenset[int]
    ) -> Difference:
        """Take the gradients for those of the product in the arguments."""
        places = tuple(1 + place for place in self.places)
        return Difference(
            leaves,
            self.product,
            inputs,
            places,
            undecided,
            of_layers=False,
            names_of_args=[self.direction, *map(self.name, range(len(self.args)))],
            limit=self.limit,
            nothing=self.nothing,
        )

    def check(
        self,
        vjp: Callable[..., Any],
        *,
        what: str,
        forward: Finding | None = None,
        remarks: Sequence[str] = (),
        trusts_rules: bool = True,
    ) -> GradientReport:
        """Check a handwritten product along several directions."""
        return along(
            directions(self.direction, self.along, self.dtype),
            self,
            lambda d_out, *args: self.gathered(vjp(d_out, *args)),
            by_jax=self.by_jax,
            target=OrderedDict(zip(self.keys, self.chosen(self.given), strict=True)),
            expected=self.expected,
            difference=self.difference,
            what=what,
            forward=forward,
            remarks=remarks,
            trusts_rules=trusts_rules,
        )


def check_passes(
    layer: Pullback,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *,
    what: str,
    trusts_rules: bool = True,
) -> GradientReport:
    """Check both passes of a layer against its twin."""
    passes = _passes(forward, backward, layer)
    if isinstance(passes, Cause):
        return GradientReport(passes.code.verdict, (), (passes,), (), layer.dtype, what=what)
    found = find(
        layer.output.at(*layer.given, dtype=passes.dtype),
        passes.out,
        layer.given,
        function=passes.forward,
        name="output",
    )
    return layer.check(
        passes.backward,
        what=what,
        forward=found,
        remarks=passes.remarks,
        trusts_rules=trusts_rules,
    )


class _Passes(NamedTuple):
    """The passes of a layer in one form.

    Attributes:
        out: what the forward pass has returned.
        dtype: the precision of that.
        remarks: what there is to say of it.
        forward: gives `out` for the arguments.
        backward: gives the gradients for `(d_out, *args)`.
    """

    out: Any
    dtype: str
    remarks: list[str]
    forward: Callable[..., Any]
    backward: Callable[..., Any]


def _passes(
    forward: Callable[..., Any], backward: Callable[..., Any], layer: Pullback
) -> _Passes | Cause:
    """Run the forward pass, and see in which form the two are, or what is wrong with that."""
    exchange = layer.exchange
    returned = forward(*exchange.handed(*fresh(layer.args)))
    keeps = not same_structure(returned, layer.out)
    if keeps and not (
        isinstance(returned, tuple)
        and len(returned) == 2
        and same_structure(returned[0], layer.out)
    ):
        evidence = (
            f"expected (out, kept) or out, where out is {in_words(layer.out)}, "
            f"got {in_words(returned)}"
        )
        return Cause.observed(Code.WRONG_FORWARD, evidence)

    def out_of(*args: Any) -> Any:
        result = forward(*args)
        return result[0] if keeps else result

    def with_kept(d_out: Any, *args: Any) -> Any:
        return backward(d_out, forward(*args)[1])

    out = _in_precision(at_home(returned[0] if keeps else returned), layer)
    by_jax = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(returned))
    form, dtype, remarks = in_its_precision(
        out, layer.out_like(out), layer.dtype, by_jax=by_jax, name="output"
    )
    if fault := wrong_form(out, form, name="output"):
        return Cause.observed(Code.WRONG_FORWARD, fault.evidence)
    any_number = _takes(backward, MANY) and len(layer.args) > 1
    if keeps and _takes(backward, 2) and not any_number:
        return _Passes(out, dtype, remarks, exchange.hosted(out_of), exchange.hosted(with_kept))
    if _takes(backward, 1 + len(layer.args)):
        return _Passes(out, dtype, remarks, exchange.hosted(out_of), exchange.hosted(backward))
    forms = "(d_out, kept) or (d_out, *args)" if keeps else "(d_out, *args)"
    more = "" if keeps else ", or (d_out, kept) where the forward pass returns (out, kept)"
    raise TypeError(f"backward must take {forms}{more}; it takes {inspect.signature(backward)}")


def _in_precision(out: Any, layer: Pullback) -> Any:
    """Take the numbers that are Python's for those of the precision."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, layer.dtype) if type(leaf) is float else np.array(leaf), out
    )


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Say whether a function takes so many arguments, as far as is known."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a function that is not written in Python
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
