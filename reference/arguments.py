"""The arguments of a check: which of them it is about, and what JAX traces of them.

Whoever checks a function hands over what that function takes: arrays, but also flags, axes, shapes,
strings, None and functions. JAX traces the arrays; everything else passes through unchanged.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
import numpy.typing as npt
from jax.tree_util import keystr, tree_leaves_with_path

from reference.arrays import PRECISION, PRECISIONS, merged
from reference.compare import Comparer, Place
from reference.custom_rules import custom_rules
from reference.foreign import Exchange
from reference.limit import SECONDS, Limit

Argnums: TypeAlias = int | str | Sequence[int | str]


def places_of(
    argnums: Argnums | None, function: Callable[..., Any], args: Sequence[Any]
) -> tuple[int, ...]:
    """List the numbers, counted from 0, of the arguments that argnums names or numbers.

    None stands for those that hold an array of real numbers.

    Raises:
        TypeError: there are no arguments.
        ValueError: there is no such argument, or it is given twice.
    """
    if not args:
        raise TypeError("*args must be the arguments to check at, got none")
    if argnums is None:
        return real_places(args)
    listed = [argnums] if isinstance(argnums, str) or not isinstance(argnums, Sequence) else argnums
    places = tuple(_place(place, function, len(args)) for place in listed)
    if len(set(places)) < len(places):
        raise ValueError(f"argnums must give each argument once, got {argnums}")
    return places


def is_one(argnums: Argnums) -> bool:
    """Say whether this is one argument, rather than a sequence of them."""
    return isinstance(argnums, str) or not isinstance(argnums, Sequence)


def _place(place: int | str, function: Callable[..., Any], count: int) -> int:
    if isinstance(place, str):
        names = argument_names(function, count)
        if place not in names:
            listed = ", ".join(names) if any(names) else "unknown"
            msg = f"argnums names {place!r}, but the names of the arguments are: {listed}"
            raise ValueError(msg)
        return names.index(place)
    number = operator.index(place)
    if not -count <= number < count:
        msg = f"argnums must be from 0 to {count - 1} for {count} arguments, got {number}"
        raise ValueError(msg)
    return number % count


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """List the names of the first arguments of a function; empty where they have none."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a function that is not written in Python
        return [""] * count
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [parameter.name for parameter in parameters if parameter.kind in by_place]
    return [*names, *[""] * count][:count]


def names_in_words(function: Callable[..., Any], count: int) -> list[str]:
    """List the names of the first arguments of a function, and args[i] where one has none."""
    names = argument_names(function, count)
    return [name or f"args[{i}]" for i, name in enumerate(names)]


def real_places(args: Sequence[Any]) -> tuple[int, ...]:
    """List the numbers of the arguments that hold an array of real numbers.

    A Python number is none: it is a constant of the function, such as an epsilon.
    """
    return tuple(i for i, arg in enumerate(args) if any(map(is_real, jax.tree.leaves(arg))))


def is_real(leaf: Any) -> bool:
    """Say whether it is an array of real numbers, or of complex ones, which are refused."""
    return is_array(leaf) and bool(jax.numpy.issubdtype(leaf.dtype, np.inexact))


def is_array(leaf: Any) -> bool:
    """Say whether it is an array of numbers or booleans, or a number of NumPy's.

    A key of jax.random is none.
    """
    arrays = (np.ndarray, np.generic, jax.Array)
    return isinstance(leaf, arrays) and getattr(leaf.dtype, "kind", "O") not in "OSUMm"


def precision(args: Sequence[Any], places: Sequence[int]) -> str:
    """Find the coarsest precision among the arguments at places, after checking them.

    Raises:
        TypeError: they are in no precision that there is a check in, or have no array.
    """
    dtypes = set()
    for place in places:
        for path, leaf in tree_leaves_with_path(args[place]):
            dtype = np.asarray(leaf).dtype
            if dtype not in PRECISIONS:
                where = f"args[{place}]{keystr(path)}"
                raise TypeError(f"{where} {PRECISION}, got {dtype}")
            dtypes.add(dtype)
    if not places:
        raise TypeError("none of the arguments is an array of real numbers")
    if not dtypes:
        raise TypeError(f"the arguments at argnums {tuple(places)} have no arrays")
    return min(dtypes, key=PRECISIONS.index).name


def copies(args: Sequence[Any], places: Sequence[int] = ()) -> tuple[Any, ...]:
    """Copy the arrays among the arguments, and all of those at places, into NumPy's."""

    def copy(leaf: Any) -> Any:
        return np.array(leaf) if is_array(leaf) else leaf

    return tuple(jax.tree.map(np.array if i in places else copy, arg) for i, arg in enumerate(args))


class Derivative(Comparer):
    """JAX's derivative as a function of arguments of any kind, to compare handwritten ones with.

    Numbers that are not differentiated are traced too, so that rounding them counts; but where the
    function needs to know them, as in `if rate > 0`, they are constants.

    Args:
        function: takes these arguments.
        args: example arguments.
        traced: the numbers of those that are traced whatever they are.
        differentiated: the numbers of those that the function is a derivative in, so that they may
            be moved off an exact tie; by default, those that are traced.
        names: of the arguments, for the report.

    Attributes:
        where: of each array that is traced, the number of its argument, and its path in that.

    >>> def power(x, exponent, how):
    ...     return jax.numpy.sum(x**exponent) if how == "sum" else x
    >>> x = np.array([1.0, 2.0])
    >>> derivative = Derivative(jax.grad(power), (x, 2, "sum"), traced=[0])
    >>> derivative(2 * x, x, 2, "sum").verdict
    <Verdict.MATCH: 'match'>
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        *,
        traced: Sequence[int],
        differentiated: Sequence[int] | None = None,
        names: Sequence[str] = (),
    ) -> None:
        """Trace the function at the shapes of these arguments."""
        leaves, structure = jax.tree.flatten(tuple(args))
        place = [i for i, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
        always = [i in traced for i in place]
        paths = [keystr(path) for arg in args for path, _ in tree_leaves_with_path(arg)]
        moving = traced if differentiated is None else differentiated

        def close(choice: Sequence[bool]) -> None:
            """Have JAX trace what is chosen, and pass on the rest."""
            self._traced = tuple(choice)
            self.where = [
                (i, path) for i, path, chosen in zip(place, paths, choice, strict=True) if chosen
            ]

            def closed(*arrays: Any) -> Any:
                return function(*jax.tree.unflatten(structure, merged(leaves, choice, arrays)))

            super(Derivative, self).__init__(
                closed,
                *self.arrays(args),
                measured=True,
                differentiated=[
                    i in moving for i, chosen in zip(place, choice, strict=True) if chosen
                ],
            )
            self.names = [(names[i] if names else f"args[{i}]") + path for i, path in self.where]

        numbers = (is_array(leaf) or isinstance(leaf, float) for leaf in leaves)
        first = [a or b for a, b in zip(always, numbers, strict=True)]
        real = (is_real(leaf) and np.ndim(leaf) > 0 for leaf in leaves)
        second = [a or b for a, b in zip(always, real, strict=True)]
        try:
            try:
                close(first)
            except TypeError:  # JAX's, where a number or an index has to be known
                if first == second:
                    raise
                close(second)
        except jax.errors.TracerArrayConversionError as error:
            raise _not_of_jax(function, "NumPy") from error
        except TypeError as error:
            if isinstance(error, jax.errors.JAXTypeError) or "JaxprTracer" not in str(error):
                raise
            raise _not_of_jax(function, "something", f" ({error})") from error

    def arrays(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Take what is traced from among the arguments."""
        leaves = jax.tree.leaves(tuple(args))
        return tuple(leaf for leaf, chosen in zip(leaves, self._traced, strict=True) if chosen)

    def at(self, *args: Any, dtype: npt.DTypeLike, compiled: bool = True) -> Place:
        """Fix the arguments, so that several results can be compared there."""
        return super().at(*self.arrays(args), dtype=dtype, compiled=compiled)


def _not_of_jax(function: Callable[..., Any], taker: str, why: str = "") -> TypeError:
    """Say that a function is not written for JAX."""
    name = getattr(function, "__name__", "the function")
    return TypeError(f"{name} hands {taker} what JAX has to trace: write it with jax.numpy{why}")


class Subject:
    """A function of any outputs, at its arguments.

    Attributes:
        function: traceable by JAX.
        exchange: how arrays of other libraries among the arguments come and go.
        args: as they were handed in, but for those.
        given: copies of them, as arrays.
        argnums: as it was handed in.
        places: the numbers of the arguments that are differentiated.
        dtype: the coarsest precision among those.
        keys: their names, or else their numbers.
        output: the traced function.
        rules: the custom derivative rules of the user's in it.
        body: the function as JAX differentiates it: without them, if it can.
        out: zeros in the shapes of its output.
        limit: on the search for causes.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: Argnums | None,
        explain_seconds: float = SECONDS,
    ) -> None:
        """Trace the function, and see what it returns.

        Raises:
            TypeError: an argument at argnums is in no such precision, or has no array, or the
                output is not real.
            ValueError: there are no arguments at argnums, or one of them twice.
        """
        self.limit = Limit(explain_seconds)
        self.exchange = Exchange(args)
        args = self.exchange.args
        self.function, self.args, self.argnums = function, args, argnums
        self.body = function
        self.places = places_of(argnums, function, args)
        self.dtype = precision(args, self.places)
        self.given = copies(args, self.places)
        names = argument_names(function, len(args))
        self.keys = [names[place] or place for place in self.places]
        self._names = names_in_words(function, len(args))
        self.output = Derivative(
            function,
            self.given,
            traced=self.places,
            differentiated=(),
            names=self._names,
        )
        self.rules = custom_rules(self.output.traced.jaxpr)
        self.out = self._zeros()

    def _zeros(self) -> Any:
        avals: list[Any] = self.output.traced.jaxpr.out_avals
        for aval in avals:
            if not jax.numpy.issubdtype(aval.dtype, np.floating):
                msg = f"the function must return real numbers, got {aval.dtype}{list(aval.shape)}"
                raise TypeError(f"{msg}; leave that output out of what is checked")
        zeros = [np.zeros(aval.shape, self.dtype) for aval in avals]
        return jax.tree.unflatten(self.output.traced.structure, zeros)

    def out_like(self, out: Any) -> Any:
        """Give zeros in the shapes of the output, and in a precision that it may have.

        That is one of the arguments', where these have more than one.
        """
        arrays = jax.tree.leaves(self.chosen(self.given))
        dtypes = {str(array.dtype) for array in arrays}
        return jax.tree.map(
            lambda zero, leaf: zero.astype(leaf.dtype) if str(leaf.dtype) in dtypes else zero,
            self.out,
            out,
        )

    def chosen(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Take those of the arguments that are differentiated."""
        return tuple(args[place] for place in self.places)

    def of_chosen(self, function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
        """Make a function of the arguments one of those that are differentiated, others fixed."""

        def of_chosen(*chosen: Any) -> Any:
            every = list(args)
            for place, arg in zip(self.places, chosen, strict=True):
                every[place] = arg
            return function(*every)

        return of_chosen

    def name(self, place: int) -> str:
        """Name an argument."""
        return self._names[place]


def as_function(value: object, *, name: str) -> None:
    """Check that value can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {in_words(value)}")


def returning_a_scalar(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Make sure that a loss returns a scalar, or say how to check what it is instead."""

    @functools.wraps(loss)
    def scalar(*args: Any) -> Any:
        value = loss(*args)
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(value)]
        if shapes != [()] or not same_structure(value, 0):
            got = f"an array of shape {shapes[0]}" if len(shapes) == 1 else f"{len(shapes)} arrays"
            msg = (
                f"the loss must return a scalar, got {got}; what returns anything else is checked "
                "by check_layer, or by check_vjp if it has no handwritten forward pass"
            )
            raise TypeError(msg)
        return value

    return scalar


def fresh(args: Any) -> Any:
    """Copy NumPy's arrays, so that a function may write to them, and leave the rest as it is."""
    return jax.tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, args)


def same_structure(one: Any, other: Any) -> bool:
    """Say whether two trees have the same structure."""
    structure: Any = jax.tree.structure(one)
    return bool(structure == jax.tree.structure(other))


def form(tree: Any) -> tuple[Any, list[tuple[int, ...]]]:
    """Give the structure and the shapes of a tree."""
    return jax.tree.structure(tree), [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def in_words(tree: Any) -> str:
    """Say what a tree is, in a few words."""
    if tree is None:
        return "None"
    if is_array(tree):
        return f"an array of shape {np.shape(tree)}" if np.shape(tree) else "a scalar"
    kind = type(tree).__name__
    if isinstance(tree, (tuple, list)):
        return f"a {kind} of {len(tree)}"
    return f"a dict of {', '.join(map(repr, tree))}" if isinstance(tree, dict) else f"a {kind}"
