"""Each layer of manual_nn as a loss, by its twin: the sum of its results times a fixed d_out.

Axes: N rows, D features, H hidden units, K classes or keys; images (2, N, D, H).
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from benchmarks.soundness.losses import Draw
from reference.layers import (
    attention,
    average_pool,
    batch_norm,
    binary_cross_entropy,
    blockwise_attention,
    convolution,
    dense,
    dropout,
    embedding,
    gelu,
    group_norm,
    gru,
    huber,
    layer_norm,
    leaky_relu,
    lstm,
    max_pool,
    mixture_of_experts,
    relu,
    residual,
    rms_norm,
    rope,
    sigmoid,
    silu,
    softmax,
    softmax_cross_entropy,
    squared_error,
    swiglu,
    tanh,
    transposed_convolution,
)

Arguments: TypeAlias = Callable[[Draw], tuple[Any, ...]]
Subject: TypeAlias = tuple[
    Any, Arguments, tuple[int, ...]
]  # a loss, and what it is differentiated in

N, D, H, K = 5, 4, 3, 6


def _of_layer(forward: Callable[..., Any], arguments: Arguments) -> Any:
    """Make a layer's loss, the sum of its results times a fixed d_out, in all real arguments."""

    def loss(*args: Any) -> Any:
        out = forward(*args)
        d_out = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
        return (out * d_out).sum()

    return loss, arguments


LAYERS: dict[str, Subject] = {
    "dense": (
        *_of_layer(
            lambda W, b, x: dense.forward((W, b), x),
            lambda draw: (draw.normal(D, H), draw.normal(H), draw.normal(N, D)),
        ),
        (0, 1, 2),
    ),
    "relu": (*_of_layer(lambda x: relu.forward((), x), lambda draw: (draw.normal(N, H),)), (0,)),
    "gelu": (*_of_layer(lambda x: gelu.forward((), x), lambda draw: (draw.normal(N, H),)), (0,)),
    "sigmoid": (
        *_of_layer(lambda x: sigmoid.forward((), x), lambda draw: (draw.normal(N, H),)),
        (0,),
    ),
    "silu": (*_of_layer(lambda x: silu.forward((), x), lambda draw: (draw.normal(N, H),)), (0,)),
    "swiglu": (
        *_of_layer(
            lambda gate, value: swiglu.forward((), (gate, value)),
            lambda draw: (draw.normal(N, H), draw.normal(N, H)),
        ),
        (0, 1),
    ),
    "batch_norm": (
        *_of_layer(
            lambda w, b, x: batch_norm.forward((w, b), x),
            lambda draw: (draw.normal(D), draw.normal(D), draw.normal(N, D)),
        ),
        (0, 1, 2),
    ),
    "layer_norm": (
        *_of_layer(
            lambda w, b, x: layer_norm.forward((w, b), x),
            lambda draw: (draw.normal(D), draw.normal(D), draw.normal(N, D)),
        ),
        (0, 1, 2),
    ),
    "rms_norm": (
        *_of_layer(
            lambda w, x: rms_norm.forward((w,), x),
            lambda draw: (draw.normal(D), draw.normal(N, D)),
        ),
        (0, 1),
    ),
    "softmax_cross_entropy": (
        *_of_layer(
            lambda z, y: softmax_cross_entropy.forward((), z, target=y),
            lambda draw: (draw.normal(N, K), draw.labels(N, K)),
        ),
        (0,),
    ),
    "attention": (
        *_of_layer(
            lambda q, k, v: attention.forward((), (q, k, v)),
            lambda draw: (draw.normal(N, D), draw.normal(K, D), draw.normal(K, H)),
        ),
        (0, 1, 2),
    ),
    "blockwise_attention": (
        *_of_layer(
            lambda q, k, v: blockwise_attention.forward((), (q, k, v), causal=True),
            lambda draw: (draw.normal(N, D), draw.normal(K, D), draw.normal(K, H)),
        ),
        (0, 1, 2),
    ),
    "transposed_convolution": (
        *_of_layer(
            lambda kernel, bias, x: transposed_convolution.forward((kernel, bias), x, stride=2),
            lambda draw: (draw.normal(3, 2, H, 2), draw.normal(2), draw.normal(2, N, D, H)),
        ),
        (0, 1, 2),
    ),
    "convolution": (
        *_of_layer(
            lambda kernel, bias, x: convolution.forward((kernel, bias), x, padding="same"),
            lambda draw: (draw.normal(3, 2, H, 2), draw.normal(2), draw.normal(2, N, D, H)),
        ),
        (0, 1, 2),
    ),
    "max_pool": (
        *_of_layer(
            lambda x: max_pool.forward((), x, window=2, stride=1),
            lambda draw: (draw.rng.normal(size=(2, N, D, H)),),  # of which none are equal
        ),
        (0,),
    ),
    "average_pool": (
        *_of_layer(
            lambda x: average_pool.forward((), x, window=2, stride=1),
            lambda draw: (draw.normal(2, N, D, H),),
        ),
        (0,),
    ),
    "rope": (
        *_of_layer(lambda x: rope.forward((), x), lambda draw: (draw.normal(2, N, D),)),
        (0,),
    ),
    "embedding": (
        *_of_layer(
            lambda table, ids: embedding.forward((table,), ids),
            lambda draw: (draw.normal(K, D), draw.labels(2 * N, K)),
        ),
        (0,),
    ),
    "tanh": (
        *_of_layer(
            lambda x: tanh.forward((), x),
            lambda draw: (draw.normal(N, H),),
        ),
        (0,),
    ),
    "leaky_relu": (
        *_of_layer(
            lambda x: leaky_relu.forward((), x),
            lambda draw: (draw.normal(N, H),),
        ),
        (0,),
    ),
    "softmax": (
        *_of_layer(
            lambda x: softmax.forward((), x),
            lambda draw: (draw.normal(N, K),),
        ),
        (0,),
    ),
    "squared_error": (
        *_of_layer(
            lambda x, target: squared_error.forward((), x, target=target),
            lambda draw: (draw.normal(N, H), draw.normal(N, H)),
        ),
        (0,),
    ),
    "huber": (
        *_of_layer(
            lambda x, target: huber.forward((), x, target=target),
            lambda draw: (draw.normal(N, H), draw.normal(N, H)),
        ),
        (0,),
    ),
    "binary_cross_entropy": (
        *_of_layer(
            lambda x, target: binary_cross_entropy.forward((), x, target=target),
            lambda draw: (draw.normal(N, K), draw.targets(N, K)),
        ),
        (0,),
    ),
    "group_norm": (
        *_of_layer(
            lambda w, b, x: group_norm.forward((w, b), x, groups=2),
            lambda draw: (draw.normal(D), draw.normal(D), draw.normal(2, N, D)),
        ),
        (0, 1, 2),
    ),
    "dropout": (
        *_of_layer(
            lambda x: dropout.forward((), x, mask=np.arange(N * H).reshape(N, H) % 3 > 0),
            lambda draw: (draw.normal(N, H),),
        ),
        (0,),
    ),
    "residual": (
        *_of_layer(
            lambda W, b, x: residual.forward(((W, b),), x, branch=[(dense, {})]),
            lambda draw: (draw.normal(D, D), draw.normal(D), draw.normal(N, D)),
        ),
        (0, 1, 2),
    ),
    "mixture_of_experts": (
        *_of_layer(
            lambda router, W, b, V, c, x: mixture_of_experts.forward(
                (router, W, b, V, c), x, top_k=2
            ),
            lambda draw: (
                *(draw.normal(D, K), draw.normal(K, D, H), draw.normal(K, H)),
                *(draw.normal(K, H, D), draw.normal(K, D), draw.normal(N, D)),
            ),
        ),
        (0, 1, 2, 3, 4, 5),
    ),
    "lstm": (
        *_of_layer(
            lambda W, R, b, x, h, c: lstm.forward((W, R, b), (x, (h, c))),
            lambda draw: (
                *(draw.normal(D, 4 * H), draw.normal(H, 4 * H), draw.normal(4 * H)),
                *(draw.normal(2, 3, D), draw.normal(2, H), draw.normal(2, H)),
            ),
        ),
        (0, 1, 2, 3, 4, 5),
    ),
    "gru": (
        *_of_layer(
            lambda W, R, b, c, x, h: gru.forward((W, R, b, c), (x, h)),
            lambda draw: (
                *(draw.normal(D, 3 * H), draw.normal(H, 3 * H), draw.normal(3 * H)),
                *(draw.normal(H), draw.normal(2, 3, D), draw.normal(2, H)),
            ),
        ),
        (0, 1, 2, 3, 4, 5),
    ),
}

WITH_OPTIONS: dict[str, Subject] = {
    "attention, grouped heads, causal": (
        *_of_layer(
            lambda q, k, v: attention.forward((), (q, k, v), causal=True),
            lambda draw: (draw.normal(4, N, D), draw.normal(2, N, D), draw.normal(2, N, H)),
        ),
        (0, 1, 2),
    ),
    "convolution, strided, in groups": (
        *_of_layer(
            lambda kernel, bias, x: convolution.forward(
                (kernel, bias), x, stride=2, padding=[(2, 1), (1, 2)], groups=2
            ),
            lambda draw: (draw.normal(3, 3, 2, 4), draw.normal(4), draw.normal(2, N, D, 4)),
        ),
        (0, 1, 2),
    ),
    "softmax_cross_entropy, smoothed, weighted": (
        *_of_layer(
            lambda z, y, weight: softmax_cross_entropy.forward(
                (), z, target=y, class_weight=weight, label_smoothing=0.1, ignore_index=0
            ),
            lambda draw: (
                *(draw.normal(N, K), np.arange(N) % K),
                np.exp(draw.rng.normal(size=K)),
            ),
        ),
        (0,),
    ),
}
