"""How each of JAX's primitives is disturbed, one file per family; importing it registers them."""

from reference.noise.rules import calls, choices, elementwise, sums

__all__ = ["calls", "choices", "elementwise", "sums"]
