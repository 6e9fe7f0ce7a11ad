"""The attention that manual_nn computes in blocks, by JAX: not in blocks, so the same function.

The dropout's mask is that of all blocks together.
"""

from reference.layers.attention import forward

__all__ = ["forward"]
