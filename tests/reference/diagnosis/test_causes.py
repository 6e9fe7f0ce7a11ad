"""The hypotheses that need no knowledge of the loss: each is named first where it was planted.

Axes: N rows in the batch, D inputs, K outputs.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from reference.arrays import Array
from reference.compare import Comparer, Leaf
from reference.diagnosis.causes import diagnose
from reference.diagnosis.codes import Cause, Code
from reference.diagnosis.difference import Difference
from reference.layers import layer_norm as layer_norm_twin
from tests.conftest import depth, part_for
from tests.support.cases import each
from tests.support.losses import attention_row, layer_norm, least_squares, tanh_network
from tests.support.strategies import Shape, make_network

Gradient = dict[str, Any]

N, D = 7, 4
SEEDS = range(depth().seeds)
DECAY = 0.05


def tanh_layers(params: Any, X: Any, y: Any) -> Any:
    """Least squares of two square tanh layers with biases."""
    a = X
    for layer in params:
        a = jnp.tanh(a @ layer["weight"] + layer["bias"][None, :])
    return jnp.mean((a - y) ** 2)


def decayed(params: Any, X: Any, y: Any, weight_decay: Any) -> Any:
    """The same with a penalty on the weights."""
    return tanh_layers(params, X, y) + weight_decay * sum(
        jnp.sum(layer["weight"] ** 2) for layer in params
    )


def normed(params: Any, X: Any, y: Any) -> Any:
    """Least squares of a layer norm between two linear maps, with its gain and shift."""
    gain_and_shift = params["gain"], params["shift"]
    a = layer_norm_twin.forward(gain_and_shift, X @ params["below"], eps=0.125)
    return jnp.mean((a @ params["top"] - y) ** 2)


def draw(loss: Callable[..., Any], seed: int, dtype: npt.DTypeLike) -> tuple[Any, ...]:
    """Draw arguments of a loss."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(dtype)

    X, y = normal(N, D), normal(N, D)
    if loss is tanh_layers:
        return [{"weight": normal(D, D), "bias": normal(D)} for _ in range(2)], X, y
    if loss is decayed:
        return [{"weight": normal(D, D), "bias": normal(D)} for _ in range(2)], X, y, DECAY
    if loss is normed:
        shapes = {"below": (D, D), "gain": (D,), "shift": (D,), "top": (D, D)}
        return {name: normal(*shape) for name, shape in shapes.items()}, X, y
    return normal(D, D), X, y


LOSSES = [least_squares, tanh_network, layer_norm, attention_row, tanh_layers, decayed, normed]
OF_LAYERS = [tanh_layers, decayed, normed]
# Each of the others has operations of these alone.
OF_ALL_OPERATIONS = [least_squares, attention_row, decayed, normed] if depth().halved else LOSSES
MEANS = [least_squares, tanh_network, layer_norm, tanh_layers, normed]  # over rows, no penalty


def in_both_precisions(losses: list[Any]) -> list[tuple[Any, type[np.floating]]]:
    """Pair the losses with the precisions in which they are tried."""
    return [(loss, dtype) for dtype in (np.float32, np.float64) for loss in part_for(dtype, losses)]


@functools.cache
def comparer_for(loss: Callable[..., Any]) -> tuple[Comparer, Callable[..., Any]]:
    return Comparer(jax.grad(loss), *draw(loss, 0, np.float64)), jax.jit(jax.grad(loss))


def leaves_of(
    loss: Callable[..., Any], args: Any, broken: Callable[[Any], Any]
) -> tuple[Leaf, ...]:
    """Compute the gradient in the arguments' precision, break it and compare."""
    comparer, gradient = comparer_for(loss)
    return comparer(broken(jax.tree.map(np.array, gradient(*args))), *args).leaves


def causes_of(
    loss: Callable[..., Any], args: Any, broken: Callable[[Any], Any]
) -> tuple[Cause, ...]:
    return diagnose(Difference(leaves_of(loss, args, broken), loss, args, 0))


def every(function: Callable[[Array], Array]) -> Callable[[Any], Any]:
    """Break each leaf alike."""
    return lambda gradient: jax.tree.map(function, gradient)


def first(function: Callable[[Array], Array]) -> Callable[[Any], Any]:
    """Break the first leaf of more than one axis."""

    def broken(gradient: Any) -> Any:
        leaves, structure = jax.tree.flatten(gradient)
        i = next(i for i, leaf in enumerate(leaves) if leaf.ndim > 1)
        leaves[i] = function(leaves[i])
        return jax.tree.unflatten(structure, leaves)

    return broken


def matrices(function: Callable[[Array], Array]) -> Callable[[Any], Any]:
    """Break all leaves of more than one axis."""
    return every(lambda leaf: function(leaf) if leaf.ndim > 1 else leaf)


def noise(seed: int) -> Callable[[Array], Array]:
    """Make a function that adds normal numbers, others than those that the parameters are."""
    rng = np.random.default_rng([seed, 1])
    return lambda x: (x + rng.normal(size=x.shape)).astype(x.dtype)


def always(result: Any) -> Callable[[Any], Any]:
    """Make a function that gives this result, whatever the gradient."""
    return lambda _: result


def swapped(gradient: Any) -> Any:
    """Give each leaf the gradient of the next of its shape."""
    leaves, structure = jax.tree.flatten(gradient)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, leaf in enumerate(leaves):
        by_shape.setdefault(leaf.shape, []).append(i)
    moved = list(leaves)
    for places in by_shape.values():
        for i, j in zip(places, places[1:] + places[:1], strict=True):
            moved[i] = leaves[j]
    return jax.tree.unflatten(structure, moved)


PLANTS: list[tuple[str, Code, Callable[[Any], Any], list[Any]]] = [
    ("by 2", Code.SCALED, every(lambda x: 2 * x), LOSSES),
    ("by 1/2", Code.SCALED, every(lambda x: x / 2), LOSSES),
    ("by 0.3", Code.SCALED, every(lambda x: 0.3 * x), LOSSES),
    ("by -0.3", Code.SCALED, every(lambda x: -0.3 * x), LOSSES),
    ("by 1/N", Code.SCALED, every(lambda x: x / N), LOSSES),
    ("one leaf by 3", Code.SCALED, first(lambda x: 3 * x), LOSSES),
    ("by N", Code.SUM_NOT_MEAN, every(lambda x: N * x), MEANS),
    ("every leaf", Code.SIGN, every(lambda x: -x), LOSSES),
    ("one leaf", Code.SIGN, first(lambda x: -x), LOSSES),
    ("every leaf", Code.ZERO, every(lambda x: 0 * x), LOSSES),
    ("one leaf", Code.ZERO, first(lambda x: 0 * x), LOSSES),
    ("matrices", Code.TRANSPOSED, matrices(lambda x: x.T), LOSSES),
    ("one leaf", Code.TRANSPOSED, first(lambda x: x.T), LOSSES),
    ("by shape", Code.LEAVES_SWAPPED, swapped, OF_LAYERS),
    ("every leaf", Code.CONSTANT_OFFSET, every(lambda x: x + x.dtype.type(0.25)), LOSSES),
    ("one leaf", Code.CONSTANT_OFFSET, first(lambda x: x - x.dtype.type(1.5)), LOSSES),
    ("rows", Code.PERMUTED, matrices(lambda x: x[::-1]), LOSSES),
    ("columns", Code.PERMUTED, first(lambda x: x[:, [1, 2, 0, 3]]), LOSSES),
    ("vectors", Code.PERMUTED, every(lambda x: np.roll(x, 1) if x.ndim == 1 else x), OF_LAYERS),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("code", "broken", "losses"),
    [plant[1:] for plant in PLANTS],
    ids=[f"{code}, {how}" for how, code, *_ in PLANTS],
)
def test_what_was_planted_is_named_first(
    code: Code, broken: Callable[[Any], Any], losses: list[Any], dtype: type[np.floating]
) -> None:
    for loss in part_for(dtype, losses):
        for seed in SEEDS:
            causes = causes_of(loss, draw(loss, seed, dtype), broken)
            assert [cause.code for cause in causes][:1] == [code], (loss, seed, causes)


@each("dtype", [np.float32, np.float64])
@each("loss", LOSSES)
def test_a_right_gradient_has_no_cause(loss: Callable[..., Any], dtype: type[np.floating]) -> None:
    for seed in SEEDS:
        assert causes_of(loss, draw(loss, seed, dtype), lambda gradient: gradient) == ()


@each(("loss", "dtype"), in_both_precisions(OF_ALL_OPERATIONS))
def test_noise_has_no_known_cause(loss: Callable[..., Any], dtype: type[np.floating]) -> None:
    for seed in SEEDS:
        causes = causes_of(loss, draw(loss, seed, dtype), every(noise(seed)))
        assert [cause.code for cause in causes] == [Code.UNKNOWN], (seed, causes)


@each("divisor", [1, N])
@each(("row", "code"), [(-1, Code.LAST_ROW_ONLY), (0, Code.FIRST_ROW_ONLY)])
@each(("loss", "dtype"), in_both_precisions([*MEANS, decayed]))
def test_one_row_alone_is_named(
    loss: Callable[..., Any], row: int, code: Code, divisor: int, dtype: type[np.floating]
) -> None:
    for seed in SEEDS:
        params, X, y, *rest = args = draw(loss, seed, dtype)
        rows = slice(row, None) if row else slice(1)
        without_decay = [0.0 for _ in rest]
        _, compiled = comparer_for(loss)
        gradient = compiled(params, X[rows], y[rows], *without_decay)
        gradient = jax.tree.map(lambda x: np.array(x / divisor, dtype), gradient)
        if loss is decayed:
            for layer, parameter in zip(gradient, params, strict=True):
                layer["weight"] += parameter["weight"] * dtype(2 * DECAY)
        causes = causes_of(loss, args, always(gradient))
        assert causes[0].code == code, (seed, causes)


@each("dtype", [np.float32, np.float64])
@each(
    ("leaf", "multiple", "words"),
    [
        ("weight", -2, "0.05 ||parameter||^2 were missing"),
        ("weight", -1, "0.05 ||parameter||^2 were halved"),
        ("weight", 2, "0.05 ||parameter||^2 were doubled"),
        ("weight", -4, "0.05 ||parameter||^2 were subtracted"),
        ("weight", 2 * (N - 1), "0.05 ||parameter||^2 were applied 7 times, once per row"),
        ("weight", 0.3, "got - want = 0.015 * parameter)"),
        ("bias", 2, "0.05 ||parameter||^2 were applied to what looks like a bias"),
    ],
)
def test_a_wrong_decay_is_named(
    leaf: str, multiple: float, words: str, dtype: type[np.floating]
) -> None:
    def broken(gradient: Any) -> Any:
        for layer, parameter in zip(gradient, params, strict=True):
            layer[leaf] += parameter[leaf] * dtype(multiple * DECAY)
        return gradient

    for seed in SEEDS:
        params, *_ = args = draw(decayed, seed, dtype)
        causes = causes_of(decayed, args, broken)
        assert causes[0].code == Code.DIFFERENCE_PROPORTIONAL_TO_PARAMETER, (seed, causes)
        assert words in causes[0].sentence


@each("dtype", [np.float32, np.float64])
@each(
    ("factor", "code"),
    [(N, Code.SUM_NOT_MEAN), (-1, Code.SIGN_OF_DELTA), (1 / N, Code.ONE_OVER_N_TWICE)],
)
def test_a_factor_of_the_data_term_is_named_beside_a_penalty(
    factor: float, code: Code, dtype: type[np.floating]
) -> None:
    def broken(gradient: Any) -> Any:
        for layer, parameter in zip(gradient, params, strict=True):
            penalty = dtype(2 * DECAY) * parameter["weight"]
            layer["weight"] = dtype(factor) * (layer["weight"] - penalty) + penalty
            layer["bias"] = dtype(factor) * layer["bias"]
        return gradient

    for seed in SEEDS:
        params, *_ = args = draw(decayed, seed, dtype)
        causes = causes_of(decayed, args, broken)
        assert causes[0].code == code, (seed, causes)


def test_layers_below_a_wrong_step_are_named() -> None:
    def broken(gradient: Any) -> Any:
        rng = np.random.default_rng(0)
        return [
            {name: x + rng.normal(size=x.shape) for name, x in gradient[0].items()},
            gradient[1],
        ]

    (cause,) = causes_of(tanh_layers, draw(tanh_layers, 0, np.float64), broken)
    assert cause.code == Code.LAYERS_ABOVE_ONLY
    assert "right from [1]['bias'], [1]['weight'] on" in cause.sentence
    assert "wrong up to [0]['bias'], [0]['weight']" in cause.sentence


def test_different_mistakes_are_named_for_their_arrays() -> None:
    def broken(gradient: Any) -> Any:
        gradient[0]["weight"] = gradient[0]["weight"].T
        gradient[1]["bias"] *= 0
        return gradient

    causes = causes_of(tanh_layers, draw(tanh_layers, 0, np.float32), broken)
    assert {cause.code: cause.sentence.partition(" (")[2] for cause in causes} == {
        Code.ZERO: "[1]['bias']).",
        Code.TRANSPOSED: "[0]['weight']).",
    }


def test_what_a_cause_leaves_unexplained_is_named_beside_it() -> None:
    def broken(gradient: Any) -> Any:
        gradient[0]["weight"] = noise(0)(gradient[0]["weight"])
        gradient[1]["bias"] *= 0
        return gradient

    cause, *_ = causes_of(tanh_layers, draw(tanh_layers, 0, np.float64), broken)
    assert cause.code == Code.ZERO
    assert cause.sentence == (
        "The gradient is 0 everywhere ([1]['bias']). Also wrong, and not explained: [0]['weight']."
    )


@pytest.mark.parametrize("layout", ["in the order", "filled in"])
def test_a_gradient_with_the_memory_of_its_transpose_is_transposed(layout: str) -> None:
    def loss(W: Any, X: Any) -> Any:
        return jnp.mean(jnp.tanh(X @ W) ** 2)

    rng = np.random.default_rng(0)
    args = rng.normal(size=(3, 5)), rng.normal(size=(N, 3))
    right = np.asarray(jax.grad(loss)(*args))
    got = right.T.reshape(3, 5) if layout == "in the order" else right.reshape(5, 3).T
    leaves = Comparer(jax.grad(loss), *args)(got, *args).leaves
    causes = diagnose(Difference(leaves, loss, args, 0))
    assert causes[0].code == Code.TRANSPOSED
    assert layout in causes[0].sentence


@pytest.mark.parametrize("argnums", [(0, 2), [0, 2]])
def test_several_arguments_are_diagnosed(argnums: Any) -> None:
    def loss(W: Any, X: Any, b: Any) -> Any:
        return jnp.mean(jnp.tanh(X @ W + b[None, :]) ** 2)

    rng = np.random.default_rng(0)
    args = rng.normal(size=(3, 5)), rng.normal(size=(N, 3)), rng.normal(size=5)
    gradient = jax.grad(loss, argnums=tuple(argnums))
    d_W, d_b = gradient(*args)
    leaves = Comparer(gradient, *args)((np.asarray(N * d_W), np.asarray(N * d_b)), *args).leaves
    causes = diagnose(Difference(leaves, loss, args, argnums))
    assert causes[0].code == Code.SUM_NOT_MEAN


def test_one_number_alone_is_only_explained_by_a_factor_with_a_name() -> None:
    def loss(w: Any) -> Any:
        return w**2

    comparer = Comparer(jax.grad(loss), 3.0)
    for factor, code in ((2.0, Code.SCALED), (-1.0, Code.SIGN), (1.37, Code.UNKNOWN)):
        leaves = comparer(np.float64(6 * factor), 3.0).leaves
        assert diagnose(Difference(leaves, loss, (3.0,), 0))[0].code == code


def test_what_is_no_number_is_explained_by_nothing() -> None:
    args = draw(tanh_layers, 0, np.float64)
    for value in (np.nan, np.inf):
        (cause,) = causes_of(tanh_layers, args, every(functools.partial(np.multiply, value)))
        assert cause.code == Code.UNKNOWN


def test_a_large_gradient_with_equal_rows_is_matched_with_its_permutation() -> None:
    rng = np.random.default_rng(0)
    want = rng.normal(size=(784, 32))
    want[::3] = 0
    bound = 1e-12 * abs(want)
    leaf = Leaf("", want[::-1].copy(), want, bound, want - bound, want + bound)
    params = rng.normal(size=want.shape)
    causes = diagnose(Difference((leaf,), lambda W: W.sum(), (params,), 0))
    assert causes[0].code == Code.PERMUTED


def test_the_dictionary_leaves_other_networks_alone() -> None:
    """A decay that is no decay of ours, or an activation that is not ours, is not recognised."""
    network = make_network(Shape((4, 5, 3), 6, soft=False), np.float64, seed=0)

    def loss(params: Any, X: Any, y: Any) -> Any:
        (W, b), (V, c) = params
        log_p = jax.nn.log_softmax(jnp.tanh(X @ W + b[None, :]) @ V + c[None, :])
        return -jnp.mean(log_p[jnp.arange(len(y)), y])

    args = network[:3]
    gradient = jax.grad(loss)
    got = jax.tree.map(lambda x: np.asarray(-x), gradient(*args))
    leaves = Comparer(gradient, *args)(got, *args).leaves
    assert [cause.code for cause in diagnose(Difference(leaves, loss, args, 0))] == [Code.SIGN]
