"""Backward passes that people write, right and with the mistakes that they have reported.

Each case is a function for JAX, its derivative by hand as its author would write it, and the same
with a mistake; those that cite a report are worded anew after it. `planted` are the words of which
the first cause has to hold one to be of use: the source that the mistake is made at, the right
factor, or what is wrong in a word.

Axes: N rows, D features, K classes, T tokens, H heads, G groups, C channels.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from reference import check_gradient, check_vjp

Function: TypeAlias = Callable[..., Any]
NONE: Mapping[str, Any] = MappingProxyType({})


class Wrong(NamedTuple):
    """A derivative with a mistake, and words that would show its author where it is."""

    function: Function
    planted: Sequence[str]


class Case(NamedTuple):
    """A function, and what may be handed in as its derivative.

    Attributes:
        twins: the function for JAX; written in several ways, if there are several.
        args: float64 arguments; those of real numbers are cast.
        right: derivatives that are right, by what is special about them.
        wrong: derivatives that are wrong, by their mistakes.
        argnums: the arguments that they are taken in.
        check: `check_gradient` of a loss, `check_vjp` of a layer.
        report: where somebody has reported the mistakes.
    """

    twins: Mapping[str, Function]
    args: tuple[Any, ...]
    right: Mapping[str, Function]
    wrong: Mapping[str, Wrong] = NONE
    argnums: Any = 0
    check: Function = check_gradient
    report: str = ""


CASES: dict[str, Callable[[], Case]] = {}


def case(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a case by the name that it has in the table."""

    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[name] = make
        return make

    return register


def normal(seed: int, *shapes: tuple[int, ...]) -> Iterator[Any]:
    """Draw arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) for shape in shapes)


def sigmoid(z: Any) -> Any:
    """Squash to between 0 and 1."""
    return 1 / (1 + np.exp(-z))


def softmax(z: Any) -> Any:
    """Normalise the exponentials along the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# Losses


@case("binary cross-entropy, confident")
def binary_cross_entropy() -> Case:
    """Logits up to 20, at which sigmoid(z) - y has lost most of its digits."""

    def by_softplus(z: Any, y: Any) -> Any:
        return (jnp.logaddexp(0, z) - y * z).mean()

    def by_log_sigmoid(z: Any, y: Any) -> Any:
        return -(y * jax.nn.log_sigmoid(z) + (1 - y) * jax.nn.log_sigmoid(-z)).mean()

    def by_absolute_value(z: Any, y: Any) -> Any:
        return (jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-abs(z)))).mean()

    def by_probability(z: Any, y: Any) -> Any:
        p = jax.nn.sigmoid(z)
        return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)).mean()

    def gradient(z: Any, y: Any) -> Any:
        return (sigmoid(z) - y) / z.dtype.type(z.size)

    def on_top(z: Any, y: Any) -> Any:
        p = sigmoid(z)
        return (p - y) * p * (1 - p) / z.dtype.type(z.size)

    z = np.array([-6.0, -3.3, -1, 0.4, 2.2, 3.9, 5.1, 8, 12, 20])
    return Case(
        {
            "softplus": by_softplus,
            "log_sigmoid": by_log_sigmoid,
            "absolute value": by_absolute_value,
            "log of a probability": by_probability,
        },
        (z, (z > 0) * 1.0),
        {"": gradient},
        {"sigmoid' on top of p - y": Wrong(on_top, ["sigmoid", "logistic", "logaddexp", "p = "])},
        report="linkedin/Liger-Kernel#1329",
    )


@case("cross-entropy, some rows ignored")
def cross_entropy() -> Case:
    """Rows have weights, and those whose label is -100 do not count."""
    ignored = -100

    def loss(z: Any, y: Any, w: Any) -> Any:
        valid = y != ignored
        log_p = jax.nn.log_softmax(z, axis=1)
        each = -log_p[jnp.arange(len(y)), jnp.where(valid, y, 0)]
        counted = jnp.where(valid, each, 0)
        return (w * counted).sum() / valid.sum()

    def gradient(z: Any, y: Any, w: Any, how: str = "") -> Any:
        valid = y != ignored
        p = softmax(z)
        p[np.flatnonzero(valid), y[valid]] -= 1
        if how != "leak":
            p[~valid] = 0
        p *= w[0] if how == "first" else w[:, None]
        if how == "halves":
            half = len(y) // 2
            p[:half] /= 2 * valid[:half].sum()
            p[half:] /= 2 * valid[half:].sum()
            return p
        return p / z.dtype.type(len(y) if how == "all" else valid.sum())

    rng = np.random.default_rng(10)
    y = rng.integers(5, size=8)
    y[[1, 5, 6]] = ignored
    return Case(
        {"": loss},
        (rng.normal(size=(8, 5)), y, rng.uniform(0.5, 2, size=8)),
        {"": gradient},
        {
            "weight of the first row for all": Wrong(
                functools.partial(gradient, how="first"), ["w * counted"]
            ),
            "divided by all rows, not the valid ones": Wrong(
                functools.partial(gradient, how="all"), ["5/8", "valid.sum()"]
            ),
            "mean of the means of two halves": Wrong(
                functools.partial(gradient, how="halves"), ["5/6", "5/4"]
            ),
            "ignored rows get softmax(z)": Wrong(
                functools.partial(gradient, how="leak"),
                ["rows 1, 5 and 6", "jnp.where(valid, each, 0)"],
            ),
        },
        report="linkedin/Liger-Kernel#968, flagos-ai/FlagGems PR73, huggingface/transformers#24725",
    )


@case("negative sampling, samples repeat")
def negative_sampling() -> Case:
    """Several of the negative samples are the same row of U."""

    def loss(v: Any, U: Any, positive: Any, negative: Any) -> Any:
        right = jax.nn.log_sigmoid(U[positive] @ v)
        noise = jax.nn.log_sigmoid(-(U[negative] @ v))
        return -right - noise.sum()

    def gradient(v: Any, U: Any, positive: Any, negative: Any, add: Function = np.add.at) -> Any:
        right, noise = sigmoid(U[positive] @ v) - 1, sigmoid(U[negative] @ v)
        d_U = np.zeros_like(U)
        d_U[positive] += right * v
        add(d_U, negative, np.outer(noise, v))
        return right * U[positive] + noise @ U[negative], d_U

    def add_once(array: Any, indices: Any, values: Any) -> None:
        array[indices] += values

    v, U = normal(1, (6,), (12, 6))
    return Case(
        {"": loss},
        (v / 2, U / 2, 3, np.array([5, 7, 5, 1, 9, 7, 5])),
        {"": gradient},
        {
            "+= at repeated indices": Wrong(
                functools.partial(gradient, add=add_once), ["U[negative]"]
            )
        },
        argnums=(0, 1),
        report="ZacBi/CS224n-2019-solutions#5",
    )


@case("tanh network, a dictionary of parameters")
def tanh_network() -> Case:
    """One hidden layer and a softmax, as in a first course."""

    def loss(p: Any, X: Any, y: Any) -> Any:
        h = jnp.tanh(X @ p["Wh"] + p["bh"])
        z = h @ p["Wo"] + p["bo"]
        return -jax.nn.log_softmax(z, axis=1)[jnp.arange(len(y)), y].mean()

    def gradient(p: Any, X: Any, y: Any, how: str = "") -> Any:
        h = np.tanh(X @ p["Wh"] + p["bh"])
        d_z = softmax(h @ p["Wo"] + p["bo"])
        d_z[np.arange(len(y)), y] -= 1
        d_z /= X.dtype.type(len(y))
        d_h = d_z @ p["Wo"].T
        d_a = d_h * (1 - (np.tanh(h) if how == "twice" else h) ** 2)
        if how == "missing":
            d_a = d_h
        d_bh = (d_h if how == "bias" else d_a).sum(axis=0)
        return {"Wh": X.T @ d_a, "bh": d_bh, "Wo": h.T @ d_z, "bo": d_z.sum(axis=0)}

    Wh, bh, Wo, bo, X = normal(23, (4, 6), (6,), (6, 3), (3,), (9, 4))
    y = np.random.default_rng(24).integers(3, size=9)
    return Case(
        {"": loss},
        ({"Wh": Wh, "bh": bh, "Wo": Wo, "bo": bo}, X, y),
        {"": gradient},
        {
            "hidden bias from the error before tanh'": Wrong(
                functools.partial(gradient, how="bias"), ["jnp.tanh("]
            ),
            "1 - tanh(h)^2 for 1 - h^2": Wrong(
                functools.partial(gradient, how="twice"), ["jnp.tanh("]
            ),
            "tanh' forgotten": Wrong(functools.partial(gradient, how="missing"), ["jnp.tanh("]),
        },
        report="arthurdouillard/deepcourse PR9, eriklindernoren/ML-From-Scratch PR73",
    )


@case("least squares, a flat dictionary")
def flat_dictionary() -> Case:
    """Keys such as W1 and b1 say which layer an array is of."""

    def loss(p: Any, X: Any, y: Any) -> Any:
        h = jnp.tanh(X @ p["W1"] + p["b1"])
        z = h @ p["W2"] + p["b2"]
        return ((z - y) ** 2).sum()

    def gradient(p: Any, X: Any, y: Any, how: str = "") -> Any:
        h = np.tanh(X @ p["W1"] + p["b1"])
        d_z = 2 * (h @ p["W2"] + p["b2"] - y)
        d_h = d_z @ p["W2"].T
        d_a = d_h if how == "missing" else d_h * (1 - h * h)
        return {"W1": X.T @ d_a, "b1": d_a.sum(0), "W2": h.T @ d_z, "b2": d_z.sum(0)}

    W1, b1, W2, b2, X, y = normal(0, (4, 6), (6,), (6, 3), (3,), (9, 4), (9, 3))
    return Case(
        {"": loss},
        ({"W1": W1, "b1": b1, "W2": W2, "b2": b2}, X, y),
        {"": gradient},
        {"tanh' forgotten": Wrong(functools.partial(gradient, how="missing"), ["jnp.tanh("])},
    )


@case("scalars that are reused, Python floats")
def reused() -> Case:
    """A node of a graph has two parents, one of them twice."""

    def loss(p: Any) -> Any:
        d = p["a"] * p["b"]
        e = d * d + d * p["c"]
        return jnp.tanh(e)

    def gradient(p: Any) -> Any:
        a, b, c = p["a"], p["b"], p["c"]
        d = a * b
        d_e = 1 - np.tanh(d * d + d * c) ** 2
        d_d = d_e * (2 * d + c)
        return {"a": d_d * b, "b": d_d * a, "c": d_e * d}

    def once_per_use(p: Any) -> Any:
        a, b, c = p["a"], p["b"], p["c"]
        d = a * b
        d_e = 1 - np.tanh(d * d + d * c) ** 2
        sums = np.cumsum([d_e * d, d_e * d, d_e * c])
        return {"a": sums.sum() * b, "b": sums.sum() * a, "c": d_e * d}

    return Case(
        {"": loss},
        ({"a": 0.7, "b": -0.4, "c": 1.1},),
        {"": gradient},
        {
            "propagated once for each use": Wrong(
                once_per_use, ["d * d + d", 'p["a"] * p["b"]', "propagated"]
            )
        },
        report="karpathy/micrograd#2",
    )


@case("tanh RNN, 20 steps")
def recurrent() -> Case:
    """Rounding grows along 20 steps, and a check must not become blind by that."""

    def loss(W: Any, xs: Any) -> Any:
        h = jnp.zeros(16, W.dtype)
        for x in xs:
            h = jnp.tanh(W @ h + x)
        return (h**2).sum()

    def gradient(W: Any, xs: Any) -> Any:
        hs = [np.zeros(16, W.dtype)]
        for x in xs:
            hs.append(np.tanh(W @ hs[-1] + x))
        d_W, d_h = np.zeros_like(W), 2 * hs[-1]
        for before, after in zip(hs[-2::-1], hs[:0:-1], strict=True):
            d_a = d_h * (1 - after**2)
            d_W += np.outer(d_a, before)
            d_h = W.T @ d_a
        return d_W

    W, xs = normal(0, (16, 16), (20, 16))
    return Case(
        {"": loss},
        (W / 4, xs),
        {"": gradient},
        {
            "zero": Wrong(lambda *args: 0 * gradient(*args), ["0 everywhere"]),
            "negated": Wrong(lambda *args: -gradient(*args), ["wrong sign"]),
            "doubled": Wrong(lambda *args: 2 * gradient(*args), ["multiple of the right one", "2"]),
        },
    )


@case("loss that is linear in its argument")
def linear_loss() -> Case:
    """The right gradient is the same everywhere, so that a wrong one need not be of a call before.

    A sum in the place of the mean is the same mistake, seen from the other side.
    """

    def loss(x: Any, d: Any) -> Any:
        return (d * x).mean()

    d, x = normal(0, (4, 3), (4, 3))
    return Case(
        {"": loss},
        (x, d),
        {"": lambda _, d: d / d.dtype.type(d.size)},
        {
            "doubled": Wrong(lambda _, d: 2 * d / d.dtype.type(d.size), ["2"]),
            "not divided": Wrong(lambda _, d: d.copy(), ["12", "(d * x).mean()"]),
        },
    )


@case("embedding, rows that are read twice")
def embedding() -> Case:
    """Most rows of the gradient are 0."""

    def loss(E: Any, ids: Any) -> Any:
        read = E[ids]
        return (read**2).sum()

    def gradient(E: Any, ids: Any, add: Function = np.add.at) -> Any:
        d_E = np.zeros_like(E)
        add(d_E, ids, 2 * E[ids])
        return d_E

    def add_once(array: Any, indices: Any, values: Any) -> None:
        array[indices] += values

    def speck(E: Any, ids: Any) -> Any:
        d_E = gradient(E, ids)
        d_E[2, 0] = 1e-30
        return d_E

    (E,) = normal(0, (6, 3))
    return Case(
        {"": loss},
        (E, np.array([0, 1, 4, 1])),
        {"": gradient},
        {
            "+= at repeated indices": Wrong(functools.partial(gradient, add=add_once), ["E[ids]"]),
            "a speck where nothing was read": Wrong(speck, ["(2, 0)", "row 2"]),
        },
    )


@case("custom rule inside the loss")
def custom_rule() -> Case:
    """The rule has the same mistake as the gradient, and must not be its witness."""

    @jax.custom_vjp
    def square(x: Any) -> Any:
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, d_out: (3 * x * d_out,))

    def loss(x: Any) -> Any:
        return square(x).sum()

    return Case(
        {"": loss},
        (np.array([1.0, -2.0, 0.5]),),
        {"": lambda x: 2 * x},
        {"the rule's own mistake": Wrong(lambda x: 3 * x, ["custom rule"])},
    )


@case("masked softmax, filled with the lowest number")
def filled() -> Case:
    """The lowest number of float32 in the place of minus infinity."""

    def loss(x: Any) -> Any:
        s = jnp.where(jnp.arange(3) < 2, x, jnp.finfo(jnp.float32).min)
        return (jax.nn.softmax(s) * jnp.arange(3.0, dtype=x.dtype)).sum()

    def gradient(x: Any) -> Any:
        p = softmax(np.where(np.arange(3) < 2, x, np.finfo(np.float32).min)).astype(x.dtype)
        values = np.arange(3, dtype=x.dtype)
        return np.where(np.arange(3) < 2, p * (values - p @ values), 0).astype(x.dtype)

    return Case({"": loss}, (np.array([0.3, -1.2, 0.7]),), {"": gradient})


@case("maximum, exact ties")
def tied_maximum() -> Case:
    """One winner, as in PyTorch, is as right as JAX's equal shares."""

    def one_winner(x: Any) -> Any:
        return np.eye(len(x), dtype=x.dtype)[x.argmax()]

    def shares(x: Any) -> Any:
        tied = (x == x.max()).astype(x.dtype)
        return tied / tied.sum()

    return Case(
        {"": jnp.max},
        (np.array([0.0, 1.0, 1.0]),),
        {"one winner": one_winner, "equal shares": shares},
        {"all of it to each": Wrong(lambda x: (x == x.max()).astype(x.dtype), ["maximum", "tie"])},
    )


@case("ReLU by maximum(x, 0), at 0")
def rectified() -> Case:
    """0 at 0 is a subgradient like JAX's 1/2."""

    def loss(x: Any) -> Any:
        return jnp.maximum(x, 0).sum()

    return Case(
        {"": loss},
        (np.array([0.0, 1.0, -1.0]),),
        {"0 at 0": lambda x: (x > 0).astype(x.dtype), "1 at 0": lambda x: (x >= 0).astype(x.dtype)},
        {"mask inverted": Wrong(lambda x: (x <= 0).astype(x.dtype), ["max", "1 where it should"])},
    )


@case("flags and counts among the arguments")
def flags() -> Case:
    """A number of heads, and whether to train."""

    def loss(W: Any, heads: int, train: bool) -> Any:  # noqa: FBT001, as people write it
        return (W.reshape(heads, -1) ** 2).sum() if train else 0.0

    def gradient(W: Any, heads: int, train: bool) -> Any:  # noqa: ARG001, FBT001
        return 2 * W

    (W,) = normal(3, (4, 4))
    return Case({"": loss}, (W, 2, True), {"": gradient})


@case("two arguments")
def two_arguments() -> Case:
    """What is returned may be a list, and must not be more than was asked for."""

    def loss(W: Any, x: Any) -> Any:
        return (W @ x).sum()

    def both(W: Any, x: Any) -> Any:
        return [np.outer(np.ones(len(W), W.dtype), x), W.sum(axis=0)]

    W, x = normal(4, (4, 3), (3,))
    return Case(
        {"": loss},
        (W, x),
        {"a list for a tuple": both},
        {
            "with the loss": Wrong(lambda W, x: ((W @ x).sum(), tuple(both(W, x))), ["loss"]),
            "swapped": Wrong(lambda W, x: both(W, x)[::-1], ["shape"]),
        },
        argnums=(0, 1),
    )


# Layers: vjp(d_out, *args)


@case("dropout after tanh")
def dropout() -> Case:
    """The mask is drawn once, and given."""
    keep = 0.7

    def layer(W: Any, b: Any, X: Any, mask: Any) -> Any:
        h = jnp.tanh(X @ W + b)
        return h * mask / keep

    def vjp(d_out: Any, W: Any, b: Any, X: Any, mask: Any, *, masked: bool = True) -> Any:
        h = np.tanh(X @ W + b)
        d_h = d_out * mask / keep if masked else d_out / keep
        d_a = d_h * (1 - h * h)
        return (X.T @ d_a).astype(W.dtype), d_a.sum(axis=0).astype(W.dtype)

    W, b, X = normal(4, (5, 6), (6,), (8, 5))
    mask = (np.random.default_rng(5).random((8, 6)) < keep) * 1.0
    return Case(
        {"": layer},
        (W, b, X, mask),
        {"": vjp},
        {"mask forgotten": Wrong(functools.partial(vjp, masked=False), ["h * mask"])},
        argnums=(0, 1),
        check=check_vjp,
        report="ddbourgin/numpy-ml#94",
    )


@case("attention, key and value heads shared")
def grouped_attention() -> Case:
    """Each group of query heads has one key and one value head; (H, T, D)."""

    def layer(q: Any, k: Any, v: Any) -> Any:
        (H, T, D), K = q.shape, len(k)
        G = H // K
        keys = jnp.repeat(k, G, axis=0)
        values = jnp.repeat(v, G, axis=0)
        s = jnp.einsum("htd,hsd->hts", q, keys) / np.sqrt(D)
        s = jnp.where(np.tril(np.ones((T, T), bool)), s, -jnp.inf)
        p = jax.nn.softmax(s, axis=-1)
        return jnp.einsum("hts,hsd->htd", p, values)

    def vjp(d_out: Any, q: Any, k: Any, v: Any, *, how: str = "") -> Any:
        (H, T, D), K = q.shape, len(k)
        G, scale = H // K, np.asarray(1 / np.sqrt(D), q.dtype)
        keys, values = np.repeat(k, G, 0), np.repeat(v, G, 0)
        s = np.einsum("htd,hsd->hts", q, keys) * scale
        p = softmax(np.where(np.tril(np.ones((T, T), bool)), s, -np.inf)).astype(q.dtype)
        d_p = np.einsum("htd,hsd->hts", d_out, values)
        d_s = p * (d_p - (p * d_p).sum(-1, keepdims=True))
        if how == "diagonal":
            d_s = p * (1 - p) * d_p
        d_q = np.einsum("hts,hsd->htd", d_s, keys) * scale
        d_k = np.einsum("hts,htd->hsd", d_s, q) * scale
        d_v = np.einsum("hts,htd->hsd", p, d_out)

        def of_groups(d: Any) -> Any:
            if how == "swapped":
                return d.reshape(G, K, T, D).sum(axis=0)
            d = d.reshape(K, G, T, D)
            if how == "last":
                return d[:, -1].copy()
            return d.mean(axis=1) if how == "mean" else d.sum(axis=1)

        return d_q, of_groups(d_k), of_groups(d_v)

    return Case(
        {"": layer},
        tuple(normal(14, (6, 5, 4), (2, 5, 4), (2, 5, 4))),
        {"": vjp},
        {
            "heads grouped the other way": Wrong(
                functools.partial(vjp, how="swapped"), ["jnp.repeat("]
            ),
            "last head of a group alone": Wrong(
                functools.partial(vjp, how="last"), ["jnp.repeat("]
            ),
            "mean over a group": Wrong(functools.partial(vjp, how="mean"), ["1/3", "jnp.repeat("]),
            "diagonal of softmax' alone": Wrong(
                functools.partial(vjp, how="diagonal"), ["jax.nn.softmax("]
            ),
        },
        argnums=(0, 1, 2),
        check=check_vjp,
        report="marin-community/levanter PR449, XunhaoLai/native-sparse-attention-triton#27",
    )


@case("group norm")
def group_norm() -> Case:
    """The statistics are those of a group of channels; (N, C, height, width)."""
    G = 2

    def layer(x: Any, weight: Any, bias: Any) -> Any:
        g = x.reshape(len(x), G, -1)
        centred = g - g.mean(-1, keepdims=True)
        normal = centred / jnp.sqrt(g.var(-1, keepdims=True) + 1e-5)
        return normal.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]

    def vjp(d_out: Any, x: Any, weight: Any, bias: Any, *, right: bool = True) -> Any:  # noqa: ARG001
        N, C, *_ = x.shape
        g = x.reshape(N, G, -1)
        mean = g.mean(-1, keepdims=True)
        scale = 1 / np.sqrt(g.var(-1, keepdims=True) + np.asarray(1e-5, x.dtype))
        normal = (g - mean) * scale
        d = (d_out * weight[:, None, None]).reshape(g.shape)
        d_x = scale * (
            d - d.mean(-1, keepdims=True) - normal * (d * normal).mean(-1, keepdims=True)
        )
        group = np.arange(C) // (C // G) if right else np.arange(C) % G
        of_channel = (x - mean[:, group, :, None]) * scale[:, group, :, None]
        return d_x.reshape(x.shape), (d_out * of_channel).sum((0, 2, 3)), d_out.sum((0, 2, 3))

    x, weight, bias = normal(13, (2, 8, 3, 3), (8,), (8,))
    return Case(
        {"": layer},
        (x + np.arange(8)[:, None, None] * 0.3, weight, bias),
        {"": vjp},
        {
            "statistics of group c % G": Wrong(
                functools.partial(vjp, right=False), ["normal.reshape("]
            )
        },
        argnums=(0, 1, 2),
        check=check_vjp,
        report="tenstorrent/tt-metal PR56202",
    )


@case("layer norm of (B, T, D)")
def layer_norm() -> Case:
    """The batch has two axes."""

    def layer(x: Any, weight: Any, bias: Any) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        normal = centred / jnp.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        return normal * weight + bias

    def passes(d_out: Any, x: Any, weight: Any, mean: Any, scale: Any) -> Any:
        normal, d = (x - mean) * scale, d_out * weight
        d_x = scale * (
            d - d.mean(-1, keepdims=True) - normal * (d * normal).mean(-1, keepdims=True)
        )
        return d_x, d_out * normal

    def statistics(x: Any) -> Any:
        return x.mean(-1, keepdims=True), 1 / np.sqrt(
            x.var(-1, keepdims=True) + np.asarray(1e-5, x.dtype)
        )

    def vjp(d_out: Any, x: Any, weight: Any, bias: Any) -> Any:  # noqa: ARG001
        d_x, d_weight = passes(d_out, x, weight, *statistics(x))
        return d_x, d_weight.sum((0, 1)), d_out.sum((0, 1))

    def flattened(d_out: Any, x: Any, weight: Any, bias: Any) -> Any:  # noqa: ARG001
        B, T, D = x.shape
        X, d = x.reshape(B, T * D), d_out.reshape(B, T * D)
        mean, scale = (part.reshape(-1, 1)[:B] for part in statistics(x))
        d_x, d_weight = passes(d, X, np.tile(weight, T), mean, scale)
        return d_x.reshape(x.shape), d_weight.sum(0)[:D], d.sum(0)[:D]

    return Case(
        {"": layer},
        tuple(normal(6, (3, 4, 8), (8,), (8,))),
        {"": vjp},
        {"rows of T D numbers, not of D": Wrong(flattened, ["axis=-1", "normal * weight"])},
        argnums=(0, 1, 2),
        check=check_vjp,
        report="flagos-ai/FlagGems#5392",
    )


@case("log-softmax")
def log_softmax() -> Case:
    """d_x = d_out - softmax(x) sum(d_out)."""

    def layer(x: Any) -> Any:
        return jax.nn.log_softmax(x, axis=1)

    def vjp(d_out: Any, x: Any) -> Any:
        return d_out - softmax(x) * d_out.sum(axis=1, keepdims=True)

    place = ["log_softmax"]
    return Case(
        {"": layer},
        tuple(normal(8, (5, 4))),
        {"": vjp},
        {
            "softmax added": Wrong(lambda d_out, x: softmax(x) + d_out, place),
            "sum forgotten": Wrong(lambda d_out, x: d_out - softmax(x), place),
            "sum over the rows": Wrong(
                lambda d_out, x: d_out - softmax(x) * d_out.sum(axis=0, keepdims=True), place
            ),
        },
        check=check_vjp,
        report="mlpack/mlpack#2360",
    )


@case("attention, a row that is masked as a whole")
def masked_row() -> Case:
    """The row is 0; a softmax of nothing is 0/0."""

    def by_where(s: Any, v: Any, mask: Any) -> Any:
        p = jax.nn.softmax(s, axis=-1, where=mask)
        return jnp.where(mask.any(-1, keepdims=True), p, 0.0) @ v

    def by_another_mask(s: Any, v: Any, mask: Any) -> Any:
        some = mask.any(-1, keepdims=True)
        p = jax.nn.softmax(jnp.where(mask | ~some, s, -jnp.inf), axis=-1)
        return jnp.where(some, p, 0.0) @ v

    def vjp(d_out: Any, s: Any, v: Any, mask: Any, *, safe: bool = True) -> Any:
        with np.errstate(all="ignore"):
            p = softmax(np.where(mask, s, -np.inf))
        p = np.nan_to_num(p) if safe else p
        d_p = d_out @ v.T
        return p * (d_p - (p * d_p).sum(-1, keepdims=True)), p.T @ d_out

    s, v = normal(26, (4, 5), (5, 3))
    mask = np.random.default_rng(26).random((4, 5)) < 0.6
    mask[2] = False
    mask[[0, 1, 3], [0, 1, 3]] = True
    return Case(
        {"where": by_where, "another mask": by_another_mask},
        (s, v, mask),
        {"": vjp},
        {"NaN": Wrong(functools.partial(vjp, safe=False), ["NaN"])},
        argnums=(0, 1),
        check=check_vjp,
        report="pytorch/pytorch#41508, tracel-ai/burn#4694",
    )


@case("maximum of a ReLU, pixels tie")
def tied_pooling() -> Case:
    """Many columns have several equal maxima."""

    def layer(x: Any) -> Any:
        return jax.nn.relu(x).max(axis=0)

    def vjp(d_out: Any, x: Any, *, how: str = "even") -> Any:
        a = np.maximum(x, 0)
        share = (a == a.max(axis=0)).astype(x.dtype)
        if how == "even":
            share /= share.sum(axis=0)
        if how == "first":
            share = np.zeros_like(x)
            share[a.argmax(axis=0), np.arange(x.shape[1])] = 1
        return share * d_out * (x > 0)

    x = np.random.default_rng(11).integers(-1, 3, size=(6, 5)) * 1.0
    return Case(
        {"": layer},
        (x,),
        {"equal shares": vjp, "the first wins": functools.partial(vjp, how="first")},
        {"all of it to each": Wrong(functools.partial(vjp, how="all"), ["max(axis=0)"])},
        check=check_vjp,
        report="apache/mxnet#18563, Theano/Theano#5248",
    )


@case("max pooling, windows overlap")
def overlapping_pooling() -> Case:
    """Windows of 3 x 3 at each place, so that an element wins in several; (N, C, height, width)."""
    side = 3

    def by_windows(x: Any) -> Any:
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 1, side, side), (1, 1, 1, 1), "VALID"
        )

    def by_slices(x: Any) -> Any:
        H = x.shape[2] - side + 1
        slices = [x[:, :, i : i + H, j : j + H] for i in range(side) for j in range(side)]
        return jnp.stack(slices).max(axis=0)

    def vjp(d_out: Any, x: Any, *, adds: bool = True) -> Any:
        d_x = np.zeros_like(x)
        for n, c, i, j in np.ndindex(d_out.shape):
            window = x[n, c, i : i + side, j : j + side]
            a, b = np.unravel_index(window.argmax(), window.shape)
            before = d_x[n, c, i + a, j + b] if adds else 0
            d_x[n, c, i + a, j + b] = before + d_out[n, c, i, j]
        return d_x

    return Case(
        {"reduce_window": by_windows, "slices": by_slices},
        tuple(normal(2, (2, 2, 6, 6))),
        {"": vjp},
        {
            "= for +=": Wrong(
                functools.partial(vjp, adds=False), ["reduce_window(", "max(axis=0)", "x[:, :"]
            )
        },
        check=check_vjp,
        report="0809zheng/CS231n-assignment2019#19",
    )


@case("rotary embedding")
def rotary() -> Case:
    """The transpose of a rotation turns back; (T, D)."""

    def turned(xp: Any, x: Any, sign: float) -> Any:
        T, D = x.shape
        angle = np.arange(T)[:, None] / 10 ** np.arange(D // 2)
        cos, sin = np.cos(angle).astype(x.dtype), (sign * np.sin(angle)).astype(x.dtype)
        first, second = x[:, : D // 2], x[:, D // 2 :]
        return xp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1)

    return Case(
        {"": lambda x: turned(jnp, x, 1.0)},
        tuple(normal(7, (5, 6))),
        {"": lambda d_out, _: turned(np, d_out, -1.0)},
        {
            "turned on, not back": Wrong(
                lambda d_out, _: turned(np, d_out, 1.0), ["first * cos - second * sin"]
            )
        },
        check=check_vjp,
    )


@case("linear layer")
def linear() -> Case:
    """Its derivative in W does not depend on W."""

    def layer(x: Any, W: Any, b: Any) -> Any:
        return x @ W + b

    def vjp(d_out: Any, x: Any, W: Any, b: Any) -> Any:  # noqa: ARG001
        return d_out @ W.T, x.T @ d_out, d_out.sum(axis=0)

    def divided(d_out: Any, x: Any, W: Any, b: Any) -> Any:
        d_x, d_W, d_b = vjp(d_out, x, W, b)
        return d_x, d_W / x.dtype.type(len(x)), d_b

    return Case(
        {"": layer},
        tuple(normal(0, (6, 4), (4, 3), (3,))),
        {"": vjp},
        {
            "divided by N": Wrong(divided, ["1/6"]),
            "b's for the last row": Wrong(
                lambda d_out, x, W, b: (*vjp(d_out, x, W, b)[:2], d_out[-1].copy()), ["last row"]
            ),
        },
        argnums=(0, 1, 2),
        check=check_vjp,
    )
