"""A block of a transformer, put together from the layers: what they cost where they are used.

As in GPT-2: attention of the normalised x is added to x, and an MLP with GELU of that, normalised
again, to that. Axes: T tokens, D features, H heads.
"""

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.layers.peers import CONTENDERS, OUR_LAYERS, Passes, all_passes
from benchmarks.layers.table import Arguments, Draws, Row, functional
from manual_nn.arrays import Array
from manual_nn.layers import residual
from manual_nn.layers.attention import Inputs
from manual_nn.layers.dense import Dense
from manual_nn.layers.layer_norm import LayerNorm

Branch = Sequence[tuple[Any, dict[str, Any]]]  # layers, and their options


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass: what both branches have kept."""

    attention: residual.Kept
    mlp: residual.Kept


def branches(
    layer: Callable[[str], Any], in_heads: Any, merged: Any, heads: int
) -> tuple[Branch, Branch]:
    """List the layers of both branches, each found by its name."""
    names: dict[str, dict[str, Any]] = {
        "layer_norm": {},
        "dense": {},
        "attention": {"causal": True},
        "gelu": {"approximate": True},
    }
    norm, dense, attention, gelu = ((layer(name), options) for name, options in names.items())
    mixing = [norm, dense, (in_heads, {"heads": heads}), attention, (merged, {}), dense]
    return mixing, [norm, dense, gelu, dense]


def in_numpy(name: str) -> Any:
    """Find a layer."""
    return importlib.import_module(f"{OUR_LAYERS['ours']}.{name}")


def compiled(name: str) -> Any:
    """Find a layer as it is compiled, or NumPy's where none is: that of dense layers is BLAS's."""
    module = f"{OUR_LAYERS['compiled']}.{name}"
    return importlib.import_module(module) if find_spec(module) else in_numpy(name)


def by_layers(layer: Callable[[str], Any]) -> Any:
    """Make the block a layer, by hand."""

    def forward(params: Any, x: Array, *, heads: int) -> tuple[Array, Kept]:
        kept = []
        for own, branch in zip(params, branches(layer, IN_HEADS, MERGED, heads), strict=True):
            steps = [residual.Step(*step) for step in branch]
            x, kept_of_branch = residual.forward(own, x, branch=steps)
            kept.append(kept_of_branch)
        return x, Kept(*kept)

    def backward(params: Any, kept: Kept, d_out: Array) -> tuple[Any, Array]:
        d_mlp, d_middle = residual.backward(params[1], kept.mlp, d_out)
        d_attention, d_x = residual.backward(params[0], kept.attention, d_middle)
        return (d_attention, d_mlp), d_x

    return SimpleNamespace(forward=forward, backward=backward)


def twin() -> Any:
    """Make the block a twin, by JAX."""
    from reference.layers import residual as twin_of_residual  # noqa: PLC0415, it needs JAX

    def layer(name: str) -> Any:
        return importlib.import_module(f"reference.layers.{name}")

    in_heads = SimpleNamespace(forward=lambda _, x, heads: cut(x, heads))
    merged = SimpleNamespace(forward=lambda _, x: merge(x))

    def forward(params: Any, x: Any, *, heads: int) -> Any:
        for own, branch in zip(params, branches(layer, in_heads, merged, heads), strict=True):
            x = twin_of_residual.forward(own, x, branch=branch)
        return x

    return SimpleNamespace(forward=forward)


def cut(x: Any, heads: int) -> Inputs:
    """Cut queries, keys and values, (T, 3 D), into heads, (H, T, D / H) each."""
    return Inputs(*x.reshape(len(x), 3, heads, -1).transpose(1, 2, 0, 3))


def merge(heads: Any) -> Any:
    """Put the heads, (H, T, D / H), side by side, (T, D)."""
    return heads.transpose(1, 0, 2).reshape(heads.shape[1], -1)


def cut_backward(_: tuple[()], kept: None, d_out: Inputs) -> tuple[tuple[()], Array]:  # noqa: ARG001
    """Put the heads of all three side by side, (T, 3 D)."""
    return (), np.stack(d_out).transpose(2, 0, 1, 3).reshape(d_out.query.shape[1], -1)


def merge_backward(_: tuple[()], heads: int, d_out: Array) -> tuple[tuple[()], Array]:
    """Cut into heads again, (H, T, D / H)."""
    return (), d_out.reshape(len(d_out), heads, -1).transpose(1, 0, 2)


IN_HEADS = SimpleNamespace(forward=lambda _, x, heads: (cut(x, heads), None), backward=cut_backward)
MERGED = SimpleNamespace(forward=lambda _, x: (merge(x), len(x)), backward=merge_backward)


def draw(draws: Draws) -> Arguments:
    """Draw the parameters of each layer, and tokens."""
    D, hidden = 768, 3072

    def norm() -> LayerNorm:
        return LayerNorm(draws.normal(D), draws.normal(D))

    def dense(fan_in: int, fan_out: int) -> Dense:
        return Dense(draws.weight(fan_in, fan_in, fan_out), draws.normal(fan_out))

    mixing = (norm(), dense(D, 3 * D), (), (), (), dense(D, D))
    mlp = (norm(), dense(D, hidden), (), dense(hidden, D))
    (heads,) = draws.size(12)
    return Arguments((mixing, mlp), draws.normal(512, D), {"heads": heads})


def by_torch(params: Any, x: Any, heads: int) -> Any:
    """Compute the block by PyTorch's functions."""
    f = functional()
    (norm, query_key_value, *_, projection), (second_norm, up, _, down) = params
    parts = f.linear(f.layer_norm(x, x.shape[-1:], *norm), *query_key_value)
    inputs = [part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in parts.chunk(3, -1)]
    mixed = f.scaled_dot_product_attention(*inputs, is_causal=True).transpose(0, 1).flatten(1)
    x = x + f.linear(mixed, *projection)
    hidden = f.linear(f.layer_norm(x, x.shape[-1:], *second_norm), *up)
    return x + f.linear(f.gelu(hidden, approximate="tanh"), *down)


ROW = Row(
    "512 tokens of 768 features, 12 heads, causal, 3,072 hidden units with GELU by tanh",
    draw,
    by_torch,
    {"weight": (1, 0)},
)


def passes(draws: Draws | None = None, contenders: Sequence[str] = CONTENDERS) -> dict[str, Passes]:
    """Set up the block in every way."""
    ours = {"ours": by_layers(in_numpy), "compiled": by_layers(compiled)}
    return all_passes(ROW, ours, twin(), draws, contenders)
