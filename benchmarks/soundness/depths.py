"""Losses that grow deep: recurrent ones, stacked layers, transformers, convolutions, hard places.

A proven bound multiplies worst cases along every path, so depth is where a check goes blind. Each
family here has a size that grows, and, where there is one, a loss whose gradient is the mistake
that people make in it: a step of time that is left out, a recurrent path that is cut.
Axes: N rows in the batch, T steps of time or places, D units, K outputs.
"""

import functools
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax

Array: TypeAlias = npt.NDArray[Any]
Loss: TypeAlias = Callable[..., Any]


class Family(NamedTuple):
    """Losses of one kind, the larger the deeper.

    Attributes:
        name: what it is called in tables.
        sizes: steps of time, layers or blocks.
        loss: makes the loss of a size; its first argument is differentiated.
        arguments: draws float64 arguments of a size.
        broken: by the name of a mistake, what makes a loss of the same value whose gradient has it.
    """

    name: str
    sizes: tuple[int, ...]
    loss: Callable[[int], Loss]
    arguments: Callable[[np.random.Generator, int], tuple[Any, ...]]
    broken: Mapping[str, Callable[[int], Loss]] = MappingProxyType({})


def normal(rng: np.random.Generator, *shape: int, fan_in: int | None = None) -> Array:
    """Draw an array with a variance of 1, or of 1 / fan_in."""
    return rng.normal(scale=1 if fan_in is None else fan_in**-0.5, size=shape)


# Recurrent networks, over T steps


def _tanh_cell(params: Any, h: Any, x: Any) -> Any:
    return jnp.tanh(h @ params["W"] + x @ params["U"] + params["b"])


def _gru_cell(params: Any, h: Any, x: Any) -> Any:
    z, r = jnp.split(jax.nn.sigmoid(h @ params["W"] + x @ params["U"] + params["b"]), 2, axis=-1)
    candidate = jnp.tanh((r * h) @ params["W_h"] + x @ params["U_h"] + params["b_h"])
    return (1 - z) * h + z * candidate


def _lstm_cell(params: Any, state: Any, x: Any) -> Any:
    h, c = state
    gates = h @ params["W"] + x @ params["U"] + params["b"]
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _over_time(
    cell: Loss, *, pair: bool = False, cut: bool = False, dropped: bool = False
) -> Callable[[int], Loss]:
    """Make the mean square of the last h.

    Args:
        cell: one step.
        pair: whether the state is two arrays.
        cut: whether no gradient goes back from step to step.
        dropped: whether none goes to the parameters from the last step but two. That of a step long
            before the end vanishes, below what rounding makes of the others, and nobody could see
            it missing.
    """

    def of_steps(T: int) -> Loss:
        def loss(params: Any, xs: Any) -> Any:
            def step(state: Any, item: Any) -> tuple[Any, None]:
                t, x = item
                if cut:
                    state = lax.stop_gradient(state)
                seen = params
                if dropped:
                    seen = jax.tree.map(
                        lambda leaf: jnp.where(t == T - 3, lax.stop_gradient(leaf), leaf), params
                    )
                return cell(seen, state, x), None

            h = jnp.zeros((xs.shape[1], params["U"].shape[0]), xs.dtype)
            start = (h, h) if pair else h
            end: Any
            end, _ = lax.scan(step, start, (jnp.arange(T), xs))
            return jnp.mean(jnp.square(end[0] if pair else end))

        return loss

    return of_steps


def _cell_arguments(gates: int, *, hidden: bool = False) -> Loss:
    def arguments(rng: np.random.Generator, T: int) -> tuple[Any, ...]:
        D, N = 12, 4
        params = {
            "W": normal(rng, D, gates * D, fan_in=D),
            "U": normal(rng, D, gates * D, fan_in=D),
            "b": normal(rng, gates * D) / 4,
        }
        if hidden:
            params |= {
                "W_h": normal(rng, D, D, fan_in=D),
                "U_h": normal(rng, D, D, fan_in=D),
                "b_h": normal(rng, D) / 4,
            }
        return params, normal(rng, T, N, D)

    return arguments


def _recurrent(name: str, cell: Loss, gates: int, *, pair: bool = False, **more: Any) -> Family:
    make = functools.partial(_over_time, cell, pair=pair)
    broken = {
        "recurrent path cut": make(cut=True),
        "one step of time dropped": make(dropped=True),
    }
    return Family(name, (5, 20, 60, 200), make(), _cell_arguments(gates, **more), broken)


# Stacked dense layers


def _stack(activation: Loss, *, cut: bool = False) -> Callable[[int], Loss]:
    def of_layers(L: int) -> Loss:
        def loss(params: Any, X: Any) -> Any:
            h = X
            for l, (weight, bias) in enumerate(params):
                if cut and l == L // 2:
                    h = lax.stop_gradient(h)
                h = activation(h @ weight + bias)
            return jnp.mean(jnp.square(h))

        return loss

    return of_layers


def _stack_arguments(gain: float) -> Loss:
    def arguments(rng: np.random.Generator, L: int) -> tuple[Any, ...]:
        D, N = 24, 16
        layers = [(gain * normal(rng, D, D, fan_in=D), normal(rng, D) / 8) for _ in range(L)]
        return layers, normal(rng, N, D)

    return arguments


def _stacked(name: str, activation: Loss, gain: float) -> Family:
    broken = {"path cut half-way": _stack(activation, cut=True)}
    return Family(name, (2, 4, 8, 16, 32), _stack(activation), _stack_arguments(gain), broken)


# Transformers


def _norm(x: Any) -> Any:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-5)


def _attention(x: Any, block: Any, heads: int, hidden: float) -> Any:
    T, D = x.shape
    q, k, v = (
        part.reshape(T, heads, D // heads).swapaxes(0, 1)
        for part in jnp.split(x @ block["qkv"], 3, axis=-1)
    )  # (heads, T, D / heads)
    scores = q @ k.swapaxes(1, 2) / np.sqrt(D // heads)
    seen = jnp.tril(jnp.ones((T, T), bool))
    scores = jnp.where(seen[None], scores, jnp.asarray(hidden, scores.dtype))
    out = jax.nn.softmax(scores, axis=-1) @ v
    return out.swapaxes(0, 1).reshape(T, D) @ block["out"]


def _transformer(
    *, hidden: float = -np.inf, cut: bool = False, heads: int = 2
) -> Callable[[int], Loss]:
    def of_blocks(L: int) -> Loss:
        def loss(blocks: Any, x: Any, y: Any) -> Any:
            for l, block in enumerate(blocks):
                attended = _attention(_norm(x), block, heads, hidden)
                x = x + (lax.stop_gradient(attended) if cut and l == L // 2 else attended)
                x = x + jax.nn.gelu(_norm(x) @ block["up"]) @ block["down"]
            log_p = jax.nn.log_softmax(_norm(x))
            return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

        return loss

    return of_blocks


def _transformer_arguments(rng: np.random.Generator, L: int) -> tuple[Any, ...]:
    T, D = 16, 32
    blocks = [
        {
            "qkv": normal(rng, D, 3 * D, fan_in=D),
            "out": normal(rng, D, D, fan_in=D),
            "up": normal(rng, D, 4 * D, fan_in=D),
            "down": normal(rng, 4 * D, D, fan_in=4 * D),
        }
        for _ in range(L)
    ]
    return blocks, normal(rng, T, D), rng.integers(D, size=T)


# Convolution networks


def _convolutions(*, normalised: bool, cut: bool = False) -> Callable[[int], Loss]:
    def of_layers(L: int) -> Loss:
        def loss(kernels: Any, images: Any) -> Any:
            x = images
            for l, kernel in enumerate(kernels):
                x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
                if normalised:  # by channel, over the batch
                    centred = x - x.mean(axis=(0, 2, 3), keepdims=True)
                    variance = jnp.square(centred).mean(axis=(0, 2, 3), keepdims=True)
                    x = centred * lax.rsqrt(variance + 1e-5)
                x = jax.nn.relu(x)
                if cut and l == L // 2:
                    x = lax.stop_gradient(x)
            return jnp.mean(jnp.square(x.mean(axis=(2, 3)) - 1))

        return loss

    return of_layers


def _convolution_arguments(rng: np.random.Generator, L: int) -> tuple[Any, ...]:
    C = 6
    widths = [3] + [C] * L
    kernels = [
        normal(rng, out, into, 3, 3, fan_in=9 * into // 2)
        for into, out in itertools.pairwise(widths)
    ]
    return kernels, normal(rng, 3, 3, 8, 8)


# Hard places: huge means, confident probabilities, masks


def _far_norm(mean: int) -> Loss:
    """Layer norm of rows whose mean is far from 0: all digits but a few cancel."""

    def loss(x: Any, weight: Any, d_out: Any) -> Any:
        return jnp.sum(_norm(x + mean) * weight * d_out)

    return loss


def _far_norm_arguments(rng: np.random.Generator, mean: int) -> tuple[Any, ...]:
    del mean
    return normal(rng, 16, 32), normal(rng, 32), normal(rng, 16, 32)


def _confident(scale: int) -> Loss:
    """Cross-entropy of logits that are scale times as large as usual."""

    def loss(z: Any, y: Any) -> Any:
        log_p = jax.nn.log_softmax(scale * z)
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

    return loss


def _confident_arguments(rng: np.random.Generator, scale: int) -> tuple[Any, ...]:
    del scale
    return normal(rng, 32, 10), rng.integers(10, size=32)


FAMILIES = (
    _recurrent("tanh RNN", _tanh_cell, 1),
    _recurrent("LSTM", _lstm_cell, 4, pair=True),
    _recurrent("GRU", _gru_cell, 2, hidden=True),
    _stacked("tanh layers", jnp.tanh, 1.0),
    _stacked("GELU layers", jax.nn.gelu, 1.4),
    _stacked("ReLU layers", jax.nn.relu, 1.4),
    Family(
        "transformer",
        (1, 2, 4, 8),
        _transformer(),
        _transformer_arguments,
        {"attention of a block cut": _transformer(cut=True)},
    ),
    Family(
        "transformer, masked by -1e10", (1, 2), _transformer(hidden=-1e10), _transformer_arguments
    ),
    Family(
        "convolutions",
        (2, 4, 8),
        _convolutions(normalised=False),
        _convolution_arguments,
        {"path cut half-way": _convolutions(normalised=False, cut=True)},
    ),
    Family(
        "convolutions, normalised",
        (2, 4, 8),
        _convolutions(normalised=True),
        _convolution_arguments,
        {"path cut half-way": _convolutions(normalised=True, cut=True)},
    ),
    Family("layer norm, far mean", (0, 10, 100, 1000), _far_norm, _far_norm_arguments),
    Family("confident softmax", (1, 10, 30), _confident, _confident_arguments),
)
