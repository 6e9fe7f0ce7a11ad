"""Every layer beside PyTorch's: both passes of both are within the bound of JAX's, in float64.

Each case writes the layer down in PyTorch's words, whose images have their channels in front and
whose weights are transposed. Axes: those of the layers.
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from manual_nn.layers import dense, gru, lstm, relu, swiglu
from manual_nn.layers.attention import Inputs as Heads
from manual_nn.layers.batch_norm import BatchNorm, Moments
from manual_nn.layers.convolution import Convolution
from manual_nn.layers.dense import Dense
from manual_nn.layers.embedding import Embedding
from manual_nn.layers.group_norm import GroupNorm
from manual_nn.layers.layer_norm import LayerNorm
from manual_nn.layers.mixture_of_experts import MixtureOfExperts
from manual_nn.layers.residual import Step
from manual_nn.layers.rms_norm import RMSNorm
from manual_nn.layers.transposed_convolution import TransposedConvolution
from reference.compare import Verdict
from reference.layers import dense as dense_twin
from reference.layers import relu as relu_twin
from tests.support.layer_proof import Subject, arguments_of, normal, vjp_comparer

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional


class Case(NamedTuple):
    """A layer with options, and the same in PyTorch's words, a function of (params, x)."""

    layer: str
    arguments: Callable[[Any, np.random.Generator], tuple[Any, Any]]
    options: dict[str, Any]
    by_torch: Callable[[Any, Any], Any]


def elementwise(layer: str, by_torch: Callable[[Any], Any], **options: Any) -> Case:
    return Case(layer, lambda draw, _: ((), draw(3, 4, 5)), options, lambda _, x: by_torch(x))


def first(x: Any) -> Any:
    """Put the channels behind the examples, (N, C, ...)."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    """Put the channels behind all else, (N, ..., C)."""
    return x.movedim(1, -1)


def normed(layer: str, params: Any, function: Callable[..., Any], **options: Any) -> Case:
    def arguments(draw: Any, _: Any) -> tuple[Any, Any]:
        return params(*(draw(6) for _ in params._fields)), draw(3, 4, 6)

    return Case(layer, arguments, options, lambda params, x: function(x, *params))


RNG = np.random.default_rng(0)
CLASSES = RNG.integers(5, size=6)
CLASSES[2] = -100
SHARES = RNG.multinomial(8, np.ones(5) / 5, size=6) / 8
WEIGHTS = np.array([1, 0.5, 2, 3, 0.25])
TARGET = RNG.integers(-8, 9, (3, 4, 5)) / 4
LIKELY = RNG.integers(5, size=(3, 4, 5)) / 4
MOMENTS = Moments(RNG.integers(-4, 5, 6) / 4, RNG.integers(2, 9, 6) / 4)
SEEN = np.tri(4, 5, dtype=bool) | (np.arange(5) == 4)
LENGTHS = np.array([4, 1, 3])


def entropy(target: Any, **options: Any) -> Case:
    by_name = {
        "weight": None if "class_weight" not in options else torch.tensor(WEIGHTS),
        "label_smoothing": options.get("label_smoothing", 0.0),
        "ignore_index": options.get("ignore_index", -100),
    }
    y = torch.tensor(target)
    return Case(
        "softmax_cross_entropy",
        lambda draw, _: ((), draw(6, 5)),
        {"target": target, **options},
        lambda _, x: F.cross_entropy(x, y, **by_name),
    )


def convolved(window: list[int], places: list[int], groups: int, pads: int, **options: Any) -> Case:
    by_torch = (F.conv1d, F.conv2d)[len(window) - 1]

    def function(params: Any, x: Any) -> Any:
        weight = params.weight.movedim((-1, -2), (0, 1))  # (K, c, w...)
        return last(by_torch(first(x), weight, params.bias, padding=pads, groups=groups, **options))

    return Case(
        "convolution",
        lambda draw, _: (
            Convolution(draw(*window, 4 // groups, 6), draw(6)),
            draw(2, *places, 4),
        ),
        {"padding": [(pads, pads)] * len(window), "groups": groups, **options},
        function,
    )


def spread_out(
    window: list[int], places: list[int], groups: int, pads: int, **options: Any
) -> Case:
    by_torch = (F.conv_transpose1d, F.conv_transpose2d)[len(window) - 1]

    def function(params: Any, x: Any) -> Any:
        weight = params.weight.unflatten(-1, (groups, -1))  # (w..., c, G, k)
        weight = weight.movedim((-2, -3, -1), (0, 1, 2)).flatten(0, 1)  # (C, k, w...)
        return last(by_torch(first(x), weight, params.bias, padding=pads, groups=groups, **options))

    return Case(
        "transposed_convolution",
        lambda draw, _: (
            TransposedConvolution(draw(*window, 4 // groups, 6), draw(6)),
            draw(2, *places, 4),
        ),
        {"padding": [(pads, pads)] * len(window), "groups": groups, **options},
        function,
    )


def pooled(layer: str, by_torch: Callable[..., Any], **options: Any) -> Case:
    return Case(
        layer,
        lambda draw, _: ((), draw(2, 6, 5, 3)),
        {"window": [3, 2], "stride": [2, 1], "padding": [(1, 1), (1, 1)], **options},
        lambda _, x: last(by_torch(first(x), (3, 2), stride=(2, 1), padding=1, **options)),
    )


def attended(layer: str, group: int, **options: Any) -> Case:
    by_name = {
        "is_causal": options.get("causal", False),
        "attn_mask": torch.tensor(options["mask"]) if "mask" in options else None,
        "scale": options.get("scale"),
        "enable_gqa": group > 1,
    }
    return Case(
        layer,
        lambda draw, _: ((), Heads(draw(2, 2 * group, 4, 3), draw(2, 2, 5, 3), draw(2, 2, 5, 2))),
        options,
        lambda _, x: F.scaled_dot_product_attention(*x, **by_name),
    )


def turned(x: Any, *, halves: bool) -> Any:
    """Multiply pairs, as complex numbers, by numbers of modulus 1."""
    T, D = x.shape[-2:]
    angles = torch.arange(T)[:, None] * 10000.0 ** (-2 * torch.arange(D // 2).double() / D)
    pairs = x.reshape(*x.shape[:-1], 2, -1).mT if halves else x.reshape(*x.shape[:-1], -1, 2)
    by = torch.polar(torch.ones_like(angles), angles)
    out = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * by)
    return (out.mT if halves else out).reshape(x.shape)


def by_dropout(x: Any) -> Any:
    torch.manual_seed(0)
    return F.dropout(x, 0.25)


def in_packs(cell: Any, weights: dict[str, Any], sequence: Any, state: Any) -> Any:
    """Run a recurrent layer over sequences of LENGTHS, with 0 after their ends."""
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        sequence, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    named = {f"{name}_l0": weight for name, weight in weights.items()}
    out, _ = torch.func.functional_call(cell, named, (packed, state))
    return torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0]


def by_lstm(params: Any, x: Any) -> Any:
    cell = torch.nn.LSTM(2, 3, batch_first=True, dtype=torch.float64)
    weights = {
        "weight_ih": params.weight.T,
        "weight_hh": params.recurrent_weight.T,
        "bias_ih": params.bias,
        "bias_hh": torch.zeros_like(params.bias),
    }
    return in_packs(cell, weights, x.sequence, (x.state.h[None], x.state.c[None]))


def by_gru(params: Any, x: Any) -> Any:
    cell = torch.nn.GRU(2, 3, batch_first=True, dtype=torch.float64)
    none = params.bias.new_zeros(6)
    weights = {
        "weight_ih": params.weight.T,
        "weight_hh": params.recurrent_weight.T,
        "bias_ih": params.bias,
        "bias_hh": torch.cat([none, params.recurrent_bias]),
    }
    return in_packs(cell, weights, x.sequence, x.state[None])


def routed(params: Any, x: Any) -> Any:
    """Compute each expert of every token, and add up the two of the largest logits."""
    logits, chosen = torch.topk(x @ params.router, 2)
    gates = F.softmax(logits, dim=-1)
    z = torch.einsum("nd,edh->neh", x, params.weight_up) + params.bias_up
    out = torch.einsum("neh,ehd->ned", F.silu(z), params.weight_down) + params.bias_down
    picked = out.gather(1, chosen[..., None].expand(-1, -1, x.shape[-1]))
    return (gates[..., None] * picked).sum(dim=1)


CASES = {
    "dense": Case(
        "dense",
        lambda draw, _: (Dense(draw(4, 3), draw(3)), draw(5, 4)),
        {},
        lambda params, x: F.linear(x, params.weight.T, params.bias),
    ),
    "relu": elementwise("relu", F.relu),
    "leaky_relu": elementwise("leaky_relu", F.leaky_relu),
    "sigmoid": elementwise("sigmoid", torch.sigmoid),
    "tanh": elementwise("tanh", torch.tanh),
    "gelu": elementwise("gelu", F.gelu),
    "gelu by tanh": elementwise("gelu", lambda x: F.gelu(x, approximate="tanh"), approximate=True),
    "silu": elementwise("silu", F.silu),
    "swiglu": Case(
        "swiglu",
        lambda draw, _: ((), swiglu.Inputs(draw(3, 4), draw(3, 4))),
        {},
        lambda _, x: F.silu(x.gate) * x.value,
    ),
    "softmax": elementwise("softmax", lambda x: F.softmax(x, dim=-1)),
    "cross-entropy": entropy(CLASSES, ignore_index=-100),
    "cross-entropy, weights and smoothing": entropy(
        CLASSES, class_weight=WEIGHTS, label_smoothing=0.1, ignore_index=-100
    ),
    "cross-entropy, an ignored class that exists": entropy(
        np.array([1, 1, 0, 4, 2, 1]), class_weight=WEIGHTS, ignore_index=1
    ),
    "cross-entropy of probabilities": entropy(SHARES, label_smoothing=0.3),
    "cross-entropy of probabilities, weights": entropy(
        SHARES, class_weight=WEIGHTS, label_smoothing=0.3
    ),
    "binary cross-entropy": elementwise(
        "binary_cross_entropy",
        lambda x: F.binary_cross_entropy_with_logits(
            x, torch.tensor(LIKELY), pos_weight=torch.tensor(WEIGHTS)
        ),
        target=LIKELY,
        pos_weight=WEIGHTS,
    ),
    "squared_error": elementwise(
        "squared_error", lambda x: F.mse_loss(x, torch.tensor(TARGET)), target=TARGET
    ),
    "huber": elementwise(
        "huber",
        lambda x: F.huber_loss(x, torch.tensor(TARGET), delta=0.5),
        target=TARGET,
        delta=0.5,
    ),
    "layer_norm": normed("layer_norm", LayerNorm, lambda x, *p: F.layer_norm(x, (6,), *p)),
    "rms_norm": normed("rms_norm", RMSNorm, lambda x, w: F.rms_norm(x, (6,), w, eps=1e-6)),
    "batch_norm": normed(
        "batch_norm",
        BatchNorm,
        lambda x, *p: last(F.batch_norm(first(x), None, None, *p, training=True)),
    ),
    "batch_norm in evaluation": normed(
        "batch_norm",
        BatchNorm,
        lambda x, *p: last(F.batch_norm(first(x), *map(torch.tensor, MOMENTS), *p)),
        running=MOMENTS,
    ),
    "group_norm": normed(
        "group_norm", GroupNorm, lambda x, *p: last(F.group_norm(first(x), 3, *p)), groups=3
    ),
    "convolution": convolved([3], [7], 1, 2, stride=2, dilation=2),
    "convolution in groups": convolved([3, 2], [5, 6], 2, 1, stride=[2, 1]),
    "transposed_convolution": spread_out([3], [4], 1, 1, stride=2, output_padding=1),
    "transposed_convolution in groups": spread_out([3, 2], [4, 3], 2, 0, stride=2, dilation=2),
    "max_pool": pooled("max_pool", F.max_pool2d),
    "average_pool": pooled("average_pool", F.avg_pool2d),
    "average_pool without its padding": pooled(
        "average_pool", F.avg_pool2d, count_include_pad=False
    ),
    "embedding": Case(
        "embedding",
        lambda draw, rng: (Embedding(draw(4, 3)), rng.integers(4, size=(3, 5))),
        {"padding_idx": 1},
        lambda params, x: F.embedding(x, params.weight, padding_idx=1),
    ),
    "attention": attended("attention", 1, mask=SEEN, scale=0.5),
    "attention in groups": attended("attention", 3, causal=True),
    "attention in blocks": attended("blockwise_attention", 1, mask=SEEN, block_size=2),
    "attention in blocks and groups": attended("blockwise_attention", 2, causal=True, block_size=2),
    "rope": Case(
        "rope", lambda draw, _: ((), draw(2, 5, 6)), {}, lambda _, x: turned(x, halves=False)
    ),
    "rope of halves": Case(
        "rope",
        lambda draw, _: ((), draw(2, 5, 6)),
        {"halves": True},
        lambda _, x: turned(x, halves=True),
    ),
    "dropout": elementwise(
        "dropout",
        by_dropout,
        mask=(by_dropout(torch.ones(3, 4, 5)) != 0).numpy(),
        rate=0.25,
    ),
    "residual": Case(
        "residual",
        lambda draw, _: ((Dense(draw(4, 4), draw(4)), ()), draw(3, 4)),
        {"branch": [Step(dense), Step(relu)]},
        lambda params, x: x + F.relu(F.linear(x, params[0].weight.T, params[0].bias)),
    ),
    "lstm": Case(
        "lstm",
        lambda draw, _: (
            lstm.LSTM(draw(2, 12), draw(3, 12), draw(12)),
            lstm.Inputs(draw(3, 4, 2), lstm.State(draw(3, 3), draw(3, 3))),
        ),
        {"lengths": LENGTHS},
        by_lstm,
    ),
    "gru": Case(
        "gru",
        lambda draw, _: (
            gru.GRU(draw(2, 9), draw(3, 9), draw(9), draw(3)),
            gru.Inputs(draw(3, 4, 2), draw(3, 3)),
        ),
        {"lengths": LENGTHS},
        by_gru,
    ),
    "mixture_of_experts": Case(
        "mixture_of_experts",
        lambda draw, _: (
            MixtureOfExperts(draw(3, 4), draw(4, 3, 2), draw(4, 2), draw(4, 2, 3), draw(4, 3)),
            draw(5, 3),
        ),
        {"top_k": 2},
        routed,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_passes_are_those_of_pytorch(name: str) -> None:
    case = CASES[name]
    layer, twin = (import_module(f"{p}.layers.{case.layer}") for p in ("manual_nn", "reference"))
    known = inspect.signature(twin.forward).parameters
    options = {key: value for key, value in case.options.items() if key in known}
    if case.layer == "residual":
        options["branch"] = [Step(dense_twin), Step(relu_twin)]
    comparer = vjp_comparer(twin, Subject(case.arguments, options))
    rng = np.random.default_rng(0)
    params, x = arguments_of(Subject(case.arguments, {}), normal, "float64", rng)
    ours, kept = layer.forward(params, x, **case.options)
    d_out = rng.normal(size=ours.shape)
    gradients = layer.backward(params, kept, d_out)
    leaves, structure = jax.tree.flatten((params, x))
    tensors = [torch.tensor(leaf.copy()) for leaf in leaves]
    wanted = [t.requires_grad_() for t in tensors if t.is_floating_point()]
    out = case.by_torch(*jax.tree.unflatten(structure, tensors))
    d_tensors = [d.numpy() for d in torch.autograd.grad(out, wanted, torch.tensor(d_out))]
    theirs = jax.tree.unflatten(jax.tree.structure(gradients), d_tensors)
    for result in ((ours, gradients), (out.detach().numpy(), theirs)):
        comparison = comparer(result, params, x, d_out, compiled=False)
        assert comparison.verdict == Verdict.MATCH, comparison


def test_every_layer_is_compared() -> None:
    layers = {path.stem for path in Path(dense.__file__).parent.glob("*.py")} - {"__init__"}
    assert {case.layer for case in CASES.values()} == layers
