"""The proof of a layer: its values and every gradient beside JAX's, under the derived bounds.

A layer is proven for the arguments that a `Subject` makes, in both precisions, for numbers of many
kinds and layouts in memory. What its backward pass gives is compared with the vjp that JAX takes of
the layer's twin, alone and with a linear map below it, whose weights' gradient uses d_x.
"""

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from hypothesis import settings

from reference import check_layer, layers
from reference.arrays import Array
from reference.campaign.draws import LAYOUTS
from reference.compare import Comparer, Comparison, Verdict
from tests.conftest import depth
from tests.support.compiled import implementations

Draw: TypeAlias = Callable[..., Array]  # of numbers of one kind, in a shape
Backward: TypeAlias = Callable[[Any, Any, Any], tuple[Any, Any]]


DTYPES = ("float32", "float64")
FEW = settings(max_examples=2 * depth().compilations)  # shapes of each layer


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Draw numbers of the size of 1."""
    return rng.normal(size=shape)


def dyadic(rng: np.random.Generator, *shape: int) -> Array:
    """Draw quarters from -2 to 2, which tie, vanish and add up exactly."""
    return rng.integers(-8, 9, shape) / 4


def sparse(rng: np.random.Generator, *shape: int) -> Array:
    """Draw numbers of a size between 0.03 and 10, half of which are 0."""
    scale = 10 ** rng.uniform(-1.5, 1)
    return rng.normal(scale=scale, size=shape) * rng.integers(2, size=shape)


def distant(rng: np.random.Generator, *shape: int) -> Array:
    """Draw numbers far from 0 and close to each other."""
    return 30 + rng.normal(size=shape)


def constant(rng: np.random.Generator, *shape: int) -> Array:
    """Draw one number for all places."""
    return np.full(shape, rng.normal())


KINDS: tuple[Callable[..., Array], ...] = (normal, dyadic, sparse, distant, constant)


class Subject(NamedTuple):
    """A layer's options at one shape, and what makes its arguments there.

    Attributes:
        arguments: makes (params, x) in float64 with its argument, which draws numbers of one kind
            in a shape; integers it draws from the generator, its second argument.
        options: the keywords of `forward`; real arrays among them are rounded to float32 first, and
            given to both sides in the precision of the arguments.
    """

    arguments: Callable[[Draw, np.random.Generator], tuple[Any, Any]]
    options: dict[str, Any]


def prove(layer: ModuleType, twin: ModuleType, subject: Subject, seed: int) -> None:
    """Compare a layer with its twin at a draw of each kind of numbers, in both precisions.

    Asserted are the values and the gradients, under the derived bounds; their dtype; that no
    argument or option is changed, and no memory shared with one; that no call changes what one
    before it has given or kept; that backward is linear; that options which both have are the
    same where they are left out. All but the last holds for a layer's compiled passes too,
    where there are any, at the same draws.
    """
    ours, theirs = (inspect.signature(module.forward).parameters for module in (layer, twin))
    for name in ours.keys() & theirs.keys():
        assert theirs[name].default == ours[name].default, name
    comparer = vjp_comparer(twin, subject)
    for implementation in implementations(layer):
        prove_one(implementation, comparer, subject, seed)
    prove_above_a_linear_map(layer, twin, subject, np.random.default_rng(seed))


def prove_one(layer: ModuleType, comparer: Comparer, subject: Subject, seed: int) -> None:
    """Do what `prove` does for one implementation, but for what is composed and for the options."""
    rng = np.random.default_rng(seed)
    earlier: dict[str, tuple[Any, Any]] = {}
    for kind, dtype in itertools.product(KINDS, DTYPES):
        params, x = arguments_of(subject, kind, dtype, rng)
        options = options_in(subject, dtype)
        given = params, x, options
        copies = jax.tree.map(np.copy, given)
        out, kept = layer.forward(params, x, **options)
        copy_of_kept = jax.tree.map(np.copy, kept)
        d_out = cast(rng.normal(size=out.shape), dtype)
        copy_of_d_out = d_out.copy()
        result = out, layer.backward(params, kept, d_out)
        what = f"{layer.__name__}: {kind.__name__} {dtype}, options {subject.options}, seed {seed}"
        assert_matches(comparer(result, params, x, d_out, compiled=False), dtype, what)
        assert_unshared(result, (*given, d_out))
        jax.tree.map(np.testing.assert_array_equal, (*copies, copy_of_d_out), (*given, d_out))
        if dtype == "float32":
            watched, watched_x, watched_d, more = jax.tree.map(watch, (params, x, d_out, options))
            _, kept_of_them = layer.forward(watched, watched_x, **more)
            layer.backward(watched, kept_of_them, watched_d)
        doubled = layer.backward(params, kept, 2 * d_out)
        jax.tree.map(assert_doubled, doubled, result[1])
        if dtype in earlier:
            jax.tree.map(np.testing.assert_array_equal, *earlier[dtype])
        earlier[dtype] = (result, kept), (jax.tree.map(np.copy, result), copy_of_kept)


def prove_above_a_linear_map(
    layer: ModuleType, twin: ModuleType, subject: Subject, rng: np.random.Generator
) -> None:
    """Compare the gradient of A in layer(a A), which is a^T d_x; d_x itself is not compared."""
    params, a = arguments_of(subject, normal, "float32", rng)
    if not differentiable(a):
        return
    A = jax.tree.map(lambda part: cast(rng.normal(size=[part.shape[-1]] * 2), "float32"), a)
    options = options_in(subject, "float64")

    def above(params: Any, A: Any, d_out: Any) -> Any:
        x = jax.tree.map(lambda part, weight: part @ weight, a64, A)
        return (twin.forward(params, x, **options) * d_out).sum()

    a64 = jax.tree.map(lambda part: cast(part, "float64"), a)
    x = jax.tree.map(np.matmul, a, A)
    out, kept = layer.forward(params, x, **options_in(subject, "float32"))
    d_out = cast(rng.normal(size=out.shape), "float32")
    d_params, d_x = layer.backward(params, kept, d_out)

    def d_weight(part: Array, d_part: Array) -> Array:
        rows = list(range(part.ndim - 1))
        return np.tensordot(part, d_part, axes=(rows, rows))

    comparer = Comparer(jax.grad(above, (0, 1)), params, A, d_out)
    got = d_params, jax.tree.map(d_weight, a, d_x)
    assert_matches(comparer(got, params, A, d_out, compiled=False), "float32", "above a A")


SPOILED: dict[str, Callable[[Array], Array]] = {
    "zero": lambda d: 0 * d,
    "negated": lambda d: -d,
    "1 % off": lambda d: d * d.dtype.type(1.01),
}


class Named(NamedTuple):
    """A wrong backward pass, and a part of the twin's line where the check finds its cause."""

    mistake: Backward
    line: str


def refute(layer: ModuleType, twin: ModuleType, subject: Subject, *wrong: Backward | Named) -> None:
    """Check that each wrong backward pass is told from the right one, in both precisions.

    Of those that are `Named` the line is found as well; of the first alone where little is tried,
    for that takes as long as all else. Beside the mistakes that are handed in, one array of the
    right gradients at a time is made wrong as SPOILED says. The right ones are compared with what
    XLA compiles from the twin.
    """
    rng = np.random.default_rng(0)
    comparer = vjp_comparer(twin, subject)
    named = [entry for entry in wrong if isinstance(entry, Named)]
    passes = [entry.mistake if isinstance(entry, Named) else entry for entry in wrong]
    for dtype in DTYPES:
        params, x = arguments_of(subject, normal, dtype, rng)
        out, kept = layer.forward(params, x, **options_in(subject, dtype))
        d_out = cast(rng.normal(size=out.shape), dtype)
        right = layer.backward(params, kept, d_out)
        comparison = comparer((out, right), params, x, d_out)
        assert comparison.verdict == Verdict.MATCH, comparison
        compare = comparer.at(params, x, d_out, dtype=dtype, compiled=False)
        mistakes = {mistake.__name__: mistake(params, kept, d_out) for mistake in passes}
        for name, gradients in {**mistakes, **spoiled(right)}.items():
            assert compare((out, gradients)).verdict == Verdict.MISMATCH, (name, dtype)
    for mistake, line in named if depth().optimised else named[:1]:
        assert_located(layer, twin, subject, mistake, line)


def assert_located(
    layer: ModuleType, twin: ModuleType, subject: Subject, mistake: Backward, line: str
) -> None:
    """Assert that the first cause of a mistake is at this line of a twin in reference/layers."""
    options = options_in(subject, "float64")
    params, x = arguments_of(subject, normal, "float64", np.random.default_rng(0))

    def forward(params: Any, x: Any) -> Any:
        return layer.forward(params, x, **options)

    def backward(d_out: Any, kept: Any) -> Any:
        return mistake(params, kept, d_out)

    by_jax = functools.partial(twin.forward, **options)
    report = check_layer(forward, backward, by_jax, params, x, explain_seconds=math.inf)
    where = report.causes[0].where
    assert where is not None, (mistake.__name__, report)
    assert Path(where.file).parent == Path(layers.__file__).parent, (mistake.__name__, report)
    assert line in where.text, (mistake.__name__, report)


def spoiled(gradients: Any) -> dict[str, Any]:
    """Make wrong gradients, in each of which one array is wrong."""
    leaves, structure = jax.tree.flatten(gradients)
    return {
        f"array {i} {name}": jax.tree.unflatten(
            structure, [*leaves[:i], change(leaf), *leaves[i + 1 :]]
        )
        for i, leaf in enumerate(leaves)
        for name, change in SPOILED.items()
    }


class Watched(np.ndarray):
    """An array of float32 with which, and with what comes of it, nothing computes in float64."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        """Compute as NumPy does, and look at the precision of operands and results."""
        bare = [np.asarray(x) if isinstance(x, Watched) else x for x in inputs]
        if out:
            options["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*bare, **options)
        arrays = [x for x in (*bare, result) if isinstance(x, np.ndarray | np.generic)]
        assert all(x.dtype != np.float64 for x in arrays), (ufunc, method, options)
        assert options.get("dtype") != np.float64, (ufunc, method)
        if out:
            return out[0]
        return watch(result) if isinstance(result, np.ndarray) else result


def watch(leaf: Any) -> Any:
    """Watch an array of real numbers, and leave what is another or none."""
    return leaf.view(Watched) if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" else leaf


def vjp_comparer(twin: ModuleType, subject: Subject, *, measured: bool = False) -> Comparer:
    """Trace the twin's value and vjp as a function of (params, x, d_out).

    `measured` is for benchmarks.layers, which says how far off a layer is in sigma.
    """
    rng = np.random.default_rng(0)
    params, x = arguments_of(subject, normal, "float64", rng)
    options = options_in(subject, "float64")

    def forward(params: Any, x: Any) -> Any:
        return twin.forward(params, x, **options)

    def value_and_vjp(params: Any, x: Any, d_out: Any) -> Any:
        if differentiable(x):
            out, vjp = jax.vjp(forward, params, x)
            return out, vjp(d_out)
        out, vjp = jax.vjp(lambda params: forward(params, x), params)
        return out, (*vjp(d_out), None)

    d_out = np.zeros(jax.eval_shape(forward, params, x).shape)
    return Comparer(value_and_vjp, params, x, d_out, measured=measured)


def arguments_of(
    subject: Subject, kind: Callable[..., Array], dtype: str, rng: np.random.Generator
) -> tuple[Any, Any]:
    """Make the arguments in this precision, each in a layout of its own."""
    arguments = subject.arguments(lambda *shape: kind(rng, *shape), rng)
    layouts: Iterator[Callable[[Array], Array]] = (
        LAYOUTS[name] for name in rng.choice(list(LAYOUTS), size=100)
    )
    return jax.tree.map(lambda leaf: next(layouts)(cast(leaf, dtype)), arguments)


def options_in(subject: Subject, dtype: str) -> dict[str, Any]:
    """Give the options, with the real arrays among them in this precision."""

    def given(leaf: Any) -> Any:
        return cast(cast(leaf, "float32"), dtype) if isinstance(leaf, np.ndarray) else leaf

    return jax.tree.map(given, subject.options)


def cast(leaf: Any, dtype: str) -> Array:
    """Round real numbers to this precision; integers and booleans stay."""
    array = np.asarray(leaf)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def differentiable(tree: Any) -> bool:
    """Say whether the leaves are real numbers."""
    return all(jax.numpy.issubdtype(leaf.dtype, np.floating) for leaf in jax.tree.leaves(tree))


def assert_doubled(twice: Array, once: Array) -> None:
    """Assert that an array is twice another, which changes no rounding but of subnormal numbers.

    There a rounding is off by at most eps times the smallest normal number, and nothing in a layer
    makes 1 / eps times as much of that.
    """
    assert (abs(twice - 2 * once) <= np.finfo(once.dtype).tiny).all(), (twice, once)


def assert_matches(comparison: Comparison, dtype: str, what: str) -> None:
    """Assert that every element is within its bound, and of this precision."""
    for leaf in comparison.leaves:
        assert leaf.verdict == Verdict.MATCH, (what, leaf)
        assert leaf.got.dtype == dtype, (what, leaf.path)


def assert_unshared(results: Any, arguments: Iterable[Any]) -> None:
    """Assert that no array of the results shares memory with an argument or with another."""
    arrays = jax.tree.leaves(results)
    given = [leaf for leaf in jax.tree.leaves(list(arguments)) if isinstance(leaf, np.ndarray)]
    pairs = (*itertools.product(arrays, given), *itertools.combinations(arrays, 2))
    assert not any(np.shares_memory(one, other) for one, other in pairs)
