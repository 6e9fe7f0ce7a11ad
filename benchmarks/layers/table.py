"""One row a layer: its usual size, its arguments there, and the line by which PyTorch computes it.

The arguments are ours; PyTorch gets copies of them, laid out as it likes them best. All numbers are
float32. Axes: N rows or examples, T steps or places of a sequence, D features, H units, K classes
or channels out, C channels.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from manual_nn.arrays import Array
from manual_nn.layers import attention, dense, dropout, lstm, swiglu
from manual_nn.layers import gru as gru_layer
from manual_nn.layers import layer_norm as layer_norm_layer
from manual_nn.layers.batch_norm import BatchNorm
from manual_nn.layers.convolution import Convolution
from manual_nn.layers.embedding import Embedding
from manual_nn.layers.group_norm import GroupNorm
from manual_nn.layers.mixture_of_experts import MixtureOfExperts
from manual_nn.layers.residual import Step
from manual_nn.layers.rms_norm import RMSNorm
from manual_nn.layers.transposed_convolution import TransposedConvolution

Product: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...]]  # how often which shapes
Axes: TypeAlias = Mapping[str, tuple[int, ...]]


class Draws:
    """The numbers of a layer's arguments, from one generator.

    Args:
        sizes: what to put in the place of which size, for the tests, which have no time.
    """

    def __init__(self, sizes: Mapping[int, int] = MappingProxyType({})) -> None:
        """Begin anew."""
        self.rng, self.sizes = np.random.default_rng(0), sizes

    def size(self, *sizes: int) -> tuple[int, ...]:
        """Give the sizes that are to be."""
        return tuple(self.sizes.get(size, size) for size in sizes)

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        """Draw numbers around 0, of this size, in float32."""
        return self.rng.normal(scale=scale, size=self.size(*shape)).astype(np.float32)

    def weight(self, fan_in: int, *shape: int) -> Array:
        """Draw a weight that leaves the size of numbers as it is."""
        return self.normal(*shape, scale=fan_in**-0.5)

    def integers(self, below: int, *shape: int) -> npt.NDArray[np.int64]:
        """Draw class numbers or tokens."""
        (most,) = self.size(below)
        return self.rng.integers(most, size=self.size(*shape))


class Arguments(NamedTuple):
    """What a layer is given.

    Attributes:
        params, x: as `forward` takes them.
        options: its keywords.
        of_twin: those of the twin, where they are others.
    """

    params: Any
    x: Any
    options: Mapping[str, Any] = MappingProxyType({})
    of_twin: Mapping[str, Any] | None = None


class Row(NamedTuple):
    """A layer at a usual size.

    Attributes:
        size: in words.
        draw: makes the arguments.
        torch: the layer in PyTorch, of tensors of the params and of x, and of the options.
        axes: in which order PyTorch has the axes of an array, by the name of its field, or "x",
            "out" or the name of the option.
        products: the products of matrices that a forward pass cannot do without.
        products_back: the same of a backward pass.
        channels_last: whether PyTorch is faster where channels come last in memory, in whichever
            order it has the axes.
    """

    size: str
    draw: Callable[[Draws], Arguments]
    torch: Callable[..., Any]
    axes: Axes = MappingProxyType({})
    products: tuple[Product, ...] = ()
    products_back: tuple[Product, ...] = ()
    channels_last: bool = False


def functional() -> Any:
    """Give torch.nn.functional, which may be missing."""
    from torch.nn import functional  # noqa: PLC0415

    return functional


def torch() -> Any:
    """Give torch, which may be missing."""
    import torch  # noqa: PLC0415

    return torch


def elementwise(line: Callable[..., Any], **options: Any) -> Row:
    """Make the row of a layer that looks at one number at a time."""
    return Row(
        "512 rows of 3,072 features",
        lambda draws: Arguments((), draws.normal(512, 3072), options),
        line,
    )


IMAGES = "8 images of 56 × 56 places with 64 channels"
FIRST = {"x": (0, 3, 1, 2), "out": (0, 3, 1, 2)}  # channels before places, as PyTorch has them


def images(draws: Draws) -> Array:
    """Draw what lies in the first stage of a ResNet, (N, height, width, C)."""
    return draws.normal(8, 56, 56, 64)


def draw_dense(draws: Draws) -> Arguments:
    """Draw the first layer of GPT-2's MLP at 512 tokens."""
    params = dense.Dense(draws.weight(768, 768, 3072), draws.normal(3072))
    return Arguments(params, draws.normal(512, 768))


def draw_loss(draws: Draws) -> Arguments:
    """Draw what was computed, and what should have been."""
    return Arguments((), draws.normal(512, 768), {"target": draws.normal(512, 768)})


def draw_cross_entropy(draws: Draws) -> Arguments:
    """Draw logits, and class numbers."""
    return Arguments((), draws.normal(512, 1000), {"target": draws.integers(1000, 512)})


def draw_classes(draws: Draws) -> Arguments:
    """Draw logits of classes by themselves, and which of them are there."""
    target = draws.integers(2, 512, 1000).astype(np.float32)
    return Arguments((), draws.normal(512, 1000), {"target": target})


def draw_convolution(draws: Draws) -> Arguments:
    """Draw a layer of a ResNet's first stage."""
    params = Convolution(draws.weight(9 * 64, 3, 3, 64, 64), draws.normal(64))
    return Arguments(params, images(draws), {"padding": "same"})


def draw_transposed_convolution(draws: Draws) -> Arguments:
    """Draw a layer that doubles the size of images."""
    params = TransposedConvolution(draws.weight(4 * 128, 4, 4, 128, 64), draws.normal(64))
    return Arguments(params, draws.normal(8, 28, 28, 128), {"stride": 2, "padding": [(1, 1)] * 2})


def draw_embedding(draws: Draws) -> Arguments:
    """Draw tokens, and the table in which they are looked up."""
    return Arguments(Embedding(draws.normal(8192, 512)), draws.integers(8192, 2048))


def draw_attention(draws: Draws) -> Arguments:
    """Draw what the heads of GPT-2 get at 512 tokens."""
    x = attention.Inputs(*(draws.normal(12, 512, 64) for _ in range(3)))
    return Arguments((), x, {"causal": True})


def draw_blockwise(draws: Draws) -> Arguments:
    """Draw twice as many tokens."""
    x = attention.Inputs(*(draws.normal(12, 1024, 64) for _ in range(3)))
    (block_size,) = draws.size(128)
    options = {"causal": True}
    return Arguments((), x, options | {"block_size": block_size}, options)


def draw_experts(draws: Draws) -> Arguments:
    """Draw eight experts, of which a token sees two."""
    params = MixtureOfExperts(
        draws.weight(256, 256, 8),
        draws.weight(256, 8, 256, 1024),
        draws.normal(8, 1024),
        draws.weight(1024, 8, 1024, 256),
        draws.normal(8, 256),
    )
    return Arguments(params, draws.normal(512, 256), {"top_k": 2})


def draw_dropout(draws: Draws) -> Arguments:
    """Draw a mask, too: its draw is not timed."""
    mask = dropout.draw_mask(draws.size(512, 3072), rate=0.1, rng=draws.rng)
    return Arguments((), draws.normal(512, 3072), {"mask": mask, "rate": 0.1})


def draw_residual(draws: Draws) -> Arguments:
    """Draw a branch of a normalisation and a dense layer."""
    from reference.layers import dense as dense_twin  # noqa: PLC0415, the table does without JAX
    from reference.layers import layer_norm as norm_twin  # noqa: PLC0415

    params = (
        layer_norm_layer.LayerNorm(draws.normal(768), draws.normal(768)),
        dense.Dense(draws.weight(768, 768, 768), draws.normal(768)),
    )
    branch = [Step(layer_norm_layer), Step(dense)]
    twins: dict[str, Any] = {"branch": [(norm_twin, {}), (dense_twin, {})]}
    return Arguments(params, draws.normal(512, 768), {"branch": branch}, twins)


def draw_lstm(draws: Draws) -> Arguments:
    """Draw sequences, and the state before them."""
    N, T, D, H = 32, 32, 256, 256
    params = lstm.LSTM(
        draws.weight(D, D, 4 * H), draws.weight(H, H, 4 * H), draws.normal(4 * H, scale=0.1)
    )
    state = lstm.State(draws.normal(N, H), draws.normal(N, H))
    return Arguments(params, lstm.Inputs(draws.normal(N, T, D), state))


def draw_gru(draws: Draws) -> Arguments:
    """Draw sequences, and the state before them."""
    N, T, D, H = 32, 32, 256, 256
    params = gru_layer.GRU(
        draws.weight(D, D, 3 * H),
        draws.weight(H, H, 3 * H),
        draws.normal(3 * H, scale=0.1),
        draws.normal(H, scale=0.1),
    )
    return Arguments(params, gru_layer.Inputs(draws.normal(N, T, D), draws.normal(N, H)))


# What PyTorch's recurrent functions take by place: with biases, one layer, no dropout, in training,
# in one direction, examples first.
ONE_LAYER = (True, 1, 0.0, True, False, True)


def torch_lstm(params: Any, x: Any) -> Any:
    """Compute the LSTM by PyTorch's own, which has two biases."""
    weight, recurrent_weight, bias = params
    sequence, (h, c) = x
    weights = [weight, recurrent_weight, bias, torch().zeros_like(bias)]
    out, *_ = torch().lstm(sequence, (h[None], c[None]), weights, *ONE_LAYER)
    return out


def torch_gru(params: Any, x: Any) -> Any:
    """Compute the GRU by PyTorch's own, whose second bias has three parts."""
    weight, recurrent_weight, bias, recurrent_bias = params
    padded = functional().pad(recurrent_bias, (len(bias) - len(recurrent_bias), 0))
    weights = [weight, recurrent_weight, bias, padded]
    out, _ = torch().gru(x.sequence, x.state[None], weights, *ONE_LAYER)
    return out


def torch_experts(params: Any, x: Any, top_k: int) -> Any:
    """Compute a mixture of experts as it is usually written, expert by expert."""
    router, weight_up, bias_up, weight_down, bias_down = params
    gates, experts = (x @ router).topk(top_k)
    gates, out = gates.softmax(-1), torch().zeros_like(x)
    for e in range(len(weight_up)):
        tokens, places = (experts == e).nonzero(as_tuple=True)
        hidden = functional().silu(torch().addmm(bias_up[e], x[tokens], weight_up[e]))
        f = torch().addmm(bias_down[e], hidden, weight_down[e])
        out = out.index_add(0, tokens, gates[tokens, places, None] * f)
    return out


def recurrent_products(gates: int) -> tuple[tuple[Product, ...], tuple[Product, ...]]:
    """List the products of a recurrent layer at the size above: one a step cannot be spared."""
    N, T, D, H = 32, 32, 256, 256
    up: Product = (T, (N, H), (H, gates * H))
    down: Product = (T, (N, gates * H), (gates * H, H))
    weights: Product = (1, (D, N * T), (N * T, gates * H))
    return ((1, (N * T, D), (D, gates * H)), up), (
        down,
        weights,
        weights,
        (1, (N * T, gates * H), (gates * H, D)),
    )


def turned(x: Any) -> Any:
    """Turn pairs of features as complex numbers, by angles made before."""
    if x.shape not in ANGLES:
        T, D = x.shape[-2:]
        angles = np.multiply.outer(np.arange(T), 10000.0 ** (-np.arange(0, D, 2) / D))
        ANGLES[x.shape] = torch().tensor(np.exp(1j * angles).astype(np.complex64))
    pairs = torch().view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch().view_as_real(pairs * ANGLES[x.shape]).flatten(-2)


ANGLES: dict[Any, Any] = {}  # by the shape of what is turned

BLOCKS = 8 * 9 // 2  # of queries and keys, where causal attention has 8 of each

TABLE: dict[str, Row] = {
    "dense": Row(
        "512 rows, 768 features in, 3,072 out",
        draw_dense,
        lambda params, x: functional().linear(x, *params),
        {"weight": (1, 0)},
        ((1, (512, 768), (768, 3072)),),
        ((1, (768, 512), (512, 3072)), (1, (512, 3072), (3072, 768))),
    ),
    "relu": elementwise(lambda _, x: functional().relu(x)),
    "leaky_relu": elementwise(lambda _, x: functional().leaky_relu(x)),
    "sigmoid": elementwise(lambda _, x: x.sigmoid()),
    "tanh": elementwise(lambda _, x: x.tanh()),
    "gelu": elementwise(
        lambda _, x, approximate: functional().gelu(
            x, approximate="tanh" if approximate else "none"
        ),
        approximate=True,
    )._replace(size="512 rows of 3,072 features, by tanh"),
    "silu": elementwise(lambda _, x: functional().silu(x)),
    "swiglu": Row(
        "512 rows of 3,072 features",
        lambda draws: Arguments(
            (), swiglu.Inputs(draws.normal(512, 3072), draws.normal(512, 3072))
        ),
        lambda _, x: functional().silu(x.gate) * x.value,
    ),
    "softmax": Row(
        "512 rows of 1,000 classes",
        lambda draws: Arguments((), draws.normal(512, 1000)),
        lambda _, x: x.softmax(-1),
    ),
    "softmax_cross_entropy": Row(
        "512 rows of 1,000 classes, against class numbers",
        draw_cross_entropy,
        lambda _, x, target: functional().cross_entropy(x, target),
    ),
    "binary_cross_entropy": Row(
        "512 rows of 1,000 classes",
        draw_classes,
        lambda _, x, target: functional().binary_cross_entropy_with_logits(x, target),
    ),
    "squared_error": Row(
        "512 rows of 768 features",
        draw_loss,
        lambda _, x, target: functional().mse_loss(x, target),
    ),
    "huber": Row(
        "512 rows of 768 features",
        draw_loss,
        lambda _, x, target: functional().huber_loss(x, target),
    ),
    "layer_norm": Row(
        "512 rows of 768 features",
        lambda draws: Arguments(
            layer_norm_layer.LayerNorm(draws.normal(768), draws.normal(768)),
            draws.normal(512, 768),
        ),
        lambda params, x: functional().layer_norm(x, x.shape[-1:], *params),
    ),
    "rms_norm": Row(
        "512 rows of 768 features",
        lambda draws: Arguments(RMSNorm(draws.normal(768)), draws.normal(512, 768)),
        lambda params, x: functional().rms_norm(x, x.shape[-1:], params.weight, 1e-6),
    ),
    "batch_norm": Row(
        f"{IMAGES}, in training",
        lambda draws: Arguments(BatchNorm(draws.normal(64), draws.normal(64)), images(draws)),
        lambda params, x: functional().batch_norm(x, None, None, *params, training=True),
        FIRST,
        channels_last=True,
    ),
    "group_norm": Row(
        f"{IMAGES} in 32 groups",
        lambda draws: Arguments(
            GroupNorm(draws.normal(64), draws.normal(64)),
            images(draws),
            {"groups": draws.size(32)[0]},
        ),
        lambda params, x, groups: functional().group_norm(x, groups, *params),
        FIRST,
    ),
    "convolution": Row(
        f"{IMAGES}, a window of 3 × 3, 64 channels out",
        draw_convolution,
        lambda params, x, padding: functional().conv2d(x, *params, padding=padding),
        {**FIRST, "weight": (3, 2, 0, 1)},
        ((1, (8 * 56 * 56, 9 * 64), (9 * 64, 64)),),
        (
            (1, (9 * 64, 8 * 56 * 56), (8 * 56 * 56, 64)),
            (1, (8 * 56 * 56, 64), (64, 9 * 64)),
        ),
        channels_last=True,
    ),
    "transposed_convolution": Row(
        "8 images of 28 × 28 places, a window of 4 × 4, two apart, 128 channels in, 64 out",
        draw_transposed_convolution,
        lambda params, x, stride, padding: functional().conv_transpose2d(
            x, *params, stride, padding[0][0]
        ),
        {**FIRST, "weight": (2, 3, 0, 1)},
        ((1, (8 * 28 * 28, 128), (128, 16 * 64)),),
        (
            (1, (128, 8 * 28 * 28), (8 * 28 * 28, 16 * 64)),
            (1, (8 * 28 * 28, 16 * 64), (16 * 64, 128)),
        ),
        channels_last=True,
    ),
    "max_pool": Row(
        f"{IMAGES}, windows of 3 × 3, two apart",
        lambda draws: Arguments(
            (), images(draws), {"window": 3, "stride": 2, "padding": [(1, 1), (1, 1)]}
        ),
        lambda _, x, window, stride, padding: functional().max_pool2d(
            x, window, stride, padding[0][0]
        ),
        FIRST,
        channels_last=True,
    ),
    "average_pool": Row(
        f"{IMAGES}, windows of 2 × 2",
        lambda draws: Arguments((), images(draws), {"window": 2}),
        lambda _, x, window: functional().avg_pool2d(x, window),
        FIRST,
        channels_last=True,
    ),
    "embedding": Row(
        "2,048 tokens, a table of 8,192 by 512",
        draw_embedding,
        lambda params, x: functional().embedding(x, params.weight),
    ),
    "attention": Row(
        "12 heads, 512 tokens, 64 features, causal",
        draw_attention,
        lambda _, x, causal: functional().scaled_dot_product_attention(*x, is_causal=causal),
        {},
        ((1, (12, 512, 64), (12, 64, 512)), (1, (12, 512, 512), (12, 512, 64))),
        ((3, (12, 512, 512), (12, 512, 64)), (1, (12, 512, 64), (12, 64, 512))),
    ),
    "blockwise_attention": Row(
        "12 heads, 1,024 tokens, 64 features, causal, in blocks of 128",
        draw_blockwise,
        lambda _, x, causal, block_size: functional().scaled_dot_product_attention(  # noqa: ARG005
            *x, is_causal=causal
        ),
        {},
        ((BLOCKS, (12, 128, 64), (12, 64, 128)), (BLOCKS, (12, 128, 128), (12, 128, 64))),
        ((3 * BLOCKS, (12, 128, 128), (12, 128, 64)), (2 * BLOCKS, (12, 128, 64), (12, 64, 128))),
    ),
    "rope": Row(
        "12 heads, 512 tokens, 64 features",
        lambda draws: Arguments((), draws.normal(12, 512, 64)),
        lambda _, x: turned(x),
    ),
    "dropout": Row(
        "512 rows of 3,072 features, with a mask drawn before",
        draw_dropout,
        lambda _, x, mask, rate: x * mask / (1 - rate),
    ),
    "residual": Row(
        "512 rows of 768 features, a branch of layer_norm and dense",
        draw_residual,
        lambda params, x, branch: (  # noqa: ARG005, the two layers of it
            x
            + functional().linear(functional().layer_norm(x, x.shape[-1:], *params[0]), *params[1])
        ),
        {"weight": (1, 0)},
        ((1, (512, 768), (768, 768)),),
        ((1, (768, 512), (512, 768)), (1, (512, 768), (768, 768))),
    ),
    "mixture_of_experts": Row(
        "512 tokens, 256 features, 2 of 8 experts of 1,024 units each",
        draw_experts,
        torch_experts,
        {},
        ((8, (128, 256), (256, 1024)), (8, (128, 1024), (1024, 256))),
        (
            (8, (128, 1024), (1024, 256)),
            (8, (256, 128), (128, 1024)),
            (8, (128, 256), (256, 1024)),
            (8, (1024, 128), (128, 256)),
        ),
    ),
    "lstm": Row(
        "32 sequences of 32 steps, 256 features, 256 units",
        draw_lstm,
        torch_lstm,
        {"weight": (1, 0), "recurrent_weight": (1, 0)},
        *recurrent_products(4),
    ),
    "gru": Row(
        "32 sequences of 32 steps, 256 features, 256 units",
        draw_gru,
        torch_gru,
        {"weight": (1, 0), "recurrent_weight": (1, 0)},
        *recurrent_products(3),
    ),
}
