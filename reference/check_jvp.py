"""Check handwritten derivatives along a direction: the jvp, and the Hessian's product."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax

from reference.along import along, inner
from reference.arguments import (
    Argnums,
    Subject,
    as_function,
    fresh,
    in_words,
    is_one,
    returning_a_scalar,
    same_structure,
)
from reference.check_layer import Pullback
from reference.compare import Leaf
from reference.diagnosis.difference import Difference
from reference.directions import directions
from reference.limit import SECONDS
from reference.report import GradientReport


def check_jvp(
    jvp: Callable[..., Any],
    function: Callable[..., Any],
    *args: Any,
    argnums: Argnums | None = None,
    explain_seconds: float = SECONDS,
) -> GradientReport:
    """Check a handwritten Jacobian-vector product against JAX's, element by element.

        |jvp(tangents, *args) - jax.jvp(function, args, tangents)[1]| <= bound

    at several tangents, dense, sparse and one-hot ones. The bound is that of `check_gradient`. The
    report shows the worst of them, which are `report.direction.value`.

    Args:
        jvp: takes `(tangents, *args)`, where `tangents` is a tuple of one tangent for each argument
            at argnums, of its shape and dtype, or, if that is a single one, its tangent alone; and
            returns the tangent of the output, or `(out, tangent)` as `jax.jvp` does.
        function: any function that JAX can trace; takes the arguments, and returns any tree of
            arrays of real numbers.
        *args: where to check: arrays of NumPy's, of JAX's, or of any library that speaks DLPack,
            such as PyTorch, as the product takes them. Those of real numbers are in bfloat16,
            float16, float32 or float64. Whatever is no array, such as a flag, an axis, a string or
            a function, is passed on unchanged.
        argnums: which arguments have tangents, by number or by name; by default those that hold an
            array of real numbers.
        explain_seconds: how long the causes of a mismatch are looked for, as for `check_gradient`.

    Returns:
        The report; `report.ok` says whether the product is right.

    Raises:
        TypeError: an argument at argnums is in no such precision, or has no array; the function
            returns something that is not real.
        ValueError: there are no arguments at argnums; explain_seconds is negative.

    >>> import numpy as np
    >>> def product_jvp(tangents, x, y):
    ...     d_x, d_y = tangents
    ...     return d_x * y + x * d_y
    >>> x, y = np.random.default_rng(0).normal(size=(2, 3))
    >>> check_jvp(product_jvp, jax.numpy.multiply, x, y).ok
    True
    >>> report = check_jvp(lambda tangents, x, y: tangents[0] * y, jax.numpy.multiply, x, y)
    >>> report.verdict.value
    'mismatch'
    """
    as_function(jvp, name="jvp")
    as_function(function, name="function")
    pushforward = Pushforward(function, args, argnums, explain_seconds)
    return pushforward.check(pushforward.exchange.hosted(jvp))


def check_hvp(
    hvp: Callable[..., Any],
    loss: Callable[..., Any],
    *args: Any,
    argnums: Argnums = 0,
    explain_seconds: float = SECONDS,
) -> GradientReport:
    """Check a handwritten Hessian-vector product against JAX's, element by element.

        |hvp(tangents, *args) - jax.jvp(jax.grad(loss), args, tangents)[1]| <= bound

    at several tangents, dense, sparse and one-hot ones. The bound is that of `check_gradient`. The
    report shows the worst of them, which are `report.direction.value`.

    Args:
        hvp: takes `(tangents, *args)`, where `tangents` has the structure, shapes and dtype of the
            argument at argnums, or of a tuple of them if argnums is a sequence; and returns the
            Hessian times that, of the same structure, shapes and dtype. The tangents come first:
            for manual_nn.hvp, `lambda v, params, X, y: manual_nn.hvp(params, v, X, y)`.
        loss: any scalar function that JAX can trace.
        *args: where to check, as for `check_jvp`.
        argnums: which arguments the loss is differentiated in twice, by number or by name.
        explain_seconds: how long the causes of a mismatch are looked for, as for `check_gradient`.

    Returns:
        The report; `report.ok` says whether the product is right.

    Raises:
        TypeError: an argument at argnums is in no such precision, or has no array; the loss is no
            scalar.
        ValueError: there are no arguments at argnums; explain_seconds is negative.

    >>> import numpy as np
    >>> def loss(x):
    ...     return (x**3).sum()
    >>> x = np.array([1.0, -2.0])
    >>> check_hvp(lambda tangents, x: 6 * x * tangents, loss, x).ok
    True
    >>> check_hvp(lambda tangents, x: 3 * x**2 * tangents, loss, x).verdict.value
    'mismatch'
    """
    as_function(hvp, name="hvp")
    as_function(loss, name="loss")
    hessian = Hessian(returning_a_scalar(loss), args, argnums, explain_seconds)
    return hessian.check(hessian.exchange.hosted(hvp), what="hvp")


class Pushforward(Subject):
    """A function at its arguments, and how JAX takes tangents forward through it."""

    def by_jax(self, tangents: Any, *args: Any) -> tuple[Any, Any]:
        """Give the output and its tangent."""
        chosen = self.chosen(args)
        return jax.jvp(self.of_chosen(self.body, args), chosen, _like(chosen, tangents))

    def expected(self, result: Any) -> str:
        """Say what should have been returned, and what was."""
        return f"expected the tangent of the output, {in_words(self.out)}, got {in_words(result)}"

    def check(self, jvp: Callable[..., Any]) -> GradientReport:
        """Check a handwritten jvp along several tangents."""
        tangents = tangents_of(self)
        drawn = list(directions("tangents", tangents, self.dtype))
        result = jvp(fresh(drawn[0].value), *fresh(self.args))
        both = same_structure(result, (self.out, self.out))

        def named(pair: tuple[Any, Any]) -> Any:
            return OrderedDict(zip(("out", "tangent"), pair, strict=True))

        def by_hand(tangents: Any, *args: Any) -> Any:
            result = jvp(tangents, *args)
            is_pair = both and same_structure(result, (self.out, self.out))
            return named(result) if is_pair else result

        def by_jax(tangents: Any, *args: Any) -> Any:
            pair = self.by_jax(tangents, *args)
            return named(pair) if both else pair[1]

        like = named((self.out, self.out)) if both else self.out

        def product(tangents: Any, *rest: Any) -> Any:
            *args, d_result = rest
            return inner(d_result, by_jax(tangents, *args))

        def difference(
            leaves: Sequence[Leaf], inputs: tuple[Any, ...], undecided: frozenset[int]
        ) -> Difference:
            """Take the result for the gradient of <d_result, result> in d_result."""
            return Difference(
                leaves,
                product,
                (*inputs, like),
                len(inputs),
                undecided,
                of_layers=False,
                names_of_args=["tangents", *map(self.name, range(len(self.args))), "d_result"],
                limit=self.limit,
            )

        return along(
            drawn,
            self,
            by_hand,
            by_jax=by_jax,
            target=like,
            expected=self.expected,
            difference=difference,
            what="jvp",
            name="" if both else "tangent",
        )


class Hessian(Pullback):
    """A loss at its arguments, and how JAX multiplies its Hessian by tangents."""

    direction = "tangents"

    @property
    def along(self) -> Any:
        """What the directions are shaped like."""
        return tangents_of(self)

    def by_jax(self, tangents: Any, *args: Any) -> "OrderedDict[str | int, Any]":
        """Give the derivative, along the tangents, of the gradient in each argument."""
        chosen = self.chosen(args)
        numbers = tuple(range(len(chosen)))
        gradient = jax.grad(self.of_chosen(self.body, args), numbers)
        _, products = jax.jvp(gradient, chosen, _like(chosen, tangents))
        return OrderedDict(zip(self.keys, products, strict=True))

    def product(self, tangents: Any, *args: Any) -> Any:
        """Give <tangents, gradient>, whose gradient in the arguments is the Hessian's product."""
        chosen = self.chosen(args)
        gradients = jax.grad(self.of_chosen(self.body, args), tuple(range(len(chosen))))(*chosen)
        return inner(_like(chosen, tangents), gradients)


def _like(chosen: tuple[Any, ...], tangents: Any) -> Any:
    """Give tangents, which may be one alone, the structure of the chosen arguments."""
    return jax.tree.unflatten(jax.tree.structure(chosen), jax.tree.leaves(tangents))


def tangents_of(subject: Subject) -> Any:
    """Give arrays of the shapes of the tangents: a tuple, or one alone for a single argument."""
    chosen = subject.chosen(subject.given)
    argnums = subject.argnums
    alone = len(chosen) == 1 and (argnums is None or is_one(argnums))
    return chosen[0] if alone else chosen
