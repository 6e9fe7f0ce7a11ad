"""The attention that manual_nn computes in blocks, by JAX, from its definition: not in blocks.

Axes: `...` batches and heads, T queries, S keys, D features of queries and keys, K of values.
"""

from typing import Any

import jax

from reference.layers import attention


def forward(
    params: tuple[()],
    x: Any,
    *,
    causal: bool = False,
    mask: Any = None,
    scale: float | None = None,
    dropout_mask: Any = None,
    dropout_rate: float = 0.0,
) -> jax.Array:
    """softmax(scale q k^T) v over the keys that each query sees, 0 if none; (..., T, K).

    The dropout's mask is that of all blocks together.
    """
    return attention.forward(
        params,
        x,
        causal=causal,
        mask=mask,
        scale=scale,
        dropout_mask=dropout_mask,
        dropout_rate=dropout_rate,
    )
